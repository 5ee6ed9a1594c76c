/* A part of a point: the state (parameters and the optimizer's moments) of a range of blocks after one optimizer step, in
 * host memory.
 *
 * Mental model. A part is a row of bytes whose layout follows from the model, the optimizer and the range alone, so that
 * whoever holds one need not know what is in it: the tensors of the blocks in the model's order, of each the parameter and
 * then its moments, unless it is frozen and has none; the tied matrix once. It lies in pieces of SC_PART_PIECE_BYTES, the last one shorter, each with the
 * xxh3 that was made of it when it was taken; the part's own is that of its pieces' hashes. A part that was fetched for
 * a part of its blocks lacks pieces.
 *
 * Once whole it never changes, and it is counted: the vault, calls that read it and a restore may all hold it.
 * Thread: it is filled by one; then any. */
#ifndef SC_PART_H
#define SC_PART_H

#include "worker/stage.h"
#include "proto/wire/buffer.h"

#include <stdatomic.h>

enum { SC_PART_PIECE_BYTES = 1 << 20 };

typedef struct sc_part_key {
    uint64_t lineage, optimizer_step;
    int first_block, n_blocks;
} sc_part_key;

/* Bytes [from, from + n) of a tensor of the stages' state. */
typedef struct sc_state_piece {
    char name[SC_NAME_BYTES];
    sc_state_kind kind;
    uint64_t from, n;
} sc_state_piece;

/* ---- layout -------------------------------------------------------------------------------------------------------- */

typedef struct sc_part_entry {
    char name[SC_NAME_BYTES];
    int ordinal;
    sc_state_kind kind;
    uint64_t offset, bytes;
} sc_part_entry;

typedef struct sc_part_layout {
    size_t n;
    uint64_t bytes;
    sc_part_entry entries[];
} sc_part_layout;

/* Returns owned, for free (). Errors: SC_INVALID (a range that the model lacks), SC_RESOURCE_EXHAUSTED. */
sc_status sc_part_layout_new(const sc_model *model, int n_moments, sc_slice range, sc_part_layout **out);

/* ---- parts --------------------------------------------------------------------------------------------------------- */

typedef struct sc_part {
    atomic_int references;
    sc_part_key key;
    uint64_t bytes, xxh3; /* xxh3: 0 until sealed */
    uint32_t n_pieces;
    sc_buffer **pieces;     /* [n_pieces]; NULL: not here */
    uint64_t *piece_xxh3;   /* [n_pieces] */
    sc_part_layout *layout; /* owned; NULL in a part that came from elsewhere */
} sc_part;

/* Returns owned, with one reference and no piece. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_part_new(const sc_part_key *key, uint64_t bytes, sc_part **out);
/* One with the layout of its range: what sc_part_take fills. */
sc_status sc_part_new_own(const sc_part_key *key, const sc_model *model, int n_moments, sc_part **out);
sc_part *sc_part_ref(sc_part *self);
void sc_part_unref(sc_part **self_p); /* NULL is fine */

bool sc_part_key_equal(const sc_part_key *a, const sc_part_key *b);
/* Of piece `index`, which must be below n_pieces. */
size_t sc_part_piece_bytes(const sc_part *self, uint32_t index);

/* Copies the stage's state, whose slice is the part's range, and seals the part. `moved` counts the pieces.
 * Errors: SC_RESOURCE_EXHAUSTED, the backend's. */
sc_status sc_part_take(sc_part *self, sc_buffer_pool *pool, sc_stage *stage, atomic_ullong *moved);
/* Copies a piece that came, if its bytes are those that xxh3 was made of; one that is here already is left.
 * Errors: SC_INVALID (no such piece, or of another size), SC_DATA_LOSS, SC_RESOURCE_EXHAUSTED. */
sc_status sc_part_put(sc_part *self, sc_buffer_pool *pool, uint32_t index, const void *data, size_t n, uint64_t xxh3);
/* Errors: SC_FAILED_PRECONDITION (pieces are missing). */
sc_status sc_part_seal(sc_part *self);
/* Whether the bytes of a piece are still those that were taken. Errors: SC_DATA_LOSS; SC_NOT_FOUND. */
sc_status sc_part_check_piece(const sc_part *self, uint32_t index);
/* Copies bytes [from, from + n), whose pieces must be here. */
void sc_part_read(const sc_part *self, uint64_t from, uint64_t n, void *out);
/* The same of a tensor, in a part with a layout. Errors: SC_NOT_FOUND, SC_OUT_OF_RANGE. */
sc_status sc_part_find(const sc_part *self, const sc_state_piece *piece, uint64_t *from);

#endif
