/* The writer: a file that is complete and on the disk, or not there. */
#include "proto/base/disk.h"
#include "proto/base/files.h"
#include "proto/base/safetensors_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <libgen.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct span {
    uint64_t from, to;
} span;

typedef struct piece {
    uint64_t offset, bytes; /* offset from the first tensor's first byte */
    /* Which bytes were written: disjoint spans that do not touch, in order. Pieces mostly come one behind the other, so
     * there is mostly one. */
    span *spans;
    int n_spans, capacity;
} piece;

struct sc_safetensors_writer {
    char *path, *temporary;
    int fd;
    bool begun; /* the header is written: no more tensors */
    bool lost;  /* an fsync failed: another that succeeds would prove nothing, the kernel has dropped the pages */
    json_t *metadata, *header;
    json_t *index; /* name -> place in pieces */
    piece *pieces;
    int n, capacity;
    uint64_t data_offset; /* where in the file the tensors begin, once begun */
    uint64_t data_bytes;
};

static sc_status out_of_memory(const char *path)
{
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: out of memory for writing it", path);
}

sc_status sc_safetensors_writer_new(const char *path, sc_safetensors_writer **out)
{
    /* Two writers of one path, in one process or in several, do not share a temporary file: the last to commit wins. */
    static atomic_uint counter;
    *out = NULL;
    sc_safetensors_writer *self = calloc(1, sizeof *self);
    if (!self)
        return out_of_memory(path);
    self->fd = -1;
    self->path = strdup(path);
    self->metadata = json_object();
    self->header = json_object();
    self->index = json_object();
    sc_status status = SC_OK;
    if (asprintf(&self->temporary, "%s.partial-%ld-%u", path, (long)getpid(), atomic_fetch_add(&counter, 1)) < 0)
        self->temporary = NULL;
    if (!self->path || !self->temporary || !self->metadata || !self->header || !self->index) {
        status = out_of_memory(path);
        goto failed;
    }
    self->fd = sc_disk_get()->open(self->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (self->fd < 0) {
        status = sc_safetensors_io_error(path, "be created", errno);
        goto failed;
    }
    *out = self;
    return SC_OK;
failed:
    sc_safetensors_writer_destroy(&self);
    return status;
}

static sc_status check_not_begun(const sc_safetensors_writer *self, const char *name)
{
    return self->begun ? SC_FAIL(SC_FAILED_PRECONDITION,
                                 "%s: '%s' is declared after the first write; declare all before it", self->path, name)
                       : SC_OK;
}

sc_status sc_safetensors_writer_metadata(sc_safetensors_writer *self, const char *key, const char *value)
{
    SC_TRY(check_not_begun(self, key));
    json_t *string = json_string(value);
    if (!string)
        return SC_FAIL(SC_INVALID, "%s: the metadata of '%s' is not UTF-8", self->path, key);
    return json_object_set_new(self->metadata, key, string) == 0
               ? SC_OK
               : SC_FAIL(SC_INVALID, "%s: a key of the metadata is not UTF-8", self->path);
}

static json_t *describe(sc_dtype dtype, const sc_shape *shape, uint64_t begin, uint64_t end)
{
    json_t *axes = json_array();
    for (int i = 0; i < shape->n_dims; i++)
        json_array_append_new(axes, json_integer(shape->dims[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", sc_safetensors_dtype_word(dtype), "shape", axes, "data_offsets",
                     (json_int_t)begin, (json_int_t)end);
}

sc_status sc_safetensors_writer_add(sc_safetensors_writer *self, const char *name, sc_dtype dtype,
                                    const sc_shape *shape)
{
    uint64_t bytes, end;
    SC_TRY(check_not_begun(self, name));
    if (strcmp(name, "__metadata__") == 0 || json_object_get(self->index, name))
        return SC_FAIL(SC_INVALID, "%s: a tensor '%s' is there already, or the name is the format's own", self->path,
                       name);
    if (sc_shape_bytes(shape, dtype, &bytes) != SC_OK)
        return SC_FAIL(SC_INVALID, "%s: tensor '%s': %s", self->path, name, sc_status_message());
    if (__builtin_add_overflow(self->data_bytes, bytes, &end) || end > INT64_MAX / 2)
        return SC_FAIL(SC_INVALID, "%s: tensor '%s' makes the file larger than a file can be", self->path, name);
    if (self->n == self->capacity) {
        int capacity = self->capacity ? self->capacity * 2 : 64;
        piece *pieces = realloc(self->pieces, (size_t)capacity * sizeof *pieces);
        if (!pieces)
            return out_of_memory(self->path);
        self->pieces = pieces;
        self->capacity = capacity;
    }
    if (json_object_set_new(self->header, name, describe(dtype, shape, self->data_bytes, end)) != 0 ||
        json_object_set_new(self->index, name, json_integer(self->n)) != 0)
        return SC_FAIL(SC_INVALID, "%s: the name of tensor %d is not UTF-8, or memory is out", self->path, self->n);
    self->pieces[self->n++] = (piece){.offset = self->data_bytes, .bytes = bytes};
    self->data_bytes = end;
    return SC_OK;
}

static sc_status write_all(const sc_safetensors_writer *self, uint64_t offset, const void *data, size_t n)
{
    const char *from = data;
    while (n > 0) {
        ssize_t done = sc_disk_get()->pwrite(self->fd, from, n, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return sc_safetensors_io_error(self->path, "be written", errno);
        from += done;
        n -= (size_t)done;
        offset += (uint64_t)done;
    }
    return SC_OK;
}

/* Writes the header; the tensors' places are settled from here on. */
static sc_status begin(sc_safetensors_writer *self)
{
    json_t *all = json_object();
    char *text = NULL, *padded = NULL;
    sc_status status = SC_OK;
    if (!all || (json_object_size(self->metadata) > 0 && json_object_set(all, "__metadata__", self->metadata) != 0) ||
        json_object_update(all, self->header) != 0 || !(text = json_dumps(all, JSON_COMPACT))) {
        status = out_of_memory(self->path);
        goto done;
    }
    size_t length = strlen(text), rest = length % SC_SAFETENSORS_ALIGN;
    size_t header_bytes = length + (rest ? SC_SAFETENSORS_ALIGN - rest : 0);
    if (header_bytes > SC_SAFETENSORS_MAX_HEADER_BYTES) {
        status = SC_FAIL(SC_INVALID, "%s: a header of %zu bytes; the format allows %d", self->path, header_bytes,
                         SC_SAFETENSORS_MAX_HEADER_BYTES);
        goto done;
    }
    padded = malloc(SC_SAFETENSORS_PREFIX_BYTES + header_bytes);
    if (!padded) {
        status = out_of_memory(self->path);
        goto done;
    }
    for (int i = 0; i < SC_SAFETENSORS_PREFIX_BYTES; i++)
        padded[i] = (char)(header_bytes >> (8 * i) & 0xFF);
    memcpy(padded + SC_SAFETENSORS_PREFIX_BYTES, text, length);
    memset(padded + SC_SAFETENSORS_PREFIX_BYTES + length, ' ', header_bytes - length);
    SC_TRY_GOTO(status, write_all(self, 0, padded, SC_SAFETENSORS_PREFIX_BYTES + header_bytes), done);
    self->data_offset = SC_SAFETENSORS_PREFIX_BYTES + header_bytes;
    self->begun = true;
done:
    json_decref(all);
    free(text);
    free(padded);
    return status;
}

/* Notes that [from, to) is written: joins it with every span that it meets. */
static bool note_span(piece *p, uint64_t from, uint64_t to)
{
    int first = 0;
    while (first < p->n_spans && p->spans[first].to < from)
        first++;
    int last = first; /* [first, last) are met */
    for (; last < p->n_spans && p->spans[last].from <= to; last++) {
        from = p->spans[last].from < from ? p->spans[last].from : from;
        to = p->spans[last].to > to ? p->spans[last].to : to;
    }
    if (last == first && p->n_spans == p->capacity) {
        int capacity = p->capacity ? p->capacity * 2 : 4;
        span *spans = realloc(p->spans, (size_t)capacity * sizeof *spans);
        if (!spans)
            return false;
        p->spans = spans;
        p->capacity = capacity;
    }
    memmove(p->spans + first + 1, p->spans + last, (size_t)(p->n_spans - last) * sizeof *p->spans);
    p->spans[first] = (span){from, to};
    p->n_spans += 1 - (last - first);
    return true;
}

sc_status sc_safetensors_writer_write(sc_safetensors_writer *self, const char *name, uint64_t from, const void *data,
                                      size_t n)
{
    const json_t *place = json_object_get(self->index, name);
    if (!place)
        return SC_FAIL(SC_NOT_FOUND, "%s: no tensor '%s' was declared", self->path, name);
    piece *p = &self->pieces[json_integer_value(place)];
    if (from > p->bytes || n > p->bytes - from)
        return SC_FAIL(SC_OUT_OF_RANGE,
                       "%s: tensor '%s' has %" PRIu64 " bytes; %zu from byte %" PRIu64 " do not fit into it",
                       self->path, name, p->bytes, n, from);
    if (!self->begun)
        SC_TRY(begin(self));
    if (n == 0)
        return SC_OK;
    SC_TRY(write_all(self, self->data_offset + p->offset + from, data, n));
    return note_span(p, from, from + n) ? SC_OK : out_of_memory(self->path);
}

static sc_status check_complete(const sc_safetensors_writer *self)
{
    const char *name;
    json_t *place;
    json_object_foreach(self->index, name, place)
    {
        const piece *p = &self->pieces[json_integer_value(place)];
        if (p->bytes == 0 || (p->n_spans == 1 && p->spans[0].from == 0 && p->spans[0].to == p->bytes))
            continue;
        uint64_t missing = p->n_spans > 0 && p->spans[0].from == 0 ? p->spans[0].to : 0;
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "%s: tensor '%s' is not complete: of its %" PRIu64 " bytes, byte %" PRIu64 " was not written",
                       self->path, name, p->bytes, missing);
    }
    return SC_OK;
}

sc_status sc_safetensors_writer_commit(sc_safetensors_writer *self)
{
    if (!self->temporary)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s: it was committed already", self->path);
    if (!self->begun)
        SC_TRY(begin(self)); /* nothing but empty tensors */
    SC_TRY(check_complete(self));
    if (self->lost)
        return SC_FAIL(SC_DATA_LOSS, "%s: it could not be synchronised; write it anew under another name", self->path);
    if (sc_disk_get()->fsync(self->fd) != 0) {
        self->lost = true;
        return sc_safetensors_io_error(self->path, "be synchronised", errno);
    }
    if (sc_disk_get()->rename(self->temporary, self->path) != 0)
        return sc_safetensors_io_error(self->path, "be renamed to its name", errno);
    free(self->temporary);
    self->temporary = NULL;
    char *copy = strdup(self->path);
    if (!copy)
        return out_of_memory(self->path);
    sc_status status = sc_files_sync_directory(dirname(copy));
    free(copy);
    return status;
}

void sc_safetensors_writer_destroy(sc_safetensors_writer **self_p)
{
    sc_safetensors_writer *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    if (self->fd >= 0) {
        sc_disk_get()->close(self->fd);
        if (self->temporary)
            sc_disk_get()->unlinkat(AT_FDCWD, self->temporary, 0);
    }
    for (int i = 0; i < self->n; i++)
        free(self->pieces[i].spans);
    free(self->pieces);
    json_decref(self->metadata);
    json_decref(self->header);
    json_decref(self->index);
    free(self->temporary);
    free(self->path);
    free(self);
}
