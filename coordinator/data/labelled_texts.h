/* Texts with a label each, for the classification of sequences, read from a table (data_format.h).
 *
 * Labels lose the blanks around them. Training files come first, with `known` false: their labels are numbered as they come, and
 * `sort` then numbers them by name. Files read with `known` true may hold no other.
 *
 * With a separator in the columns a text has any number of labels, or none; `label` is then SC_MANY_LABELS.
 *
 * Zero-initialise; clear frees. Thread: one owns it. */
#ifndef SC_LABELLED_TEXTS_H
#define SC_LABELLED_TEXTS_H

#include "coordinator/data/data_format.h"
#include "coordinator/data/labels.h"
#include "coordinator/data/tokenizer.h"

enum { SC_MANY_LABELS = -1 };

typedef struct sc_labelled_text {
    size_t text, n_text; /* where in `bytes` */
    size_t pair, n_pair; /* n_pair 0: there is none */
    int32_t label;
    size_t first_label, n_labels; /* of SC_MANY_LABELS: where in `label_ids` */
    uint64_t line;                /* where it begins in its file, from 1 */
} sc_labelled_text;

typedef struct sc_labelled_texts {
    sc_labelled_text *items; /* [n] */
    size_t n, capacity;
    char *bytes; /* [n_bytes]: of all texts, one behind the other */
    size_t n_bytes, bytes_capacity;
    int32_t *label_ids; /* [n_label_ids]: of all texts with many labels */
    size_t n_label_ids, label_ids_capacity;
} sc_labelled_texts;

/* Adds those of a whole file. format: not SC_DATA_CONLL. Errors, naming file and line: SC_INVALID (a missing column, a row with
 * more or fewer columns, an empty text or label, a label that is not known, broken UTF-8, JSON or quotes, nothing at all);
 * SC_RESOURCE_EXHAUSTED. */
sc_status sc_labelled_texts_read(sc_labelled_texts *self, const sc_text *file, sc_data_format format,
                                 const sc_data_columns *columns, sc_labels *labels, bool known);
void sc_labelled_texts_clear(sc_labelled_texts *self);

/* Sorts the labels and gives the texts their new numbers. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_labelled_texts_sort(sc_labelled_texts *self, sc_labels *labels);

/* That each label has a text. `name` is what the message calls the data. Errors: SC_INVALID, SC_RESOURCE_EXHAUSTED. */
sc_status sc_labelled_texts_check(const sc_labelled_texts *self, const sc_labels *labels, const char *name);

/* Moves a share of the texts to `out`, which is empty, by seed (sc_data_split_takes); the order stays. Errors:
 * SC_RESOURCE_EXHAUSTED. */
sc_status sc_labelled_texts_split(sc_labelled_texts *self, uint64_t seed, double share, sc_labelled_texts *out);

/* The labels of a text: one, or those it has of many. */
const int32_t *sc_labelled_texts_labels(const sc_labelled_texts *self, const sc_labelled_text *item, size_t *n);

/* For those who read rows: copies the texts (n_pair 0: no pair). The message of an error lacks file and line. */
sc_status sc_labelled_texts_add(sc_labelled_texts *self, const char *text, size_t n_text, const char *pair,
                                size_t n_pair, const char *label, size_t n_label, uint64_t line, sc_labels *labels,
                                bool known);

#endif
