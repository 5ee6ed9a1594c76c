/* Micro-batches: the tokens and targets of any step, by random access.
 *
 * Training. Rows (sequences) are counted through the whole run: row r of step s (0-based) is number s * batch_size + r,
 * and number i is place i % W of epoch i / W (windows.h). So an epoch may end within a batch, and a resumed run
 * needs to know nothing but its step. Micro-batch m of a step has the rows m * B .. m * B + B - 1: the rows of a step
 * are the same whatever B is.
 *
 * Validation. A fixed set of rows, spread evenly over the validation stream, the same at each evaluation:
 *     eval_batches * batch_size rows, if the stream has so many windows of its own;
 *     else as many whole batches as it has; if not even one, as many whole micro-batches;
 *     if not even that, one micro-batch whose rows overlap.
 * The set is cut into runs of equal size, one forward-only plan each: eval_runs runs of eval_microbatches micro-batches.
 *
 * A value without memory of its own; borrows the corpus. Pure; thread: any. */
#ifndef SC_BATCHES_H
#define SC_BATCHES_H

#include "coordinator/data/corpus.h"

typedef struct sc_batches {
    sc_tokens train, validation;
    uint64_t seed;
    int batch_size;
    int B;                 /* sequences in a micro-batch */
    int T;                 /* tokens in a sequence */
    int n_microbatches;    /* M = batch_size / B */
    int eval_runs;         /* 0: there is no validation stream */
    int eval_microbatches; /* of each run: M, or fewer where the stream is short */
} sc_batches;

/* The corpus has at least one window of T + 1 tokens to train on (sc_corpus_load sees to it). */
sc_batches sc_batches_of(const sc_config *config, const sc_corpus *corpus);

/* Errors of both: as sc_tokens_read.
 *
 * Micro-batch 0 .. M - 1 of training step 0, 1, ...: tokens and targets (B,T), targets[b][t] = the token that follows
 * tokens[b][t]. */
sc_status sc_batches_get(const sc_batches *self, uint64_t step, int microbatch, int32_t *tokens, int32_t *targets);

/* Micro-batch 0 .. eval_microbatches - 1 of evaluation run 0 .. eval_runs - 1. */
sc_status sc_batches_get_eval(const sc_batches *self, int run, int microbatch, int32_t *tokens, int32_t *targets);

#endif
