#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/data/windows.h"

static void a_permutation_meets_every_index_once(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 1200; n = n < 70 ? n + 1 : n * 3 / 2)
        for (uint32_t epoch = 0; epoch < 4; epoch++) {
            unsigned char *seen = calloc(n, 1);
            for (uint64_t i = 0; i < n; i++) {
                uint64_t to = sc_windows_permute(7, epoch, n, i);
                assert_true(to < n && !seen[to]);
                seen[to] = 1;
            }
            free(seen);
        }
    /* Too many to try all: in range and, for a sample, distinct. */
    const uint64_t large = ((uint64_t)1 << 62) - 12345;
    uint64_t a = sc_windows_permute(7, 0, large, 0), b = sc_windows_permute(7, 0, large, large - 1);
    assert_true(a < large && b < large && a != b);
}

static void seed_and_epoch_change_the_permutation(void **state)
{
    (void)state;
    int same_epoch = 0, same_seed = 0, fixed = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t to = sc_windows_permute(1, 0, 1000, i);
        same_epoch += to == sc_windows_permute(1, 1, 1000, i);
        same_seed += to == sc_windows_permute(2, 0, 1000, i);
        fixed += to == i;
    }
    /* Each count is about Poisson with mean 1; more than 12 has a probability below 1e-9. */
    assert_true(same_epoch <= 12 && same_seed <= 12 && fixed <= 12);
}

/* The place to which index 0 of 6 goes, over many epochs: each of the 6 equally often. */
static void small_permutations_are_fair(void **state)
{
    (void)state;
    int count[6] = {0};
    for (uint32_t epoch = 0; epoch < 6000; epoch++)
        count[sc_windows_permute(3, epoch, 6, 0)]++;
    for (int i = 0; i < 6; i++)
        assert_in_range(count[i], 855, 1145); /* 1000 +- 5 standard deviations of 28.9 */
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void each_epoch_has_each_window_once(void **state)
{
    (void)state;
    static const struct {
        uint64_t n;
        int T;
    } cases[] = {{2, 1},  {5, 4},  {7, 4},    {8, 4},       {9, 4},    {12, 4},
                 {13, 4}, {15, 4}, {1000, 7}, {1001, 1000}, {4097, 64}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (uint32_t epoch = 0; epoch < 20; epoch++) {
            const uint64_t n = cases[c].n, T = (uint64_t)cases[c].T;
            const uint64_t W = sc_windows_per_epoch(n, cases[c].T);
            uint64_t *starts = malloc(W * sizeof *starts);
            for (uint64_t i = 0; i < W; i++)
                starts[i] = sc_windows_start(n, cases[c].T, 5, epoch, i);
            qsort(starts, W, sizeof *starts, compare);
            for (uint64_t i = 1; i < W; i++)
                assert_int_equal(starts[i] - starts[i - 1], T);
            assert_true(starts[W - 1] + T + 1 <= n); /* the last target is inside */
            assert_true(n - W * T <= 2 * T);         /* little is left out */
            free(starts);
        }
}

/* Over the epochs every token is an input and, but for the first, a target: no text is lost for good. */
static void all_tokens_have_their_turn(void **state)
{
    (void)state;
    for (uint64_t n = 9; n < 26; n++) {
        unsigned char seen[32] = {0};
        for (uint32_t epoch = 0; epoch < 200; epoch++)
            for (uint64_t i = 0; i < sc_windows_per_epoch(n, 8); i++)
                memset(seen + sc_windows_start(n, 8, 11, epoch, i), 1, 9);
        for (uint64_t i = 0; i < n; i++)
            assert_true(seen[i]);
    }
}

static void the_spread_reaches_both_ends_without_overlap(void **state)
{
    (void)state;
    for (uint64_t n = 9; n < 200; n++)
        for (uint64_t rows = 1; rows <= (n - 1) / 8; rows++) {
            assert_int_equal(sc_windows_spread(n, 8, rows, 0), 0);
            if (rows > 1)
                assert_int_equal(sc_windows_spread(n, 8, rows, rows - 1), n - 9);
            for (uint64_t i = 1; i < rows; i++)
                assert_true(sc_windows_spread(n, 8, rows, i) >= sc_windows_spread(n, 8, rows, i - 1) + 8);
        }
}

/* The order of the data is part of a run's identity: a change of these numbers is a change of every loss curve. */
static void the_order_is_pinned(void **state)
{
    (void)state;
    static const uint64_t expected[] = {479265, 615201, 329249, 824353, 191777, 189729};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(sc_windows_start(1003854, 256, 1337, 0, i), expected[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_permutation_meets_every_index_once),
        cmocka_unit_test(seed_and_epoch_change_the_permutation),
        cmocka_unit_test(small_permutations_are_fair),
        cmocka_unit_test(each_epoch_has_each_window_once),
        cmocka_unit_test(all_tokens_have_their_turn),
        cmocka_unit_test(the_spread_reaches_both_ends_without_overlap),
        cmocka_unit_test(the_order_is_pinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
