/* Directories of BERTs as transformers has saved them over the years, read from config.json and model.safetensors: the logits
 * are transformers' (tests/golden/bert), whatever the names; what is missing, surplus or wrong is told; and an export of one
 * is read again as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/stat.h>

#include "coordinator/run/exporter.h"
#include "coordinator/run/hf_names.h"
#include "coordinator/run/hf_weights.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/base/safetensors.h"
#include "tests/stage_chain.h"
#include "tests/unit/scratch.h"

#include <stdio.h>

enum { ROWS = 5, MOST = 2048 };

/* How a directory's names differ from what transformers writes today. */
typedef struct variant {
    bool bare, gamma;
    const char *without; /* beginning of the names of tensors that are not there */
    bool decoder, position_ids, surplus;
    const char *wrong; /* a tensor of another shape */
} variant;

static void add_tensor(sc_safetensors_writer *out, const variant *v, const char *name, const sc_shape *shape,
                       const float *data, bool write)
{
    char as[SC_NAME_BYTES];
    sc_hf_name_list list;
    sc_hf_names_of(name, &list);
    bool has_bare = sc_hf_names_bare(name) != name;
    int which = v->bare && has_bare ? 1 : 0;
    if (v->gamma && list.n > 1 + has_bare)
        which += 1 + has_bare;
    snprintf(as, sizeof as, "%s", list.names[which]);
    sc_shape is = *shape;
    if (v->wrong && strcmp(v->wrong, name) == 0)
        is = SC_SHAPE(1, 1);
    uint64_t n;
    CHECK(sc_shape_elements(&is, &n));
    if (write)
        CHECK(sc_safetensors_writer_write(out, as, 0, data, n * sizeof *data));
    else
        CHECK(sc_safetensors_writer_add(out, as, SC_F32, &is));
}

static void add_extra(sc_safetensors_writer *out, const variant *v, const float *embedding, bool write)
{
    static const int64_t ids[12];
    static const float zeros[29];
    if (v->decoder && write) {
        CHECK(sc_safetensors_writer_write(out, "cls.predictions.decoder.weight", 0, embedding, 29 * 16 * 4));
        CHECK(sc_safetensors_writer_write(out, "cls.predictions.decoder.bias", 0, zeros, sizeof zeros));
    } else if (v->decoder) {
        CHECK(sc_safetensors_writer_add(out, "cls.predictions.decoder.weight", SC_F32, &SC_SHAPE(29, 16)));
        CHECK(sc_safetensors_writer_add(out, "cls.predictions.decoder.bias", SC_F32, &SC_SHAPE(29)));
    }
    if (v->position_ids && write)
        CHECK(sc_safetensors_writer_write(out, "bert.embeddings.position_ids", 0, ids, sizeof ids));
    else if (v->position_ids)
        CHECK(sc_safetensors_writer_add(out, "bert.embeddings.position_ids", SC_I64, &SC_SHAPE(1, 12)));
    if (v->surplus && write)
        CHECK(sc_safetensors_writer_write(out, "qa_outputs.bias", 0, zeros, 8));
    else if (v->surplus)
        CHECK(sc_safetensors_writer_add(out, "qa_outputs.bias", SC_F32, &SC_SHAPE(2)));
}

/* Writes the scratch directory's model.safetensors from a golden file. */
static void write_weights(const sc_safetensors *golden, const variant *v)
{
    static const char prefix[] = "param.";
    static float data[MOST], embedding[MOST];
    sc_safetensors_writer *out = NULL;
    CHECK(sc_safetensors_writer_new(scratch_file("model.safetensors"), &out));
    CHECK(sc_safetensors_writer_metadata(out, "format", "pt"));
    for (int write = 0; write < 2; write++) {
        for (int i = 0; i < sc_safetensors_n(golden); i++) {
            const sc_safetensors_entry *entry = sc_safetensors_at(golden, i);
            if (strncmp(entry->name, prefix, sizeof prefix - 1) != 0)
                continue;
            const char *name = entry->name + sizeof prefix - 1;
            if (v->without && strncmp(name, v->without, strlen(v->without)) == 0)
                continue;
            assert_true(entry->bytes <= sizeof data);
            CHECK(sc_safetensors_read(golden, entry, 0, data, entry->bytes));
            if (strstr(name, "word_embeddings"))
                memcpy(embedding, data, entry->bytes);
            add_tensor(out, v, name, &entry->shape, data, write);
        }
        add_extra(out, v, embedding, write);
    }
    CHECK(sc_safetensors_writer_commit(out));
    sc_safetensors_writer_destroy(&out);
}

static void write_config(const char *class, int layers, const char *more)
{
    char text[1024];
    int n = snprintf(text, sizeof text,
                     "{\"model_type\": \"bert\", \"architectures\": [\"%s\"], \"hidden_act\": \"gelu\", "
                     "\"hidden_size\": 16, \"num_hidden_layers\": %d, \"num_attention_heads\": 2, "
                     "\"intermediate_size\": 24, \"max_position_embeddings\": 12, \"type_vocab_size\": 2, "
                     "\"vocab_size\": 29, \"layer_norm_eps\": 1e-12, \"hidden_dropout_prob\": 0.0%s}",
                     class, layers, more);
    CHECK(sc_files_replace(scratch_file("config.json"), text, (size_t)n));
}

static sc_safetensors *open_golden(const char *head)
{
    char path[512];
    sc_safetensors *file = NULL;
    snprintf(path, sizeof path, SC_SOURCE_DIR "/tests/golden/bert/%s.safetensors", head);
    CHECK(sc_safetensors_open(path, &file));
    return file;
}

static void *read_golden(const sc_safetensors *golden, const char *name)
{
    const sc_safetensors_entry *entry = sc_safetensors_find(golden, name);
    assert_non_null(entry);
    void *out = malloc(entry->bytes);
    assert_non_null(out);
    CHECK(sc_safetensors_read(golden, entry, 0, out, entry->bytes));
    return out;
}

/* The classifier's logits of the golden sequences, from the weights of `dir`. */
static void compute_logits(const char *dir, const sc_safetensors *golden, float *out)
{
    sc_model model;
    sc_hf_weights *weights = NULL;
    sc_stream *stream = NULL;
    sc_stage *stage = NULL;
    static float data[MOST];
    CHECK(sc_hf_config_load(dir, &model));
    CHECK(sc_hf_weights_open(dir, &model, &weights));
    CHECK(sc_ops_cpu.stream_new(0, 1, &stream));
    sc_stage_options options = {.ops = &sc_ops_cpu,
                                .stream = stream,
                                .model = model,
                                .slice = {0, sc_model_n_blocks(&model)},
                                .B = ROWS,
                                .T = 9,
                                .max_alive = 1};
    CHECK(sc_stage_new(&options, &stage));
    for (int ordinal = 0; ordinal < sc_model_n_params(&model); ordinal++) {
        sc_param param = sc_model_param(&model, ordinal);
        uint64_t n;
        CHECK(sc_shape_elements(&param.shape, &n));
        assert_true(n <= MOST);
        CHECK(sc_hf_weights_read(weights, ordinal, 0, data, n));
        CHECK(sc_stage_write_state(stage, param.name, SC_STATE_PARAMETER, 0, n * sizeof *data, data));
    }
    int32_t *tokens = read_golden(golden, "tokens"), *segments = read_golden(golden, "segments"),
            *lengths = read_golden(golden, "lengths");
    CHECK(sc_stage_put_tokens(stage, 0, tokens, ROWS, 9));
    CHECK(sc_stage_put_segments(stage, 0, segments, ROWS, 9));
    CHECK(sc_stage_put_lengths(stage, 0, lengths, ROWS, 9));
    CHECK(sc_stage_forward(stage, 0, 0, &(sc_stage_step){.train = false}));
    CHECK(sc_stage_take_logits(stage, 0, out));
    free(tokens), free(segments), free(lengths);
    sc_stage_destroy(&stage);
    sc_ops_cpu.stream_destroy(&stream);
    sc_hf_weights_close(&weights);
}

static void expect_golden_logits(const char *dir, const sc_safetensors *golden)
{
    float got[ROWS * 3], *expected = read_golden(golden, "logits");
    compute_logits(dir, golden, got);
    for (int i = 0; i < ROWS * 3; i++)
        assert_true(fabsf(got[i] - expected[i]) <= 1e-5f); /* logits of about 1; as test_bert_golden */
    free(expected);
}

static const char names[] = ", \"id2label\": {\"0\": \"bad\", \"1\": \"so so\", \"2\": \"good\"}";

static void every_form_is_read(void **state)
{
    (void)state;
    const variant forms[] = {
        {0}, {.bare = true}, {.gamma = true}, {.bare = true, .gamma = true}, {.position_ids = true}};
    sc_safetensors *golden = open_golden("classification");
    write_config("BertForSequenceClassification", 1, names);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        write_weights(golden, &forms[i]);
        expect_golden_logits(scratch_path, golden);
    }
    sc_safetensors_close(&golden);
}

/* Opens the scratch directory for a task and returns what was logged. */
static char *open_logged(sc_task task, int labels, sc_hf_weights **weights, sc_model *model)
{
    CHECK(sc_hf_config_load(scratch_path, model));
    model->task = task, model->labels = labels;
    FILE *log = fopen(scratch_file("log"), "wb");
    assert_non_null(log);
    sc_log_init("info", false, fileno(log));
    sc_status status = sc_hf_weights_open(scratch_path, model, weights);
    sc_log_init("warn", false, STDERR_FILENO);
    fclose(log);
    CHECK(status);
    return scratch_read("log");
}

static void a_head_that_is_missing_is_drawn_and_told(void **state)
{
    (void)state;
    sc_safetensors *golden = open_golden("pretraining");
    const variant v = {.decoder = true, .position_ids = true, .surplus = true};
    sc_hf_weights *weights = NULL;
    sc_model model;
    write_config("BertForPreTraining", 2, "");
    write_weights(golden, &v);
    char *log = open_logged(SC_TASK_PRETRAINING, 0, &weights, &model);
    assert_int_equal(sc_hf_weights_n_missing(weights), 0);
    assert_non_null(strstr(log, "passed over, which the model does not have: qa_outputs.bias"));
    assert_non_null(strstr(log, "2 tensors passed over, which the model makes itself: "));
    assert_null(strstr(log, "missing"));
    free(log);
    sc_hf_weights_close(&weights);

    log = open_logged(SC_TASK_TAGGING, 7, &weights, &model);
    assert_int_equal(sc_hf_weights_n_missing(weights), 2);
    assert_non_null(strstr(log, "2 tensors missing and begun anew: classifier.weight, classifier.bias"));
    assert_non_null(strstr(log, "cls.seq_relationship.weight"));
    free(log);
    int ordinal = sc_model_find_param(&model, "classifier.weight");
    float drawn[20], expected[20];
    sc_hf_weights_draw(weights, 77);
    CHECK(sc_hf_weights_read(weights, ordinal, 3, drawn, 20));
    sc_model_init_param(&model, ordinal, 77, 3, 20, expected);
    assert_memory_equal(drawn, expected, sizeof drawn);
    sc_hf_weights_close(&weights);

    /* A bare BertModel has no head at all. */
    write_config("BertModel", 2, "");
    write_weights(golden, &(variant){.bare = true, .without = "cls."});
    log = open_logged(SC_TASK_CLASSIFICATION, 3, &weights, &model);
    assert_int_equal(sc_hf_weights_n_missing(weights), 2); /* it has the pooler */
    free(log);
    sc_hf_weights_close(&weights);
    sc_safetensors_close(&golden);
}

static void wrong_weights_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *without, *wrong, *message;
    } cases[] = {
        {"bert.encoder.layer.0.attention.self.key.bias", NULL,
         "no tensor bert.encoder.layer.0.attention.self.key.bias (nor encoder.layer.0.attention.self.key.bias)"},
        {NULL, "classifier.weight", "classifier.weight has shape (1,1), and by config.json it is (3,16)"},
    };
    sc_safetensors *golden = open_golden("classification");
    write_config("BertForSequenceClassification", 1, names);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sc_model model;
        sc_hf_weights *weights = NULL;
        write_weights(golden, &(variant){.without = cases[i].without, .wrong = cases[i].wrong});
        CHECK(sc_hf_config_load(scratch_path, &model));
        assert_int_equal(sc_hf_weights_open(scratch_path, &model, &weights), SC_DATA_LOSS);
        if (!strstr(sc_status_message(), cases[i].message))
            fail_msg("'%s' is not in '%s'", cases[i].message, sc_status_message());
    }
    sc_safetensors_close(&golden);

    sc_model model;
    sc_hf_weights *weights = NULL;
    unlink(scratch_file("model.safetensors"));
    CHECK(sc_files_replace(scratch_file("pytorch_model.bin"), "x", 1));
    CHECK(sc_hf_config_load(scratch_path, &model));
    assert_int_equal(sc_hf_weights_open(scratch_path, &model, &weights), SC_NOT_FOUND);
    assert_non_null(strstr(sc_status_message(), "BertForSequenceClassification.from_pretrained('"));
    unlink(scratch_file("pytorch_model.bin"));
}

static void an_export_is_read_as_it_was(void **state)
{
    (void)state;
    char out[512];
    sc_safetensors *golden = open_golden("classification");
    write_config("BertForSequenceClassification", 1, names);
    write_weights(golden, &(variant){.bare = true, .gamma = true});
    snprintf(out, sizeof out, "%s", scratch_file("out"));
    sc_export made;
    CHECK(sc_exporter_run(&(sc_exporter_options){.dir = scratch_path, .out = out, .step = -1}, &made));
    expect_golden_logits(out, golden);
    sc_labels labels = {0};
    CHECK(sc_hf_config_load_labels(out, &labels));
    assert_int_equal(labels.n, 3);
    assert_string_equal(labels.names[1], "so so");
    sc_labels_clear(&labels);
    sc_model a, b;
    CHECK(sc_hf_config_load(scratch_path, &a));
    CHECK(sc_hf_config_load(out, &b));
    assert_true(a.task == b.task && a.labels == b.labels && a.intermediate == b.intermediate && a.layers == b.layers &&
                a.hidden == b.hidden && a.heads == b.heads && a.vocab == b.vocab && a.context == b.context &&
                a.token_types == b.token_types && a.norm_epsilon == b.norm_epsilon && !b.multi_label);
    sc_safetensors_close(&golden);

    /* Where a part is missing there is nothing to export. */
    golden = open_golden("classification");
    write_weights(golden, &(variant){.without = "classifier."});
    assert_int_equal(
        sc_exporter_run(&(sc_exporter_options){.dir = scratch_path, .out = scratch_file("none"), .step = -1}, &made),
        SC_DATA_LOSS);
    sc_safetensors_close(&golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_form_is_read, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(a_head_that_is_missing_is_drawn_and_told, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(wrong_weights_are_refused, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(an_export_is_read_as_it_was, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
