/* The simulator against the theory of each schedule, and against times worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/schedule/schedule.h"
#include "coordinator/schedule/simulator.h"

enum { MOST_STAGES = 16 };

static sc_plan *parse(const char *text)
{
    sc_plan *plan = NULL;
    if (sc_plan_parse(text, strlen(text), &plan) != SC_OK)
        fail_msg("%s", sc_status_message());
    return plan;
}

static sc_sim_result simulate(const sc_plan *plan, const sc_sim_costs *costs)
{
    sc_sim_result result;
    if (sc_simulate(plan, costs, &result) != SC_OK)
        fail_msg("%s", sc_status_message());
    return result;
}

/* Small whole numbers of seconds: doubles add them exactly, so times are compared for equality. */
static void equal_stages(sc_sim_stage_cost stages[MOST_STAGES])
{
    for (int v = 0; v < MOST_STAGES; v++)
        stages[v] = (sc_sim_stage_cost){.forward_seconds = 3,
                                        .backward_input_seconds = 4,
                                        .backward_weight_seconds = 2,
                                        .saved_bytes = 1000,
                                        .weight_bytes = 10,
                                        .output_bytes = 64};
}

static void makespan_bubble_and_peaks_are_those_of_the_theory(void **state)
{
    (void)state;
    sc_sim_stage_cost stages[MOST_STAGES];
    equal_stages(stages);
    sc_sim_costs costs = {.stages = stages};
    for (int kind = SC_SCHEDULE_GPIPE; kind <= SC_SCHEDULE_1F1B; kind++)
        for (int S = 1; S <= 8; S++)
            for (int M = 1; M <= 16; M++) {
                sc_plan *plan = NULL;
                assert_int_equal(sc_schedule_make((sc_schedule_kind)kind, S, 1, M, SC_PLAN_TRAIN, true, &plan), SC_OK);
                sc_sim_result result = simulate(plan, &costs);
                assert_true(result.step_seconds == (M + S - 1) * (3.0 + 6.0));
                /* One division each: equal up to two roundings of numbers below 1. */
                assert_true(fabs(result.bubble_ratio - (double)(S - 1) / (M + S - 1)) < 1e-15);
                for (int w = 0; w < S; w++) {
                    int alive = kind == SC_SCHEDULE_GPIPE || S - w > M ? M : S - w;
                    assert_int_equal(result.workers[w].peak_microbatches, alive);
                    assert_int_equal(result.workers[w].peak_activation_bytes, 1000 * alive + 10);
                    assert_true(result.workers[w].busy_seconds == M * 9.0);
                    assert_true(result.workers[w].idle_seconds == (S - 1) * 9.0);
                }
                assert_null(result.spans);
                sc_sim_result_clear(&result);
                sc_plan_destroy(&plan);
            }
}

static void a_forward_plan_keeps_nothing(void **state)
{
    (void)state;
    sc_sim_stage_cost stages[MOST_STAGES];
    equal_stages(stages);
    sc_sim_costs costs = {.stages = stages};
    sc_plan *plan = NULL;
    assert_int_equal(sc_schedule_make(SC_SCHEDULE_1F1B, 4, 1, 8, SC_PLAN_FORWARD, true, &plan), SC_OK);
    sc_sim_result result = simulate(plan, &costs);
    assert_true(result.step_seconds == (8 + 4 - 1) * 3.0);
    for (int w = 0; w < 4; w++) {
        assert_int_equal(result.workers[w].peak_microbatches, 1);
        assert_int_equal(result.workers[w].peak_activation_bytes, 1000);
    }
    sc_sim_result_clear(&result);
    sc_plan_destroy(&plan);
}

static const sc_sim_span *span(const sc_sim_result *result, const char *text)
{
    for (size_t i = 0; i < result->n_spans; i++) {
        char here[32];
        if (strcmp(sc_action_text(result->spans[i].action, here, sizeof here), text) == 0)
            return &result->spans[i];
    }
    fail_msg("no %s in the timeline", text);
    return NULL;
}

static void expect_span(const sc_sim_result *result, const char *text, double start, double end)
{
    const sc_sim_span *s = span(result, text);
    if (s->start_seconds != start || s->end_seconds != end)
        fail_msg("%s runs from %g to %g, not %g to %g", text, s->start_seconds, s->end_seconds, start, end);
}

/* F takes 3, B 6; a message of 64 bytes is 4 s on the link and 1 s on its way.
 *
 *   worker 0   F0 0-3   F1 3-6                               B0 26-32   B1 32-38
 *   link       F0 3-7   F1 7-11 (behind F0), there at 8 and 12
 *   worker 1            F0 8-11  F1 12-15  B0 15-21  B1 21-27     gradients there at 26 and 32 */
static void messages_overlap_with_compute_and_queue_on_their_link(void **state)
{
    (void)state;
    sc_sim_stage_cost stages[MOST_STAGES];
    equal_stages(stages);
    sc_sim_costs costs = {
        .stages = stages, .link_latency_seconds = 1, .link_bytes_per_second = 16, .keep_timeline = true};
    sc_plan *plan = parse("plan gpipe stages=2 chunks=1 microbatches=2 mode=train\n"
                          "0F0 0SEND_F0 0F1 0SEND_F1 0RECV_B0 0B0 0RECV_B1 0B1 0STEP\n"
                          "1RECV_F0 1F0 1RECV_F1 1F1 1B0 1SEND_B0 1B1 1SEND_B1 1STEP\n");
    sc_sim_result result = simulate(plan, &costs);
    assert_int_equal(result.n_spans, 18);
    expect_span(&result, "0F1", 3, 6);
    expect_span(&result, "0SEND_F0", 3, 8);
    expect_span(&result, "0SEND_F1", 6, 12);
    expect_span(&result, "1RECV_F0", 0, 8);
    expect_span(&result, "1F0", 8, 11);
    expect_span(&result, "1F1", 12, 15);
    expect_span(&result, "1B0", 15, 21);
    expect_span(&result, "1B1", 21, 27);
    expect_span(&result, "0RECV_B0", 6, 26);
    expect_span(&result, "0B0", 26, 32);
    expect_span(&result, "0B1", 32, 38);
    assert_true(result.step_seconds == 38);
    assert_true(result.workers[0].busy_seconds == 18 && result.workers[0].idle_seconds == 20);
    sc_sim_result_clear(&result);
    sc_plan_destroy(&plan);
}

/* The matrix takes 10 s. The last stage sends its own at 9, the first at 21: the first finds what it needs at once, the
 * last goes on at 31. Then each has voted. */
static void the_tied_exchange_and_the_step_wait_for_all(void **state)
{
    (void)state;
    sc_sim_stage_cost stages[MOST_STAGES];
    equal_stages(stages);
    for (int v = 0; v < 3; v++) {
        stages[v] =
            (sc_sim_stage_cost){.forward_seconds = 1, .backward_input_seconds = 2, .backward_weight_seconds = 4};
        stages[v].optimizer_seconds = v + 1;
    }
    sc_sim_costs costs = {.stages = stages, .tied_bytes = 160, .link_bytes_per_second = 16, .keep_timeline = true};
    sc_plan *plan = NULL;
    assert_int_equal(sc_schedule_make(SC_SCHEDULE_1F1B, 3, 1, 1, SC_PLAN_TRAIN, true, &plan), SC_OK);
    sc_sim_result result = simulate(plan, &costs);
    expect_span(&result, "0B0", 15, 21);
    expect_span(&result, "0REDUCE_TIED", 21, 21);
    expect_span(&result, "2REDUCE_TIED", 9, 31);
    expect_span(&result, "1STEP", 15, 33);
    assert_true(result.step_seconds == 34);
    assert_true(result.workers[2].busy_seconds == 7 + 3);
    sc_sim_result_clear(&result);
    sc_plan_destroy(&plan);
}

/* I frees nothing and adds what W needs; with W put off, worker 0 holds both micro-batches' until the first W. */
static void backward_by_halves_keeps_what_w_needs(void **state)
{
    (void)state;
    sc_sim_stage_cost stages[MOST_STAGES];
    equal_stages(stages);
    sc_sim_costs costs = {.stages = stages};
    sc_plan *plan = parse("plan x stages=1 chunks=1 microbatches=2 mode=train\n0F0 0I0 0F1 0I1 0W0 0W1 0STEP\n");
    sc_sim_result result = simulate(plan, &costs);
    assert_true(result.step_seconds == 18);
    assert_int_equal(result.workers[0].peak_microbatches, 2);
    assert_int_equal(result.workers[0].peak_activation_bytes, 2020);
    sc_sim_result_clear(&result);
    sc_plan_destroy(&plan);
}

static void a_deadlock_is_reported(void **state)
{
    (void)state;
    sc_sim_stage_cost stages[MOST_STAGES];
    equal_stages(stages);
    sc_sim_costs costs = {.stages = stages, .keep_timeline = true};
    sc_sim_result result;
    sc_plan *plan = parse("plan x stages=2 chunks=1 microbatches=1 mode=train\n"
                          "0F0 0RECV_B0 0B0 0SEND_F0 0STEP\n1RECV_F0 1F0 1B0 1SEND_B0 1STEP\n");
    assert_int_equal(sc_simulate(plan, &costs, &result), SC_FAILED_PRECONDITION);
    assert_non_null(strstr(sc_status_message(), "deadlock: worker 0 at position 1 (0RECV_B0) waits for 1SEND_B0"));
    assert_null(result.workers);
    sc_plan_destroy(&plan);
    plan = parse("plan x stages=2 chunks=1 microbatches=1 mode=train\n0F0\n1RECV_F0\n");
    assert_int_equal(sc_simulate(plan, &costs, &result), SC_FAILED_PRECONDITION);
    assert_non_null(strstr(sc_status_message(), "worker 0 ends its list without sending it"));
    sc_plan_destroy(&plan);
    plan = parse("plan x stages=2 chunks=1 microbatches=1 mode=train\n0F0\n7F0\n");
    assert_int_equal(sc_simulate(plan, &costs, &result), SC_FAILED_PRECONDITION);
    assert_non_null(strstr(sc_status_message(), "worker 1, position 0, 7F0: the plan has stages 0 to 1"));
    sc_plan_destroy(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makespan_bubble_and_peaks_are_those_of_the_theory),
        cmocka_unit_test(a_forward_plan_keeps_nothing),
        cmocka_unit_test(messages_overlap_with_compute_and_queue_on_their_link),
        cmocka_unit_test(the_tied_exchange_and_the_step_wait_for_all),
        cmocka_unit_test(backward_by_halves_keeps_what_w_needs),
        cmocka_unit_test(a_deadlock_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
