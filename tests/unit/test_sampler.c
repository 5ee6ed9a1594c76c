#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "coordinator/run/sampler.h"
#include "proto/base/rng.h"

static int32_t draw(const float *logits, int V, double temperature, int top_k, double top_p, uint32_t position)
{
    const sc_sampler_settings settings = {.temperature = temperature, .top_k = top_k, .top_p = top_p, .seed = 99};
    sc_sampler *self;
    assert_int_equal(sc_sampler_new(&settings, V, &self), SC_OK);
    int32_t id = -1;
    assert_int_equal(sc_sampler_draw(self, logits, position, &id), SC_OK);
    sc_sampler_destroy(&self);
    return id;
}

/* The definition, rule by rule, in the slowest way: rank by counting, no sorting. */
static int32_t brute_force(const float *logits, int V, double temperature, int top_k, double top_p, uint32_t position)
{
    enum { MOST = 64 };
    int order[MOST], n = 0;
    for (int rank = 0; rank < V; rank++)
        for (int v = 0; v < V; v++) {
            int ahead = 0;
            for (int u = 0; u < V; u++)
                ahead += logits[u] > logits[v] || (logits[u] == logits[v] && u < v);
            if (ahead == rank)
                order[n++] = v;
        }
    assert_int_equal(n, V);
    if (top_k > 0 && top_k < n)
        n = top_k;
    double p[MOST], sum = 0;
    for (int i = 0; i < n; i++)
        sum += p[i] = exp(((double)logits[order[i]] - (double)logits[order[0]]) / temperature);
    double total = 0;
    int kept = 0;
    while (kept < n && (kept == 0 || (top_p >= 1 || total < top_p * sum)))
        total += p[kept++];
    sc_rng rng = {.seed = 99, .site = SC_RNG_SITE(SC_RNG_SAMPLE, 0), .step = position};
    double u = sc_rng_uniform64(&rng, 0) * total, passed = 0;
    for (int i = 0; i < kept; i++)
        if ((passed += p[i]) > u)
            return order[i];
    return order[kept - 1];
}

static void draws_follow_the_definition(void **state)
{
    (void)state;
    static const double temperatures[] = {0.1, 0.7, 1, 3}, top_ps[] = {1e-9, 0.3, 0.9, 1};
    static const int top_ks[] = {0, 1, 3, 100};
    const sc_rng rng = {.seed = 5, .site = SC_RNG_SITE(SC_RNG_TEST, 0)};
    uint32_t position = 0;
    for (int V = 1; V <= 33; V += 8)
        for (int t = 0; t < 4; t++)
            for (int k = 0; k < 4; k++)
                for (int p = 0; p < 4; p++)
                    for (int i = 0; i < 20; i++, position++) {
                        float logits[64];
                        for (int v = 0; v < V; v++) /* multiples of 1/4: with ties */
                            logits[v] = (float)(int)sc_rng_below(&rng, position * 64u + (uint32_t)v, 16) / 4;
                        assert_int_equal(draw(logits, V, temperatures[t], top_ks[k], top_ps[p], position),
                                         brute_force(logits, V, temperatures[t], top_ks[k], top_ps[p], position));
                    }
}

static void frequencies_are_the_probabilities(void **state)
{
    (void)state;
    const float logits[] = {0, logf(2), logf(5), -INFINITY};
    int count[4] = {0};
    enum { N = 16000 };
    for (uint32_t position = 0; position < N; position++)
        count[draw(logits, 4, 1, 0, 1, position)]++;
    for (int v = 0; v < 3; v++) { /* five standard deviations of a binomial */
        double p = (v == 0 ? 1 : v == 1 ? 2 : 5) / 8.0;
        assert_true(fabs(count[v] - N * p) < 5 * sqrt(N * p * (1 - p)));
    }
    assert_int_equal(count[3], 0);
}

static void temperature_zero_takes_the_first_of_the_largest(void **state)
{
    (void)state;
    const float logits[] = {1, 7, 3, 7, NAN};
    for (uint32_t position = 0; position < 20; position++) {
        assert_int_equal(draw(logits, 5, 0, 0, 1, position), 1);
        assert_int_equal(draw(logits, 5, 1, 1, 1, position), 1); /* top_k 1 comes to the same */
    }
}

static void numbers_that_are_none_are_never_drawn(void **state)
{
    (void)state;
    const float some[] = {NAN, 1, -INFINITY, 1, NAN};
    bool drawn[5] = {false};
    for (uint32_t position = 0; position < 100; position++)
        drawn[draw(some, 5, 2, 0, 1, position)] = true;
    assert_true(drawn[1] && drawn[3] && !drawn[0] && !drawn[2] && !drawn[4]);

    const float infinite[] = {5, INFINITY, -3, INFINITY};
    bool seen[4] = {false};
    for (uint32_t position = 0; position < 100; position++)
        seen[draw(infinite, 4, 1, 0, 0.99, position)] = true;
    assert_true(seen[1] && seen[3] && !seen[0] && !seen[2]);

    const float none[] = {NAN, -INFINITY};
    sc_sampler_settings settings = {.temperature = 1, .top_p = 1};
    sc_sampler *self;
    int32_t id;
    assert_int_equal(sc_sampler_new(&settings, 2, &self), SC_OK);
    assert_int_equal(sc_sampler_draw(self, none, 0, &id), SC_INVALID);
    sc_sampler_destroy(&self);
    settings.temperature = 0;
    assert_int_equal(sc_sampler_new(&settings, 2, &self), SC_OK);
    assert_int_equal(sc_sampler_draw(self, none, 0, &id), SC_INVALID);
    sc_sampler_destroy(&self);
}

static void tiny_temperatures_do_not_overflow(void **state)
{
    (void)state;
    const float logits[] = {-1e30f, 1e30f, 3e38f, -3e38f};
    for (uint32_t position = 0; position < 20; position++)
        assert_int_equal(draw(logits, 4, 1e-300, 0, 1, position), 2);
}

static void settings_are_checked(void **state)
{
    (void)state;
    static const sc_sampler_settings bad[] = {
        {.temperature = -1, .top_p = 1}, {.temperature = NAN, .top_p = 1}, {.temperature = INFINITY, .top_p = 1},
        {.temperature = 1, .top_p = 0},  {.temperature = 1, .top_p = 1.5}, {.temperature = 1, .top_p = NAN},
        {.top_k = -1, .top_p = 1},
    };
    sc_sampler *self;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(sc_sampler_new(&bad[i], 4, &self), SC_INVALID);
        assert_null(self);
    }
    const sc_sampler_settings good = {.top_p = 1};
    assert_int_equal(sc_sampler_new(&good, 0, &self), SC_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_follow_the_definition),
        cmocka_unit_test(frequencies_are_the_probabilities),
        cmocka_unit_test(temperature_zero_takes_the_first_of_the_largest),
        cmocka_unit_test(numbers_that_are_none_are_never_drawn),
        cmocka_unit_test(tiny_temperatures_do_not_overflow),
        cmocka_unit_test(settings_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
