/* Payloads between two processes of one host without a socket: each reads the other's memory.
 *
 * Mental model. A process that shares owns one sc_shared_memory: a memfd, from which its buffer pools take their blocks.
 * Its Hello carries an offer: where the memory is to be found. A peer on the same host opens a sc_shared_view of it, and
 * says so; from then on a message to that peer carries a place in the memory instead of a payload frame, and the peer
 * copies from there. Nothing has a name in the file system: what a killed process shared goes with the last view.
 *
 * Who may look. The memory is opened through /proc/PID/fd, so by the same user alone, and only if it is what the offer
 * says: a memfd of Stagecoach's that cannot shrink (a reader would get SIGBUS), with the offer's cookie in its first
 * bytes. Another host, another pid namespace, another user: no view, and payloads travel in frames.
 *
 * Stamps. Each block has a number in the 64 bytes before its data, raised when its buffer goes back to the pool. A place
 * holds the number of the time of sending, and a reader compares before and after it copies: bytes that the owner has let
 * go in between (a generation that ended) are not taken for the message's. */
#ifndef SC_SHARED_MEMORY_H
#define SC_SHARED_MEMORY_H

#include "proto/wire/buffer.h"

#include <stdbool.h>

typedef struct sc_shared_memory sc_shared_memory;
typedef struct sc_shared_view sc_shared_view;

/* Where a process's memory is to be found. */
typedef struct sc_shared_offer {
    uint64_t host; /* sc_shared_memory_host */
    uint32_t process, descriptor;
    uint64_t cookie; /* not 0 */
} sc_shared_offer;

/* Where a payload lies in its owner's memory. */
typedef struct sc_shared_place {
    uint64_t offset, bytes, stamp;
} sc_shared_place;

/* A number for this host since it was started, the same in all its processes and containers; 0 if it cannot be told.
 * Thread: any. */
uint64_t sc_shared_memory_host(void);

/* Returns owned. Errors: SC_UNAVAILABLE (no memfd, or no address space for as much as the machine has memory). */
sc_status sc_shared_memory_new(sc_shared_memory **out);
/* The memory goes once the pools that take from it have released theirs. */
void sc_shared_memory_destroy(sc_shared_memory **self_p);
/* For sc_buffer_pool_new; several pools may take from one memory. A block's pages are there before it is given out, so
 * that neither side can run out of memory in the middle of a copy. Where no more can be shared, a block is memory of this
 * process alone. */
sc_buffer_memory sc_shared_memory_source(sc_shared_memory *self);
sc_shared_offer sc_shared_memory_offer(const sc_shared_memory *self);
/* False if `buffer` is not of this memory. Thread: any that holds the buffer. */
bool sc_shared_memory_find(const sc_shared_memory *self, sc_buffer *buffer, sc_shared_place *place);

/* Returns owned. Thread of a view: its owner's. Errors: SC_UNAVAILABLE (another host; it cannot be opened),
 * SC_PERMISSION_DENIED (another user's), SC_INVALID (not what the offer says). */
sc_status sc_shared_view_open(const sc_shared_offer *offer, sc_shared_view **out);
void sc_shared_view_close(sc_shared_view **self_p);
uint64_t sc_shared_view_cookie(const sc_shared_view *self);
/* Copies place->bytes to `to`. Errors: SC_INVALID (there is no such place), SC_ABORTED (the owner has let it go), and
 * then `to` is undefined; SC_RESOURCE_EXHAUSTED. */
sc_status sc_shared_view_copy(sc_shared_view *self, const sc_shared_place *place, void *to);

#endif
