/* What all kinds of tokenizer have in common: the calls, and tokenizer.json. */
#include "coordinator/data/tokenizer_internal.h"
#include "coordinator/data/files.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Larger than any vocabulary's file: GPT-2's has half a megabyte, all of Unicode as a char vocabulary about 8. */
enum { MAX_FILE_BYTES = 64 << 20 };

static const sc_tokenizer_kind_table *const kinds[] = {&sc_tokenizer_char_kind, &sc_tokenizer_byte_kind};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

void sc_tokenizer_destroy(sc_tokenizer **self_p)
{
    if (*self_p)
        (*self_p)->kind->destroy(*self_p);
    *self_p = NULL;
}

const char *sc_tokenizer_type(const sc_tokenizer *self)
{
    return self->kind->type;
}

int sc_tokenizer_vocab(const sc_tokenizer *self)
{
    return self->kind->vocab(self);
}

sc_status sc_tokenizer_encode(const sc_tokenizer *self, const sc_text *text, sc_tokenizer_put put, void *context)
{
    return self->kind->encode(self, text, put, context);
}

size_t sc_tokenizer_decode(const sc_tokenizer *self, int32_t id, char out[SC_TOKEN_MAX_BYTES])
{
    return self->kind->decode(self, id, out);
}

typedef struct id_array {
    int32_t *ids;
    size_t n;
} id_array;

static sc_status put_array(void *context, const int32_t *ids, size_t n)
{
    id_array *array = context;
    memcpy(array->ids + array->n, ids, n * sizeof *ids);
    array->n += n;
    return SC_OK;
}

sc_status sc_tokenizer_encode_all(const sc_tokenizer *self, const sc_text *text, int32_t **ids, size_t *n_ids)
{
    *ids = NULL;
    /* A text has at most as many tokens as bytes; one more, as malloc (0) may be NULL. */
    id_array array = {.ids = calloc(text->n_bytes + 1, sizeof *array.ids)};
    if (!array.ids)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for its tokens", text->name);
    sc_status status = sc_tokenizer_encode(self, text, put_array, &array);
    if (status != SC_OK) {
        free(array.ids);
        return sc_status_forward(status, __FILE__, __LINE__);
    }
    *ids = array.ids;
    *n_ids = array.n;
    return SC_OK;
}

sc_status sc_tokenizer_save(const sc_tokenizer *self, const char *path)
{
    json_t *object = json_object();
    char *text = NULL;
    if (object && json_object_set_new(object, "type", json_string(self->kind->type)) == 0 &&
        self->kind->save(self, object) == 0)
        text = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(object);
    if (!text)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to write the tokenizer", path);
    size_t length = strlen(text);
    text[length] = '\n'; /* in the NUL's place: the length says where it ends */
    sc_status status = sc_files_replace(path, text, length + 1);
    free(text);
    return status;
}

static sc_status load_object(const json_t *object, sc_tokenizer **out)
{
    if (!json_is_object(object))
        return SC_FAIL(SC_INVALID, "is not a JSON object");
    const char *type = json_string_value(json_object_get(object, "type"));
    if (!type)
        return SC_FAIL(SC_INVALID, "has no \"type\" that is a string");
    for (size_t i = 0; i < N_KINDS; i++)
        if (strcmp(kinds[i]->type, type) == 0) {
            SC_TRY(kinds[i]->load(object, out));
            if (json_object_size(object) == kinds[i]->n_keys + 1)
                return SC_OK;
            sc_tokenizer_destroy(out);
            return SC_FAIL(SC_INVALID, "has keys that a tokenizer of type \"%s\" does not know", type);
        }
    return SC_FAIL(SC_INVALID, "has the unknown type \"%s\"; this version knows \"char\" and \"byte\"", type);
}

sc_status sc_tokenizer_load(const char *path, sc_tokenizer **out)
{
    *out = NULL;
    char *bytes;
    size_t n_bytes;
    SC_TRY(sc_files_read(path, MAX_FILE_BYTES, &bytes, &n_bytes));
    json_error_t error;
    json_t *object = json_loadb(bytes, n_bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    free(bytes);
    if (!object)
        return SC_FAIL(SC_INVALID, "%s:%d:%d: is not JSON: %s", path, error.line, error.column, error.text);
    sc_status status = load_object(object, out);
    if (status != SC_OK)
        status = SC_FAIL(status, "%s: %s", path, sc_status_message());
    json_decref(object);
    return status;
}
