/* The BPE tokenizer's vocabulary: putting it together with every check, saving, loading. */
#include "coordinator/data/tokenizer_bpe.h"
#include "coordinator/data/byte_alphabet.h"
#include "coordinator/data/tokenizer_bpe_internal.h"
#include "coordinator/data/vocabulary.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = SC_VOCABULARY_SHOWN };

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

size_t sc_bpe_symbols(const sc_bpe *self, int32_t id, char out[SC_BPE_MAX_SYMBOLS])
{
    return sc_added_tokens_has(&self->added, id)
               ? decode(&self->base, id, out)
               : sc_byte_alphabet_write(self->bytes + self->starts[id], sc_bpe_length(self, id), out);
}

static int32_t special(const sc_tokenizer *base, const char *content)
{
    return sc_added_tokens_id(&((const sc_bpe *)base)->added, content);
}

static void destroy(sc_tokenizer *base)
{
    sc_bpe *self = (sc_bpe *)base;
    sc_pre_tokenizer_destroy(&self->words);
    sc_bpe_merges_clear(&self->merges);
    free(self->bytes);
    free(self->starts);
    sc_added_tokens_clear(&self->added);
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
    for (int32_t id = 0; id < self->n && !bad && self->added.n; id++)
        if (sc_added_tokens_has(&self->added, id))
            bad = json_array_append_new(added, json_integer(id));
    /* Each takes its list, also when it fails. */
    bad = json_object_set_new(object, "vocab", tokens) | bad;
    bad = json_object_set_new(object, "merges", merges) | bad;
    return json_object_set_new(object, "added", added) | bad;
}

/* Writes a token's bytes to self->bytes at `at`. */
static sc_status convert(sc_bpe *self, int32_t id, const sc_vocabulary_entry *token)
{
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
        return sc_added_tokens_add(&self->added, token->text, id);
    if (n == 1)
        self->byte_ids[(unsigned char)self->bytes[at]] = id;
    return SC_OK;
}

static sc_status allocate(sc_bpe *self, const sc_vocabulary_entry *entries, size_t n)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < n; i++)
        n_bytes += strlen(entries[i].text);
    self->n = (int)n;
    self->bytes = malloc(n_bytes + 1);
    self->starts = calloc(n + 1, sizeof *self->starts);
    memset(self->byte_ids, 0xFF, sizeof self->byte_ids); /* all -1 */
    if (!self->bytes || !self->starts)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu tokens", n);
    return SC_OK;
}

static sc_status fill(sc_bpe *self, const json_t *vocabulary, const json_t *added)
{
    size_t n;
    sc_vocabulary_entry *entries;
    SC_TRY(sc_vocabulary_read(vocabulary, added, &entries, &n));
    sc_status status;
    SC_TRY_GOTO(status, allocate(self, entries, n), out);
    for (size_t id = 0; id < n; id++)
        SC_TRY_GOTO(status, convert(self, (int32_t)id, &entries[id]), out);
    for (int byte = 0; byte < 256; byte++)
        if (self->byte_ids[byte] < 0) {
            status = SC_FAIL(SC_INVALID, "no token stands for byte 0x%02X; a byte-level vocabulary has all 256", byte);
            goto out;
        }
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

static sc_status load(const json_t *object, sc_tokenizer **out)
{
    const json_t *list = json_object_get(object, "vocab"), *merges = json_object_get(object, "merges");
    const json_t *added = json_object_get(object, "added");
    if (!json_is_array(list) || !json_is_array(merges) || !json_is_array(added))
        return SC_FAIL(SC_INVALID, "lacks one of the lists \"vocab\", \"merges\" and \"added\"");
    json_t *vocabulary = json_object(), *added_ids = json_object();
    sc_status status;
    SC_TRY_GOTO(status, sc_vocabulary_index(list, added, vocabulary, added_ids), out);
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
                                                       .export = sc_tokenizer_bpe_export,
                                                       .save = save,
                                                       .load = load,
                                                       .n_keys = 3,
                                                       .destroy = destroy};
