/* Classes and probabilities from logits: against values worked out by hand, at ties, and where logits are no numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "coordinator/report/decode.h"

/* a few roundings of double */
enum { DIGITS = 14 };
static void assert_near(double got, double wanted)
{
    assert_true(fabs(got - wanted) <= pow(10, -DIGITS));
}

static void test_class(void **state)
{
    (void)state;
    /* exp: 1, 2, 1 of 4 */
    const float logits[] = {0.0f, 0.69314718f, 0.0f};
    double p = 0;
    assert_int_equal(sc_decode_class(logits, 3, &p), 1);
    assert_true(fabs(p - 0.5) < 1e-8); /* log 2 in float */
    assert_int_equal(sc_decode_class(logits, 3, NULL), 1);
    assert_int_equal(sc_decode_class((const float[]){3, 5, 5}, 3, &p), 1); /* the first of equals */
    assert_int_equal(sc_decode_class((const float[]){7}, 1, &p), 0);
    assert_near(p, 1);
}

static void test_far_logits(void **state)
{
    (void)state;
    double out[3], p;
    assert_int_equal(sc_decode_class((const float[]){3e38f, -3e38f}, 2, &p), 0);
    assert_near(p, 1);
    assert_true(sc_decode_softmax((const float[]){-3e38f, -3e38f, -3e38f}, 3, out));
    for (int i = 0; i < 3; i++)
        assert_near(out[i], 1.0 / 3);
    out[0] = 42;
    assert_int_equal(sc_decode_class((const float[]){0, NAN}, 2, &p), SC_DECODE_NONE);
    assert_int_equal(sc_decode_class((const float[]){INFINITY, 0}, 2, &p), SC_DECODE_NONE);
    assert_false(sc_decode_softmax((const float[]){0, 1, -INFINITY}, 3, out));
    assert_true(out[0] == 42);
}

static void test_softmax_is_the_class(void **state)
{
    (void)state;
    const float logits[] = {-1.5f, 0.25f, 2.0f, 1.9f};
    double out[4], p, sum = 0;
    assert_true(sc_decode_softmax(logits, 4, out));
    assert_int_equal(sc_decode_class(logits, 4, &p), 2);
    assert_near(out[2], p);
    for (int i = 0; i < 4; i++)
        sum += out[i];
    assert_near(sum, 1);
    assert_near(out[3] / out[0], exp((double)1.9f + 1.5));
}

static void test_loss(void **state)
{
    (void)state;
    const float logits[] = {-1.5f, 0.25f, 2.0f, 1.9f};
    double out[4];
    assert_true(sc_decode_softmax(logits, 4, out));
    for (int i = 0; i < 4; i++)
        assert_near(sc_decode_loss(logits, 4, i), -log(out[i]));
    assert_near(sc_decode_loss((const float[]){3e38f, 0}, 2, 0), 0);
    assert_true(isnan(sc_decode_loss((const float[]){NAN, 0}, 2, 1)));
}

static void test_multi_label(void **state)
{
    (void)state;
    assert_near(sc_decode_sigmoid(0), 0.5);
    assert_near(sc_decode_sigmoid(-800), 0);
    assert_near(sc_decode_sigmoid(800), 1);
    assert_near(sc_decode_sigmoid(1.25f) + sc_decode_sigmoid(-1.25f), 1);
    for (float logit = -3; logit <= 3; logit += 1.5f) {
        assert_near(sc_decode_sigmoid_loss(logit, true), -log(sc_decode_sigmoid(logit)));
        assert_near(sc_decode_sigmoid_loss(logit, false), -log(1 - sc_decode_sigmoid(logit)));
    }
    assert_near(sc_decode_sigmoid_loss(-800, true), 800);
    assert_false(sc_decode_is_on(0)); /* one half is not above it */
    assert_true(sc_decode_is_on(1e-30f));
    assert_false(sc_decode_is_on(NAN));
}

static void test_top(void **state)
{
    (void)state;
    const double p[] = {0.1, 0.3, 0.2, 0.3, 0.1};
    int32_t top[8];
    assert_int_equal(sc_decode_top(p, 5, 3, top), 3);
    assert_memory_equal(top, ((int32_t[]){1, 3, 2}), 3 * sizeof *top);
    assert_int_equal(sc_decode_top(p, 5, 8, top), 5);
    assert_memory_equal(top, ((int32_t[]){1, 3, 2, 0, 4}), 5 * sizeof *top);
    assert_int_equal(sc_decode_top(p, 5, 0, top), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_class), cmocka_unit_test(test_far_logits),  cmocka_unit_test(test_softmax_is_the_class),
        cmocka_unit_test(test_loss),  cmocka_unit_test(test_multi_label), cmocka_unit_test(test_top),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
