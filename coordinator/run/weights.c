#include "coordinator/run/weights.h"

#include "coordinator/data/files.h"
#include "proto/base/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *file_in(const char *dir, const char *name, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s", dir, name);
    return path;
}

/* --- config.json ---------------------------------------------------------------------------------------------------- */

/* GPT-2's keys of transformers' GPT2Config that say the model's shape. */
static const struct {
    const char *key;
    size_t offset;
} sizes[] = {
    {"n_layer", offsetof(sc_model, layers)},   {"n_head", offsetof(sc_model, heads)},
    {"n_embd", offsetof(sc_model, hidden)},    {"n_positions", offsetof(sc_model, context)},
    {"vocab_size", offsetof(sc_model, vocab)},
};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

sc_status sc_weights_save_config(const sc_model *model, const char *path)
{
    json_t *root = json_pack("{s:s, s:[s], s:s, s:f, s:f, s:f, s:f, s:b}", "model_type", "gpt2", "architectures",
                             "GPT2LMHeadModel", "activation_function", "gelu_new", "layer_norm_epsilon",
                             (double)model->norm_epsilon, "attn_pdrop", (double)model->dropout, "embd_pdrop",
                             (double)model->dropout, "resid_pdrop", (double)model->dropout, "tie_word_embeddings", 1);
    bool ok = root != NULL;
    for (int i = 0; ok && i < N_SIZES; i++)
        ok = json_object_set_new(root, sizes[i].key,
                                 json_integer(*(const int *)((const char *)model + sizes[i].offset))) == 0;
    char *text = ok ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    if (!text)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to write it", path);
    sc_status status = sc_files_replace(path, text, strlen(text));
    free(text);
    return status;
}

static sc_status load_config(const char *path, sc_model *model)
{
    json_error_t error;
    if (access(path, R_OK) != 0)
        return SC_FAIL(SC_NOT_FOUND, "%s is not there; name the directory of a finished run", path);
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return SC_FAIL(SC_INVALID, "%s:%d: %s", path, error.line, error.text);
    sc_status status = SC_OK;
    const char *type = json_string_value(json_object_get(root, "model_type"));
    if (!type || strcmp(type, "gpt2") != 0)
        status = SC_FAIL(SC_INVALID, "%s: model_type is \"%s\"; this build knows \"gpt2\"", path, type ? type : "");
    *model = (sc_model){.family = SC_GPT2};
    for (int i = 0; status == SC_OK && i < N_SIZES; i++) {
        json_int_t value = json_integer_value(json_object_get(root, sizes[i].key));
        if (value < 1 || value > INT_MAX)
            status = SC_FAIL(SC_INVALID, "%s: %s must be a positive integer", path, sizes[i].key);
        else
            *(int *)((char *)model + sizes[i].offset) = (int)value;
    }
    json_t *epsilon = json_object_get(root, "layer_norm_epsilon");
    model->norm_epsilon = epsilon ? (float)json_number_value(epsilon) : 1e-5f;
    json_decref(root);
    if (status == SC_OK && (status = sc_model_check(model)) != SC_OK)
        status = SC_FAIL(status, "%s: %s", path, sc_status_message());
    return status;
}

/* --- saving ---------------------------------------------------------------------------------------------------------- */

typedef struct target {
    sc_safetensors_writer *writer;
    const char *name;
} target;

static sc_status write_piece(void *context, uint64_t offset, const void *data, size_t n)
{
    target *t = context;
    return sc_safetensors_writer_write(t->writer, t->name, offset, data, n);
}

sc_status sc_weights_save(sc_cluster *cluster, const sc_model *model, const sc_tokenizer *tokenizer, int64_t step,
                          const char *dir)
{
    char path[PATH_MAX], number[32];
    snprintf(number, sizeof number, "%" PRId64, step);
    SC_TRY(sc_weights_save_config(model, file_in(dir, "config.json", path)));
    SC_TRY(sc_tokenizer_save(tokenizer, file_in(dir, "stagecoach_tokenizer.json", path)));
    sc_safetensors_writer *writer = NULL;
    sc_status status;
    SC_TRY_GOTO(status, sc_safetensors_writer_new(file_in(dir, "model.safetensors", path), &writer), done);
    SC_TRY_GOTO(status, sc_safetensors_writer_metadata(writer, "format", "pt"), done); /* transformers insists on it */
    SC_TRY_GOTO(status, sc_safetensors_writer_metadata(writer, "step", number), done);
    for (int i = 0; i < sc_model_n_params(model); i++) {
        sc_param param = sc_model_param(model, i);
        SC_TRY_GOTO(status, sc_safetensors_writer_add(writer, param.name, SC_F32, &param.shape), done);
    }
    for (int i = 0; i < sc_model_n_params(model); i++) {
        sc_param param = sc_model_param(model, i);
        target t = {.writer = writer, .name = param.name};
        SC_TRY_GOTO(status, sc_cluster_read_parameter(cluster, i, write_piece, &t), done);
    }
    status = sc_safetensors_writer_commit(writer);
done:
    sc_safetensors_writer_destroy(&writer);
    return status;
}

/* --- loading ---------------------------------------------------------------------------------------------------------- */

sc_status sc_weights_describe(const char *dir, sc_model *model, sc_tokenizer **tokenizer)
{
    char path[PATH_MAX];
    SC_TRY(load_config(file_in(dir, "config.json", path), model));
    SC_TRY(sc_tokenizer_load(file_in(dir, "stagecoach_tokenizer.json", path), tokenizer));
    int vocab = sc_tokenizer_vocab(*tokenizer);
    if (vocab > model->vocab) {
        sc_tokenizer_destroy(tokenizer);
        return SC_FAIL(SC_INVALID, "%s: the tokenizer has %d tokens, the model %d", path, vocab, model->vocab);
    }
    return SC_OK;
}

typedef struct source {
    const sc_safetensors *file;
    const sc_safetensors_entry *entry;
} source;

static sc_status read_piece(void *context, uint64_t offset, void *data, size_t n)
{
    source *s = context;
    return sc_safetensors_read(s->file, s->entry, offset, data, n);
}

static sc_status load_parameter(sc_cluster *cluster, const sc_model *model, int ordinal, const sc_safetensors *file,
                                const char *path)
{
    sc_param param = sc_model_param(model, ordinal);
    source s = {.file = file, .entry = sc_safetensors_find(file, param.name)};
    if (!s.entry)
        return SC_FAIL(SC_DATA_LOSS, "%s has no tensor %s", path, param.name);
    char expected[96], found[96];
    sc_shape_text(&param.shape, expected, sizeof expected);
    sc_shape_text(&s.entry->shape, found, sizeof found);
    if (s.entry->dtype != SC_F32 || strcmp(expected, found) != 0)
        return SC_FAIL(SC_DATA_LOSS, "%s: %s is %s %s; the model needs float32 %s", path, param.name,
                       sc_dtype_name(s.entry->dtype), found, expected);
    return sc_cluster_write_parameter(cluster, ordinal, read_piece, &s);
}

sc_status sc_weights_load(sc_cluster *cluster, const sc_model *model, const char *dir)
{
    char path[PATH_MAX];
    sc_safetensors *file = NULL;
    SC_TRY(sc_safetensors_open(file_in(dir, "model.safetensors", path), &file));
    sc_status status = SC_OK;
    for (int i = 0; status == SC_OK && i < sc_model_n_params(model); i++)
        status = load_parameter(cluster, model, i, file, path);
    sc_safetensors_close(&file);
    return status;
}
