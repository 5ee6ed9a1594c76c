/* The vault: parts of points that this worker keeps in host memory, its own and those that others deposited with it.
 *
 * Mental model. A map from a part's name (lineage, optimizer step, blocks) to the part. It outlives memberships: a worker
 * that joins again, or a coordinator that was started anew, finds what is here. Two parts of one name have the same bytes,
 * as training is a function of its history, so whose it was does not matter.
 *
 *   sc_vault_open --> half --sc_vault_put...--> half --sc_vault_close--> kept --let go--> (absent)
 *                      |                         |                        ^
 *                      '------ another open, let go, damaged -->          '-- sc_vault_add (an own part, whole)
 *
 * Invariants
 *  1. A half part is seen by nobody: sc_vault_find and sc_vault_at know whole ones alone.
 *  2. A whole part never changes; it is replaced, or let go.
 *  3. All parts are of one lineage.
 *
 * Memory. From one Snapshot to the next there are at most 1 + |keep_steps| copies of this worker's own slices, and as many
 * of the slices of each worker whose buddy it is: the newest point (whole or half) and those that the coordinator names,
 * which are the newest complete one and the one that is being streamed to a checkpoint. So three, and mostly two, as a
 * checkpoint's point is the newest complete one while it is young; one more from a loss until the next point is complete.
 * A copy is the parameters and moments: 12 bytes a parameter with AdamW. A Restore adds what it fetches until it ends. The
 * memory of a part that is let go is used by the next; it is never given back to the kernel.
 *
 * Thread: the session's. The pool may be used from any. */
#ifndef SC_VAULT_H
#define SC_VAULT_H

#include "worker/part.h"

typedef struct sc_vault sc_vault;

enum {
    SC_VAULT_MAX_KEEP = 4,    /* steps that one call may name */
    SC_VAULT_MAX_HALF = 1024, /* deposits that are under way at once */
};

/* Returns owned, empty. `memory`: where pieces lie, as for a buffer pool; NULL: malloc. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_vault_new(const sc_buffer_memory *memory, sc_vault **out);
void sc_vault_destroy(sc_vault **self_p);

/* Where pieces get their memory. */
sc_buffer_pool *sc_vault_pool(const sc_vault *self);
/* Bytes of all parts, half ones too. */
uint64_t sc_vault_bytes(const sc_vault *self);

/* Parts of other lineages are let go. */
void sc_vault_set_lineage(sc_vault *self, uint64_t lineage);
/* All points but those of `steps` are let go. */
void sc_vault_keep(sc_vault *self, const uint64_t *steps, size_t n_steps);

/* Takes a reference of its own to a sealed part; one of the same name makes way. Errors: SC_INVALID (of another lineage),
 * SC_RESOURCE_EXHAUSTED. */
sc_status sc_vault_add(sc_vault *self, sc_part *part);
/* NULL: not here. Borrowed. */
sc_part *sc_vault_find(const sc_vault *self, const sc_part_key *key);
size_t sc_vault_n_parts(const sc_vault *self);
sc_part *sc_vault_at(const sc_vault *self, size_t index); /* borrowed */

/* ---- deposits, by `depositor`: an incarnation --------------------------------------------------------------------- */
/* Begins one; what the same depositor had begun of this name is dropped, and parts of the same blocks are let go unless
 * they are of `steps` or this step. *held: the very part is here, whole; nothing is begun.
 * Errors: SC_INVALID (another lineage), SC_RESOURCE_EXHAUSTED. */
sc_status sc_vault_open(sc_vault *self, uint64_t depositor, const sc_part_key *key, uint64_t bytes, uint64_t xxh3,
                        const uint64_t *steps, size_t n_steps, bool *held);
/* Errors: SC_FAILED_PRECONDITION (not begun), and those of sc_part_put. */
sc_status sc_vault_put(sc_vault *self, uint64_t depositor, const sc_part_key *key, uint32_t index, const void *data,
                       size_t n, uint64_t xxh3);
/* Errors: SC_FAILED_PRECONDITION (not begun, or pieces are missing), SC_DATA_LOSS (not what was announced: dropped). A
 * repetition is fine. */
sc_status sc_vault_close(sc_vault *self, uint64_t depositor, const sc_part_key *key);
/* Drops all that is half. */
void sc_vault_drop_half(sc_vault *self);

#endif
