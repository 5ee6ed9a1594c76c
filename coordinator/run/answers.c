/* The file is read event by event, as the config is: no tree is built, and nothing in it expands. */
#include "coordinator/run/answers.h"

#include "coordinator/data/tokenizer.h"
#include "proto/base/files.h"
#include "proto/base/spelling.h"

#include <libfyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BYTES = 1 << 20, SHOWN = 60 };

typedef struct answer {
    char *text; /* NULL: the default */
    double threshold;
    bool has_threshold;
} answer;

struct sc_answers {
    const sc_labels *labels; /* borrowed while it is read; the names are kept */
    char **names;            /* [n] */
    answer *answers;         /* [n] */
    int32_t n;
    answer all; /* the default, and the threshold of all */
    char *unknown;
};

typedef struct reader {
    sc_answers *self;
    const char *path;
    struct fy_diag *diag;
    struct fy_parser *parser;
    struct fy_event *event; /* the current one */
    int line;
} reader;

void sc_answers_destroy(sc_answers **self_p)
{
    sc_answers *self = *self_p;
    if (!self)
        return;
    for (int32_t i = 0; i < self->n; i++) {
        if (self->names)
            free(self->names[i]);
        if (self->answers)
            free(self->answers[i].text);
    }
    free(self->names);
    free(self->answers);
    free(self->all.text);
    free(self->unknown);
    free(self);
    *self_p = NULL;
}

static sc_status no_memory(void)
{
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for answers");
}

static sc_status mistake(const reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static sc_status mistake(const reader *r, const char *format, ...)
{
    char text[800];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return SC_FAIL(SC_INVALID, "%s:%d: %s", r->path, r->line, text);
}

/* --- events ---------------------------------------------------------------------------------------------------------- */

static bool at(const reader *r, enum fy_event_type type)
{
    return r->event && r->event->type == type;
}

/* Messages are about the current event's line. */
static void look(reader *r)
{
    const struct fy_mark *mark = r->event ? fy_event_start_mark(r->event) : NULL;
    if (mark)
        r->line = mark->line + 1;
}

static sc_status next(reader *r)
{
    if (r->event)
        fy_parser_event_free(r->parser, r->event);
    r->event = fy_parser_parse(r->parser);
    if (!r->event) {
        if (!fy_parser_get_stream_error(r->parser))
            return SC_OK;
        void *iterator = NULL;
        const struct fy_diag_error *error = fy_diag_errors_iterate(r->diag, &iterator);
        if (error && error->line > 0)
            r->line = error->line;
        return mistake(r, "this is not YAML: %s", error ? error->msg : "it does not parse");
    }
    look(r);
    if (at(r, FYET_ALIAS) || fy_event_get_anchor_token(r->event))
        return mistake(r, "anchors and aliases (& and *) are not allowed; write the text out");
    if (fy_event_get_tag_token(r->event))
        return mistake(r, "tags (!) are not allowed");
    return SC_OK;
}

/* The current scalar's text, owned, and passes over it. `what` names it: "the answer". */
static sc_status take_text(reader *r, const char *what, char **out)
{
    size_t n = 0;
    *out = NULL;
    look(r);
    if (!at(r, FYET_SCALAR))
        return mistake(r, "%s must be a text", what);
    struct fy_token *token = r->event->scalar.value;
    const char *text = token ? fy_token_get_text(token, &n) : NULL;
    if (!text)
        n = 0;
    const sc_text all = {.name = what, .bytes = text ? text : "", .n_bytes = n};
    size_t end;
    if (memchr(all.bytes, '\0', n))
        return mistake(r, "%s holds a NUL byte", what);
    if (sc_text_check_utf8(&all, false, &end) != SC_OK)
        return mistake(r, "%s", sc_status_message());
    *out = malloc(n + 1);
    if (!*out)
        return no_memory();
    memcpy(*out, all.bytes, n);
    (*out)[n] = '\0';
    const int line = r->line;
    const sc_status status = next(r);
    if (status == SC_OK)
        r->line = line; /* messages are now about what was taken */
    else
        free(*out), *out = NULL;
    return status;
}

static sc_status take_threshold(reader *r, double *out)
{
    char *text = NULL, *end;
    SC_TRY(take_text(r, "the threshold", &text));
    *out = strtod(text, &end);
    const bool ok = end != text && !*end && *out >= 0 && *out <= 1;
    const sc_status status =
        ok ? SC_OK : mistake(r, "the threshold is '%.*s'; it must be a number from 0 to 1", SHOWN, text);
    free(text);
    return status;
}

/* --- templates ------------------------------------------------------------------------------------------------------- */

static const char *const names[] = {"text", "label", "probability"};
enum { TEXT, LABEL, PROBABILITY, N_NAMES };

/* The name at the opening brace `at`; -1 if it is none. *end: the closing brace. */
static int name_at(const char *at, const char **end)
{
    *end = strchr(at, '}');
    for (int i = 0; *end && i < N_NAMES; i++)
        if (strlen(names[i]) == (size_t)(*end - at) - 1 && strncmp(at + 1, names[i], strlen(names[i])) == 0)
            return i;
    return -1;
}

static sc_status check_template(const reader *r, const char *text)
{
    const char *end;
    for (const char *p = text; *p; p++) {
        if ((*p == '{' || *p == '}') && p[1] == *p) {
            p++;
        } else if (*p == '}') {
            return mistake(r, "the answer has a } alone; write }} for a brace");
        } else if (*p == '{') {
            if (name_at(p, &end) < 0)
                return mistake(r,
                               "the answer has '%.*s'; known are {text}, {label} and {probability}, and {{ for a brace",
                               end && end - p < SHOWN ? (int)(end - p) + 1 : SHOWN, p);
            p = end;
        }
    }
    return SC_OK;
}

static sc_status take_template(reader *r, char **out)
{
    SC_TRY(take_text(r, "the answer", out));
    return check_template(r, *out);
}

/* --- the file -------------------------------------------------------------------------------------------------------- */

static sc_status read_answer(reader *r, const char *label, answer *out)
{
    if (at(r, FYET_SCALAR))
        return take_template(r, &out->text);
    if (!at(r, FYET_MAPPING_START))
        return mistake(r, "the answer of '%.*s' must be a text, or {answer: TEXT, threshold: NUMBER}", SHOWN, label);
    SC_TRY(next(r));
    while (r->event && !at(r, FYET_MAPPING_END)) {
        char *key = NULL;
        SC_TRY(take_text(r, "a key", &key));
        const bool is_answer = strcmp(key, "answer") == 0, is_threshold = strcmp(key, "threshold") == 0;
        const bool twice = (is_answer && out->text) || (is_threshold && out->has_threshold);
        sc_status status = SC_OK;
        if (twice || (!is_answer && !is_threshold))
            status = mistake(r, "the answer of '%.*s' has %s '%.*s'; it may have answer and threshold, each once",
                             SHOWN, label, twice ? "a second" : "a key", SHOWN, key);
        free(key);
        SC_TRY(status);
        if (is_answer) {
            SC_TRY(take_template(r, &out->text));
        } else {
            SC_TRY(take_threshold(r, &out->threshold));
            out->has_threshold = true;
        }
    }
    return next(r);
}

static sc_status unknown_label(const reader *r, const char *name)
{
    const char *nearest = NULL;
    size_t best = strlen(name) / 3 + 2; /* as many slips as are still a slip */
    for (int32_t i = 0; i < r->self->n && strlen(name) <= SHOWN; i++) {
        const char *candidate = r->self->names[i];
        const size_t distance = strlen(candidate) <= SHOWN ? sc_spelling_distance(name, candidate) : best;
        if (distance < best) {
            best = distance;
            nearest = candidate;
        }
    }
    if (nearest)
        return mistake(r, "the model has no label '%.*s'; did you mean '%s'?", SHOWN, name, nearest);
    return mistake(r, "the model has no label '%.*s'", SHOWN, name);
}

static sc_status read_answers(reader *r)
{
    sc_answers *self = r->self;
    if (!at(r, FYET_MAPPING_START))
        return mistake(r, "answers must be a list of LABEL: TEXT");
    SC_TRY(next(r));
    while (r->event && !at(r, FYET_MAPPING_END)) {
        char *name = NULL;
        SC_TRY(take_text(r, "a label", &name));
        const int32_t label = sc_labels_find(self->labels, name, strlen(name));
        sc_status status = SC_OK;
        if (label < 0)
            status = unknown_label(r, name);
        else if (self->answers[label].text || self->answers[label].has_threshold)
            status = mistake(r, "the label '%.*s' has an answer already", SHOWN, name);
        if (status == SC_OK)
            status = read_answer(r, name, &self->answers[label]);
        free(name);
        SC_TRY(status);
    }
    return next(r);
}

static sc_status read_key(reader *r, const char *key, bool *has_answers)
{
    sc_answers *self = r->self;
    const bool is_threshold = strcmp(key, "threshold") == 0, is_unknown = strcmp(key, "unknown") == 0;
    const bool is_default = strcmp(key, "default") == 0, is_answers = strcmp(key, "answers") == 0;
    if (!is_threshold && !is_unknown && !is_default && !is_answers)
        return mistake(r, "'%.*s' is no key of answers; known are threshold, unknown, default and answers", SHOWN, key);
    if ((is_threshold && self->all.has_threshold) || (is_unknown && self->unknown) || (is_default && self->all.text) ||
        (is_answers && *has_answers))
        return mistake(r, "'%s' comes twice", key);
    if (is_threshold)
        self->all.has_threshold = true;
    *has_answers |= is_answers;
    if (is_threshold)
        return take_threshold(r, &self->all.threshold);
    if (is_unknown)
        return take_template(r, &self->unknown);
    return is_default ? take_template(r, &self->all.text) : read_answers(r);
}

static sc_status read_document(reader *r)
{
    bool has_answers = false;
    SC_TRY(next(r));
    if (at(r, FYET_STREAM_START))
        SC_TRY(next(r));
    if (at(r, FYET_DOCUMENT_START))
        SC_TRY(next(r));
    if (!at(r, FYET_MAPPING_START))
        return mistake(r, "a file of answers begins with answers:, and a label and its answer a line below it");
    SC_TRY(next(r));
    while (r->event && !at(r, FYET_MAPPING_END)) {
        char *key = NULL;
        SC_TRY(take_text(r, "a key", &key));
        const sc_status status = read_key(r, key, &has_answers);
        free(key);
        SC_TRY(status);
    }
    SC_TRY(next(r));
    if (at(r, FYET_DOCUMENT_END))
        SC_TRY(next(r));
    return at(r, FYET_DOCUMENT_START) ? mistake(r, "a second document begins here (---)") : SC_OK;
}

/* What only the whole file shows. */
static sc_status check_whole(const reader *r)
{
    const sc_answers *self = r->self;
    bool has_threshold = self->all.threshold > 0;
    for (int32_t i = 0; i < self->n; i++) {
        has_threshold |= self->answers[i].threshold > 0;
        if (!self->answers[i].text && !self->all.text)
            return SC_FAIL(SC_INVALID,
                           "%s: the label '%.*s' has no answer; give it one, or a default for all that have none",
                           r->path, SHOWN, self->names[i]);
    }
    if (has_threshold && !self->unknown)
        return SC_FAIL(SC_INVALID, "%s: there is a threshold, and nothing to say below it; give the key unknown",
                       r->path);
    return SC_OK;
}

static sc_status parse(reader *r, const char *text, size_t text_bytes)
{
    const sc_text all = {.name = r->path, .bytes = text, .n_bytes = text_bytes};
    size_t end;
    SC_TRY(sc_text_check_utf8(&all, false, &end)); /* libfyaml does not come back from all that is not */
    struct fy_diag_cfg diag;
    fy_diag_cfg_default(&diag);
    diag.fp = NULL;
    r->diag = fy_diag_create(&diag);
    if (!r->diag)
        return no_memory();
    fy_diag_set_collect_errors(r->diag, true);
    const struct fy_parse_cfg cfg = {
        .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE, .diag = r->diag};
    r->parser = fy_parser_create(&cfg);
    if (!r->parser || fy_parser_set_string(r->parser, text, text_bytes) != 0)
        return no_memory();
    SC_TRY(read_document(r));
    return check_whole(r);
}

static sc_status new_answers(const sc_labels *labels, sc_answers **out)
{
    sc_answers *self = *out = calloc(1, sizeof *self);
    if (!self)
        return no_memory();
    self->labels = labels;
    self->n = labels->n;
    self->names = calloc((size_t)self->n + 1, sizeof *self->names);
    self->answers = calloc((size_t)self->n + 1, sizeof *self->answers);
    bool ok = self->names && self->answers;
    for (int32_t i = 0; ok && i < self->n; i++)
        ok = (self->names[i] = strdup(labels->names[i])) != NULL;
    return ok ? SC_OK : no_memory();
}

sc_status sc_answers_parse(const char *text, size_t text_bytes, const char *path, const sc_labels *labels,
                           sc_answers **out)
{
    sc_status status = new_answers(labels, out);
    reader r = {.self = *out, .path = path, .line = 1};
    if (status == SC_OK)
        status = parse(&r, text, text_bytes);
    if (r.event)
        fy_parser_event_free(r.parser, r.event);
    if (r.parser)
        fy_parser_destroy(r.parser);
    if (r.diag)
        fy_diag_destroy(r.diag);
    if (status != SC_OK)
        sc_answers_destroy(out);
    return status;
}

sc_status sc_answers_load(const char *path, const sc_labels *labels, sc_answers **out)
{
    char *bytes;
    size_t n;
    *out = NULL;
    SC_TRY(sc_files_read(path, MAX_BYTES, &bytes, &n));
    const sc_status status = sc_answers_parse(bytes, n, path, labels, out);
    free(bytes);
    return status;
}

/* --- answering ------------------------------------------------------------------------------------------------------- */

/* Writes the template to `out`, or, where that is NULL, counts; returns the bytes. */
static size_t expand(const char *template, const char *const values[N_NAMES], const size_t lengths[N_NAMES], char *out)
{
    size_t n = 0;
    for (const char *p = template, *end; *p; p++) {
        const bool brace = (*p == '{' || *p == '}') && p[1] == *p;
        const int name = *p == '{' && !brace ? name_at(p, &end) : -1;
        const char *piece = name >= 0 ? values[name] : p;
        const size_t length = name >= 0 ? lengths[name] : 1;
        if (out && length > 0)
            memcpy(out + n, piece, length);
        n += length;
        if (name >= 0)
            p = end;
        else if (brace)
            p++;
    }
    return n;
}

sc_status sc_answers_give(const sc_answers *self, int32_t label, double probability, const char *text, size_t n,
                          char **out, size_t *n_out, bool *known)
{
    const answer *a = &self->answers[label];
    *known = probability >= (a->has_threshold ? a->threshold : self->all.threshold);
    const char *template = !*known ? self->unknown : a->text ? a->text : self->all.text;
    char number[32];
    snprintf(number, sizeof number, "%.2f", probability);
    const char *const values[N_NAMES] = {[TEXT] = text, [LABEL] = self->names[label], [PROBABILITY] = number};
    const size_t lengths[N_NAMES] = {[TEXT] = n, [LABEL] = strlen(self->names[label]), [PROBABILITY] = strlen(number)};
    *n_out = expand(template, values, lengths, NULL);
    *out = malloc(*n_out + 1);
    if (!*out)
        return no_memory();
    expand(template, values, lengths, *out);
    (*out)[*n_out] = '\0';
    return SC_OK;
}
