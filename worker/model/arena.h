/* An arena: one allocation of a backend, carved into pieces that start on 64 bytes.
 *
 * Mental model. An arena is filled twice by the same code: without memory carving only counts, so a plan of the bytes and
 * the allocation cannot differ; after sc_arena_allocate it hands out pointers. Nothing is given back piece by piece.
 *
 *   sc_arena arena = {0};
 *   carve_everything (&arena);                 measures: arena.used
 *   SC_TRY (sc_arena_allocate (&arena, ...));
 *   carve_everything (&arena);                 the pointers
 *
 * Thread: one. */
#ifndef SC_ARENA_H
#define SC_ARENA_H

#include "kernels/ops.h"

typedef struct sc_arena {
    char *memory; /* of the backend, zeroed; NULL while measuring */
    uint64_t used, bytes;
} sc_arena;

/* The next `bytes`, rounded up to 64; NULL while measuring. Carving more than was measured is a mistake of the caller's
 * (asserted). */
void *sc_arena_carve(sc_arena *self, uint64_t bytes);

/* Allocates what has been measured and starts again at its beginning. `what` names it in the message; an empty arena
 * allocates nothing. Errors: SC_RESOURCE_EXHAUSTED, with the bytes. */
sc_status sc_arena_allocate(sc_arena *self, const sc_ops *ops, sc_stream *stream, const char *what);

/* Gives the memory back; may be called twice. */
void sc_arena_release(sc_arena *self, const sc_ops *ops, sc_stream *stream);

#endif
