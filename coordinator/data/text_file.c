#include "coordinator/data/text_file.h"

#include "proto/base/files.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct reader {
    const char *path;
    int fd;
    char *bytes;
    size_t n, capacity;
    bool at_end;
} reader;

/* Reads on until the buffer is full or the file at its end. */
static sc_status fill(reader *self)
{
    size_t n;
    SC_TRY(sc_files_fill(self->path, self->fd, self->bytes + self->n, self->capacity - self->n, &n));
    self->at_end = n < self->capacity - self->n;
    self->n += n;
    return SC_OK;
}

/* Counts the lines and columns of what was used, and drops it. */
static void drop(reader *self, sc_text *text, size_t used)
{
    const char *at = self->bytes, *const end = at + used;
    for (const char *line_end; (line_end = memchr(at, '\n', (size_t)(end - at))); at = line_end + 1) {
        text->lines_before++;
        text->columns_before = 0;
    }
    for (; at < end; at++)
        text->columns_before += ((unsigned char)*at & 0xC0) != 0x80;
    text->bytes_before += used;
    self->n -= used;
    memmove(self->bytes, self->bytes + used, self->n);
}

static sc_status grow(reader *self)
{
    char *bytes = realloc(self->bytes, 2 * self->capacity);
    if (!bytes)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for a piece of %zu bytes", self->path, 2 * self->capacity);
    self->bytes = bytes;
    self->capacity *= 2;
    return SC_OK;
}

static sc_status read_pieces(reader *self, sc_text_use use, void *context)
{
    sc_text text = {.name = self->path};
    do {
        SC_TRY(fill(self));
        text.bytes = self->bytes;
        text.n_bytes = self->n;
        size_t used = 0;
        SC_TRY(use(context, &text, !self->at_end, &used));
        assert(used <= self->n && (!self->at_end || used == self->n));
        if (used > 0)
            drop(self, &text, used);
        else if (!self->at_end)
            SC_TRY(grow(self));
    } while (!self->at_end);
    return SC_OK;
}

sc_status sc_text_file_each(const char *path, size_t piece_bytes, sc_text_use use, void *context)
{
    assert(piece_bytes > 0);
    reader self = {.path = path, .capacity = piece_bytes};
    uint64_t size;
    SC_TRY(sc_files_open(path, INT64_MAX, &self.fd, &size));
    self.bytes = malloc(piece_bytes);
    sc_status status = self.bytes ? read_pieces(&self, use, context)
                                  : SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for a piece of it", path);
    free(self.bytes);
    close(self.fd);
    return status;
}
