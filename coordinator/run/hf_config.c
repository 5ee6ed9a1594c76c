#include "coordinator/run/hf_config_internal.h"

#include "proto/base/files.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CONFIG_BYTES = 1 << 20 }; /* GPT-2's has 600; some carry maps of a few hundred labels */

/* --- keys ------------------------------------------------------------------------------------------------------------- */

sc_status sc_hf_config_read_sizes(const json_t *root, const sc_hf_size *sizes, size_t n, sc_model *model)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_object_get(root, sizes[i].key);
        if (!value)
            return SC_FAIL(SC_INVALID, "%s is missing", sizes[i].key);
        if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > INT_MAX)
            return SC_FAIL(SC_INVALID, "%s must be a positive integer", sizes[i].key);
        *(int *)((char *)model + sizes[i].offset) = (int)json_integer_value(value);
    }
    return SC_OK;
}

bool sc_hf_config_write_sizes(json_t *root, const sc_hf_size *sizes, size_t n, const sc_model *model)
{
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        ok = json_object_set_new(root, sizes[i].key,
                                 json_integer(*(const int *)((const char *)model + sizes[i].offset))) == 0;
    return ok;
}

sc_status sc_hf_config_read_number(const json_t *root, const char *key, double low, double high, float *out)
{
    const json_t *value = json_object_get(root, key);
    if (!value)
        return SC_OK;
    if (!json_is_number(value) || !(json_number_value(value) >= low && json_number_value(value) <= high))
        return SC_FAIL(SC_INVALID, "%s must be a number from %g to %g", key, low, high);
    *out = (float)json_number_value(value);
    return SC_OK;
}

sc_status sc_hf_config_check_switch(const json_t *root, const char *key, bool only)
{
    const json_t *value = json_object_get(root, key);
    if (value && !(only ? json_is_true(value) : json_is_false(value)))
        return SC_FAIL(SC_INVALID, "%s is not %s; no other way is supported", key, only ? "true" : "false");
    return SC_OK;
}

sc_status sc_hf_config_check_word(const json_t *root, const char *key, const char *const *allowed)
{
    const json_t *value = json_object_get(root, key);
    const char *word = json_string_value(value);
    char list[160] = "";
    for (int i = 0; value && allowed[i]; i++) {
        if (word && strcmp(word, allowed[i]) == 0)
            return SC_OK;
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s\"%s\"", i ? " and " : "", allowed[i]);
    }
    if (!value)
        return SC_OK;
    return SC_FAIL(SC_INVALID, "%s is %s%.40s%s; supported %s %s", key, word ? "\"" : "", word ? word : "not a text",
                   word ? "\"" : "", allowed[1] ? "are" : "is", list);
}

static sc_status check_all(const json_t *root)
{
    SC_TRY(sc_hf_config_check_switch(root, "add_cross_attention", false));
    SC_TRY(sc_hf_config_check_switch(root, "is_encoder_decoder", false));
    const json_t *pruned = json_object_get(root, "pruned_heads");
    if (json_object_size(pruned) > 0)
        return SC_FAIL(SC_INVALID, "pruned_heads is not empty; models with pruned heads are not supported");
    const json_t *quantized = json_object_get(root, "quantization_config");
    if (quantized && !json_is_null(quantized))
        return SC_FAIL(SC_INVALID, "quantization_config is set; save the model in float32, float16 or bfloat16");
    return SC_OK;
}

double sc_hf_config_shortest(float value)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) { /* nine always do */
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return strtod(text, NULL);
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

static sc_status read_keys(const json_t *root, sc_model *model)
{
    if (!json_is_object(root))
        return SC_FAIL(SC_INVALID, "is not a JSON object");
    const char *type = json_string_value(json_object_get(root, "model_type"));
    bool is_bert = type && strcmp(type, "bert") == 0;
    if (!is_bert && (!type || strcmp(type, "gpt2") != 0))
        return SC_FAIL(SC_INVALID, "model_type is \"%.40s\"; supported are \"gpt2\" and \"bert\"", type ? type : "");
    SC_TRY(check_all(root));
    if (is_bert)
        SC_TRY(sc_hf_config_read_bert(root, model));
    else
        SC_TRY(sc_hf_config_read_gpt2(root, model));
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

static sc_status read_file(const char *dir, char path[PATH_MAX], char **text, size_t *n)
{
    snprintf(path, PATH_MAX, "%s/config.json", dir);
    sc_status status = sc_files_read(path, MAX_CONFIG_BYTES, text, n);
    if (status == SC_NOT_FOUND)
        return SC_FAIL(status,
                       "%s is not there; name the directory of a finished run, or one that Hugging Face's "
                       "save_pretrained has written",
                       path);
    return status;
}

sc_status sc_hf_config_load(const char *dir, sc_model *out)
{
    char path[PATH_MAX], *text;
    size_t n;
    SC_TRY(read_file(dir, path, &text, &n));
    sc_status status = sc_hf_config_parse(text, n, path, out);
    free(text);
    return status;
}

sc_status sc_hf_config_load_labels(const char *dir, sc_labels *out)
{
    char path[PATH_MAX], *text;
    size_t n;
    SC_TRY(read_file(dir, path, &text, &n));
    sc_status status = sc_hf_config_parse_labels(text, n, path, out);
    free(text);
    return status;
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

sc_status sc_hf_config_save(const sc_model *model, sc_dtype weights, const sc_labels *labels, const char *path)
{
    json_t *root = model->family == SC_BERT ? sc_hf_config_describe_bert(model, weights, labels)
                                            : sc_hf_config_describe_gpt2(model, weights);
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
