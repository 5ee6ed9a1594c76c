/* Evaluation of a BERT that gives labels: loss and scores on a file of texts with labels, or of words with tags, over a pipeline of
 * local workers. The result is the same to the bit for any number of workers and threads. */
#ifndef SC_LABEL_EVALUATOR_H
#define SC_LABEL_EVALUATOR_H

#include "coordinator/data/data_format.h"
#include "coordinator/report/label_sets.h"
#include "coordinator/report/predictions.h"
#include "coordinator/run/predictor.h"

#include <stdio.h>

typedef struct sc_label_evaluator_options {
    sc_predictor_options predictor;
    const char *data;
    const char *format; /* a name of sc_data_format; NULL: by the end of the file's name and the model */
    sc_data_columns columns;
    const char *
        predictions; /* a file to write, as `stagecoach report` reads it: text or word, right and predicted label; NULL: none */
} sc_label_evaluator_options;

/* Zero-initialise; clear frees. */
typedef struct sc_label_evaluation {
    sc_predictions predictions;
    sc_label_sets sets;             /* instead of them: of a model that gives a text any number of labels */
    double loss;                    /* mean over the examples, or over all labels of them, in nats */
    uint64_t n_examples, n_correct; /* texts, or words; with all labels right */
    uint64_t n_tokens;
    double seconds; /* from the first row to the last */
} sc_label_evaluation;

/* Whether the directory's model is one that this evaluates. Errors: as sc_weights_find and sc_hf_config_load. */
sc_status sc_label_evaluator_fits(const char *dir, bool *fits);
/* columns.label_separator counts for a model that gives a text any number of labels alone. Errors: those of the predictor;
 * SC_INVALID naming file and line (the data; a label that the model does not have). */
sc_status sc_label_evaluator_run(const sc_label_evaluator_options *options, sc_label_evaluation *out);
void sc_label_evaluation_clear(sc_label_evaluation *self);

/* A line of numbers and the report that fits the labels; or all of it as one JSON object: the report's, and "loss", "seconds",
 * "tokens_per_second". Errors: those of sc_report_print. */
sc_status sc_label_evaluation_print(const sc_label_evaluation *self, bool json, FILE *out);

#endif
