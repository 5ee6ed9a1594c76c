#include "proto/base/half.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* bits / 2^shift, rounded to nearest, ties to even; 0 < shift < 32, and no carry leaves the 32 bits. */
static uint32_t round_shift(uint32_t bits, unsigned shift)
{
    uint32_t below_half = (1u << (shift - 1)) - 1, odd = bits >> shift & 1;
    return (bits + below_half + odd) >> shift;
}

float sc_half_bf16_to_f32(uint16_t half)
{
    return float_of((uint32_t)half << 16);
}

uint16_t sc_half_bf16_from_f32(float value)
{
    uint32_t bits = bits_of(value);
    if (isnan(value))
        return (uint16_t)(bits >> 16 | 0x40); /* rounding could make it infinite */
    return (uint16_t)round_shift(bits, 16); /* a carry into the exponent is right: the next power of two, or infinity */
}

enum {
    F16_INFINITY = 0x7C00,
    F16_QUIET = 0x200,
    F16_BIAS_BITS = (127 - 15) << 23,      /* the two formats' exponents, as a float32 has them */
    F16_SMALLEST_NORMAL = (127 - 14) << 23 /* 2^-14 as a float32 */
};

float sc_half_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 0x1F, mantissa = half & 0x3FF;
    if (exponent == 0) /* zero or subnormal: mantissa x 2^-24, exact in float32 */
        return float_of(sign | bits_of((float)mantissa * 0x1p-24f));
    if (exponent == 0x1F)
        return float_of(sign | 0x7F800000 | mantissa << 13);
    return float_of(sign | ((exponent << 23 | mantissa << 13) + F16_BIAS_BITS));
}

uint16_t sc_half_f16_from_f32(float value)
{
    uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (isnan(value))
        return (uint16_t)(sign | F16_INFINITY | F16_QUIET | (magnitude >> 13 & 0x3FF));
    if (magnitude >= F16_SMALLEST_NORMAL) {
        if (magnitude >= bits_of(65520.0f)) /* halfway from the largest to the next, which would be even */
            return (uint16_t)(sign | F16_INFINITY);
        return (uint16_t)(sign | round_shift(magnitude - F16_BIAS_BITS, 13));
    }
    uint32_t exponent = magnitude >> 23;
    if (exponent < 127 - 25) /* below half of the smallest subnormal, 2^-24 */
        return (uint16_t)sign;
    /* In units of 2^-24: the mantissa with its hidden bit counts 2^(exponent - 150). */
    return (uint16_t)(sign | round_shift((magnitude & 0x7FFFFF) | 0x800000, 126 - exponent));
}

bool sc_half_is_float(sc_dtype dtype)
{
    return dtype == SC_F32 || dtype == SC_F16 || dtype == SC_BF16;
}

void sc_half_widen(sc_dtype dtype, const void *in, float *out, size_t n)
{
    assert(sc_half_is_float(dtype));
    if (dtype == SC_F32) {
        memcpy(out, in, n * sizeof *out);
        return;
    }
    const char *from = in;
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, from + i * sizeof half, sizeof half);
        out[i] = dtype == SC_F16 ? sc_half_f16_to_f32(half) : sc_half_bf16_to_f32(half);
    }
}

size_t sc_half_narrow(sc_dtype dtype, const float *in, void *out, size_t n)
{
    assert(sc_half_is_float(dtype));
    if (dtype == SC_F32) {
        memcpy(out, in, n * sizeof *in);
        return 0;
    }
    size_t overflowed = 0;
    char *to = out;
    for (size_t i = 0; i < n; i++) {
        uint16_t half = dtype == SC_F16 ? sc_half_f16_from_f32(in[i]) : sc_half_bf16_from_f32(in[i]);
        uint16_t infinity = dtype == SC_F16 ? F16_INFINITY : 0x7F80;
        overflowed += (half & 0x7FFF) == infinity && isfinite(in[i]);
        memcpy(to + i * sizeof half, &half, sizeof half);
    }
    return overflowed;
}
