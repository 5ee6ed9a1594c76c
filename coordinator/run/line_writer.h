/* Output that is gathered and written in order, without ever standing still in a write: while nobody reads a pipe, its owner
 * looks after other things. Thread: one owns it. */
#ifndef SC_LINE_WRITER_H
#define SC_LINE_WRITER_H

#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct sc_line_writer {
    int fd;
    char *bytes; /* [n] not yet written */
    size_t n, capacity;
    bool closed; /* the reader of the pipe has gone: an error that needs no message */
    void *context;
    /* Called again and again while nothing can be written; it may wait for a tenth of a second. NULL: nothing to do. An error
     * ends the writing and is returned. */
    sc_status (*wait)(void *context);
} sc_line_writer;

/* Gathers. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_line_writer_put(sc_line_writer *self, const char *bytes, size_t n);
/* Writes what was gathered. Errors: SC_UNAVAILABLE, SC_RESOURCE_EXHAUSTED (disk full); those of `wait`. */
sc_status sc_line_writer_flush(sc_line_writer *self);
void sc_line_writer_clear(sc_line_writer *self);

#endif
