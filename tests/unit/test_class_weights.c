/* Class weights: by name, and balanced as scikit-learn's compute_class_weight. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/class_weights.h"

#include <stdlib.h>
#include <string.h>

static sc_labels labels;

static int set_up(void **state)
{
    (void)state;
    static const char *const names[] = {"negative", "neutral", "a=b"};
    int32_t id;
    for (int i = 0; i < 3; i++)
        if (sc_labels_add(&labels, names[i], strlen(names[i]), &id) != SC_OK)
            return -1;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sc_labels_clear(&labels);
    return 0;
}

static void named_labels_have_their_weights(void **state)
{
    (void)state;
    char *texts[] = {"neutral=0.5", "a=b=2.5"};
    const uint64_t counts[3] = {1, 0, 9};
    float *weights;
    assert_int_equal(sc_class_weights_new(texts, 2, &labels, counts, &weights), SC_OK);
    assert_true(weights[0] == 1 && weights[1] == 0.5f && weights[2] == 2.5f);
    free(weights);
}

/* compute_class_weight ("balanced", classes=[0, 1, 2], y=[0] * 50 + [1] * 30 + [2] * 20) is 100 / (3 * 50), and so on. */
static void balanced_is_as_scikit_learn_has_it(void **state)
{
    (void)state;
    char *texts[] = {"balanced"};
    const uint64_t counts[3] = {50, 30, 20}, none[3] = {50, 0, 20};
    float *weights;
    assert_int_equal(sc_class_weights_new(texts, 1, &labels, counts, &weights), SC_OK);
    assert_true(weights[0] == 0.6666666666666666f && weights[1] == 1.1111111111111112f &&
                weights[2] == 1.6666666666666667f);
    free(weights);
    assert_int_equal(sc_class_weights_new(texts, 1, &labels, none, &weights), SC_INVALID);
    assert_non_null(strstr(sc_status_message(), "neutral"));
    assert_null(weights);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"neutral", "not understood"},     {"neutral=", "not understood"},        {"neutral=0", "not understood"},
        {"neutral=-1", "not understood"},  {"neutral=nan", "not understood"},     {"neutral=1x", "not understood"},
        {"neutral=1e7", "not understood"}, {"positive=2", "no label 'positive'"}, {"neutral=1e-60", "too small"},
    };
    const uint64_t counts[3] = {1, 1, 1};
    float *weights;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = strdup(cases[i][0]);
        assert_int_equal(sc_class_weights_new(&text, 1, &labels, counts, &weights), SC_INVALID);
        if (!strstr(sc_status_message(), cases[i][1]))
            fail_msg("'%s' does not say '%s'", sc_status_message(), cases[i][1]);
        free(text);
    }
    char *twice[] = {"neutral=1", "neutral=2"}, *mixed[] = {"balanced", "neutral=2"};
    assert_int_equal(sc_class_weights_new(twice, 2, &labels, counts, &weights), SC_INVALID);
    assert_int_equal(sc_class_weights_new(mixed, 2, &labels, counts, &weights), SC_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(named_labels_have_their_weights),
        cmocka_unit_test(balanced_is_as_scikit_learn_has_it),
        cmocka_unit_test(mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
