/* A snapshot: a copy in host memory of the state of a worker's stages (parameters and the optimizer's moments) as it was
 * between two steps. The executor takes it, which stops training for as long as the copy takes; the network thread then
 * serves its pieces while training goes on. A worker has one at most, and its memory is used again by the next.
 * Thread: whoever holds it; it is handed over whole. */
#ifndef SC_SNAPSHOT_H
#define SC_SNAPSHOT_H

#include "worker/assignment.h"

typedef struct sc_snapshot sc_snapshot;

/* Bytes [from, from + n) of a tensor of the stages' state. */
typedef struct sc_state_piece {
    char name[SC_NAME_BYTES];
    sc_state_kind kind;
    uint64_t from, n;
} sc_state_piece;

/* Copies the state of the assignment's stages (by chunk) after optimizer step `step`. *inout is NULL or an old snapshot,
 * whose memory is used; owned by the caller. Errors: SC_RESOURCE_EXHAUSTED, the backend's; *inout is then NULL. */
sc_status sc_snapshot_take(sc_snapshot **inout, const sc_assignment *assignment, sc_stage *const *stages, int64_t step);
void sc_snapshot_destroy(sc_snapshot **self_p);

int64_t sc_snapshot_step(const sc_snapshot *self);
uint64_t sc_snapshot_bytes(const sc_snapshot *self);
/* *data points into the snapshot. Errors: SC_NOT_FOUND, SC_OUT_OF_RANGE. */
sc_status sc_snapshot_find(const sc_snapshot *self, const sc_state_piece *piece, const void **data);

#endif
