/* The reader. Everything in the header is a claim of whoever wrote the file, so each is checked before it is used. */
#include "proto/base/safetensors_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct sc_safetensors {
    char *path;
    int fd;
    int n;
    sc_safetensors_entry *entries; /* in the order of their bytes */
    json_t *metadata;              /* NULL if the file has none */
    json_t *index;                 /* name -> place in entries */
};

static const struct {
    const char *word;
    sc_dtype dtype;
} dtypes[] = {
    {"F64", SC_F64}, {"F32", SC_F32}, {"F16", SC_F16}, {"BF16", SC_BF16}, {"I64", SC_I64},
    {"I32", SC_I32}, {"U16", SC_U16}, {"U8", SC_U8},   {"BOOL", SC_U8}}; /* last, so that uint8 is written as U8; PyTorch's masks are BOOL, a byte each */
enum { N_DTYPES = sizeof dtypes / sizeof dtypes[0] };

const char *sc_safetensors_dtype_word(sc_dtype dtype)
{
    for (size_t i = 0; i < N_DTYPES; i++)
        if (dtypes[i].dtype == dtype)
            return dtypes[i].word;
    return NULL;
}

sc_dtype sc_safetensors_dtype_parse(const char *word)
{
    for (size_t i = 0; i < N_DTYPES; i++)
        if (strcmp(dtypes[i].word, word) == 0)
            return dtypes[i].dtype;
    return (sc_dtype)0;
}

sc_status sc_safetensors_io_error(const char *path, const char *verb, int error)
{
    sc_status status = SC_UNKNOWN;
    const char *remedy = "";
    switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        status = SC_RESOURCE_EXHAUSTED;
        remedy = "; free some space, or write to another place";
        break;
    case ENOENT:
    case ENOTDIR:
        status = SC_NOT_FOUND;
        remedy = "; give the path of a file in a directory that exists";
        break;
    case EACCES:
    case EPERM:
    case EROFS:
        status = SC_PERMISSION_DENIED;
        break;
    case EIO:
        status = SC_DATA_LOSS;
        break;
    default:
        break;
    }
    return SC_FAIL(status, "%s: cannot %s: %s%s", path, verb, strerror(error), remedy);
}

static sc_status out_of_memory(const sc_safetensors *self)
{
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: out of memory for its header", self->path);
}

/* Reads exactly n bytes, or says where the file ends. */
static sc_status read_exactly(const sc_safetensors *self, uint64_t offset, void *out, size_t n)
{
    char *to = out;
    while (n > 0) {
        ssize_t got = pread(self->fd, to, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sc_safetensors_io_error(self->path, "be read", errno);
        if (got == 0)
            return SC_FAIL(SC_DATA_LOSS, "%s: the file ends at byte %" PRIu64 ", %zu bytes too soon; copy it again",
                           self->path, offset, n);
        to += got;
        n -= (size_t)got;
        offset += (uint64_t)got;
    }
    return SC_OK;
}

static sc_status parse_shape(const sc_safetensors *self, const char *name, const json_t *array, sc_shape *shape)
{
    size_t n = json_array_size(array);
    if (!json_is_array(array) || n > SC_MAX_DIMS)
        return SC_FAIL(SC_DATA_LOSS, "%s: tensor '%s': shape is not a list of at most %d axes", self->path, name,
                       SC_MAX_DIMS);
    shape->n_dims = (int)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *axis = json_array_get(array, i);
        if (!json_is_integer(axis) || json_integer_value(axis) < 0)
            return SC_FAIL(SC_DATA_LOSS, "%s: tensor '%s': axis %zu is not an integer of at least 0", self->path, name,
                           i);
        shape->dims[i] = json_integer_value(axis);
    }
    return SC_OK;
}

/* `data_offset` and `data_bytes` say where in the file the tensors' bytes lie. */
static sc_status parse_entry(const sc_safetensors *self, const char *name, const json_t *info, uint64_t data_offset,
                             uint64_t data_bytes, sc_safetensors_entry *entry)
{
    const json_t *dtype = json_object_get(info, "dtype"), *offsets = json_object_get(info, "data_offsets");
    if (!json_is_object(info) || json_object_size(info) != 3 || !json_is_string(dtype) || !offsets)
        return SC_FAIL(SC_DATA_LOSS, "%s: tensor '%s': its header is not {dtype, shape, data_offsets}", self->path,
                       name);
    entry->dtype = sc_safetensors_dtype_parse(json_string_value(dtype));
    if (!entry->dtype)
        return SC_FAIL(SC_DATA_LOSS,
                       "%s: tensor '%s': dtype '%.16s' is not known; known: F64 F32 F16 BF16 I64 I32 U16 U8 BOOL",
                       self->path, name, json_string_value(dtype));
    SC_TRY(parse_shape(self, name, json_object_get(info, "shape"), &entry->shape));

    const json_t *from = json_array_get(offsets, 0), *to = json_array_get(offsets, 1);
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !json_is_integer(from) || !json_is_integer(to) ||
        json_integer_value(from) < 0 || json_integer_value(to) < json_integer_value(from))
        return SC_FAIL(SC_DATA_LOSS, "%s: tensor '%s': data_offsets is not [begin, end]", self->path, name);
    uint64_t begin = (uint64_t)json_integer_value(from), end = (uint64_t)json_integer_value(to), wanted;
    if (end > data_bytes)
        return SC_FAIL(SC_DATA_LOSS, "%s: tensor '%s' ends at byte %" PRIu64 " of the data, which has %" PRIu64,
                       self->path, name, end, data_bytes);
    if (sc_shape_bytes(&entry->shape, entry->dtype, &wanted) != SC_OK)
        return SC_FAIL(SC_DATA_LOSS, "%s: tensor '%s': %s", self->path, name, sc_status_message());
    if (wanted != end - begin)
        return SC_FAIL(SC_DATA_LOSS,
                       "%s: tensor '%s': its shape and dtype make %" PRIu64 " bytes, its data_offsets span %" PRIu64,
                       self->path, name, wanted, end - begin);
    entry->offset = data_offset + begin;
    entry->bytes = wanted;
    entry->name = strdup(name);
    return entry->name ? SC_OK : out_of_memory(self);
}

/* Empty tensors lie before what begins at the same byte. */
static int compare_entries(const void *a, const void *b)
{
    const sc_safetensors_entry *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static sc_status check_metadata(const sc_safetensors *self, json_t *metadata)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return SC_FAIL(SC_DATA_LOSS, "%s: __metadata__ is not an object", self->path);
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return SC_FAIL(SC_DATA_LOSS, "%s: __metadata__ '%s' is not a string", self->path, key);
    }
    return SC_OK;
}

static sc_status parse_header(sc_safetensors *self, json_t *header, uint64_t data_offset, uint64_t data_bytes)
{
    const char *name;
    json_t *info;
    self->entries = calloc(json_object_size(header) + 1, sizeof *self->entries);
    self->index = json_object();
    if (!self->entries || !self->index)
        return out_of_memory(self);
    json_object_foreach(header, name, info)
    {
        if (strcmp(name, "__metadata__") == 0) {
            SC_TRY(check_metadata(self, info));
            self->metadata = json_incref(info);
            continue;
        }
        SC_TRY(parse_entry(self, name, info, data_offset, data_bytes, &self->entries[self->n]));
        self->n++;
    }
    qsort(self->entries, (size_t)self->n, sizeof *self->entries, compare_entries);
    uint64_t end = data_offset;
    for (int i = 0; i < self->n; i++) {
        const sc_safetensors_entry *entry = &self->entries[i];
        if (entry->offset != end)
            return SC_FAIL(SC_DATA_LOSS, "%s: tensor '%s' %s", self->path, entry->name,
                           entry->offset > end ? "leaves a hole before it" : "overlaps the one before it");
        end += entry->bytes;
        if (json_object_set_new(self->index, entry->name, json_integer(i)) != 0)
            return out_of_memory(self);
    }
    if (end != data_offset + data_bytes)
        return SC_FAIL(SC_DATA_LOSS, "%s: %" PRIu64 " bytes at the end belong to no tensor", self->path,
                       data_offset + data_bytes - end);
    return SC_OK;
}

static sc_status read_header(sc_safetensors *self, uint64_t file_bytes)
{
    unsigned char prefix[SC_SAFETENSORS_PREFIX_BYTES];
    uint64_t header_bytes = 0;
    if (file_bytes < sizeof prefix)
        return SC_FAIL(SC_DATA_LOSS, "%s: %" PRIu64 " bytes are too few for a safetensors file", self->path,
                       file_bytes);
    SC_TRY(read_exactly(self, 0, prefix, sizeof prefix));
    for (int i = SC_SAFETENSORS_PREFIX_BYTES - 1; i >= 0; i--)
        header_bytes = header_bytes << 8 | prefix[i];
    if (header_bytes > SC_SAFETENSORS_MAX_HEADER_BYTES || header_bytes > file_bytes - sizeof prefix)
        return SC_FAIL(SC_DATA_LOSS,
                       "%s: a header of %" PRIu64 " bytes in a file of %" PRIu64
                       " (at most %d are allowed); is this a safetensors file?",
                       self->path, header_bytes, file_bytes, SC_SAFETENSORS_MAX_HEADER_BYTES);

    sc_status status = SC_OK;
    json_t *header = NULL;
    char *text = malloc(header_bytes + 1);
    if (!text)
        return out_of_memory(self);
    SC_TRY_GOTO(status, read_exactly(self, sizeof prefix, text, header_bytes), done);
    json_error_t error;
    if (header_bytes > 0 && text[0] == '{')
        header = json_loadb(text, header_bytes, JSON_REJECT_DUPLICATES, &error);
    else
        snprintf(error.text, sizeof error.text, "it does not begin with {");
    if (!header) {
        status = SC_FAIL(SC_DATA_LOSS, "%s: the header is not valid: %s", self->path, error.text);
        goto done;
    }
    uint64_t data_offset = sizeof prefix + header_bytes;
    status = parse_header(self, header, data_offset, file_bytes - data_offset);
done:
    json_decref(header);
    free(text);
    return status;
}

static sc_status open_file(sc_safetensors *self, const char *path)
{
    struct stat info;
    self->path = strdup(path);
    if (!self->path)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: out of memory", path);
    /* O_NONBLOCK: a path that turns out to be a pipe must not hang here. */
    self->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (self->fd < 0)
        return sc_safetensors_io_error(path, "be opened", errno);
    if (fstat(self->fd, &info) != 0)
        return sc_safetensors_io_error(path, "be opened", errno);
    if (!S_ISREG(info.st_mode))
        return SC_FAIL(SC_DATA_LOSS, "%s: this is not a regular file", path);
    return read_header(self, (uint64_t)info.st_size);
}

sc_status sc_safetensors_open(const char *path, sc_safetensors **out)
{
    *out = NULL;
    sc_safetensors *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: out of memory", path);
    self->fd = -1;
    sc_status status = open_file(self, path);
    if (status != SC_OK)
        sc_safetensors_close(&self);
    *out = self;
    return status;
}

void sc_safetensors_close(sc_safetensors **self_p)
{
    sc_safetensors *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    for (int i = 0; i < self->n; i++)
        free(self->entries[i].name);
    free(self->entries);
    json_decref(self->metadata);
    json_decref(self->index);
    if (self->fd >= 0)
        close(self->fd);
    free(self->path);
    free(self);
}

const char *sc_safetensors_path(const sc_safetensors *self)
{
    return self->path;
}

int sc_safetensors_n(const sc_safetensors *self)
{
    return self->n;
}

const sc_safetensors_entry *sc_safetensors_at(const sc_safetensors *self, int index)
{
    return &self->entries[index];
}

const sc_safetensors_entry *sc_safetensors_find(const sc_safetensors *self, const char *name)
{
    const json_t *place = json_object_get(self->index, name);
    return place ? &self->entries[json_integer_value(place)] : NULL;
}

sc_status sc_safetensors_read(const sc_safetensors *self, const sc_safetensors_entry *entry, uint64_t from, void *out,
                              size_t n)
{
    if (from > entry->bytes || n > entry->bytes - from)
        return SC_FAIL(SC_OUT_OF_RANGE,
                       "%s: tensor '%s' has %" PRIu64 " bytes; %zu from byte %" PRIu64 " were asked for", self->path,
                       entry->name, entry->bytes, n, from);
    return read_exactly(self, entry->offset + from, out, n);
}

const char *sc_safetensors_metadata(const sc_safetensors *self, const char *key)
{
    return json_string_value(json_object_get(self->metadata, key));
}
