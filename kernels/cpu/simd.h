/* Vectors of float32, as wide as the instruction set that the including file is compiled for.
 *
 * GCC's vector extension gives the operators; the few things that it has no operator for are here. A fused multiply-add
 * happens only where the source says fma (where the instruction set has none, it is a product and a sum). */
#ifndef SC_SIMD_H
#define SC_SIMD_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
enum { W = 16 }; /* floats in a vector */
#define BYTES          64
#define ISA(op)        _mm512_##op
#define MUL_EVEN(a, b) ((vl)_mm512_mul_epu32((__m512i)(a), (__m512i)(b)))
#define REGISTER       __m512
#elif defined(__AVX2__)
enum { W = 8 };
#define BYTES          32
#define ISA(op)        _mm256_##op
#define MUL_EVEN(a, b) ((vl)_mm256_mul_epu32((__m256i)(a), (__m256i)(b)))
#define REGISTER       __m256
#else
enum { W = 4 };
#define BYTES          16
#define ISA(op)        _mm_##op
#define MUL_EVEN(a, b) ((vl)_mm_mul_epu32((__m128i)(a), (__m128i)(b)))
#define REGISTER       __m128
#endif

typedef float vf __attribute__((vector_size(BYTES)));
typedef int32_t vi __attribute__((vector_size(BYTES)));
typedef uint32_t vu __attribute__((vector_size(BYTES)));
typedef uint64_t vl __attribute__((vector_size(BYTES)));  /* W / 2 lanes */
typedef double vd __attribute__((vector_size(BYTES)));    /* W / 2 lanes */
typedef float vh __attribute__((vector_size(BYTES / 2))); /* W / 2 lanes */

#define INLINE static inline __attribute__((always_inline))

INLINE vf load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

/* The first n < W lanes; the others are 0, and are not read or written. */
INLINE vf load_part(const float *p, size_t n)
{
    float lanes[W] = {0};
    memcpy(lanes, p, n * sizeof *p);
    return load(lanes);
}

INLINE void store_part(float *p, vf v, size_t n)
{
    float lanes[W];
    store(lanes, v);
    memcpy(p, lanes, n * sizeof *p);
}

INLINE vf splat(float x)
{
    return x - (vf){0};
}

INLINE vf fma_(vf a, vf b, vf c)
{
#if defined(__FMA__) || defined(__AVX512F__)
    return (vf)ISA(fmadd_ps)((REGISTER)a, (REGISTER)b, (REGISTER)c);
#else
    return a * b + c;
#endif
}

INLINE vf max_(vf a, vf b)
{
    return (vf)ISA(max_ps)((REGISTER)a, (REGISTER)b);
}

INLINE vf min_(vf a, vf b)
{
    return (vf)ISA(min_ps)((REGISTER)a, (REGISTER)b);
}

INLINE vf sqrt_(vf a)
{
    return (vf)ISA(sqrt_ps)((REGISTER)a);
}

/* mask ? a : b; lanes of a mask are 0 or -1. */
INLINE vf select_(vi mask, vf a, vf b)
{
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
}

INLINE vi lane_numbers(void)
{
    vi v;
    for (int i = 0; i < W; i++)
        v[i] = i;
    return v;
}

/* Pairwise: lane i with lane i + W / 2, and so on. */
INLINE float sum_lanes(vf v)
{
    float lanes[W];
    store(lanes, v);
    for (int half = W / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}

INLINE float max_lanes(vf v)
{
    float lanes[W];
    store(lanes, v);
    for (int half = W / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
    return lanes[0];
}

INLINE double sum_double_lanes(vd v)
{
    double sum = 0;
    for (int i = 0; i < W / 2; i++)
        sum += v[i];
    return sum;
}

INLINE vd low_double(vf v)
{
    vh half;
    memcpy(&half, &v, sizeof half);
    return __builtin_convertvector(half, vd);
}

INLINE vd high_double(vf v)
{
    vh half;
    memcpy(&half, (const char *)&v + sizeof half, sizeof half);
    return __builtin_convertvector(half, vd);
}

/* e^x to 1 ulp (1.3 without fma) for x in [-87.3, 88.3]; above, as at 88.3; below, and for -inf, 0.
 * x = n ln 2 + r with |r| <= ln 2 / 2, e^r by its Taylor series to r^7 (remainder 5e-9), 2^n into the exponent. */
INLINE vf exp_(vf x)
{
    const vf low = splat(-87.3f), rounder = splat(0x1.8p23f); /* adding it leaves the nearest integer in the low bits */
    vi keep = ~(x < low);
    x = max_(low, min_(splat(88.3f), x)); /* in this order a NaN passes through */
    vf t = fma_(x, splat(1.44269504f), rounder);
    vf n = t - rounder;
    vf r = fma_(n, splat(-0x1.62e4p-1f), x); /* ln 2 in two parts; the first has 15 bits, so n times it is exact */
    r = fma_(n, splat(-0x1.7f7d1cp-20f), r);
    vf p = splat(1.0f / 5040);
    p = fma_(p, r, splat(1.0f / 720));
    p = fma_(p, r, splat(1.0f / 120));
    p = fma_(p, r, splat(1.0f / 24));
    p = fma_(p, r, splat(1.0f / 6));
    p = fma_(p, r, splat(0.5f));
    p = fma_(p, r, splat(1.0f));
    p = fma_(p, r, splat(1.0f));
    vf power = (vf)(((vi)t << 23) + (vi)splat(1.0f));
    return (vf)((vi)(p * power) & keep);
}

#endif
