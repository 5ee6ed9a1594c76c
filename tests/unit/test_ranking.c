#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/report/ranking.h"

#include <math.h>

static const float scores[] = {9, 1, 3, 2, 3, 0.5f};
enum { N = sizeof scores / sizeof *scores };

static void ranks(void **state)
{
    (void)state;
    bool excluded[N] = {false};
    /* Candidates 1 to 5; candidate 0 has the best score and is not asked for. */
    assert_int_equal(sc_ranking_rank(scores, 1, N, NULL, 1), 4);
    assert_int_equal(sc_ranking_rank(scores, 0, N, NULL, 1), 5);
    /* Equal ones are better. */
    assert_int_equal(sc_ranking_rank(scores, 1, N, NULL, 2), 2);
    assert_int_equal(sc_ranking_rank(scores, 1, N, NULL, 4), 2);
    assert_int_equal(sc_ranking_rank(scores, 1, N, NULL, 5), 5);
    excluded[2] = excluded[3] = true;
    assert_int_equal(sc_ranking_rank(scores, 1, N, excluded, 1), 2);
    assert_int_equal(sc_ranking_rank(scores, 1, N, excluded, 4), 1);
    /* The right one counts even if it is excluded. */
    assert_int_equal(sc_ranking_rank(scores, 1, N, excluded, 3), 2);
    /* What tells nothing apart is last, and so is what is no number. */
    const float same[] = {1, 1, 1}, none[] = {1, NAN, 0};
    assert_int_equal(sc_ranking_rank(same, 0, 3, NULL, 0), 3);
    assert_int_equal(sc_ranking_rank(none, 0, 3, NULL, 1), 3);
    assert_int_equal(sc_ranking_rank(none, 0, 3, NULL, 0), 2);
}

static void means_by_hand(void **state)
{
    (void)state;
    sc_ranking r = {0};
    assert_int_equal(sc_ranking_mean(&r).n, 0);
    assert_true(sc_ranking_mean(&r).ndcg == 0);
    sc_ranking_add(&r, 1, 0.5);
    sc_ranking_add(&r, 3, 1.5);
    sc_ranking_add(&r, 10, 2);
    sc_ranking_add(&r, 11, 4);
    const sc_ranking_scores s = sc_ranking_mean(&r);
    assert_int_equal(s.n, 4);
    assert_true(s.hr == 0.75);
    assert_true(s.loss == 2);
    /* 1, 1 / log2 (4), 1 / log2 (11), nothing; rounding: three sums of doubles */
    assert_true(fabs(s.ndcg - (1 + 0.5 + 0.28906482631788788) / 4) < 1e-15);
    assert_true(fabs(s.mrr - (1 + 1 / 3.0 + 0.1 + 1 / 11.0) / 4) < 1e-15);
}

static void loss_by_hand(void **state)
{
    (void)state;
    const float even[] = {2, 2, 2, 2}, large[] = {1000, 1000};
    const float odds[] = {0, 1.0986123f}; /* log 3: probabilities 1/4 and 3/4, to the float's 1e-7 */
    assert_true(fabs(sc_ranking_loss(even, 4, 2) - log(4)) < 1e-15);
    assert_true(fabs(sc_ranking_loss(large, 2, 0) - log(2)) < 1e-12); /* nothing overflows */
    assert_true(fabs(sc_ranking_loss(odds, 2, 0) - log(4)) < 1e-6);
    assert_true(fabs(sc_ranking_loss(odds, 2, 1) - log(4.0 / 3)) < 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks),
        cmocka_unit_test(means_by_hand),
        cmocka_unit_test(loss_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
