#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/files.h"
#include "tests/unit/checkpoint_fixture.h"

static const char *const path = "set/manifest.json";

static struct sc_manifest_shard two_shards[2] = {
    {.file = "stage-0.safetensors", .bytes = 1234, .hash = "0123456789abcdef0123456789abcdef"},
    {.file = "stage-1.safetensors", .bytes = (uint64_t)1 << 40, .hash = "ffffffffffffffffffffffffffffffff"},
};

static sc_manifest full_manifest(void)
{
    sc_manifest m = checkpoint_manifest(100);
    m.save = 7;
    m.tokenizer_hash = 3;
    m.description_hash = UINT64_MAX;
    m.n_shards = 2;
    m.shards = two_shards;
    return m;
}

static void assert_refused(const char *text, sc_status expected, const char *piece)
{
    sc_manifest out;
    sc_status status = sc_manifest_parse(text, strlen(text), path, &out);
    if (status != expected)
        fail_msg("status %s for %s", sc_status_name(status), text);
    if (!strstr(sc_status_message(), piece) || !strstr(sc_status_message(), path))
        fail_msg("message \"%s\" lacks \"%s\" or the path", sc_status_message(), piece);
    assert_null(out.shards);
    assert_null(out.config);
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    sc_manifest m = full_manifest(), back;
    m.seed = (uint64_t)-5; /* a seed is signed in the config */
    m.model.dropout = 0.3f;
    m.model.attention_dropout = 0.3f; /* as dropout: not told */
    m.model.classifier_dropout = 0.45f;
    char *text, *again;
    assert_int_equal(sc_manifest_text(&m, &text), SC_OK);
    assert_non_null(strstr(text, "\"dropout\": 0.3,")); /* as a person wrote it, not as the float32 is */
    assert_null(strstr(text, "attention_dropout"));
    assert_non_null(strstr(text, "\"classifier_dropout\": 0.45,"));
    assert_int_equal(sc_manifest_parse(text, strlen(text), path, &back), SC_OK);
    assert_int_equal(back.save, 7);
    assert_int_equal(back.step, 100);
    assert_int_equal(back.rows, 800);
    assert_memory_equal(&back.model, &m.model, offsetof(sc_model, tied)); /* behind it is padding */
    assert_true(back.model.tied);
    assert_null(strstr(text, "task"));
    assert_true(back.seed == m.seed);
    assert_true(back.data_hash == m.data_hash && back.tokenizer_hash == 3 && back.description_hash == UINT64_MAX);
    assert_int_equal(back.batch_size, 8);
    assert_int_equal(back.sequence_length, 16);
    assert_int_equal(back.optimizer, SC_ADAMW);
    assert_string_equal(back.config, m.config);
    assert_string_equal(back.plan, m.plan);
    assert_int_equal(back.n_shards, 2);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(back.shards[i].file, two_shards[i].file);
        assert_string_equal(back.shards[i].hash, two_shards[i].hash);
        assert_true(back.shards[i].bytes == two_shards[i].bytes);
    }
    assert_int_equal(sc_manifest_text(&back, &again), SC_OK);
    assert_string_equal(text, again);
    free(text);
    free(again);
    sc_manifest_clear(&back);
    sc_manifest_clear(&back); /* twice is fine */
}

/* Manifests of before there was a choice do not say whether the head is tied: it was. */
static void a_model_without_a_word_on_its_head_is_tied(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n;
    assert_int_equal(sc_files_read(SC_SOURCE_DIR "/tests/fuzz/corpus/manifest/good.json", 1 << 20, &text, &n), SC_OK);
    assert_null(strstr(text, "tied"));
    sc_manifest out;
    assert_int_equal(sc_manifest_parse(text, n, path, &out), SC_OK);
    assert_true(out.model.tied);
    sc_manifest_clear(&out);
    free(text);
    sc_manifest m = full_manifest();
    m.model.tied = false;
    assert_int_equal(sc_manifest_text(&m, &text), SC_OK);
    assert_int_equal(sc_manifest_parse(text, strlen(text), path, &out), SC_OK);
    assert_false(out.model.tied);
    sc_manifest_clear(&out);
    free(text);
}

/* Each manifest differs from a good one in one thing: `change` sets that of the parsed JSON. */
static void assert_change_refused(const char *key, json_t *value, sc_status expected, const char *piece)
{
    sc_manifest m = full_manifest();
    char *text;
    assert_int_equal(sc_manifest_text(&m, &text), SC_OK);
    json_t *root = json_loads(text, 0, NULL);
    if (value)
        json_object_set_new(root, key, value);
    else
        json_object_del(root, key);
    char *changed = json_dumps(root, 0);
    assert_refused(changed, expected, piece);
    json_decref(root);
    free(changed);
    free(text);
}

static void what_is_best_reads_back_to_the_bit(void **state)
{
    (void)state;
    sc_manifest m = full_manifest(), out;
    m.best = (sc_best){.metric = SC_METRIC_ENTITY_F1, .evaluated = 90, .step = 60, .value = 1.0 / 3, .n_worse = 3};
    char *text;
    assert_int_equal(sc_manifest_text(&m, &text), SC_OK);
    assert_int_equal(sc_manifest_parse(text, strlen(text), path, &out), SC_OK);
    assert_true(out.best.metric == SC_METRIC_ENTITY_F1 && out.best.evaluated == 90 && out.best.step == 60 &&
                out.best.value == 1.0 / 3 && out.best.n_worse == 3);
    sc_manifest_clear(&out);
    free(text);
    static const char *const broken[] = {
        "{\"metric\":\"beauty\",\"evaluated\":2,\"step\":1,\"value\":\"1\",\"worse\":0}",
        "{\"metric\":\"loss\",\"evaluated\":1,\"step\":2,\"value\":\"1\",\"worse\":0}",
        "{\"metric\":\"loss\",\"evaluated\":2,\"step\":1,\"value\":\"\",\"worse\":0}",
        "{\"metric\":\"loss\",\"evaluated\":2,\"step\":1,\"value\":\"nan\",\"worse\":0}",
        "{\"metric\":\"loss\",\"evaluated\":2,\"step\":1,\"value\":\"1\"}",
        "7",
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        assert_change_refused("best", json_loads(broken[i], JSON_DECODE_ANY, NULL), SC_DATA_LOSS, "best");
}

static void each_value_is_checked(void **state)
{
    (void)state;
    static const char *const keys[] = {"save",           "step",       "rows",   "seed",           "model",
                                       "optimizer",      "batch_size", "config", "plan",           "data_hash",
                                       "tokenizer_hash", "shards",     "hash",   "sequence_length"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_change_refused(keys[i], NULL, SC_DATA_LOSS, keys[i]);
        assert_change_refused(keys[i], json_true(), SC_DATA_LOSS, keys[i]);
    }
    assert_change_refused("surplus", json_integer(1), SC_DATA_LOSS, "surplus");
    assert_change_refused("step", json_integer(-1), SC_DATA_LOSS, "step");
    assert_change_refused("step", json_real(100.0), SC_DATA_LOSS, "step");
    assert_change_refused("batch_size", json_integer(0), SC_DATA_LOSS, "batch_size");
    assert_change_refused("sequence_length", json_integer(17), SC_DATA_LOSS, "context is 16");
    assert_change_refused("optimizer", json_string("abacus"), SC_DATA_LOSS, "abacus");
    assert_change_refused("data_hash", json_string("12"), SC_DATA_LOSS, "data_hash");
    assert_change_refused("shards", json_array(), SC_DATA_LOSS, "shards");
    /* nothing wrong with the value itself */
    assert_change_refused("step", json_integer(101), SC_DATA_LOSS, "hash");
    assert_change_refused("config", json_string("run: {seed: 1338}\n"), SC_DATA_LOSS, "hash");
}

static void versions_are_told_apart(void **state)
{
    (void)state;
    assert_change_refused("version", json_integer(2), SC_FAILED_PRECONDITION, "version 2");
    assert_change_refused("version", json_integer(2), SC_FAILED_PRECONDITION, "version 1");
    assert_change_refused("version", json_integer(0), SC_DATA_LOSS, "version 0");
    assert_change_refused("version", NULL, SC_DATA_LOSS, "version");
    /* a newer version may look like anything */
    assert_refused("{\"version\": 9, \"pieces\": {}}", SC_FAILED_PRECONDITION, "version 9");
}

static void a_shard_is_a_file_in_the_set(void **state)
{
    (void)state;
    static const char *const names[] = {"../stage-0.safetensors", "/etc/passwd", "", ".", "..", ".hidden", "a\nb"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        json_t *shard = json_pack("{s:s, s:i, s:s}", "file", names[i], "bytes", 5, "hash", two_shards[0].hash);
        assert_change_refused("shards", json_pack("[o]", shard), SC_DATA_LOSS, "file in the set");
    }
    json_t *shard = json_pack("{s:s, s:i, s:s}", "file", "a", "bytes", -5, "hash", two_shards[0].hash);
    assert_change_refused("shards", json_pack("[o]", shard), SC_DATA_LOSS, "out of range");
    shard = json_pack("{s:s, s:i, s:s}", "file", "a", "bytes", 5, "hash", "0123456789ABCDEF0123456789ABCDEF");
    assert_change_refused("shards", json_pack("[o]", shard), SC_DATA_LOSS, "out of range");
    shard = json_pack("{s:s, s:i, s:s}", "file", "a", "bytes", 5, "hash", two_shards[0].hash);
    assert_change_refused("shards", json_pack("[O, o]", shard, shard), SC_DATA_LOSS, "twice");
}

static void a_cut_text_is_refused_at_every_length(void **state)
{
    (void)state;
    sc_manifest m = full_manifest(), out;
    char *text;
    assert_int_equal(sc_manifest_text(&m, &text), SC_OK);
    for (size_t n = 0; n < strlen(text); n++)
        assert_int_equal(sc_manifest_parse(text, n, path, &out), SC_DATA_LOSS);
    free(text);
    assert_refused("[]", SC_DATA_LOSS, "object");
    assert_refused("{\"version\": 1, \"version\": 1}", SC_DATA_LOSS, "duplicate");
}

static void every_flipped_byte_is_found(void **state)
{
    (void)state;
    sc_manifest m = full_manifest();
    char *text, *again;
    assert_int_equal(sc_manifest_text(&m, &text), SC_OK);
    size_t n = strlen(text);
    char *changed = strdup(text);
    for (size_t i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            sc_manifest out;
            changed[i] = (char)(text[i] ^ (1 << bit));
            sc_status status = sc_manifest_parse(changed, n, path, &out);
            if (status == SC_OK) { /* a blank for a blank: then nothing that it says has changed */
                assert_int_equal(sc_manifest_text(&out, &again), SC_OK);
                assert_string_equal(text, again);
                free(again);
                sc_manifest_clear(&out);
            }
            changed[i] = text[i];
        }
    free(changed);
    free(text);
}

static void what_could_not_be_read_is_not_written(void **state)
{
    (void)state;
    char *text;
    sc_manifest m = full_manifest();
    m.step = -1;
    assert_int_equal(sc_manifest_text(&m, &text), SC_INVALID);
    m = full_manifest();
    m.config = "\xFF";
    assert_int_equal(sc_manifest_text(&m, &text), SC_INVALID);
    m = full_manifest();
    m.n_shards = 0;
    assert_int_equal(sc_manifest_text(&m, &text), SC_INVALID);
    assert_null(text);
}

static void a_bert_reads_back(void **state)
{
    (void)state;
    sc_manifest m = full_manifest(), back;
    m.model = (sc_model){.family = SC_BERT,
                         .layers = 2,
                         .heads = 2,
                         .hidden = 16,
                         .context = 16,
                         .vocab = 9,
                         .norm_epsilon = 1e-12f,
                         .task = SC_TASK_CLASSIFICATION,
                         .intermediate = 24,
                         .token_types = 2,
                         .labels = 5,
                         .multi_label = true};
    char *text;
    assert_int_equal(sc_manifest_text(&m, &text), SC_OK);
    assert_non_null(strstr(text, "\"task\": \"classification\""));
    assert_int_equal(sc_manifest_parse(text, strlen(text), path, &back), SC_OK);
    assert_true(back.model.family == SC_BERT && back.model.task == SC_TASK_CLASSIFICATION &&
                back.model.intermediate == 24 && back.model.token_types == 2 && back.model.labels == 5 &&
                back.model.multi_label);
    sc_manifest_clear(&back);
    *strstr(text, "\"token_types\"") = ' '; /* no JSON any more */
    assert_int_equal(sc_manifest_parse(text, strlen(text), path, &back), SC_DATA_LOSS);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(a_bert_reads_back),
        cmocka_unit_test(a_model_without_a_word_on_its_head_is_tied),
        cmocka_unit_test(what_is_best_reads_back_to_the_bit),
        cmocka_unit_test(each_value_is_checked),
        cmocka_unit_test(versions_are_told_apart),
        cmocka_unit_test(a_shard_is_a_file_in_the_set),
        cmocka_unit_test(a_cut_text_is_refused_at_every_length),
        cmocka_unit_test(every_flipped_byte_is_found),
        cmocka_unit_test(what_could_not_be_read_is_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
