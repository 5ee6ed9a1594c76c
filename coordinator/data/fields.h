/* Lines and their fields, cut out of a text. Borrow it. Pure; thread: any. */
#ifndef SC_FIELDS_H
#define SC_FIELDS_H

#include "coordinator/data/tokenizer.h"

#include <stdbool.h>

typedef struct sc_field {
    const char *text;
    size_t n;
} sc_field;

bool sc_field_is_blank(char c); /* a blank, a tab, or a line's end */
sc_field sc_field_trim(sc_field field);

/* Column `column` (from 1) of a line whose columns stand between `separator`, without blanks around it. False if there is none. */
bool sc_field_get(const char *line, size_t n, const char *separator, int column, sc_field *out);

/* The next word from *at on, between blanks or tabs; *at is then behind it. False if there is none. */
bool sc_field_next(const char *line, size_t n, size_t *at, sc_field *out);

/* Gives each line that is not blank to `read`, without its end; a byte-order mark is passed over. What `read` says of a line is
 * told with file and line in front. Errors: SC_INVALID (broken UTF-8), those of `read`. */
sc_status sc_field_lines(const sc_text *file, sc_status (*read)(void *context, const char *line, size_t n),
                         void *context);

#endif
