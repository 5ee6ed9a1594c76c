/* A counted block of host memory that can lie in several queues at once: the sender's outbox and libzmq at least.
 * When the last holder lets go it returns to its pool, from whichever thread that is (libzmq's I/O thread among them),
 * so a steady-state step allocates nothing. */
#ifndef SC_BUFFER_H
#define SC_BUFFER_H

#include "proto/base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct sc_buffer sc_buffer;
typedef struct sc_buffer_pool sc_buffer_pool;

/* How a pool gets its memory: a backend's pinned memory on a GPU host, memory that neighbours read (shared_memory.h);
 * malloc where NULL is given. `allocate` aligns to 64 at least; it and `release` are called under the pool's lock, from
 * any thread. */
typedef struct sc_buffer_memory {
    sc_status (*allocate)(void *context, size_t bytes, void **out);
    void (*release)(void *context, void *memory);
    /* The last reference to a buffer is gone, and its memory may be written anew. NULL: nothing to do. Thread: any. */
    void (*recycle)(void *context, void *memory);
    void *context;
} sc_buffer_memory;

/* Returns owned. `memory` is copied. */
sc_status sc_buffer_pool_new(const sc_buffer_memory *memory, sc_buffer_pool **out);
/* The memory goes once the last buffer has come back. */
void sc_buffer_pool_destroy(sc_buffer_pool **self_p);

/* A buffer of `bytes` bytes, aligned to 64, contents undefined; the caller holds one reference. Free buffers of a
 * similar size are used again. Thread: any. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_buffer_get(sc_buffer_pool *pool, size_t bytes, sc_buffer **out);
/* One outside any pool, for small and rare things. */
sc_status sc_buffer_new(size_t bytes, sc_buffer **out);
/* A buffer over memory that comes from elsewhere: `release (hint)` is called with the last reference, from whichever
 * thread lets it go. On an error it is not called. */
sc_status sc_buffer_wrap(void *data, size_t bytes, void (*release)(void *hint), void *hint, sc_buffer **out);

sc_buffer *sc_buffer_ref(sc_buffer *self);
void sc_buffer_unref(sc_buffer **self_p); /* NULL is fine */
void *sc_buffer_data(sc_buffer *self);
size_t sc_buffer_bytes(const sc_buffer *self);

/* Bytes that the pool has allocated: constant in the steady state. Thread: any. */
uint64_t sc_buffer_pool_bytes(const sc_buffer_pool *pool);

#endif
