#include "worker/snapshot.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    char name[SC_NAME_BYTES];
    sc_state_kind kind;
    uint64_t offset, bytes;
} entry;

struct sc_snapshot {
    int64_t step;
    entry *entries;
    size_t n_entries, max_entries;
    char *data;
    uint64_t bytes, allocated;
};

void sc_snapshot_destroy(sc_snapshot **self_p)
{
    sc_snapshot *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    free(self->entries);
    free(self->data);
    free(self);
}

int64_t sc_snapshot_step(const sc_snapshot *self)
{
    return self->step;
}

uint64_t sc_snapshot_bytes(const sc_snapshot *self)
{
    return self->bytes;
}

static bool has_name(const sc_snapshot *self, const char *name)
{
    for (size_t i = 0; i < self->n_entries; i++)
        if (strcmp(self->entries[i].name, name) == 0)
            return true;
    return false;
}

/* Lists one tensor's state: the parameter and its moments, one behind the other. */
static sc_status list_param(sc_snapshot *self, const sc_param *param, int n_moments)
{
    uint64_t bytes;
    if (has_name(self, param->name)) /* the tied matrix, of two chunks on one worker: both have the same */
        return SC_OK;
    SC_TRY(sc_shape_bytes(&param->shape, SC_F32, &bytes));
    for (int kind = SC_STATE_PARAMETER; kind <= SC_STATE_PARAMETER + n_moments; kind++) {
        if (self->n_entries == self->max_entries) {
            size_t max = self->max_entries ? 2 * self->max_entries : 64;
            entry *grown = realloc(self->entries, max * sizeof *grown);
            if (!grown)
                return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a snapshot's list");
            self->entries = grown;
            self->max_entries = max;
        }
        entry *e = &self->entries[self->n_entries++];
        *e = (entry){.kind = (sc_state_kind)kind, .offset = self->bytes, .bytes = bytes};
        memcpy(e->name, param->name, sizeof e->name);
        self->bytes += bytes;
    }
    return SC_OK;
}

static sc_status list_state(sc_snapshot *self, const sc_assignment *assignment)
{
    int n_moments = assignment->train ? sc_optimizer_n_moments(&assignment->optimizer) : 0;
    self->n_entries = 0;
    self->bytes = 0;
    for (int k = 0; k < assignment->n_chunks; k++) {
        const sc_slice *slice = &assignment->slices[k * assignment->n_workers + assignment->worker];
        for (int b = slice->first_block; b < slice->first_block + slice->n_blocks; b++) {
            int ordinals[SC_MAX_BLOCK_PARAMS], n = sc_model_block_params(&assignment->model, b, ordinals);
            for (int i = 0; i < n; i++) {
                sc_param param = sc_model_param(&assignment->model, ordinals[i]);
                SC_TRY(list_param(self, &param, n_moments));
            }
        }
    }
    return SC_OK;
}

static sc_status copy_state(sc_snapshot *self, const sc_assignment *assignment, sc_stage *const *stages)
{
    if (self->allocated < self->bytes) {
        free(self->data);
        self->data = malloc(self->bytes);
        self->allocated = self->data ? self->bytes : 0;
        if (!self->data)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a snapshot of %" PRIu64 " bytes", self->bytes);
    }
    for (size_t i = 0; i < self->n_entries; i++) {
        const entry *e = &self->entries[i];
        sc_status status = SC_NOT_FOUND;
        for (int k = 0; status == SC_NOT_FOUND && k < assignment->n_chunks; k++)
            status = sc_stage_read_state(stages[k], e->name, e->kind, 0, e->bytes, self->data + e->offset);
        SC_TRY(status);
    }
    return SC_OK;
}

sc_status sc_snapshot_take(sc_snapshot **inout, const sc_assignment *assignment, sc_stage *const *stages, int64_t step)
{
    sc_snapshot *self = *inout ? *inout : calloc(1, sizeof *self);
    *inout = NULL;
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a snapshot");
    sc_status status = list_state(self, assignment);
    if (status == SC_OK)
        status = copy_state(self, assignment, stages);
    if (status != SC_OK) {
        sc_snapshot_destroy(&self);
        return status;
    }
    self->step = step;
    *inout = self;
    return SC_OK;
}

sc_status sc_snapshot_find(const sc_snapshot *self, const sc_state_piece *piece, const void **data)
{
    for (size_t i = 0; i < self->n_entries; i++) {
        const entry *e = &self->entries[i];
        if (e->kind != piece->kind || strcmp(e->name, piece->name) != 0)
            continue;
        if (piece->from > e->bytes || piece->n > e->bytes - piece->from)
            return SC_FAIL(SC_OUT_OF_RANGE, "bytes %" PRIu64 " to %" PRIu64 " of '%s', which has %" PRIu64, piece->from,
                           piece->from + piece->n, piece->name, e->bytes);
        *data = self->data + e->offset + piece->from;
        return SC_OK;
    }
    return SC_FAIL(SC_NOT_FOUND, "the snapshot has no such state of '%s'", piece->name);
}
