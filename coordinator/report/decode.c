#include "coordinator/report/decode.h"

#include <math.h>

static bool are_finite(const float *logits, int K)
{
    for (int k = 0; k < K; k++)
        if (!isfinite(logits[k]))
            return false;
    return true;
}

static int32_t largest(const float *logits, int K)
{
    int32_t best = 0;
    for (int32_t k = 1; k < K; k++)
        if (logits[k] > logits[best])
            best = k;
    return best;
}

/* The largest logit is taken off first: no exponential overflows, and the sum is at least 1. */
static double sum_of_exponentials(const float *logits, int K, double most)
{
    double sum = 0;
    for (int k = 0; k < K; k++)
        sum += exp((double)logits[k] - most);
    return sum;
}

int32_t sc_decode_class(const float *logits, int K, double *probability)
{
    if (!are_finite(logits, K))
        return SC_DECODE_NONE;
    const int32_t best = largest(logits, K);
    if (probability)
        *probability = 1 / sum_of_exponentials(logits, K, logits[best]);
    return best;
}

double sc_decode_loss(const float *logits, int K, int32_t right)
{
    if (!are_finite(logits, K))
        return NAN;
    const double most = logits[largest(logits, K)];
    return log(sum_of_exponentials(logits, K, most)) - ((double)logits[right] - most);
}

bool sc_decode_softmax(const float *logits, int K, double *out)
{
    if (!are_finite(logits, K))
        return false;
    const double most = logits[largest(logits, K)], sum = sum_of_exponentials(logits, K, most);
    for (int k = 0; k < K; k++)
        out[k] = exp((double)logits[k] - most) / sum;
    return true;
}

double sc_decode_sigmoid(float logit)
{
    return 1 / (1 + exp(-(double)logit));
}

/* log (1 + exp (x)) without overflow, x = -logit where the label is right. */
double sc_decode_sigmoid_loss(float logit, bool right)
{
    const double x = right ? -(double)logit : (double)logit;
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

/* Few are wanted of many: the list so far is kept in order, and most classes are passed over by one comparison. */
int sc_decode_top(const double *probabilities, int K, int n, int32_t *out)
{
    int n_out = 0;
    for (int32_t k = 0; k < K && n > 0; k++) {
        if (n_out == n && probabilities[k] <= probabilities[out[n - 1]])
            continue;
        int at = n_out < n ? n_out++ : n - 1;
        for (; at > 0 && probabilities[out[at - 1]] < probabilities[k]; at--)
            out[at] = out[at - 1];
        out[at] = k;
    }
    return n_out;
}
