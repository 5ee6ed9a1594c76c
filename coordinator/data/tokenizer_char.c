/* The char tokenizer: an id is the place of a code point among those of the training text, in ascending order. */
#include "coordinator/data/tokenizer_internal.h"
#include "coordinator/data/utf8.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct char_tokenizer {
    sc_tokenizer base;
    int n;                 /* characters; 0 until frozen */
    uint32_t *code_points; /* [n], ascending */
    int32_t *ids;          /* [SC_UTF8_CODE_POINTS]: -1 if the character is unknown; until frozen 0 if it was seen */
} char_tokenizer;

static int vocab(const sc_tokenizer *self)
{
    return ((const char_tokenizer *)self)->n;
}

static sc_status unknown_character(const sc_text *text, size_t at, uint32_t code_point)
{
    sc_utf8_place place = sc_text_place(text, at);
    return SC_FAIL(SC_INVALID,
                   "%s:%" PRIu64 ":%" PRIu64 ": the character U+%04" PRIX32 " does not occur in the training text, "
                   "of whose characters the vocabulary is made; leave it out, or train with data.tokenizer: byte",
                   text->name, place.line, place.column, code_point);
}

static sc_status encode(const sc_tokenizer *base, const sc_text *text, bool more, sc_tokenizer_put put, void *context,
                        size_t *used)
{
    const char_tokenizer *self = (const char_tokenizer *)base;
    assert(self->n > 0);
    int32_t ids[SC_TOKENIZER_PIECE];
    size_t n = 0;
    size_t end;
    SC_TRY(sc_text_check_utf8(text, more, &end));
    for (size_t at = 0; at < end;) {
        uint32_t code_point = 0;
        size_t length = sc_utf8_decode(text->bytes + at, end - at, &code_point);
        if (self->ids[code_point] < 0)
            return unknown_character(text, at, code_point);
        ids[n++] = self->ids[code_point];
        at += length;
        if (n == SC_TOKENIZER_PIECE || at == end) {
            SC_TRY(put(context, ids, n));
            n = 0;
        }
    }
    *used = end;
    return SC_OK;
}

static size_t decode(const sc_tokenizer *base, int32_t id, char out[SC_TOKEN_MAX_BYTES])
{
    const char_tokenizer *self = (const char_tokenizer *)base;
    return id < 0 || id >= self->n ? 0 : sc_utf8_encode(self->code_points[id], out);
}

static int save(const sc_tokenizer *base, json_t *object)
{
    const char_tokenizer *self = (const char_tokenizer *)base;
    json_t *list = json_array();
    for (int i = 0; i < self->n; i++) {
        char bytes[SC_UTF8_MAX_BYTES];
        size_t length = sc_utf8_encode(self->code_points[i], bytes);
        if (json_array_append_new(list, json_stringn(bytes, length)) != 0) {
            json_decref(list);
            return -1;
        }
    }
    return json_object_set_new(object, "vocab", list);
}

static void destroy(sc_tokenizer *base)
{
    char_tokenizer *self = (char_tokenizer *)base;
    free(self->code_points);
    free(self->ids);
    free(self);
}

/* Adds entry i of the list, which must be one character above all before it. */
static sc_status load_entry(char_tokenizer *self, const json_t *list, size_t i, int64_t *last)
{
    const json_t *entry = json_array_get(list, i);
    uint32_t code_point = 0;
    size_t n = json_string_length(entry);
    if (!json_is_string(entry) || n == 0 || sc_utf8_decode(json_string_value(entry), n, &code_point) != n)
        return SC_FAIL(SC_INVALID, "vocab[%zu] is not a string of one character", i);
    if ((int64_t)code_point <= *last)
        return SC_FAIL(SC_INVALID, "vocab[%zu], U+%04" PRIX32 ", is not above the entry before it", i, code_point);
    *last = code_point;
    self->ids[code_point] = 0;
    return SC_OK;
}

static sc_status load(const json_t *object, sc_tokenizer **out)
{
    const json_t *list = json_object_get(object, "vocab");
    if (!json_is_array(list) || json_array_size(list) == 0)
        return SC_FAIL(SC_INVALID, "has no \"vocab\" that is a list of characters");
    SC_TRY(sc_tokenizer_new_char(out));
    sc_status status = SC_OK;
    int64_t last = -1;
    for (size_t i = 0; i < json_array_size(list) && status == SC_OK; i++)
        status = load_entry((char_tokenizer *)*out, list, i, &last);
    if (status == SC_OK)
        status = sc_tokenizer_char_freeze(*out);
    if (status != SC_OK)
        sc_tokenizer_destroy(out);
    return status;
}

const sc_tokenizer_kind_table sc_tokenizer_char_kind = {.type = "char",
                                                        .vocab = vocab,
                                                        .encode = encode,
                                                        .decode = decode,
                                                        .save = save,
                                                        .load = load,
                                                        .n_keys = 1,
                                                        .destroy = destroy};

sc_status sc_tokenizer_new_char(sc_tokenizer **out)
{
    *out = NULL;
    char_tokenizer *self = calloc(1, sizeof *self);
    int32_t *ids = malloc(SC_UTF8_CODE_POINTS * sizeof *ids);
    if (!self || !ids) {
        free(self);
        free(ids);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a tokenizer");
    }
    memset(ids, 0xFF, SC_UTF8_CODE_POINTS * sizeof *ids); /* all -1 */
    self->ids = ids;
    self->base.kind = &sc_tokenizer_char_kind;
    *out = &self->base;
    return SC_OK;
}

sc_status sc_tokenizer_char_add(sc_tokenizer *base, const sc_text *text)
{
    assert(base->kind == &sc_tokenizer_char_kind);
    char_tokenizer *self = (char_tokenizer *)base;
    assert(self->n == 0);
    size_t end;
    SC_TRY(sc_text_check_utf8(text, false, &end));
    for (size_t at = 0; at < end;) {
        uint32_t code_point = 0;
        at += sc_utf8_decode(text->bytes + at, end - at, &code_point);
        self->ids[code_point] = 0;
    }
    return SC_OK;
}

sc_status sc_tokenizer_char_freeze(sc_tokenizer *base)
{
    assert(base->kind == &sc_tokenizer_char_kind);
    char_tokenizer *self = (char_tokenizer *)base;
    assert(self->n == 0);
    int n = 0;
    for (uint32_t c = 0; c < SC_UTF8_CODE_POINTS; c++)
        n += self->ids[c] == 0;
    if (n == 0)
        return SC_FAIL(SC_INVALID, "the training text has no character to make a vocabulary of");
    self->code_points = malloc((size_t)n * sizeof *self->code_points);
    if (!self->code_points)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a tokenizer");
    for (uint32_t c = 0; c < SC_UTF8_CODE_POINTS; c++)
        if (self->ids[c] == 0) {
            self->code_points[self->n] = c;
            self->ids[c] = self->n++;
        }
    return SC_OK;
}
