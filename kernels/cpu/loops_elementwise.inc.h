/* Loops without sums: bias, GELU, tanh, dropout, optimizers. Part of loops_<isa>.c; see loops.h. */
#include "kernels/cpu/simd.h"

#include "kernels/cpu/loops.h"

#include <math.h>

/* --- GELU ------------------------------------------------------------------------------------------------------------
 * x Phi (x) and its derivative, in either form.
 * tanh form: 0.5 (1 + tanh u) = 1 / (1 + e^-2u), which keeps its relative accuracy for negative x.
 * erf form: the normal tail Phi (-a) = e^(-a^2 / 2) t p (t), t = 1 / (1 + a / 3), a = |x|; p interpolates at the ten
 * Chebyshev nodes of a in [0, 13]: relative error 3e-8. */
typedef struct gelu_parts {
    vf phi, slope; /* the value is x phi, the derivative phi + x slope */
} gelu_parts;

INLINE gelu_parts gelu_of(vf x, sc_activation f)
{
    const vf one = splat(1.0f);
    if (f == SC_GELU_TANH) {
        const float k = 1.59576912f; /* 2 sqrt (2 / pi) */
        vf square = x * x;
        vf e = exp_(-(x * fma_(square, splat(k * 0.044715f), splat(k))));
        vf phi = one / (one + e);
        return (gelu_parts){phi, phi * (e * phi) * fma_(square, splat(3 * k * 0.044715f), splat(k))};
    }
    static const float p[10] = {0.132958142f, 0.133488406f,  0.113353686f,  0.114464247f,    -0.0342890568f,
                                0.177031942f, -0.213098175f, 0.0801364634f, 0.000721336332f, -0.004766994f};
    vf a = max_(x, -x), e = exp_(x * x * splat(-0.5f)), t = one / fma_(a, splat(1.0f / 3), one);
    vf poly = splat(p[9]);
    for (int i = 8; i >= 0; i--)
        poly = fma_(poly, t, splat(p[i]));
    vf tail = e * (t * poly);
    return (gelu_parts){select_(x < (vf){0}, tail, one - tail), e * splat(0.398942280f)}; /* 1 / sqrt (2 pi) */
}

static void bias(float *y, size_t ld, int rows, int columns, const float *b)
{
    size_t n = (size_t)columns;
    for (int r = 0; b && r < rows; r++, y += ld) {
        size_t i = 0;
        for (; i + W <= n; i += W)
            store(y + i, load(y + i) + load(b + i));
        for (; i < n; i++)
            y[i] += b[i];
    }
}

INLINE void bias_gelu(float *act, float *y, size_t ld, int rows, size_t n, const float *b, sc_activation f)
{
    for (int r = 0; r < rows; r++, y += ld, act += ld)
        for (size_t i = 0; i < n; i += W) {
            size_t m = n - i < W ? n - i : W;
            vf x = m == W ? load(y + i) : load_part(y + i, m);
            if (b)
                x += m == W ? load(b + i) : load_part(b + i, m);
            vf value = x * gelu_of(x, f).phi;
            if (m == W) {
                store(y + i, x);
                store(act + i, value);
            } else {
                store_part(y + i, x, m);
                store_part(act + i, value, m);
            }
        }
}

/* Of a pooler: some rows, so that the library's tanh will do. */
static void bias_tanh(float *act, float *y, size_t ld, int rows, size_t n, const float *b)
{
    for (int r = 0; r < rows; r++, y += ld, act += ld)
        for (size_t i = 0; i < n; i++) {
            y[i] += b ? b[i] : 0.0f;
            act[i] = tanhf(y[i]);
        }
}

static void tanh_backward(float *dx, const float *y, size_t ld, int rows, size_t n)
{
    for (int r = 0; r < rows; r++, dx += ld, y += ld)
        for (size_t i = 0; i < n; i++) {
            float t = tanhf(y[i]);
            dx[i] *= (1 - t) * (1 + t);
        }
}

static void bias_activation(float *act, float *y, size_t ld, int rows, int columns, const float *b, sc_activation f)
{
    if (f == SC_GELU_TANH)
        bias_gelu(act, y, ld, rows, (size_t)columns, b, SC_GELU_TANH);
    else if (f == SC_TANH)
        bias_tanh(act, y, ld, rows, (size_t)columns, b);
    else
        bias_gelu(act, y, ld, rows, (size_t)columns, b, SC_GELU_ERF);
}

INLINE void gelu_backward(float *dx, const float *y, size_t ld, int rows, size_t n, sc_activation f)
{
    for (int r = 0; r < rows; r++, dx += ld, y += ld)
        for (size_t i = 0; i < n; i += W) {
            size_t m = n - i < W ? n - i : W;
            vf x = m == W ? load(y + i) : load_part(y + i, m);
            gelu_parts g = gelu_of(x, f);
            vf derivative = fma_(x, g.slope, g.phi);
            if (m == W)
                store(dx + i, load(dx + i) * derivative);
            else
                store_part(dx + i, load_part(dx + i, m) * derivative, m);
        }
}

static void activation_backward(float *dx, const float *y, size_t ld, int rows, int columns, sc_activation f)
{
    if (f == SC_GELU_TANH)
        gelu_backward(dx, y, ld, rows, (size_t)columns, SC_GELU_TANH);
    else if (f == SC_TANH)
        tanh_backward(dx, y, ld, rows, (size_t)columns);
    else
        gelu_backward(dx, y, ld, rows, (size_t)columns, SC_GELU_ERF);
}

/* --- dropout -----------------------------------------------------------------------------------------------------------
 * Philox4x32-10, STREAMS * W / 2 blocks at once, the same bits as sc_rng_u32. Each 32-bit word of the state has a 64-bit
 * lane; only its low half counts. One vector would wait for its multiplications, so STREAMS of them go side by side. */
enum {
    STREAMS = 2,
    CHUNK = 512,                      /* elements at a time */
    BITS_SLACK = 3 + STREAMS * 2 * W, /* room that random_bits needs beyond n */
};

#if defined(__AVX512F__)
#define INTERLEAVE_LOW(a, b)  __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define INTERLEAVE_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#elif defined(__AVX2__)
#define INTERLEAVE_LOW(a, b)  __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define INTERLEAVE_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#else
#define INTERLEAVE_LOW(a, b)  __builtin_shufflevector(a, b, 0, 2)
#define INTERLEAVE_HIGH(a, b) __builtin_shufflevector(a, b, 1, 3)
#endif

/* The bits of elements index .. index + n - 1; they start at the returned place in `buffer` (n + BITS_SLACK). */
static const uint32_t *random_bits(uint32_t *buffer, size_t n, const sc_rng *rng, uint64_t index)
{
    const vl low_half = (vl){0} + 0xFFFFFFFFu;
    size_t skip = index % 4, blocks = (skip + n + 3) / 4;
    vl counter[STREAMS], key0[10], key1[10];
    for (uint32_t round = 0; round < 10; round++) {
        key0[round] = (vl){0} + ((uint32_t)rng->seed + round * 0x9E3779B9u);
        key1[round] = (vl){0} + ((uint32_t)(rng->seed >> 32) + round * 0xBB67AE85u);
    }
    for (int s = 0; s < STREAMS; s++)
        for (int i = 0; i < W / 2; i++)
            counter[s][i] = index / 4 + (uint64_t)(s * W / 2 + i);
    for (size_t block = 0; block < blocks; block += STREAMS * W / 2) {
        vl c0[STREAMS], c1[STREAMS], c2[STREAMS], c3[STREAMS];
        for (int s = 0; s < STREAMS; s++) {
            c0[s] = counter[s], c1[s] = (vl){0} + rng->row, c2[s] = (vl){0} + rng->step, c3[s] = (vl){0} + rng->site;
            counter[s] += STREAMS * W / 2;
        }
        for (int round = 0; round < 10; round++) {
            for (int s = 0; s < STREAMS; s++) {
                vl p0 = MUL_EVEN(c0[s], (vl){0} + 0xD2511F53u), p1 = MUL_EVEN(c2[s], (vl){0} + 0xCD9E8D57u);
                c0[s] = (p1 >> 32) ^ c1[s] ^ key0[round];
                c2[s] = (p0 >> 32) ^ c3[s] ^ key1[round];
                c1[s] = p1, c3[s] = p0;
            }
        }
        for (int s = 0; s < STREAMS; s++) {
            vl c01 = (c0[s] & low_half) | (c1[s] << 32), c23 = (c2[s] & low_half) | (c3[s] << 32);
            vl pair[2] = {INTERLEAVE_LOW(c01, c23), INTERLEAVE_HIGH(c01, c23)};
            memcpy(buffer + 4 * block + s * 2 * W, pair, sizeof pair);
        }
    }
    return buffer + skip;
}

/* x where the bits reach the threshold, else 0; then scaled. */
INLINE vf masked(vf x, const uint32_t *bits, uint32_t threshold, float scale)
{
    vu b;
    memcpy(&b, bits, sizeof b);
    return (vf)((vi)(x * splat(scale)) & (vi)(b >= (vu){0} + threshold));
}

static void dropout_add(float *out, const float *res, const float *x, size_t n, const sc_mask *mask, uint64_t index)
{
    uint32_t buffer[CHUNK + BITS_SLACK];
    for (size_t at = 0; at < n; at += CHUNK) {
        size_t m = n - at < CHUNK ? n - at : CHUNK, i = 0;
        const uint32_t *bits = random_bits(buffer, m, &mask->rng, index + at);
        for (; i + W <= m; i += W)
            store(out + at + i, load(res + at + i) + masked(load(x + at + i), bits + i, mask->threshold, mask->scale));
        for (; i < m; i++)
            out[at + i] = res[at + i] + (bits[i] >= mask->threshold ? x[at + i] * mask->scale : 0.0f);
    }
}

static void dropout(float *out, const float *x, size_t n, const sc_mask *mask, uint64_t index)
{
    uint32_t buffer[CHUNK + BITS_SLACK];
    for (size_t at = 0; at < n; at += CHUNK) {
        size_t m = n - at < CHUNK ? n - at : CHUNK, i = 0;
        const uint32_t *bits = random_bits(buffer, m, &mask->rng, index + at);
        for (; i + W <= m; i += W)
            store(out + at + i, masked(load(x + at + i), bits + i, mask->threshold, mask->scale));
        for (; i < m; i++)
            out[at + i] = bits[i] >= mask->threshold ? x[at + i] * mask->scale : 0.0f;
    }
}

/* --- sums of two tensors, optimizers -------------------------------------------------------------------------------------*/

static void add(float *out, const float *a, const float *b, size_t n)
{
    size_t i = 0;
    for (; i + W <= n; i += W)
        store(out + i, load(a + i) + load(b + i));
    for (; i < n; i++)
        out[i] = a[i] + b[i];
}

/* No fused multiply-adds in the optimizers: every instruction set gives the reference's bits. */
INLINE void adamw_vector(vf *w, vf *m, vf *v, vf grad, const sc_adamw_factors *f)
{
    vf g = splat(f->grad_scale) * grad;
    *m = *m + (g - *m) * splat(f->beta1_rest);
    *v = *v * splat(f->beta2) + (g * g) * splat(f->beta2_rest);
    vf denominator = sqrt_(*v) / splat(f->root2) + splat(f->epsilon);
    *w = *w * splat(f->decay) - splat(f->step_size) * (*m / denominator);
}

static void adamw(float *w, float *m, float *v, const float *grad, size_t n, const sc_adamw_factors *f)
{
    size_t i = 0;
    for (; i + W <= n; i += W) {
        vf wi = load(w + i), mi = load(m + i), vi_ = load(v + i);
        adamw_vector(&wi, &mi, &vi_, load(grad + i), f);
        store(w + i, wi), store(m + i, mi), store(v + i, vi_);
    }
    if (i < n) {
        vf wi = load_part(w + i, n - i), mi = load_part(m + i, n - i), vi_ = load_part(v + i, n - i);
        adamw_vector(&wi, &mi, &vi_, load_part(grad + i, n - i), f);
        store_part(w + i, wi, n - i), store_part(m + i, mi, n - i), store_part(v + i, vi_, n - i);
    }
}

static void sgd(float *w, float *velocity, const float *grad, size_t n, const sc_sgd *h)
{
    for (size_t i = 0; i < n; i += W) {
        size_t m = n - i < W ? n - i : W;
        vf wi = load_part(w + i, m);
        vf v = splat(h->grad_scale) * load_part(grad + i, m) + splat(h->weight_decay) * wi;
        if (h->step != 1)
            v = splat(h->momentum) * load_part(velocity + i, m) + v;
        store_part(velocity + i, v, m);
        store_part(w + i, wi - splat(h->learning_rate) * v, m);
    }
}
