/* What both CPU backends must agree on about dropout, to the bit: the threshold, the scale and the key of a row. */
#ifndef SC_DROPOUT_H
#define SC_DROPOUT_H

#include "kernels/ops.h"

#include <math.h>

/* NULL and p == 0 both mean: keep everything, scale nothing. */
static inline bool sc_dropout_on(const sc_dropout *d)
{
    return d && d->p > 0.0f;
}

/* An element is kept if its bits are >= p * 2^32; for integers that is >= the ceiling. p < 1, so it fits. */
static inline uint32_t sc_dropout_threshold(const sc_dropout *d)
{
    return (uint32_t)ceil((double)d->p * 0x1p32);
}

static inline float sc_dropout_scale(const sc_dropout *d)
{
    return 1.0f / (1.0f - d->p);
}

/* The stream of random numbers of sequence b of the micro-batch. */
static inline sc_rng sc_dropout_rng(const sc_dropout *d, int b)
{
    return (sc_rng){.seed = d->seed, .site = d->site, .step = d->step, .row = d->first_row + (uint32_t)b};
}

/* The factor of one element: 0, or the scale. */
static inline float sc_dropout_factor(const sc_dropout *d, int b, uint64_t index)
{
    if (!sc_dropout_on(d))
        return 1.0f;
    sc_rng rng = sc_dropout_rng(d, b);
    return sc_rng_u32(&rng, index) >= sc_dropout_threshold(d) ? sc_dropout_scale(d) : 0.0f;
}

#endif
