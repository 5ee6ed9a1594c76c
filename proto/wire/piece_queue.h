/* A queue of pieces of tensors, from a thread that may not wait for the disk to one that writes them there.
 *
 *      (new) SHUT --open--> OPEN --close--> CLOSED: what is there is still taken; no more comes
 *              ^              |               |
 *              '----shut------+---------------'     what is there is let go, what comes is let go at once
 *
 * Bytes count from put until done: also those of the piece that is being written. So a bound on them bounds memory.
 * Thread: put, open, close and bytes are one thread's, take and done another's; shut is either's. */
#ifndef SC_PIECE_QUEUE_H
#define SC_PIECE_QUEUE_H

#include "proto/wire/buffer.h"

#include <stdbool.h>

typedef struct sc_piece {
    struct sc_piece *next;
    int shard; /* which file it is for, where there are several */
    uint64_t from;
    sc_buffer *data;
    char name[]; /* of the tensor */
} sc_piece;

typedef struct sc_piece_queue sc_piece_queue;

/* Returns owned, shut. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_piece_queue_new(sc_piece_queue **out);
void sc_piece_queue_destroy(sc_piece_queue **self_p);

/* Takes `data`, also where it fails or the queue is not open. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_piece_queue_put(sc_piece_queue *self, int shard, const char *name, uint64_t from, sc_buffer *data);
/* The next piece, waiting for one; it is given back with done. NULL: there will be none. */
sc_piece *sc_piece_queue_take(sc_piece_queue *self);
void sc_piece_queue_done(sc_piece_queue *self, sc_piece **piece_p);

void sc_piece_queue_open(sc_piece_queue *self);
void sc_piece_queue_close(sc_piece_queue *self); /* nothing where it is shut */
void sc_piece_queue_shut(sc_piece_queue *self);
bool sc_piece_queue_is_shut(sc_piece_queue *self);
uint64_t sc_piece_queue_bytes(sc_piece_queue *self);

#endif
