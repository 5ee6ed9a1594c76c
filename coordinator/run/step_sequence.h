/* The order of work in a run: training steps, with the runs of an evaluation after every eval_every-th, every eval_epoch-th and
 * the last one.
 *
 * Items are numbered through (`sequence`), so that a micro-batch on the wire names the item that it belongs to. Pure. */
#ifndef SC_STEP_SEQUENCE_H
#define SC_STEP_SEQUENCE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct sc_step_sequence {
    int64_t first_step, steps; /* steps first_step .. steps, 1-based */
    int64_t eval_every;        /* 0: never */
    int64_t eval_epoch;        /* steps of an epoch, where each is to be evaluated; 0: none is */
    int eval_runs;             /* forward-only runs of one evaluation; 0: there is nothing to evaluate on */
    int64_t evaluated_step;    /* the evaluation after this step is done already; 0: after none */
    uint64_t first_sequence;   /* number of the first item, from 1: never one that was used before */
} sc_step_sequence;

typedef struct sc_step_item {
    uint64_t sequence;
    int64_t step; /* the training step, or the one after which this evaluation comes */
    bool eval;
    int run; /* of the evaluation: 0 .. eval_runs - 1 */
} sc_step_item;

/* Where a run goes on (first_step > 1), the evaluation of the step before comes first, unless it is
 * known to be done: it may have been cut off.
 * False if there is no item at all (steps < first_step). */
bool sc_step_sequence_first(const sc_step_sequence *self, sc_step_item *item);
/* Moves to the next item; false behind the last. */
bool sc_step_sequence_next(const sc_step_sequence *self, sc_step_item *item);

#endif
