#include "kernels/reference/reference.h"

#include "kernels/dropout.h"

#include <stdlib.h>
#include <string.h>

/* One head of one sequence: rows of q, k and v lie `stride` floats apart. */
typedef struct head {
    const float *q, *k, *v;
    size_t stride;
    int HS;
} head;

static head head_of(const float *qkv, const sc_attention_shape *a, int b, int h)
{
    size_t C = (size_t)a->NH * (size_t)a->HS;
    const float *q = qkv + (size_t)b * (size_t)a->T * 3 * C + (size_t)h * (size_t)a->HS;
    return (head){.q = q, .k = q + C, .v = q + 2 * C, .stride = 3 * C, .HS = a->HS};
}

static double dot(const float *x, const float *y, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * y[i];
    return sum;
}

static double score(const head *hd, int i, int j)
{
    return dot(hd->q + (size_t)i * hd->stride, hd->k + (size_t)j * hd->stride, hd->HS) / sqrt(hd->HS);
}

/* The number of keys that query i of sequence b may see: always the first ones. */
static int visible(const sc_attention_shape *a, int b, int i)
{
    int n = a->causal ? i + 1 : a->T;
    return a->lengths && a->lengths[b] < n ? a->lengths[b] : n;
}

static double kept(const sc_dropout *d, int b, int h, int i, int j)
{
    if (!sc_dropout_on(d))
        return 1;
    uint64_t stride = d->stride;
    return sc_dropout_factor(d, b, ((uint64_t)h * stride + (uint64_t)i) * stride + (uint64_t)j);
}

/* p (n) = softmax of query i's scores; returns their log of the sum of exponentials, -inf if n == 0. */
static double softmax(double *p, const head *hd, int i, int n)
{
    double max = -INFINITY, sum = 0;
    for (int j = 0; j < n; j++) {
        p[j] = score(hd, i, j);
        max = fmax(max, p[j]);
    }
    for (int j = 0; j < n; j++)
        sum += p[j] = exp(p[j] - max);
    for (int j = 0; j < n; j++)
        p[j] /= sum;
    return max + log(sum);
}

sc_status sc_reference_attention_forward(sc_stream *s, float *out, float *lse, const float *qkv,
                                         const sc_attention_shape *a, const sc_dropout *dropout)
{
    (void)s;
    size_t C = (size_t)a->NH * (size_t)a->HS;
    double *p = malloc((size_t)a->T * sizeof *p);
    if (!p)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a row of %d scores", a->T);
    for (int b = 0; b < a->B; b++)
        for (int h = 0; h < a->NH; h++)
            for (int i = 0; i < a->T; i++) {
                head hd = head_of(qkv, a, b, h);
                int n = visible(a, b, i);
                float *o = out + ((size_t)b * (size_t)a->T + (size_t)i) * C + (size_t)h * (size_t)a->HS;
                lse[((size_t)b * (size_t)a->NH + (size_t)h) * (size_t)a->T + (size_t)i] = (float)softmax(p, &hd, i, n);
                for (int j = 0; j < n; j++)
                    p[j] *= kept(dropout, b, h, i, j);
                for (int c = 0; c < a->HS; c++) {
                    double sum = 0;
                    for (int j = 0; j < n; j++)
                        sum += p[j] * hd.v[(size_t)j * hd.stride + (size_t)c];
                    o[c] = (float)sum;
                }
            }
    free(p);
    return SC_OK;
}

/* P = exp (S - lse);  dV = (P mask)^T dO;  dP = (dO V^T) mask;  dS = P (dP - rowsum (dO O));  dQ = dS K, dK = dS^T Q. */
sc_status sc_reference_attention_backward(sc_stream *s, float *dqkv, const float *dout, const float *qkv,
                                          const float *out, const float *lse, const sc_attention_shape *a,
                                          const sc_dropout *dropout)
{
    (void)s;
    size_t C = (size_t)a->NH * (size_t)a->HS, HS = (size_t)a->HS;
    memset(dqkv, 0, (size_t)a->B * (size_t)a->T * 3 * C * sizeof *dqkv);
    for (int b = 0; b < a->B; b++)
        for (int h = 0; h < a->NH; h++)
            for (int i = 0; i < a->T; i++) {
                head hd = head_of(qkv, a, b, h);
                size_t row = (size_t)b * (size_t)a->T + (size_t)i;
                const float *doi = dout + row * C + (size_t)h * HS;
                double delta = dot(doi, out + row * C + (size_t)h * HS, a->HS);
                double l = lse[((size_t)b * (size_t)a->NH + (size_t)h) * (size_t)a->T + (size_t)i];
                float *dq = dqkv + row * 3 * C + (size_t)h * HS;
                for (int j = 0; j < visible(a, b, i); j++) {
                    double p = exp(score(&hd, i, j) - l), mask = kept(dropout, b, h, i, j);
                    double dp = dot(doi, hd.v + (size_t)j * hd.stride, a->HS) * mask;
                    double ds = p * (dp - delta) / sqrt(a->HS);
                    float *dk = dqkv + ((size_t)b * (size_t)a->T + (size_t)j) * 3 * C + C + (size_t)h * HS;
                    float *dv = dk + C;
                    for (size_t c = 0; c < HS; c++) {
                        dq[c] = (float)(dq[c] + ds * hd.k[(size_t)j * hd.stride + c]);
                        dk[c] = (float)(dk[c] + ds * hd.q[(size_t)i * hd.stride + c]);
                        dv[c] = (float)(dv[c] + p * mask * doi[c]);
                    }
                }
            }
    return SC_OK;
}

sc_status sc_reference_attention_decode(sc_stream *s, float *out, float *k_cache, float *v_cache, const float *qkv,
                                        int B, int position, int context, int NH, int HS)
{
    (void)s;
    size_t C = (size_t)NH * (size_t)HS;
    int n = position + 1;
    double *p = malloc((size_t)n * sizeof *p);
    if (!p)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a row of %d scores", n);
    for (int b = 0; b < B; b++) {
        const float *q = qkv + (size_t)b * 3 * C;
        float *k = k_cache + (size_t)b * (size_t)context * C, *v = v_cache + (size_t)b * (size_t)context * C;
        memcpy(k + (size_t)position * C, q + C, C * sizeof *k);
        memcpy(v + (size_t)position * C, q + 2 * C, C * sizeof *v);
        for (int h = 0; h < NH; h++) {
            size_t at = (size_t)h * (size_t)HS;
            head hd = {.q = q + at, .k = k + at, .v = v + at, .stride = C, .HS = HS};
            softmax(p, &hd, 0, n);
            for (int c = 0; c < HS; c++) {
                double sum = 0;
                for (int j = 0; j < n; j++)
                    sum += p[j] * hd.v[(size_t)j * C + (size_t)c];
                out[(size_t)b * C + at + (size_t)c] = (float)sum;
            }
        }
    }
    free(p);
    return SC_OK;
}
