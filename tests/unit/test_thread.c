/* How threads begin, rest and end: no signal is theirs, they have names, and nobody waits for ever. */
#include "proto/base/clock.h"
#include "proto/base/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

typedef struct seen {
    sigset_t blocked;
    int argument;
} seen;

static void *look(void *context)
{
    seen *self = context;
    pthread_sigmask(SIG_SETMASK, NULL, &self->blocked);
    self->argument++;
    return self;
}

static void a_thread_takes_no_signals_and_the_starter_s_stay(void **state)
{
    (void)state;
    sigset_t before, after;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR1);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    seen s = {.argument = 41};
    pthread_t thread;
    void *result = NULL;
    assert_int_equal(sc_thread_start(&thread, "test", look, &s), SC_OK);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, &s);
    assert_int_equal(s.argument, 42);
    const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGUSR1, SIGUSR2};
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        assert_true(sigismember(&s.blocked, signals[i]));
        assert_int_equal(sigismember(&after, signals[i]), signals[i] == SIGUSR1);
    }
}

static void *wait_for_the_end(void *context)
{
    pthread_mutex_lock(context);
    pthread_mutex_unlock(context);
    return NULL;
}

static void a_long_name_is_cut(void **state)
{
    (void)state;
    static pthread_mutex_t end = PTHREAD_MUTEX_INITIALIZER;
    pthread_t thread;
    char name[32];
    pthread_mutex_lock(&end);
    assert_int_equal(sc_thread_start(&thread, "a name of more than 15 bytes", wait_for_the_end, &end), SC_OK);
    assert_int_equal(pthread_getname_np(thread, name, sizeof name), 0);
    assert_string_equal(name, "a name of more ");
    pthread_mutex_unlock(&end);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

typedef struct rester {
    pthread_mutex_t lock;
    pthread_cond_t news;
    bool closing;
    int looks;
} rester;

static void *rest_until_the_end(void *context)
{
    rester *self = context;
    pthread_mutex_lock(&self->lock);
    while (!self->closing) {
        self->looks++;
        sc_thread_rest(&self->news, &self->lock, &self->closing, 3600 * 1000);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

static void a_rest_ends_with_its_time_or_when_closing_is_set(void **state)
{
    (void)state;
    static rester r = {.lock = PTHREAD_MUTEX_INITIALIZER};
    const sc_clock clock = sc_clock_system();
    sc_thread_condition_init(&r.news);
    pthread_mutex_lock(&r.lock);
    const uint64_t begin = sc_clock_ns(&clock);
    sc_thread_rest(&r.news, &r.lock, &r.closing, 5);
    assert_true(sc_clock_ns(&clock) - begin >= 5000000);
    assert_false(sc_thread_wait_until(&r.news, &r.lock, begin)); /* is past */
    pthread_t thread;
    assert_int_equal(sc_thread_start(&thread, "rester", rest_until_the_end, &r), SC_OK);
    while (r.looks == 0) { /* it begins when the lock is let go */
        pthread_mutex_unlock(&r.lock);
        sched_yield();
        pthread_mutex_lock(&r.lock);
    }
    pthread_cond_signal(&r.news); /* news is no end */
    r.closing = true;
    pthread_cond_signal(&r.news);
    pthread_mutex_unlock(&r.lock);
    assert_true(sc_thread_end(thread, 60000));
    assert_int_equal(r.looks, 1);
    pthread_cond_destroy(&r.news);
}

static void who_does_not_end_is_left_behind(void **state)
{
    (void)state;
    static pthread_mutex_t end = PTHREAD_MUTEX_INITIALIZER;
    pthread_t thread;
    pthread_mutex_lock(&end);
    assert_int_equal(sc_thread_start(&thread, "stays", wait_for_the_end, &end), SC_OK);
    assert_false(sc_thread_end(thread, 0));
    pthread_mutex_unlock(&end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_takes_no_signals_and_the_starter_s_stay),
        cmocka_unit_test(a_long_name_is_cut),
        cmocka_unit_test(a_rest_ends_with_its_time_or_when_closing_is_set),
        cmocka_unit_test(who_does_not_end_is_left_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
