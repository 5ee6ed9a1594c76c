/* What a model said of examples that have any number of labels, counted: each label by itself, and each example.
 *
 * A prediction file has an example a line, in columns between single tabs; the last two are the labels that are right and those
 * that were predicted, with a separator between labels. An empty column is none.
 *
 * An example is put together label by label, and ended. Zero-initialise; clear frees. Thread: one owns it. */
#ifndef SC_LABEL_SETS_H
#define SC_LABEL_SETS_H

#include "coordinator/data/labels.h"
#include "coordinator/data/tokenizer.h"
#include "coordinator/report/scores.h"

typedef struct sc_label_sets {
    sc_labels labels;  /* that are right or predicted somewhere, as they came; sorted by sc_label_sets_sort */
    sc_counts *counts; /* [labels.n] */
    sc_score *samples; /* [n]: of each example's labels */
    size_t n;
    uint64_t n_exact; /* examples of which all labels are right */
    /* its own: */
    size_t counts_capacity, samples_capacity;
    unsigned char *marks; /* [counts_capacity]: of the example that is not ended */
} sc_label_sets;

void sc_label_sets_clear(sc_label_sets *self);

/* A label that is right, or predicted, in the example; a second time it does not count. Errors of all: SC_RESOURCE_EXHAUSTED. */
sc_status sc_label_sets_add(sc_label_sets *self, const char *label, size_t n_bytes, bool predicted);
sc_status sc_label_sets_end(sc_label_sets *self);
/* Numbers the labels by their names. */
sc_status sc_label_sets_sort(sc_label_sets *self);

/* A whole file, sorted. Errors: SC_INVALID, naming file and line (fewer than two columns, another number of columns than in the
 * line before, an empty label between separators, broken UTF-8, not one line). */
sc_status sc_label_sets_read(const sc_text *text, const char *separator, sc_label_sets *out);

#endif
