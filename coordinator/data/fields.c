#include "coordinator/data/fields.h"

#include <inttypes.h>
#include <string.h>

bool sc_field_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

sc_field sc_field_trim(sc_field field)
{
    while (field.n > 0 && sc_field_is_blank(field.text[field.n - 1]))
        field.n--;
    while (field.n > 0 && sc_field_is_blank(*field.text))
        field.text++, field.n--;
    return field;
}

bool sc_field_get(const char *line, size_t n, const char *separator, int column, sc_field *out)
{
    const size_t width = strlen(separator);
    for (int i = 1;; i++) {
        const char *end = memmem(line, n, separator, width);
        const size_t length = end ? (size_t)(end - line) : n;
        if (i == column) {
            *out = sc_field_trim((sc_field){line, length});
            return true;
        }
        if (!end)
            return false;
        line += length + width;
        n -= length + width;
    }
}

bool sc_field_next(const char *line, size_t n, size_t *at, sc_field *out)
{
    while (*at < n && sc_field_is_blank(line[*at]))
        ++*at;
    const size_t begin = *at;
    while (*at < n && !sc_field_is_blank(line[*at]))
        ++*at;
    *out = (sc_field){line + begin, *at - begin};
    return *at > begin;
}

sc_status sc_field_lines(const sc_text *file, sc_status (*read)(void *context, const char *line, size_t n),
                         void *context)
{
    size_t end;
    SC_TRY(sc_text_check_utf8(file, false, &end));
    const char *bytes = file->bytes;
    uint64_t number = 1;
    for (size_t at = end >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0; at < end; number++) {
        const char *line = bytes + at, *line_end = memchr(line, '\n', end - at);
        const size_t n = line_end ? (size_t)(line_end - line) : end - at;
        at += n + (line_end != NULL);
        if (sc_field_trim((sc_field){line, n}).n == 0)
            continue;
        const sc_status status = read(context, line, n > 0 && line[n - 1] == '\r' ? n - 1 : n);
        if (status != SC_OK)
            return SC_FAIL(status, "%s:%" PRIu64 ": %s", file->name, number, sc_status_message());
    }
    return SC_OK;
}
