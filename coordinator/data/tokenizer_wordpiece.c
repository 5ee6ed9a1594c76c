/* The WordPiece tokenizer's vocabulary: putting it together with every check, saving, loading. */
#include "coordinator/data/tokenizer_wordpiece.h"
#include "coordinator/data/tokenizer_wordpiece_internal.h"
#include "coordinator/data/vocabulary.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { SHOWN = SC_VOCABULARY_SHOWN };

static int vocab(const sc_tokenizer *base)
{
    return ((const sc_wordpiece *)base)->n;
}

bool sc_wordpiece_goes_on(const sc_wordpiece *self, int32_t id)
{
    const size_t n = self->starts[id + 1] - self->starts[id];
    return n > self->n_prefix && memcmp(self->bytes + self->starts[id], self->prefix, self->n_prefix) == 0;
}

static bool continues(const sc_tokenizer *base, int32_t id)
{
    const sc_wordpiece *self = (const sc_wordpiece *)base;
    return id >= 0 && id < self->n && sc_wordpiece_goes_on(self, id);
}

/* A word as it is written behind another, or a piece that goes on without its prefix. */
static size_t decode(const sc_tokenizer *base, int32_t id, char out[SC_TOKEN_MAX_BYTES])
{
    const sc_wordpiece *self = (const sc_wordpiece *)base;
    if (id < 0 || id >= self->n)
        return 0;
    const bool goes_on = sc_wordpiece_goes_on(self, id);
    const size_t from = self->starts[id] + (goes_on ? self->n_prefix : 0), n = self->starts[id + 1] - from;
    out[0] = ' ';
    memcpy(out + !goes_on, self->bytes + from, n);
    return n + !goes_on;
}

static int32_t special(const sc_tokenizer *base, const char *content)
{
    return sc_added_tokens_id(&((const sc_wordpiece *)base)->added, content);
}

static void destroy(sc_tokenizer *base)
{
    sc_wordpiece *self = (sc_wordpiece *)base;
    sc_added_tokens_clear(&self->added);
    free(self->prefix);
    free(self->bytes);
    free(self->starts);
    free(self->index);
    free(self);
}

static json_t *text_of(const sc_wordpiece *self, int32_t id)
{
    return json_stringn(self->bytes + self->starts[id], self->starts[id + 1] - self->starts[id]);
}

static int save(const sc_tokenizer *base, json_t *object)
{
    const sc_wordpiece *self = (const sc_wordpiece *)base;
    json_t *tokens = json_array(), *added = json_array();
    int bad = 0;
    for (int32_t id = 0; id < self->n && !bad; id++)
        bad = json_array_append_new(tokens, text_of(self, id));
    for (int32_t id = 0; id < self->n && !bad && self->added.n; id++)
        if (sc_added_tokens_has(&self->added, id))
            bad = json_array_append_new(added, json_integer(id));
    /* Each takes its value, also when it fails. */
    bad = json_object_set_new(object, "vocab", tokens) | bad;
    bad = json_object_set_new(object, "added", added) | bad;
    bad = json_object_set_new(object, "unknown", text_of(self, self->unknown)) | bad;
    bad = json_object_set_new(object, "prefix", json_string(self->prefix)) | bad;
    bad = json_object_set_new(object, "longest_word", json_integer(self->longest_word)) | bad;
    bad = json_object_set_new(object, "clean", json_boolean(self->options.clean)) | bad;
    bad = json_object_set_new(object, "chinese", json_boolean(self->options.chinese)) | bad;
    bad = json_object_set_new(object, "strip_accents", json_boolean(self->options.strip_accents)) | bad;
    return json_object_set_new(object, "lowercase", json_boolean(self->options.lowercase)) | bad;
}

static size_t hash_of(bool goes_on, const char *bytes, size_t n)
{
    return XXH3_64bits_withSeed(bytes, n, goes_on);
}

int32_t sc_wordpiece_find(const sc_wordpiece *self, bool goes_on, const char *bytes, size_t n)
{
    const size_t skipped = goes_on ? self->n_prefix : 0;
    for (size_t i = hash_of(goes_on, bytes, n);; i++) {
        const int32_t id = self->index[i & (self->n_index - 1)];
        if (id < 0)
            return -1;
        if (self->starts[id + 1] - self->starts[id] == n + skipped && sc_wordpiece_goes_on(self, id) == goes_on &&
            memcmp(self->bytes + self->starts[id] + skipped, bytes, n) == 0)
            return id;
    }
}

static sc_status make_index(sc_wordpiece *self)
{
    self->n_index = 1;
    while (self->n_index < 4 * (size_t)self->n) /* a quarter full: a piece that is not there is soon known not to be */
        self->n_index *= 2;
    self->index = malloc(self->n_index * sizeof *self->index);
    if (!self->index)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %d tokens", self->n);
    memset(self->index, 0xFF, self->n_index * sizeof *self->index); /* all -1 */
    for (int32_t id = 0; id < self->n; id++) {
        const bool goes_on = sc_wordpiece_goes_on(self, id);
        const size_t from = self->starts[id] + (goes_on ? self->n_prefix : 0), n = self->starts[id + 1] - from;
        size_t i = hash_of(goes_on, self->bytes + from, n);
        while (self->index[i & (self->n_index - 1)] >= 0)
            i++;
        self->index[i & (self->n_index - 1)] = id;
        self->longest_piece = n > self->longest_piece ? n : self->longest_piece;
    }
    return SC_OK;
}

static sc_status copy_tokens(sc_wordpiece *self, const sc_vocabulary_entry *entries, size_t n)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < n; i++)
        n_bytes += strlen(entries[i].text);
    self->n = (int)n;
    self->bytes = malloc(n_bytes);
    self->starts = calloc(n + 1, sizeof *self->starts);
    if (!self->bytes || !self->starts)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu tokens", n);
    for (size_t id = 0; id < n; id++) {
        const size_t length = strlen(entries[id].text);
        if (length > SC_TOKEN_MAX_BYTES - 1) /* decode puts a space in front */
            return SC_FAIL(SC_INVALID, "token '%.*s' has %zu bytes; allowed: 1 to %d", SHOWN, entries[id].text, length,
                           SC_TOKEN_MAX_BYTES - 1);
        memcpy(self->bytes + self->starts[id], entries[id].text, length);
        self->starts[id + 1] = self->starts[id] + length;
        if (entries[id].added)
            SC_TRY(sc_added_tokens_add(&self->added, entries[id].text, (int32_t)id));
    }
    return SC_OK;
}

static void make_ascii(sc_wordpiece *self)
{
    for (uint32_t c = 0; c < 128; c++) {
        sc_bert_parts parts;
        sc_bert_normalize(&self->options, c, &parts);
        self->ascii_class[c] = (uint8_t)parts.class;
        self->ascii_normal[c] = parts.n ? (char)parts.items[0].c : 0;
    }
}

static sc_status fill(sc_wordpiece *self, const sc_vocabulary_entry *entries, size_t n,
                      const sc_wordpiece_options *options)
{
    self->options = options->text;
    self->longest_word = options->longest_word;
    if (options->longest_word < 1 || options->longest_word > SC_WORDPIECE_LONGEST_WORD)
        return SC_FAIL(SC_INVALID, "the longest word has %d characters; allowed: 1 to %d", options->longest_word,
                       SC_WORDPIECE_LONGEST_WORD);
    self->n_prefix = strlen(options->prefix);
    self->prefix = strdup(options->prefix);
    if (!self->prefix)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a tokenizer");
    if (self->n_prefix == 0)
        return SC_FAIL(SC_INVALID, "the prefix of pieces that go on is empty; BERT has \"##\"");
    SC_TRY(copy_tokens(self, entries, n));
    SC_TRY(make_index(self));
    make_ascii(self);
    self->unknown = -1;
    for (int32_t id = 0; id < self->n && self->unknown < 0; id++)
        if (strcmp(entries[id].text, options->unknown) == 0)
            self->unknown = id;
    if (self->unknown < 0)
        return SC_FAIL(SC_INVALID, "the vocabulary lacks the unknown token '%.*s'", SHOWN, options->unknown);
    return SC_OK;
}

sc_wordpiece_options sc_wordpiece_defaults(bool lowercase)
{
    return (sc_wordpiece_options){
        .text = {.clean = true, .chinese = true, .strip_accents = lowercase, .lowercase = lowercase},
        .unknown = "[UNK]",
        .prefix = "##",
        .longest_word = 100,
    };
}

sc_status sc_tokenizer_wordpiece_new(const json_t *vocabulary, const json_t *added, const sc_wordpiece_options *options,
                                     sc_tokenizer **out)
{
    *out = NULL;
    sc_vocabulary_entry *entries;
    size_t n;
    SC_TRY(sc_vocabulary_read(vocabulary, added, &entries, &n));
    sc_wordpiece *self = calloc(1, sizeof *self);
    sc_status status = SC_OK;
    if (self) {
        self->base.kind = &sc_tokenizer_wordpiece_kind;
        status = fill(self, entries, n, options);
        if (status != SC_OK)
            destroy(&self->base);
        else
            *out = &self->base;
    } else {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a tokenizer");
    }
    free(entries);
    return status;
}

static sc_status read_options(const json_t *object, sc_wordpiece_options *options)
{
    const struct {
        const char *key;
        bool *value;
    } switches[] = {{"clean", &options->text.clean},
                    {"chinese", &options->text.chinese},
                    {"strip_accents", &options->text.strip_accents},
                    {"lowercase", &options->text.lowercase}};
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++) {
        const json_t *value = json_object_get(object, switches[i].key);
        if (!json_is_boolean(value))
            return SC_FAIL(SC_INVALID, "\"%s\" is neither true nor false", switches[i].key);
        *switches[i].value = json_is_true(value);
    }
    options->unknown = json_string_value(json_object_get(object, "unknown"));
    options->prefix = json_string_value(json_object_get(object, "prefix"));
    const json_t *longest = json_object_get(object, "longest_word");
    const json_int_t n = json_is_integer(longest) ? json_integer_value(longest) : 0;
    if (!options->unknown || !options->prefix)
        return SC_FAIL(SC_INVALID, "lacks one of the texts \"unknown\" and \"prefix\"");
    if (n < 1 || n > SC_WORDPIECE_LONGEST_WORD)
        return SC_FAIL(SC_INVALID, "\"longest_word\" is no integer from 1 to %d", SC_WORDPIECE_LONGEST_WORD);
    options->longest_word = (int)n;
    return SC_OK;
}

static sc_status load(const json_t *object, sc_tokenizer **out)
{
    *out = NULL;
    const json_t *list = json_object_get(object, "vocab"), *added = json_object_get(object, "added");
    if (!json_is_array(list) || !json_is_array(added))
        return SC_FAIL(SC_INVALID, "lacks one of the lists \"vocab\" and \"added\"");
    sc_wordpiece_options options;
    SC_TRY(read_options(object, &options));
    json_t *vocabulary = json_object(), *added_ids = json_object();
    sc_status status;
    SC_TRY_GOTO(status, sc_vocabulary_index(list, added, vocabulary, added_ids), out);
    status = sc_tokenizer_wordpiece_new(vocabulary, added_ids, &options, out);
out:
    json_decref(vocabulary);
    json_decref(added_ids);
    return status;
}

const sc_tokenizer_kind_table sc_tokenizer_wordpiece_kind = {.type = "wordpiece",
                                                             .vocab = vocab,
                                                             .encode = sc_wordpiece_encode,
                                                             .encode_spans = sc_wordpiece_encode_spans,
                                                             .decode = decode,
                                                             .special = special,
                                                             .continues = continues,
                                                             .export = sc_wordpiece_export,
                                                             .save = save,
                                                             .load = load,
                                                             .n_keys = 9,
                                                             .destroy = destroy};
