/* The pairs of neighbours in a set of words, for the BPE trainer: how often each occurs, in which words, and the most frequent.
 *
 * Counts change at will; the queue of the most frequent follows lazily: an entry holds the count of when it was put in, and
 * is corrected when it comes up. So whoever raises a count queues the pair again. Thread: one owns it. */
#ifndef SC_BPE_PAIRS_H
#define SC_BPE_PAIRS_H

#include "proto/base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct sc_bpe_pair {
    int32_t left, right;
    int64_t count;
    uint32_t *words; /* that have it, or had it; some more than once */
    uint32_t n_words, words_capacity;
} sc_bpe_pair;

typedef struct sc_bpe_queued {
    int64_t count;
    uint32_t pair;
} sc_bpe_queued;

/* Zero-initialise. */
typedef struct sc_bpe_pairs {
    sc_bpe_pair *items;
    uint32_t n, capacity;
    uint32_t *slots; /* index + 1 by hash, 0 for an empty one */
    uint32_t n_slots;
    sc_bpe_queued *queue; /* a heap */
    size_t n_queued, queue_capacity;
} sc_bpe_pairs;

void sc_bpe_pairs_clear(sc_bpe_pairs *self);
/* Changes a pair's count; `word` is one that has it now, or UINT32_MAX. *index tells the pair.
 * Errors of all: SC_RESOURCE_EXHAUSTED. */
sc_status sc_bpe_pairs_change(sc_bpe_pairs *self, int32_t left, int32_t right, int64_t change, uint32_t word,
                              uint32_t *index);
sc_status sc_bpe_pairs_queue(sc_bpe_pairs *self, uint32_t index);
/* The pair of the highest count above 0, taken from the queue; of equal ones the lowest (left, right). UINT32_MAX: none. */
sc_status sc_bpe_pairs_best(sc_bpe_pairs *self, uint32_t *index);

#endif
