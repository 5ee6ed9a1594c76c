#include "coordinator/run/line_writer.h"

#include "proto/base/files.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

sc_status sc_line_writer_put(sc_line_writer *self, const char *bytes, size_t n)
{
    if (n > self->capacity - self->n) {
        const size_t capacity = 2 * (self->n + n) + 4096;
        char *grown = realloc(self->bytes, capacity);
        if (!grown)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu bytes of output", capacity);
        self->bytes = grown;
        self->capacity = capacity;
    }
    if (n > 0)
        memcpy(self->bytes + self->n, bytes, n);
    self->n += n;
    return SC_OK;
}

/* A pipe that says it can be written takes PIPE_BUF bytes at once. */
static sc_status write_piece(sc_line_writer *self, size_t *at)
{
    enum { TURN_MS = 100 };
    struct pollfd wanted = {.fd = self->fd, .events = POLLOUT};
    while (poll(&wanted, 1, TURN_MS) == 0)
        if (self->wait)
            SC_TRY(self->wait(self->context));
    const size_t left = self->n - *at;
    const ssize_t n = write(self->fd, self->bytes + *at, left < PIPE_BUF ? left : PIPE_BUF);
    if (n >= 0) {
        *at += (size_t)n;
        return SC_OK;
    }
    if (errno == EINTR || errno == EAGAIN)
        return SC_OK;
    self->closed = errno == EPIPE;
    return SC_FAIL(sc_files_status(errno), "cannot write to standard output: %s", strerror(errno));
}

sc_status sc_line_writer_flush(sc_line_writer *self)
{
    size_t at = 0;
    sc_status status = SC_OK;
    while (at < self->n && status == SC_OK)
        status = write_piece(self, &at);
    self->n = 0;
    return status;
}

void sc_line_writer_clear(sc_line_writer *self)
{
    free(self->bytes);
    self->bytes = NULL;
    self->n = self->capacity = 0;
}
