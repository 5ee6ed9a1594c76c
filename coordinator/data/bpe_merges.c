#include "coordinator/data/bpe_merges.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Up to here scanning all pairs beats the heap. */
enum { SHORT_WORD = 64 };

static const uint32_t no_rank = UINT32_MAX;

sc_status sc_bpe_merges_init(sc_bpe_merges *self, uint32_t most)
{
    uint32_t n_slots = 16;
    while (n_slots < 2 * (uint64_t)most && n_slots < UINT32_C(1) << 31)
        n_slots *= 2;
    *self = (sc_bpe_merges){.items = calloc((size_t)most + 1, sizeof *self->items),
                            .slots = calloc(n_slots, sizeof *self->slots),
                            .mask = n_slots - 1};
    if (self->items && self->slots)
        return SC_OK;
    sc_bpe_merges_clear(self);
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %u merges", most);
}

void sc_bpe_merges_clear(sc_bpe_merges *self)
{
    free(self->items);
    free(self->slots);
    *self = (sc_bpe_merges){0};
}

/* The slot of a pair: where it is, or where it would go. */
static inline uint32_t *find_slot(const sc_bpe_merges *self, int32_t left, int32_t right)
{
    /* Multiplication by the golden ratio's fraction of 2^64 spreads the pair over the upper bits. */
    const uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint32_t at = (uint32_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & self->mask;
    for (;; at = (at + 1) & self->mask) {
        uint32_t *slot = &self->slots[at];
        if (*slot == 0 || (self->items[*slot - 1].left == left && self->items[*slot - 1].right == right))
            return slot;
    }
}

sc_status sc_bpe_merges_add(sc_bpe_merges *self, sc_bpe_merge merge)
{
    uint32_t *slot = find_slot(self, merge.left, merge.right);
    if (*slot)
        return SC_FAIL(SC_ALREADY_EXISTS, "the pair already has the merge of rank %u", *slot - 1);
    self->items[self->n++] = merge;
    *slot = self->n;
    return SC_OK;
}

static inline uint32_t rank_of(const sc_bpe_merges *self, int32_t left, int32_t right)
{
    return *find_slot(self, left, right) - 1; /* 0 - 1 is no_rank */
}

const sc_bpe_merge *sc_bpe_merges_find(const sc_bpe_merges *self, int32_t left, int32_t right)
{
    const uint32_t rank = rank_of(self, left, right);
    return rank == no_rank ? NULL : &self->items[rank];
}

static size_t apply_short(const sc_bpe_merges *self, int32_t *ids, size_t n)
{
    uint32_t ranks[SHORT_WORD]; /* of the pair that begins at i */
    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = rank_of(self, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == no_rank)
            break;
        ids[best] = self->items[ranks[best]].merged;
        n--;
        memmove(ids + best + 1, ids + best + 2, (n - best - 1) * sizeof *ids);
        if (best + 1 < n) {
            memmove(ranks + best + 1, ranks + best + 2, (n - best - 2) * sizeof *ranks);
            ranks[best] = rank_of(self, ids[best], ids[best + 1]);
        }
        if (best > 0)
            ranks[best - 1] = rank_of(self, ids[best - 1], ids[best]);
    }
    return n;
}

/* The symbols of a long word, linked; a symbol that was joined to its left neighbour has id -1. */
typedef struct symbol {
    int32_t id;
    uint32_t previous, next; /* no_symbol at the ends */
} symbol;
static const uint32_t no_symbol = UINT32_MAX;

/* A pair that begins at symbol `at`, valid while its rank is still that of the two symbols there. */
typedef struct candidate {
    uint32_t rank, at;
} candidate;

typedef struct heap {
    candidate *items; /* the lowest rank, then the leftmost, on top */
    size_t n;
} heap;

static inline bool before(candidate a, candidate b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void push(heap *self, candidate item)
{
    size_t i = self->n++;
    for (; i > 0 && before(item, self->items[(i - 1) / 2]); i = (i - 1) / 2)
        self->items[i] = self->items[(i - 1) / 2];
    self->items[i] = item;
}

static candidate pop(heap *self)
{
    const candidate top = self->items[0], item = self->items[--self->n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < self->n; i = child) {
        if (child + 1 < self->n && before(self->items[child + 1], self->items[child]))
            child++;
        if (!before(self->items[child], item))
            break;
        self->items[i] = self->items[child];
    }
    self->items[i] = item;
    return top;
}

static void push_pair(const sc_bpe_merges *self, heap *pairs, const symbol *symbols, uint32_t at)
{
    if (at == no_symbol || symbols[at].next == no_symbol)
        return;
    const uint32_t rank = rank_of(self, symbols[at].id, symbols[symbols[at].next].id);
    if (rank != no_rank)
        push(pairs, (candidate){rank, at});
}

static void join(symbol *symbols, uint32_t at, int32_t merged)
{
    const uint32_t right = symbols[at].next, next = symbols[right].next;
    symbols[at].id = merged;
    symbols[at].next = next;
    symbols[right].id = -1;
    if (next != no_symbol)
        symbols[next].previous = at;
}

static size_t apply_long(const sc_bpe_merges *self, symbol *symbols, heap *pairs, int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        symbols[i] = (symbol){ids[i], i ? (uint32_t)i - 1 : no_symbol, i + 1 < n ? (uint32_t)i + 1 : no_symbol};
    for (size_t i = 0; i < n; i++)
        push_pair(self, pairs, symbols, (uint32_t)i);
    while (pairs->n) {
        const candidate best = pop(pairs);
        const symbol *left = &symbols[best.at];
        const sc_bpe_merge *merge = &self->items[best.rank];
        if (left->id != merge->left || left->next == no_symbol || symbols[left->next].id != merge->right)
            continue; /* one of the two was joined otherwise in the meantime */
        join(symbols, best.at, merge->merged);
        push_pair(self, pairs, symbols, symbols[best.at].previous);
        push_pair(self, pairs, symbols, best.at);
    }
    size_t left = 0;
    for (uint32_t i = 0; i != no_symbol; i = symbols[i].next)
        ids[left++] = symbols[i].id;
    return left;
}

void sc_bpe_scratch_clear(sc_bpe_scratch *self)
{
    free(self->memory);
    *self = (sc_bpe_scratch){0};
}

sc_status sc_bpe_merges_apply(const sc_bpe_merges *self, sc_bpe_scratch *scratch, int32_t *ids, size_t *n)
{
    assert(*n <= SC_BPE_MAX_WORD);
    if (*n <= SHORT_WORD) {
        *n = apply_short(self, ids, *n);
        return SC_OK;
    }
    /* A join takes a symbol away and adds at most two pairs: n - 1 pairs at first and 2 (n - 1) later. */
    const size_t needed = *n * (sizeof(symbol) + 3 * sizeof(candidate));
    if (needed > scratch->n_bytes) {
        sc_bpe_scratch_clear(scratch);
        scratch->memory = malloc(needed);
        if (!scratch->memory)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a word of %zu bytes", *n);
        scratch->n_bytes = needed;
    }
    candidate *candidates = scratch->memory;
    heap pairs = {.items = candidates};
    *n = apply_long(self, (symbol *)(candidates + 3 * *n), &pairs, ids, *n);
    return SC_OK;
}
