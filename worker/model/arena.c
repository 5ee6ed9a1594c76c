#include "worker/model/arena.h"

#include <assert.h>
#include <inttypes.h>

enum { ALIGNMENT = 64 }; /* a cache line, and an AVX-512 register */

void *sc_arena_carve(sc_arena *self, uint64_t bytes)
{
    uint64_t start = self->used;
    self->used += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    assert(!self->memory || self->used <= self->bytes);
    return self->memory ? self->memory + start : NULL;
}

sc_status sc_arena_allocate(sc_arena *self, const sc_ops *ops, sc_stream *stream, const char *what)
{
    assert(!self->memory);
    if (self->used == 0)
        return SC_OK;
    void *memory = NULL;
    if (ops->memory_new(stream, (size_t)self->used, &memory) != SC_OK)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED,
                       "no memory for the stage's %s, %" PRIu64
                       " bytes (%s); use more workers or smaller micro-batches",
                       what, self->used, sc_status_message());
    self->memory = memory;
    self->bytes = self->used;
    self->used = 0;
    return SC_OK;
}

void sc_arena_release(sc_arena *self, const sc_ops *ops, sc_stream *stream)
{
    void *memory = self->memory;
    if (memory)
        ops->memory_destroy(stream, &memory);
    *self = (sc_arena){0};
}
