#include "coordinator/run/predict_stream.h"

#include "coordinator/run/line_reader.h"
#include "proto/base/files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct stream {
    const sc_predict_stream_options *options;
    sc_line_reader reader;
    bool opened, at_end, stopped;
    sc_predict_item *sentence; /* CONLL: the one that is being read */
    bool tabs, seen;           /* CONLL: columns stand between tabs; a line with columns was seen */
    sc_predict_stream_result *result;
} stream;

/* --- items of lines -------------------------------------------------------------------------------------------------- */

static sc_status item_of_line(const stream *self, const sc_line *line, sc_predict_item **out)
{
    char message[96];
    if (line->too_long) {
        snprintf(message, sizeof message, "the line has more than %d bytes", SC_PREDICT_LONGEST_TEXT);
        return sc_predict_item_new_mistake(message, line->number, out);
    }
    if (self->options->input == SC_PREDICT_LINES)
        return sc_predict_item_new(line->text, line->n, NULL, 0, line->number, out);
    const char *tab = memchr(line->text, '\t', line->n);
    if (!tab)
        return sc_predict_item_new_mistake("the line has no tab between a text and a second one", line->number, out);
    const size_t n = (size_t)(tab - line->text);
    return sc_predict_item_new(line->text, n, tab + 1, line->n - n - 1, line->number, out);
}

/* --- items of columns ------------------------------------------------------------------------------------------------ */

enum { MOST_COLUMNS = 64 };
typedef struct column {
    const char *text;
    size_t n;
} column;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Returns how many there are, or MOST_COLUMNS + 1. */
static int cut(const char *text, size_t n, bool tabs, column *out)
{
    int n_out = 0;
    for (size_t at = 0; at <= n;) {
        while (!tabs && at < n && is_blank(text[at]))
            at++;
        if (!tabs && at == n)
            break;
        const size_t begin = at;
        while (at < n && (tabs ? text[at] != '\t' : !is_blank(text[at])))
            at++;
        if (n_out == MOST_COLUMNS)
            return MOST_COLUMNS + 1;
        out[n_out++] = (column){text + begin, at - begin};
        at++;
    }
    return n_out;
}

/* The column of that number, from 1 or from -1 at the last; NULL if there is none. */
static const column *column_of(const column *columns, int n, int number)
{
    const int i = number > 0 ? number - 1 : n + number;
    return i >= 0 && i < n ? &columns[i] : NULL;
}

static bool ends_sentence(const sc_line *line)
{
    static const char start[] = "-DOCSTART-";
    size_t i = 0;
    while (i < line->n && is_blank(line->text[i]))
        i++;
    return i == line->n || (line->n >= sizeof start - 1 && memcmp(line->text, start, sizeof start - 1) == 0);
}

static sc_status add_columns(stream *self, const sc_line *line)
{
    const sc_predict_stream_options *o = self->options;
    column columns[MOST_COLUMNS];
    if (!self->sentence)
        SC_TRY(sc_predict_item_new_words(line->number, &self->sentence));
    if (!self->seen)
        self->tabs = memchr(line->text, '\t', line->n) != NULL;
    self->seen = true;
    const int n = cut(line->text, line->n, self->tabs, columns);
    if (line->too_long || n > MOST_COLUMNS)
        return sc_predict_item_fail(self->sentence, "line %" PRIu64 " has more columns than a word can have",
                                    line->number);
    const column *word = column_of(columns, n, o->word_column);
    const column *tag = o->tag_column ? column_of(columns, n, o->tag_column) : NULL;
    if (!word || (o->tag_column && (!tag || tag->n == 0)))
        return sc_predict_item_fail(self->sentence, "line %" PRIu64 " has %d column%s and so no %s", line->number, n,
                                    n == 1 ? "" : "s", word ? "tag" : "word");
    return sc_predict_item_add_word(self->sentence, word->text, word->n, tag ? tag->text : "", tag ? tag->n : 0);
}

/* --- reading --------------------------------------------------------------------------------------------------------- */

static sc_status add(stream *self, sc_predict_item **item)
{
    return *item ? sc_predictor_add(self->options->predictor, item) : SC_OK;
}

static sc_status read_text(stream *self)
{
    const char *text = self->options->text;
    const sc_line line = {.state = SC_LINE_READY, .text = text, .n = strlen(text), .number = 1};
    sc_predict_item *item = NULL;
    self->at_end = true;
    SC_TRY(item_of_line(self, &line, &item));
    return add(self, &item);
}

/* Reads while there is something, and room for it. */
static sc_status read_lines(stream *self)
{
    sc_line line = {.state = SC_LINE_READY};
    while (!self->at_end && line.state == SC_LINE_READY && sc_predictor_has_room(self->options->predictor)) {
        sc_predict_item *item = NULL;
        SC_TRY(sc_line_reader_next(&self->reader, &line));
        if (line.state == SC_LINE_END) {
            self->at_end = true;
            return add(self, &self->sentence);
        }
        if (line.state != SC_LINE_READY)
            break;
        if (self->options->input != SC_PREDICT_CONLL)
            SC_TRY(item_of_line(self, &line, &item));
        else if (ends_sentence(&line))
            SC_TRY(add(self, &self->sentence));
        else
            SC_TRY(add_columns(self, &line));
        SC_TRY(add(self, &item));
    }
    return SC_OK;
}

static sc_status deliver(stream *self)
{
    for (sc_predict_item *item = sc_predictor_take(self->options->predictor), *next; item; item = next) {
        next = sc_predictor_take(self->options->predictor);
        self->result->n_items++;
        self->result->n_mistakes += item->message != NULL;
        const sc_status status = self->options->each(self->options->context, item, !next);
        sc_predict_item_destroy(&item);
        if (status != SC_OK)
            sc_predict_item_destroy(&next);
        SC_TRY(status);
    }
    return SC_OK;
}

static sc_status run(stream *self)
{
    const sc_predict_stream_options *o = self->options;
    if (!o->text)
        SC_TRY(sc_line_reader_open(o->path, SC_PREDICT_LONGEST_TEXT, &self->reader));
    for (;;) {
        if (sc_predictor_stop_requested(o->predictor) && !self->at_end)
            self->stopped = self->at_end = true; /* what was read is answered */
        if (!self->at_end)
            SC_TRY(o->text ? read_text(self) : read_lines(self));
        SC_TRY(sc_predictor_start(o->predictor));
        SC_TRY(deliver(self));
        if (o->turn)
            SC_TRY(o->turn(o->context));
        if (self->at_end && sc_predictor_is_idle(o->predictor))
            return self->stopped ? SC_FAIL(SC_CANCELLED, "stopped by a signal; all that was read is answered") : SC_OK;
        const bool wants_more = !self->at_end && sc_predictor_has_room(o->predictor);
        SC_TRY(sc_predictor_wait(o->predictor, wants_more ? self->reader.fd : -1));
        SC_TRY(deliver(self));
    }
}

sc_status sc_predict_stream_run(const sc_predict_stream_options *options, sc_predict_stream_result *result)
{
    *result = (sc_predict_stream_result){0};
    stream self = {.options = options, .result = result};
    const sc_status status = run(&self);
    sc_predict_item_destroy(&self.sentence);
    sc_line_reader_close(&self.reader);
    return status;
}

sc_status sc_predict_stream_check(const char *path)
{
    struct stat info;
    if (!path)
        return SC_OK;
    if (stat(path, &info) != 0 || access(path, R_OK) != 0)
        return SC_FAIL(sc_files_status(errno), "%s: %s", path, strerror(errno));
    return S_ISDIR(info.st_mode) ? SC_FAIL(SC_INVALID, "%s is a directory; name a file", path) : SC_OK;
}
