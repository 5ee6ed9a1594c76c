#include "proto/base/thread.h"

#include "proto/base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { NS_OF_MS = 1000000, NS_OF_S = 1000000000 };

sc_status sc_thread_start(pthread_t *thread, const char *name, void *(*run)(void *context), void *context)
{
    char kept[16];
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, NULL, run, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "the thread '%s' cannot be started: %s", name, strerror(error));
    snprintf(kept, sizeof kept, "%s", name);
    pthread_setname_np(*thread, kept);
    return SC_OK;
}

bool sc_thread_end(pthread_t thread, uint64_t ms)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end); /* no other is to be had */
    end.tv_sec += (time_t)(ms / 1000);
    if (pthread_timedjoin_np(thread, NULL, &end) == 0)
        return true;
    pthread_detach(thread);
    return false;
}

void sc_thread_condition_init(pthread_cond_t *out)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(out, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

bool sc_thread_wait_until(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t until_ns)
{
    const struct timespec until = {.tv_sec = (time_t)(until_ns / NS_OF_S), .tv_nsec = (long)(until_ns % NS_OF_S)};
    return pthread_cond_timedwait(condition, lock, &until) == 0;
}

void sc_thread_rest(pthread_cond_t *condition, pthread_mutex_t *lock, const bool *closing, uint64_t ms)
{
    const sc_clock clock = sc_clock_system();
    const uint64_t until = sc_clock_ns(&clock) + ms * NS_OF_MS;
    while (!*closing && sc_thread_wait_until(condition, lock, until))
        continue;
}
