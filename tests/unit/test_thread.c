/* How threads begin: no signal is theirs, and they have names. */
#include "proto/base/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_takes_no_signals_and_the_starter_s_stay),
        cmocka_unit_test(a_long_name_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
