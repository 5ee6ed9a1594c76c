/* Byte-level BPE within one word: the merges in order of rank, and their application.
 *
 * A word begins as one symbol a byte. While any two neighbours are a pair that the merges have, the pair of the lowest
 * rank is joined, the leftmost of several. Short words are scanned for it; long ones keep their pairs in a heap, so that
 * a word of n bytes takes O(n log n) whatever it is. */
#ifndef SC_BPE_MERGES_H
#define SC_BPE_MERGES_H

#include "proto/base/status.h"

#include <stddef.h>
#include <stdint.h>

/* A merge: left and right become `merged`. */
typedef struct sc_bpe_merge {
    int32_t left, right, merged;
} sc_bpe_merge;

/* The merges by rank, and a hash table over their pairs. Thread: any number may use one that no longer changes. */
typedef struct sc_bpe_merges {
    sc_bpe_merge *items; /* items[rank] */
    uint32_t n;
    uint32_t *slots; /* rank + 1, 0 for an empty one */
    uint32_t mask;
} sc_bpe_merges;

/* Room for `most` merges. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_bpe_merges_init(sc_bpe_merges *self, uint32_t most);
void sc_bpe_merges_clear(sc_bpe_merges *self);
/* Adds the merge of the next rank. Errors: SC_ALREADY_EXISTS if the pair has one. */
sc_status sc_bpe_merges_add(sc_bpe_merges *self, sc_bpe_merge merge);
/* The merge of a pair, NULL if it has none. Its rank is its place in items. */
const sc_bpe_merge *sc_bpe_merges_find(const sc_bpe_merges *self, int32_t left, int32_t right);

/* Memory for words, kept from one to the next. Zero-initialise. Thread: one owns it. */
typedef struct sc_bpe_scratch {
    void *memory;
    size_t n_bytes;
} sc_bpe_scratch;
void sc_bpe_scratch_clear(sc_bpe_scratch *self);

/* Merges the n ids of a word in place; *n becomes how many are left. n <= SC_BPE_MAX_WORD.
 * Errors: SC_RESOURCE_EXHAUSTED. */
enum { SC_BPE_MAX_WORD = 16 << 20 };
sc_status sc_bpe_merges_apply(const sc_bpe_merges *self, sc_bpe_scratch *scratch, int32_t *ids, size_t *n);

#endif
