/* The best evaluation of a run so far, by one score, and how many since were worse: what early stopping and the choice of the final
 * weights rest on. Pure; thread: any.
 *
 * Invariants
 *  1. Evaluations count in the order of their steps, each once: one at or before `evaluated` changes nothing, for a run that went back
 *     repeats evaluations with the same bits.
 *  2. A later evaluation is better only if its score is greater (of the loss: less); a score that is no number never is.
 * Each checkpoint's manifest has what was known when it was begun. So a run that goes on from it knows what it knew then, and finds
 * the rest again. */
#ifndef SC_BEST_H
#define SC_BEST_H

#include "proto/base/config.h"

typedef struct sc_best {
    int metric;        /* sc_metric_kind; SC_METRIC_NONE: nothing is chosen */
    int64_t evaluated; /* the last step whose evaluation counted; 0: none */
    int64_t step;      /* of the best; 0: none */
    double value;      /* its score */
    int64_t n_worse;   /* evaluations since */
} sc_best;

/* The evaluation after `step` counts. Whether it is the best now. */
bool sc_best_count(sc_best *self, int64_t step, double value);
/* Whether so many evaluations in a row were worse. patience 0: never. */
bool sc_best_is_over(const sc_best *self, int64_t patience);

/* For a manifest: {"metric": "accuracy", "evaluated": 20, "step": 10, "value": "0.875", "worse": 1}, the value in as many digits as
 * give it back. Owned; NULL if memory ran out. */
struct json_t;
struct json_t *sc_best_to_json(const sc_best *self);
/* False if it is not of this form. */
bool sc_best_from_json(const struct json_t *json, sc_best *out);

#endif
