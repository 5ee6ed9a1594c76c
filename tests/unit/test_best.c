/* Which evaluation is the best, and when enough were worse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "coordinator/run/best.h"

static void greater_is_better_and_equal_is_not(void **state)
{
    (void)state;
    sc_best best = {.metric = SC_METRIC_ACCURACY};
    assert_true(sc_best_count(&best, 10, 0.5));
    assert_false(sc_best_count(&best, 20, 0.5));
    assert_true(best.step == 10 && best.n_worse == 1);
    assert_true(sc_best_count(&best, 30, 0.75));
    assert_true(best.step == 30 && best.value == 0.75 && best.n_worse == 0);
}

static void of_the_loss_less_is_better(void **state)
{
    (void)state;
    sc_best best = {.metric = SC_METRIC_LOSS};
    assert_true(sc_best_count(&best, 1, 3.0)); /* the first is, whatever it is */
    assert_false(sc_best_count(&best, 2, 4.0));
    assert_true(sc_best_count(&best, 3, 2.0));
}

static void an_evaluation_that_is_repeated_changes_nothing(void **state)
{
    (void)state;
    sc_best best = {.metric = SC_METRIC_MACRO_F1};
    sc_best_count(&best, 10, 0.5);
    sc_best_count(&best, 20, 0.4);
    const sc_best before = best;
    assert_false(sc_best_count(&best, 10, 0.5));
    assert_false(sc_best_count(&best, 20, 0.4));
    assert_true(best.n_worse == before.n_worse && best.evaluated == 20 && best.step == 10);
}

static void what_is_no_number_is_never_the_best(void **state)
{
    (void)state;
    sc_best best = {.metric = SC_METRIC_LOSS};
    assert_false(sc_best_count(&best, 1, (double)NAN));
    assert_true(best.step == 0 && best.n_worse == 1);
    assert_true(sc_best_count(&best, 2, 1.0));
}

static void patience_counts_those_in_a_row(void **state)
{
    (void)state;
    sc_best best = {.metric = SC_METRIC_ENTITY_F1};
    static const double values[] = {0.1, 0.0, 0.2, 0.2, 0.1};
    for (int i = 0; i < 5; i++) {
        assert_false(sc_best_is_over(&best, 2));
        sc_best_count(&best, i + 1, values[i]);
    }
    assert_true(sc_best_is_over(&best, 2));
    assert_false(sc_best_is_over(&best, 3));
    assert_false(sc_best_is_over(&best, 0)); /* patient for ever */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greater_is_better_and_equal_is_not),
        cmocka_unit_test(of_the_loss_less_is_better),
        cmocka_unit_test(an_evaluation_that_is_repeated_changes_nothing),
        cmocka_unit_test(what_is_no_number_is_never_the_best),
        cmocka_unit_test(patience_counts_those_in_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
