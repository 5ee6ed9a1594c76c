/* What a model says, from its logits: classes with probabilities. Pure; thread: any.
 *
 * Everything is computed in double and in the order of the classes, so that the same logits give the same bits. Of equal
 * classes the first counts. */
#ifndef SC_DECODE_H
#define SC_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SC_DECODE_NONE = -1 };

/* The likeliest of K classes by its logits, as a softmax over all of them orders it. *probability (may be NULL) is the softmax's;
 * logits beyond all numbers (a model that has diverged) give SC_DECODE_NONE. K > 0. */
int32_t sc_decode_class(const float *logits, int K, double *probability);

/* The loss of the right class, in nats: minus the logarithm of its softmax. NaN where a logit is not finite. */
double sc_decode_loss(const float *logits, int K, int32_t right);

/* The softmax of K logits; false, with `out` as it was, if one is not finite. */
bool sc_decode_softmax(const float *logits, int K, double *out);

/* Multi-label: each class's own probability, 1 / (1 + exp (-logit)). */
double sc_decode_sigmoid(float logit);
/* The loss of a label, in nats, that is right or not: binary cross-entropy. */
double sc_decode_sigmoid_loss(float logit, bool right);
/* Whether a label is one of those that a multi-label model gives: its probability is above one half. */
static inline bool sc_decode_is_on(float logit)
{
    return logit > 0.0f;
}

/* The numbers of the n largest of K probabilities, the largest first; returns how many there are, n or K. */
int sc_decode_top(const double *probabilities, int K, int n, int32_t *out);

#endif
