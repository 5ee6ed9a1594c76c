/* From YAML to the draft's keys, event by event: no tree is built, so what a file can make us hold is one value.
 * Anchors, aliases and tags are refused where they stand, hence nothing expands. */
#include "proto/base/config_internal.h"

#include <libfyaml.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    sc_config_draft *draft;
    struct fy_diag *diag;
    struct fy_parser *parser;
    struct fy_event *event; /* the current one; NULL at the end and after a syntax error */
    sc_place place;         /* a --set whose value this is; else nothing, and the events' lines count */
    int line;               /* where it begins; an empty value has no place of its own and takes the key's */
    bool ended;             /* the stream is over, or a syntax error was told */
    bool failed;            /* out of memory */
} reader;

static sc_place here(const reader *r)
{
    return r->place.set ? r->place : (sc_place){.line = r->line};
}

static bool at(const reader *r, enum fy_event_type type)
{
    return r->event && r->event->type == type;
}

/* libfyaml keeps its complaints; the first is the cause of the others. */
static void tell_syntax_error(reader *r)
{
    void *iterator = NULL;
    const struct fy_diag_error *error = fy_diag_errors_iterate(r->diag, &iterator);
    sc_place place = r->place.set ? r->place : (sc_place){.line = error && error->line > 0 ? error->line : 1};
    sc_config_mistake(r->draft, place, NULL, "this is not YAML: %s", error ? error->msg : "it does not parse");
}

/* Goes to the next event, and refuses what may hang on any. */
static void next(reader *r)
{
    if (r->event)
        fy_parser_event_free(r->parser, r->event);
    r->event = r->ended ? NULL : fy_parser_parse(r->parser);
    if (r->ended)
        return;
    if (!r->event) {
        r->ended = true;
        if (fy_parser_get_stream_error(r->parser))
            tell_syntax_error(r);
        return;
    }
    const struct fy_mark *mark = fy_event_start_mark(r->event);
    if (mark)
        r->line = mark->line + 1;
    if (at(r, FYET_ALIAS) || fy_event_get_anchor_token(r->event))
        sc_config_mistake(r->draft, here(r), NULL,
                          "anchors and aliases (& and *) are not allowed; write the value out");
    else if (fy_event_get_tag_token(r->event))
        sc_config_mistake(r->draft, here(r), NULL, "tags (!) are not allowed; the key says what type its value has");
}

/* Passes over the current value. Too deep a nesting ends the reading: the parser holds every open level. */
static void skip(reader *r)
{
    enum { MAX_DEPTH = 64 };
    int depth = 0;
    do {
        if (at(r, FYET_MAPPING_START) || at(r, FYET_SEQUENCE_START))
            depth++;
        else if (at(r, FYET_MAPPING_END) || at(r, FYET_SEQUENCE_END))
            depth--;
        if (depth > MAX_DEPTH) {
            sc_config_mistake(r->draft, here(r), NULL, "values are nested in one another more than %d deep", MAX_DEPTH);
            r->ended = true;
        }
        next(r);
    } while (r->event && depth > 0);
}

/* The current scalar's text, owned; NULL if memory is out or it holds a NUL, which is told. */
static char *copy_scalar(reader *r, bool *quoted)
{
    size_t length = 0;
    struct fy_token *token = r->event->scalar.value;
    const char *text = token ? fy_token_get_text(token, &length) : NULL;
    if (!text) /* `key:` without a value */
        length = 0;
    *quoted = token && fy_token_scalar_style(token) != FYSS_PLAIN;
    if (length > 0 && memchr(text, '\0', length)) {
        sc_config_mistake(r->draft, here(r), NULL, "a text holds a NUL byte; take it out");
        return NULL;
    }
    char *copy = malloc(length + 1);
    if (!copy) {
        r->failed = true;
        return NULL;
    }
    if (length > 0)
        memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

static void free_value(sc_config_value *value)
{
    for (int i = 0; i < value->n_items; i++)
        free((char *)value->items[i].text);
    free(value->items);
}

/* Appends the current scalar and passes over it. */
static bool take_scalar(reader *r, sc_config_value *value, int *capacity)
{
    if (value->n_items == *capacity) {
        int more = *capacity ? *capacity * 2 : 1;
        sc_scalar *items = realloc(value->items, (size_t)more * sizeof *items);
        if (!items) {
            r->failed = true;
            return false;
        }
        value->items = items;
        *capacity = more;
    }
    bool quoted;
    char *text = copy_scalar(r, &quoted);
    if (text)
        value->items[value->n_items++] = (sc_scalar){.text = text, .quoted = quoted, .line = here(r).line};
    next(r);
    return text != NULL;
}

/* Reads the value of key `index` and puts it. Leaves the reader behind it. */
static void read_value(reader *r, int index)
{
    const char *path = sc_config_keys[index].path;
    sc_config_value value = {0};
    int capacity = 0;
    sc_place place = here(r);
    bool good = true;
    if (at(r, FYET_SCALAR)) {
        good = take_scalar(r, &value, &capacity);
    } else if (at(r, FYET_SEQUENCE_START)) {
        value.is_list = true;
        next(r);
        while (r->event && !at(r, FYET_SEQUENCE_END) && !r->failed) {
            if (at(r, FYET_SCALAR)) {
                good = take_scalar(r, &value, &capacity) && good;
            } else {
                sc_config_mistake(r->draft, here(r), path,
                                  "an item of the list is not a text; allowed: a list of texts");
                good = false;
                skip(r);
            }
        }
        good = good && r->event; /* the list was not cut off by a syntax error */
        next(r);
    } else {
        char allowed[256];
        if (at(r, FYET_MAPPING_START))
            sc_config_mistake(r->draft, place, path, "a value is needed, not a mapping; allowed: %s",
                              sc_config_allowed(&sc_config_keys[index], allowed, sizeof allowed));
        good = false;
        skip(r);
    }
    if (good && !r->failed && sc_config_put(r->draft, index, place, &value) != SC_OK)
        r->failed = true;
    free_value(&value);
}

/* Reads one `key: value` of a section. */
static void read_pair(reader *r, const char *section)
{
    sc_place place = here(r);
    bool quoted;
    char *name = at(r, FYET_SCALAR) ? copy_scalar(r, &quoted) : NULL;
    if (!name) {
        if (!at(r, FYET_SCALAR))
            sc_config_mistake(r->draft, place, section, "a key is a word; see the list of keys");
        skip(r);
        skip(r);
        return;
    }
    char path[128];
    snprintf(path, sizeof path, "%s.%s", section, name);
    free(name);
    next(r);
    int index = sc_config_find_key(path);
    if (index < 0) {
        sc_config_unknown(r->draft, place, path);
        skip(r);
    } else if (r->draft->places[index].line > 0) {
        sc_config_mistake(r->draft, place, path, "the key is given twice, first in line %d; keep one",
                          r->draft->places[index].line);
        skip(r);
    } else {
        r->draft->places[index].line = place.line; /* also where the value is wrong: it counts as given */
        read_value(r, index);
    }
}

static bool at_null(const reader *r)
{
    if (!at(r, FYET_SCALAR))
        return false;
    size_t length = 0;
    struct fy_token *token = r->event->scalar.value;
    const char *text = token ? fy_token_get_text(token, &length) : NULL;
    if (!text || length == 0)
        return !token || fy_token_scalar_style(token) == FYSS_PLAIN;
    return fy_token_scalar_style(token) == FYSS_PLAIN &&
           ((length == 1 && *text == '~') || (length == 4 && memcmp(text, "null", 4) == 0));
}

/* Reads one `section: {...}` of the file. */
static void read_section(reader *r, int lines[SC_CONFIG_N_SECTIONS])
{
    sc_place place = here(r);
    bool quoted;
    char names[512];
    char *name = at(r, FYET_SCALAR) ? copy_scalar(r, &quoted) : NULL;
    int section = name ? sc_config_find_section(name) : -1;
    if (section >= 0 && lines[section] == 0) {
        lines[section] = place.line;
        next(r);
        if (at(r, FYET_MAPPING_START)) {
            next(r);
            while (r->event && !at(r, FYET_MAPPING_END) && !r->failed)
                read_pair(r, sc_config_sections[section]);
            next(r);
        } else {
            if (!at_null(r) && !at(r, FYET_ALIAS)) /* `train:` with nothing below it is an empty section */
                sc_config_mistake(r->draft, place, name, "keys are needed below a section; allowed: %s",
                                  sc_config_names(section, names, sizeof names));
            skip(r);
        }
    } else {
        if (section >= 0)
            sc_config_mistake(r->draft, place, name, "the section is given twice, first in line %d; join the two",
                              lines[section]);
        else if (name)
            sc_config_unknown(r->draft, place, name);
        else if (!at(r, FYET_SCALAR))
            sc_config_mistake(r->draft, place, NULL, "a section's name is a word, as in   train: {steps: 10}");
        skip(r);
        skip(r);
    }
    free(name);
}

static void read_document(reader *r)
{
    int lines[SC_CONFIG_N_SECTIONS] = {0};
    if (at(r, FYET_MAPPING_START)) {
        next(r);
        while (r->event && !at(r, FYET_MAPPING_END) && !r->failed)
            read_section(r, lines);
        next(r);
    } else {
        if (!at_null(r) && !at(r, FYET_ALIAS))
            sc_config_mistake(r->draft, here(r), NULL, "a config is made of sections, as in   train: {steps: 10}");
        skip(r);
    }
}

static sc_status open_reader(reader *r, sc_config_draft *draft, const char *text, size_t text_bytes)
{
    *r = (reader){.draft = draft, .line = 1};
    struct fy_diag_cfg diag_cfg;
    fy_diag_cfg_default(&diag_cfg);
    diag_cfg.fp = NULL;
    r->diag = fy_diag_create(&diag_cfg);
    if (!r->diag)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "out of memory for a config's parser");
    fy_diag_set_collect_errors(r->diag, true);
    struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE,
                               .diag = r->diag};
    r->parser = fy_parser_create(&cfg);
    if (!r->parser || fy_parser_set_string(r->parser, text, text_bytes) != 0)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "out of memory for a config's parser");
    return SC_OK;
}

static void close_reader(reader *r)
{
    if (r->event)
        fy_parser_event_free(r->parser, r->event);
    if (r->parser)
        fy_parser_destroy(r->parser);
    if (r->diag)
        fy_diag_destroy(r->diag);
}

/* From the stream's start to the first document's root. False if there is none. */
static bool enter_document(reader *r)
{
    next(r);
    if (at(r, FYET_STREAM_START))
        next(r);
    if (!at(r, FYET_DOCUMENT_START))
        return false;
    next(r);
    return r->event != NULL;
}

/* Behind the root nothing may follow. */
static void leave_document(reader *r)
{
    if (at(r, FYET_DOCUMENT_END))
        next(r);
    if (at(r, FYET_DOCUMENT_START))
        sc_config_mistake(r->draft, here(r), NULL, "a second document begins here (---); a config is one document");
}

sc_status sc_config_read_yaml(sc_config_draft *draft, const char *text, size_t text_bytes)
{
    reader r;
    sc_status status = open_reader(&r, draft, text, text_bytes);
    if (status == SC_OK) {
        if (enter_document(&r)) {
            read_document(&r);
            leave_document(&r);
        }
        if (r.failed)
            status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "out of memory for a config");
    }
    close_reader(&r);
    return status;
}

sc_status sc_config_read_yaml_value(sc_config_draft *draft, int index, sc_place place, const char *text)
{
    reader r;
    sc_status status = open_reader(&r, draft, text, strlen(text));
    r.place = place;
    if (status == SC_OK) {
        if (enter_document(&r)) {
            read_value(&r, index);
            leave_document(&r);
        }
        if (r.failed)
            status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "out of memory for the value of a --set");
    }
    close_reader(&r);
    return status;
}
