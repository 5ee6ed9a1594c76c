/* Windows: which tokens a sequence of the training or validation stream begins with. Pure arithmetic; thread: any.
 *
 * A window is T + 1 tokens from its start: T inputs, and the same shifted by one as targets. Windows that follow each
 * other at a distance of T share one token, the last target of one and the first input of the next, so no target is
 * lost or used twice.
 *
 * Training, n tokens, n >= T + 1. Each epoch has W = max (1, floor (n / T) - 1) windows, at
 *     offset + k * T,  k = 0 .. W - 1,  offset uniform in [0, n - W * T - 1]
 * so their boundaries differ from epoch to epoch; the tokens before and behind them, fewer than 2T, have their turn in
 * other epochs, down to the first and the last. Place i of the epoch is window k = permutation (i). Both the offset and the permutation are functions
 * of (seed, epoch) alone, and so can be asked for in any order: no state, no replay.
 *
 * The permutation is a Feistel network over the smallest even number of bits that holds W, with Philox as its round
 * function, and "cycle walking": a result >= W is put in again until one is < W. It is a bijection by construction.
 * Source: Black & Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002. */
#ifndef SC_WINDOWS_H
#define SC_WINDOWS_H

#include <stdint.h>

/* Where `index` of 0 .. n - 1 goes. 0 < n <= 2^62. */
uint64_t sc_windows_permute(uint64_t seed, uint32_t epoch, uint64_t n, uint64_t index);

/* W. n >= T + 1. */
uint64_t sc_windows_per_epoch(uint64_t n, int T);
/* The epoch's offset. */
uint64_t sc_windows_offset(uint64_t n, int T, uint64_t seed, uint32_t epoch);
/* The start of the window at place `index` of the shuffled epoch, index < W. */
uint64_t sc_windows_start(uint64_t n, int T, uint64_t seed, uint32_t epoch, uint64_t index);

/* The start of row i of n_rows that are spread evenly over the n tokens from the first to the last, i < n_rows:
 * floor (i * (n - T - 1) / (n_rows - 1)). They do not overlap as long as n_rows <= (n - 1) / T. */
uint64_t sc_windows_spread(uint64_t n, int T, uint64_t n_rows, uint64_t i);

#endif
