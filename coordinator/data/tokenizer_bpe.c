/* The BPE tokenizer's vocabulary: putting it together with every check, saving, loading. */
#include "coordinator/data/tokenizer_bpe.h"
#include "coordinator/data/byte_alphabet.h"
#include "coordinator/data/tokenizer_bpe_internal.h"
#include "coordinator/data/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 60 }; /* bytes of a token that a message repeats */
enum { MAX_ADDED = 1024 };

static int vocab(const sc_tokenizer *base)
{
    return ((const sc_bpe *)base)->n;
}

static size_t decode(const sc_tokenizer *base, int32_t id, char out[SC_TOKEN_MAX_BYTES])
{
    const sc_bpe *self = (const sc_bpe *)base;
    if (id < 0 || id >= self->n)
        return 0;
    const size_t n = sc_bpe_length(self, id);
    memcpy(out, self->bytes + self->starts[id], n);
    return n;
}

bool sc_bpe_is_added(const sc_bpe *self, int32_t id)
{
    for (int i = 0; i < self->n_added; i++)
        if (self->added[i] == id)
            return true;
    return false;
}

size_t sc_bpe_symbols(const sc_bpe *self, int32_t id, char out[SC_BPE_MAX_SYMBOLS])
{
    return sc_bpe_is_added(self, id)
               ? decode(&self->base, id, out)
               : sc_byte_alphabet_write(self->bytes + self->starts[id], sc_bpe_length(self, id), out);
}

static int32_t special(const sc_tokenizer *base, const char *content)
{
    const sc_bpe *self = (const sc_bpe *)base;
    const size_t n = strlen(content);
    for (int i = 0; i < self->n_added; i++)
        if (sc_bpe_length(self, self->added[i]) == n &&
            memcmp(self->bytes + self->starts[self->added[i]], content, n) == 0)
            return self->added[i];
    return -1;
}

static void destroy(sc_tokenizer *base)
{
    sc_bpe *self = (sc_bpe *)base;
    sc_pre_tokenizer_destroy(&self->words);
    sc_bpe_merges_clear(&self->merges);
    free(self->bytes);
    free(self->starts);
    free(self->added);
    free(self);
}

static json_t *save_merge(const sc_bpe *self, const sc_bpe_merge *merge)
{
    char line[2 * SC_BPE_MAX_SYMBOLS + 1];
    size_t n = sc_bpe_symbols(self, merge->left, line);
    line[n++] = ' ';
    n += sc_bpe_symbols(self, merge->right, line + n);
    return json_stringn(line, n);
}

static int save(const sc_tokenizer *base, json_t *object)
{
    const sc_bpe *self = (const sc_bpe *)base;
    json_t *tokens = json_array(), *merges = json_array(), *added = json_array();
    int bad = 0;
    for (int32_t id = 0; id < self->n && !bad; id++) {
        char symbols[SC_BPE_MAX_SYMBOLS];
        bad = json_array_append_new(tokens, json_stringn(symbols, sc_bpe_symbols(self, id, symbols)));
    }
    for (uint32_t i = 0; i < self->merges.n && !bad; i++)
        bad = json_array_append_new(merges, save_merge(self, &self->merges.items[i]));
    for (int32_t id = 0; id < self->n && !bad && self->n_added; id++)
        if (sc_bpe_is_added(self, id))
            bad = json_array_append_new(added, json_integer(id));
    /* Each takes its list, also when it fails. */
    bad = json_object_set_new(object, "vocab", tokens) | bad;
    bad = json_object_set_new(object, "merges", merges) | bad;
    return json_object_set_new(object, "added", added) | bad;
}

/* A token while the vocabulary is put together. */
typedef struct entry {
    const char *text; /* borrowed from the JSON; NULL: no token has the id yet */
    bool added;
} entry;

/* Enters all of {"token": id, ...}. */
static sc_status enter(const json_t *object, bool added, entry *entries, size_t n)
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
        entries[id] = (entry){.text = text, .added = added};
    }
    return SC_OK;
}

/* How many tokens there are: those of vocab, and added ones that it lacks. */
static sc_status count(const json_t *vocabulary, const json_t *added, size_t *n)
{
    *n = json_object_size(vocabulary);
    const char *text;
    json_t *value;
    json_object_foreach((json_t *)added, text, value)
    {
        const json_t *known = json_object_get(vocabulary, text);
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

/* Writes a token's bytes to self->bytes at `at`. */
static sc_status convert(sc_bpe *self, int32_t id, const entry *token)
{
    if (!token->text)
        return SC_FAIL(SC_INVALID, "no token has the id %" PRId32, id);
    const size_t at = self->starts[id], length = strlen(token->text);
    size_t n = length;
    if (token->added)
        memcpy(self->bytes + at, token->text, length);
    else
        n = sc_byte_alphabet_read(token->text, length, self->bytes + at);
    if (n == SIZE_MAX)
        return SC_FAIL(SC_INVALID, "token '%.*s' has a character that stands for no byte", SHOWN, token->text);
    if (n == 0 || n > SC_TOKEN_MAX_BYTES)
        return SC_FAIL(SC_INVALID, "token '%.*s' has %zu bytes; allowed: 1 to %d", SHOWN, token->text, n,
                       SC_TOKEN_MAX_BYTES);
    self->starts[id + 1] = at + n;
    if (token->added)
        self->added[self->n_added++] = id;
    else if (n == 1)
        self->byte_ids[(unsigned char)self->bytes[at]] = id;
    return SC_OK;
}

static sc_status allocate(sc_bpe *self, const entry *entries, size_t n)
{
    size_t n_bytes = 0, n_added = 0;
    for (size_t i = 0; i < n; i++) {
        n_bytes += entries[i].text ? strlen(entries[i].text) : 0;
        n_added += entries[i].added;
    }
    self->n = (int)n;
    self->bytes = malloc(n_bytes + 1);
    self->starts = calloc(n + 1, sizeof *self->starts);
    self->added = calloc(n_added + 1, sizeof *self->added);
    memset(self->byte_ids, 0xFF, sizeof self->byte_ids); /* all -1 */
    if (!self->bytes || !self->starts || !self->added)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu tokens", n);
    return SC_OK;
}

/* Sorts the added tokens, longest first, and prepares the search for them. */
static void index_added(sc_bpe *self)
{
    for (int i = 1; i < self->n_added; i++)
        for (int k = i; k > 0 && sc_bpe_length(self, self->added[k]) > sc_bpe_length(self, self->added[k - 1]); k--) {
            const int32_t id = self->added[k];
            self->added[k] = self->added[k - 1];
            self->added[k - 1] = id;
        }
    self->longest_added = self->n_added ? sc_bpe_length(self, self->added[0]) : 0;
    for (int i = 0; i < self->n_added; i++)
        self->begins_added[(unsigned char)self->bytes[self->starts[self->added[i]]]] = true;
}

static sc_status fill(sc_bpe *self, const json_t *vocabulary, const json_t *added)
{
    size_t n;
    SC_TRY(count(vocabulary, added, &n));
    entry *entries = calloc(n, sizeof *entries);
    if (!entries)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu tokens", n);
    sc_status status;
    SC_TRY_GOTO(status, enter(vocabulary, false, entries, n), out);
    SC_TRY_GOTO(status, enter(added, true, entries, n), out);
    SC_TRY_GOTO(status, allocate(self, entries, n), out);
    for (size_t id = 0; id < n; id++)
        SC_TRY_GOTO(status, convert(self, (int32_t)id, &entries[id]), out);
    for (int byte = 0; byte < 256; byte++)
        if (self->byte_ids[byte] < 0) {
            status = SC_FAIL(SC_INVALID, "no token stands for byte 0x%02X; a byte-level vocabulary has all 256", byte);
            goto out;
        }
    index_added(self);
out:
    free(entries);
    return status;
}

sc_status sc_tokenizer_bpe_new(const json_t *vocabulary, const json_t *added, size_t most_merges, sc_tokenizer **out)
{
    *out = NULL;
    if (most_merges > INT32_MAX / 2)
        return SC_FAIL(SC_INVALID, "has %zu merges", most_merges);
    sc_bpe *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a tokenizer");
    self->base.kind = &sc_tokenizer_bpe_kind;
    sc_status status;
    SC_TRY_GOTO(status, fill(self, vocabulary, added), out);
    SC_TRY_GOTO(status, sc_bpe_merges_init(&self->merges, (uint32_t)most_merges), out);
    SC_TRY_GOTO(status, sc_pre_tokenizer_new(&self->words), out);
    *out = &self->base;
    return SC_OK;
out:
    destroy(&self->base);
    return status;
}

/* The id of a token that merges name, -1 if the vocabulary lacks it. */
static int32_t find(const json_t *vocabulary, const char *text, size_t n)
{
    const json_t *value = json_object_getn(vocabulary, text, n);
    return value ? (int32_t)json_integer_value(value) : -1;
}

sc_status sc_tokenizer_bpe_merge(sc_tokenizer *base, const json_t *vocabulary, const char *line, size_t n_bytes)
{
    sc_bpe *self = (sc_bpe *)base;
    const int shown = n_bytes < SHOWN ? (int)n_bytes : SHOWN;
    const char *space = memchr(line, ' ', n_bytes);
    const size_t left = space ? (size_t)(space - line) : 0, right = space ? n_bytes - left - 1 : 0;
    if (left == 0 || right == 0 || memchr(space + 1, ' ', right) || left + right > SC_BPE_MAX_SYMBOLS)
        return SC_FAIL(SC_INVALID, "'%.*s' is not two tokens with a space between", shown, line);
    char joined[SC_BPE_MAX_SYMBOLS];
    memcpy(joined, line, left);
    memcpy(joined + left, space + 1, right);
    const sc_bpe_merge merge = {.left = find(vocabulary, line, left),
                                .right = find(vocabulary, space + 1, right),
                                .merged = find(vocabulary, joined, left + right)};
    if (merge.left < 0 || merge.right < 0)
        return SC_FAIL(SC_INVALID, "'%.*s' is a token that the vocabulary lacks",
                       merge.left < 0 ? (int)left : (int)right, merge.left < 0 ? line : space + 1);
    if (merge.merged < 0)
        return SC_FAIL(SC_INVALID, "'%.*s' merges to a token that the vocabulary lacks", shown, line);
    if (sc_bpe_merges_add(&self->merges, merge) != SC_OK)
        return SC_FAIL(SC_INVALID, "'%.*s' is given for the second time", shown, line);
    return SC_OK;
}

/* {"token": id} of the list's entries, and of those that `added` counts. */
static sc_status index_list(const json_t *list, const json_t *added, json_t *vocabulary, json_t *added_ids)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        if (!text || strlen(text) != json_string_length(item))
            return SC_FAIL(SC_INVALID, "vocab[%zu] is no text", i);
        if (json_object_get(vocabulary, text))
            return SC_FAIL(SC_INVALID, "vocab[%zu], '%.*s', is there for the second time", i, SHOWN, text);
        if (json_object_set_new(vocabulary, text, json_integer((json_int_t)i)) != 0)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the vocabulary");
    }
    json_array_foreach(added, i, item)
    {
        const json_int_t id = json_is_integer(item) ? json_integer_value(item) : -1;
        const json_t *text = id < 0 ? NULL : json_array_get(list, (size_t)id);
        if (!text || json_object_get(added_ids, json_string_value(text)))
            return SC_FAIL(SC_INVALID, "added[%zu] is not another id of the vocabulary", i);
        if (json_object_set_new(added_ids, json_string_value(text), json_integer(id)) != 0)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the vocabulary");
    }
    return SC_OK;
}

static sc_status load(const json_t *object, sc_tokenizer **out)
{
    const json_t *list = json_object_get(object, "vocab"), *merges = json_object_get(object, "merges");
    const json_t *added = json_object_get(object, "added");
    if (!json_is_array(list) || !json_is_array(merges) || !json_is_array(added))
        return SC_FAIL(SC_INVALID, "lacks one of the lists \"vocab\", \"merges\" and \"added\"");
    json_t *vocabulary = json_object(), *added_ids = json_object();
    sc_status status;
    SC_TRY_GOTO(status, index_list(list, added, vocabulary, added_ids), out);
    SC_TRY_GOTO(status, sc_tokenizer_bpe_new(vocabulary, added_ids, json_array_size(merges), out), out);
    size_t i;
    json_t *item;
    json_array_foreach(merges, i, item)
    {
        status = json_is_string(item)
                     ? sc_tokenizer_bpe_merge(*out, vocabulary, json_string_value(item), json_string_length(item))
                     : SC_FAIL(SC_INVALID, "is no text");
        if (status != SC_OK) {
            status = SC_FAIL(status, "merges[%zu]: %s", i, sc_status_message());
            sc_tokenizer_destroy(out);
            break;
        }
    }
out:
    json_decref(vocabulary);
    json_decref(added_ids);
    return status;
}

const sc_tokenizer_kind_table sc_tokenizer_bpe_kind = {.type = "bpe",
                                                       .vocab = vocab,
                                                       .encode = sc_bpe_encode,
                                                       .decode = decode,
                                                       .special = special,
                                                       .save = save,
                                                       .load = load,
                                                       .n_keys = 3,
                                                       .destroy = destroy};
