/* config.json: what is read, what is refused by name, and that what is written is read again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/run/hf_config.h"
#include "tests/unit/scratch.h"

#define SIZES "\"n_layer\": 3, \"n_head\": 4, \"n_embd\": 24, \"n_positions\": 32, \"vocab_size\": 260"
#define BASE  "\"model_type\": \"gpt2\", " SIZES

static sc_status parse(const char *text, sc_model *out)
{
    return sc_hf_config_parse(text, strlen(text), "dir/config.json", out);
}

static void a_config_of_transformers_is_read(void **state)
{
    (void)state;
    sc_model c;
    assert_int_equal(sc_hf_config_load(SC_SOURCE_DIR "/tests/golden/hf-gpt2", &c), SC_OK);
    assert_int_equal(c.family, SC_GPT2);
    assert_int_equal(c.layers, 3);
    assert_int_equal(c.heads, 4);
    assert_int_equal(c.hidden, 24);
    assert_int_equal(c.context, 32);
    assert_int_equal(c.vocab, 260);
    assert_true(c.norm_epsilon == 2e-5f);
    assert_true(c.dropout == 0.1f);
    assert_true(c.tied);
}

static void absent_keys_are_gpt2s_defaults(void **state)
{
    (void)state;
    sc_model c;
    assert_int_equal(parse("{" BASE "}", &c), SC_OK);
    assert_true(c.norm_epsilon == 1e-5f && c.dropout == 0 && c.tied);
    assert_int_equal(parse("{" BASE ", \"n_inner\": 96, \"activation_function\": \"gelu_pytorch_tanh\","
                           "\"reorder_and_upcast_attn\": true, \"n_ctx\": 7, \"tie_word_embeddings\": false,"
                           "\"quantization_config\": null, \"pruned_heads\": {}, \"scale_attn_weights\": true}",
                           &c),
                     SC_OK);
    assert_false(c.tied);
}

static void what_is_not_supported_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "dir/config.json:1: is not JSON"},
        {"[]", "dir/config.json: is not a JSON object"},
        {"{" BASE ", \"n_layer\": 3}", "is not JSON: duplicate"},
        {"{" SIZES "}", "model_type is \"\"; supported are \"gpt2\" and \"bert\""},
        {"{\"model_type\": \"t5\"}", "model_type is \"t5\"; supported are \"gpt2\" and \"bert\""},
        {"{\"model_type\": \"gpt2\", \"n_layer\": 3}", "n_head is missing"},
        {"{\"model_type\": \"gpt2\", \"n_layer\": 0}", "n_layer must be a positive integer"},
        {"{\"model_type\": \"gpt2\", \"n_layer\": 2147483648}", "n_layer must be a positive integer"},
        {"{\"model_type\": \"gpt2\", \"n_layer\": 3.0}", "n_layer must be a positive integer"},
        {"{" BASE ", \"n_inner\": 48}", "n_inner is not null or 4 x n_embd = 96"},
        {"{" BASE ", \"n_inner\": \"96\"}", "n_inner is not null"},
        {"{" BASE ", \"activation_function\": \"relu\"}", "activation_function is \"relu\"; supported are"},
        {"{" BASE ", \"activation_function\": \"gelu\"}", "activation_function is \"gelu\"; supported are"},
        {"{" BASE ", \"activation_function\": 3}", "activation_function is not a text"},
        {"{" BASE ", \"scale_attn_weights\": false}", "scale_attn_weights is not true"},
        {"{" BASE ", \"scale_attn_by_inverse_layer_idx\": true}", "scale_attn_by_inverse_layer_idx is not false"},
        {"{" BASE ", \"add_cross_attention\": true}", "add_cross_attention is not false"},
        {"{" BASE ", \"pruned_heads\": {\"0\": [1]}}", "pruned_heads is not empty"},
        {"{" BASE ", \"quantization_config\": {\"bits\": 4}}", "quantization_config is set"},
        {"{" BASE ", \"layer_norm_epsilon\": 0}", "layer_norm_epsilon must be a number"},
        {"{" BASE ", \"layer_norm_epsilon\": \"1e-5\"}", "layer_norm_epsilon must be a number"},
        {"{" BASE ", \"resid_pdrop\": 1.0}", "resid_pdrop must be a number"},
        {"{" BASE ", \"tie_word_embeddings\": 1}", "tie_word_embeddings must be true or false"},
        {"{\"model_type\": \"gpt2\", \"n_layer\": 3, \"n_head\": 5, \"n_embd\": 24, \"n_positions\": 32, "
         "\"vocab_size\": 260}",
         "hidden 24 is not divisible by model.heads 5"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sc_model c;
        assert_int_equal(parse(cases[i].text, &c), SC_INVALID);
        if (!strstr(sc_status_message(), cases[i].message))
            fail_msg("'%s' is not in '%s'", cases[i].message, sc_status_message());
    }
    sc_model c;
    assert_int_equal(sc_hf_config_load("/nowhere", &c), SC_NOT_FOUND);
    assert_non_null(strstr(sc_status_message(), "/nowhere/config.json"));
}

static void what_is_written_is_what_transformers_writes(void **state)
{
    (void)state;
    const sc_model model = {.family = SC_GPT2,
                            .layers = 3,
                            .heads = 4,
                            .hidden = 24,
                            .context = 32,
                            .vocab = 260,
                            .dropout = 0.1f,
                            .attention_dropout = 0.1f,
                            .classifier_dropout = 0.1f,
                            .norm_epsilon = 2e-5f,
                            .tied = true};
    assert_int_equal(sc_hf_config_save(&model, SC_BF16, NULL, scratch_file("config.json")), SC_OK);
    sc_model c;
    assert_int_equal(sc_hf_config_load(scratch_path, &c), SC_OK);
    assert_memory_equal(&c, &model, offsetof(sc_model, tied)); /* behind it is padding */
    assert_true(c.tied);
    char *text = scratch_read("config.json");
    assert_string_equal(text, "{\n"
                              "  \"activation_function\": \"gelu_new\",\n"
                              "  \"architectures\": [\n"
                              "    \"GPT2LMHeadModel\"\n"
                              "  ],\n"
                              "  \"attn_pdrop\": 0.1,\n"
                              "  \"bos_token_id\": null,\n"
                              "  \"embd_pdrop\": 0.1,\n"
                              "  \"eos_token_id\": null,\n"
                              "  \"layer_norm_epsilon\": 2e-5,\n"
                              "  \"model_type\": \"gpt2\",\n"
                              "  \"n_embd\": 24,\n"
                              "  \"n_head\": 4,\n"
                              "  \"n_inner\": null,\n"
                              "  \"n_layer\": 3,\n"
                              "  \"n_positions\": 32,\n"
                              "  \"resid_pdrop\": 0.1,\n"
                              "  \"tie_word_embeddings\": true,\n"
                              "  \"torch_dtype\": \"bfloat16\",\n"
                              "  \"vocab_size\": 260\n"
                              "}\n");
    free(text);
    sc_model gpt2 = model;
    gpt2.vocab = 50257;
    gpt2.tied = false;
    assert_int_equal(sc_hf_config_save(&gpt2, SC_F32, NULL, scratch_file("config.json")), SC_OK);
    text = scratch_read("config.json");
    assert_non_null(strstr(text, "\"eos_token_id\": 50256")); /* <|endoftext|> */
    assert_non_null(strstr(text, "\"tie_word_embeddings\": false"));
    free(text);
    assert_int_equal(sc_hf_config_load(scratch_path, &c), SC_OK);
    assert_false(c.tied);
    assert_int_equal(sc_hf_config_save(&gpt2, SC_F32, NULL, "/nowhere/config.json"), SC_NOT_FOUND);
}

/* BERT's three dropouts: what is read is written, and what transformers leaves to another key stays so. */
static void each_dropout_has_its_key(void **state)
{
    (void)state;
    static const char sizes[] = "\"model_type\": \"bert\", \"num_hidden_layers\": 2, \"num_attention_heads\": 2, "
                                "\"hidden_size\": 32, \"intermediate_size\": 64, \"max_position_embeddings\": 16, "
                                "\"type_vocab_size\": 2, \"vocab_size\": 40";
    static const struct {
        const char *text;
        float hidden, attention, classifier;
        const char *written;
    } cases[] = {
        {"", 0.1f, 0.1f, 0.1f, "\"classifier_dropout\": null"},
        {", \"hidden_dropout_prob\": 0.2, \"classifier_dropout\": null", 0.2f, 0.1f, 0.2f,
         "\"classifier_dropout\": null"},
        {", \"hidden_dropout_prob\": 0.0, \"attention_probs_dropout_prob\": 0.3, \"classifier_dropout\": 0.4", 0, 0.3f,
         0.4f, "\"classifier_dropout\": 0.4"},
        {", \"attention_probs_dropout_prob\": 0, \"classifier_dropout\": 0", 0.1f, 0, 0, "\"classifier_dropout\": 0.0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        sc_model read, again;
        snprintf(text, sizeof text, "{%s%s}", sizes, cases[i].text);
        assert_int_equal(parse(text, &read), SC_OK);
        assert_true(read.dropout == cases[i].hidden && read.attention_dropout == cases[i].attention &&
                    read.classifier_dropout == cases[i].classifier);
        assert_int_equal(sc_hf_config_save(&read, SC_F32, NULL, scratch_file("config.json")), SC_OK);
        char *written = scratch_read("config.json");
        assert_non_null(strstr(written, cases[i].written));
        free(written);
        assert_int_equal(sc_hf_config_load(scratch_path, &again), SC_OK);
        assert_true(again.dropout == read.dropout && again.attention_dropout == read.attention_dropout &&
                    again.classifier_dropout == read.classifier_dropout);
    }
    sc_model model;
    assert_int_equal(parse("{" BASE ", \"resid_pdrop\": 0.1, \"attn_pdrop\": 0.2}", &model), SC_OK);
    assert_true(model.dropout == 0.1f && model.attention_dropout == 0.2f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_config_of_transformers_is_read),
        cmocka_unit_test(absent_keys_are_gpt2s_defaults),
        cmocka_unit_test(what_is_not_supported_is_refused_by_name),
        cmocka_unit_test_setup_teardown(each_dropout_has_its_key, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(what_is_written_is_what_transformers_writes, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
