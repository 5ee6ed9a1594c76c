#include "coordinator/data/vocabulary.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = SC_VOCABULARY_SHOWN };
enum { MAX_ADDED = 1024 };

/* Enters all of {"token": id, ...}. */
static sc_status enter(const json_t *object, bool added, sc_vocabulary_entry *entries, size_t n)
{
    const char *text;
    json_t *value;
    json_object_foreach((json_t *)object, text, value)
    {
        if (!json_is_integer(value))
            return SC_FAIL(SC_INVALID, "token '%.*s' has no integer as its id", SHOWN, text);
        const json_int_t id = json_integer_value(value);
        if (id < 0 || (uint64_t)id >= n)
            return SC_FAIL(SC_INVALID, "token '%.*s' has id %" JSON_INTEGER_FORMAT ", but %zu tokens have 0 to %zu",
                           SHOWN, text, id, n, n - 1);
        if (entries[id].text && strcmp(entries[id].text, text) != 0)
            return SC_FAIL(SC_INVALID, "tokens '%.*s' and '%.*s' have the same id %" JSON_INTEGER_FORMAT, SHOWN,
                           entries[id].text, SHOWN, text, id);
        entries[id] = (sc_vocabulary_entry){.text = text, .added = added};
    }
    return SC_OK;
}

/* How many tokens there are: those of vocab, and added ones that it lacks. */
static sc_status count(const json_t *vocab, const json_t *added, size_t *n)
{
    *n = json_object_size(vocab);
    const char *text;
    json_t *value;
    json_object_foreach((json_t *)added, text, value)
    {
        const json_t *known = json_object_get(vocab, text);
        if (known && !json_equal(known, value))
            return SC_FAIL(SC_INVALID, "the added token '%.*s' has another id than in the vocabulary", SHOWN, text);
        *n += !known;
    }
    if (*n == 0 || *n > INT32_MAX / 2)
        return SC_FAIL(SC_INVALID, "has %zu tokens", *n);
    if (json_object_size(added) > MAX_ADDED)
        return SC_FAIL(SC_INVALID, "has %zu added tokens; allowed: at most %d", json_object_size(added), MAX_ADDED);
    return SC_OK;
}

sc_status sc_vocabulary_read(const json_t *vocab, const json_t *added, sc_vocabulary_entry **out, size_t *n)
{
    *out = NULL;
    SC_TRY(count(vocab, added, n));
    sc_vocabulary_entry *entries = calloc(*n, sizeof *entries);
    if (!entries)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu tokens", *n);
    sc_status status;
    SC_TRY_GOTO(status, enter(vocab, false, entries, *n), out);
    SC_TRY_GOTO(status, enter(added, true, entries, *n), out);
    for (size_t id = 0; id < *n; id++) {
        if (!entries[id].text)
            status = SC_FAIL(SC_INVALID, "no token has the id %zu", id);
        else if (!entries[id].text[0])
            status = SC_FAIL(SC_INVALID, "the token of id %zu has 0 bytes", id);
        if (status != SC_OK)
            goto out;
    }
    *out = entries;
    entries = NULL;
out:
    free(entries);
    return status;
}

sc_status sc_vocabulary_index(const json_t *list, const json_t *added_list, json_t *vocab, json_t *added)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        if (!text || strlen(text) != json_string_length(item))
            return SC_FAIL(SC_INVALID, "vocab[%zu] is no text", i);
        if (json_object_get(vocab, text))
            return SC_FAIL(SC_INVALID, "vocab[%zu], '%.*s', is there for the second time", i, SHOWN, text);
        if (json_object_set_new(vocab, text, json_integer((json_int_t)i)) != 0)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the vocabulary");
    }
    json_array_foreach(added_list, i, item)
    {
        const json_int_t id = json_is_integer(item) ? json_integer_value(item) : -1;
        const json_t *text = id < 0 ? NULL : json_array_get(list, (size_t)id);
        if (!text || json_object_get(added, json_string_value(text)))
            return SC_FAIL(SC_INVALID, "added[%zu] is not another id of the vocabulary", i);
        if (json_object_set_new(added, json_string_value(text), json_integer(id)) != 0)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the vocabulary");
    }
    return SC_OK;
}
