/* Micro-batches of examples of like length, by random access.
 *
 * Training. Epoch e has ceil (n / batch_size) steps, and each row comes in one of them. Rows are shuffled by a permutation that
 * depends on seed and epoch alone; pools of SC_EXAMPLE_POOL batches of them are sorted by length and cut into batches, which
 * are shuffled within their pool, so that rows of one micro-batch need little padding and batches still come in random
 * order. A batch is cut into n_microbatches of B = batch_size / n_microbatches rows. The epoch's last batch may have fewer rows:
 * they are spread evenly over the micro-batches, and where there are fewer rows than these, rows of the epoch's beginning are
 * added until each micro-batch has one.
 *
 * Evaluation and prediction. Each row once, in the order of length; micro-batch i has the rows i * B to i * B + B - 1, the last what
 * is left. Of items a micro-batch has rows of one length alone, as many of them as there are up to B: the logits that are asked for are
 * those of the last position.
 *
 * A micro-batch is padded to its own longest row only: B and T differ from one to the next. Thread: any number may read. */
#ifndef SC_EXAMPLE_BATCHES_H
#define SC_EXAMPLE_BATCHES_H

#include "coordinator/data/examples.h"

enum { SC_EXAMPLE_POOL = 50 };

/* Row-major. Beyond a row's length tokens are [PAD], segments 0, targets SC_NO_TARGET. */
typedef struct sc_micro_batch {
    int B, T;
    int32_t *tokens, *segments; /* (B,T) */
    int32_t *lengths;           /* (B): what attention may look at */
    int32_t *targets;           /* (B,T); (B) for classification, (B,K) with many labels */
    int32_t *next;              /* (B), for pre-training alone: 0 if the second part follows the first, 1 if not */
    size_t *rows;               /* (B): of the examples */
    int most_rows, longest;     /* what there is room for */
} sc_micro_batch;

/* Room for micro-batches of up to so many rows. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_micro_batch_init(sc_micro_batch *self, int most_rows, int longest);
/* Room for so many targets a row, where that is more than tokens. */
sc_status sc_micro_batch_widen(sc_micro_batch *self, int n_targets);
void sc_micro_batch_clear(sc_micro_batch *self);

typedef struct sc_example_batches {
    const sc_examples *examples; /* borrowed */
    uint64_t seed;
    uint32_t epoch;
    int batch_size, n_microbatches; /* of evaluation: B, 1 */
    size_t *order;                  /* [n]: rows, batch by batch */
    size_t n;
    uint64_t n_steps;
    size_t *begins; /* of rows of one length: [n_steps + 1], where in `order` a step begins; else NULL */
} sc_example_batches;

/* An epoch of training. batch_size is a multiple of n_microbatches; there is at least one example.
 * Errors of both: SC_RESOURCE_EXHAUSTED. */
sc_status sc_example_batches_epoch(const sc_examples *examples, uint64_t seed, uint32_t epoch, int batch_size,
                                   int n_microbatches, sc_example_batches *out);
/* All rows once; n_steps micro-batches. Pre-training rows are those of (seed, epoch). */
sc_status sc_example_batches_all(const sc_examples *examples, uint64_t seed, uint32_t epoch, int B,
                                 sc_example_batches *out);
void sc_example_batches_clear(sc_example_batches *self);

/* Steps of an epoch. */
uint64_t sc_example_batches_steps(size_t n, int batch_size);

/* step < n_steps, microbatch < n_microbatches; `out` has room for B rows of the examples' longest. */
void sc_example_batches_get(const sc_example_batches *self, uint64_t step, int microbatch, sc_micro_batch *out);

#endif
