/* The classes of predictions: their names in order, how often each was taken for each, and their scores. */
#ifndef SC_CLASS_TABLE_H
#define SC_CLASS_TABLE_H

#include "coordinator/report/predictions.h"
#include "coordinator/report/scores.h"

/* Zero-initialise; clear frees. */
typedef struct sc_class_table {
    sc_labels labels;    /* sorted */
    uint64_t *confusion; /* [n][n]: right, predicted */
    sc_score *scores;    /* [n] */
    uint64_t n_examples, n_correct;
} sc_class_table;

/* Errors: SC_INVALID (no prediction; more classes than a table can have), SC_RESOURCE_EXHAUSTED. */
sc_status sc_class_table_make(const sc_predictions *predictions, sc_class_table *out);
void sc_class_table_clear(sc_class_table *self);

#endif
