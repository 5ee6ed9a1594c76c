#include "proto/base/thread.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

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
