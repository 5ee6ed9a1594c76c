/* Sentences of words with a tag each, for the classification of tokens, read from CoNLL columns (data_format.h).
 *
 * Columns stand between blanks or, if the first line that is not empty has a tab, between single tabs. A line of blanks, or
 * one whose first column is -DOCSTART-, ends a sentence. Between tabs a word may be empty, as some corpora have it. Where a file is in IOB1 (an entity begins with I-, unless it follows one of
 * its own type), its tags are made IOB2 (an entity begins with B-): a file is taken for IOB1 if some I- begins an entity and
 * no B- stands anywhere but behind a tag of its type.
 *
 * Labels as in labelled_texts.h. Zero-initialise; clear frees. Thread: one owns it. */
#ifndef SC_TAGGED_WORDS_H
#define SC_TAGGED_WORDS_H

#include "coordinator/data/data_format.h"
#include "coordinator/data/labels.h"
#include "coordinator/data/tokenizer.h"

typedef struct sc_tagged_word {
    size_t text, n_text; /* where in `bytes` */
    int32_t tag;         /* a label */
} sc_tagged_word;

typedef struct sc_tagged_sentence {
    size_t first, n; /* words */
    uint64_t line;   /* where it begins in its file, from 1 */
} sc_tagged_sentence;

typedef struct sc_tagged_words {
    sc_tagged_word *words; /* [n_words] */
    size_t n_words, words_capacity;
    sc_tagged_sentence *sentences; /* [n] */
    size_t n, capacity;
    char *bytes; /* [n_bytes] */
    size_t n_bytes, bytes_capacity;
} sc_tagged_words;

/* Adds those of a whole file. Errors, naming file and line: SC_INVALID (a line with more or fewer columns than those before, or
 * without the column; an empty tag; a tag that is not known; broken UTF-8; no word at all), SC_RESOURCE_EXHAUSTED. */
sc_status sc_tagged_words_read(sc_tagged_words *self, const sc_text *file, const sc_data_columns *columns,
                               sc_labels *labels, bool known);
void sc_tagged_words_clear(sc_tagged_words *self);

/* Sorts the labels and gives the words their new numbers. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_tagged_words_sort(sc_tagged_words *self, sc_labels *labels);

/* Moves a share of the sentences to `out`, which is empty, by seed (sc_data_split_takes); the order stays. Errors:
 * SC_RESOURCE_EXHAUSTED. */
sc_status sc_tagged_words_split(sc_tagged_words *self, uint64_t seed, double share, sc_tagged_words *out);

#endif
