/* BERT's WordPiece, and how one is put together.
 *
 * Mental model. A text is cut at its added tokens ([CLS], [MASK], ...), what lies between is normalised and cut into words
 * (bert_normalizer.h), and each word into the longest piece of the vocabulary that it begins with, the longest that goes on
 * from there, and so on; pieces that go on are written "##ing". A word that cannot be cut so, or has too many
 * characters, is one unknown token. Words repeat: each call of encode keeps a table of the last ones, of fixed size.
 * No token is added at the ends: [CLS] and [SEP] are the business of who makes examples.
 *
 * Kept in a run's file as
 *   {"type":"wordpiece","vocab":["[PAD]",...],"added":[0,100,...],"unknown":"[UNK]","prefix":"##","longest_word":100,
 *    "clean":true,"chinese":true,"strip_accents":true,"lowercase":true}
 * vocab: the tokens by id; added: the ids that are found in text before anything else; longest_word: in characters.
 *
 * Source: Wu et al. 2016, sec. 4.1 (the model); the greedy search is that of Devlin et al. 2018, tokenization.py. */
#ifndef SC_TOKENIZER_WORDPIECE_H
#define SC_TOKENIZER_WORDPIECE_H

#include "coordinator/data/bert_normalizer.h"
#include "coordinator/data/tokenizer.h"

#include <jansson.h>

enum { SC_WORDPIECE_LONGEST_WORD = 1000 }; /* characters: the most that longest_word may be; BERT has 100 */

typedef struct sc_wordpiece_options {
    sc_bert_options text;
    const char *unknown; /* a token of the vocabulary */
    const char *prefix;  /* of pieces that go on */
    int longest_word;    /* 1 .. SC_WORDPIECE_LONGEST_WORD */
} sc_wordpiece_options;

/* "[UNK]", "##", 100; clean, chinese, and both others as `lowercase` says. */
sc_wordpiece_options sc_wordpiece_defaults(bool lowercase);

/* vocab: {"token": id, ...}; added: the same for added tokens, which may be in vocab too, or NULL. Borrows all. Returns owned.
 * Errors: those of sc_vocabulary_read; SC_INVALID (a token of more than SC_TOKEN_MAX_BYTES - 1 bytes, no unknown token). */
sc_status sc_tokenizer_wordpiece_new(const json_t *vocab, const json_t *added, const sc_wordpiece_options *options,
                                     sc_tokenizer **out);

/* Reads vocab.txt, a token a line, and the tokenizer_config.json beside it if there is one: do_lower_case (true, as Hugging
 * Face has it, unless said otherwise), strip_accents, tokenize_chinese_chars. [PAD], [UNK], [CLS], [SEP] and [MASK], where the
 * vocabulary has them, are added tokens. Errors: as above, naming file and line; SC_NOT_FOUND; SC_INVALID for special tokens
 * of other names. */
sc_status sc_tokenizer_wordpiece_load_txt(const char *path, sc_tokenizer **out);
/* Whether the path's last component is vocab.txt. */
bool sc_tokenizer_wordpiece_is_txt(const char *path);
/* Hugging Face's tokenizer.json with a WordPiece model: whatever in it would give other ids than this implementation's is
 * refused by name; padding and truncation are left to who makes examples. The message lacks the path. */
sc_status sc_tokenizer_wordpiece_load_hf(const json_t *object, sc_tokenizer **out);
/* Whether the object is one, going by its model. */
bool sc_tokenizer_wordpiece_is_hf(const json_t *object);

#endif
