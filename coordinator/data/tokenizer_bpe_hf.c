/* Hugging Face's tokenizer.json, read: every key is known to change nothing, or checked, or refused. */
#include "coordinator/data/hf_rules.h"
#include "coordinator/data/tokenizer_bpe.h"
#include "coordinator/data/tokenizer_internal.h"

#include <string.h>

static const sc_hf_rule file_rules[] = {
    {"version", SC_HF_ANYTHING},        {"truncation", SC_HF_NULL},  {"padding", SC_HF_NULL},
    {"added_tokens", SC_HF_ANYTHING},   {"normalizer", SC_HF_NULL},  {"pre_tokenizer", SC_HF_ANYTHING},
    {"post_processor", SC_HF_ANYTHING}, {"decoder", SC_HF_ANYTHING}, {"model", SC_HF_ANYTHING}};
/* Every byte is a token, so nothing is ever unknown: what is done then does not matter. */
static const sc_hf_rule model_rules[] = {{"type", SC_HF_ANYTHING},
                                         {"dropout", SC_HF_ZERO},
                                         {"unk_token", SC_HF_ANYTHING},
                                         {"continuing_subword_prefix", SC_HF_EMPTY},
                                         {"end_of_word_suffix", SC_HF_EMPTY},
                                         {"fuse_unk", SC_HF_ANYTHING},
                                         {"byte_fallback", SC_HF_ANYTHING},
                                         {"ignore_merges", SC_HF_FALSE},
                                         {"vocab", SC_HF_ANYTHING},
                                         {"merges", SC_HF_ANYTHING}};
static const sc_hf_rule byte_level_rules[] = {{"type", SC_HF_ANYTHING},
                                              {"add_prefix_space", SC_HF_FALSE},
                                              {"trim_offsets", SC_HF_ANYTHING},
                                              {"use_regex", SC_HF_TRUE}};
/* As a post-processor or decoder it moves no id, whatever its settings. */
static const sc_hf_rule idle_rules[] = {{"type", SC_HF_ANYTHING},
                                        {"add_prefix_space", SC_HF_ANYTHING},
                                        {"trim_offsets", SC_HF_ANYTHING},
                                        {"use_regex", SC_HF_ANYTHING}};
static const sc_hf_rule template_rules[] = {
    {"type", SC_HF_ANYTHING}, {"single", SC_HF_ANYTHING}, {"pair", SC_HF_ANYTHING}, {"special_tokens", SC_HF_ANYTHING}};

/* A part that may be absent, or ByteLevel. */
static sc_status check_idle(const json_t *file, const char *key)
{
    const json_t *part = json_object_get(file, key);
    if (!part || json_is_null(part))
        return SC_OK;
    SC_TRY(sc_hf_check_type(part, key, "ByteLevel"));
    return sc_hf_check(part, key, idle_rules, SC_HF_N_RULES(idle_rules));
}

/* transformers 5 writes a template, too. It adds no token where one text is itself and nothing else; `pair` is for two. */
static sc_status check_post_processor(const json_t *file)
{
    const json_t *part = json_object_get(file, "post_processor"), *single = json_object_get(part, "single");
    const char *type = json_string_value(json_object_get(part, "type"));
    if (!type || strcmp(type, "TemplateProcessing") != 0)
        return check_idle(file, "post_processor");
    SC_TRY(sc_hf_check(part, "post_processor", template_rules, SC_HF_N_RULES(template_rules)));
    const char *text = json_string_value(json_object_get(json_object_get(json_array_get(single, 0), "Sequence"), "id"));
    if (json_array_size(single) != 1 || !text || strcmp(text, "A") != 0)
        return SC_FAIL(SC_INVALID,
                       "post_processor: its template \"single\" adds tokens; supported is one that is the text "
                       "alone, [{\"Sequence\": {\"id\": \"A\", ...}}]");
    return SC_OK;
}

static sc_status check_parts(const json_t *file)
{
    SC_TRY(sc_hf_check(file, "the file", file_rules, SC_HF_N_RULES(file_rules)));
    const json_t *model = json_object_get(file, "model"), *words = json_object_get(file, "pre_tokenizer");
    SC_TRY(sc_hf_check_type(model, "model", "BPE"));
    SC_TRY(sc_hf_check(model, "model", model_rules, SC_HF_N_RULES(model_rules)));
    SC_TRY(sc_hf_check_type(words, "pre_tokenizer", "ByteLevel"));
    SC_TRY(sc_hf_check(words, "pre_tokenizer", byte_level_rules, SC_HF_N_RULES(byte_level_rules)));
    if (!json_object_get(words, "add_prefix_space"))
        return SC_FAIL(SC_INVALID, "pre_tokenizer: \"add_prefix_space\" is missing; allowed: false");
    SC_TRY(check_post_processor(file));
    return check_idle(file, "decoder");
}

/* A merge is "left right", or ["left", "right"]. */
static sc_status read_merge(sc_tokenizer *self, const json_t *vocab, const json_t *merge)
{
    if (json_is_string(merge))
        return sc_tokenizer_bpe_merge(self, vocab, json_string_value(merge), json_string_length(merge));
    const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
    if (!json_is_string(left) || !json_is_string(right) || json_array_size(merge) != 2)
        return SC_FAIL(SC_INVALID, "is not two tokens");
    json_t *line = json_sprintf("%s %s", json_string_value(left), json_string_value(right));
    if (!line)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a merge");
    const sc_status status = sc_tokenizer_bpe_merge(self, vocab, json_string_value(line), json_string_length(line));
    json_decref(line);
    return status;
}

sc_status sc_tokenizer_bpe_load_hf(const json_t *file, sc_tokenizer **out)
{
    *out = NULL;
    SC_TRY(check_parts(file));
    const json_t *model = json_object_get(file, "model");
    const json_t *vocab = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
    if (!json_is_object(vocab) || !json_is_array(merges))
        return SC_FAIL(SC_INVALID, "model: lacks the object \"vocab\" or the list \"merges\"");
    json_t *added = json_object();
    sc_status status;
    SC_TRY_GOTO(status, sc_hf_read_added(json_object_get(file, "added_tokens"), added), out);
    SC_TRY_GOTO(status, sc_tokenizer_bpe_new(vocab, added, json_array_size(merges), out), out);
    size_t i;
    json_t *merge;
    json_array_foreach(merges, i, merge)
    {
        status = read_merge(*out, vocab, merge);
        if (status != SC_OK) {
            status = SC_FAIL(status, "model.merges[%zu]: %s", i, sc_status_message());
            sc_tokenizer_destroy(out);
            break;
        }
    }
out:
    json_decref(added);
    return status;
}
