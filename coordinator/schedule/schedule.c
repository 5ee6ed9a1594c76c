#include "coordinator/schedule/schedule.h"

#include "coordinator/schedule/schedule_list.h"

#include <assert.h>
#include <string.h>

static const struct {
    const char *name;
    sc_schedule_generator *generate;
    int most_chunks;
} schedules[] = {
    [SC_SCHEDULE_GPIPE] = {"gpipe", sc_schedule_gpipe, 1},
    [SC_SCHEDULE_1F1B] = {"1f1b", sc_schedule_1f1b, 1},
};
enum { N_SCHEDULES = sizeof schedules / sizeof schedules[0] };

const char *sc_schedule_name(sc_schedule_kind kind)
{
    assert((unsigned)kind < N_SCHEDULES);
    return schedules[kind].name;
}

sc_status sc_schedule_find(const char *name, sc_schedule_kind *out)
{
    char known[128] = "";
    for (int i = 0; i < N_SCHEDULES; i++) {
        if (strcmp(name, schedules[i].name) == 0) {
            *out = (sc_schedule_kind)i;
            return SC_OK;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", schedules[i].name);
    }
    return SC_FAIL(SC_NOT_FOUND, "there is no schedule '%s'; the schedules are %s", name, known);
}

sc_status sc_schedule_add_forward(sc_plan *plan, int stage, int microbatch)
{
    int worker = sc_plan_worker_of(plan, stage);
    if (sc_plan_sends(plan) && stage > 0)
        SC_TRY(sc_plan_add(plan, worker, SC_ACT_RECV_F, stage, microbatch));
    SC_TRY(sc_plan_add(plan, worker, SC_ACT_FORWARD, stage, microbatch));
    if (sc_plan_sends(plan) && stage < sc_plan_n_stages(plan) - 1)
        SC_TRY(sc_plan_add(plan, worker, SC_ACT_SEND_F, stage, microbatch));
    return SC_OK;
}

sc_status sc_schedule_add_backward(sc_plan *plan, int stage, int microbatch)
{
    int worker = sc_plan_worker_of(plan, stage);
    if (sc_plan_sends(plan) && stage < sc_plan_n_stages(plan) - 1)
        SC_TRY(sc_plan_add(plan, worker, SC_ACT_RECV_B, stage, microbatch));
    SC_TRY(sc_plan_add(plan, worker, SC_ACT_BACKWARD, stage, microbatch));
    if (sc_plan_sends(plan) && stage > plan->n_frozen)
        SC_TRY(sc_plan_add(plan, worker, SC_ACT_SEND_B, stage, microbatch));
    return SC_OK;
}

static sc_status add_all(sc_plan *plan, sc_schedule_kind kind, bool tied)
{
    int last = sc_plan_n_stages(plan) - 1;
    for (int v = 0; v <= last; v++) {
        if (plan->mode == SC_PLAN_FORWARD || v < plan->n_frozen) {
            for (int m = 0; m < plan->n_microbatches; m++)
                SC_TRY(sc_schedule_add_forward(plan, v, m));
            continue;
        }
        SC_TRY(schedules[kind].generate(plan, v));
        if (tied && (v == 0 || v == last))
            SC_TRY(sc_plan_add(plan, sc_plan_worker_of(plan, v), SC_ACT_REDUCE_TIED, v, -1));
    }
    for (int w = 0; w < plan->n_workers && plan->mode == SC_PLAN_TRAIN; w++)
        SC_TRY(sc_plan_add(plan, w, SC_ACT_STEP, w, -1));
    return SC_OK;
}

static sc_status make(sc_schedule_kind kind, int S, int K, int M, sc_plan_mode mode, bool tied, int n_frozen,
                      sc_plan **out)
{
    *out = NULL;
    assert((unsigned)kind < N_SCHEDULES);
    if (K > schedules[kind].most_chunks)
        return SC_FAIL(SC_INVALID, "schedule %s runs %d chunk per worker, not %d; set the number of chunks to %d",
                       schedules[kind].name, schedules[kind].most_chunks, K, schedules[kind].most_chunks);
    sc_plan *plan = NULL;
    SC_TRY(sc_plan_new(schedules[kind].name, S, K, M, mode, &plan));
    plan->n_frozen = n_frozen;
    sc_status status = add_all(plan, kind, tied);
    if (status != SC_OK)
        sc_plan_destroy(&plan);
    *out = plan;
    return status;
}

sc_status sc_schedule_make(sc_schedule_kind kind, int S, int K, int M, sc_plan_mode mode, bool tied, sc_plan **out)
{
    return make(kind, S, K, M, mode, tied, 0, out);
}

sc_status sc_schedule_make_frozen(sc_schedule_kind kind, int S, int K, int M, bool tied, int n_frozen, sc_plan **out)
{
    *out = NULL;
    if (n_frozen < 0 || n_frozen >= S * K)
        return SC_FAIL(SC_INVALID, "%d of %d stages are frozen; all but one can be", n_frozen, S * K);
    return make(kind, S, K, M, SC_PLAN_TRAIN, tied, n_frozen, out);
}
