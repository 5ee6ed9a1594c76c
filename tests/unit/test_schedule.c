/* The schedules: golden text for small sizes, and over a grid of sizes what the literature says of each.
 * SC_UPDATE_GOLDEN=1 in the environment writes the golden files anew; read the difference before you commit it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/schedule/schedule.h"

static sc_plan *make(sc_schedule_kind kind, int S, int M, sc_plan_mode mode, bool tied)
{
    sc_plan *plan = NULL;
    if (sc_schedule_make(kind, S, 1, M, mode, tied, &plan) != SC_OK)
        fail_msg("%s", sc_status_message());
    return plan;
}

static void schedules_have_names(void **state)
{
    (void)state;
    sc_schedule_kind kind;
    assert_int_equal(sc_schedule_find("gpipe", &kind), SC_OK);
    assert_int_equal(kind, SC_SCHEDULE_GPIPE);
    assert_int_equal(sc_schedule_find("1f1b", &kind), SC_OK);
    assert_int_equal(kind, SC_SCHEDULE_1F1B);
    assert_int_equal(sc_schedule_find("1F1B", &kind), SC_NOT_FOUND);
    assert_string_equal(sc_status_message(), "there is no schedule '1F1B'; the schedules are gpipe, 1f1b");
    for (int k = SC_SCHEDULE_GPIPE; k <= SC_SCHEDULE_1F1B; k++)
        assert_string_equal(sc_schedule_name((sc_schedule_kind)k), sc_config_word("pipeline.schedule", k));
}

static void impossible_sizes_are_errors(void **state)
{
    (void)state;
    sc_plan *plan = NULL;
    assert_int_equal(sc_schedule_make(SC_SCHEDULE_1F1B, 4, 2, 8, SC_PLAN_TRAIN, false, &plan), SC_INVALID);
    assert_string_equal(sc_status_message(),
                        "schedule 1f1b runs 1 chunk per worker, not 2; set the number of chunks to 1");
    assert_int_equal(sc_schedule_make(SC_SCHEDULE_GPIPE, 4, 0, 8, SC_PLAN_TRAIN, false, &plan), SC_INVALID);
    assert_int_equal(sc_schedule_make(SC_SCHEDULE_GPIPE, 0, 1, 8, SC_PLAN_TRAIN, false, &plan), SC_INVALID);
    assert_int_equal(sc_schedule_make(SC_SCHEDULE_GPIPE, 4, 1, 0, SC_PLAN_TRAIN, false, &plan), SC_INVALID);
    assert_null(plan);
}

/* A golden file: the plans of S stages and 2 to 6 micro-batches, each followed by its grid. */
static char *golden_text(sc_schedule_kind kind, int S)
{
    char *text = NULL;
    size_t text_bytes = 0;
    FILE *out = open_memstream(&text, &text_bytes);
    for (int M = 2; M <= 6; M++) {
        sc_plan *plan = make(kind, S, M, SC_PLAN_TRAIN, true);
        char *actions = sc_plan_text(plan);
        fprintf(out, "%s\n", actions);
        sc_plan_print_grid(plan, out, -1, -1);
        fputc('\n', out);
        free(actions);
        sc_plan_destroy(&plan);
    }
    assert_int_equal(fclose(out), 0);
    return text;
}

static void small_plans_are_golden(void **state)
{
    (void)state;
    for (int kind = SC_SCHEDULE_GPIPE; kind <= SC_SCHEDULE_1F1B; kind++)
        for (int S = 2; S <= 4; S++) {
            char path[512];
            snprintf(path, sizeof path, SC_SOURCE_DIR "/tests/golden/schedules/%s_s%d.txt",
                     sc_schedule_name((sc_schedule_kind)kind), S);
            char *text = golden_text((sc_schedule_kind)kind, S);
            if (getenv("SC_UPDATE_GOLDEN")) {
                FILE *out = fopen(path, "w");
                assert_non_null(out);
                fputs(text, out);
                assert_int_equal(fclose(out), 0);
            }
            FILE *in = fopen(path, "r");
            if (!in)
                fail_msg("cannot read %s", path);
            char *golden = calloc(1, strlen(text) + 2);
            (void)!fread(golden, 1, strlen(text) + 1, in);
            fclose(in);
            if (strcmp(golden, text) != 0)
                fail_msg("%s differs; the plan is now\n%s", path, text);
            free(golden);
            free(text);
        }
}

static int find(const sc_action_list *list, sc_action_kind kind, int microbatch)
{
    for (int i = 0; i < list->n; i++)
        if (list->actions[i].kind == kind && list->actions[i].microbatch == microbatch)
            return i;
    return -1;
}

/* RECV right before its use, SEND right behind what makes it; forwards and backwards in ascending order. */
static void check_order(const sc_plan *plan)
{
    int S = plan->n_workers, M = plan->n_microbatches;
    bool train = plan->mode == SC_PLAN_TRAIN;
    for (int s = 0; s < S; s++) {
        const sc_action_list *list = &plan->workers[s];
        for (int m = 0; m < M; m++) {
            int f = find(list, SC_ACT_FORWARD, m), b = find(list, SC_ACT_BACKWARD, m);
            assert_int_equal(find(list, SC_ACT_RECV_F, m), s > 0 ? f - 1 : -1);
            assert_int_equal(find(list, SC_ACT_SEND_F, m), s < S - 1 ? f + 1 : -1);
            assert_int_equal(find(list, SC_ACT_RECV_B, m), train && s < S - 1 ? b - 1 : -1);
            assert_int_equal(find(list, SC_ACT_SEND_B, m), train && s > 0 ? b + 1 : -1);
            if (m > 0) {
                assert_true(f > find(list, SC_ACT_FORWARD, m - 1));
                assert_true(!train || b > find(list, SC_ACT_BACKWARD, m - 1));
            }
        }
    }
}

/* GPipe: no backward before the last forward. 1F1B: min(S - i - 1, M) forwards of warm-up, then in turn. */
static void check_shape(const sc_plan *plan, sc_schedule_kind kind)
{
    int S = plan->n_workers, M = plan->n_microbatches;
    for (int s = 0; s < S; s++) {
        const sc_action_list *list = &plan->workers[s];
        int warm_up = S - s - 1 < M ? S - s - 1 : M;
        int forwards = 0, backwards = 0;
        for (int i = 0; i < list->n; i++) {
            if (list->actions[i].kind == SC_ACT_FORWARD) {
                forwards++;
            } else if (list->actions[i].kind == SC_ACT_BACKWARD) {
                backwards++;
                if (kind == SC_SCHEDULE_GPIPE)
                    assert_int_equal(forwards, M);
                else
                    assert_int_equal(forwards, backwards + warm_up < M ? backwards + warm_up : M);
            }
        }
        assert_int_equal(forwards, M);
        assert_int_equal(backwards, M);
    }
}

static void every_plan_is_valid_and_in_order(void **state)
{
    (void)state;
    for (int kind = SC_SCHEDULE_GPIPE; kind <= SC_SCHEDULE_1F1B; kind++)
        for (int S = 1; S <= 8; S++)
            for (int M = 1; M <= 16; M++)
                for (int tied = 0; tied <= 1; tied++)
                    for (int mode = SC_PLAN_TRAIN; mode <= SC_PLAN_FORWARD; mode++) {
                        sc_plan *plan = make((sc_schedule_kind)kind, S, M, (sc_plan_mode)mode, tied);
                        if (sc_plan_validate(plan, tied) != SC_OK)
                            fail_msg("S=%d M=%d: %s", S, M, sc_status_message());
                        check_order(plan);
                        if (mode == SC_PLAN_TRAIN)
                            check_shape(plan, (sc_schedule_kind)kind);
                        sc_plan_destroy(&plan);
                    }
}

static void text_and_plan_are_the_same_thing(void **state)
{
    (void)state;
    sc_plan *plan = make(SC_SCHEDULE_1F1B, 5, 9, SC_PLAN_TRAIN, true), *again = NULL;
    char *text = sc_plan_text(plan);
    assert_int_equal(sc_plan_parse(text, strlen(text), &again), SC_OK);
    char *text_again = sc_plan_text(again);
    assert_string_equal(text, text_again);
    assert_int_equal(sc_plan_validate(again, true), SC_OK);
    free(text);
    free(text_again);
    sc_plan_destroy(&plan);
    sc_plan_destroy(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedules_have_names),
        cmocka_unit_test(impossible_sizes_are_errors),
        cmocka_unit_test(small_plans_are_golden),
        cmocka_unit_test(every_plan_is_valid_and_in_order),
        cmocka_unit_test(text_and_plan_are_the_same_thing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
