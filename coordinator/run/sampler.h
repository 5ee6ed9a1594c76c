/* Drawing the next token from logits.
 *
 * The definition, in this order:
 *   1. A logit that is NaN counts as -inf. If none is above -inf: an error.
 *   2. temperature 0: the largest logit's token; of equal ones the lowest id.
 *   3. Tokens are ordered by logit, the largest first; of equal ones the lowest id first.
 *   4. top_k: the first k stay (0: all).
 *   5. p_i = softmax (logit / temperature) over those that stay. (+inf logits share all of it.)
 *   6. top_p: the shortest beginning whose probabilities add up to top_p or more stays (1: all), and p is scaled to 1.
 *   7. u uniform in [0, 1), from (seed, position): the first token whose cumulated probability exceeds u is drawn.
 * So a draw depends on nothing but logits, settings, seed and position. Sums are in double.
 * Source of top-p: Holtzman et al. 2020, "The curious case of neural text degeneration". */
#ifndef SC_SAMPLER_H
#define SC_SAMPLER_H

#include "proto/base/status.h"

#include <stdint.h>

typedef struct sc_sampler_settings {
    double temperature; /* >= 0 */
    int top_k;          /* >= 0; 0: all */
    double top_p;       /* 0 < top_p <= 1 */
    uint64_t seed;
} sc_sampler_settings;

typedef struct sc_sampler sc_sampler; /* the settings, and memory for V candidates */

/* Errors: SC_INVALID (a setting out of its range, V < 1), SC_RESOURCE_EXHAUSTED. Returns owned. */
sc_status sc_sampler_new(const sc_sampler_settings *settings, int V, sc_sampler **out);
void sc_sampler_destroy(sc_sampler **self_p);

/* logits (V). position: of the token that is drawn. Errors: SC_INVALID if no logit is above -inf (training diverged). */
sc_status sc_sampler_draw(sc_sampler *self, const float *logits, uint32_t position, int32_t *id);

#endif
