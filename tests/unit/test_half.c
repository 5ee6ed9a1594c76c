/* float16 and bfloat16: every half there and back, and rounding where it is decided. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "proto/base/half.h"

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void every_half_survives(void **state)
{
    (void)state;
    for (uint32_t half = 0; half <= UINT16_MAX; half++) {
        float f16 = sc_half_f16_to_f32((uint16_t)half), bf16 = sc_half_bf16_to_f32((uint16_t)half);
        uint32_t f16_back = sc_half_f16_from_f32(f16), bf16_back = sc_half_bf16_from_f32(bf16);
        if (isnan(f16)) /* a signalling NaN becomes quiet */
            assert_int_equal(f16_back, half | 0x200);
        else
            assert_int_equal(f16_back, half);
        if (isnan(bf16))
            assert_int_equal(bf16_back, half | 0x40);
        else
            assert_int_equal(bf16_back, half);
    }
}

/* The definition of float16, in plain arithmetic. */
static void float16_is_what_ieee_says(void **state)
{
    (void)state;
    for (int half = 0; half < 0x7C00; half++) {
        int exponent = half >> 10, mantissa = half & 0x3FF;
        double wanted = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
        assert_true((double)sc_half_f16_to_f32((uint16_t)half) == wanted);
        assert_true((double)sc_half_f16_to_f32((uint16_t)(half | 0x8000)) == -wanted);
        assert_int_equal(signbit(sc_half_f16_to_f32((uint16_t)(half | 0x8000))) != 0, 1);
    }
    assert_true(isinf(sc_half_f16_to_f32(0x7C00)));
    assert_true(isinf(sc_half_bf16_to_f32(0xFF80)));
    assert_true(isnan(sc_half_f16_to_f32(0x7E00)));
}

/* Between each two neighbours: halfway goes to the even one, a float32 beside it to the nearer. */
static void check_midpoints(int largest, float (*widen)(uint16_t), uint16_t (*narrow)(float))
{
    for (int half = 0; half < largest; half++) {
        float low = widen((uint16_t)half), high = widen((uint16_t)(half + 1));
        double middle = ((double)low + (double)high) / 2;
        float at = (float)middle; /* exact: a half has bits to spare in a float32 */
        assert_true((double)at == middle);
        int even = half % 2 ? half + 1 : half;
        assert_int_equal(narrow(at), even);
        assert_int_equal(narrow(nextafterf(at, 0)), half);
        assert_int_equal(narrow(nextafterf(at, INFINITY)), half + 1);
        assert_int_equal(narrow(-at), even | 0x8000);
    }
}

static void rounding_is_to_nearest_even(void **state)
{
    (void)state;
    check_midpoints(0x7BFF, sc_half_f16_to_f32, sc_half_f16_from_f32);
    check_midpoints(0x7F7F, sc_half_bf16_to_f32, sc_half_bf16_from_f32);
}

static void the_ends_are_right(void **state)
{
    (void)state;
    assert_int_equal(sc_half_f16_from_f32(65504.0f), 0x7BFF);
    assert_int_equal(sc_half_f16_from_f32(nextafterf(65520.0f, 0)), 0x7BFF);
    assert_int_equal(sc_half_f16_from_f32(65520.0f), 0x7C00);
    assert_int_equal(sc_half_f16_from_f32(-1e30f), 0xFC00);
    assert_int_equal(sc_half_f16_from_f32(0x1p-25f), 0); /* half of the smallest, to even */
    assert_int_equal(sc_half_f16_from_f32(nextafterf(0x1p-25f, 1)), 1);
    assert_int_equal(sc_half_f16_from_f32(-0.0f), 0x8000);
    assert_int_equal(sc_half_f16_from_f32(0x1p-149f), 0);
    assert_int_equal(sc_half_bf16_from_f32(3.4028235e38f), 0x7F80);
    assert_int_equal(sc_half_bf16_from_f32(-INFINITY), 0xFF80);
    assert_int_equal(sc_half_bf16_from_f32(0x1p-149f), 0);
    float nan;
    memcpy(&nan, &(uint32_t){0x7F800001}, sizeof nan); /* its payload lies in the bits that go */
    assert_true(isnan(sc_half_bf16_to_f32(sc_half_bf16_from_f32(nan))));
    assert_true(isnan(sc_half_f16_to_f32(sc_half_f16_from_f32(nan))));
}

static void arrays_are_converted(void **state)
{
    (void)state;
    const float values[] = {1, -2.5f, 65536, INFINITY, 3.4028235e38f};
    unsigned char bytes[sizeof values + 1];
    float back[5];
    assert_int_equal(sc_half_narrow(SC_F16, values, bytes + 1, 5), 2); /* infinity was infinite before */
    sc_half_widen(SC_F16, bytes + 1, back, 5);
    assert_true(back[1] == -2.5f && isinf(back[2]) && isinf(back[3]));
    assert_int_equal(sc_half_narrow(SC_BF16, values, bytes + 1, 5), 1);
    sc_half_widen(SC_BF16, bytes + 1, back, 5);
    assert_true(back[0] == 1 && back[2] == 65536 && isinf(back[4]));
    assert_int_equal(sc_half_narrow(SC_F32, values, bytes + 1, 5), 0);
    sc_half_widen(SC_F32, bytes + 1, back, 5);
    assert_memory_equal(back, values, sizeof values);
    assert_int_equal(bits_of(back[4]), 0x7F7FFFFF);
    assert_true(sc_half_is_float(SC_BF16));
    assert_false(sc_half_is_float(SC_I32));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_survives),         cmocka_unit_test(float16_is_what_ieee_says),
        cmocka_unit_test(rounding_is_to_nearest_even), cmocka_unit_test(the_ends_are_right),
        cmocka_unit_test(arrays_are_converted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
