#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/status/history.h"

static sc_history *history;
static sc_history_point points[SC_HISTORY_OLD + SC_HISTORY_RECENT];

static int setup(void **state)
{
    (void)state;
    return sc_history_new(&history) == SC_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    sc_history_destroy(&history);
    sc_history_destroy(&history);
    return 0;
}

static void add(int64_t first, int64_t last)
{
    for (int64_t step = first; step <= last; step++)
        sc_history_add(history, &(sc_history_point){.step = step, .loss = (float)step});
}

static void assert_rising(int n)
{
    for (int i = 1; i < n; i++)
        assert_true(points[i - 1].step < points[i].step);
}

static void few_steps_are_all_there(void **state)
{
    (void)state;
    add(1, 100);
    assert_int_equal(sc_history_count(history), 100);
    assert_int_equal(sc_history_last(history, 0, 10, points), 10);
    assert_int_equal(points[0].step, 91);
    assert_int_equal(points[9].step, 100);
    assert_int_equal(sc_history_last(history, 97, 10, points), 3);
    assert_int_equal(points[0].step, 98);
    assert_int_equal(sc_history_spread(history, 1000, points), 100);
}

static void a_million_steps_are_thinned_and_the_newest_kept(void **state)
{
    (void)state;
    const int64_t last = 1000000;
    add(1, last);
    const int n = sc_history_count(history);
    assert_in_range(n, SC_HISTORY_RECENT + SC_HISTORY_OLD / 2, SC_HISTORY_RECENT + SC_HISTORY_OLD);
    assert_int_equal(sc_history_last(history, 0, SC_HISTORY_RECENT, points), SC_HISTORY_RECENT);
    for (int i = 0; i < SC_HISTORY_RECENT; i++)
        assert_int_equal(points[i].step, last - SC_HISTORY_RECENT + 1 + i);
    assert_int_equal(sc_history_last(history, 0, n, points), n);
    assert_rising(n);
    /* 1e6 steps through 8192 places: a stride of 128 or 256 */
    for (int i = 1; i < n; i++)
        assert_true(points[i].step - points[i - 1].step <= 256);
    assert_true(points[0].step <= 256);
}

static void a_spread_spans_the_run_evenly(void **state)
{
    (void)state;
    add(1, 1000000);
    const int n = sc_history_spread(history, 100, points);
    assert_int_equal(n, 100);
    assert_rising(n);
    assert_int_equal(points[n - 1].step, 1000000);
    for (int i = 1; i < n; i++) /* a range has 10,000 steps; its last point is at most a stride before its end */
        assert_in_range(points[i].step - points[i - 1].step, 10000 - 256, 10000 + 256);
}

static void going_back_takes_what_was_behind_away(void **state)
{
    (void)state;
    add(1, 20000);
    add(19901, 19902);
    assert_int_equal(sc_history_last(history, 0, 3, points), 3);
    assert_int_equal(points[0].step, 19900);
    assert_int_equal(points[2].step, 19902);
    add(100, 100); /* behind all that was recent */
    const int n = sc_history_last(history, 0, SC_HISTORY_OLD, points);
    assert_rising(n);
    assert_int_equal(points[n - 1].step, 100);
    add(1, 5);
    assert_int_equal(sc_history_count(history), 5);
}

static void steps_that_are_all_even_are_thinned_too(void **state)
{
    (void)state;
    for (int64_t i = 1; i <= 4 * SC_HISTORY_OLD; i++)
        sc_history_add(history, &(sc_history_point){.step = i << 20});
    assert_true(sc_history_count(history) <= SC_HISTORY_RECENT + SC_HISTORY_OLD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(few_steps_are_all_there, setup, teardown),
        cmocka_unit_test_setup_teardown(a_million_steps_are_thinned_and_the_newest_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(a_spread_spans_the_run_evenly, setup, teardown),
        cmocka_unit_test_setup_teardown(going_back_takes_what_was_behind_away, setup, teardown),
        cmocka_unit_test_setup_teardown(steps_that_are_all_even_are_thinned_too, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
