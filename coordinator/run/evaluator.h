/* Evaluation: the loss of a text under a directory of weights, over a pipeline of local workers.
 *
 * The text becomes one stream of tokens, the stream windows (eval_windows.h), and these go through forward-only plans, two
 * at a time under way. Losses are added in the order of the windows, in double: the result is the same to the bit
 * for any number of workers and threads. */
#ifndef SC_EVALUATOR_H
#define SC_EVALUATOR_H

#include "proto/base/status.h"

#include <stdint.h>

typedef struct sc_evaluator_options {
    const char *dir;  /* a run directory, or a directory of weights */
    const char *data; /* a text, or a token file */
    int workers;      /* S */
    int threads;      /* per worker; 0: a share of the cores */
    int B;            /* windows in a micro-batch; 0: as many as make about 1024 tokens */
    int T;            /* tokens in a window; 0: the model's context */
    void *context;
    /* After each round of micro-batches: targets done, of how many, and their mean loss. May be NULL. */
    void (*on_progress)(void *context, uint64_t done, uint64_t of, double loss);
} sc_evaluator_options;

typedef struct sc_evaluation {
    double loss;        /* mean over the targets, in nats */
    uint64_t n_targets; /* all tokens of the text but the first */
    uint64_t n_windows;
    int T;
    double seconds; /* from the first micro-batch to the last loss */
} sc_evaluation;

/* Errors: SC_NOT_FOUND, SC_INVALID (a file, the context, a text of fewer than two tokens), SC_DATA_LOSS (weights; a loss that
 * is not finite), what stops a worker; SC_CANCELLED. */
sc_status sc_evaluator_run(const sc_evaluator_options *options, sc_evaluation *out);

#endif
