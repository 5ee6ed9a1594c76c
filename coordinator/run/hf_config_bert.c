/* transformers' BertConfig. */
#include "coordinator/run/hf_config_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const sc_hf_size sizes[] = {
    {"num_hidden_layers", offsetof(sc_model, layers)},
    {"num_attention_heads", offsetof(sc_model, heads)},
    {"hidden_size", offsetof(sc_model, hidden)},
    {"intermediate_size", offsetof(sc_model, intermediate)},
    {"max_position_embeddings", offsetof(sc_model, context)},
    {"type_vocab_size", offsetof(sc_model, token_types)},
    {"vocab_size", offsetof(sc_model, vocab)},
};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

static const char *const classes[] = {
    [SC_TASK_NEXT_TOKEN] = "GPT2LMHeadModel",         [SC_TASK_PRETRAINING] = "BertForPreTraining",
    [SC_TASK_MASKED_WORDS] = "BertForMaskedLM",       [SC_TASK_CLASSIFICATION] = "BertForSequenceClassification",
    [SC_TASK_TAGGING] = "BertForTokenClassification",
};

const char *sc_hf_config_class(const sc_model *model)
{
    return classes[model->task];
}

/* --- labels -------------------------------------------------------------------------------------------------------- */

static const char multi_label[] = "multi_label_classification";

/* transformers has two labels where a config says nothing. */
static sc_status count_labels(const json_t *root, int *out)
{
    const json_t *names = json_object_get(root, "id2label"), *n = json_object_get(root, "num_labels");
    if (names && !json_is_null(names) && !json_is_object(names))
        return SC_FAIL(SC_INVALID, "id2label must be an object of names");
    *out = json_is_object(names) ? (int)json_object_size(names) : json_is_integer(n) ? (int)json_integer_value(n) : 2;
    return SC_OK;
}

sc_status sc_hf_config_parse_labels(const char *text, size_t text_bytes, const char *path, sc_labels *out)
{
    json_error_t error;
    json_t *root = json_loadb(text, text_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return SC_FAIL(SC_INVALID, "%s:%d: is not JSON: %s", path, error.line, error.text);
    const json_t *names = json_object_get(root, "id2label");
    sc_status status = SC_OK;
    size_t n = json_object_size(names);
    for (size_t i = 0; i < n && status == SC_OK; i++) {
        char key[24];
        int32_t id = -1;
        snprintf(key, sizeof key, "%zu", i);
        const json_t *name = json_object_get(names, key);
        if (!json_is_string(name))
            status = SC_FAIL(SC_INVALID, "%s: id2label has %zu labels, but no name for \"%s\"", path, n, key);
        else
            status = sc_labels_add(out, json_string_value(name), json_string_length(name), &id);
        if (status == SC_OK && id != (int32_t)i)
            status = SC_FAIL(SC_INVALID, "%s: id2label has the name \"%.60s\" twice", path, json_string_value(name));
    }
    json_decref(root);
    if (status != SC_OK)
        sc_labels_clear(out);
    return status;
}

/* --- reading ------------------------------------------------------------------------------------------------------- */

/* What the directory's head is for. A bare BertModel, and heads that are not built here, are read as of a model for
 * pre-training: its body is what another task begins with. */
static sc_task task_of(const json_t *root)
{
    const char *name = json_string_value(json_array_get(json_object_get(root, "architectures"), 0));
    for (sc_task task = SC_TASK_PRETRAINING; name && task <= SC_TASK_TAGGING; task++)
        if (strcmp(name, classes[task]) == 0)
            return task;
    return SC_TASK_PRETRAINING;
}

static sc_status read_labels(const json_t *root, sc_model *model)
{
    if (model->task != SC_TASK_CLASSIFICATION && model->task != SC_TASK_TAGGING)
        return SC_OK;
    SC_TRY(count_labels(root, &model->labels));
    const char *problem = json_string_value(json_object_get(root, "problem_type"));
    if (problem && strcmp(problem, "regression") == 0)
        return SC_FAIL(SC_INVALID, "problem_type is \"regression\"; labels are supported, numbers are not");
    model->multi_label = model->task == SC_TASK_CLASSIFICATION && problem && strcmp(problem, multi_label) == 0;
    return SC_OK;
}

sc_status sc_hf_config_read_bert(const json_t *root, sc_model *model)
{
    static const char *const activations[] = {"gelu", NULL}, *const positions[] = {"absolute", NULL};
    *model = (sc_model){.family = SC_BERT, .norm_epsilon = 1e-12f, .dropout = 0.1f, .task = task_of(root)};
    SC_TRY(sc_hf_config_read_sizes(root, sizes, N_SIZES, model));
    SC_TRY(sc_hf_config_read_number(root, "layer_norm_eps", 1e-30, 1, &model->norm_epsilon));
    SC_TRY(sc_hf_config_read_number(root, "hidden_dropout_prob", 0, 0.999999, &model->dropout));
    model->attention_dropout = 0.1f; /* transformers' default, as that of the others */
    SC_TRY(sc_hf_config_read_number(root, "attention_probs_dropout_prob", 0, 0.999999, &model->attention_dropout));
    model->classifier_dropout = model->dropout;
    if (!json_is_null(json_object_get(root, "classifier_dropout")))
        SC_TRY(sc_hf_config_read_number(root, "classifier_dropout", 0, 0.999999, &model->classifier_dropout));
    SC_TRY(sc_hf_config_check_word(root, "hidden_act", activations));
    SC_TRY(sc_hf_config_check_word(root, "position_embedding_type", positions));
    SC_TRY(sc_hf_config_check_switch(root, "is_decoder", false));
    if (sc_model_tied_param(model) >= 0)
        SC_TRY(sc_hf_config_check_switch(root, "tie_word_embeddings", true));
    return read_labels(root, model);
}

/* --- writing ------------------------------------------------------------------------------------------------------- */

static bool add_labels(json_t *root, const sc_model *model, const sc_labels *labels)
{
    json_t *names = json_object(), *ids = json_object();
    bool ok = names && ids;
    for (int32_t i = 0; ok && i < model->labels; i++) {
        char key[16], name[24];
        snprintf(key, sizeof key, "%" PRId32, i);
        snprintf(name, sizeof name, "LABEL_%" PRId32, i);
        const char *label = labels ? labels->names[i] : name;
        ok = json_object_set_new(names, key, json_string(label)) == 0 &&
             json_object_set_new(ids, label, json_integer(i)) == 0;
    }
    ok = json_object_set_new(root, "id2label", names) == 0 && ok;
    return json_object_set_new(root, "label2id", ids) == 0 && ok;
}

json_t *sc_hf_config_describe_bert(const sc_model *model, sc_dtype weights, const sc_labels *labels)
{
    sc_model written = *model;
    written.intermediate = sc_model_intermediate(model);
    json_t *root = json_pack(
        "{s:s, s:[s], s:s, s:s, s:s, s:f, s:f, s:f, s:o, s:b}", "model_type", "bert", "architectures",
        sc_hf_config_class(model), "hidden_act", "gelu", "position_embedding_type", "absolute", "torch_dtype",
        sc_dtype_name(weights), "layer_norm_eps", sc_hf_config_shortest(model->norm_epsilon), "hidden_dropout_prob",
        sc_hf_config_shortest(model->dropout), "attention_probs_dropout_prob",
        sc_hf_config_shortest(model->attention_dropout), "classifier_dropout",
        model->classifier_dropout == model->dropout ? json_null()
                                                    : json_real(sc_hf_config_shortest(model->classifier_dropout)),
        "tie_word_embeddings", true);
    bool ok = root && sc_hf_config_write_sizes(root, sizes, N_SIZES, &written);
    if (ok && model->labels > 0)
        ok = add_labels(root, model, labels);
    if (ok && model->task == SC_TASK_CLASSIFICATION)
        ok = json_object_set_new(root, "problem_type",
                                 json_string(model->multi_label ? multi_label : "single_label_classification")) == 0;
    if (ok)
        return root;
    json_decref(root);
    return NULL;
}
