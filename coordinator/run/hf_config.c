#include "coordinator/run/hf_config.h"

#include "proto/base/files.h"

#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CONFIG_BYTES = 1 << 20 }; /* GPT-2's has 600; some carry maps of a few hundred labels */

/* The keys that say the shape. */
static const struct {
    const char *key;
    size_t offset;
} sizes[] = {
    {"n_layer", offsetof(sc_model, layers)},   {"n_head", offsetof(sc_model, heads)},
    {"n_embd", offsetof(sc_model, hidden)},    {"n_positions", offsetof(sc_model, context)},
    {"vocab_size", offsetof(sc_model, vocab)},
};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

/* Truth values that must be what they are by default: they change the result, and only one way of it is built here. */
static const struct {
    const char *key;
    bool only;
} switches[] = {
    {"scale_attn_weights", true},
    {"scale_attn_by_inverse_layer_idx", false},
    {"add_cross_attention", false},
    {"is_encoder_decoder", false},
};
enum { N_SWITCHES = sizeof switches / sizeof switches[0] };

/* --- reading -------------------------------------------------------------------------------------------------------- */

static sc_status read_sizes(const json_t *root, sc_model *model)
{
    for (int i = 0; i < N_SIZES; i++) {
        const json_t *value = json_object_get(root, sizes[i].key);
        if (!value)
            return SC_FAIL(SC_INVALID, "%s is missing", sizes[i].key);
        if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > INT_MAX)
            return SC_FAIL(SC_INVALID, "%s must be a positive integer", sizes[i].key);
        *(int *)((char *)model + sizes[i].offset) = (int)json_integer_value(value);
    }
    return SC_OK;
}

/* A number that may be absent. */
static sc_status read_number(const json_t *root, const char *key, double low, double high, float *out)
{
    const json_t *value = json_object_get(root, key);
    if (!value)
        return SC_OK;
    if (!json_is_number(value) || !(json_number_value(value) >= low && json_number_value(value) <= high))
        return SC_FAIL(SC_INVALID, "%s must be a number from %g to %g", key, low, high);
    *out = (float)json_number_value(value);
    return SC_OK;
}

static sc_status check_switches(const json_t *root)
{
    for (int i = 0; i < N_SWITCHES; i++) {
        const json_t *value = json_object_get(root, switches[i].key);
        if (value && !(switches[i].only ? json_is_true(value) : json_is_false(value)))
            return SC_FAIL(SC_INVALID, "%s is not %s; no other way is supported", switches[i].key,
                           switches[i].only ? "true" : "false");
    }
    const json_t *pruned = json_object_get(root, "pruned_heads");
    if (json_object_size(pruned) > 0)
        return SC_FAIL(SC_INVALID, "pruned_heads is not empty; models with pruned heads are not supported");
    const json_t *quantized = json_object_get(root, "quantization_config");
    if (quantized && !json_is_null(quantized))
        return SC_FAIL(SC_INVALID, "quantization_config is set; save the model in float32, float16 or bfloat16");
    return SC_OK;
}

static sc_status check_mlp(const json_t *root, const sc_model *model)
{
    const json_t *inner = json_object_get(root, "n_inner"), *activation = json_object_get(root, "activation_function");
    if (inner && !json_is_null(inner) &&
        !(json_is_integer(inner) && json_integer_value(inner) == 4 * (json_int_t)model->hidden))
        return SC_FAIL(SC_INVALID, "n_inner is not null or 4 x n_embd = %" PRId64 "; no other width is supported",
                       4 * (int64_t)model->hidden);
    const char *name = activation ? json_string_value(activation) : "gelu_new";
    if (!name || (strcmp(name, "gelu_new") != 0 && strcmp(name, "gelu_pytorch_tanh") != 0))
        return SC_FAIL(SC_INVALID,
                       "activation_function is %s%.40s%s; supported are \"gelu_new\" and \"gelu_pytorch_tanh\"",
                       name ? "\"" : "", name ? name : "not a text", name ? "\"" : "");
    return SC_OK;
}

static sc_status read_keys(const json_t *root, sc_model *model)
{
    if (!json_is_object(root))
        return SC_FAIL(SC_INVALID, "is not a JSON object");
    const char *type = json_string_value(json_object_get(root, "model_type"));
    if (!type || strcmp(type, "gpt2") != 0)
        return SC_FAIL(SC_INVALID, "model_type is \"%.40s\"; supported is \"gpt2\"", type ? type : "");
    *model = (sc_model){.family = SC_GPT2, .norm_epsilon = 1e-5f};
    SC_TRY(read_sizes(root, model));
    SC_TRY(read_number(root, "layer_norm_epsilon", 1e-30, 1, &model->norm_epsilon));
    SC_TRY(read_number(root, "resid_pdrop", 0, 0.999999, &model->dropout));
    SC_TRY(check_switches(root));
    SC_TRY(check_mlp(root, model));
    const json_t *tied = json_object_get(root, "tie_word_embeddings");
    if (tied && !json_is_boolean(tied))
        return SC_FAIL(SC_INVALID, "tie_word_embeddings must be true or false");
    model->tied = !tied || json_is_true(tied);
    return sc_model_check(model);
}

sc_status sc_hf_config_parse(const char *text, size_t text_bytes, const char *path, sc_model *out)
{
    json_error_t error;
    json_t *root = json_loadb(text, text_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return SC_FAIL(SC_INVALID, "%s:%d: is not JSON: %s", path, error.line, error.text);
    sc_status status = read_keys(root, out);
    json_decref(root);
    return status == SC_OK ? SC_OK : SC_FAIL(status, "%s: %s", path, sc_status_message());
}

sc_status sc_hf_config_load(const char *dir, sc_model *out)
{
    char path[PATH_MAX], *text;
    size_t n;
    snprintf(path, sizeof path, "%s/config.json", dir);
    sc_status status = sc_files_read(path, MAX_CONFIG_BYTES, &text, &n);
    if (status == SC_NOT_FOUND)
        return SC_FAIL(status,
                       "%s is not there; name the directory of a finished run, or one that Hugging Face's "
                       "save_pretrained has written",
                       path);
    SC_TRY(status);
    status = sc_hf_config_parse(text, n, path, out);
    free(text);
    return status;
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

enum { GPT2_VOCAB = 50257, GPT2_END_OF_TEXT = 50256 };

/* The shortest decimal number that is this float32: 1e-5 and not 9.99999974738e-06. */
static double shortest(float value)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) { /* nine always do */
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return strtod(text, NULL);
}

/* Keys are as transformers writes them, in its order, the alphabet's. bos_token_id and eos_token_id must be said: absent
 * they mean GPT-2's own, which another vocabulary does not have. */
static json_t *describe(const sc_model *model, sc_dtype weights)
{
    double dropout = shortest(model->dropout);
    json_t *root =
        json_pack("{s:s, s:[s], s:s, s:s, s:f, s:f, s:f, s:f, s:n, s:b}", "model_type", "gpt2", "architectures",
                  "GPT2LMHeadModel", "activation_function", "gelu_new", "torch_dtype", sc_dtype_name(weights),
                  "layer_norm_epsilon", shortest(model->norm_epsilon), "attn_pdrop", dropout, "embd_pdrop", dropout,
                  "resid_pdrop", dropout, "n_inner", "tie_word_embeddings", model->tied);
    bool ok = root != NULL;
    for (int i = 0; ok && i < N_SIZES; i++)
        ok = json_object_set_new(root, sizes[i].key,
                                 json_integer(*(const int *)((const char *)model + sizes[i].offset))) == 0;
    bool is_gpt2 = model->vocab == GPT2_VOCAB;
    ok = ok && json_object_set_new(root, "bos_token_id", is_gpt2 ? json_integer(GPT2_END_OF_TEXT) : json_null()) == 0;
    ok = ok && json_object_set_new(root, "eos_token_id", is_gpt2 ? json_integer(GPT2_END_OF_TEXT) : json_null()) == 0;
    if (ok)
        return root;
    json_decref(root);
    return NULL;
}

sc_status sc_hf_config_save(const sc_model *model, sc_dtype weights, const char *path)
{
    json_t *root = describe(model, weights);
    char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    if (!text)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to write it", path);
    size_t length = strlen(text);
    text[length] = '\n'; /* in the NUL's place: the length says where it ends */
    sc_status status = sc_files_replace(path, text, length + 1);
    free(text);
    return status;
}
