#include "coordinator/schedule/simulator.h"

#include "proto/base/plan_walk.h"

#include <stdlib.h>

/* What a worker has in its hands while the walk passes. */
typedef struct desk {
    uint64_t bytes;
    int microbatches;
    double end;          /* of its last action */
    double link_free[2]; /* when the link to the next worker, and to the one before, is free again */
    size_t first_span;
} desk;

typedef struct simulation {
    const sc_plan *plan;
    const sc_sim_costs *costs;
    sc_sim_result *result;
    desk *desks;
} simulation;

static double duration(void *context, sc_action action)
{
    const simulation *self = context;
    const sc_sim_stage_cost *cost = &self->costs->stages[action.stage];
    switch (action.kind) {
    case SC_ACT_FORWARD:
        return cost->forward_seconds;
    case SC_ACT_BACKWARD:
        return cost->backward_input_seconds + cost->backward_weight_seconds;
    case SC_ACT_BACKWARD_INPUT:
        return cost->backward_input_seconds;
    case SC_ACT_BACKWARD_WEIGHT:
        return cost->backward_weight_seconds;
    default:
        return 0.0;
    }
}

static double arrival(void *context, int sender, sc_action action, double ready)
{
    simulation *self = context;
    const sc_sim_costs *costs = self->costs;
    bool to_next = action.kind == SC_ACT_SEND_F;
    uint64_t bytes = costs->tied_bytes;
    if (action.kind == SC_ACT_SEND_F) {
        bytes = costs->stages[action.stage].output_bytes;
    } else if (action.kind == SC_ACT_SEND_B) {
        bytes = costs->stages[action.stage - 1].output_bytes;
    } else {
        to_next = sender == self->plan->n_workers - 1; /* the ring closes: the last worker's next is the first */
    }
    /* Of two workers each is the other's next and the one before: there is one link. */
    double *link_free = &self->desks[sender].link_free[to_next || self->plan->n_workers == 2 ? 0 : 1];
    double start = ready > *link_free ? ready : *link_free;
    *link_free = start;
    if (costs->link_bytes_per_second > 0.0)
        *link_free += (double)bytes / costs->link_bytes_per_second;
    return *link_free + costs->link_latency_seconds;
}

/* Memory: a forward takes, the end of the weight gradient gives back; without a backward nothing is kept. */
static void account(simulation *self, int worker, sc_action action)
{
    const sc_sim_stage_cost *cost = &self->costs->stages[action.stage];
    sc_sim_worker *seen = &self->result->workers[worker];
    desk *d = &self->desks[worker];
    bool keeps = self->plan->mode == SC_PLAN_TRAIN && action.stage >= self->plan->n_frozen;
    if (action.kind == SC_ACT_FORWARD) {
        d->bytes += cost->saved_bytes;
        d->microbatches++;
    } else if (action.kind == SC_ACT_BACKWARD || action.kind == SC_ACT_BACKWARD_INPUT) {
        d->bytes += cost->weight_bytes;
    }
    if (d->bytes > seen->peak_activation_bytes)
        seen->peak_activation_bytes = d->bytes;
    if (d->microbatches > seen->peak_microbatches)
        seen->peak_microbatches = d->microbatches;
    if (action.kind == SC_ACT_BACKWARD || action.kind == SC_ACT_BACKWARD_WEIGHT) {
        d->bytes -= cost->saved_bytes + cost->weight_bytes;
        d->microbatches--;
    } else if (action.kind == SC_ACT_FORWARD && !keeps) {
        d->bytes -= cost->saved_bytes;
        d->microbatches--;
    }
}

static void done(void *context, int worker, int position, sc_action action, double start, double end)
{
    simulation *self = context;
    desk *d = &self->desks[worker];
    double busy = duration(self, action);
    self->result->workers[worker].busy_seconds += busy;
    account(self, worker, action);
    if (action.kind != SC_ACT_SEND_F && action.kind != SC_ACT_SEND_B)
        d->end = end;
    if (self->result->spans)
        self->result->spans[d->first_span + (size_t)position] = (sc_sim_span){
            .worker = worker, .position = position, .action = action, .start_seconds = start, .end_seconds = end};
}

static sc_status check_places(const sc_plan *plan)
{
    for (int w = 0; w < plan->n_workers; w++)
        for (int i = 0; i < plan->workers[w].n; i++) {
            char text[32];
            sc_action a = plan->workers[w].actions[i];
            if (a.stage < 0 || a.stage >= sc_plan_n_stages(plan))
                return SC_FAIL(SC_FAILED_PRECONDITION, "worker %d, position %d, %s: the plan has stages 0 to %d", w, i,
                               sc_action_text(a, text, sizeof text), sc_plan_n_stages(plan) - 1);
        }
    return SC_OK;
}

/* All votes are in when the last worker comes to its STEP; then each worker runs its optimizer. */
static void run_step(simulation *self)
{
    sc_sim_result *result = self->result;
    double votes = 0.0;
    for (int w = 0; w < result->n_workers; w++)
        if (self->desks[w].end > votes)
            votes = self->desks[w].end;
    result->step_seconds = votes;
    for (int w = 0; w < result->n_workers; w++) {
        const sc_action_list *list = &self->plan->workers[w];
        if (list->n == 0 || list->actions[list->n - 1].kind != SC_ACT_STEP)
            continue;
        double seconds = 0.0;
        for (int v = w; v < sc_plan_n_stages(self->plan); v += self->plan->n_workers)
            seconds += self->costs->stages[v].optimizer_seconds;
        result->workers[w].busy_seconds += seconds;
        if (votes + seconds > result->step_seconds)
            result->step_seconds = votes + seconds;
        if (result->spans)
            result->spans[self->desks[w].first_span + (size_t)list->n - 1].end_seconds = votes + seconds;
    }
}

static void summarise(sc_sim_result *result)
{
    double busy = 0.0;
    for (int w = 0; w < result->n_workers; w++) {
        sc_sim_worker *worker = &result->workers[w];
        worker->idle_seconds = result->step_seconds - worker->busy_seconds;
        busy += worker->busy_seconds;
    }
    if (result->step_seconds > 0.0)
        result->bubble_ratio = 1.0 - busy / (result->n_workers * result->step_seconds);
}

sc_status sc_simulate(const sc_plan *plan, const sc_sim_costs *costs, sc_sim_result *result)
{
    *result = (sc_sim_result){.n_workers = plan->n_workers};
    SC_TRY(check_places(plan));
    size_t S = (size_t)plan->n_workers, n_actions = 0;
    sc_status status = SC_OK;
    simulation self = {.plan = plan, .costs = costs, .result = result, .desks = calloc(S, sizeof *self.desks)};
    result->workers = calloc(S, sizeof *result->workers);
    for (size_t w = 0; self.desks && w < S; w++) {
        self.desks[w].first_span = n_actions;
        n_actions += (size_t)plan->workers[w].n;
    }
    if (costs->keep_timeline)
        result->spans = calloc(n_actions + 1, sizeof *result->spans);
    if (!self.desks || !result->workers || (costs->keep_timeline && !result->spans)) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to simulate %zu actions", n_actions);
        goto cleanup;
    }
    result->n_spans = costs->keep_timeline ? n_actions : 0;
    sc_plan_walk_hooks hooks = {.duration = duration, .arrival = arrival, .done = done, .context = &self};
    SC_TRY_GOTO(status, sc_plan_walk(plan, &hooks, NULL), cleanup);
    run_step(&self);
    summarise(result);
cleanup:
    free(self.desks);
    if (status != SC_OK)
        sc_sim_result_clear(result);
    return status;
}

void sc_sim_result_clear(sc_sim_result *result)
{
    free(result->workers);
    free(result->spans);
    *result = (sc_sim_result){0};
}
