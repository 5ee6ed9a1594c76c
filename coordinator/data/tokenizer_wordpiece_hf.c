/* Hugging Face's tokenizer.json with a WordPiece model, read. */
#include "coordinator/data/hf_rules.h"
#include "coordinator/data/tokenizer_wordpiece.h"
#include "coordinator/data/tokenizer_wordpiece_internal.h"

#include <string.h>

static const sc_hf_rule file_rules[] = {
    {"version", SC_HF_ANYTHING},        {"truncation", SC_HF_ANYTHING}, {"padding", SC_HF_ANYTHING},
    {"added_tokens", SC_HF_ANYTHING},   {"normalizer", SC_HF_ANYTHING}, {"pre_tokenizer", SC_HF_ANYTHING},
    {"post_processor", SC_HF_ANYTHING}, {"decoder", SC_HF_ANYTHING},    {"model", SC_HF_ANYTHING}};
static const sc_hf_rule model_rules[] = {{"type", SC_HF_ANYTHING},
                                         {"unk_token", SC_HF_ANYTHING},
                                         {"continuing_subword_prefix", SC_HF_ANYTHING},
                                         {"max_input_chars_per_word", SC_HF_ANYTHING},
                                         {"vocab", SC_HF_ANYTHING}};
static const sc_hf_rule normalizer_rules[] = {{"type", SC_HF_ANYTHING},
                                              {"clean_text", SC_HF_BOOLEAN},
                                              {"handle_chinese_chars", SC_HF_BOOLEAN},
                                              {"strip_accents", SC_HF_ANYTHING},
                                              {"lowercase", SC_HF_BOOLEAN}};

/* Files of before 2021 do not name the model's type, but no other kind has this key. */
bool sc_tokenizer_wordpiece_is_hf(const json_t *file)
{
    const json_t *model = json_object_get(file, "model"), *type = json_object_get(model, "type");
    if (json_is_string(type))
        return strcmp(json_string_value(type), "WordPiece") == 0;
    return json_object_get(model, "max_input_chars_per_word") != NULL;
}

static sc_status read_normalizer(const json_t *normalizer, sc_bert_options *options)
{
    SC_TRY(sc_hf_check_type(normalizer, "normalizer", "BertNormalizer"));
    SC_TRY(sc_hf_check(normalizer, "normalizer", normalizer_rules, SC_HF_N_RULES(normalizer_rules)));
    /* An option that is not there is true. */
    options->clean = !json_is_false(json_object_get(normalizer, "clean_text"));
    options->chinese = !json_is_false(json_object_get(normalizer, "handle_chinese_chars"));
    options->lowercase = !json_is_false(json_object_get(normalizer, "lowercase"));
    const json_t *strip = json_object_get(normalizer, "strip_accents");
    if (strip && !json_is_null(strip) && !json_is_boolean(strip))
        return SC_FAIL(SC_INVALID, "normalizer: \"strip_accents\" is neither true nor false nor null");
    options->strip_accents = json_is_boolean(strip) ? json_is_true(strip) : options->lowercase;
    return SC_OK;
}

static sc_status read_model(const json_t *model, sc_wordpiece_options *options)
{
    SC_TRY(sc_hf_check(model, "model", model_rules, SC_HF_N_RULES(model_rules)));
    const json_t *longest = json_object_get(model, "max_input_chars_per_word");
    options->unknown = json_string_value(json_object_get(model, "unk_token"));
    options->prefix = json_string_value(json_object_get(model, "continuing_subword_prefix"));
    if (!options->unknown || !options->prefix || !json_is_object(json_object_get(model, "vocab")))
        return SC_FAIL(SC_INVALID,
                       "model: lacks the text \"unk_token\" or \"continuing_subword_prefix\", or the object "
                       "\"vocab\"");
    const json_int_t n = json_is_integer(longest) ? json_integer_value(longest) : 0;
    if (n < 1 || n > SC_WORDPIECE_LONGEST_WORD)
        return SC_FAIL(SC_INVALID, "model: \"max_input_chars_per_word\" is no integer from 1 to %d",
                       SC_WORDPIECE_LONGEST_WORD);
    options->longest_word = (int)n;
    return SC_OK;
}

/* A token that is "normalized" is looked for in what normalisation leaves, not in the text. */
static sc_status check_added(const json_t *list)
{
    size_t i;
    json_t *token;
    json_array_foreach(list, i, token) if (!json_is_false(json_object_get(token, "normalized"))) return SC_FAIL(
        SC_INVALID,
        "added_tokens[%zu], '%.60s', is \"normalized\", which is not supported for WordPiece; "
        "allowed: false, as add_special_tokens makes it",
        i, json_string_value(json_object_get(token, "content")));
    return SC_OK;
}

/* Whether a template's part is the special token of this id or, if it has none, the sequence. */
static bool is_part(const json_t *part, const char *kind, const char *id, int type)
{
    const json_t *inner = json_object_get(part, kind);
    const char *found = json_string_value(json_object_get(inner, "id"));
    return found && strcmp(found, id) == 0 && json_integer_value(json_object_get(inner, "type_id")) == type;
}

static bool is_bert_template(const json_t *processor)
{
    const json_t *single = json_object_get(processor, "single"), *pair = json_object_get(processor, "pair");
    static const struct {
        const char *kind, *id;
        int type;
    } parts[] = {{"SpecialToken", "[CLS]", 0},
                 {"Sequence", "A", 0},
                 {"SpecialToken", "[SEP]", 0},
                 {"Sequence", "B", 1},
                 {"SpecialToken", "[SEP]", 1}};
    bool same = json_array_size(single) == 3 && json_array_size(pair) == 5;
    for (size_t i = 0; i < 5 && same; i++)
        same = is_part(json_array_get(pair, i), parts[i].kind, parts[i].id, parts[i].type) &&
               (i > 2 || is_part(json_array_get(single, i), parts[i].kind, parts[i].id, parts[i].type));
    return same;
}

/* What stands around one text or two is BERT's, or nothing is said about it. */
static sc_status check_processor(const json_t *processor)
{
    if (!processor || json_is_null(processor))
        return SC_OK;
    const char *type = json_string_value(json_object_get(processor, "type"));
    const char *cls = json_string_value(json_array_get(json_object_get(processor, "cls"), 0));
    const char *sep = json_string_value(json_array_get(json_object_get(processor, "sep"), 0));
    if (type && strcmp(type, "TemplateProcessing") == 0 && is_bert_template(processor))
        return SC_OK;
    if (type && strcmp(type, "BertProcessing") == 0 && cls && sep && strcmp(cls, "[CLS]") == 0 &&
        strcmp(sep, "[SEP]") == 0)
        return SC_OK;
    return SC_FAIL(SC_INVALID,
                   "post_processor: does not put texts as [CLS] A [SEP] and [CLS] A [SEP] B [SEP], with B and "
                   "what follows as segment 1; that alone is supported");
}

sc_status sc_tokenizer_wordpiece_load_hf(const json_t *file, sc_tokenizer **out)
{
    *out = NULL;
    sc_wordpiece_options options;
    const json_t *model = json_object_get(file, "model"), *list = json_object_get(file, "added_tokens");
    SC_TRY(sc_hf_check(file, "the file", file_rules, SC_HF_N_RULES(file_rules)));
    SC_TRY(read_normalizer(json_object_get(file, "normalizer"), &options.text));
    SC_TRY(sc_hf_check_type(json_object_get(file, "pre_tokenizer"), "pre_tokenizer", "BertPreTokenizer"));
    SC_TRY(check_processor(json_object_get(file, "post_processor")));
    SC_TRY(read_model(model, &options));
    json_t *added = json_object();
    sc_status status;
    SC_TRY_GOTO(status, sc_hf_read_added(list, added), out);
    SC_TRY_GOTO(status, check_added(list), out);
    status = sc_tokenizer_wordpiece_new(json_object_get(model, "vocab"), added, &options, out);
out:
    json_decref(added);
    return status;
}
