/* The weights of a directory: names with and without prefix, float types, several files, and what is wrong with them; and
 * that an export of them is read again as it was. The model is small: one layer of four channels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/stat.h>

#include "coordinator/run/exporter.h"
#include "coordinator/run/hf_names.h"
#include "coordinator/run/hf_weights.h"
#include "proto/base/half.h"
#include "proto/base/log.h"
#include "proto/base/safetensors_set.h"
#include "tests/unit/scratch.h"

static const sc_model model = {.family = SC_GPT2,
                               .layers = 1,
                               .heads = 2,
                               .hidden = 4,
                               .context = 3,
                               .vocab = 5,
                               .norm_epsilon = 1e-5f,
                               .tied = true};
enum { MOST = 64 };

/* Values that every type has: small multiples of 1/8. */
static float value_of(int ordinal, uint64_t i)
{
    return (float)(((uint64_t)ordinal * 31 + i * 7) % 61) / 8 - 3;
}

static uint64_t elements_of(const sc_shape *shape)
{
    uint64_t n;
    assert_int_equal(sc_shape_elements(shape, &n), SC_OK);
    assert_true(n <= MOST);
    return n;
}

/* How a test's files differ from plain ones. */
typedef struct variant {
    sc_dtype dtype;
    bool bare;           /* names without prefix */
    const char *without; /* part of the name of tensors to leave out */
    const char *wrong;   /* part of the name of tensors with another shape */
    bool head, other_head, masks, both_names, unknown;
} variant;

static bool names(const char *part, const char *name)
{
    return part && strstr(name, part);
}

static void add_extra(sc_safetensors_writer *out, const variant *v)
{
    if (v->head)
        assert_int_equal(sc_safetensors_writer_add(out, "lm_head.weight", v->dtype, &SC_SHAPE(5, 4)), SC_OK);
    if (v->masks)
        assert_int_equal(sc_safetensors_writer_add(out, "h.0.attn.bias", SC_U8, &SC_SHAPE(1, 1, 1, 2)), SC_OK);
    if (v->unknown)
        assert_int_equal(sc_safetensors_writer_add(out, "score.weight", SC_U8, &SC_SHAPE(0)), SC_OK);
    if (v->both_names)
        assert_int_equal(sc_safetensors_writer_add(out, "wte.weight", v->dtype, &SC_SHAPE(5, 4)), SC_OK);
}

static void write_values(sc_safetensors_writer *out, const char *name, const variant *v, int ordinal, uint64_t n,
                         float added)
{
    float values[MOST], raw[MOST];
    for (uint64_t i = 0; i < n; i++)
        values[i] = value_of(ordinal, i) + added;
    assert_int_equal(sc_half_narrow(v->dtype, values, raw, n), 0);
    assert_int_equal(sc_safetensors_writer_write(out, name, 0, raw, n * sc_dtype_bytes(v->dtype)), SC_OK);
}

/* Writes the parameters first, first + 1, ... below `end` to a file. */
static void write_file(const char *file, const variant *v, int first, int end)
{
    sc_safetensors_writer *out;
    assert_int_equal(sc_safetensors_writer_new(scratch_file(file), &out), SC_OK);
    for (int pass = 0; pass < 2; pass++) {
        for (int ordinal = first; ordinal < end; ordinal++) {
            sc_param param = sc_model_param(&model, ordinal);
            const char *name = v->bare ? sc_hf_names_bare(param.name) : param.name;
            if (names(v->without, name))
                continue;
            if (names(v->wrong, name))
                param.shape.dims[0]++;
            if (pass == 0)
                assert_int_equal(sc_safetensors_writer_add(out, name, v->dtype, &param.shape), SC_OK);
            else
                write_values(out, name, v, ordinal, elements_of(&param.shape), 0);
        }
        if (pass == 0)
            add_extra(out, v);
    }
    if (v->head)
        write_values(out, "lm_head.weight", v, 0, 20, v->other_head ? 1 : 0);
    if (v->masks)
        assert_int_equal(sc_safetensors_writer_write(out, "h.0.attn.bias", 0, "\1\1", 2), SC_OK);
    if (v->both_names)
        write_values(out, "wte.weight", v, 0, 20, 0);
    assert_int_equal(sc_safetensors_writer_commit(out), SC_OK);
    sc_safetensors_writer_destroy(&out);
}

static void assert_weights(const char *dir, sc_dtype dtype)
{
    sc_hf_weights *weights;
    if (sc_hf_weights_open(dir, &model, &weights) != SC_OK)
        fail_msg("refused: %s", sc_status_message());
    for (int ordinal = 0; ordinal < sc_model_n_params(&model); ordinal++) {
        sc_param param = sc_model_param(&model, ordinal);
        uint64_t n = elements_of(&param.shape);
        float values[MOST];
        assert_int_equal(sc_hf_weights_dtype(weights, ordinal), dtype);
        assert_int_equal(sc_hf_weights_read(weights, ordinal, 0, values, n), SC_OK);
        for (uint64_t i = 0; i < n; i++)
            assert_true(values[i] == value_of(ordinal, i));
        assert_int_equal(sc_hf_weights_read(weights, ordinal, 1, values, n - 1), SC_OK);
        assert_true(values[0] == value_of(ordinal, 1));
        assert_int_equal(sc_hf_weights_read(weights, ordinal, 1, values, n), SC_OUT_OF_RANGE);
    }
    sc_hf_weights_close(&weights);
    sc_hf_weights_close(&weights);
}

static void every_form_is_read(void **state)
{
    (void)state;
    const variant forms[] = {
        {.dtype = SC_F32},
        {.dtype = SC_F16, .bare = true},
        {.dtype = SC_BF16, .head = true, .masks = true},
        {.dtype = SC_F32, .bare = true, .head = true},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        write_file("model.safetensors", &forms[i], 0, sc_model_n_params(&model));
        assert_weights(scratch_path, forms[i].dtype);
    }
}

/* What is passed over is told: masks for those who ask, what nobody knows as a warning. */
static void surplus_tensors_are_listed(void **state)
{
    (void)state;
    const variant v = {.dtype = SC_F32, .masks = true, .unknown = true};
    write_file("model.safetensors", &v, 0, sc_model_n_params(&model));
    sc_hf_weights *weights;
    FILE *log = fopen(scratch_file("log"), "wb");
    assert_non_null(log);
    sc_log_init("info", false, fileno(log));
    assert_int_equal(sc_hf_weights_open(scratch_path, &model, &weights), SC_OK);
    sc_hf_weights_close(&weights);
    sc_log_init("warn", false, STDERR_FILENO);
    fclose(log);
    char *text = scratch_read("log");
    assert_non_null(strstr(text, "1 tensor passed over, which the model makes itself: h.0.attn.bias"));
    assert_non_null(strstr(text, "1 tensor passed over, which the model does not have: score.weight"));
    free(text);
}

static void several_files_are_one_model(void **state)
{
    (void)state;
    int n = sc_model_n_params(&model);
    const variant plain = {.dtype = SC_F32, .bare = true};
    write_file("model-00001-of-00002.safetensors", &plain, 0, 5);
    write_file("model-00002-of-00002.safetensors", &plain, 5, n);
    char text[4096] = "{\"weight_map\": {";
    for (int i = 0; i < n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s\"%s\": \"model-0000%d-of-00002.safetensors\"",
                 i ? ", " : "", sc_hf_names_bare(sc_model_param(&model, i).name), i < 5 ? 1 : 2);
    strcat(text, "}}");
    scratch_write("model.safetensors.index.json", text, strlen(text));
    assert_weights(scratch_path, SC_F32);
}

static void wrong_weights_are_refused(void **state)
{
    (void)state;
    static const struct {
        variant v;
        sc_status status;
        const char *message;
    } cases[] = {
        {{.dtype = SC_F32, .without = "mlp.c_fc.bias"},
         SC_DATA_LOSS,
         "no tensor transformer.h.0.mlp.c_fc.bias (nor h.0"},
        {{.dtype = SC_F32, .wrong = "wpe"}, SC_DATA_LOSS, "wpe.weight has shape (4,4), and by config.json it is (3,4)"},
        {{.dtype = SC_F32, .both_names = true}, SC_DATA_LOSS, "both transformer.wte.weight and wte.weight"},
        {{.dtype = SC_F32, .head = true, .other_head = true},
         SC_DATA_LOSS,
         "lm_head.weight differs from transformer.wte.weight, and by config.json (tie_word_embeddings) the two are "
         "one"},
    };
    sc_hf_weights *weights;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_file("model.safetensors", &cases[i].v, 0, sc_model_n_params(&model));
        assert_int_equal(sc_hf_weights_open(scratch_path, &model, &weights), cases[i].status);
        assert_null(weights);
        if (!strstr(sc_status_message(), cases[i].message) || !strstr(sc_status_message(), scratch_path))
            fail_msg("'%s' is not in '%s'", cases[i].message, sc_status_message());
    }

    unlink(scratch_file("model.safetensors"));
    assert_int_equal(sc_hf_weights_open(scratch_path, &model, &weights), SC_NOT_FOUND);
    scratch_write("pytorch_model.bin", "x", 1);
    assert_int_equal(sc_hf_weights_open(scratch_path, &model, &weights), SC_NOT_FOUND);
    assert_non_null(strstr(sc_status_message(), "save_pretrained"));
}

/* The head of an untied model is a parameter like any other, whether it differs from the embedding or not. */
static void an_untied_head_has_its_own_matrix(void **state)
{
    (void)state;
    sc_model untied = model;
    untied.tied = false;
    sc_hf_weights *weights;
    int head = sc_model_decoder_param(&untied);
    for (int other = 0; other <= 1; other++) {
        const variant v = {.dtype = SC_BF16, .bare = true, .head = true, .other_head = other};
        write_file("model.safetensors", &v, 0, sc_model_n_params(&model));
        assert_int_equal(sc_hf_weights_open(scratch_path, &untied, &weights), SC_OK);
        float value;
        assert_int_equal(sc_hf_weights_dtype(weights, head), SC_BF16);
        assert_int_equal(sc_hf_weights_read(weights, head, 3, &value, 1), SC_OK);
        assert_true(value == value_of(0, 3) + (float)other);
        sc_hf_weights_close(&weights);
    }
    const variant plain = {.dtype = SC_F32};
    write_file("model.safetensors", &plain, 0, sc_model_n_params(&model));
    assert_int_equal(sc_hf_weights_open(scratch_path, &untied, &weights), SC_DATA_LOSS);
    assert_non_null(
        strstr(sc_status_message(), "no tensor lm_head.weight, and by config.json (tie_word_embeddings: fal"));
    const variant with_head = {.dtype = SC_F32, .head = true};
    write_file("model.safetensors", &with_head, 0, sc_model_n_params(&model));
    untied.vocab = 6;
    assert_int_equal(sc_hf_weights_open(scratch_path, &untied, &weights), SC_DATA_LOSS);
}

/* --- export --------------------------------------------------------------------------------------------------------- */

/* A directory of weights with a tokenizer that fits: three characters. */
static void write_directory(const variant *v)
{
    static const char tokenizer[] = "{\"type\":\"char\",\"vocab\":[\"a\",\"b\",\"c\"]}\n";
    write_file("model.safetensors", v, 0, sc_model_n_params(&model));
    scratch_write("stagecoach_tokenizer.json", tokenizer, sizeof tokenizer - 1);
    assert_int_equal(sc_hf_config_save(&model, v->dtype, NULL, scratch_file("config.json")), SC_OK);
}

static sc_status export_to(const char *name, sc_dtype dtype, int64_t step)
{
    sc_export done;
    sc_exporter_options options = {.dir = scratch_path, .out = scratch_file(name), .step = step, .dtype = dtype};
    return sc_exporter_run(&options, &done);
}

static void an_export_is_read_as_it_was(void **state)
{
    (void)state;
    const variant source = {.dtype = SC_F16, .bare = true, .head = true, .masks = true};
    static const sc_dtype types[] = {SC_F32, SC_BF16, SC_F16, 0};
    static const char *const directories[] = {"f32", "bf16", "f16", "as_it_is"};
    write_directory(&source);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(export_to(directories[i], types[i], -1), SC_OK);
        assert_weights(scratch_file(directories[i]), types[i] ? types[i] : SC_F16);
        sc_model read;
        assert_int_equal(sc_hf_config_load(scratch_file(directories[i]), &read), SC_OK);
        assert_memory_equal(&read, &model, offsetof(sc_model, tied));
        assert_true(read.tied);
        sc_safetensors_set *set;
        assert_int_equal(sc_safetensors_set_open(scratch_file(directories[i]), &set), SC_OK);
        assert_int_equal(sc_safetensors_set_n(set), sc_model_n_params(&model)); /* no head, no masks */
        assert_string_equal(sc_safetensors_set_metadata(set, "format"), "pt");
        sc_safetensors_set_close(&set);
    }
}

static void an_export_overwrites_nothing_and_leaves_nothing(void **state)
{
    (void)state;
    const variant source = {.dtype = SC_F32};
    write_directory(&source);
    mkdir(scratch_file("full"), 0777);
    scratch_write("full/file", "x", 1);
    assert_int_equal(export_to("full", 0, -1), SC_ALREADY_EXISTS);
    assert_int_equal(access(scratch_file("full/model.safetensors"), F_OK), -1);
    assert_int_equal(export_to("config.json", 0, -1), SC_ALREADY_EXISTS); /* a file */
    assert_int_equal(export_to("not/there", 0, -1), SC_NOT_FOUND);
    assert_int_equal(export_to("out", 0, 7), SC_NOT_FOUND);
    assert_non_null(strstr(sc_status_message(), "step 7"));
    mkdir(scratch_file("empty"), 0777);
    assert_int_equal(export_to("empty", 0, -1), SC_OK);

    /* 65536 is beyond float16, whose largest is 65504 */
    float large = 65536;
    FILE *file = fopen(scratch_file("model.safetensors"), "r+b");
    assert_int_equal(fseek(file, -4, SEEK_END), 0);
    assert_int_equal(fwrite(&large, 4, 1, file), 1);
    fclose(file);
    assert_int_equal(export_to("out", SC_F16, -1), SC_OUT_OF_RANGE);
    assert_non_null(strstr(sc_status_message(), "1 of the 4 values of transformer.ln_f.bias"));
    assert_int_equal(access(scratch_file("out"), F_OK), -1);
    assert_int_equal(export_to("out", SC_BF16, -1), SC_OK);
}

int main(void)
{
#define EACH(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        EACH(every_form_is_read),
        EACH(surplus_tensors_are_listed),
        EACH(several_files_are_one_model),
        EACH(wrong_weights_are_refused),
        EACH(an_untied_head_has_its_own_matrix),
        EACH(an_export_is_read_as_it_was),
        EACH(an_export_overwrites_nothing_and_leaves_nothing),
    };
    sc_log_init("warn", false, STDERR_FILENO);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
