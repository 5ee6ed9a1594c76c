/* BERT's normalisation and word boundaries, one character at a time. Pure; thread: any.
 *
 * What a text goes through, in this order, is what Hugging Face's BertNormalizer and BertPreTokenizer do:
 *   clean           U+0000, U+FFFD, control, format and private-use characters vanish; white space becomes a space
 *   chinese         a CJK ideograph is a word of its own
 *   strip_accents   canonical decomposition (NFD); non-spacing marks vanish
 *   lowercase       each character's full lower-case form, whatever stands around it
 *   words           end at white space, which vanishes; a punctuation character is a word of its own
 * As no step but the canonical order of marks looks beyond one character, a text can be read from left to right.
 *
 * Source: Devlin et al. 2018, tokenization.py. Categories are those of Unicode 8, which the library's table has, whatever
 * utf8proc knows: what was assigned since is part of a word, and neither punctuation nor a mark. Decompositions and lower
 * case are utf8proc's; scripts that Unicode 16 and later added keep their case. */
#ifndef SC_BERT_NORMALIZER_H
#define SC_BERT_NORMALIZER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct sc_bert_options {
    bool clean, chinese, strip_accents, lowercase;
} sc_bert_options;

typedef enum sc_bert_class {
    SC_BERT_NOTHING, /* vanishes; what stands on both sides of it is one word */
    SC_BERT_SPACE,   /* ends a word and vanishes */
    SC_BERT_ALONE,   /* ends a word and is one itself */
    SC_BERT_WORD,
} sc_bert_class;

/* The longest canonical decomposition has four characters; the lower case of one has two. */
enum { SC_BERT_MAX_PARTS = 8 };

/* What a character becomes. */
typedef struct sc_bert_parts {
    sc_bert_class class;
    int n; /* 0 for SC_BERT_SPACE; parts of SC_BERT_NOTHING are all dropped ones */
    struct {
        uint32_t c;
        uint8_t order; /* canonical combining class: parts in a row with one above 0 are sorted by it, stably */
        bool dropped;  /* vanishes, but a dropped part of order 0 still ends the row */
    } items[SC_BERT_MAX_PARTS];
} sc_bert_parts;

/* The class alone, which is cheaper. */
sc_bert_class sc_bert_class_of(const sc_bert_options *options, uint32_t c);
void sc_bert_normalize(const sc_bert_options *options, uint32_t c, sc_bert_parts *out);

#endif
