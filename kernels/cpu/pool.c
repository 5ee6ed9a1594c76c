#include "kernels/cpu/pool.h"

#include "proto/base/thread.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* How the threads agree.
 *
 * `ticket` is the run's number (high half) and the next task (low half). A task is taken by compare-and-swap on the whole,
 * so a helper that read the description of one run cannot take a task of another. The owner closes the old ticket (next
 * task = CLOSED), writes the description with release stores, and opens a ticket of the next number; a helper reads
 * ticket, description, and swaps. If it saw anything of a newer description, it also sees the closing before it, and its
 * swap fails.
 * `done` counts finished tasks; the owner waits for those, not for the helpers: one that sleeps through a run costs nothing. */
enum { SPINS = 2000 }; /* pauses before sleeping: 25 to 100 us, more than the gap between two operations of a step */
#define CLOSED 0xFFFFFFFFu

typedef struct helper {
    sc_pool *pool;
    pthread_t thread;
    int index;
} helper;

struct sc_pool {
    int threads;
    helper *helpers;
    int n_started;

    _Alignas(64) _Atomic uint64_t ticket;
    _Atomic(sc_pool_task) run;
    _Atomic(void *) context;
    atomic_int n_tasks;
    _Alignas(64) atomic_int done;

    _Alignas(64) atomic_int n_sleeping; /* helpers in cond_wait, or about to check the ticket a last time */
    atomic_bool owner_sleeps, stop;
    pthread_mutex_t mutex;
    pthread_cond_t work, finished;
};

static void pause_briefly(void)
{
    __builtin_ia32_pause();
}

/* Takes and runs tasks of the run that `ticket` names until there are none left. */
static void work_on(sc_pool *self, int thread)
{
    for (;;) {
        uint64_t ticket = atomic_load_explicit(&self->ticket, memory_order_acquire);
        uint32_t task = (uint32_t)ticket;
        int n_tasks = atomic_load_explicit(&self->n_tasks, memory_order_acquire);
        sc_pool_task run = atomic_load_explicit(&self->run, memory_order_acquire);
        void *context = atomic_load_explicit(&self->context, memory_order_acquire);
        if (task == CLOSED || task >= (uint32_t)n_tasks)
            return;
        if (!atomic_compare_exchange_weak_explicit(&self->ticket, &ticket, ticket + 1, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        run(context, (int)task, thread);
        if (atomic_fetch_add(&self->done, 1) + 1 == n_tasks && atomic_load(&self->owner_sleeps)) {
            pthread_mutex_lock(&self->mutex);
            pthread_cond_signal(&self->finished);
            pthread_mutex_unlock(&self->mutex);
        }
    }
}

/* Is there something in the ticket that this helper has not looked at? */
static bool news(const sc_pool *self, uint32_t seen)
{
    uint64_t ticket = atomic_load(&self->ticket);
    return atomic_load(&self->stop) || ((uint32_t)(ticket >> 32) != seen && (uint32_t)ticket != CLOSED);
}

static void *helper_main(void *argument)
{
    helper *me = argument;
    sc_pool *self = me->pool;
    uint32_t seen = 0;
    while (!atomic_load(&self->stop)) {
        int spins = 0;
        while (!news(self, seen) && spins++ < SPINS)
            pause_briefly();
        if (!news(self, seen)) {
            pthread_mutex_lock(&self->mutex);
            atomic_fetch_add(&self->n_sleeping, 1);
            while (!news(self, seen))
                pthread_cond_wait(&self->work, &self->mutex);
            atomic_fetch_sub(&self->n_sleeping, 1);
            pthread_mutex_unlock(&self->mutex);
        }
        seen = (uint32_t)(atomic_load(&self->ticket) >> 32);
        work_on(self, me->index);
    }
    return NULL;
}

sc_status sc_pool_new(int threads, sc_pool **out)
{
    assert(threads > 0);
    sc_pool *self = aligned_alloc(64, (sizeof *self + 63) / 64 * 64);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a pool of %d threads", threads);
    memset(self, 0, sizeof *self);
    self->threads = threads;
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->work, NULL);
    pthread_cond_init(&self->finished, NULL);
    atomic_store(&self->ticket, CLOSED);
    self->helpers = calloc((size_t)threads, sizeof *self->helpers);
    bool failed = !self->helpers;

    for (int i = 1; i < threads && !failed; i++) {
        self->helpers[i] = (helper){.pool = self, .index = i};
        failed = sc_thread_start(&self->helpers[i].thread, "pool", helper_main, &self->helpers[i]) != SC_OK;
        if (!failed)
            self->n_started = i;
    }
    if (failed) {
        sc_pool_destroy(&self);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "cannot start %d threads; take a smaller --threads", threads);
    }
    *out = self;
    return SC_OK;
}

void sc_pool_destroy(sc_pool **self_p)
{
    sc_pool *self = *self_p;
    if (!self)
        return;
    pthread_mutex_lock(&self->mutex);
    atomic_store(&self->stop, true);
    pthread_cond_broadcast(&self->work);
    pthread_mutex_unlock(&self->mutex);
    for (int i = 1; i <= self->n_started; i++)
        pthread_join(self->helpers[i].thread, NULL);
    pthread_cond_destroy(&self->work);
    pthread_cond_destroy(&self->finished);
    pthread_mutex_destroy(&self->mutex);
    free(self->helpers);
    free(self);
    *self_p = NULL;
}

int sc_pool_threads(const sc_pool *self)
{
    return self->threads;
}

void sc_pool_run(sc_pool *self, int n_tasks, sc_pool_task run, void *context)
{
    if (self->threads == 1 || n_tasks == 1) {
        for (int task = 0; task < n_tasks; task++)
            run(context, task, 0);
        return;
    }
    uint64_t number = atomic_load(&self->ticket) >> 32;
    atomic_store(&self->ticket, number << 32 | CLOSED);
    atomic_store_explicit(&self->n_tasks, n_tasks, memory_order_release);
    atomic_store_explicit(&self->run, run, memory_order_release);
    atomic_store_explicit(&self->context, context, memory_order_release);
    atomic_store(&self->done, 0);
    atomic_store(&self->ticket, (number + 1) << 32);
    if (atomic_load(&self->n_sleeping) > 0) {
        pthread_mutex_lock(&self->mutex);
        pthread_cond_broadcast(&self->work);
        pthread_mutex_unlock(&self->mutex);
    }
    work_on(self, 0);
    for (int spins = 0; atomic_load(&self->done) < n_tasks && spins < SPINS; spins++)
        pause_briefly();
    if (atomic_load(&self->done) < n_tasks) {
        pthread_mutex_lock(&self->mutex);
        atomic_store(&self->owner_sleeps, true);
        while (atomic_load(&self->done) < n_tasks)
            pthread_cond_wait(&self->finished, &self->mutex);
        atomic_store(&self->owner_sleeps, false);
        pthread_mutex_unlock(&self->mutex);
    }
}
