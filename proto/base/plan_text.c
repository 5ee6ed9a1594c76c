/* The plan's text form: writing, and reading any bytes at all. */
#include "proto/base/plan.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* No name begins another, so at most one matches. */
static const char *const kind_names[] = {
    [SC_ACT_FORWARD] = "F",
    [SC_ACT_BACKWARD] = "B",
    [SC_ACT_BACKWARD_INPUT] = "I",
    [SC_ACT_BACKWARD_WEIGHT] = "W",
    [SC_ACT_SEND_F] = "SEND_F",
    [SC_ACT_RECV_F] = "RECV_F",
    [SC_ACT_SEND_B] = "SEND_B",
    [SC_ACT_RECV_B] = "RECV_B",
    [SC_ACT_REDUCE_TIED] = "REDUCE_TIED",
    [SC_ACT_REDUCE_GRAD] = "REDUCE_GRAD",
    [SC_ACT_STEP] = "STEP",
};
enum { N_KINDS = sizeof kind_names / sizeof kind_names[0] };

/* The longest word of a plan, "microbatches=4096", fits with room; a longer one is not copied. */
enum { WORD_BYTES = 48 };

static const char *const mode_names[] = {[SC_PLAN_TRAIN] = "train", [SC_PLAN_FORWARD] = "forward"};

bool sc_action_has_microbatch(sc_action_kind kind)
{
    return kind != SC_ACT_REDUCE_TIED && kind != SC_ACT_REDUCE_GRAD && kind != SC_ACT_STEP;
}

const char *sc_action_text(sc_action action, char *text, size_t text_bytes)
{
    const char *name = (unsigned)action.kind < N_KINDS ? kind_names[action.kind] : "?";
    if (sc_action_has_microbatch(action.kind))
        snprintf(text, text_bytes, "%d%s%d", action.stage, name, action.microbatch);
    else
        snprintf(text, text_bytes, "%d%s", action.stage, name);
    return text;
}

/* Reads digits up to and including `most`; false if there are none or the number is larger. */
static bool read_number(const char **at, int most, int *out)
{
    const char *p = *at;
    int value = 0;
    for (; isdigit((unsigned char)*p); p++) {
        value = value * 10 + (*p - '0');
        if (value > most)
            return false;
    }
    if (p == *at)
        return false;
    *at = p;
    *out = value;
    return true;
}

/* Up to 24 bytes of foreign text, made fit for a message. */
static const char *quote(const char *text, char *out, size_t out_bytes)
{
    size_t n = 0;
    while (n + 1 < out_bytes && n < 24 && text[n] != '\0') {
        out[n] = isprint((unsigned char)text[n]) ? text[n] : '?';
        n++;
    }
    out[n] = '\0';
    return out;
}

sc_status sc_action_parse(const char *text, const char **end, sc_action *out)
{
    char quoted[WORD_BYTES];
    const char *at = text;
    sc_action action = {.microbatch = -1};
    if (!read_number(&at, SC_MAX_STAGES * SC_MAX_CHUNKS - 1, &action.stage))
        return SC_FAIL(SC_INVALID, "'%s' is no action: it begins with a stage from 0 to %d, as in 2F0",
                       quote(text, quoted, sizeof quoted), SC_MAX_STAGES * SC_MAX_CHUNKS - 1);
    int kind = 0;
    while (kind < N_KINDS && strncmp(at, kind_names[kind], strlen(kind_names[kind])) != 0)
        kind++;
    if (kind == N_KINDS)
        return SC_FAIL(SC_INVALID,
                       "'%s' is no action: behind the stage comes F, B, I, W, SEND_F, RECV_F, SEND_B, RECV_B, "
                       "REDUCE_TIED, REDUCE_GRAD or STEP",
                       quote(text, quoted, sizeof quoted));
    at += strlen(kind_names[kind]);
    action.kind = (sc_action_kind)kind;
    if (sc_action_has_microbatch(action.kind) && !read_number(&at, SC_MAX_MICROBATCHES - 1, &action.microbatch))
        return SC_FAIL(SC_INVALID, "'%s' is no action: %s needs a micro-batch from 0 to %d",
                       quote(text, quoted, sizeof quoted), kind_names[kind], SC_MAX_MICROBATCHES - 1);
    *end = at;
    *out = action;
    return SC_OK;
}

char *sc_plan_text(const sc_plan *self)
{
    char *text = NULL;
    size_t text_bytes = 0;
    FILE *out = open_memstream(&text, &text_bytes);
    if (!out)
        return NULL;
    fprintf(out, "plan %s stages=%d chunks=%d microbatches=%d mode=%s", self->schedule, self->n_workers, self->n_chunks,
            self->n_microbatches, mode_names[self->mode]);
    if (self->n_frozen > 0)
        fprintf(out, " frozen=%d", self->n_frozen);
    fputc('\n', out);
    for (int w = 0; w < self->n_workers; w++) {
        const sc_action_list *list = &self->workers[w];
        char word[WORD_BYTES];
        for (int i = 0; i < list->n; i++)
            fprintf(out, "%s%s", i ? " " : "", sc_action_text(list->actions[i], word, sizeof word));
        fputs(list->n ? "\n" : "-\n", out);
    }
    bool failed = ferror(out);
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}

/* Reading: a cursor over the bytes, and the word that was read last. */
typedef struct reader {
    const char *text;
    size_t n, at, line_start;
    int line;
    char word[WORD_BYTES]; /* "" at the end of a line */
    size_t word_at;
} reader;

static sc_status fail_here(const reader *self, const char *what)
{
    return SC_FAIL(SC_INVALID, "line %d, column %zu: %s", self->line, self->word_at - self->line_start + 1, what);
}

/* The next word of this line. */
static sc_status next_word(reader *self)
{
    while (self->at < self->n && strchr(" \t\r", self->text[self->at]) && self->text[self->at] != '\0')
        self->at++;
    if (self->at < self->n && self->text[self->at] == '#')
        while (self->at < self->n && self->text[self->at] != '\n')
            self->at++;
    self->word_at = self->at;
    size_t length = 0;
    while (self->at < self->n && !strchr(" \t\r\n#", self->text[self->at])) { /* which finds a NUL too */
        if (length + 1 == sizeof self->word) {
            self->word[length] = '\0';
            return fail_here(self, "this word is too long for a plan");
        }
        self->word[length++] = self->text[self->at++];
    }
    self->word[length] = '\0';
    if (length == 0 && self->at < self->n && self->text[self->at] == '\0')
        return fail_here(self, "a NUL byte; a plan is text");
    return SC_OK;
}

static void next_line(reader *self)
{
    if (self->at < self->n) {
        self->at++;
        self->line++;
        self->line_start = self->at;
    }
}

/* The first word of the next line that has one; "" at the end of the text. */
static sc_status first_word(reader *self)
{
    SC_TRY(next_word(self));
    while (self->word[0] == '\0' && self->at < self->n) {
        next_line(self);
        SC_TRY(next_word(self));
    }
    return SC_OK;
}

enum { STAGES, CHUNKS, MICROBATCHES, FROZEN, MODE, N_SETTINGS };

/* One key=value of the header into its place in `sizes` (-1 while unseen). */
static sc_status read_setting(const reader *r, int sizes[N_SETTINGS])
{
    static const char *const keys[] = {"stages=", "chunks=", "microbatches=", "frozen=", "mode="};
    static const int most[] = {SC_MAX_STAGES, SC_MAX_CHUNKS, SC_MAX_MICROBATCHES, SC_MAX_STAGES * SC_MAX_CHUNKS};
    int key = 0;
    while (key < N_SETTINGS && strncmp(r->word, keys[key], strlen(keys[key])) != 0)
        key++;
    if (key == N_SETTINGS)
        return fail_here(r, "the header has stages=, chunks=, microbatches=, mode= and frozen=, and nothing else");
    if (sizes[key] >= 0)
        return fail_here(r, "this setting stands here a second time");
    const char *value = r->word + strlen(keys[key]);
    if (key < MODE) {
        char what[WORD_BYTES];
        if (!read_number(&value, most[key], &sizes[key]) || *value != '\0' || sizes[key] == 0) {
            snprintf(what, sizeof what, "%s wants a number from 1 to %d", keys[key], most[key]);
            return fail_here(r, what);
        }
        return SC_OK;
    }
    for (int mode = SC_PLAN_TRAIN; mode <= SC_PLAN_FORWARD; mode++)
        if (strcmp(value, mode_names[mode]) == 0)
            sizes[MODE] = mode;
    return sizes[MODE] >= 0 ? SC_OK : fail_here(r, "mode= is train or forward");
}

static sc_status read_header(reader *r, sc_plan **out)
{
    SC_TRY(first_word(r));
    if (strcmp(r->word, "plan") != 0)
        return fail_here(r, "a plan begins: plan NAME stages=S chunks=K microbatches=M mode=train");
    SC_TRY(next_word(r));
    char name[WORD_BYTES];
    memcpy(name, r->word, sizeof name);
    size_t name_at = r->word_at;
    int sizes[N_SETTINGS] = {-1, -1, -1, -1, -1};
    SC_TRY(next_word(r));
    while (r->word[0] != '\0') {
        SC_TRY(read_setting(r, sizes));
        SC_TRY(next_word(r));
    }
    for (int i = 0; i < N_SETTINGS; i++)
        if (sizes[i] < 0 && i != FROZEN)
            return fail_here(r, "the header wants stages=, chunks=, microbatches= and mode=");
    sc_status status =
        sc_plan_new(name, sizes[STAGES], sizes[CHUNKS], sizes[MICROBATCHES], (sc_plan_mode)sizes[MODE], out);
    if (status == SC_OK && sizes[FROZEN] > 0)
        (*out)->n_frozen = sizes[FROZEN];
    if (status != SC_INVALID)
        return status;
    r->word_at = name_at;
    return fail_here(r, sc_status_message());
}

/* The words of one worker's line, of which the first is read already. */
static sc_status read_worker(reader *r, sc_plan *plan, int worker)
{
    if (strcmp(r->word, "-") == 0) {
        SC_TRY(next_word(r));
        return r->word[0] == '\0' ? SC_OK : fail_here(r, "behind a '-', for a worker without actions, comes nothing");
    }
    while (r->word[0] != '\0') {
        const char *end;
        sc_action action;
        if (sc_action_parse(r->word, &end, &action) != SC_OK)
            return fail_here(r, sc_status_message());
        if (*end != '\0') {
            r->word_at += (size_t)(end - r->word);
            return fail_here(r, "a blank or the line's end must follow the action");
        }
        SC_TRY(sc_plan_add(plan, worker, action.kind, action.stage, action.microbatch));
        SC_TRY(next_word(r));
    }
    return SC_OK;
}

sc_status sc_plan_parse(const char *text, size_t text_bytes, sc_plan **out)
{
    *out = NULL;
    reader r = {.text = text, .n = text_bytes, .line = 1};
    sc_plan *plan = NULL;
    sc_status status;
    SC_TRY_GOTO(status, read_header(&r, &plan), cleanup);
    for (int w = 0; w < plan->n_workers; w++) {
        SC_TRY_GOTO(status, first_word(&r), cleanup);
        if (r.word[0] == '\0') {
            char what[96];
            snprintf(what, sizeof what, "the text ends after %d of %d workers' lines", w, plan->n_workers);
            status = fail_here(&r, what);
            goto cleanup;
        }
        SC_TRY_GOTO(status, read_worker(&r, plan, w), cleanup);
    }
    SC_TRY_GOTO(status, first_word(&r), cleanup);
    if (r.word[0] != '\0') {
        status = fail_here(&r, "there are more lines here than stages=");
        goto cleanup;
    }
    *out = plan;
    plan = NULL;
cleanup:
    sc_plan_destroy(&plan);
    return status;
}
