/* The plan's text form and grid. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/plan.h"

static void sizes_and_names_are_checked(void **state)
{
    (void)state;
    sc_plan *plan = NULL;
    assert_int_equal(sc_plan_new("1f1b", 0, 1, 1, SC_PLAN_TRAIN, &plan), SC_INVALID);
    assert_int_equal(sc_plan_new("1f1b", SC_MAX_STAGES + 1, 1, 1, SC_PLAN_TRAIN, &plan), SC_INVALID);
    assert_int_equal(sc_plan_new("1f1b", 1, SC_MAX_CHUNKS + 1, 1, SC_PLAN_TRAIN, &plan), SC_INVALID);
    assert_int_equal(sc_plan_new("1f1b", 1, 1, SC_MAX_MICROBATCHES + 1, SC_PLAN_TRAIN, &plan), SC_INVALID);
    assert_non_null(strstr(sc_status_message(), "4096 micro-batches, not 4097"));
    assert_int_equal(sc_plan_new("", 1, 1, 1, SC_PLAN_TRAIN, &plan), SC_INVALID);
    assert_int_equal(sc_plan_new("a b", 1, 1, 1, SC_PLAN_TRAIN, &plan), SC_INVALID);
    assert_int_equal(sc_plan_new("a2345678901234567890123456789012", 1, 1, 1, SC_PLAN_TRAIN, &plan), SC_INVALID);
    assert_null(plan);
    assert_int_equal(sc_plan_new("a234567890123456789012345678901", 256, 16, 4096, SC_PLAN_TRAIN, &plan), SC_OK);
    sc_plan_destroy(&plan);
    assert_null(plan);
    sc_plan_destroy(&plan);
}

static void an_action_has_one_text(void **state)
{
    (void)state;
    static const struct {
        sc_action action;
        const char *text;
    } pairs[] = {
        {{SC_ACT_FORWARD, 2, 0}, "2F0"},
        {{SC_ACT_BACKWARD, 0, 17}, "0B17"},
        {{SC_ACT_BACKWARD_INPUT, 2, 0}, "2I0"},
        {{SC_ACT_BACKWARD_WEIGHT, 2, 1}, "2W1"},
        {{SC_ACT_SEND_F, 2, 0}, "2SEND_F0"},
        {{SC_ACT_RECV_F, 2, 0}, "2RECV_F0"},
        {{SC_ACT_SEND_B, 2, 0}, "2SEND_B0"},
        {{SC_ACT_RECV_B, 4095, 4095}, "4095RECV_B4095"},
        {{SC_ACT_REDUCE_TIED, 3, -1}, "3REDUCE_TIED"},
        {{SC_ACT_REDUCE_GRAD, 2, -1}, "2REDUCE_GRAD"},
        {{SC_ACT_STEP, 2, -1}, "2STEP"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char text[32];
        const char *end = NULL;
        sc_action action = {0};
        assert_string_equal(sc_action_text(pairs[i].action, text, sizeof text), pairs[i].text);
        assert_int_equal(sc_action_parse(text, &end, &action), SC_OK);
        assert_int_equal(*end, '\0');
        assert_int_equal(action.kind, pairs[i].action.kind);
        assert_int_equal(action.stage, pairs[i].action.stage);
        assert_int_equal(action.microbatch, pairs[i].action.microbatch);
    }
}

static void the_longest_action_is_taken(void **state)
{
    (void)state;
    const char *text = "2SEND_F12x", *end = NULL;
    sc_action action;
    assert_int_equal(sc_action_parse(text, &end, &action), SC_OK);
    assert_ptr_equal(end, text + 9);
    assert_int_equal(action.microbatch, 12);
}

static void what_is_no_action_is_told(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        "F0",
                                        "2",
                                        "2X0",
                                        "2F",
                                        "2F-1",
                                        "-1F0",
                                        "2F4096",
                                        "4096F0",
                                        "2SEND0",
                                        "2send_f0",
                                        "2 F0",
                                        "99999999999999F0",
                                        "2F99999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *end;
        sc_action action;
        assert_int_equal(sc_action_parse(wrong[i], &end, &action), SC_INVALID);
        assert_non_null(strstr(sc_status_message(), "is no action"));
    }
}

static sc_plan *parse(const char *text)
{
    sc_plan *plan = NULL;
    if (sc_plan_parse(text, strlen(text), &plan) != SC_OK)
        fail_msg("%s", sc_status_message());
    return plan;
}

static void text_reads_back(void **state)
{
    (void)state;
    const char *canonical = "plan gpipe stages=3 chunks=1 microbatches=1 mode=forward\n"
                            "0F0 0SEND_F0\n"
                            "1RECV_F0 1F0 1SEND_F0\n"
                            "-\n";
    sc_plan *plan = parse(canonical);
    assert_string_equal(plan->schedule, "gpipe");
    assert_int_equal(plan->n_workers, 3);
    assert_int_equal(plan->mode, SC_PLAN_FORWARD);
    assert_int_equal(plan->workers[1].n, 3);
    assert_int_equal(plan->workers[2].n, 0);
    char *text = sc_plan_text(plan);
    assert_string_equal(text, canonical);
    free(text);
    sc_plan_destroy(&plan);
}

static void blanks_comments_and_the_header_s_order_do_not_matter(void **state)
{
    (void)state;
    sc_plan *plan = parse("# made by hand\n\nplan  x mode=train microbatches=1\tchunks=1 stages=2 # the header\r\n\n"
                          "  0F0   # first\n#\n-#empty");
    char *text = sc_plan_text(plan);
    assert_string_equal(text, "plan x stages=2 chunks=1 microbatches=1 mode=train\n0F0\n-\n");
    free(text);
    sc_plan_destroy(&plan);
}

static void a_mistake_has_its_line_and_column(void **state)
{
    (void)state;
#define HEAD "plan x stages=2 chunks=1 microbatches=1 mode=train\n"
    static const struct {
        const char *text, *message;
    } wrong[] = {
        {"", "line 1, column 1: a plan begins"},
        {"\n\n  plane", "line 3, column 3: a plan begins"},
        {"plan x", "line 1, column 7: the header wants stages="},
        {"plan x stages=2 stages=2", "line 1, column 17: this setting stands here a second time"},
        {"plan x stages=0", "line 1, column 8: stages= wants a number from 1 to 256"},
        {"plan x stages=257", "line 1, column 8: stages= wants a number from 1 to 256"},
        {"plan x stages=2x", "line 1, column 8: stages= wants a number from 1 to 256"},
        {"plan x chunks=99", "line 1, column 8: chunks= wants a number from 1 to 16"},
        {"plan x mode=test", "line 1, column 8: mode= is train or forward"},
        {"plan x speed=9", "line 1, column 8: the header has stages="},
        {"plan x! stages=2 chunks=1 microbatches=1 mode=train", "line 1, column 6: a schedule's name"},
        {HEAD "0F0", "line 2, column 4: the text ends after 1 of 2 workers' lines"},
        {HEAD "0F0\n1F0 1Q0\n", "line 3, column 5: '1Q0' is no action"},
        {HEAD "0F0\n1F0,1B0\n", "line 3, column 4: a blank or the line's end must follow"},
        {HEAD "0F0\n\n1F0\n# more\n 2F0\n", "line 6, column 2: there are more lines"},
        {HEAD "- 0F0\n1F0\n", "line 2, column 3: behind a '-'"},
        {HEAD "0F0\n1F012345678901234567890123456789012345678901234567890\n",
         "line 3, column 1: this word is too long"},
        {HEAD "0F0\n\x01\xff\n", "line 3, column 1: '?"
                                 "?' is no action"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        sc_plan *plan = (sc_plan *)&plan;
        assert_int_equal(sc_plan_parse(wrong[i].text, strlen(wrong[i].text), &plan), SC_INVALID);
        assert_null(plan);
        if (strncmp(sc_status_message(), wrong[i].message, strlen(wrong[i].message)) != 0)
            fail_msg("expected \"%s...\", got \"%s\"", wrong[i].message, sc_status_message());
    }
    static const char nul[] = HEAD "0F0 \0 0B0\n1F0\n";
    sc_plan *plan = NULL;
    assert_int_equal(sc_plan_parse(nul, sizeof nul - 1, &plan), SC_INVALID);
    assert_string_equal(sc_status_message(), "line 2, column 5: a NUL byte; a plan is text");
}

static void expect_grid(const char *text, int mark_worker, int mark_position, const char *expected)
{
    sc_plan *plan = parse(text);
    char *grid = NULL;
    size_t grid_bytes = 0;
    FILE *out = open_memstream(&grid, &grid_bytes);
    sc_plan_print_grid(plan, out, mark_worker, mark_position);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(grid, expected);
    free(grid);
    sc_plan_destroy(&plan);
}

static const char two_stages[] = "plan 1f1b stages=2 chunks=1 microbatches=2 mode=train\n"
                                 "0F0 0SEND_F0 0F1 0SEND_F1 0RECV_B0 0B0 0RECV_B1 0B1 0STEP\n"
                                 "1RECV_F0 1F0 1B0 1SEND_B0 1RECV_F1 1F1 1B1 1SEND_B1 1STEP\n";

static void the_grid_is_that_of_the_papers(void **state)
{
    (void)state;
    expect_grid(two_stages, -1, -1,
                "slot         0  1  2  3  4  5\n"
                "worker 0    F0 F1  . B0  . B1\n"
                "worker 1     . F0 B0 F1 B1  .\n");
}

static void the_grid_marks_a_place(void **state)
{
    (void)state;
    expect_grid(two_stages, 1, 2,
                "slot         0  1  2  3  4  5\n"
                "worker 0    F0 F1  . B0  . B1\n"
                "worker 1     . F0>B0 F1 B1  .  >1B0 at position 2\n");
    expect_grid(two_stages, 0, 4,
                "slot         0  1  2  3  4  5\n"
                "worker 0    F0 F1  .>B0  . B1  >0RECV_B0 at position 4\n"
                "worker 1     . F0 B0 F1 B1  .\n");
    expect_grid(two_stages, 0, 8,
                "slot         0  1  2  3  4  5\n"
                "worker 0    F0 F1  . B0  . B1  >0STEP at position 8\n"
                "worker 1     . F0 B0 F1 B1  .\n");
}

static void the_grid_shows_halves_and_chunks(void **state)
{
    (void)state;
    expect_grid("plan x stages=1 chunks=2 microbatches=1 mode=train\n0F0 1F0 1B0 0I0 0W0 0STEP\n", -1, -1,
                "slot          0       1       2       3    \n"
                "worker 0    0F0   = 1F0   = 1B0   = 0I0 0W0\n");
}

static void the_grid_of_a_stuck_plan_tells_where(void **state)
{
    (void)state;
    expect_grid("plan x stages=2 chunks=1 microbatches=1 mode=train\n0F0 0RECV_B0 0B0\n1RECV_F0 1F0\n", -1, -1,
                "slot         0\n"
                "worker 0    F0  stuck before 0RECV_B0\n"
                "worker 1     .  stuck before 1RECV_F0\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_and_names_are_checked),
        cmocka_unit_test(an_action_has_one_text),
        cmocka_unit_test(the_longest_action_is_taken),
        cmocka_unit_test(what_is_no_action_is_told),
        cmocka_unit_test(text_reads_back),
        cmocka_unit_test(blanks_comments_and_the_header_s_order_do_not_matter),
        cmocka_unit_test(a_mistake_has_its_line_and_column),
        cmocka_unit_test(the_grid_is_that_of_the_papers),
        cmocka_unit_test(the_grid_marks_a_place),
        cmocka_unit_test(the_grid_shows_halves_and_chunks),
        cmocka_unit_test(the_grid_of_a_stuck_plan_tells_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
