/* The walk down a plan's action list, and what its files share: the actions (executor_plan.c), those that go forward
 * (executor_forward.c), and what passes between this worker and others (executor_exchange.c).
 *
 * Thread: the executor's. Names of tensors: see TensorName in stagecoach.proto. */
#ifndef SC_EXECUTOR_WALK_H
#define SC_EXECUTOR_WALK_H

#include "worker/executor_internal.h"

#define SC_KIND(name) STAGECOACH__V1__TENSOR_KIND__##name

typedef struct sc_walk {
    sc_executor *self;
    const sc_assignment *assignment;
    const sc_plan *plan;
    const sc_run_step *step;
    uint64_t epoch;
    sc_executor_event *done; /* where the results go */
    sc_stage_step stage_step;
} sc_walk;

/* Virtual stage v of this worker, and micro-batch m there. */
sc_stage *sc_walk_stage(const sc_walk *w, int v);
sc_cell *sc_walk_cell(const sc_walk *w, int v, int m);

sc_tensor_name sc_walk_name(const sc_walk *w, int stage, int microbatch, uint32_t kind, uint32_t part);
/* Takes a tensor from the mailbox, waiting for it. */
sc_status sc_walk_await(const sc_walk *w, sc_tensor_name name, sc_tensor_message *out);
/* A replayed step's inputs from other stages are asked for. */
sc_status sc_walk_ask_for_inputs(const sc_walk *w);
/* Both take the buffer, a (B,T,C) tensor: for `stage` on this worker, and on another. */
sc_status sc_walk_hand_over(const sc_walk *w, int stage, int microbatch, uint32_t kind, const sc_cell *cell,
                            sc_buffer **buffer_p);
sc_status sc_walk_send(const sc_walk *w, int stage, int microbatch, uint32_t kind, const sc_cell *cell,
                       sc_buffer **buffer_p);
/* F of micro-batch m at stage v. */
sc_status sc_walk_forward(const sc_walk *w, int v, int m);
/* Stage v's part in the exchange of the tied matrix's gradient. */
sc_status sc_walk_reduce_tied(const sc_walk *w, int v);

#endif
