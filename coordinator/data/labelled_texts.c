#include "coordinator/data/labelled_texts.h"

#include "coordinator/data/csv.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 60 }; /* bytes of a label that a message repeats */

void sc_labelled_texts_clear(sc_labelled_texts *self)
{
    free(self->items);
    free(self->bytes);
    free(self->label_ids);
    *self = (sc_labelled_texts){0};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void trim(const char **text, size_t *n)
{
    while (*n && is_blank((*text)[*n - 1]))
        --*n;
    while (*n && is_blank(**text))
        ++*text, --*n;
}

static sc_status reserve(sc_labelled_texts *self, size_t n_bytes)
{
    if (self->n == self->capacity) {
        const size_t capacity = self->capacity ? 2 * self->capacity : 1024;
        sc_labelled_text *items = realloc(self->items, capacity * sizeof *items);
        if (!items)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu texts", capacity);
        self->items = items;
        self->capacity = capacity;
    }
    if (n_bytes > self->bytes_capacity - self->n_bytes) {
        const size_t capacity = 2 * (self->n_bytes + n_bytes);
        char *bytes = realloc(self->bytes, capacity);
        if (!bytes)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu bytes of text", capacity);
        self->bytes = bytes;
        self->bytes_capacity = capacity;
    }
    return SC_OK;
}

static size_t copy(sc_labelled_texts *self, const char *text, size_t n)
{
    const size_t at = self->n_bytes;
    if (n > 0)
        memcpy(self->bytes + at, text, n);
    self->n_bytes += n;
    return at;
}

/* The number of a label, without the blanks around it. */
static sc_status number_label(const char *label, size_t n, sc_labels *labels, bool known, int32_t *id)
{
    trim(&label, &n);
    if (n == 0)
        return SC_FAIL(SC_INVALID, "has no label");
    if (memchr(label, '\0', n))
        return SC_FAIL(SC_INVALID, "has a NUL in its label");
    if (!known)
        return sc_labels_add(labels, label, n, id);
    *id = sc_labels_find(labels, label, n);
    return *id >= 0 ? SC_OK
                    : SC_FAIL(SC_INVALID, "has the label '%.*s', which the training data lacks",
                              n < SHOWN ? (int)n : SHOWN, label);
}

static sc_status add_item(sc_labelled_texts *self, const char *text, size_t n_text, const char *pair, size_t n_pair,
                          sc_labelled_text item)
{
    trim(&text, &n_text);
    trim(&pair, &n_pair);
    if (n_text == 0)
        return SC_FAIL(SC_INVALID, "has no text");
    SC_TRY(reserve(self, n_text + n_pair + 1));
    item.n_text = n_text, item.n_pair = n_pair;
    item.text = copy(self, text, n_text);
    item.pair = copy(self, pair, n_pair);
    self->items[self->n++] = item;
    return SC_OK;
}

sc_status sc_labelled_texts_add(sc_labelled_texts *self, const char *text, size_t n_text, const char *pair,
                                size_t n_pair, const char *label, size_t n_label, uint64_t line, sc_labels *labels,
                                bool known)
{
    sc_labelled_text item = {.line = line};
    trim(&label, &n_label);
    trim(&text, &n_text);
    if (n_label > 0 && n_text == 0)
        return SC_FAIL(SC_INVALID, "has the label '%.*s' but no text", n_label < SHOWN ? (int)n_label : SHOWN, label);
    SC_TRY(number_label(label, n_label, labels, known, &item.label));
    return add_item(self, text, n_text, pair, n_pair, item);
}

const int32_t *sc_labelled_texts_labels(const sc_labelled_texts *self, const sc_labelled_text *item, size_t *n)
{
    const bool many = item->label == SC_MANY_LABELS;
    *n = many ? item->n_labels : 1;
    return many && *n > 0 ? self->label_ids + item->first_label : &item->label;
}

/* Of the text that is added next, whose labels begin at `first`; one that is there already does not count. */
static sc_status put_label(sc_labelled_texts *self, size_t first, int32_t id)
{
    for (size_t i = first; i < self->n_label_ids; i++)
        if (self->label_ids[i] == id)
            return SC_OK;
    if (self->n_label_ids == self->label_ids_capacity) {
        const size_t capacity = self->label_ids_capacity ? 2 * self->label_ids_capacity : 1024;
        int32_t *ids = realloc(self->label_ids, capacity * sizeof *ids);
        if (!ids)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu labels of texts", capacity);
        self->label_ids = ids;
        self->label_ids_capacity = capacity;
    }
    self->label_ids[self->n_label_ids++] = id;
    return SC_OK;
}

/* A file while it is read. */
typedef struct reader {
    sc_labelled_texts *texts;
    const sc_data_columns *columns;
    sc_labels *labels;
    bool known, label_first;
    int text, pair, label; /* of a CSV file: the columns' numbers from 0; pair -1: none */
    int n_columns;
} reader;

/* A text with the label, or the labels, that a cell has. */
static sc_status add_row(reader *self, const char *text, size_t n_text, const char *pair, size_t n_pair,
                         const char *label, size_t n_label, uint64_t line)
{
    sc_labelled_texts *texts = self->texts;
    const char *separator = self->columns->label_separator;
    if (!separator)
        return sc_labelled_texts_add(texts, text, n_text, pair, n_pair, label, n_label, line, self->labels,
                                     self->known);
    sc_labelled_text item = {.label = SC_MANY_LABELS, .first_label = texts->n_label_ids, .line = line};
    trim(&label, &n_label);
    for (const char *end = label + n_label; label < end;) {
        const char *stop = memmem(label, (size_t)(end - label), separator, strlen(separator));
        int32_t id;
        SC_TRY(number_label(label, (size_t)((stop ? stop : end) - label), self->labels, self->known, &id));
        SC_TRY(put_label(texts, item.first_label, id));
        label = stop ? stop + strlen(separator) : end;
        if (stop && label == end)
            return SC_FAIL(SC_INVALID, "has nothing behind the last '%s' of its labels", separator);
    }
    item.n_labels = texts->n_label_ids - item.first_label;
    return add_item(texts, text, n_text, pair, n_pair, item);
}

static sc_status read_tab_line(reader *self, const char *line, size_t n, uint64_t number)
{
    const char *tab = memchr(line, '\t', n);
    const size_t first = tab ? (size_t)(tab - line) : n, rest = tab ? n - first - 1 : 0;
    const char *behind = line + n - rest;
    if (!tab || memchr(behind, '\t', rest))
        return SC_FAIL(SC_INVALID, "has %s; a text and its label stand on a line with one tab between them",
                       tab ? "more than one tab" : "no tab");
    return self->label_first ? add_row(self, behind, rest, "", 0, line, first, number)
                             : add_row(self, line, first, "", 0, behind, rest, number);
}

/* The value's text; a number's digits are put into `digits`. */
static sc_status json_value_text(const json_t *value, const char *field, char digits[32], const char **text, size_t *n)
{
    if (json_is_integer(value)) {
        *n = (size_t)snprintf(digits, 32, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        *text = digits;
        return SC_OK;
    }
    *text = json_string_value(value);
    *n = json_string_length(value);
    return *text ? SC_OK
                 : SC_FAIL(SC_INVALID, "the field \"%.60s\" %s", field,
                           value ? "is neither a text nor an integer" : "is missing");
}

static sc_status json_text(const json_t *object, const char *field, char digits[32], const char **text, size_t *n)
{
    return json_value_text(json_object_get(object, field), field, digits, text, n);
}

/* A text with the labels of an array. */
static sc_status add_array(reader *self, const json_t *array, const char *text, size_t n_text, const char *pair,
                           size_t n_pair, uint64_t line)
{
    sc_labelled_texts *texts = self->texts;
    const char *field = self->columns->label;
    if (!json_is_array(array))
        return SC_FAIL(SC_INVALID, "the field \"%.60s\" %s; with model.multi_label it is an array of labels", field,
                       array ? "is no array" : "is missing");
    sc_labelled_text item = {.label = SC_MANY_LABELS, .first_label = texts->n_label_ids, .line = line};
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *label;
        size_t n_label;
        char digits[32];
        int32_t id;
        SC_TRY(json_value_text(json_array_get(array, i), field, digits, &label, &n_label));
        SC_TRY(number_label(label, n_label, self->labels, self->known, &id));
        SC_TRY(put_label(texts, item.first_label, id));
    }
    item.n_labels = texts->n_label_ids - item.first_label;
    return add_item(texts, text, n_text, pair, n_pair, item);
}

static sc_status add_object(reader *self, const json_t *object, uint64_t number)
{
    const char *text, *pair = "", *label;
    size_t n_text, n_pair = 0, n_label;
    char digits[3][32];
    if (!json_is_object(object))
        return SC_FAIL(SC_INVALID, "is not a JSON object");
    SC_TRY(json_text(object, self->columns->text, digits[0], &text, &n_text));
    if (self->columns->pair[0])
        SC_TRY(json_text(object, self->columns->pair, digits[1], &pair, &n_pair));
    if (self->columns->label_separator)
        return add_array(self, json_object_get(object, self->columns->label), text, n_text, pair, n_pair, number);
    SC_TRY(json_text(object, self->columns->label, digits[2], &label, &n_label));
    return add_row(self, text, n_text, pair, n_pair, label, n_label, number);
}

static sc_status read_json_line(reader *self, const char *line, size_t n, uint64_t number)
{
    json_error_t error;
    json_t *object = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!object)
        return SC_FAIL(SC_INVALID, "is not JSON: %s (column %d)", error.text, error.column);
    const sc_status status = add_object(self, object, number);
    json_decref(object);
    return status;
}

static sc_status read_lines(reader *self, const sc_text *file,
                            sc_status (*read)(reader *self, const char *line, size_t n, uint64_t number))
{
    uint64_t number = 1;
    for (size_t at = 0; at < file->n_bytes; number++) {
        const char *line = file->bytes + at, *end = memchr(line, '\n', file->n_bytes - at);
        const size_t n = end ? (size_t)(end - line) : file->n_bytes - at;
        at += n + (end != NULL);
        const char *trimmed = line;
        size_t n_trimmed = n;
        trim(&trimmed, &n_trimmed);
        const size_t n_line = n > 0 && line[n - 1] == '\r' ? n - 1 : n;
        const sc_status status = n_trimmed ? read(self, line, n_line, number) : SC_OK;
        if (status != SC_OK)
            return SC_FAIL(status, "%s:%" PRIu64 ": %s", file->name, number, sc_status_message());
    }
    return SC_OK;
}

static sc_status find_column(const sc_csv_row *header, const char *name, int *out)
{
    *out = -1;
    for (int i = 0; i < header->n; i++)
        if (header->fields[i].n == strlen(name) && memcmp(header->fields[i].text, name, header->fields[i].n) == 0) {
            if (*out >= 0)
                return SC_FAIL(SC_INVALID, "two columns have the name '%.60s'", name);
            *out = i;
        }
    return *out >= 0 ? SC_OK
                     : SC_FAIL(SC_INVALID,
                               "no column has the name '%.60s'; the first line names the columns, and "
                               "data.text_column and data.label_column say which to take",
                               name);
}

static sc_status read_csv_row(void *context, const sc_csv_row *row)
{
    reader *self = context;
    if (self->n_columns == 0) {
        self->n_columns = row->n;
        self->pair = -1;
        SC_TRY(find_column(row, self->columns->text, &self->text));
        if (self->columns->pair[0])
            SC_TRY(find_column(row, self->columns->pair, &self->pair));
        return find_column(row, self->columns->label, &self->label);
    }
    if (row->n != self->n_columns)
        return SC_FAIL(SC_INVALID, "has %d columns where the header has %d", row->n, self->n_columns);
    const sc_csv_field none = {"", 0}, *text = &row->fields[self->text], *label = &row->fields[self->label];
    const sc_csv_field *pair = self->pair >= 0 ? &row->fields[self->pair] : &none;
    return add_row(self, text->text, text->n, pair->text, pair->n, label->text, label->n, row->line);
}

sc_status sc_labelled_texts_read(sc_labelled_texts *self, const sc_text *file, sc_data_format format,
                                 const sc_data_columns *columns, sc_labels *labels, bool known)
{
    size_t end;
    const size_t before = self->n;
    reader r = {.texts = self, .columns = columns, .labels = labels, .known = known};
    SC_TRY(sc_text_check_utf8(file, false, &end));
    sc_text content = *file;
    if (content.n_bytes >= 3 && memcmp(content.bytes, "\xEF\xBB\xBF", 3) == 0) /* a byte-order mark */
        content.bytes += 3, content.n_bytes -= 3;
    r.label_first = format == SC_DATA_LABEL_TEXT;
    if (format == SC_DATA_CSV)
        SC_TRY(sc_csv_read(&content, read_csv_row, &r));
    else
        SC_TRY(read_lines(&r, &content, format == SC_DATA_JSONL ? read_json_line : read_tab_line));
    return self->n > before ? SC_OK : SC_FAIL(SC_INVALID, "%s: holds no text with a label", file->name);
}

sc_status sc_labelled_texts_sort(sc_labelled_texts *self, sc_labels *labels)
{
    int32_t *renumber = calloc((size_t)labels->n + 1, sizeof *renumber);
    if (!renumber)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to sort %d labels", (int)labels->n);
    const sc_status status = sc_labels_sort(labels, renumber);
    for (size_t i = 0; status == SC_OK && i < self->n; i++)
        if (self->items[i].label != SC_MANY_LABELS)
            self->items[i].label = renumber[self->items[i].label];
    for (size_t i = 0; status == SC_OK && i < self->n_label_ids; i++)
        self->label_ids[i] = renumber[self->label_ids[i]];
    free(renumber);
    return status;
}

sc_status sc_labelled_texts_check(const sc_labelled_texts *self, const sc_labels *labels, const char *name)
{
    bool *seen = calloc((size_t)labels->n + 1, sizeof *seen);
    if (!seen)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to look at %d labels", (int)labels->n);
    for (size_t i = 0; i < self->n; i++) {
        size_t n;
        const int32_t *ids = sc_labelled_texts_labels(self, &self->items[i], &n);
        for (size_t k = 0; k < n; k++)
            seen[ids[k]] = true;
    }
    sc_status status = SC_OK;
    for (int32_t i = 0; i < labels->n && status == SC_OK; i++)
        if (!seen[i])
            status = SC_FAIL(SC_INVALID, "%s: no text has the label '%.*s'; add some, or take the label out", name,
                             SHOWN, labels->names[i]);
    free(seen);
    return status;
}

sc_status sc_labelled_texts_split(sc_labelled_texts *self, uint64_t seed, double share, sc_labelled_texts *out)
{
    size_t kept = 0;
    for (size_t i = 0; i < self->n; i++) /* first all that can fail */
        if (sc_data_split_takes(seed, self->n, share, i)) {
            sc_labelled_text item = self->items[i];
            SC_TRY(reserve(out, item.n_text + item.n_pair + 1));
            item.text = copy(out, self->bytes + item.text, item.n_text);
            item.pair = copy(out, self->bytes + item.pair, item.n_pair);
            const int32_t *ids = self->label_ids + item.first_label; /* of one label: none of them */
            item.first_label = out->n_label_ids;
            for (size_t k = 0; k < item.n_labels; k++)
                SC_TRY(put_label(out, item.first_label, ids[k]));
            out->items[out->n++] = item;
        }
    for (size_t i = 0; i < self->n; i++)
        if (!sc_data_split_takes(seed, self->n, share, i))
            self->items[kept++] = self->items[i];
    self->n = kept;
    return SC_OK;
}
