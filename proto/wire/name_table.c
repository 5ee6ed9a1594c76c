#include "proto/wire/name_table.h"

#include <stdlib.h>
#include <string.h>

enum { FEWEST_SLOTS = 64 };

bool sc_tensor_name_equal(const sc_tensor_name *a, const sc_tensor_name *b)
{
    return a->generation == b->generation && a->step == b->step && a->microbatch == b->microbatch &&
           a->stage == b->stage && a->kind == b->kind && a->part == b->part;
}

/* Mixes the words by odd constants and a final avalanche (splitmix64's). */
static uint64_t hash(const sc_tensor_name *name)
{
    uint64_t h = name->generation * 0x9E3779B97F4A7C15u + name->step;
    h = h * 0xBF58476D1CE4E5B9u + (((uint64_t)name->microbatch << 32) | name->stage);
    h = h * 0x94D049BB133111EBu + (((uint64_t)name->kind << 32) | name->part);
    h ^= h >> 30;
    h *= 0xBF58476D1CE4E5B9u;
    h ^= h >> 27;
    h *= 0x94D049BB133111EBu;
    return h ^ (h >> 31);
}

void sc_name_table_init(sc_name_table *self, size_t entry_bytes)
{
    *self = (sc_name_table){.entry_bytes = entry_bytes};
}

void sc_name_table_clear(sc_name_table *self)
{
    free(self->entries);
    free(self->used);
    sc_name_table_init(self, self->entry_bytes);
}

static void *entry_of(const sc_name_table *self, size_t slot)
{
    return self->entries + slot * self->entry_bytes;
}

void *sc_name_table_at(const sc_name_table *self, size_t slot)
{
    return self->used[slot] ? entry_of(self, slot) : NULL;
}

/* The slot of that name, or the free one where it would go. Needs a table with a free slot. */
static size_t slot_of(const sc_name_table *self, const sc_tensor_name *name)
{
    size_t slot = hash(name) & (self->n_slots - 1);
    while (self->used[slot] && !sc_tensor_name_equal(entry_of(self, slot), name))
        slot = (slot + 1) & (self->n_slots - 1);
    return slot;
}

void *sc_name_table_find(const sc_name_table *self, const sc_tensor_name *name)
{
    if (self->n == 0)
        return NULL;
    return sc_name_table_at(self, slot_of(self, name));
}

/* Moves to a table of n_slots; false, with nothing changed, if there is no memory. */
static bool rebuild(sc_name_table *self, size_t n_slots)
{
    sc_name_table bigger = {.entry_bytes = self->entry_bytes, .n = self->n, .n_slots = n_slots};
    bigger.entries = malloc(n_slots * self->entry_bytes);
    bigger.used = calloc(n_slots, sizeof *bigger.used);
    if (!bigger.entries || !bigger.used) {
        free(bigger.entries);
        free(bigger.used);
        return false;
    }
    for (size_t i = 0; i < self->n_slots; i++)
        if (self->used[i]) {
            size_t slot = slot_of(&bigger, entry_of(self, i));
            bigger.used[slot] = true;
            memcpy(entry_of(&bigger, slot), entry_of(self, i), self->entry_bytes);
        }
    free(self->entries);
    free(self->used);
    *self = bigger;
    return true;
}

void *sc_name_table_put(sc_name_table *self, const sc_tensor_name *name)
{
    if ((self->n + 1) * 4 > self->n_slots * 3 && !rebuild(self, self->n_slots ? self->n_slots * 2 : FEWEST_SLOTS))
        return NULL;
    size_t slot = slot_of(self, name);
    if (!self->used[slot]) {
        memset(entry_of(self, slot), 0, self->entry_bytes);
        memcpy(entry_of(self, slot), name, sizeof *name);
        self->used[slot] = true;
        self->n++;
    }
    return entry_of(self, slot);
}

/* Empties a slot and closes the gap: later entries of the run move back where their search would look first. */
static void remove_slot(sc_name_table *self, size_t gap)
{
    size_t mask = self->n_slots - 1;
    self->used[gap] = false;
    self->n--;
    for (size_t slot = (gap + 1) & mask; self->used[slot]; slot = (slot + 1) & mask) {
        size_t home = hash(entry_of(self, slot)) & mask;
        if (((slot - home) & mask) < ((slot - gap) & mask))
            continue; /* its home lies behind the gap */
        memcpy(entry_of(self, gap), entry_of(self, slot), self->entry_bytes);
        self->used[gap] = true;
        self->used[slot] = false;
        gap = slot;
    }
}

void sc_name_table_remove(sc_name_table *self, const sc_tensor_name *name)
{
    if (self->n == 0)
        return;
    size_t slot = slot_of(self, name);
    if (self->used[slot])
        remove_slot(self, slot);
}

void sc_name_table_filter(sc_name_table *self, bool (*keep)(const void *entry, uint64_t argument), uint64_t argument)
{
    for (size_t slot = 0; slot < self->n_slots;) {
        if (self->used[slot] && !keep(entry_of(self, slot), argument))
            remove_slot(self, slot); /* another may have moved here: look again */
        else
            slot++;
    }
}
