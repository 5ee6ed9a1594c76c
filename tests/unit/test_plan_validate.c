/* What the validator refuses: hand-made mistakes with their message, and every deletion, repetition and swap of an action
 * of valid plans, judged by an oracle that knows only what each action needs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/schedule/schedule.h"

static sc_plan *parse(const char *text)
{
    sc_plan *plan = NULL;
    if (sc_plan_parse(text, strlen(text), &plan) != SC_OK)
        fail_msg("%s", sc_status_message());
    return plan;
}

static void expect(const char *text, bool tied, const char *message)
{
    sc_plan *plan = parse(text);
    sc_status status = sc_plan_validate(plan, tied);
    if (!message && status != SC_OK)
        fail_msg("%s\n%s", sc_status_message(), text);
    if (message) {
        assert_int_equal(status, SC_FAILED_PRECONDITION);
        if (!strstr(sc_status_message(), message))
            fail_msg("expected \"%s\", got \"%s\"", message, sc_status_message());
    }
    sc_plan_destroy(&plan);
}

#define ONE   "plan x stages=1 chunks=1 microbatches=2 mode=train\n"
#define TWO   "plan x stages=2 chunks=1 microbatches=1 mode=train\n"
#define ROUND "plan x stages=1 chunks=2 microbatches=1 mode=train\n"
#define LAST  "1RECV_F0 1F0 1B0 1SEND_B0 1STEP\n"

static void one_worker_needs_no_messages(void **state)
{
    (void)state;
    expect(ONE "0F0 0B0 0F1 0B1 0STEP", false, NULL);
    expect(ONE "0F0 0F1 0I1 0I0 0W0 0W1 0STEP", false, NULL);
    expect(ONE "0F0 0SEND_F0 0B0 0F1 0B1 0STEP", false, "with one worker nothing is sent");
    expect(ROUND "0F0 1F0 1B0 0B0 0STEP", false, NULL);
    expect(ROUND "1F0 0F0 1B0 0B0 0STEP", false, "worker 0, position 0, 1F0: 0F0 must come before it");
    expect(ROUND "0F0 1F0 0B0 1B0 0STEP", false, "1B0 must come before it");
    expect("plan x stages=1 chunks=1 microbatches=2 mode=forward\n0F1 0F0", true, NULL);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    expect(TWO "0F0 0SEND_F0 0RECV_B0 0B0 0STEP\n" LAST, false, NULL);
    expect(TWO "-\n" LAST, false, "worker 0, position 0: its list ends too early");
    expect(TWO "0F0 0SEND_F0 0RECV_B0 0B0 0STEP\n1RECV_F0 1F0 1SEND_F0 1B0 1SEND_B0 1STEP", false,
           "worker 1, position 2, 1SEND_F0: stage 1 has no neighbour on that side");
    expect(TWO "0F0 0SEND_F0 0RECV_B0 0B0 0SEND_B0 0STEP\n" LAST, false, "stage 0 has no neighbour");
    expect(TWO "0F0 0SEND_F0 1F0 0RECV_B0 0B0 0STEP\n" LAST, false, "stage 1 belongs to worker 1");
    expect(TWO "0F0 0SEND_F0 0RECV_B0 0B0 0B0 0STEP\n" LAST, false, "position 4, 0B0: it stands here a second time");
    expect(TWO "0F0 0SEND_F0 0RECV_B0 0B0 0I0 0STEP\n" LAST, false, "input gradient is there already");
    expect(TWO "0F0 0SEND_F0 0RECV_B0 0W0 0I0 0STEP\n" LAST, false, "0W0: 0I0 must come before it");
    expect(TWO "0F0 0SEND_F0 0RECV_B0 0I0 0STEP\n" LAST, false, "weight gradient of micro-batch 0 must come before");
    expect(TWO "0F0 0SEND_F0 0B0 0RECV_B0 0STEP\n" LAST, false, "0B0: 0RECV_B0 must come before it");
    expect(TWO "0F0 0SEND_F0 0RECV_B0 0B0\n" LAST, false, "worker 0, position 4: its list ends without 0STEP");
    expect(TWO "0F0 0SEND_F0 0RECV_B0 0B0 0STEP 0STEP\n" LAST, false, "STEP closes the worker's list");
    expect(TWO "0F0 0RECV_B0 0B0 0STEP\n" LAST, false, "its list ends without 0SEND_F0");
    expect(TWO "0F0 0SEND_F0 0RECV_B0 0B0 0STEP\n1RECV_F0 1F0 1B0 1STEP", false, "ends without 1SEND_B0");
    expect(TWO "0F1 0SEND_F0 0RECV_B0 0B0 0STEP\n" LAST, false, "the plan has micro-batches 0 to 0");
    expect(TWO "2F0 0SEND_F0 0RECV_B0 0B0 0STEP\n" LAST, false, "the plan has stages 0 to 1");
    expect(ONE "0F0 0F1 0B1 0B0 0STEP", false, "0B1: weight gradients are added in micro-batch order");
    expect(ONE "0F0 0F1 0I0 0I1 0W1 0W0 0STEP", false, "0W1: weight gradients are added in micro-batch order");
    expect(ROUND "0F0 1F0 1B0 0B0 1STEP", false, "named after its first stage, 0");
    expect("plan x stages=1 chunks=1 microbatches=1 mode=forward\n0F0 0B0", false, "a forward plan has F, SEND_F");
    expect("plan x stages=1 chunks=1 microbatches=1 mode=forward\n0F0 0STEP", false, "a forward plan has F, SEND_F");
}

static void the_tied_matrix_is_reduced_where_it_is(void **state)
{
    (void)state;
    expect(ONE "0F0 0B0 0F1 0B1 0REDUCE_TIED 0STEP", true, NULL);
    expect(ONE "0F0 0B0 0F1 0B1 0REDUCE_TIED 0STEP", false, "this model shares no matrix");
    expect(ONE "0F0 0B0 0F1 0B1 0STEP", true, "its list ends without 0REDUCE_TIED");
    expect(ONE "0F0 0B0 0F1 0REDUCE_TIED 0B1 0STEP", true, "weight gradient of micro-batch 1 must come before it");
    expect(ONE "0F0 0B0 0F1 0B1 0REDUCE_TIED 0REDUCE_TIED 0STEP", true, "a second time");
    expect(ROUND "0F0 1F0 1B0 0B0 0REDUCE_TIED 1REDUCE_TIED 0STEP", true, NULL);
    expect(ROUND "0F0 1F0 1B0 0B0 0REDUCE_TIED 0STEP", true, "its list ends without 1REDUCE_TIED");
    expect(ROUND "0F0 1F0 1B0 1REDUCE_TIED 0B0 0REDUCE_TIED 0STEP", true, "stage 0's weight gradient");
    expect("plan x stages=3 chunks=1 microbatches=1 mode=train\n"
           "0F0 0SEND_F0 0RECV_B0 0B0 0REDUCE_TIED 0STEP\n"
           "1RECV_F0 1F0 1SEND_F0 1RECV_B0 1B0 1SEND_B0 1REDUCE_TIED 1STEP\n"
           "2RECV_F0 2F0 2B0 2SEND_B0 2REDUCE_TIED 2STEP\n",
           true, "only stage 0 and stage 2 hold the shared matrix");
}

static void replicas_are_added_by_all_stages_or_none(void **state)
{
    (void)state;
    expect(TWO "0F0 0SEND_F0 0RECV_B0 0B0 0REDUCE_GRAD 0STEP\n1RECV_F0 1F0 1B0 1SEND_B0 1REDUCE_GRAD 1STEP", false,
           NULL);
    expect(TWO "0F0 0SEND_F0 0RECV_B0 0B0 0REDUCE_GRAD 0STEP\n" LAST, false, "ends without 1REDUCE_GRAD");
    expect(ONE "0F0 0B0 0F1 0REDUCE_GRAD 0B1 0STEP", false, "micro-batch 1 must come before it");
    expect(ONE "0F0 0B0 0F1 0B1 0REDUCE_GRAD 0REDUCE_GRAD 0STEP", false, "a second time");
    expect(ONE "0F0 0B0 0F1 0B1 0REDUCE_GRAD 0REDUCE_TIED 0STEP", true, NULL);
    expect(ONE "0F0 0B0 0F1 0B1 0REDUCE_TIED 0REDUCE_GRAD 0STEP", true, "before the tied matrix is");
}

static void a_deadlock_tells_who_waits_for_whom(void **state)
{
    (void)state;
    /* Each list is in order by itself; together stage 0 wants a gradient before it has sent the activation. */
    expect(TWO "0F0 0RECV_B0 0B0 0SEND_F0 0STEP\n" LAST, false,
           "deadlock: worker 0 at position 1 (0RECV_B0) waits for 1SEND_B0 of worker 1, which at position 0 (1RECV_F0) "
           "waits for 0SEND_F0 of worker 0; 2 workers wait in a circle");
    /* The last stage exchanges the tied gradient before it has sent what the first stage's last backward needs. */
    expect(TWO "0F0 0SEND_F0 0RECV_B0 0B0 0REDUCE_TIED 0STEP\n1RECV_F0 1F0 1B0 1REDUCE_TIED 1SEND_B0 1STEP", true,
           "(1REDUCE_TIED) waits for 0REDUCE_TIED of worker 0");
}

/* The oracle. It runs any action that stands first in its list and has what it needs, until nothing moves. */
enum { MOST = 16 };

typedef struct oracle {
    const sc_plan *plan;
    int at[MOST];
    bool done[8][MOST][MOST]; /* [kind][stage][micro-batch] */
    int n_weight_grads[MOST];
} oracle;

static bool is_first_in_some_list(const oracle *self, sc_action_kind kind, int stage)
{
    const sc_plan *plan = self->plan;
    int w = sc_plan_worker_of(plan, stage);
    for (int i = 0; i < self->at[w]; i++)
        if (plan->workers[w].actions[i].kind == kind && plan->workers[w].actions[i].stage == stage)
            return true;
    return self->at[w] < plan->workers[w].n && plan->workers[w].actions[self->at[w]].kind == kind &&
           plan->workers[w].actions[self->at[w]].stage == stage;
}

static bool can_run(const oracle *self, sc_action a)
{
    int V = sc_plan_n_stages(self->plan), M = self->plan->n_microbatches, v = a.stage, m = a.microbatch;
    bool sends = self->plan->n_workers > 1;
    bool backward_of[MOST] = {false};
    for (int u = 0; u < V && m >= 0; u++)
        backward_of[u] = self->done[SC_ACT_BACKWARD][u][m] || self->done[SC_ACT_BACKWARD_INPUT][u][m];
    bool in_order = self->n_weight_grads[v] == m;
    bool has_gradient =
        v == V - 1 || (sends ? self->done[SC_ACT_RECV_B][v][m >= 0 ? m : 0] : m >= 0 && backward_of[v + 1]);
    switch (a.kind) {
    case SC_ACT_FORWARD:
        return v == 0 || self->done[sends ? SC_ACT_RECV_F : SC_ACT_FORWARD][sends ? v : v - 1][m];
    case SC_ACT_BACKWARD:
        return self->done[SC_ACT_FORWARD][v][m] && has_gradient && in_order;
    case SC_ACT_BACKWARD_INPUT:
        return self->done[SC_ACT_FORWARD][v][m] && has_gradient;
    case SC_ACT_BACKWARD_WEIGHT:
        return self->done[SC_ACT_BACKWARD_INPUT][v][m] && in_order;
    case SC_ACT_SEND_F:
        return self->done[SC_ACT_FORWARD][v][m];
    case SC_ACT_RECV_F:
        return self->done[SC_ACT_SEND_F][v - 1][m];
    case SC_ACT_SEND_B:
        return backward_of[v];
    case SC_ACT_RECV_B:
        return self->done[SC_ACT_SEND_B][v + 1][m];
    case SC_ACT_REDUCE_TIED:
        return self->n_weight_grads[v] == M &&
               (sends ? is_first_in_some_list(self, a.kind, V - 1 - v) : self->n_weight_grads[V - 1 - v] == M);
    case SC_ACT_REDUCE_GRAD:
        return self->n_weight_grads[v] == M &&
               !((v == 0 || v == V - 1) && is_first_in_some_list(self, SC_ACT_REDUCE_TIED, v));
    case SC_ACT_STEP:
        return self->at[v] == self->plan->workers[v].n - 1;
    }
    return false;
}

static bool runs_to_the_end(const sc_plan *plan)
{
    oracle self = {.plan = plan};
    for (bool moved = true; moved;) {
        moved = false;
        for (int w = 0; w < plan->n_workers; w++) {
            if (self.at[w] == plan->workers[w].n || !can_run(&self, plan->workers[w].actions[self.at[w]]))
                continue;
            sc_action a = plan->workers[w].actions[self.at[w]++];
            if (a.microbatch >= 0)
                self.done[a.kind][a.stage][a.microbatch] = true;
            self.n_weight_grads[a.stage] += a.kind == SC_ACT_BACKWARD || a.kind == SC_ACT_BACKWARD_WEIGHT;
            moved = true;
        }
    }
    for (int w = 0; w < plan->n_workers; w++)
        if (self.at[w] < plan->workers[w].n)
            return false;
    return true;
}

static void judge(const sc_plan *plan, bool tied, bool valid, const char *change)
{
    sc_status status = sc_plan_validate(plan, tied);
    if (status == (valid ? SC_OK : SC_FAILED_PRECONDITION))
        return;
    char *text = sc_plan_text(plan);
    print_error("%s\n%s", change, text);
    free(text);
    fail_msg("%s should be %s", change, valid ? "harmless" : "refused");
}

/* Returns how many swaps were harmless. */
static int mutate(sc_plan *plan, bool tied)
{
    int harmless = 0;
    judge(plan, tied, true, "the plan itself");
    assert_true(runs_to_the_end(plan));
    for (int w = 0; w < plan->n_workers; w++) {
        sc_action_list *list = &plan->workers[w];
        for (int i = 0; i < list->n; i++) {
            sc_action removed = list->actions[i];
            memmove(&list->actions[i], &list->actions[i + 1], (size_t)(list->n - i - 1) * sizeof removed);
            list->n--;
            judge(plan, tied, false, "a deletion");
            /* Put it back at each place, first beside itself: twice the action. */
            for (int j = 0; j <= list->n; j++) {
                assert_int_equal(sc_plan_add(plan, w, SC_ACT_STEP, 0, -1), SC_OK);
                memmove(&list->actions[j + 1], &list->actions[j], (size_t)(list->n - j - 1) * sizeof removed);
                list->actions[j] = removed;
                bool valid = runs_to_the_end(plan);
                judge(plan, tied, valid, "a move");
                harmless += valid && j != i;
                assert_int_equal(sc_plan_add(plan, w, removed.kind, removed.stage, removed.microbatch), SC_OK);
                judge(plan, tied, false, "a repetition");
                list->n--;
                memmove(&list->actions[j], &list->actions[j + 1], (size_t)(list->n - j - 1) * sizeof removed);
                list->n--;
            }
            assert_int_equal(sc_plan_add(plan, w, SC_ACT_STEP, 0, -1), SC_OK);
            memmove(&list->actions[i + 1], &list->actions[i], (size_t)(list->n - i - 1) * sizeof removed);
            list->actions[i] = removed;
        }
        for (int i = 0; i < list->n; i++)
            for (int j = i + 1; j < list->n; j++) {
                sc_action swap = list->actions[i];
                list->actions[i] = list->actions[j];
                list->actions[j] = swap;
                bool valid = runs_to_the_end(plan);
                judge(plan, tied, valid, "a swap");
                harmless += valid;
                list->actions[j] = list->actions[i];
                list->actions[i] = swap;
            }
    }
    return harmless;
}

static void every_mutation_is_refused_or_harmless(void **state)
{
    (void)state;
    for (int kind = SC_SCHEDULE_GPIPE; kind <= SC_SCHEDULE_1F1B; kind++)
        for (int S = 1; S <= 4; S++)
            for (int M = 1; M <= 4; M++)
                for (int variant = 0; variant < 3; variant++) {
                    sc_plan *plan = NULL;
                    bool tied = variant == 1;
                    sc_plan_mode mode = variant == 2 ? SC_PLAN_FORWARD : SC_PLAN_TRAIN;
                    assert_int_equal(sc_schedule_make((sc_schedule_kind)kind, S, 1, M, mode, tied, &plan), SC_OK);
                    int harmless = mutate(plan, tied);
                    /* A SEND may go behind the next F: the oracle finds harmless changes, it does not refuse all. */
                    if (S > 1 && M > 1)
                        assert_true(harmless > 0);
                    sc_plan_destroy(&plan);
                }
}

static void mutations_of_frozen_stages_too(void **state)
{
    (void)state;
    for (int kind = SC_SCHEDULE_GPIPE; kind <= SC_SCHEDULE_1F1B; kind++)
        for (int S = 2; S <= 4; S++)
            for (int n_frozen = 1; n_frozen < S; n_frozen++) {
                sc_plan *plan = NULL, *again = NULL;
                assert_int_equal(sc_schedule_make_frozen((sc_schedule_kind)kind, S, 1, 3, false, n_frozen, &plan),
                                 SC_OK);
                char *text = sc_plan_text(plan);
                assert_non_null(text);
                assert_int_equal(sc_plan_parse(text, strlen(text), &again), SC_OK);
                assert_int_equal(again->n_frozen, n_frozen);
                free(text);
                assert_true(mutate(again, false) > 0);
                plan->n_frozen--; /* its stages would then lack their backwards */
                assert_int_equal(sc_plan_validate(plan, false), SC_FAILED_PRECONDITION);
                plan->n_frozen += 2; /* or have too many */
                assert_int_equal(sc_plan_validate(plan, false), SC_FAILED_PRECONDITION);
                sc_plan_destroy(&plan);
                sc_plan_destroy(&again);
            }
}

static void a_frozen_stage_has_forwards_alone(void **state)
{
    (void)state;
    sc_plan *plan = parse("plan 1f1b stages=2 chunks=1 microbatches=2 mode=train frozen=1\n"
                          "0F0 0SEND_F0 0F1 0SEND_F1 0STEP\n"
                          "1RECV_F0 1F0 1B0 1RECV_F1 1F1 1B1 1STEP\n");
    assert_int_equal(sc_plan_validate(plan, false), SC_OK);
    assert_int_equal(sc_plan_validate(plan, true), SC_FAILED_PRECONDITION);
    plan->mode = SC_PLAN_FORWARD;
    assert_int_equal(sc_plan_validate(plan, false), SC_FAILED_PRECONDITION);
    sc_plan_destroy(&plan);
    assert_int_equal(sc_schedule_make_frozen(SC_SCHEDULE_1F1B, 2, 1, 2, false, 2, &plan), SC_INVALID);
    assert_null(plan);
}

static void mutations_of_halves_and_chunks_too(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "plan zb stages=2 chunks=1 microbatches=2 mode=train\n"
        "0F0 0SEND_F0 0F1 0SEND_F1 0RECV_B0 0I0 0W0 0RECV_B1 0I1 0W1 0REDUCE_GRAD 0REDUCE_TIED 0STEP\n"
        "1RECV_F0 1F0 1I0 1SEND_B0 1RECV_F1 1F1 1I1 1SEND_B1 1W0 1W1 1REDUCE_GRAD 1REDUCE_TIED 1STEP\n",
        "plan x stages=1 chunks=3 microbatches=2 mode=train\n"
        "0F0 1F0 2F0 0F1 2B0 1B0 0I0 1F1 2F1 0W0 2B1 1B1 0B1 2REDUCE_TIED 0REDUCE_TIED 0STEP\n",
        "plan x stages=2 chunks=2 microbatches=1 mode=train\n"
        "0F0 0SEND_F0 2RECV_F0 2F0 2SEND_F0 2RECV_B0 2B0 2SEND_B0 0RECV_B0 0B0 0REDUCE_TIED 0STEP\n"
        "1RECV_F0 1F0 1SEND_F0 3RECV_F0 3F0 3B0 3SEND_B0 1RECV_B0 1B0 1SEND_B0 3REDUCE_TIED 1STEP\n",
    };
    int harmless = 0;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        sc_plan *plan = parse(texts[i]);
        harmless += mutate(plan, true);
        sc_plan_destroy(&plan);
    }
    assert_true(harmless > 0);
}

static void the_largest_pipeline_is_checked(void **state)
{
    (void)state;
    sc_plan *plan = NULL;
    assert_int_equal(
        sc_schedule_make(SC_SCHEDULE_1F1B, SC_MAX_STAGES, 1, SC_MAX_MICROBATCHES, SC_PLAN_TRAIN, true, &plan), SC_OK);
    assert_int_equal(sc_plan_validate(plan, true), SC_OK);
    sc_plan_destroy(&plan);
}

static void a_header_alone_costs_nothing(void **state)
{
    (void)state;
    sc_plan *plan = NULL;
    assert_int_equal(sc_plan_new("x", SC_MAX_STAGES, SC_MAX_CHUNKS, SC_MAX_MICROBATCHES, SC_PLAN_TRAIN, &plan), SC_OK);
    assert_int_equal(sc_plan_validate(plan, false), SC_FAILED_PRECONDITION);
    sc_plan_destroy(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_worker_needs_no_messages),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(the_tied_matrix_is_reduced_where_it_is),
        cmocka_unit_test(replicas_are_added_by_all_stages_or_none),
        cmocka_unit_test(a_deadlock_tells_who_waits_for_whom),
        cmocka_unit_test(every_mutation_is_refused_or_harmless),
        cmocka_unit_test(mutations_of_halves_and_chunks_too),
        cmocka_unit_test(mutations_of_frozen_stages_too),
        cmocka_unit_test(a_frozen_stage_has_forwards_alone),
        cmocka_unit_test(the_largest_pipeline_is_checked),
        cmocka_unit_test(a_header_alone_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
