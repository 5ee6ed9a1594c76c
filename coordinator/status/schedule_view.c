#include "coordinator/status/schedule_view.h"

#include "coordinator/schedule/simulator.h"

#include <jansson.h>

static json_t *append(json_t *list, json_t *item)
{
    if (json_array_append_new(list, item) == 0)
        return list;
    json_decref(list);
    return NULL;
}

static json_t *actions_of(const sc_plan *plan)
{
    json_t *workers = json_array();
    char text[32];
    for (int w = 0; w < plan->n_workers; w++) {
        json_t *actions = json_array();
        for (int i = 0; i < plan->workers[w].n; i++)
            actions = append(actions, json_string(sc_action_text(plan->workers[w].actions[i], text, sizeof text)));
        workers = append(workers, actions);
    }
    return workers;
}

static bool computes(sc_action_kind kind)
{
    return kind == SC_ACT_FORWARD || kind == SC_ACT_BACKWARD || kind == SC_ACT_BACKWARD_INPUT ||
           kind == SC_ACT_BACKWARD_WEIGHT;
}

static json_t *grid_of(const sc_sim_result *result)
{
    json_t *grid = json_array();
    char text[32];
    for (size_t i = 0; i < result->n_spans; i++) {
        const sc_sim_span *span = &result->spans[i];
        if (computes(span->action.kind))
            grid = append(grid, json_pack("{s:i, s:s, s:f, s:f}", "worker", span->worker, "action",
                                          sc_action_text(span->action, text, sizeof text), "start", span->start_seconds,
                                          "end", span->end_seconds));
    }
    return grid;
}

static size_t n_actions(const sc_plan *plan)
{
    size_t n = 0;
    for (int w = 0; w < plan->n_workers; w++)
        n += (size_t)plan->workers[w].n;
    return n;
}

char *sc_schedule_view(const sc_plan *plan)
{
    sc_sim_stage_cost costs[SC_MAX_STAGES * SC_MAX_CHUNKS];
    sc_sim_result result = {0};
    const bool small = n_actions(plan) <= SC_SCHEDULE_VIEW_ACTIONS;
    for (int i = 0; i < sc_plan_n_stages(plan); i++)
        costs[i] = (sc_sim_stage_cost){.forward_seconds = 1, .backward_input_seconds = 1, .backward_weight_seconds = 1};
    const sc_sim_costs options = {.stages = costs, .keep_timeline = small};
    if (sc_simulate(plan, &options, &result) != SC_OK)
        return NULL;
    json_t *view = json_pack("{s:s, s:i, s:i, s:f, s:o, s:o}", "schedule", plan->schedule, "stages",
                             sc_plan_n_stages(plan), "microbatches", plan->n_microbatches, "slots", result.step_seconds,
                             "workers", small ? actions_of(plan) : json_array(), "grid", grid_of(&result));
    char *text = view ? json_dumps(view, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(view);
    sc_sim_result_clear(&result);
    return text;
}
