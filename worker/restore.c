#include "worker/restore.h"

#include <stdlib.h>
#include <string.h>

/* The state of one tensor: a parameter or a moment. */
typedef struct need {
    int ordinal;
    sc_state_kind kind;
    char name[SC_NAME_BYTES];
    int source; /* -1: missing */
} need;

typedef struct source {
    sc_part *part;
    sc_part_layout *layout;
} source;

struct sc_restore {
    sc_model model;
    int n_moments;
    uint64_t lineage, optimizer_step;
    need *needs;
    size_t n_needs;
    source *sources;
    int n_sources;
};

static need *find_need(const sc_restore *self, const sc_part_entry *entry)
{
    for (size_t i = 0; i < self->n_needs; i++)
        if (self->needs[i].ordinal == entry->ordinal && self->needs[i].kind == entry->kind)
            return &self->needs[i];
    return NULL;
}

static sc_status need_slice(sc_restore *self, sc_slice slice)
{
    sc_part_layout *layout;
    SC_TRY(sc_part_layout_new(&self->model, self->n_moments, slice, &layout));
    sc_status status = SC_OK;
    need *needs = realloc(self->needs, (self->n_needs + layout->n) * sizeof *needs);
    if (!needs)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a restore of %zu tensors", layout->n);
    else
        self->needs = needs;
    for (size_t i = 0; status == SC_OK && i < layout->n; i++) {
        const sc_part_entry *e = &layout->entries[i];
        if (find_need(self, e)) /* the tied matrix, of two chunks */
            continue;
        need *added = &self->needs[self->n_needs++];
        *added = (need){.ordinal = e->ordinal, .kind = e->kind, .source = -1};
        memcpy(added->name, e->name, sizeof added->name);
    }
    free(layout);
    return status;
}

sc_status sc_restore_new(const sc_assignment *assignment, uint64_t optimizer_step, sc_restore **out)
{
    *out = NULL;
    sc_restore *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a restore");
    self->model = assignment->model;
    self->n_moments = sc_assignment_n_moments(assignment);
    self->lineage = assignment->lineage;
    self->optimizer_step = optimizer_step;
    for (int k = 0; k < assignment->n_chunks; k++) {
        sc_status status = need_slice(self, sc_assignment_slice(assignment, k));
        if (status != SC_OK) {
            sc_restore_destroy(&self);
            return status;
        }
    }
    *out = self;
    return SC_OK;
}

void sc_restore_destroy(sc_restore **self_p)
{
    sc_restore *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    for (int i = 0; i < self->n_sources; i++) {
        sc_part_unref(&self->sources[i].part);
        free(self->sources[i].layout);
    }
    free(self->sources);
    free(self->needs);
    free(self);
}

uint64_t sc_restore_step(const sc_restore *self)
{
    return self->optimizer_step;
}

/* ---- sources ------------------------------------------------------------------------------------------------------- */

/* Marks the pieces that hold what the layout has of the needs without a source, which become `index`'s. */
static bool claim(sc_restore *self, const sc_part_layout *layout, int index, bool *wanted)
{
    bool any = false;
    for (size_t i = 0; i < layout->n; i++) {
        const sc_part_entry *e = &layout->entries[i];
        need *needed = find_need(self, e);
        if (!needed || needed->source >= 0)
            continue;
        needed->source = index;
        any = true;
        uint64_t last = (e->offset + e->bytes - 1) / SC_PART_PIECE_BYTES;
        for (uint64_t piece = e->offset / SC_PART_PIECE_BYTES; piece <= last; piece++)
            wanted[piece] = true;
    }
    return any;
}

sc_status sc_restore_offer(sc_restore *self, sc_slice range, sc_part **part, bool **wanted)
{
    *part = NULL;
    *wanted = NULL;
    sc_part_key key = {self->lineage, self->optimizer_step, range.first_block, range.n_blocks};
    source added = {0};
    bool *pieces = NULL;
    sc_status status;
    SC_TRY_GOTO(status, sc_part_layout_new(&self->model, self->n_moments, range, &added.layout), done);
    SC_TRY_GOTO(status, sc_part_new(&key, added.layout->bytes, &added.part), done);
    pieces = calloc((size_t)added.part->n_pieces + 1, sizeof *pieces);
    source *sources = realloc(self->sources, ((size_t)self->n_sources + 1) * sizeof *sources);
    if (sources)
        self->sources = sources;
    if (!pieces || !sources) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a source of a restore");
        goto done;
    }
    if (!claim(self, added.layout, self->n_sources, pieces))
        goto done;
    *wanted = pieces;
    *part = sc_part_ref(added.part);
    self->sources[self->n_sources++] = added;
    return SC_OK;
done:
    free(pieces);
    free(added.layout);
    sc_part_unref(&added.part);
    return status;
}

void sc_restore_use(sc_restore *self, sc_part *part)
{
    source *last = &self->sources[self->n_sources - 1];
    sc_part_unref(&last->part);
    last->part = sc_part_ref(part);
}

void sc_restore_withdraw(sc_restore *self)
{
    source *last = &self->sources[--self->n_sources];
    for (size_t i = 0; i < self->n_needs; i++)
        if (self->needs[i].source == self->n_sources)
            self->needs[i].source = -1;
    sc_part_unref(&last->part);
    free(last->layout);
}

const char *sc_restore_missing(const sc_restore *self)
{
    for (size_t i = 0; i < self->n_needs; i++)
        if (self->needs[i].source < 0)
            return self->needs[i].name;
    return NULL;
}

bool sc_restore_is_complete(const sc_restore *self)
{
    return !sc_restore_missing(self);
}

/* ---- into the stages ----------------------------------------------------------------------------------------------- */

/* Piece by piece, as they lie apart; a write of what the stage lacks is the other stages' affair. */
static sc_status write_entry(const sc_part *part, const sc_part_entry *entry, sc_stage *stage)
{
    for (uint64_t done = 0; done < entry->bytes;) {
        uint64_t at = entry->offset + done, within = at % SC_PART_PIECE_BYTES;
        uint64_t n = SC_PART_PIECE_BYTES - within;
        if (n > entry->bytes - done)
            n = entry->bytes - done;
        char *piece = sc_buffer_data(part->pieces[at / SC_PART_PIECE_BYTES]);
        sc_status status = sc_stage_write_state(stage, entry->name, entry->kind, done, n, piece + within);
        if (status == SC_NOT_FOUND)
            return SC_OK;
        SC_TRY(status);
        done += n;
    }
    return SC_OK;
}

sc_status sc_restore_apply(const sc_restore *self, sc_stage *const *stages, int n_stages, atomic_ullong *moved)
{
    for (int s = 0; s < self->n_sources; s++) {
        const source *from = &self->sources[s];
        for (size_t i = 0; i < from->layout->n; i++) {
            const need *needed = find_need(self, &from->layout->entries[i]);
            if (!needed || needed->source != s)
                continue;
            for (int k = 0; k < n_stages; k++)
                SC_TRY(write_entry(from->part, &from->layout->entries[i], stages[k]));
            atomic_fetch_add(moved, 1);
        }
    }
    return SC_OK;
}
