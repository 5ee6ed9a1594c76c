/* How a thread of the product begins, rests and ends. Thread: any. */
#ifndef SC_THREAD_H
#define SC_THREAD_H

#include "proto/base/status.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* With all signals blocked, as they are for the thread that waits for them, and with a name that debuggers and top(1) show, of
 * which the kernel keeps 15 bytes. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_thread_start(pthread_t *thread, const char *name, void *(*run)(void *context), void *context);

/* Waits for its end, not longer than so many ms. False: it goes on, and is detached; what it works on is its own then. */
bool sc_thread_end(pthread_t thread, uint64_t ms);

/* A condition whose waits end by CLOCK_MONOTONIC. */
void sc_thread_condition_init(pthread_cond_t *out);
/* Waits for `condition` until that clock's `until_ns`; holds the lock, and lets it go meanwhile. False: the time has come. */
bool sc_thread_wait_until(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t until_ns);
/* So for `ms` from now, or until *closing is set. */
void sc_thread_rest(pthread_cond_t *condition, pthread_mutex_t *lock, const bool *closing, uint64_t ms);

#endif
