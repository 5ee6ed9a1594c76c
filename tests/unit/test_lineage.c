#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/run/lineage.h"
#include "tests/unit/scratch.h"

#include <stdio.h>
#include <string.h>

static uint64_t load(uint64_t fingerprint)
{
    uint64_t lineage = 0;
    assert_int_equal(sc_lineage_load(scratch_file("lineage"), fingerprint, &lineage), SC_OK);
    assert_int_not_equal(lineage, 0);
    return lineage;
}

static void it_stays_while_the_fingerprint_does(void **state)
{
    (void)state;
    remove(scratch_file("lineage"));
    uint64_t first = load(7);
    assert_true(load(7) == first);
    uint64_t second = load(8);
    assert_true(second != first);
    assert_true(load(8) == second);
    assert_true(load(7) != first); /* back to the old settings is another history still */
    remove(scratch_file("lineage"));
}

static void a_damaged_file_is_no_lineage(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "12", "zz yy", "0000000000000000 0000000000000007\n", "\xFF\xFE 7"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        FILE *file = fopen(scratch_file("lineage"), "w");
        assert_non_null(file);
        fputs(texts[i], file);
        assert_int_equal(fclose(file), 0);
        uint64_t lineage = load(7);
        assert_true(load(7) == lineage);
    }
    remove(scratch_file("lineage"));
}

static uint64_t fingerprint(const char *set, uint64_t data_hash)
{
    static const char text[] = "{data: {train: [x]}}";
    sc_config *config;
    assert_int_equal(sc_config_parse(text, strlen(text), "x", &set, set ? 1 : 0, &config), SC_OK);
    sc_run_identity identity = {.seed = (uint64_t)config->run.seed, .data_hash = data_hash, .config = config};
    assert_int_equal(sc_config_model(config, 65, 0, &identity.model), SC_OK);
    uint64_t value = sc_lineage_fingerprint(&identity);
    sc_config_destroy(&config);
    return value;
}

static void what_decides_the_bits_decides_the_fingerprint(void **state)
{
    (void)state;
    static const char *const matter[] = {
        "run.seed=1",
        "model.layers=5",
        "model.dropout=0.1",
        "model.tied=false",
        "train.batch_size=64",
        "train.micro_batch_size=2",
        "train.sequence_length=8",
        "train.optimizer=sgd",
        "train.learning_rate=1",
        "train.lr_schedule=linear",
        "train.steps=501",
        "train.warmup_steps=3",
        "train.beta1=0.8",
        "train.beta2=0.8",
        "train.epsilon=1e-7",
        "train.weight_decay=0",
        "train.clip_norm=0",
        "model.norm_epsilon=1e-6",
    };
    static const char *const do_not[] = {"pipeline.workers=3", "pipeline.schedule=gpipe", "train.eval_every=3",
                                         "checkpoint.every=1", "recovery.peer_every=1",   "wire.lease_ms=500"};
    uint64_t plain = fingerprint(NULL, 5);
    assert_true(fingerprint(NULL, 6) != plain);
    for (size_t i = 0; i < sizeof matter / sizeof matter[0]; i++)
        if (fingerprint(matter[i], 5) == plain)
            fail_msg("%s does not change it", matter[i]);
    for (size_t i = 0; i < sizeof do_not / sizeof do_not[0]; i++)
        if (fingerprint(do_not[i], 5) != plain)
            fail_msg("%s changes it", do_not[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_stays_while_the_fingerprint_does),
        cmocka_unit_test(a_damaged_file_is_no_lineage),
        cmocka_unit_test(what_decides_the_bits_decides_the_fingerprint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
