#include "coordinator/data/bpe_pairs.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void sc_bpe_pairs_clear(sc_bpe_pairs *self)
{
    for (uint32_t i = 0; i < self->n; i++)
        free(self->items[i].words);
    free(self->items);
    free(self->slots);
    free(self->queue);
    *self = (sc_bpe_pairs){0};
}

static sc_status no_memory(void)
{
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the pairs of the text's words");
}

/* Room for `needed` items in an array that doubles. */
static bool reserve(void *array_p, uint64_t *capacity, uint64_t needed, size_t item_bytes)
{
    if (needed <= *capacity)
        return true;
    const uint64_t larger = needed < 4 ? 4 : 2 * needed;
    void *array;
    memcpy(&array, array_p, sizeof array);
    array = realloc(array, larger * item_bytes);
    if (!array)
        return false;
    memcpy(array_p, &array, sizeof array);
    *capacity = larger;
    return true;
}

static uint32_t *find_slot(const sc_bpe_pairs *self, int32_t left, int32_t right)
{
    const uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    const uint32_t mask = self->n_slots - 1;
    uint32_t at = (uint32_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & mask; /* see bpe_merges.c */
    for (;; at = (at + 1) & mask) {
        uint32_t *slot = &self->slots[at];
        if (*slot == 0 || (self->items[*slot - 1].left == left && self->items[*slot - 1].right == right))
            return slot;
    }
}

/* Keeps the table at most half full. */
static sc_status grow_table(sc_bpe_pairs *self)
{
    if (2 * (uint64_t)(self->n + 1) <= self->n_slots)
        return SC_OK;
    const uint32_t n_slots = self->n_slots ? 2 * self->n_slots : 1 << 12;
    uint32_t *slots = n_slots ? calloc(n_slots, sizeof *slots) : NULL;
    if (!slots)
        return no_memory();
    free(self->slots);
    self->slots = slots;
    self->n_slots = n_slots;
    for (uint32_t i = 0; i < self->n; i++)
        *find_slot(self, self->items[i].left, self->items[i].right) = i + 1;
    return SC_OK;
}

sc_status sc_bpe_pairs_change(sc_bpe_pairs *self, int32_t left, int32_t right, int64_t change, uint32_t word,
                              uint32_t *index)
{
    SC_TRY(grow_table(self));
    uint32_t *slot = find_slot(self, left, right);
    if (*slot == 0) {
        uint64_t capacity = self->capacity;
        if (!reserve(&self->items, &capacity, (uint64_t)self->n + 1, sizeof *self->items))
            return no_memory();
        self->capacity = (uint32_t)capacity;
        self->items[self->n++] = (sc_bpe_pair){.left = left, .right = right};
        *slot = self->n;
    }
    *index = *slot - 1;
    sc_bpe_pair *pair = &self->items[*index];
    pair->count += change;
    if (word == UINT32_MAX || (pair->n_words > 0 && pair->words[pair->n_words - 1] == word))
        return SC_OK;
    uint64_t capacity = pair->words_capacity;
    if (!reserve(&pair->words, &capacity, (uint64_t)pair->n_words + 1, sizeof *pair->words))
        return no_memory();
    pair->words_capacity = (uint32_t)capacity;
    pair->words[pair->n_words++] = word;
    return SC_OK;
}

/* Whether a comes up before b. */
static bool before(const sc_bpe_pairs *self, sc_bpe_queued a, sc_bpe_queued b)
{
    if (a.count != b.count)
        return a.count > b.count;
    const sc_bpe_pair *p = &self->items[a.pair], *q = &self->items[b.pair];
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

sc_status sc_bpe_pairs_queue(sc_bpe_pairs *self, uint32_t index)
{
    uint64_t capacity = self->queue_capacity;
    if (!reserve(&self->queue, &capacity, self->n_queued + 1, sizeof *self->queue))
        return no_memory();
    self->queue_capacity = capacity;
    const sc_bpe_queued item = {self->items[index].count, index};
    size_t i = self->n_queued++;
    for (; i > 0 && before(self, item, self->queue[(i - 1) / 2]); i = (i - 1) / 2)
        self->queue[i] = self->queue[(i - 1) / 2];
    self->queue[i] = item;
    return SC_OK;
}

static sc_bpe_queued pop(sc_bpe_pairs *self)
{
    const sc_bpe_queued top = self->queue[0], item = self->queue[--self->n_queued];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < self->n_queued; i = child) {
        if (child + 1 < self->n_queued && before(self, self->queue[child + 1], self->queue[child]))
            child++;
        if (!before(self, self->queue[child], item))
            break;
        self->queue[i] = self->queue[child];
    }
    self->queue[i] = item;
    return top;
}

sc_status sc_bpe_pairs_best(sc_bpe_pairs *self, uint32_t *index)
{
    *index = UINT32_MAX;
    while (self->n_queued > 0) {
        const sc_bpe_queued top = pop(self);
        const int64_t count = self->items[top.pair].count;
        if (count > 0 && count == top.count) {
            *index = top.pair;
            return SC_OK;
        }
        if (count > 0 && count < top.count)
            SC_TRY(sc_bpe_pairs_queue(self, top.pair));
    }
    return SC_OK;
}
