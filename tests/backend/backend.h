/* What the backend tests share: tables under test, memory, data, comparisons. */
#ifndef SC_TEST_BACKEND_H
#define SC_TEST_BACKEND_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/ops.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* One table at one instruction set with some threads. The first two are always `reference`, and `cpu` as the machine
 * offers it; sc_test_contexts fills in the others that this processor can run. */
typedef struct context {
    const char *isa; /* NULL: the reference, or the machine's best */
    int threads;
    const sc_ops *ops;
    sc_stream *stream;
} context;

enum { MAX_CONTEXTS = 8 };
static context contexts[MAX_CONTEXTS];
static int n_contexts;

static inline void open_context(const char *backend, const char *isa, int threads)
{
    context c = {.isa = isa, .threads = threads};
    if (isa)
        setenv("SC_CPU_ISA", isa, 1);
    else
        unsetenv("SC_CPU_ISA");
    assert_int_equal(sc_ops_find(backend, &c.ops), SC_OK);
    sc_status status = c.ops->stream_new(0, threads, &c.stream);
    unsetenv("SC_CPU_ISA");
    if (status == SC_FAILED_PRECONDITION) {
        print_message("[  SKIPPED ] %s\n", sc_status_message());
        return;
    }
    assert_int_equal(status, SC_OK);
    contexts[n_contexts++] = c;
}

/* reference; cpu with 1, 2, 3 and 5 threads (these must agree to the bit); cpu at each lower instruction set. */
static inline int open_contexts(void **state)
{
    (void)state;
    static const char *const isas[] = {"avx512", "avx2", "base"};
    static const int threads[] = {1, 2, 3, 5};
    open_context("reference", NULL, 1);
    for (size_t i = 0; i < COUNT(threads); i++)
        open_context("cpu", NULL, threads[i]);
    for (size_t i = 0; i < COUNT(isas); i++)
        open_context("cpu", isas[i], 2);
    return 0;
}

static inline int close_contexts(void **state)
{
    (void)state;
    for (int i = 0; i < n_contexts; i++) {
        contexts[i].ops->stream_destroy(&contexts[i].stream);
        contexts[i].ops->stream_destroy(&contexts[i].stream); /* may be called twice */
    }
    n_contexts = 0;
    return 0;
}

/* Normal numbers that depend on `what` alone. */
static inline float *random_floats(size_t n, uint32_t what, float scale)
{
    float *x = malloc((n ? n : 1) * sizeof *x);
    assert_non_null(x);
    sc_rng rng = {.seed = 7, .site = SC_RNG_SITE(SC_RNG_TEST, what)};
    for (size_t i = 0; i < n; i++)
        x[i] = scale * sc_rng_normal(&rng, i);
    return x;
}

static inline int32_t *random_tokens(size_t n, uint32_t what, int below)
{
    int32_t *x = malloc(n * sizeof *x);
    assert_non_null(x);
    sc_rng rng = {.seed = 7, .site = SC_RNG_SITE(SC_RNG_TEST, what)};
    for (size_t i = 0; i < n; i++)
        x[i] = (int32_t)sc_rng_below(&rng, i, (uint64_t)below);
    return x;
}

/* The results of one operation on every context: room [c] of n floats, all begun with the same numbers. */
typedef struct results {
    const char *name;
    size_t n;
    float *of[MAX_CONTEXTS];
} results;

static inline results results_new(const char *name, size_t n, uint32_t what, float scale)
{
    results r = {.name = name, .n = n};
    r.of[0] = random_floats(n, what, scale);
    for (int c = 1; c < n_contexts; c++) {
        r.of[c] = malloc((n ? n : 1) * sizeof(float));
        assert_non_null(r.of[c]);
        memcpy(r.of[c], r.of[0], n * sizeof(float));
    }
    return r;
}

/* Every context agrees with the reference within absolute + relative * |reference|, and those with the machine's best
 * instruction set agree with each other to the bit whatever their threads. Frees. */
static inline void results_check(results *r, double absolute, double relative)
{
    for (int c = 1; c < n_contexts; c++) {
        for (size_t i = 0; i < r->n; i++) {
            double want = r->of[0][i], have = r->of[c][i];
            if (want != have && !(fabs(have - want) <= absolute + relative * fabs(want)))
                fail_msg("%s[%zu]: %.9g, the reference has %.9g (isa %s, %d threads)", r->name, i, have, want,
                         contexts[c].isa ? contexts[c].isa : "best", contexts[c].threads);
        }
        if (c > 1 && !contexts[c].isa && memcmp(r->of[1], r->of[c], r->n * sizeof(float)) != 0)
            fail_msg("%s: %d threads give other bits than 1", r->name, contexts[c].threads);
    }
    for (int c = 0; c < n_contexts; c++)
        free(r->of[c]);
}

#define OK(call) assert_int_equal((call), SC_OK)

#endif
