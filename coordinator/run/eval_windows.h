/* How `evaluate` cuts a stream of n tokens: into windows of T targets, one behind the other.
 *
 *   window w has the inputs  wT .. wT + T - 1  and the targets  wT + 1 .. wT + T
 *
 * so every token but the first is predicted exactly once, from at most T tokens before it: the first of a window from one,
 * the last from T. The last window may be short: it is filled up with inputs 0 and targets -1, which count nothing and, as
 * attention looks back only, change nothing. B windows make a micro-batch; the last one may have fewer.
 * Pure; thread: any. */
#ifndef SC_EVAL_WINDOWS_H
#define SC_EVAL_WINDOWS_H

#include "coordinator/data/tokens.h"

typedef struct sc_eval_windows {
    sc_tokens tokens; /* at least 2; borrowed */
    int B, T;
} sc_eval_windows;

uint64_t sc_eval_windows_n(const sc_eval_windows *self);
uint64_t sc_eval_windows_n_microbatches(const sc_eval_windows *self);
/* Windows in a micro-batch, 1 .. B. */
int sc_eval_windows_rows(const sc_eval_windows *self, uint64_t microbatch);
/* Tokens and targets (rows,T) of a micro-batch, and how many targets count. Errors: as sc_tokens_read. */
sc_status sc_eval_windows_get(const sc_eval_windows *self, uint64_t microbatch, int32_t *tokens, int32_t *targets,
                              uint64_t *n_targets);

#endif
