/* A pool of threads for work that is cut into tasks by its shape.
 *
 * Mental model. sc_pool_run hands out tasks 0 .. n_tasks-1, each exactly once, to the caller and to threads - 1 helpers,
 * in whatever order they come for them, and returns when all are done. A task writes memory that no other task of the same
 * run touches, so the result does not depend on who ran it. Between runs the helpers spin for some microseconds, then
 * sleep: several worker processes share one machine's cores.
 *
 * Thread: one thread owns the pool and calls run; runs do not nest. */
#ifndef SC_POOL_H
#define SC_POOL_H

#include "proto/base/status.h"

#include <stddef.h>

typedef struct sc_pool sc_pool;

/* `thread` is in [0, threads): which scratch a task may use. 0 is the caller. */
typedef void (*sc_pool_task)(void *context, int task, int thread);

/* threads >= 1; 1 starts none. Returns owned. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_pool_new(int threads, sc_pool **out);
/* Ends and joins the helpers. May be called twice. */
void sc_pool_destroy(sc_pool **self_p);
int sc_pool_threads(const sc_pool *self);
void sc_pool_run(sc_pool *self, int n_tasks, sc_pool_task run, void *context);

#endif
