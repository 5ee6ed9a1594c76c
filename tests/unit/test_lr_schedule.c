#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "coordinator/run/lr_schedule.h"

static sc_config config_of(sc_lr_kind kind)
{
    sc_config config = {0};
    config.train.warmup_steps = 20;
    config.train.decay_steps = 10;
    config.train.learning_rate = 1e-3;
    config.train.min_learning_rate = 1e-4;
    config.train.lr_schedule = (int)kind;
    return config;
}

/* A few roundings of a double: 1e-15 of the peak is ten times that. */
#define assert_rate(config, step, expected) assert_true(fabs(sc_lr_at(&(config), 100, (step)) - (expected)) <= 1e-18)

static void all_schedules_warm_up(void **state)
{
    (void)state;
    for (sc_lr_kind kind = SC_LR_CONSTANT; kind <= SC_LR_WSD; kind++) {
        sc_config config = config_of(kind);
        assert_rate(config, 1, 5e-5);
        assert_rate(config, 10, 5e-4);
        assert_rate(config, 20, 1e-3);
    }
}

static void golden_values(void **state)
{
    (void)state;
    sc_config constant = config_of(SC_LR_CONSTANT);
    assert_rate(constant, 21, 1e-3);
    assert_rate(constant, 100, 1e-3);
    sc_config linear = config_of(SC_LR_LINEAR);
    assert_rate(linear, 40, 7.75e-4); /* a quarter of the way from 1e-3 to 1e-4 */
    assert_rate(linear, 60, 5.5e-4);
    assert_rate(linear, 100, 1e-4);
    sc_config cosine = config_of(SC_LR_COSINE);
    assert_rate(cosine, 40, 1e-4 + 9e-4 * (2 + sqrt(2)) / 4); /* cos (pi / 4) */
    assert_rate(cosine, 60, 5.5e-4);
    assert_rate(cosine, 80, 1e-4 + 9e-4 * (2 - sqrt(2)) / 4);
    assert_rate(cosine, 100, 1e-4);
    sc_config wsd = config_of(SC_LR_WSD);
    assert_rate(wsd, 21, 1e-3);
    assert_rate(wsd, 90, 1e-3);
    assert_rate(wsd, 91, 9.1e-4);
    assert_rate(wsd, 95, 5.5e-4);
    assert_rate(wsd, 100, 1e-4);
}

static void edges(void **state)
{
    (void)state;
    for (sc_lr_kind kind = SC_LR_CONSTANT; kind <= SC_LR_WSD; kind++) {
        sc_config config = config_of(kind);
        assert_rate(config, 1000, kind == SC_LR_CONSTANT ? 1e-3 : 1e-4); /* beyond the end it stays */
        config.train.warmup_steps = 100;                                 /* nothing but warm-up */
        config.train.decay_steps = 0;
        assert_rate(config, 100, 1e-3);
        config.train.warmup_steps = 0;
        assert_true(sc_lr_at(&config, 100, 1) > 9.9e-4); /* no warm-up: the first step is next to the peak */
    }
    sc_config wsd = config_of(SC_LR_WSD);
    wsd.train.decay_steps = 0;
    assert_rate(wsd, 100, 1e-3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_schedules_warm_up),
        cmocka_unit_test(golden_values),
        cmocka_unit_test(edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
