#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "proto/base/rng.h"

static void philox_matches_the_published_vectors(void **state)
{
    (void)state; /* Random123's kat_vectors, philox4x32 with 10 rounds */
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint32_t out[4];
        sc_rng_philox(vectors[i].counter, vectors[i].key, out);
        assert_memory_equal(out, vectors[i].out, sizeof out);
    }
}

static void numbers_have_the_moments_they_should(void **state)
{
    (void)state;
    sc_rng rng = {.seed = 42, .site = SC_RNG_SITE(SC_RNG_TEST, 1)};
    enum { N = 1 << 18 };
    double mean = 0, square = 0, uniform = 0;
    for (uint64_t i = 0; i < N; i++) {
        double x = sc_rng_normal(&rng, i);
        mean += x, square += x * x, uniform += sc_rng_uniform(&rng, i);
    }
    /* five standard errors: 5 / sqrt(N) = 0.0098; of the square, sqrt(2) times that */
    assert_true(fabs(mean / N) < 0.0098);
    assert_true(fabs(square / N - 1) < 0.0139);
    assert_true(fabs(uniform / N - 0.5) < 0.0029);
}

static void what_a_number_is_for_decides_it(void **state)
{
    (void)state;
    sc_rng a = {.seed = 1, .site = 2, .step = 3, .row = 4};
    sc_rng others[] = {{2, 2, 3, 4}, {1, 3, 3, 4}, {1, 2, 4, 4}, {1, 2, 3, 5}, {1ull << 32 | 1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_int_not_equal(sc_rng_u32(&a, 7), sc_rng_u32(&others[i], 7));
    assert_int_equal(sc_rng_u32(&a, 7), sc_rng_u32(&a, 7));
    for (uint64_t i = 0; i < 1000; i++)
        assert_true(sc_rng_below(&a, i, 10) < 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_matches_the_published_vectors),
        cmocka_unit_test(numbers_have_the_moments_they_should),
        cmocka_unit_test(what_a_number_is_for_decides_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
