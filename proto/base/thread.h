/* How a thread of the product begins: with all signals blocked, as they are for the thread that waits for them, and with a name
 * that debuggers and top(1) show, of which the kernel keeps 15 bytes.
 * Errors: SC_RESOURCE_EXHAUSTED. Thread: any. */
#ifndef SC_THREAD_H
#define SC_THREAD_H

#include "proto/base/status.h"

#include <pthread.h>

sc_status sc_thread_start(pthread_t *thread, const char *name, void *(*run)(void *context), void *context);

#endif
