/* Counter-based random numbers: Philox4x32-10.
 *
 * A number is a pure function of what it is FOR (seed, site, step, row, index); no generator is carried along, so a
 * number depends neither on the partition, nor on the order of work, nor on a restart.
 *
 *   seed   the run's seed                                     -> key
 *   site   purpose and place: SC_RNG_SITE (purpose, place)    -> counter word 3
 *   step   the optimizer step (0 where there is none)         -> counter word 2
 *   row    the sequence's index in the global batch           -> counter word 1
 *   index  the element's index within the row; four elements share a block: index / 4 -> counter word 0, index % 4 picks
 *
 * Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; constants of Random123.
 * Thread: any; pure functions. */
#ifndef SC_RNG_H
#define SC_RNG_H

#include <stdint.h>

/* What a number is for. The values are part of a run's identity: never reuse one. */
typedef enum sc_rng_purpose {
    SC_RNG_INIT = 1,    /* place: the parameter's ordinal; index: the element */
    SC_RNG_DROPOUT = 2, /* place: block * 4 + which dropout of the block */
    SC_RNG_SHUFFLE = 3, /* place: what is shuffled; row: the epoch */
    SC_RNG_SAMPLE = 4,  /* drawing a token in `generate`; step: the token */
    SC_RNG_EVAL = 5,    /* choice of the validation windows */
    SC_RNG_TEST = 6,
    SC_RNG_EXAMPLE =
        7, /* what is drawn for an example; place: which draw (pretrain_examples.c); step: the epoch; row: the example */
} sc_rng_purpose;

#define SC_RNG_SITE(purpose, place) (((uint32_t)(purpose) << 24) | ((uint32_t)(place)&0xFFFFFFu))

typedef struct sc_rng {
    uint64_t seed;
    uint32_t site, step, row;
} sc_rng;

/* One block: ten rounds. */
void sc_rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* 32 random bits. index < 2^34. */
uint32_t sc_rng_u32(const sc_rng *rng, uint64_t index);
/* Uniform in [0, 1), a multiple of 2^-24 (float) or 2^-32 (double). */
float sc_rng_uniform(const sc_rng *rng, uint64_t index);
double sc_rng_uniform64(const sc_rng *rng, uint64_t index);
/* Uniform in [0, n) without bias to speak of (n * 2^-64); n > 0. Uses elements 2 * index and 2 * index + 1. */
uint64_t sc_rng_below(const sc_rng *rng, uint64_t index, uint64_t n);
/* Standard normal: Box-Muller on elements 2 * (index / 2) and the next, computed in double. */
float sc_rng_normal(const sc_rng *rng, uint64_t index);

#endif
