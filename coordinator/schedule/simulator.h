/* The simulator: runs a plan in imagined time and tells how long it takes, where it waits and what it keeps.
 *
 * It walks the very lists that the workers obey (proto/base/plan_walk.h). Compute costs what the tables say; a message
 * costs its latency and its bytes, overlaps with compute, and queues behind the earlier ones of its link; a link is one
 * direction between two workers. STEP waits for the votes of all workers, then costs each its optimizer's seconds.
 * Pure; thread: any. */
#ifndef SC_SIMULATOR_H
#define SC_SIMULATOR_H

#include "proto/base/plan.h"

typedef struct sc_sim_stage_cost {
    double forward_seconds, backward_input_seconds, backward_weight_seconds; /* of one micro-batch; B is I and W */
    double optimizer_seconds;
    uint64_t saved_bytes;  /* kept from F to the end of W (or B), per micro-batch */
    uint64_t weight_bytes; /* more that is kept from I to W, and inside B */
    uint64_t output_bytes; /* the activation sent to the next stage, and the gradient that comes back for it */
} sc_sim_stage_cost;

typedef struct sc_sim_costs {
    const sc_sim_stage_cost *stages; /* [S * K]; borrowed */
    uint64_t tied_bytes;             /* the gradient that REDUCE_TIED sends each way */
    double link_latency_seconds;
    double link_bytes_per_second; /* 0: bytes cost no time */
    bool keep_timeline;
} sc_sim_costs;

typedef struct sc_sim_worker {
    double busy_seconds; /* computing */
    double idle_seconds; /* the rest of the step */
    uint64_t peak_activation_bytes;
    int peak_microbatches; /* alive: forward begun, backward not ended; with K chunks each counts */
} sc_sim_worker;

/* An action's time: of a SEND its message's, of a RECV and a REDUCE_TIED the wait, of a STEP the wait for the votes too. */
typedef struct sc_sim_span {
    int worker, position;
    sc_action action;
    double start_seconds, end_seconds;
} sc_sim_span;

typedef struct sc_sim_result {
    double step_seconds; /* the makespan */
    double bubble_ratio; /* 1 - sum (busy) / (S * makespan) */
    int n_workers;
    sc_sim_worker *workers; /* [n_workers] */
    size_t n_spans;
    sc_sim_span *spans; /* one for each action, worker by worker in list order; NULL without keep_timeline */
} sc_sim_result;

/* Fills *result, whose arrays the caller frees with sc_sim_result_clear. Any plan that could be built is safe.
 * Errors: SC_FAILED_PRECONDITION for a deadlock, with the chain of who waits for whom, and for an action of a stage
 * that the plan does not have; SC_RESOURCE_EXHAUSTED. *result is then empty. */
sc_status sc_simulate(const sc_plan *plan, const sc_sim_costs *costs, sc_sim_result *result);
void sc_sim_result_clear(sc_sim_result *result);

#endif
