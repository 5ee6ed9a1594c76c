#include "coordinator/report/label_sets.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { RIGHT = 1, PREDICTED = 2 };

void sc_label_sets_clear(sc_label_sets *self)
{
    sc_labels_clear(&self->labels);
    free(self->counts);
    free(self->samples);
    free(self->marks);
    *self = (sc_label_sets){0};
}

static sc_status reserve_labels(sc_label_sets *self, size_t n)
{
    if (n <= self->counts_capacity)
        return SC_OK;
    const size_t capacity = 2 * n + 16;
    sc_counts *counts = realloc(self->counts, capacity * sizeof *counts);
    self->counts = counts ? counts : self->counts;
    unsigned char *marks = realloc(self->marks, capacity);
    self->marks = marks ? marks : self->marks;
    if (!counts || !marks)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a report on %zu labels", capacity);
    memset(counts + self->counts_capacity, 0, (capacity - self->counts_capacity) * sizeof *counts);
    memset(marks + self->counts_capacity, 0, capacity - self->counts_capacity);
    self->counts_capacity = capacity;
    return SC_OK;
}

sc_status sc_label_sets_add(sc_label_sets *self, const char *label, size_t n_bytes, bool predicted)
{
    int32_t id;
    SC_TRY(sc_labels_add(&self->labels, label, n_bytes, &id));
    SC_TRY(reserve_labels(self, (size_t)self->labels.n));
    self->marks[id] |= predicted ? PREDICTED : RIGHT;
    return SC_OK;
}

sc_status sc_label_sets_end(sc_label_sets *self)
{
    if (self->n == self->samples_capacity) {
        const size_t capacity = self->samples_capacity ? 2 * self->samples_capacity : 1024;
        sc_score *samples = realloc(self->samples, capacity * sizeof *samples);
        if (!samples)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu predictions", capacity);
        self->samples = samples;
        self->samples_capacity = capacity;
    }
    sc_counts sample = {0};
    for (int32_t i = 0; i < self->labels.n; i++) {
        const bool right = self->marks[i] & RIGHT, predicted = self->marks[i] & PREDICTED;
        self->counts[i].right += right, sample.right += right;
        self->counts[i].predicted += predicted, sample.predicted += predicted;
        self->counts[i].correct += right && predicted, sample.correct += right && predicted;
        self->marks[i] = 0;
    }
    self->n_exact += sample.right == sample.correct && sample.predicted == sample.correct;
    self->samples[self->n++] = sc_score_of(sample);
    return SC_OK;
}

sc_status sc_label_sets_sort(sc_label_sets *self)
{
    const size_t n = (size_t)self->labels.n;
    int32_t *renumber = calloc(n + 1, sizeof *renumber);
    sc_counts *counts = calloc(self->counts_capacity + 1, sizeof *counts);
    sc_status status = renumber && counts ? sc_labels_sort(&self->labels, renumber)
                                          : SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to sort %zu labels", n);
    for (size_t i = 0; status == SC_OK && i < n; i++)
        counts[renumber[i]] = self->counts[i];
    if (status == SC_OK) {
        free(self->counts);
        self->counts = counts;
        counts = NULL;
    }
    free(counts);
    free(renumber);
    return status;
}

/* --- files ------------------------------------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\r';
}

/* The labels of a column, without the blanks around them. */
static sc_status add_column(sc_label_sets *self, const char *column, const char *end, const char *separator,
                            bool predicted)
{
    while (column < end && is_blank(*column))
        column++;
    while (column < end && is_blank(end[-1]))
        end--;
    for (bool more = column < end; more;) {
        const char *stop = memmem(column, (size_t)(end - column), separator, strlen(separator));
        const char *from = column, *to = stop ? stop : end;
        while (from < to && is_blank(*from))
            from++;
        while (from < to && is_blank(to[-1]))
            to--;
        if (from == to)
            return SC_FAIL(SC_INVALID, "has an empty label");
        SC_TRY(sc_label_sets_add(self, from, (size_t)(to - from), predicted));
        more = stop != NULL;
        column = more ? stop + strlen(separator) : end;
    }
    return SC_OK;
}

static sc_status read_line(sc_label_sets *self, const char *line, size_t n, const char *separator, size_t *n_columns)
{
    const char *end = line + n, *last = memrchr(line, '\t', n);
    const char *before = last ? memrchr(line, '\t', (size_t)(last - line)) : NULL;
    size_t columns = 1;
    for (const char *at = line; (at = memchr(at, '\t', (size_t)(end - at))); at++)
        columns++;
    if (!last)
        return SC_FAIL(SC_INVALID,
                       "has no tab; the last two columns are to be the right labels and the predicted ones");
    if (*n_columns && *n_columns != columns)
        return SC_FAIL(SC_INVALID, "has %zu columns where the lines before have %zu", columns, *n_columns);
    *n_columns = columns;
    SC_TRY(add_column(self, before ? before + 1 : line, last, separator, false));
    SC_TRY(add_column(self, last + 1, end, separator, true));
    return sc_label_sets_end(self);
}

sc_status sc_label_sets_read(const sc_text *text, const char *separator, sc_label_sets *out)
{
    size_t bad, n_columns = 0;
    uint64_t line = 1;
    SC_TRY(sc_text_check_utf8(text, false, &bad));
    for (size_t at = 0; at < text->n_bytes; line++) {
        const char *stop = memchr(text->bytes + at, '\n', text->n_bytes - at);
        const size_t n = stop ? (size_t)(stop - text->bytes) - at : text->n_bytes - at;
        const bool empty = n == 0 || (n == 1 && text->bytes[at] == '\r');
        const sc_status status = empty ? SC_OK : read_line(out, text->bytes + at, n, separator, &n_columns);
        if (status != SC_OK)
            return SC_FAIL(status, "%s:%" PRIu64 ": %s", text->name, line, sc_status_message());
        at += n + (stop != NULL);
    }
    if (out->n == 0)
        return SC_FAIL(SC_INVALID, "%s: holds no prediction", text->name);
    return sc_label_sets_sort(out);
}
