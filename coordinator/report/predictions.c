#include "coordinator/report/predictions.h"

#include "coordinator/report/tags.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void sc_predictions_clear(sc_predictions *self)
{
    sc_labels_clear(&self->labels);
    free(self->items);
    *self = (sc_predictions){0};
}

static sc_status add(sc_predictions *self, const char *right, size_t n_right, const char *predicted, size_t n_predicted)
{
    if (self->n == self->capacity) {
        const size_t capacity = self->capacity ? 2 * self->capacity : 1024;
        sc_prediction *items = realloc(self->items, capacity * sizeof *items);
        if (!items)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu predictions", capacity);
        self->items = items;
        self->capacity = capacity;
    }
    sc_prediction item = {.begins = self->n == 0 || self->ended};
    SC_TRY(sc_labels_add(&self->labels, right, n_right, &item.right));
    SC_TRY(sc_labels_add(&self->labels, predicted, n_predicted, &item.predicted));
    self->items[self->n++] = item;
    self->ended = false;
    return SC_OK;
}

sc_status sc_predictions_add(sc_predictions *self, const char *right, const char *predicted)
{
    return add(self, right, strlen(right), predicted, strlen(predicted));
}

void sc_predictions_end_sentence(sc_predictions *self)
{
    self->ended = true;
}

/* The columns of a line that matter. */
typedef struct columns {
    size_t n;
    const char *first, *right, *predicted;
    size_t n_first, n_right, n_predicted; /* bytes */
} columns;

static void add_column(columns *self, const char *text, size_t n)
{
    if (self->n++ == 0) {
        self->first = text;
        self->n_first = n;
    }
    self->right = self->predicted;
    self->n_right = self->n_predicted;
    self->predicted = text;
    self->n_predicted = n;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static columns split(const char *line, size_t n, bool tabs)
{
    columns self = {0};
    size_t blanks = 0;
    while (blanks < n && is_blank(line[blanks]))
        blanks++;
    if (blanks == n)
        return self;
    for (size_t at = 0, end = 0; end < n; at = end + 1) {
        end = at;
        while (end < n && !(tabs ? line[end] == '\t' : is_blank(line[end])))
            end++;
        if (tabs || end > at)
            add_column(&self, line + at, end - at);
    }
    return self;
}

static sc_status read_line(sc_predictions *self, const char *line, size_t n, bool tabs, size_t *n_columns)
{
    const columns found = split(line, n, tabs);
    if (found.n == 0 || (found.n_first == 3 && memcmp(found.first, "-X-", 3) == 0)) {
        sc_predictions_end_sentence(self);
        return SC_OK;
    }
    if (found.n < 2)
        return SC_FAIL(SC_INVALID, "has one column; the last two are to be the right label and the predicted one");
    if (*n_columns && *n_columns != found.n)
        return SC_FAIL(SC_INVALID, "has %zu columns where the lines before have %zu", found.n, *n_columns);
    *n_columns = found.n;
    if (found.n_right == 0 || found.n_predicted == 0)
        return SC_FAIL(SC_INVALID, "has an empty label");
    return add(self, found.right, found.n_right, found.predicted, found.n_predicted);
}

sc_status sc_predictions_read(const sc_text *text, sc_predictions *out)
{
    size_t end, n_columns = 0;
    uint64_t line = 1;
    SC_TRY(sc_text_check_utf8(text, false, &end));
    const char *first_end = memchr(text->bytes, '\n', text->n_bytes);
    const bool tabs = memchr(text->bytes, '\t', first_end ? (size_t)(first_end - text->bytes) : text->n_bytes);
    for (size_t at = 0; at < text->n_bytes; line++) {
        const char *stop = memchr(text->bytes + at, '\n', text->n_bytes - at);
        size_t n = stop ? (size_t)(stop - text->bytes) - at : text->n_bytes - at;
        const size_t next = at + n + (stop != NULL);
        if (n > 0 && text->bytes[at + n - 1] == '\r')
            n--;
        const sc_status status = read_line(out, text->bytes + at, n, tabs, &n_columns);
        if (status != SC_OK)
            return SC_FAIL(status, "%s:%" PRIu64 ": %s", text->name, line, sc_status_message());
        at = next;
    }
    return out->n ? SC_OK : SC_FAIL(SC_INVALID, "%s: holds no prediction", text->name);
}

void sc_predictions_put_text(const char *text, size_t n, FILE *out)
{
    for (size_t i = 0; i < n; i++)
        putc(text[i] == '\t' || text[i] == '\n' || text[i] == '\r' ? ' ' : text[i], out);
}

bool sc_predictions_is_tag(const char *label)
{
    return label[0] && strchr("BIES", label[0]) && label[1] == '-' && label[2];
}

bool sc_predictions_are_tags(const sc_predictions *self)
{
    return sc_tags_are_all(&self->labels);
}
