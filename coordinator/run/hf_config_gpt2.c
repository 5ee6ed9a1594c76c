/* transformers' GPT2Config. */
#include "coordinator/run/hf_config_internal.h"

#include <inttypes.h>

static const sc_hf_size sizes[] = {
    {"n_layer", offsetof(sc_model, layers)},   {"n_head", offsetof(sc_model, heads)},
    {"n_embd", offsetof(sc_model, hidden)},    {"n_positions", offsetof(sc_model, context)},
    {"vocab_size", offsetof(sc_model, vocab)},
};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

static sc_status check_mlp(const json_t *root, const sc_model *model)
{
    static const char *const activations[] = {"gelu_new", "gelu_pytorch_tanh", NULL};
    const json_t *inner = json_object_get(root, "n_inner");
    if (inner && !json_is_null(inner) &&
        !(json_is_integer(inner) && json_integer_value(inner) == 4 * (json_int_t)model->hidden))
        return SC_FAIL(SC_INVALID, "n_inner is not null or 4 x n_embd = %" PRId64 "; no other width is supported",
                       4 * (int64_t)model->hidden);
    return sc_hf_config_check_word(root, "activation_function", activations);
}

sc_status sc_hf_config_read_gpt2(const json_t *root, sc_model *model)
{
    *model = (sc_model){.family = SC_GPT2, .norm_epsilon = 1e-5f};
    SC_TRY(sc_hf_config_read_sizes(root, sizes, N_SIZES, model));
    SC_TRY(sc_hf_config_read_number(root, "layer_norm_epsilon", 1e-30, 1, &model->norm_epsilon));
    SC_TRY(sc_hf_config_read_number(root, "resid_pdrop", 0, 0.999999, &model->dropout));
    model->attention_dropout = model->classifier_dropout = model->dropout;
    SC_TRY(sc_hf_config_read_number(root, "attn_pdrop", 0, 0.999999, &model->attention_dropout));
    SC_TRY(sc_hf_config_check_switch(root, "scale_attn_weights", true));
    SC_TRY(sc_hf_config_check_switch(root, "scale_attn_by_inverse_layer_idx", false));
    SC_TRY(check_mlp(root, model));
    const json_t *tied = json_object_get(root, "tie_word_embeddings");
    if (tied && !json_is_boolean(tied))
        return SC_FAIL(SC_INVALID, "tie_word_embeddings must be true or false");
    model->tied = !tied || json_is_true(tied);
    return SC_OK;
}

enum { GPT2_VOCAB = 50257, GPT2_END_OF_TEXT = 50256 };

/* Keys are as transformers writes them. bos_token_id and eos_token_id must be said: absent they mean GPT-2's own, which another
 * vocabulary does not have. */
json_t *sc_hf_config_describe_gpt2(const sc_model *model, sc_dtype weights)
{
    double dropout = sc_hf_config_shortest(model->dropout);
    json_t *root =
        json_pack("{s:s, s:[s], s:s, s:s, s:f, s:f, s:f, s:f, s:n, s:b}", "model_type", "gpt2", "architectures",
                  sc_hf_config_class(model), "activation_function", "gelu_new", "torch_dtype", sc_dtype_name(weights),
                  "layer_norm_epsilon", sc_hf_config_shortest(model->norm_epsilon), "attn_pdrop",
                  sc_hf_config_shortest(model->attention_dropout), "embd_pdrop", dropout, "resid_pdrop", dropout,
                  "n_inner", "tie_word_embeddings", model->tied);
    bool ok = root && sc_hf_config_write_sizes(root, sizes, N_SIZES, model);
    bool is_gpt2 = model->vocab == GPT2_VOCAB;
    ok = ok && json_object_set_new(root, "bos_token_id", is_gpt2 ? json_integer(GPT2_END_OF_TEXT) : json_null()) == 0;
    ok = ok && json_object_set_new(root, "eos_token_id", is_gpt2 ? json_integer(GPT2_END_OF_TEXT) : json_null()) == 0;
    if (ok)
        return root;
    json_decref(root);
    return NULL;
}
