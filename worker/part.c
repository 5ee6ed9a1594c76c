#include "worker/part.h"

#include "proto/wire/frame.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- layout -------------------------------------------------------------------------------------------------------- */

static bool has_ordinal(const sc_part_layout *layout, int ordinal)
{
    for (size_t i = 0; i < layout->n; i++)
        if (layout->entries[i].ordinal == ordinal)
            return true;
    return false;
}

static sc_status list_param(sc_part_layout *layout, const sc_param *param, bool learns, int n_moments)
{
    uint64_t bytes;
    if (has_ordinal(layout, param->ordinal)) /* the tied matrix */
        return SC_OK;
    SC_TRY(sc_shape_bytes(&param->shape, SC_F32, &bytes));
    if (!learns)
        n_moments = 0;
    for (int kind = SC_STATE_PARAMETER; kind <= SC_STATE_PARAMETER + n_moments; kind++) {
        sc_part_entry *entry = &layout->entries[layout->n++];
        *entry = (sc_part_entry){
            .ordinal = param->ordinal, .kind = (sc_state_kind)kind, .offset = layout->bytes, .bytes = bytes};
        memcpy(entry->name, param->name, sizeof entry->name);
        layout->bytes += bytes;
    }
    return SC_OK;
}

sc_status sc_part_layout_new(const sc_model *model, int n_moments, sc_slice range, sc_part_layout **out)
{
    *out = NULL;
    if (range.first_block < 0 || range.n_blocks < 1 || range.n_blocks > sc_model_n_blocks(model) - range.first_block)
        return SC_FAIL(SC_INVALID, "a part of %d blocks from block %d on; the model has blocks 0 to %d", range.n_blocks,
                       range.first_block, sc_model_n_blocks(model) - 1);
    size_t most = (size_t)range.n_blocks * SC_MAX_BLOCK_PARAMS * (size_t)(1 + n_moments);
    sc_part_layout *self = malloc(sizeof *self + most * sizeof *self->entries);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the layout of %d blocks", range.n_blocks);
    self->n = 0;
    self->bytes = 0;
    for (int b = range.first_block; b < range.first_block + range.n_blocks; b++) {
        int ordinals[SC_MAX_BLOCK_PARAMS], n = sc_model_block_params(model, b, ordinals);
        for (int i = 0; i < n; i++) {
            sc_param param = sc_model_param(model, ordinals[i]);
            sc_status status = list_param(self, &param, sc_model_param_learns(model, ordinals[i]), n_moments);
            if (status != SC_OK) {
                free(self);
                return status;
            }
        }
    }
    *out = self;
    return SC_OK;
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

sc_status sc_part_new(const sc_part_key *key, uint64_t bytes, sc_part **out)
{
    *out = NULL;
    sc_part *self = calloc(1, sizeof *self);
    uint64_t n = (bytes + SC_PART_PIECE_BYTES - 1) / SC_PART_PIECE_BYTES;
    if (self && n <= UINT32_MAX) {
        self->pieces = calloc((size_t)n + 1, sizeof(sc_buffer *));
        self->piece_xxh3 = calloc((size_t)n + 1, sizeof *self->piece_xxh3);
    }
    if (!self || !self->pieces || !self->piece_xxh3) {
        sc_part_unref(&self);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a part of %" PRIu64 " bytes", bytes);
    }
    atomic_init(&self->references, 1);
    self->key = *key;
    self->bytes = bytes;
    self->n_pieces = (uint32_t)n;
    *out = self;
    return SC_OK;
}

sc_status sc_part_new_own(const sc_part_key *key, const sc_model *model, int n_moments, sc_part **out)
{
    *out = NULL;
    sc_part_layout *layout;
    SC_TRY(sc_part_layout_new(model, n_moments, (sc_slice){key->first_block, key->n_blocks}, &layout));
    sc_status status = sc_part_new(key, layout->bytes, out);
    if (status != SC_OK) {
        free(layout);
        return status;
    }
    (*out)->layout = layout;
    return SC_OK;
}

sc_part *sc_part_ref(sc_part *self)
{
    atomic_fetch_add(&self->references, 1);
    return self;
}

void sc_part_unref(sc_part **self_p)
{
    sc_part *self = *self_p;
    *self_p = NULL;
    if (!self || atomic_fetch_sub(&self->references, 1) > 1)
        return;
    for (uint32_t i = 0; i < self->n_pieces; i++)
        sc_buffer_unref(&self->pieces[i]);
    free(self->pieces);
    free(self->piece_xxh3);
    free(self->layout);
    free(self);
}

bool sc_part_key_equal(const sc_part_key *a, const sc_part_key *b)
{
    return a->lineage == b->lineage && a->optimizer_step == b->optimizer_step && a->first_block == b->first_block &&
           a->n_blocks == b->n_blocks;
}

size_t sc_part_piece_bytes(const sc_part *self, uint32_t index)
{
    uint64_t left = self->bytes - (uint64_t)index * SC_PART_PIECE_BYTES;
    return left < SC_PART_PIECE_BYTES ? (size_t)left : SC_PART_PIECE_BYTES;
}

/* ---- filling ------------------------------------------------------------------------------------------------------- */

/* Bytes [from, from + n) of the part, from the tensors that they belong to. *entry is the first of them, and moves on. */
static sc_status copy_state(const sc_part_layout *layout, size_t *entry, sc_stage *stage, uint64_t from, uint64_t n,
                            char *out)
{
    for (uint64_t done = 0; done < n;) {
        const sc_part_entry *e = &layout->entries[*entry];
        uint64_t within = from + done - e->offset;
        uint64_t length = e->bytes - within < n - done ? e->bytes - within : n - done;
        SC_TRY(sc_stage_read_state(stage, e->name, e->kind, within, length, out + done));
        done += length;
        if (within + length == e->bytes)
            (*entry)++;
    }
    return SC_OK;
}

sc_status sc_part_take(sc_part *self, sc_buffer_pool *pool, sc_stage *stage, atomic_ullong *moved)
{
    size_t entry = 0;
    for (uint32_t i = 0; i < self->n_pieces; i++) {
        size_t n = sc_part_piece_bytes(self, i);
        SC_TRY(sc_buffer_get(pool, n, &self->pieces[i]));
        char *data = sc_buffer_data(self->pieces[i]);
        SC_TRY(copy_state(self->layout, &entry, stage, (uint64_t)i * SC_PART_PIECE_BYTES, n, data));
        self->piece_xxh3[i] = sc_frame_hash(data, n); /* while it is in the cache */
        atomic_fetch_add(moved, 1);
    }
    return sc_part_seal(self);
}

sc_status sc_part_put(sc_part *self, sc_buffer_pool *pool, uint32_t index, const void *data, size_t n, uint64_t xxh3)
{
    if (index >= self->n_pieces || n != sc_part_piece_bytes(self, index))
        return SC_FAIL(SC_INVALID, "piece %u of %zu bytes is none of a part of %" PRIu64 " bytes", index, n,
                       self->bytes);
    if (self->pieces[index])
        return SC_OK;
    sc_buffer *copy;
    SC_TRY(sc_buffer_get(pool, n, &copy));
    memcpy(sc_buffer_data(copy), data, n);
    if (sc_frame_hash(sc_buffer_data(copy), n) != xxh3) {
        sc_buffer_unref(&copy);
        return SC_FAIL(SC_DATA_LOSS, "piece %u of blocks %d to %d after step %" PRIu64 " is not what was taken", index,
                       self->key.first_block, self->key.first_block + self->key.n_blocks - 1, self->key.optimizer_step);
    }
    self->pieces[index] = copy;
    self->piece_xxh3[index] = xxh3;
    return SC_OK;
}

sc_status sc_part_seal(sc_part *self)
{
    for (uint32_t i = 0; i < self->n_pieces; i++)
        if (!self->pieces[i])
            return SC_FAIL(SC_FAILED_PRECONDITION, "the part of blocks %d to %d after step %" PRIu64 " lacks piece %u",
                           self->key.first_block, self->key.first_block + self->key.n_blocks - 1,
                           self->key.optimizer_step, i);
    self->xxh3 = sc_frame_hash(self->piece_xxh3, self->n_pieces * sizeof *self->piece_xxh3);
    return SC_OK;
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

sc_status sc_part_check_piece(const sc_part *self, uint32_t index)
{
    if (index >= self->n_pieces || !self->pieces[index])
        return SC_FAIL(SC_NOT_FOUND, "the part has no piece %u", index);
    if (sc_frame_hash(sc_buffer_data(self->pieces[index]), sc_part_piece_bytes(self, index)) != self->piece_xxh3[index])
        return SC_FAIL(SC_DATA_LOSS, "piece %u of blocks %d to %d after step %" PRIu64 " was damaged in memory", index,
                       self->key.first_block, self->key.first_block + self->key.n_blocks - 1, self->key.optimizer_step);
    return SC_OK;
}

void sc_part_read(const sc_part *self, uint64_t from, uint64_t n, void *out)
{
    for (uint64_t done = 0; done < n;) {
        uint64_t at = from + done, within = at % SC_PART_PIECE_BYTES;
        uint64_t length = SC_PART_PIECE_BYTES - within < n - done ? SC_PART_PIECE_BYTES - within : n - done;
        const char *piece = sc_buffer_data(self->pieces[at / SC_PART_PIECE_BYTES]);
        memcpy((char *)out + done, piece + within, (size_t)length);
        done += length;
    }
}

sc_status sc_part_find(const sc_part *self, const sc_state_piece *piece, uint64_t *from)
{
    for (size_t i = 0; self->layout && i < self->layout->n; i++) {
        const sc_part_entry *e = &self->layout->entries[i];
        if (e->kind != piece->kind || strcmp(e->name, piece->name) != 0)
            continue;
        if (piece->from > e->bytes || piece->n > e->bytes - piece->from)
            return SC_FAIL(SC_OUT_OF_RANGE, "bytes %" PRIu64 " to %" PRIu64 " of '%s', which has %" PRIu64, piece->from,
                           piece->from + piece->n, piece->name, e->bytes);
        *from = e->offset + piece->from;
        return SC_OK;
    }
    return SC_FAIL(SC_NOT_FOUND, "the snapshot has no such state of '%s'", piece->name);
}
