/* The learning rate of each step. Pure; thread: any.
 *
 * With warm-up w, peak and min from the config (w = warmup_steps, or warmup_share of n, rounded up), for step s = 1 .. n:
 *   warm-up    s <= w:  peak * s / w
 *   constant   peak
 *   linear     from peak at s = w to min at s = n
 *   cosine     min + (peak - min) * (1 + cos (pi * p)) / 2,  p = (s - w) / (n - w)     (Loshchilov & Hutter 2017)
 *   wsd        warm-up, stable, decay: peak, and in the last decay_steps linear to min at s = n     (Hu et al. 2024)
 * Beyond n the rate stays what it was at n. */
#ifndef SC_LR_SCHEDULE_H
#define SC_LR_SCHEDULE_H

#include "proto/base/config.h"

/* steps: n, of the whole run. step: 1 for the first. */
double sc_lr_at(const sc_config *config, int64_t steps, int64_t step);

#endif
