#include "coordinator/run/line_reader.h"

#include "proto/base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 16 }; /* bytes that are read at once */

sc_status sc_line_reader_open(const char *path, size_t longest, sc_line_reader *self)
{
    struct stat info;
    *self = (sc_line_reader){.name = path ? path : "standard input", .fd = STDIN_FILENO, .longest = longest};
    if (path && (self->fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return SC_FAIL(sc_files_status(errno), "%s: %s", path, strerror(errno));
    if (fstat(self->fd, &info) == 0 && S_ISDIR(info.st_mode))
        return SC_FAIL(SC_INVALID, "%s is a directory; name a file", self->name);
    self->is_file = S_ISREG(info.st_mode);
    self->capacity = longest + 2 + PIECE; /* with its CRLF */
    self->bytes = malloc(self->capacity);
    return self->bytes ? SC_OK : SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to read %s", self->name);
}

void sc_line_reader_close(sc_line_reader *self)
{
    if (self->name && self->fd > STDERR_FILENO)
        close(self->fd);
    free(self->bytes);
    *self = (sc_line_reader){0};
}

/* Reads what is there. *some: whether anything came, the end among it. */
static sc_status fill(sc_line_reader *self, bool *some)
{
    struct pollfd wanted = {.fd = self->fd, .events = POLLIN};
    *some = false;
    if (!self->is_file && poll(&wanted, 1, 0) == 0)
        return SC_OK;
    if (self->begin > 0) {
        memmove(self->bytes, self->bytes + self->begin, self->end - self->begin);
        self->end -= self->begin;
        self->scanned -= self->begin;
        self->begin = 0;
    }
    const ssize_t n = read(self->fd, self->bytes + self->end, self->capacity - self->end);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return SC_OK;
    if (n < 0)
        return SC_FAIL(sc_files_status(errno), "%s: %s", self->name, strerror(errno));
    self->end += (size_t)n;
    self->at_end = n == 0;
    *some = true;
    return SC_OK;
}

static void give(sc_line_reader *self, size_t n, size_t next, sc_line *out)
{
    const char *text = self->bytes + self->begin;
    if (n > 0 && text[n - 1] == '\r' && next != self->begin + n)
        n--;
    self->number++;
    if (self->number == 1 && n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        text += 3, n -= 3;
    *out = (sc_line){.state = SC_LINE_READY, .text = text, .n = n, .number = self->number};
    if (n > self->longest) {
        out->n = self->longest;
        out->too_long = true;
    }
    self->begin = self->scanned = next;
}

/* Looks for a line among what was read. */
static bool find(sc_line_reader *self, sc_line *out)
{
    for (;;) {
        const char *stop = memchr(self->bytes + self->scanned, '\n', self->end - self->scanned);
        const size_t end = stop ? (size_t)(stop - self->bytes) : self->end, next = stop ? end + 1 : end;
        if (self->passing_over) {
            self->begin = self->scanned = next;
            if (!stop)
                return false;
            self->passing_over = false;
            continue;
        }
        const bool whole = stop || (self->at_end && end > self->begin), full = end - self->begin > self->longest + 2;
        if (!whole && !full) {
            self->scanned = end;
            return false;
        }
        self->passing_over = full && !stop;
        give(self, end - self->begin, next, out);
        return true;
    }
}

sc_status sc_line_reader_next(sc_line_reader *self, sc_line *out)
{
    bool some = true;
    while (!find(self, out)) {
        *out = (sc_line){.state = self->at_end ? SC_LINE_END : SC_LINE_NONE_YET};
        if (self->at_end)
            return SC_OK;
        SC_TRY(fill(self, &some));
        if (!some)
            return SC_OK;
    }
    return SC_OK;
}
