/* Lines of a file or of standard input as they come, without waiting for them: for those who have other things to look after
 * meanwhile.
 *
 * A line ends with LF or CRLF, which are not part of it; the last one may lack it. A byte order mark at the beginning is passed
 * over. A line that is longer than `longest` is given once, cut, and the rest of it is passed over, so that memory is bounded
 * by `longest` whatever comes. Thread: one owns it. */
#ifndef SC_LINE_READER_H
#define SC_LINE_READER_H

#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sc_line_state { SC_LINE_NONE_YET, SC_LINE_READY, SC_LINE_END } sc_line_state;

typedef struct sc_line {
    sc_line_state state;
    const char *text; /* [n]; valid until the next call */
    size_t n;
    uint64_t number; /* from 1 */
    bool too_long;
} sc_line;

typedef struct sc_line_reader {
    const char *name; /* borrowed; for messages */
    int fd;
    bool is_file; /* reading never waits */
    bool at_end, passing_over;
    char *bytes;
    size_t begin, scanned, end, capacity;
    size_t longest;
    uint64_t number;
} sc_line_reader;

/* path NULL: standard input. Errors: as sc_files_status, naming the path; SC_INVALID for a directory; SC_RESOURCE_EXHAUSTED. */
sc_status sc_line_reader_open(const char *path, size_t longest, sc_line_reader *self);
/* Fine for a zeroed one. */
void sc_line_reader_close(sc_line_reader *self);
/* Errors: SC_UNAVAILABLE (a read that fails). */
sc_status sc_line_reader_next(sc_line_reader *self, sc_line *out);

#endif
