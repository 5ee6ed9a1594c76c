#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <time.h>

#include "kernels/cpu/pool.h"

enum { TASKS = 200 };

typedef struct tally {
    int runs[TASKS]; /* plain memory: each task writes its own, and the owner reads it after the run */
    int threads, bad_threads;
} tally;

static void count_task(void *context, int task, int thread)
{
    tally *t = context;
    t->runs[task]++;
    if (thread < 0 || thread >= t->threads)
        t->bad_threads = 1;
}

static void each_task_runs_once(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 5; threads++) {
        sc_pool *pool = NULL;
        assert_int_equal(sc_pool_new(threads, &pool), SC_OK);
        assert_int_equal(sc_pool_threads(pool), threads);
        for (int n = 0; n <= TASKS; n += n < 8 ? 1 : 24) {
            tally t = {.threads = threads};
            for (int round = 1; round <= 20; round++) {
                sc_pool_run(pool, n, count_task, &t);
                for (int i = 0; i < TASKS; i++)
                    assert_int_equal(t.runs[i], i < n ? round : 0);
            }
            assert_false(t.bad_threads);
        }
        sc_pool_destroy(&pool);
        assert_null(pool);
        sc_pool_destroy(&pool);
    }
}

static void sleep_for(long ns)
{
    nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
}

static void slow_task(void *context, int task, int thread)
{
    sleep_for(1000000);
    count_task(context, task, thread);
}

/* Helpers that have gone to sleep come back, and an owner that had to sleep is woken by the last task. */
static void sleepers_are_woken(void **state)
{
    (void)state;
    sc_pool *pool = NULL;
    assert_int_equal(sc_pool_new(3, &pool), SC_OK);
    tally t = {.threads = 3};
    for (int round = 1; round <= 20; round++) {
        sleep_for(2000000); /* much longer than a helper spins */
        sc_pool_run(pool, 4, slow_task, &t);
        for (int i = 0; i < 4; i++)
            assert_int_equal(t.runs[i], round);
    }
    sc_pool_destroy(&pool);
}

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Between runs a pool costs next to no processor time: several workers share the cores. */
static void an_idle_pool_sleeps(void **state)
{
    (void)state;
    sc_pool *pool = NULL;
    assert_int_equal(sc_pool_new(4, &pool), SC_OK);
    tally t = {.threads = 4};
    sc_pool_run(pool, 8, count_task, &t);
    double before = seconds(CLOCK_PROCESS_CPUTIME_ID);
    sleep_for(200000000);
    /* spinning on, three helpers would use 0.2 s or more even on one core; going to sleep takes far under a tenth */
    assert_true(seconds(CLOCK_PROCESS_CPUTIME_ID) - before < 0.05);
    sc_pool_destroy(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_task_runs_once),
        cmocka_unit_test(sleepers_are_woken),
        cmocka_unit_test(an_idle_pool_sleeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
