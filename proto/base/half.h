/* The two 16-bit float formats of weights' files, to and from float32.
 *
 *   float16   1 sign, 5 exponent, 10 mantissa bits; largest 65504, smallest normal 2^-14   (IEEE 754 binary16)
 *   bfloat16  1 sign, 8 exponent, 7 mantissa bits: the upper half of a float32
 *
 * To float32 every value is exact. From float32: round to nearest, ties to even, subnormals included; what lies beyond the
 * largest becomes infinite; a NaN stays one, quiet, with the upper bits of its payload. So there and back gives
 * the same bits. Pure; thread: any. */
#ifndef SC_HALF_H
#define SC_HALF_H

#include "proto/base/tensor.h"

#include <stdbool.h>

float sc_half_f16_to_f32(uint16_t half);
uint16_t sc_half_f16_from_f32(float value);
float sc_half_bf16_to_f32(uint16_t half);
uint16_t sc_half_bf16_from_f32(float value);

/* Whether the two calls below know the type: SC_F32, SC_F16, SC_BF16. */
bool sc_half_is_float(sc_dtype dtype);
/* n elements of `dtype` at `in` become float32. `in` need not be aligned. */
void sc_half_widen(sc_dtype dtype, const void *in, float *out, size_t n);
/* n float32 become elements of `dtype` at `out`, which need not be aligned. Returns how many finite values became
 * infinite. */
size_t sc_half_narrow(sc_dtype dtype, const float *in, void *out, size_t n);

#endif
