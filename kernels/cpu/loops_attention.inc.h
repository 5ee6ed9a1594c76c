/* Attention of one head of one sequence. Part of loops_<isa>.c; see loops.h.
 *
 * The head's rows are first copied from (B,T,3C) into dense scratch: as rows, where they are the left factor of a product,
 * and as panels of NR columns, where they are the right one. Then groups of MR queries go through
 *     S = Q K^T (MR x visible keys)  ->  softmax, mask  ->  O = P V,
 * so no more than MR rows of scores exist at a time (backward: BLOCK rows, because dK and dV are sums over queries and want
 * some depth). Order is fixed: groups ascend, and each sum over keys or queries ascends.
 * Source: Dao 2023 (FlashAttention-2) for the backward formulas; the blocking is our own. */

#include "kernels/cpu/transpose.h"

/* The register tile: MR rows x NR columns of the result, two vectors wide. */
#if defined(__AVX512F__)
enum { MR = 8 };
#else
enum { MR = 6 };
#endif
enum { NR = 2 * W, BLOCK = 48 }; /* BLOCK: a multiple of either MR */

INLINE size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* c (MR,NR) = or += sum over k of a (m, k) * panel (k, n). */
INLINE void tile(size_t k, const float *a, size_t row_stride, size_t k_stride, const float *panel, float *c, size_t ldc,
                 bool accumulate)
{
    vf sum[MR][2]; /* in registers: hence the loops over it are unrolled early */
#pragma GCC unroll 8
    for (int m = 0; m < MR; m++) {
        sum[m][0] = accumulate ? load(c + (size_t)m * ldc) : (vf){0};
        sum[m][1] = accumulate ? load(c + (size_t)m * ldc + W) : (vf){0};
    }
    for (size_t i = 0; i < k; i++, a += k_stride, panel += NR) {
        vf p0 = load(panel), p1 = load(panel + W);
#pragma GCC unroll 8
        for (int m = 0; m < MR; m++) {
            vf x = splat(a[(size_t)m * row_stride]);
            sum[m][0] = fma_(x, p0, sum[m][0]);
            sum[m][1] = fma_(x, p1, sum[m][1]);
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < MR; m++) {
        store(c + (size_t)m * ldc, sum[m][0]);
        store(c + (size_t)m * ldc + W, sum[m][1]);
    }
}

static void tile_rows(size_t k, const float *a, size_t row_stride, const float *panel, float *c, size_t ldc)
{
    tile(k, a, row_stride, 1, panel, c, ldc, false);
}

static void tile_transposed(size_t k, const float *a, size_t k_stride, const float *panel, float *c, size_t ldc)
{
    tile(k, a, 1, k_stride, panel, c, ldc, true);
}

/* --- copies --------------------------------------------------------------------------------------------------------- */

/* to (rows_padded, width_padded) = factor * from, zeros in the padding. */
static void copy_rows(float *to, size_t rows_padded, size_t width_padded, const float *from, size_t stride, size_t rows,
                      size_t width, float factor)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < width; c++)
            to[r * width_padded + c] = from[r * stride + c] * factor;
        memset(to + r * width_padded + width, 0, (width_padded - width) * sizeof *to);
    }
    memset(to + rows * width_padded, 0, (rows_padded - rows) * width_padded * sizeof *to);
}

/* Panels of from (rows,width), a right factor summed over its rows: to [width / NR][rows_padded][NR]. */
static void pack_rows(float *to, size_t rows_padded, const float *from, size_t stride, size_t rows, size_t width)
{
    for (size_t c = 0; c < width; c += NR) {
        size_t n = width - c < NR ? width - c : NR;
        for (size_t r = 0; r < rows; r++, to += NR) {
            if (n == NR) {
                store(to, load(from + r * stride + c));
                store(to + W, load(from + r * stride + c + W));
            } else {
                memcpy(to, from + r * stride + c, n * sizeof *to);
                memset(to + n, 0, (NR - n) * sizeof *to);
            }
        }
        memset(to, 0, (rows_padded - rows) * NR * sizeof *to);
        to += (rows_padded - rows) * NR;
    }
}

/* Panels of from^T, a right factor summed over from's columns: to [rows / NR][width][NR]. */
static void pack_transposed(float *to, const float *from, size_t stride, size_t rows, size_t width)
{
    for (size_t r = 0; r < rows; r += NR, to += width * NR) {
        size_t n = rows - r < NR ? rows - r : NR;
        if (n < NR)
            memset(to, 0, width * NR * sizeof *to);
        sc_transpose(to, NR, from + r * stride, stride, (int)n, (int)width);
    }
}

/* --- scratch --------------------------------------------------------------------------------------------------------- */

typedef struct layout {
    size_t T, HS, rows, keys, width; /* and T and HS rounded up: to MR, to NR, to NR */
    size_t ld;                       /* of a strip of scores: `keys`, and MR more that the last group may touch */
} layout;

static layout layout_of(int T, int HS)
{
    size_t t = (size_t)T, hs = (size_t)HS;
    layout l = {.T = t, .HS = hs, .rows = round_up(t, MR), .keys = round_up(t, NR), .width = round_up(hs, NR)};
    l.ld = l.keys + NR;
    return l;
}

static size_t attention_scratch(int T, int HS, bool backward)
{
    layout l = layout_of(T, HS);
    size_t bits = round_up(l.T + BITS_SLACK, NR);
    size_t forward = l.rows * l.width + 2 * l.keys * l.width + MR * l.ld + MR * l.width + bits;
    size_t more = 3 * l.rows * l.width + l.keys * l.width + 2 * BLOCK * l.ld + 2 * BLOCK * l.width + BLOCK;
    return (forward + (backward ? more : 0)) * sizeof(float);
}

INLINE float *take(float **scratch, size_t n)
{
    float *taken = *scratch;
    *scratch += n;
    return taken;
}

/* --- a row of scores ---------------------------------------------------------------------------------------------------*/

/* The keys that query i sees: the first ones. */
INLINE size_t visible(const sc_head *h, size_t i)
{
    size_t keys = (size_t)h->keys;
    return h->causal && i + 1 < keys ? i + 1 : keys;
}

/* row [0, n) = exp (row - max), zeros up to `end`; returns the sum. n > 0; end is a multiple of W. */
static float softmax_row(float *row, size_t n, size_t end, float *max_out)
{
    for (size_t j = n; j < round_up(n, W); j++)
        row[j] = -INFINITY;
    vf top = splat(-INFINITY), total = {0};
    for (size_t j = 0; j < n; j += W)
        top = max_(top, load(row + j));
    float max = max_lanes(top);
    size_t j = 0;
    for (; j < n; j += W) {
        vf e = exp_(load(row + j) - splat(max));
        store(row + j, e);
        total += e;
    }
    memset(row + j, 0, (end - j) * sizeof *row);
    *max_out = max;
    return sum_lanes(total);
}

static const uint32_t *row_bits(uint32_t *buffer, const sc_head *h, size_t i, size_t n)
{
    uint64_t stride = h->mask_stride;
    return random_bits(buffer, n, &h->mask->rng, ((uint64_t)h->h * stride + i) * stride);
}

/* --- forward --------------------------------------------------------------------------------------------------------- */

static void attention_forward(const sc_head *h)
{
    layout l = layout_of(h->T, h->HS);
    size_t C = (size_t)h->NH * l.HS, stride = 3 * C;
    const float *q = h->qkv + (size_t)h->b * l.T * stride + (size_t)h->h * l.HS;
    float *scratch = h->scratch;
    float *Q = take(&scratch, l.rows * l.width), *KT = take(&scratch, l.keys * l.width);
    float *V = take(&scratch, l.keys * l.width), *S = take(&scratch, MR * l.ld), *O = take(&scratch, MR * l.width);
    uint32_t *buffer = (uint32_t *)scratch;
    copy_rows(Q, l.rows, l.width, q, stride, l.T, l.HS, 1.0f / sqrtf((float)h->HS));
    pack_transposed(KT, q + C, stride, l.T, l.HS);
    pack_rows(V, l.keys, q + 2 * C, stride, l.T, l.HS);

    for (size_t i0 = 0; i0 < l.T; i0 += MR) {
        size_t n_rows = l.T - i0 < MR ? l.T - i0 : MR;
        size_t limit = visible(h, i0 + n_rows - 1), end = round_up(limit, NR);
        float inverse[MR] = {0};
        for (size_t j = 0; j < limit; j += NR)
            tile_rows(l.HS, Q + i0 * l.width, l.width, KT + j * l.HS, S + j, l.ld);
        for (size_t m = 0; m < n_rows; m++) {
            size_t n = visible(h, i0 + m);
            float max = 0, sum_of_row = n ? softmax_row(S + m * l.ld, n, end, &max) : 0;
            h->lse[((size_t)h->b * (size_t)h->NH + (size_t)h->h) * l.T + i0 + m] = max + logf(sum_of_row);
            inverse[m] = n ? 1.0f / sum_of_row : 0.0f;
            if (h->mask && n) {
                const uint32_t *bits = row_bits(buffer, h, i0 + m, n);
                for (size_t j = 0; j < round_up(n, W); j += W)
                    store(S + m * l.ld + j,
                          masked(load(S + m * l.ld + j), bits + j, h->mask->threshold, h->mask->scale));
            }
        }
        for (size_t c = 0; c < l.width; c += NR)
            tile_rows(limit, S, l.ld, V + c * l.keys, O + c, l.width);
        for (size_t m = 0; m < n_rows; m++) {
            float *out = h->out + ((size_t)h->b * l.T + i0 + m) * C + (size_t)h->h * l.HS;
            for (size_t c = 0; c < l.HS; c++)
                out[c] = O[m * l.width + c] * inverse[m];
        }
    }
}

/* --- backward -------------------------------------------------------------------------------------------------------- */

typedef struct backward_scratch {
    float *Q, *KT, *K, *VT, *dO, *dK, *dV; /* Q is scaled by 1 / sqrt (HS) */
    float *P, *dS;                         /* BLOCK rows of scores: P with its mask; dS */
    float *block_q, *block_do, *delta;     /* the block's queries and output gradients as panels; rowsum (dO O) */
    float *S;                              /* MR rows, and the group's dQ */
    float *dQ;
    uint32_t *bits;
} backward_scratch;

/* Row i of the block: from scores and dP (in dS) to the masked P and dS; zeros up to `end`. */
static void backward_row(const sc_head *h, const backward_scratch *s, const layout *l, size_t i, float *P, float *dS,
                         float delta, size_t end)
{
    size_t n = visible(h, i);
    float lse = h->lse_in[((size_t)h->b * (size_t)h->NH + (size_t)h->h) * l->T + i];
    const uint32_t *bits = h->mask && n ? row_bits(s->bits, h, i, n) : NULL;
    for (size_t j = n; j < round_up(n, W); j++)
        P[j] = -INFINITY;
    size_t j = 0;
    for (; j < n; j += W) {
        vf p = exp_(load(P + j) - splat(lse));
        vf kept = bits ? masked(p, bits + j, h->mask->threshold, h->mask->scale) : p;
        store(P + j, kept);
        store(dS + j, kept * load(dS + j) - p * splat(delta));
    }
    memset(P + j, 0, (end - j) * sizeof *P);
    memset(dS + j, 0, (end - j) * sizeof *dS);
}

/* Queries i0 .. i0 + n_rows - 1: fills the block's P and dS up to `end` keys and writes their dQ. */
static void backward_queries(const sc_head *h, const backward_scratch *s, const layout *l, size_t i0, size_t n_rows,
                             size_t end)
{
    size_t C = (size_t)h->NH * l->HS;
    float scale = 1.0f / sqrtf((float)h->HS);
    for (size_t g = 0; g < n_rows; g += MR) {
        size_t i = i0 + g, n = n_rows - g < MR ? n_rows - g : MR, limit = visible(h, i + n - 1);
        float *P = s->P + g * l->ld, *dS = s->dS + g * l->ld;
        for (size_t j = 0; j < limit; j += NR) {
            tile_rows(l->HS, s->Q + i * l->width, l->width, s->KT + j * l->HS, P + j, l->ld);
            tile_rows(l->HS, s->dO + i * l->width, l->width, s->VT + j * l->HS, dS + j, l->ld);
        }
        for (size_t m = 0; m < n; m++)
            backward_row(h, s, l, i + m, P + m * l->ld, dS + m * l->ld, s->delta[g + m], end);
        for (size_t m = n; m < MR; m++) { /* rows beyond the last query */
            memset(P + m * l->ld, 0, end * sizeof *P);
            memset(dS + m * l->ld, 0, end * sizeof *dS);
        }
        for (size_t c = 0; c < l->width; c += NR)
            tile_rows(limit, dS, l->ld, s->K + c * l->keys, s->dQ + c, l->width);
        for (size_t m = 0; m < n; m++) {
            float *dq = h->dqkv + ((size_t)h->b * l->T + i + m) * 3 * C + (size_t)h->h * l->HS;
            for (size_t c = 0; c < l->HS; c++)
                dq[c] = s->dQ[m * l->width + c] * scale;
        }
    }
}

static void attention_backward(const sc_head *h)
{
    layout l = layout_of(h->T, h->HS);
    size_t C = (size_t)h->NH * l.HS, stride = 3 * C, first = (size_t)h->b * l.T, column = (size_t)h->h * l.HS;
    const float *q = h->qkv + first * stride + column;
    const float *dout = h->dout + first * C + column, *out = h->out_in + first * C + column;
    float *scratch = h->scratch;
    size_t rows = l.rows * l.width, keys = l.keys * l.width;
    backward_scratch s = {.Q = take(&scratch, rows),
                          .dO = take(&scratch, rows),
                          .dK = take(&scratch, rows),
                          .dV = take(&scratch, rows),
                          .KT = take(&scratch, keys),
                          .K = take(&scratch, keys),
                          .VT = take(&scratch, keys),
                          .P = take(&scratch, BLOCK * l.ld),
                          .dS = take(&scratch, BLOCK * l.ld),
                          .block_q = take(&scratch, BLOCK * l.width),
                          .block_do = take(&scratch, BLOCK * l.width),
                          .delta = take(&scratch, BLOCK),
                          .dQ = take(&scratch, MR * l.width),
                          .bits = (uint32_t *)scratch};
    copy_rows(s.Q, l.rows, l.width, q, stride, l.T, l.HS, 1.0f / sqrtf((float)h->HS));
    copy_rows(s.dO, l.rows, l.width, dout, C, l.T, l.HS, 1.0f);
    pack_transposed(s.KT, q + C, stride, l.T, l.HS);
    pack_rows(s.K, l.keys, q + C, stride, l.T, l.HS);
    pack_transposed(s.VT, q + 2 * C, stride, l.T, l.HS);
    memset(s.dK, 0, rows * sizeof *s.dK);
    memset(s.dV, 0, rows * sizeof *s.dV);

    for (size_t i0 = 0; i0 < l.T; i0 += BLOCK) {
        size_t n_rows = l.T - i0 < BLOCK ? l.T - i0 : BLOCK;
        size_t limit = visible(h, i0 + n_rows - 1), end = round_up(limit, NR) + NR;
        for (size_t m = 0; m < n_rows; m++) {
            vf delta = {0};
            FOR_VECTORS(c, n, l.HS)
            delta = fma_(load_up_to(dout + (i0 + m) * C + c, n), load_up_to(out + (i0 + m) * C + c, n), delta);
            s.delta[m] = sum_lanes(delta);
        }
        backward_queries(h, &s, &l, i0, n_rows, end);
        pack_rows(s.block_q, BLOCK, s.Q + i0 * l.width, l.width, n_rows, l.width);
        pack_rows(s.block_do, BLOCK, s.dO + i0 * l.width, l.width, n_rows, l.width);
        for (size_t j = 0; j < limit; j += MR)
            for (size_t c = 0; c < l.width; c += NR) {
                tile_transposed(n_rows, s.P + j, l.ld, s.block_do + c * BLOCK, s.dV + j * l.width + c, l.width);
                tile_transposed(n_rows, s.dS + j, l.ld, s.block_q + c * BLOCK, s.dK + j * l.width + c, l.width);
            }
    }
    for (size_t j = 0; j < l.T; j++) {
        float *dk = h->dqkv + (first + j) * stride + C + column;
        memcpy(dk, s.dK + j * l.width, l.HS * sizeof *dk);
        memcpy(dk + C, s.dV + j * l.width, l.HS * sizeof *dk);
    }
}

/* --- one query against a cache ------------------------------------------------------------------------------------------*/

static void attention_decode(float *out, const float *q, const float *k, const float *v, size_t stride, int n, int HS,
                             float *scores)
{
    size_t hs = (size_t)HS, keys = (size_t)n;
    float scale = 1.0f / sqrtf((float)HS), max = -INFINITY, total = 0;
    for (size_t j = 0; j < keys; j++) {
        vf dot = {0};
        FOR_VECTORS(c, m, hs)
        dot = fma_(load_up_to(q + c, m), load_up_to(k + j * stride + c, m), dot);
        scores[j] = sum_lanes(dot) * scale;
        max = scores[j] > max ? scores[j] : max;
    }
    for (size_t j = 0; j < keys; j++) {
        scores[j] = expf(scores[j] - max);
        total += scores[j];
    }
    memset(out, 0, hs * sizeof *out);
    for (size_t j = 0; j < keys; j++)
        FOR_VECTORS(c, m, hs)
    store_up_to(out + c, fma_(splat(scores[j] / total), load_up_to(v + j * stride + c, m), load_up_to(out + c, m)), m);
}
