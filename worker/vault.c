#include "worker/vault.h"

#include <inttypes.h>
#include <stdlib.h>

typedef struct slot {
    sc_part *part;
    bool half;
    uint64_t depositor, announced_xxh3; /* of a half one */
} slot;

struct sc_vault {
    sc_buffer_pool *pool;
    uint64_t lineage;
    slot *slots; /* in no order */
    size_t n, n_allocated;
};

sc_status sc_vault_new(const sc_buffer_memory *memory, sc_vault **out)
{
    *out = NULL;
    sc_vault *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a vault");
    sc_status status = sc_buffer_pool_new(memory, &self->pool);
    if (status != SC_OK) {
        free(self);
        return status;
    }
    *out = self;
    return SC_OK;
}

static void let_go(sc_vault *self, size_t index)
{
    sc_part_unref(&self->slots[index].part);
    self->slots[index] = self->slots[--self->n];
}

void sc_vault_destroy(sc_vault **self_p)
{
    sc_vault *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    while (self->n > 0)
        let_go(self, self->n - 1);
    free(self->slots);
    sc_buffer_pool_destroy(&self->pool);
    free(self);
}

sc_buffer_pool *sc_vault_pool(const sc_vault *self)
{
    return self->pool;
}

uint64_t sc_vault_bytes(const sc_vault *self)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < self->n; i++)
        bytes += self->slots[i].part->bytes;
    return bytes;
}

/* ---- letting go ---------------------------------------------------------------------------------------------------- */

void sc_vault_set_lineage(sc_vault *self, uint64_t lineage)
{
    self->lineage = lineage;
    for (size_t i = self->n; i-- > 0;)
        if (self->slots[i].part->key.lineage != lineage)
            let_go(self, i);
}

static bool is_among(uint64_t step, const uint64_t *steps, size_t n_steps)
{
    for (size_t i = 0; i < n_steps; i++)
        if (steps[i] == step)
            return true;
    return false;
}

void sc_vault_keep(sc_vault *self, const uint64_t *steps, size_t n_steps)
{
    for (size_t i = self->n; i-- > 0;)
        if (!is_among(self->slots[i].part->key.optimizer_step, steps, n_steps))
            let_go(self, i);
}

void sc_vault_drop_half(sc_vault *self)
{
    for (size_t i = self->n; i-- > 0;)
        if (self->slots[i].half)
            let_go(self, i);
}

/* ---- whole parts --------------------------------------------------------------------------------------------------- */

static slot *find(const sc_vault *self, const sc_part_key *key)
{
    for (size_t i = 0; i < self->n; i++)
        if (!self->slots[i].half && sc_part_key_equal(&self->slots[i].part->key, key))
            return &self->slots[i];
    return NULL;
}

static sc_status check_lineage(const sc_vault *self, const sc_part_key *key)
{
    if (key->lineage != self->lineage)
        return SC_FAIL(SC_INVALID, "a part of lineage %016" PRIx64 "; this vault keeps %016" PRIx64, key->lineage,
                       self->lineage);
    return SC_OK;
}

static sc_status append(sc_vault *self, slot added)
{
    if (self->n == self->n_allocated) {
        size_t more = self->n_allocated ? 2 * self->n_allocated : 16;
        slot *slots = realloc(self->slots, more * sizeof *slots);
        if (!slots)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a vault of %zu parts", more);
        self->slots = slots;
        self->n_allocated = more;
    }
    self->slots[self->n++] = added;
    return SC_OK;
}

sc_status sc_vault_add(sc_vault *self, sc_part *part)
{
    SC_TRY(check_lineage(self, &part->key));
    slot *same = find(self, &part->key);
    if (!same)
        return append(self, (slot){.part = sc_part_ref(part)});
    sc_part_unref(&same->part);
    same->part = sc_part_ref(part);
    return SC_OK;
}

sc_part *sc_vault_find(const sc_vault *self, const sc_part_key *key)
{
    slot *found = find(self, key);
    return found ? found->part : NULL;
}

/* Half ones are passed over. */
sc_part *sc_vault_at(const sc_vault *self, size_t index)
{
    for (size_t i = 0; i < self->n; i++)
        if (!self->slots[i].half && index-- == 0)
            return self->slots[i].part;
    return NULL;
}

size_t sc_vault_n_parts(const sc_vault *self)
{
    size_t n = 0;
    for (size_t i = 0; i < self->n; i++)
        n += !self->slots[i].half;
    return n;
}

/* ---- deposits ------------------------------------------------------------------------------------------------------ */

static slot *find_half(const sc_vault *self, uint64_t depositor, const sc_part_key *key)
{
    for (size_t i = 0; i < self->n; i++)
        if (self->slots[i].half && self->slots[i].depositor == depositor &&
            sc_part_key_equal(&self->slots[i].part->key, key))
            return &self->slots[i];
    return NULL;
}

sc_status sc_vault_open(sc_vault *self, uint64_t depositor, const sc_part_key *key, uint64_t bytes, uint64_t xxh3,
                        const uint64_t *steps, size_t n_steps, bool *held)
{
    SC_TRY(check_lineage(self, key));
    size_t n_half = 0;
    for (size_t i = self->n; i-- > 0;) {
        const sc_part_key *other = &self->slots[i].part->key;
        bool same_blocks = other->first_block == key->first_block && other->n_blocks == key->n_blocks;
        bool same_step = other->optimizer_step == key->optimizer_step;
        bool again = same_step && self->slots[i].half && self->slots[i].depositor == depositor;
        if (same_blocks && (again || (!same_step && !is_among(other->optimizer_step, steps, n_steps))))
            let_go(self, i);
        else
            n_half += self->slots[i].half;
    }
    const slot *whole = find(self, key);
    *held = whole && whole->part->xxh3 == xxh3 && whole->part->bytes == bytes;
    if (*held)
        return SC_OK;
    if (n_half >= SC_VAULT_MAX_HALF)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%zu deposits are under way already", n_half);
    sc_part *part;
    SC_TRY(sc_part_new(key, bytes, &part));
    sc_status status = append(self, (slot){.part = part, .half = true, .depositor = depositor, .announced_xxh3 = xxh3});
    if (status != SC_OK)
        sc_part_unref(&part);
    return status;
}

sc_status sc_vault_put(sc_vault *self, uint64_t depositor, const sc_part_key *key, uint32_t index, const void *data,
                       size_t n, uint64_t xxh3)
{
    slot *half = find_half(self, depositor, key);
    if (!half)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "a piece of blocks %d to %d after step %" PRIu64 ", but no such deposit is open",
                       key->first_block, key->first_block + key->n_blocks - 1, key->optimizer_step);
    return sc_part_put(half->part, self->pool, index, data, n, xxh3);
}

sc_status sc_vault_close(sc_vault *self, uint64_t depositor, const sc_part_key *key)
{
    slot *half = find_half(self, depositor, key);
    if (!half && find(self, key))
        return SC_OK;
    if (!half)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "the end of a deposit of blocks %d to %d after step %" PRIu64 " that is not open",
                       key->first_block, key->first_block + key->n_blocks - 1, key->optimizer_step);
    SC_TRY(sc_part_seal(half->part));
    sc_part *part = sc_part_ref(half->part);
    bool as_announced = part->xxh3 == half->announced_xxh3;
    let_go(self, (size_t)(half - self->slots));
    sc_status status =
        as_announced
            ? sc_vault_add(self, part)
            : SC_FAIL(SC_DATA_LOSS, "the deposit of blocks %d to %d after step %" PRIu64 " is not what was announced",
                      key->first_block, key->first_block + key->n_blocks - 1, key->optimizer_step);
    sc_part_unref(&part);
    return status;
}
