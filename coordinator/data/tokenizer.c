/* What all kinds of tokenizer have in common: the calls, and tokenizer.json. */
#include "coordinator/data/tokenizer_internal.h"
#include "proto/base/files.h"
#include "coordinator/data/tokenizer_bpe.h"
#include "coordinator/data/tokenizer_wordpiece.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static const sc_tokenizer_kind_table *const kinds[] = {&sc_tokenizer_char_kind, &sc_tokenizer_byte_kind,
                                                       &sc_tokenizer_bpe_kind, &sc_tokenizer_wordpiece_kind,
                                                       &sc_tokenizer_items_kind};
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
    size_t used;
    return self->kind->encode(self, text, false, put, context, &used);
}

sc_status sc_tokenizer_encode_some(const sc_tokenizer *self, const sc_text *text, bool more, sc_tokenizer_put put,
                                   void *context, size_t *used)
{
    return self->kind->encode(self, text, more, put, context, used);
}

sc_status sc_tokenizer_encode_spans(const sc_tokenizer *self, const sc_text *text, sc_token_span **spans, size_t *n)
{
    *spans = NULL;
    if (!self->kind->encode_spans)
        return SC_FAIL(SC_UNIMPLEMENTED, "%s: the %s tokenizer does not tell where its tokens lie in a text",
                       text->name, self->kind->type);
    return self->kind->encode_spans(self, text, spans, n);
}

bool sc_tokenizer_continues(const sc_tokenizer *self, int32_t id)
{
    return self->kind->continues && self->kind->continues(self, id);
}

sc_status sc_tokenizer_export(const sc_tokenizer *self, const char *dir)
{
    return self->kind->export ? self->kind->export(self, dir) : SC_OK;
}

int32_t sc_tokenizer_special(const sc_tokenizer *self, const char *content)
{
    return self->kind->special ? self->kind->special(self, content) : -1;
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

/* The tokenizer as its file has it; to be freed. NULL if memory ran out. */
static char *write_json(const sc_tokenizer *self)
{
    json_t *object = json_object();
    char *text = NULL;
    if (object && json_object_set_new(object, "type", json_string(self->kind->type)) == 0 &&
        self->kind->save(self, object) == 0)
        text = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(object);
    return text;
}

sc_status sc_tokenizer_hash(const sc_tokenizer *self, uint64_t *out)
{
    char *text = write_json(self);
    if (!text)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to hash the tokenizer");
    *out = XXH3_64bits(text, strlen(text));
    free(text);
    return SC_OK;
}

sc_status sc_tokenizer_save(const sc_tokenizer *self, const char *path)
{
    char *text = write_json(self);
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
    return SC_FAIL(
        SC_INVALID,
        "has the unknown type \"%s\"; this version knows \"char\", \"byte\", \"bpe\", \"wordpiece\" and \"items\"",
        type);
}

/* Reads a JSON file and makes of it what `make` makes, which does not know the path. */
static sc_status load_file(const char *path, sc_status (*make)(const json_t *object, sc_tokenizer **out),
                           sc_tokenizer **out)
{
    *out = NULL;
    json_t *object;
    SC_TRY(sc_tokenizer_read_json(path, &object));
    sc_status status = make(object, out);
    if (status != SC_OK)
        status = SC_FAIL(status, "%s: %s", path, sc_status_message());
    json_decref(object);
    return status;
}

sc_status sc_tokenizer_read_json(const char *path, json_t **out)
{
    *out = NULL;
    char *bytes;
    size_t n_bytes;
    SC_TRY(sc_files_read(path, SC_TOKENIZER_MAX_FILE_BYTES, &bytes, &n_bytes));
    json_error_t error;
    *out = json_loadb(bytes, n_bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    free(bytes);
    if (!*out)
        return SC_FAIL(SC_INVALID, "%s:%d:%d: is not JSON: %s", path, error.line, error.column, error.text);
    return SC_OK;
}

sc_status sc_tokenizer_write_file(const char *dir, const char *name, const char *text)
{
    char path[PATH_MAX];
    const int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return SC_FAIL(SC_INVALID, "%s: the path is too long", dir);
    return text ? sc_files_replace(path, text, strlen(text))
                : SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to write the tokenizer", path);
}

sc_status sc_tokenizer_write_json(const char *dir, const char *name, const json_t *object, size_t flags)
{
    char *text = json_dumps(object, flags | JSON_PRESERVE_ORDER);
    const sc_status status = sc_tokenizer_write_file(dir, name, text);
    free(text);
    return status;
}

const char *sc_tokenizer_file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

sc_status sc_tokenizer_beside(const char *path, const char *name, char out[PATH_MAX])
{
    const int dir = (int)(sc_tokenizer_file_name(path) - path), n = snprintf(out, PATH_MAX, "%.*s%s", dir, path, name);
    return n > 0 && n < PATH_MAX ? SC_OK : SC_FAIL(SC_INVALID, "%s: the path is too long", path);
}

size_t sc_tokenizer_line(const char *bytes, size_t at, size_t n_bytes, size_t *next)
{
    const char *end = memchr(bytes + at, '\n', n_bytes - at);
    size_t length = end ? (size_t)(end - bytes) - at : n_bytes - at;
    *next = at + length + (end != NULL);
    return length > 0 && bytes[at + length - 1] == '\r' ? length - 1 : length;
}

sc_status sc_tokenizer_load(const char *path, sc_tokenizer **out)
{
    return load_file(path, load_object, out);
}

/* A run's tokenizer has a "type", Hugging Face's a "model". */
static sc_status load_either(const json_t *object, sc_tokenizer **out)
{
    if (!json_object_get(object, "model"))
        return load_object(object, out);
    return sc_tokenizer_wordpiece_is_hf(object) ? sc_tokenizer_wordpiece_load_hf(object, out)
                                                : sc_tokenizer_bpe_load_hf(object, out);
}

static sc_status open_directory(const char *dir, sc_tokenizer **out)
{
    static const char *const names[] = {"stagecoach_tokenizer.json",
                                        "final/stagecoach_tokenizer.json",
                                        "tokenizer.json",
                                        "vocab.json",
                                        "encoder.json",
                                        "vocab.txt"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[PATH_MAX];
        const int length = snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        if (length > 0 && (size_t)length < sizeof path && access(path, F_OK) == 0)
            return sc_tokenizer_open(path, out);
    }
    return SC_FAIL(SC_NOT_FOUND,
                   "%s: holds no tokenizer: neither stagecoach_tokenizer.json nor tokenizer.json nor vocab.json nor "
                   "encoder.json nor vocab.txt",
                   dir);
}

sc_status sc_tokenizer_open(const char *path, sc_tokenizer **out)
{
    *out = NULL;
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return open_directory(path, out);
    if (sc_tokenizer_wordpiece_is_txt(path))
        return sc_tokenizer_wordpiece_load_txt(path, out);
    return sc_tokenizer_bpe_is_pair(path) ? sc_tokenizer_bpe_load_pair(path, out) : load_file(path, load_either, out);
}
