/* The checks that all kinds of tokenizer share. */
#include "coordinator/data/hf_rules.h"

#include <stdio.h>
#include <string.h>

static const sc_hf_rule added_rules[] = {
    {"id", SC_HF_ANYTHING},  {"content", SC_HF_ANYTHING},    {"single_word", SC_HF_FALSE}, {"lstrip", SC_HF_FALSE},
    {"rstrip", SC_HF_FALSE}, {"normalized", SC_HF_ANYTHING}, {"special", SC_HF_ANYTHING}};

static bool obeys(const json_t *value, sc_hf_allowed what)
{
    switch (what) {
    case SC_HF_ANYTHING:
        return true;
    case SC_HF_NULL:
        return json_is_null(value);
    case SC_HF_FALSE:
        return json_is_false(value);
    case SC_HF_TRUE:
        return json_is_true(value);
    case SC_HF_EMPTY:
        return json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0);
    case SC_HF_ZERO:
        return json_is_null(value) || (json_is_number(value) && json_number_value(value) == 0);
    case SC_HF_BOOLEAN:
        return json_is_boolean(value);
    }
    return false;
}

sc_status sc_hf_check(const json_t *object, const char *what, const sc_hf_rule *rules, size_t n_rules)
{
    static const char *const names[] = {"anything",     "null",      "false",        "true",
                                        "null or \"\"", "null or 0", "true or false"};
    if (!json_is_object(object))
        return SC_FAIL(SC_INVALID, "%s is missing, or no object", what);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        const sc_hf_rule *found = NULL;
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

sc_status sc_hf_check_type(const json_t *object, const char *what, const char *type)
{
    const char *found = json_string_value(json_object_get(object, "type"));
    if (!found || strcmp(found, type) != 0)
        return SC_FAIL(SC_INVALID, "%s has the type \"%.60s\"; supported: %s", what, found ? found : "", type);
    return SC_OK;
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
sc_status sc_hf_read_added(const json_t *list, json_t *added)
{
    if (list && !json_is_array(list))
        return SC_FAIL(SC_INVALID, "added_tokens is no list");
    size_t i;
    json_t *token;
    json_array_foreach(list, i, token)
    {
        char what[40];
        snprintf(what, sizeof what, "added_tokens[%zu]", i);
        SC_TRY(sc_hf_check(token, what, added_rules, SC_HF_N_RULES(added_rules)));
        const json_t *content = json_object_get(token, "content");
        const char *text = json_string_value(content);
        if (!text || strlen(text) != json_string_length(content) || json_object_get(added, text))
            return SC_FAIL(SC_INVALID, "%s: \"content\" is no text of its own", what);
        if (json_object_set(added, text, json_object_get(token, "id")) != 0)
            return SC_FAIL(SC_INVALID, "%s: \"id\" is missing", what);
    }
    return check_order(list);
}
