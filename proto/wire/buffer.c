#include "proto/wire/buffer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

enum {
    ALIGNMENT = 64,
    SMALLEST = 256, /* bytes; smaller requests share one class */
    STEPS = 8,      /* classes per doubling: at most an eighth is lost to rounding */
    N_CLASSES = STEPS * 56,
};

struct sc_buffer {
    void *data;
    size_t bytes;
    size_t capacity; /* of `data`, if it is a pool's */
    _Atomic unsigned refs;
    sc_buffer_pool *pool;        /* NULL outside any */
    void (*release)(void *hint); /* instead of a pool; NULL: data is ours, from aligned_alloc */
    void *hint;
    sc_buffer *next_free;
};

struct sc_buffer_pool {
    sc_buffer_memory memory;
    pthread_mutex_t lock; /* guards all below; held for a few instructions, or for an allocation */
    sc_buffer *free[N_CLASSES];
    size_t n_out; /* buffers that somebody holds */
    bool closed;
    _Atomic uint64_t bytes;
};

static sc_status allocate(void *context, size_t bytes, void **out)
{
    (void)context;
    *out = aligned_alloc(ALIGNMENT, bytes);
    if (!*out)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a buffer of %zu bytes", bytes);
    return SC_OK;
}

static void release(void *context, void *memory)
{
    (void)context;
    free(memory);
}

/* The class that holds `bytes`, and the capacity of its buffers: (STEPS + s) * 2^e, a multiple of ALIGNMENT. -1 if there
 * is none. */
static int class_of(size_t bytes, size_t *capacity)
{
    if (bytes > SIZE_MAX / 4)
        return -1;
    if (bytes < SMALLEST)
        bytes = SMALLEST;
    int log2 = 63 - __builtin_clzll(bytes);
    size_t step = (size_t)1 << (log2 - 3); /* an eighth of the power of two below */
    if (step < ALIGNMENT)
        step = ALIGNMENT;
    *capacity = (bytes + step - 1) / step * step;
    log2 = 63 - __builtin_clzll(*capacity); /* rounding up may have reached the next power */
    int within = (int)((*capacity - ((size_t)1 << log2)) >> (log2 - 3));
    return (log2 - 8) * STEPS + within;
}

sc_status sc_buffer_pool_new(const sc_buffer_memory *memory, sc_buffer_pool **out)
{
    sc_buffer_pool *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a buffer pool");
    self->memory = memory ? *memory : (sc_buffer_memory){.allocate = allocate, .release = release};
    pthread_mutex_init(&self->lock, NULL);
    *out = self;
    return SC_OK;
}

static void pool_free(sc_buffer_pool *self)
{
    for (int i = 0; i < N_CLASSES; i++)
        while (self->free[i]) {
            sc_buffer *buffer = self->free[i];
            self->free[i] = buffer->next_free;
            self->memory.release(self->memory.context, buffer->data);
            free(buffer);
        }
    pthread_mutex_destroy(&self->lock);
    free(self);
}

void sc_buffer_pool_destroy(sc_buffer_pool **self_p)
{
    sc_buffer_pool *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    pthread_mutex_lock(&self->lock);
    self->closed = true;
    bool last = self->n_out == 0;
    pthread_mutex_unlock(&self->lock);
    if (last)
        pool_free(self);
}

static sc_status pool_allocate(sc_buffer_pool *pool, size_t capacity, sc_buffer **out)
{
    sc_buffer *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a buffer of %zu bytes", capacity);
    sc_status status = pool->memory.allocate(pool->memory.context, capacity, &self->data);
    if (status != SC_OK) {
        free(self);
        return status;
    }
    self->pool = pool;
    self->capacity = capacity;
    atomic_fetch_add(&pool->bytes, capacity);
    *out = self;
    return SC_OK;
}

sc_status sc_buffer_get(sc_buffer_pool *pool, size_t bytes, sc_buffer **out)
{
    size_t capacity;
    int class = class_of(bytes, &capacity);
    if (class < 0 || class >= N_CLASSES)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "a buffer of %zu bytes is beyond any memory", bytes);
    sc_status status = SC_OK;
    pthread_mutex_lock(&pool->lock);
    sc_buffer *self = pool->free[class];
    if (self)
        pool->free[class] = self->next_free;
    else
        status = pool_allocate(pool, capacity, &self);
    if (status == SC_OK)
        pool->n_out++;
    pthread_mutex_unlock(&pool->lock);
    if (status != SC_OK)
        return status;
    self->bytes = bytes;
    atomic_store(&self->refs, 1);
    *out = self;
    return SC_OK;
}

sc_status sc_buffer_new(size_t bytes, sc_buffer **out)
{
    sc_buffer *self = calloc(1, sizeof *self);
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (!self || rounded < bytes || !(self->data = aligned_alloc(ALIGNMENT, rounded ? rounded : ALIGNMENT))) {
        free(self);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a buffer of %zu bytes", bytes);
    }
    self->bytes = bytes;
    atomic_store(&self->refs, 1);
    *out = self;
    return SC_OK;
}

sc_status sc_buffer_wrap(void *data, size_t bytes, void (*release_fn)(void *hint), void *hint, sc_buffer **out)
{
    sc_buffer *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a buffer's head");
    *self = (sc_buffer){.data = data, .bytes = bytes, .release = release_fn, .hint = hint};
    atomic_store(&self->refs, 1);
    *out = self;
    return SC_OK;
}

sc_buffer *sc_buffer_ref(sc_buffer *self)
{
    atomic_fetch_add_explicit(&self->refs, 1, memory_order_relaxed);
    return self;
}

static void return_to_pool(sc_buffer *self)
{
    sc_buffer_pool *pool = self->pool;
    size_t capacity;
    int class = class_of(self->capacity, &capacity);
    if (pool->memory.recycle)
        pool->memory.recycle(pool->memory.context, self->data);
    pthread_mutex_lock(&pool->lock);
    self->next_free = pool->free[class];
    pool->free[class] = self;
    bool last = --pool->n_out == 0 && pool->closed;
    pthread_mutex_unlock(&pool->lock);
    if (last)
        pool_free(pool);
}

void sc_buffer_unref(sc_buffer **self_p)
{
    sc_buffer *self = *self_p;
    *self_p = NULL;
    if (!self || atomic_fetch_sub_explicit(&self->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (self->pool) {
        return_to_pool(self);
        return;
    }
    if (self->release)
        self->release(self->hint);
    else
        free(self->data);
    free(self);
}

void *sc_buffer_data(sc_buffer *self)
{
    return self->data;
}

size_t sc_buffer_bytes(const sc_buffer *self)
{
    return self->bytes;
}

uint64_t sc_buffer_pool_bytes(const sc_buffer_pool *pool)
{
    return atomic_load(&pool->bytes);
}
