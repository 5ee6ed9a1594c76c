#include "coordinator/data/csv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FIELDS = 4096 };

typedef struct reader {
    const char *bytes;
    size_t n, at;
    uint64_t line;
    char *unquoted; /* room for the whole file: fields that had quotes, of the current row */
    size_t used;
    sc_csv_field *fields; /* [MAX_FIELDS] */
    int n_fields;
} reader;

static bool ends_line(const reader *self, size_t at)
{
    return self->bytes[at] == '\n' || (self->bytes[at] == '\r' && (at + 1 == self->n || self->bytes[at + 1] == '\n'));
}

static sc_status read_quoted(reader *self, sc_csv_field *out)
{
    const uint64_t began = self->line;
    char *const text = self->unquoted + self->used;
    size_t n = 0, at = self->at + 1;
    for (; at < self->n; at++) {
        if (self->bytes[at] == '"' && at + 1 < self->n && self->bytes[at + 1] == '"')
            at++;
        else if (self->bytes[at] == '"')
            break;
        self->line += self->bytes[at] == '\n';
        text[n++] = self->bytes[at];
    }
    if (at == self->n)
        return SC_FAIL(SC_INVALID, "the quote that opens in line %" PRIu64 " is not closed", began);
    self->at = at + 1;
    if (self->at < self->n && self->bytes[self->at] != ',' && !ends_line(self, self->at))
        return SC_FAIL(SC_INVALID,
                       "a field goes on behind the quote that closes it; quotes inside a field are doubled");
    self->used += n;
    *out = (sc_csv_field){text, n};
    return SC_OK;
}

static sc_status read_field(reader *self)
{
    if (self->n_fields == MAX_FIELDS)
        return SC_FAIL(SC_INVALID, "has more than %d columns", MAX_FIELDS);
    sc_csv_field *field = &self->fields[self->n_fields++];
    if (self->at < self->n && self->bytes[self->at] == '"')
        return read_quoted(self, field);
    const size_t begin = self->at;
    while (self->at < self->n && self->bytes[self->at] != ',' && !ends_line(self, self->at))
        self->at++;
    *field = (sc_csv_field){self->bytes + begin, self->at - begin};
    return SC_OK;
}

/* Fields up to the row's end, which is skipped. */
static sc_status read_row(reader *self)
{
    self->used = 0;
    self->n_fields = 0;
    for (;;) {
        SC_TRY(read_field(self));
        if (self->at == self->n)
            return SC_OK;
        if (self->bytes[self->at] != ',')
            break;
        self->at++;
    }
    self->at += self->bytes[self->at] == '\r' && self->at + 1 < self->n ? 2 : 1;
    self->line++;
    return SC_OK;
}

static sc_status read_rows(reader *self, const char *name, sc_csv_use use, void *context)
{
    while (self->at < self->n) {
        const uint64_t line = self->line;
        sc_status status = read_row(self);
        const bool empty = self->n_fields == 1 && self->fields[0].n == 0;
        if (status == SC_OK && !empty)
            status = use(context, &(sc_csv_row){.fields = self->fields, .n = self->n_fields, .line = line});
        if (status != SC_OK)
            return SC_FAIL(status, "%s:%" PRIu64 ": %s", name, line, sc_status_message());
    }
    return SC_OK;
}

sc_status sc_csv_read(const sc_text *file, sc_csv_use use, void *context)
{
    reader self = {.bytes = file->bytes, .n = file->n_bytes, .line = 1};
    self.unquoted = malloc(file->n_bytes + 1);
    self.fields = malloc(MAX_FIELDS * sizeof *self.fields);
    const sc_status status = self.unquoted && self.fields
                                 ? read_rows(&self, file->name, use, context)
                                 : SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to read it", file->name);
    free(self.unquoted);
    free(self.fields);
    return status;
}
