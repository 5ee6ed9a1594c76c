#include "coordinator/data/tokenizer_items.h"

#include "coordinator/data/fields.h"
#include "coordinator/data/item_sequences.h"
#include "coordinator/data/tokenizer_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 60 }; /* bytes of a name that a message repeats */

typedef struct item_tokenizer {
    sc_tokenizer base;
    sc_labels names;
    char **titles; /* [names.n], NULL for none; NULL if no item has one */
} item_tokenizer;

static const item_tokenizer *const_items(const sc_tokenizer *self)
{
    assert(sc_tokenizer_is_items(self));
    return (const item_tokenizer *)self;
}

static int vocab(const sc_tokenizer *self)
{
    return const_items(self)->names.n + 1;
}

/* A name at the piece's end may go on behind it. */
static size_t end_of_whole_names(const sc_text *text, bool more)
{
    size_t end = text->n_bytes;
    while (more && end > 0 && !sc_field_is_blank(text->bytes[end - 1]))
        end--;
    return end;
}

static sc_status encode(const sc_tokenizer *base, const sc_text *text, bool more, sc_tokenizer_put put, void *context,
                        size_t *used)
{
    int32_t ids[SC_TOKENIZER_PIECE];
    size_t n = 0, at = 0, checked;
    SC_TRY(sc_text_check_utf8(text, more, &checked));
    *used = end_of_whole_names(text, more);
    for (sc_field name; sc_field_next(text->bytes, *used, &at, &name);) {
        ids[n] = sc_tokenizer_items_find(base, name.text, name.n);
        if (ids[n++] < 0) {
            const sc_utf8_place place = sc_text_place(text, (size_t)(name.text - text->bytes));
            return SC_FAIL(SC_INVALID,
                           "%s:%" PRIu64 ":%" PRIu64 ": the model does not know the item '%.*s'; leave it out",
                           text->name, place.line, place.column, (int)(name.n < SHOWN ? name.n : SHOWN), name.text);
        }
        if (n == SC_TOKENIZER_PIECE) {
            SC_TRY(put(context, ids, n));
            n = 0;
        }
    }
    return n > 0 ? put(context, ids, n) : SC_OK;
}

static size_t decode(const sc_tokenizer *base, int32_t id, char out[SC_TOKEN_MAX_BYTES])
{
    if (id < 1 || id >= vocab(base))
        return 0;
    const char *name = sc_tokenizer_items_name(base, id);
    const size_t n = strlen(name);
    out[0] = ' ';
    memcpy(out + 1, name, n);
    return n + 1;
}

static int save(const sc_tokenizer *base, json_t *object)
{
    const item_tokenizer *self = const_items(base);
    json_t *names = json_array(), *titles = json_array();
    int failed = 0;
    for (int32_t i = 0; i < self->names.n; i++) {
        failed |= json_array_append_new(names, json_string(self->names.names[i]));
        if (self->titles)
            failed |= json_array_append_new(titles, json_string(self->titles[i] ? self->titles[i] : ""));
    }
    failed |= json_object_set_new(object, "items", names);
    failed |= json_object_set_new(object, "titles", titles);
    return failed ? -1 : 0;
}

static void destroy(sc_tokenizer *base)
{
    item_tokenizer *self = (item_tokenizer *)base;
    for (int32_t i = 0; self->titles && i < self->names.n; i++)
        free(self->titles[i]);
    free(self->titles);
    sc_labels_clear(&self->names);
    free(self);
}

static sc_status new_empty(item_tokenizer **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a tokenizer");
    (*out)->base.kind = &sc_tokenizer_items_kind;
    return SC_OK;
}

/* Adds a name, which must stand behind those before it. */
static sc_status add_name(item_tokenizer *self, const char *name, size_t n)
{
    int32_t id;
    const int32_t before = self->names.n;
    bool good = name && n > 0 && n <= SC_ITEM_NAME_BYTES && !memchr(name, '\0', n);
    for (size_t i = 0; good && i < n; i++)
        good = !sc_field_is_blank(name[i]);
    if (!good)
        return SC_FAIL(SC_INVALID, "items[%d] is not the name of an item", (int)before);
    if (before > 0 && strcmp(self->names.names[before - 1], name) >= 0)
        return SC_FAIL(SC_INVALID, "items[%d], '%.*s', is not behind the item before it", (int)before, SHOWN, name);
    return sc_labels_add(&self->names, name, n, &id);
}

static sc_status set_title(item_tokenizer *self, int32_t id, const char *title, size_t n)
{
    if (!self->titles)
        self->titles = calloc((size_t)self->names.n, sizeof *self->titles);
    if (!self->titles || !(self->titles[id - 1] = strndup(title, n)))
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the titles of items");
    return SC_OK;
}

static sc_status load_lists(item_tokenizer *self, const json_t *names, const json_t *titles)
{
    size_t i;
    json_t *entry;
    if (!json_is_array(names) || json_array_size(names) == 0 || json_array_size(names) > INT32_MAX / 2)
        return SC_FAIL(SC_INVALID, "has no \"items\" that is a list of names");
    if (!json_is_array(titles) || (json_array_size(titles) > 0 && json_array_size(titles) != json_array_size(names)))
        return SC_FAIL(SC_INVALID, "has no \"titles\" that is empty or a list of as many titles as items");
    json_array_foreach(names, i, entry) SC_TRY(add_name(self, json_string_value(entry), json_string_length(entry)));
    json_array_foreach(titles, i, entry)
    {
        const char *title = json_string_value(entry);
        if (!title || strlen(title) != json_string_length(entry))
            return SC_FAIL(SC_INVALID, "titles[%zu] is no text", i);
        if (title[0])
            SC_TRY(set_title(self, (int32_t)i + 1, title, strlen(title)));
    }
    return SC_OK;
}

static sc_status load(const json_t *object, sc_tokenizer **out)
{
    item_tokenizer *self;
    SC_TRY(new_empty(&self));
    *out = &self->base;
    const sc_status status = load_lists(self, json_object_get(object, "items"), json_object_get(object, "titles"));
    if (status != SC_OK)
        sc_tokenizer_destroy(out);
    return status;
}

const sc_tokenizer_kind_table sc_tokenizer_items_kind = {.type = "items",
                                                         .vocab = vocab,
                                                         .encode = encode,
                                                         .decode = decode,
                                                         .save = save,
                                                         .load = load,
                                                         .n_keys = 2,
                                                         .destroy = destroy};

sc_status sc_tokenizer_new_items(const sc_labels *names, sc_tokenizer **out)
{
    item_tokenizer *self;
    *out = NULL;
    SC_TRY(new_empty(&self));
    sc_status status = SC_OK;
    for (int32_t i = 0; i < names->n && status == SC_OK; i++)
        status = add_name(self, names->names[i], strlen(names->names[i]));
    *out = &self->base;
    if (status != SC_OK)
        sc_tokenizer_destroy(out);
    return status;
}

typedef struct title_reader {
    item_tokenizer *tokenizer;
    const char *separator;
} title_reader;

static sc_status read_title(void *context, const char *line, size_t n)
{
    const title_reader *self = context;
    sc_field name, title;
    if (!sc_field_get(line, n, self->separator, 1, &name) || !sc_field_get(line, n, self->separator, 2, &title))
        return SC_FAIL(SC_INVALID, "has no title behind '%s', as data.separator says", self->separator);
    const int32_t id = sc_tokenizer_items_find(&self->tokenizer->base, name.text, name.n);
    if (id < 0 || title.n == 0)
        return SC_OK;
    if (memchr(title.text, '\0', title.n))
        return SC_FAIL(SC_INVALID, "has a NUL in its title");
    if (self->tokenizer->titles && self->tokenizer->titles[id - 1])
        return SC_FAIL(SC_INVALID, "gives the item '%.*s' a second title", (int)name.n, name.text);
    return set_title(self->tokenizer, id, title.text, title.n);
}

sc_status sc_tokenizer_items_read_titles(sc_tokenizer *self, const sc_text *file, const char *separator)
{
    assert(sc_tokenizer_is_items(self));
    return sc_field_lines(file, read_title, &(title_reader){(item_tokenizer *)self, separator});
}

bool sc_tokenizer_is_items(const sc_tokenizer *self)
{
    return self->kind == &sc_tokenizer_items_kind;
}

int32_t sc_tokenizer_items_find(const sc_tokenizer *self, const char *name, size_t n_bytes)
{
    const int32_t place = sc_labels_find(&const_items(self)->names, name, n_bytes);
    return place < 0 ? -1 : place + 1;
}

const char *sc_tokenizer_items_name(const sc_tokenizer *self, int32_t id)
{
    assert(id >= 1 && id < vocab(self));
    return const_items(self)->names.names[id - 1];
}

const char *sc_tokenizer_items_title(const sc_tokenizer *self, int32_t id)
{
    assert(id >= 1 && id < vocab(self));
    const item_tokenizer *items = const_items(self);
    return items->titles ? items->titles[id - 1] : NULL;
}
