/* Walks through a plan in imagined time: the one place that knows when an action may run.
 *
 * Mental model. Each worker has a clock and goes through its list. A compute action moves the clock by its duration; a
 * SEND costs the worker nothing and its message arrives later; a RECV moves the clock to its message's arrival;
 * REDUCE_TIED sends to the peer and waits for the peer's own. As every list is serial, one pass in any order that keeps
 * these waits gives exact times; there is no queue of events. The validator walks to find deadlocks, the grid printer to
 * find slots, the simulator to find seconds.
 *
 * Time and memory are linear in the plan (one byte and two doubles for each virtual stage and micro-batch, of which only
 * the touched pages cost anything). Pure; thread: any. */
#ifndef SC_PLAN_WALK_H
#define SC_PLAN_WALK_H

#include "proto/base/plan.h"

/* All hooks are called in list order on each worker; the workers' calls mix in a fixed order. */
typedef struct sc_plan_walk_hooks {
    /* How long a compute action keeps its worker busy; NULL: no time. */
    double (*duration)(void *context, sc_action action);
    /* When the message that `sender` had ready at time `ready` is there; NULL: at once. For SEND_* and REDUCE_TIED. */
    double (*arrival)(void *context, int sender, sc_action action, double ready);
    /* The action ran from `start` to `end` (of a SEND: the message, from ready to arrival); NULL: nobody asks. */
    void (*done)(void *context, int worker, int position, sc_action action, double start, double end);
    void *context;
} sc_plan_walk_hooks;

/* Any plan is safe: an action with a stage or a micro-batch that the plan does not have takes its time and waits for
 * nothing. `positions` (NULL, or one for each worker) tells how many actions each worker finished.
 * Errors: SC_FAILED_PRECONDITION if a list cannot go on, with the chain of who waits for whom; SC_RESOURCE_EXHAUSTED. */
sc_status sc_plan_walk(const sc_plan *plan, const sc_plan_walk_hooks *hooks, int *positions);

#endif
