/* Hugging Face's tokenizer.json, read: every key is known to change nothing, or checked, or refused. */
#include "coordinator/data/tokenizer_bpe.h"
#include "coordinator/data/tokenizer_internal.h"

#include <string.h>

/* What a key may hold without changing what the text becomes. */
typedef enum allowed {
    ANYTHING, /* changes nothing, or is looked at elsewhere */
    NOTHING,  /* null */
    NO,       /* false */
    YES,      /* true */
    EMPTY,    /* null or "" */
    ZERO,     /* null or 0 */
} allowed;

typedef struct rule {
    const char *key;
    allowed value;
} rule;

static const rule file_rules[] = {{"version", ANYTHING},        {"truncation", NOTHING}, {"padding", NOTHING},
                                  {"added_tokens", ANYTHING},   {"normalizer", NOTHING}, {"pre_tokenizer", ANYTHING},
                                  {"post_processor", ANYTHING}, {"decoder", ANYTHING},   {"model", ANYTHING}};
/* Every byte is a token, so nothing is ever unknown: what is done then does not matter. */
static const rule model_rules[] = {{"type", ANYTHING},
                                   {"dropout", ZERO},
                                   {"unk_token", ANYTHING},
                                   {"continuing_subword_prefix", EMPTY},
                                   {"end_of_word_suffix", EMPTY},
                                   {"fuse_unk", ANYTHING},
                                   {"byte_fallback", ANYTHING},
                                   {"ignore_merges", NO},
                                   {"vocab", ANYTHING},
                                   {"merges", ANYTHING}};
static const rule byte_level_rules[] = {
    {"type", ANYTHING}, {"add_prefix_space", NO}, {"trim_offsets", ANYTHING}, {"use_regex", YES}};
/* As a post-processor or decoder it moves no id, whatever its settings. */
static const rule idle_rules[] = {
    {"type", ANYTHING}, {"add_prefix_space", ANYTHING}, {"trim_offsets", ANYTHING}, {"use_regex", ANYTHING}};
static const rule template_rules[] = {
    {"type", ANYTHING}, {"single", ANYTHING}, {"pair", ANYTHING}, {"special_tokens", ANYTHING}};
static const rule added_rules[] = {{"id", ANYTHING}, {"content", ANYTHING},    {"single_word", NO},  {"lstrip", NO},
                                   {"rstrip", NO},   {"normalized", ANYTHING}, {"special", ANYTHING}};
#define N_RULES(rules) (sizeof(rules) / sizeof *(rules))

static bool obeys(const json_t *value, allowed what)
{
    switch (what) {
    case ANYTHING:
        return true;
    case NOTHING:
        return json_is_null(value);
    case NO:
        return json_is_false(value);
    case YES:
        return json_is_true(value);
    case EMPTY:
        return json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0);
    case ZERO:
        return json_is_null(value) || (json_is_number(value) && json_number_value(value) == 0);
    }
    return false;
}

static sc_status check(const json_t *object, const char *what, const rule *rules, size_t n_rules)
{
    static const char *const names[] = {"anything", "null", "false", "true", "null or \"\"", "null or 0"};
    if (!json_is_object(object))
        return SC_FAIL(SC_INVALID, "%s is missing, or no object", what);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        const rule *found = NULL;
        for (size_t i = 0; i < n_rules && !found; i++)
            if (strcmp(rules[i].key, key) == 0)
                found = &rules[i];
        if (!found)
            return SC_FAIL(SC_INVALID, "%s: the key \"%.60s\" is not known", what, key);
        if (!obeys(value, found->value))
            return SC_FAIL(SC_INVALID, "%s: \"%s\" would change the tokens in a way that is not supported; allowed: %s",
                           what, key, names[found->value]);
    }
    return SC_OK;
}

static sc_status check_type(const json_t *object, const char *what, const char *type)
{
    const char *found = json_string_value(json_object_get(object, "type"));
    if (!found || strcmp(found, type) != 0)
        return SC_FAIL(SC_INVALID, "%s has the type \"%.60s\"; supported: %s", what, found ? found : "", type);
    return SC_OK;
}

/* A part that may be absent, or ByteLevel. */
static sc_status check_idle(const json_t *file, const char *key)
{
    const json_t *part = json_object_get(file, key);
    if (!part || json_is_null(part))
        return SC_OK;
    SC_TRY(check_type(part, key, "ByteLevel"));
    return check(part, key, idle_rules, N_RULES(idle_rules));
}

/* transformers 5 writes a template, too. It adds no token where one text is itself and nothing else; `pair` is for two. */
static sc_status check_post_processor(const json_t *file)
{
    const json_t *part = json_object_get(file, "post_processor"), *single = json_object_get(part, "single");
    const char *type = json_string_value(json_object_get(part, "type"));
    if (!type || strcmp(type, "TemplateProcessing") != 0)
        return check_idle(file, "post_processor");
    SC_TRY(check(part, "post_processor", template_rules, N_RULES(template_rules)));
    const char *text = json_string_value(json_object_get(json_object_get(json_array_get(single, 0), "Sequence"), "id"));
    if (json_array_size(single) != 1 || !text || strcmp(text, "A") != 0)
        return SC_FAIL(SC_INVALID,
                       "post_processor: its template \"single\" adds tokens; supported is one that is the text "
                       "alone, [{\"Sequence\": {\"id\": \"A\", ...}}]");
    return SC_OK;
}

static sc_status check_parts(const json_t *file)
{
    SC_TRY(check(file, "the file", file_rules, N_RULES(file_rules)));
    const json_t *model = json_object_get(file, "model"), *words = json_object_get(file, "pre_tokenizer");
    SC_TRY(check_type(model, "model", "BPE"));
    SC_TRY(check(model, "model", model_rules, N_RULES(model_rules)));
    SC_TRY(check_type(words, "pre_tokenizer", "ByteLevel"));
    SC_TRY(check(words, "pre_tokenizer", byte_level_rules, N_RULES(byte_level_rules)));
    if (!json_object_get(words, "add_prefix_space"))
        return SC_FAIL(SC_INVALID, "pre_tokenizer: \"add_prefix_space\" is missing; allowed: false");
    SC_TRY(check_post_processor(file));
    return check_idle(file, "decoder");
}

/* Whether one text can be found where the other is: inside it, or across its end. */
static bool overlap(const char *a, const char *b)
{
    if (strstr(a, b) || strstr(b, a))
        return true;
    const size_t n_a = strlen(a), n_b = strlen(b);
    for (size_t n = 1; n < n_a && n < n_b; n++)
        if (memcmp(a + n_a - n, b, n) == 0 || memcmp(b + n_b - n, a, n) == 0)
            return true;
    return false;
}

/* Hugging Face looks for tokens that are not "normalized" first, through the whole text, and then for the others; here the
 * leftmost of all is found first. Only texts that overlap could tell. */
static sc_status check_order(const json_t *list)
{
    size_t i, k;
    json_t *a, *b;
    json_array_foreach(list, i, a) json_array_foreach(list, k, b)
    {
        const char *first = json_string_value(json_object_get(a, "content"));
        const char *second = json_string_value(json_object_get(b, "content"));
        if (json_is_true(json_object_get(a, "normalized")) && !json_is_true(json_object_get(b, "normalized")) &&
            overlap(first, second))
            return SC_FAIL(SC_INVALID,
                           "added_tokens: '%.60s' and '%.60s' overlap and differ in \"normalized\"; make it equal",
                           first, second);
    }
    return SC_OK;
}

/* {"content": id} of the list of added tokens. */
static sc_status read_added(const json_t *list, json_t *added)
{
    if (list && !json_is_array(list))
        return SC_FAIL(SC_INVALID, "added_tokens is no list");
    size_t i;
    json_t *token;
    json_array_foreach(list, i, token)
    {
        char what[40];
        snprintf(what, sizeof what, "added_tokens[%zu]", i);
        SC_TRY(check(token, what, added_rules, N_RULES(added_rules)));
        const json_t *content = json_object_get(token, "content");
        const char *text = json_string_value(content);
        if (!text || strlen(text) != json_string_length(content) || json_object_get(added, text))
            return SC_FAIL(SC_INVALID, "%s: \"content\" is no text of its own", what);
        if (json_object_set(added, text, json_object_get(token, "id")) != 0)
            return SC_FAIL(SC_INVALID, "%s: \"id\" is missing", what);
    }
    return check_order(list);
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
    SC_TRY_GOTO(status, read_added(json_object_get(file, "added_tokens"), added), out);
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
