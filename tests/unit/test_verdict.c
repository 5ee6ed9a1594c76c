#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "coordinator/run/verdict.h"

static sc_step_result votes(double *losses, int n_losses, double *norms)
{
    return (sc_step_result){.n_losses = n_losses, .loss_sums = losses, .norm_squares = norms};
}

static void loss_is_the_mean_over_targets_and_the_norm_is_global(void **state)
{
    (void)state;
    double losses[] = {6, 2, 4}, norms[] = {9, 16};
    sc_step_result result = votes(losses, 3, norms);
    sc_verdict v;
    assert_int_equal(sc_verdict_make(&result, &(sc_loss_counts){3, 1, {6}, 0}, 2, 0, &v), SC_OK);
    assert_true(v.loss == 2 && v.grad_norm == 5 && v.grad_scale == 1.0f);
}

static void two_kinds_of_losses_have_their_own_means(void **state)
{
    (void)state;
    double losses[] = {6, 1, 2, 3}, norms[] = {9}; /* words, next; words, next */
    sc_step_result result = votes(losses, 4, norms);
    const sc_loss_counts counts = {.n_microbatches = 2, .n_losses = 2, .n = {16, 8}};
    double sums[SC_MAX_LOSSES];
    sc_verdict v;
    assert_int_equal(sc_verdict_sums(&result, &counts, sums), SC_OK);
    assert_true(sums[0] == 8 && sums[1] == 4);
    assert_int_equal(sc_verdict_make(&result, &counts, 1, 0, &v), SC_OK);
    assert_true(v.loss == 1);
    result.n_losses = 2;
    assert_int_equal(sc_verdict_sums(&result, &counts, sums), SC_INVALID);
}

static void clipping_scales_down_and_never_up(void **state)
{
    (void)state;
    double losses[] = {1}, norms[] = {16};
    sc_step_result result = votes(losses, 1, norms);
    sc_verdict v;
    assert_int_equal(sc_verdict_make(&result, &(sc_loss_counts){1, 1, {1}, 0}, 1, 1.0, &v), SC_OK);
    assert_true(v.grad_scale == (float)(1.0 / (4.0 + 1e-6)));
    assert_int_equal(sc_verdict_make(&result, &(sc_loss_counts){1, 1, {1}, 0}, 1, 8.0, &v), SC_OK);
    assert_true(v.grad_scale == 1.0f);
}

static void missing_and_broken_votes_are_refused(void **state)
{
    (void)state;
    double losses[] = {1, 1}, norms[] = {1, NAN}, nan_losses[] = {NAN}, ones[] = {1, 1}, inf[] = {INFINITY, 1};
    sc_verdict v;
    sc_step_result missing = votes(losses, 2, norms);
    assert_int_equal(sc_verdict_make(&missing, &(sc_loss_counts){2, 1, {2}, 0}, 2, 0, &v), SC_INVALID);
    sc_step_result few = votes(losses, 1, ones);
    assert_int_equal(sc_verdict_make(&few, &(sc_loss_counts){2, 1, {2}, 0}, 2, 0, &v), SC_INVALID);
    sc_step_result diverged = votes(nan_losses, 1, ones);
    assert_int_equal(sc_verdict_make(&diverged, &(sc_loss_counts){1, 1, {1}, 0}, 2, 0, &v), SC_ABORTED);
    assert_non_null(strstr(sc_status_message(), "learning_rate"));
    sc_step_result exploded = votes(losses, 1, inf);
    assert_int_equal(sc_verdict_make(&exploded, &(sc_loss_counts){1, 1, {1}, 0}, 2, 1.0, &v), SC_ABORTED);
}

/* sum (w l) / sum (w): the sums come weighted from the last stage. */
static void weighted_targets_count_what_they_weigh(void **state)
{
    (void)state;
    double losses[] = {1.5, 3}, ones[] = {1};
    sc_step_result result = votes(losses, 2, ones);
    sc_verdict v;
    assert_int_equal(sc_verdict_make(&result, &(sc_loss_counts){2, 1, {8}, 2.25}, 1, 0, &v), SC_OK);
    assert_true(v.loss == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weighted_targets_count_what_they_weigh),
        cmocka_unit_test(loss_is_the_mean_over_targets_and_the_norm_is_global),
        cmocka_unit_test(two_kinds_of_losses_have_their_own_means),
        cmocka_unit_test(clipping_scales_down_and_never_up),
        cmocka_unit_test(missing_and_broken_votes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
