#include "kernels/reference/reference.h"

#include <math.h>

sc_status sc_reference_cross_entropy(sc_stream *s, float *loss, float *dlogits, const float *logits,
                                     const int32_t *targets, const float *weights, int N, int V, float scale)
{
    (void)s;
    for (int n = 0; n < N; n++) {
        double weight = weights && targets[n] >= 0 ? weights[targets[n]] : 1;
        const float *x = logits + (size_t)n * (size_t)V;
        float *dx = dlogits ? dlogits + (size_t)n * (size_t)V : NULL;
        if (targets[n] < 0) {
            loss[n] = 0;
            for (int v = 0; dx && v < V; v++)
                dx[v] = 0;
            continue;
        }
        double max = -INFINITY, sum = 0;
        for (int v = 0; v < V; v++)
            max = fmax(max, x[v]);
        for (int v = 0; v < V; v++)
            sum += exp(x[v] - max);
        double lse = max + log(sum);
        loss[n] = (float)((lse - x[targets[n]]) * weight);
        for (int v = 0; dx && v < V; v++)
            dx[v] = (float)((exp(x[v] - lse) - (v == targets[n])) * weight * (double)scale);
    }
    return SC_OK;
}

sc_status sc_reference_binary_cross_entropy(sc_stream *s, float *loss, float *dlogits, const float *logits,
                                            const int32_t *targets, size_t n, float scale)
{
    (void)s;
    for (size_t i = 0; i < n; i++) {
        double x = logits[i], t = targets[i];
        bool counts = targets[i] >= 0;
        loss[i] = counts ? (float)(fmax(x, 0) - x * t + log1p(exp(-fabs(x)))) : 0;
        if (dlogits)
            dlogits[i] = counts ? (float)((1 / (1 + exp(-x)) - t) * (double)scale) : 0;
    }
    return SC_OK;
}

sc_status sc_reference_count_correct(sc_stream *s, double *out, const float *logits, const int32_t *targets, int N,
                                     int V)
{
    (void)s;
    int correct = 0;
    for (int n = 0; n < N; n++) {
        const float *x = logits + (size_t)n * (size_t)V;
        bool is = targets[n] >= 0;
        for (int v = 0; is && v < V; v++)
            is = v == targets[n] || (v < targets[n] ? x[v] < x[targets[n]] : x[v] <= x[targets[n]]);
        correct += is;
    }
    *out = correct;
    return SC_OK;
}

sc_status sc_reference_count_correct_binary(sc_stream *s, double *out, const float *logits, const int32_t *targets,
                                            size_t n)
{
    (void)s;
    size_t correct = 0;
    for (size_t i = 0; i < n; i++)
        correct += targets[i] >= 0 && (logits[i] > 0) == (targets[i] == 1);
    *out = (double)correct;
    return SC_OK;
}

sc_status sc_reference_sum(sc_stream *s, double *out, const float *x, size_t n)
{
    (void)s;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    *out = sum;
    return SC_OK;
}

sc_status sc_reference_sum_squares(sc_stream *s, double *out, const float *x, size_t n)
{
    (void)s;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    *out = sum;
    return SC_OK;
}

/* In float32, step by step as torch.optim.AdamW: decay, moments, then the quotient. Every backend that follows this order
 * without fused multiply-adds gets the same bits. */
sc_status sc_reference_adamw(sc_stream *s, float *w, float *m, float *v, const float *grad, size_t n, const sc_adamw *h)
{
    (void)s;
    double correction1 = 1 - pow((double)h->beta1, (double)h->step);
    double correction2 = 1 - pow((double)h->beta2, (double)h->step);
    float decay = (float)(1 - (double)h->learning_rate * (double)h->weight_decay);
    float step_size = (float)((double)h->learning_rate / correction1), root2 = (float)sqrt(correction2);
    for (size_t i = 0; i < n; i++) {
        float g = h->grad_scale * grad[i];
        float decayed = w[i] * decay;
        m[i] = m[i] + (g - m[i]) * (1 - h->beta1);
        v[i] = v[i] * h->beta2 + (g * g) * (1 - h->beta2);
        float denominator = sqrtf(v[i]) / root2 + h->epsilon;
        w[i] = decayed - step_size * (m[i] / denominator);
    }
    return SC_OK;
}

sc_status sc_reference_sgd(sc_stream *s, float *w, float *velocity, const float *grad, size_t n, const sc_sgd *h)
{
    (void)s;
    for (size_t i = 0; i < n; i++) {
        float g = h->grad_scale * grad[i] + h->weight_decay * w[i];
        velocity[i] = h->step == 1 ? g : h->momentum * velocity[i] + g;
        w[i] -= h->learning_rate * velocity[i];
    }
    return SC_OK;
}
