/* A plan: what each worker does in one step, as data. Generators (coordinator/schedule) make it, the validator checks
 * it, the simulator runs it in imagined time and the worker's executor runs it in earnest; nobody else decides anything.
 *
 * Text form: actions separated by blanks, one line a worker, "#" starts a comment.
 *   2F0          virtual stage 2, forward, micro-batch 0
 *   2B0          full backward: input gradient, then weight gradient
 *   2I0 2W0      the two apart
 *   2SEND_F0     send micro-batch 0's activation from stage 2 to stage 3     2RECV_F0  receive stage 1's activation at stage 2
 *   2SEND_B0     send its input gradient from stage 2 to stage 1              2RECV_B0  receive the gradient from stage 3
 *   2REDUCE_TIED exchange and add the gradient of the matrix that the first and the last stage share
 *   2REDUCE_GRAD add the gradients of data-parallel replicas (no generator makes it yet; the validator knows it)
 *   2STEP        vote with the gradient norms, wait for the verdict, apply the optimizer
 * Stage 0's F takes the micro-batch's tokens, the last stage's F its targets, both from the coordinator, without an
 * action of their own. The names are those of torch.distributed.pipelining where it has the action.
 *
 * A header line comes first:   plan 1f1b stages=4 chunks=1 microbatches=8 mode=train
 * Then each worker has its line, in order; a worker without actions has a "-". Empty lines do not count.
 * mode=train: every forward has its backward and the plan ends in STEP; mode=forward: F, SEND_F and RECV_F alone.
 * frozen=N, in a plan that trains: the first N stages have no backward, and the gradients of their outputs are not sent. */
#ifndef SC_PLAN_H
#define SC_PLAN_H

#include "proto/base/legend.h"
#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum sc_action_kind {
    SC_ACT_FORWARD,
    SC_ACT_BACKWARD,
    SC_ACT_BACKWARD_INPUT,
    SC_ACT_BACKWARD_WEIGHT,
    SC_ACT_SEND_F,
    SC_ACT_RECV_F,
    SC_ACT_SEND_B,
    SC_ACT_RECV_B,
    SC_ACT_REDUCE_TIED,
    SC_ACT_REDUCE_GRAD,
    SC_ACT_STEP,
} sc_action_kind;

typedef struct sc_action {
    sc_action_kind kind;
    int stage;      /* virtual stage, 0 .. S*K-1 */
    int microbatch; /* 0 .. M-1; -1 where the kind has none */
} sc_action;

typedef struct sc_action_list {
    sc_action *actions;
    int n, capacity;
} sc_action_list;

typedef enum sc_plan_mode { SC_PLAN_TRAIN, SC_PLAN_FORWARD } sc_plan_mode;

typedef struct sc_plan {
    char schedule[32];  /* "gpipe", "1f1b", ... */
    int n_workers;      /* S */
    int n_chunks;       /* K */
    int n_microbatches; /* M */
    int n_frozen;       /* in mode train: so many of the first stages learn nothing, and run forward alone */
    sc_plan_mode mode;
    sc_action_list *workers; /* [n_workers] */
} sc_plan;

/* An empty plan. Errors: SC_INVALID for sizes outside 1..SC_MAX_* and a name that is not 1..31 of [A-Za-z0-9_.-].
 * Returns owned in *out. */
sc_status sc_plan_new(const char *schedule, int S, int K, int M, sc_plan_mode mode, sc_plan **out);
void sc_plan_destroy(sc_plan **self_p);

/* Appends to a worker's list. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_plan_add(sc_plan *self, int worker, sc_action_kind kind, int stage, int microbatch);

/* Virtual stages in all, and the worker that has one. Stages go round the workers: v -> v % S. */
static inline int sc_plan_n_stages(const sc_plan *self)
{
    return self->n_workers * self->n_chunks;
}
static inline int sc_plan_worker_of(const sc_plan *self, int stage)
{
    return stage % self->n_workers;
}
/* Do neighbouring virtual stages live on different workers, so that activations and gradients are sent? (S > 1) */
static inline bool sc_plan_sends(const sc_plan *self)
{
    return self->n_workers > 1;
}

/* Does the kind belong to one micro-batch? REDUCE_TIED, REDUCE_GRAD and STEP do not. */
bool sc_action_has_microbatch(sc_action_kind kind);

/* "2F0"; returns `text`. 32 bytes suffice. */
const char *sc_action_text(sc_action action, char *text, size_t text_bytes);
/* Parses the longest action at `text`; *end is set behind it. Errors: SC_INVALID with what was found and expected. */
sc_status sc_action_parse(const char *text, const char **end, sc_action *out);

/* The whole plan as text; returns owned, freed with free(). NULL if memory ran out. */
char *sc_plan_text(const sc_plan *self);
/* Errors: SC_INVALID with line and column; any bytes at all are safe, memory is bounded by the text's own size.
 * Does not validate. */
sc_status sc_plan_parse(const char *text, size_t text_bytes, sc_plan **out);

/* The rules, where the names alone do not say them:
 *  - With S = 1 neighbouring stages share a worker: there are no SEND and RECV at all.
 *  - RECV_F precedes its F, F its SEND_F, RECV_B its B or I, B or I its SEND_B, each on the one worker.
 *  - A stage's backward of a micro-batch is B, or I and later W.
 *  - `tied`: the first and the last virtual stage each have a REDUCE_TIED after their last weight gradient (with S = 1
 *    after both stages' last; with S * K = 1 it is one action). No other stage has one, nor any stage of an untied model.
 *  - Frozen stages have F, SEND_F and RECV_F alone, as in mode forward, and at least one stage is not frozen.
 *  - REDUCE_GRAD: in all stages that learn or in none; after the stage's last weight gradient and before its REDUCE_TIED.
 *  - STEP closes each worker's list; its stage is the worker's first.
 *
 * Refuses a plan that drops or repeats an action, puts one on the wrong worker, sends without a receive or receives
 * without a send, runs backward before forward, W before I, accumulates weight gradients out of micro-batch order (the
 * promise of identical bits rests on it), leaves out STEP or REDUCE_TIED (`tied`), or deadlocks (with the chain of who
 * waits for whom). Sends do not block. Errors: SC_FAILED_PRECONDITION naming worker, position and action. */
sc_status sc_plan_validate(const sc_plan *self, bool tied);

/* The grid: workers as rows, time slots as columns, F and B one slot each (I and W half a B), as in the papers. A "." is
 * an idle slot, a "=" continues an action over a second column. Works on any plan: a list that cannot go on ends there.
 * `mark_worker` and `mark_position` put a > before an action (for errors and for a stage's current place); -1 for none.
 * If that action takes no slot (a send, a receive, a step) the > stands before the next that does. */
void sc_plan_print_grid(const sc_plan *self, FILE *out, int mark_worker, int mark_position);

#endif
