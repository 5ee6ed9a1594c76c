#include "coordinator/status/api.h"

#include "coordinator/status/embedded.h"
#include "coordinator/status/metrics.h"
#include "coordinator/status/views.h"
#include "proto/base/files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { MOST_POINTS = 10000, DEFAULT_POINTS = 500, MOST_EVENTS = 256, STREAM_POINTS = 256 };

struct sc_api {
    sc_board *board;
    char token[SC_API_TOKEN_MAX + 1]; /* "": none */
    uint64_t n_requests;
    sc_board_view view; /* the copy that a request is answered from */
    sc_history_point points[MOST_POINTS];
    char *lines[MOST_EVENTS];
};

static const char json_media[] = "application/json", problem_media[] = "application/problem+json";

sc_status sc_api_new(sc_board *board, const char *token, sc_api **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the status server");
    (*out)->board = board;
    if (token)
        snprintf((*out)->token, sizeof(*out)->token, "%s", token);
    return SC_OK;
}

void sc_api_destroy(sc_api **self_p)
{
    if (*self_p)
        explicit_bzero((*self_p)->token, sizeof(*self_p)->token);
    free(*self_p);
    *self_p = NULL;
}

void sc_api_response_clear(sc_api_response *self)
{
    free(self->owned);
    *self = (sc_api_response){0};
}

sc_status sc_api_token_load(const char *path, char **token)
{
    size_t n;
    SC_TRY(sc_files_read(path, 4096, token, &n));
    n = strcspn(*token, "\r\n");
    (*token)[n] = '\0';
    bool sound = n >= SC_API_TOKEN_MIN && n <= SC_API_TOKEN_MAX;
    for (size_t i = 0; i < n; i++)
        sound = sound && (*token)[i] > 0x20 && (*token)[i] < 0x7F;
    if (sound)
        return SC_OK;
    explicit_bzero(*token, n);
    free(*token);
    *token = NULL;
    return SC_FAIL(SC_INVALID,
                   "%s: the first line of a token's file must be %d to %d printable characters without a space, as "
                   "'openssl rand -hex 32' makes them",
                   path, SC_API_TOKEN_MIN, SC_API_TOKEN_MAX);
}

/* ---- responses ---------------------------------------------------------------------------------------------------- */

static void take_text(sc_api_response *out, unsigned status, const char *content_type, char *text)
{
    *out = (sc_api_response){.status = status, .content_type = content_type, .cache_control = "no-cache"};
    if (text) {
        out->body = out->owned = text;
        out->n_bytes = strlen(text);
        return;
    }
    out->status = 503;
    out->content_type = problem_media;
    out->body = "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"no memory\"}";
    out->n_bytes = strlen(out->body);
}

/* Takes the document. */
static void take_json(sc_api_response *out, unsigned status, const char *content_type, json_t *document)
{
    char *text = document ? json_dumps(document, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(document);
    take_text(out, status, content_type, text);
}

static void fail(sc_api_response *out, unsigned status, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void fail(sc_api_response *out, unsigned status, const char *format, ...)
{
    static const struct {
        unsigned status;
        const char *title;
    } titles[] = {{400, "Bad Request"}, {401, "Unauthorized"},       {403, "Forbidden"},          {404, "Not Found"},
                  {409, "Conflict"},    {405, "Method Not Allowed"}, {503, "Service Unavailable"}};
    char detail[512];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    const char *title = "";
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
        if (titles[i].status == status)
            title = titles[i].title;
    take_json(out, status, problem_media, sc_views_problem(status, title, detail));
    out->cache_control = "no-store";
}

/* Any bytes of a request as a text that may stand in a document. */
static const char *shown(const char *text, char out[64])
{
    size_t n = 0;
    for (; text && text[n] && n < 60; n++)
        out[n] = (char)(text[n] >= 0x20 && text[n] < 0x7F ? text[n] : '?');
    out[n] = '\0';
    return out;
}

/* A parameter that is a number from `low` to `high`; *out stays what it is where it is absent. False: the response says why. */
static bool take_number(const sc_api_request *request, const char *name, uint64_t low, uint64_t high, uint64_t *out,
                        sc_api_response *response)
{
    for (int i = 0; i < request->n_parameters; i++) {
        const char *value = request->parameters[i].value;
        char *end = NULL, text[64];
        if (strcmp(request->parameters[i].name, name) != 0)
            continue;
        errno = 0;
        const bool digits = value && *value >= '0' && *value <= '9';
        const unsigned long long parsed = digits ? strtoull(value, &end, 10) : 0;
        if (!digits || *end || errno != 0 || parsed < low || parsed > high) {
            fail(response, 400, "the parameter '%s' must be an integer from %" PRIu64 " to %" PRIu64 ", not '%s'", name,
                 low, high, shown(value, text));
            return false;
        }
        *out = parsed;
    }
    return true;
}

/* ---- documents ---------------------------------------------------------------------------------------------------- */

/* The parameters that a route takes, by a list that ends in NULL. */
static bool knows_parameters(const sc_api_request *request, const char *const *known, sc_api_response *out)
{
    char text[64];
    if (request->n_parameters > SC_API_PARAMETERS) {
        fail(out, 400, "there are %d parameters; at most %d are read", request->n_parameters, SC_API_PARAMETERS);
        return false;
    }
    for (int i = 0; i < request->n_parameters; i++) {
        const char *const *name = known;
        while (*name && strcmp(*name, request->parameters[i].name) != 0)
            name++;
        if (!*name) {
            fail(out, 400, "the parameter '%s' is not known here", shown(request->parameters[i].name, text));
            return false;
        }
    }
    return true;
}

static void answer_page(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    (void)self, (void)request;
    *out = (sc_api_response){.status = 200,
                             .content_type = "text/html; charset=utf-8",
                             .body = sc_embedded_page,
                             .n_bytes = (size_t)(sc_embedded_page_end - sc_embedded_page),
                             .cache_control = "no-cache"};
}

static void answer_openapi(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    (void)self, (void)request;
    *out = (sc_api_response){.status = 200,
                             .content_type = json_media,
                             .body = sc_embedded_openapi,
                             .n_bytes = (size_t)(sc_embedded_openapi_end - sc_embedded_openapi),
                             .cache_control = "no-cache"};
}

static void answer_status(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    (void)request;
    take_json(out, 200, json_media, sc_views_status(&self->view));
}

static void answer_stages(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    (void)request;
    take_json(out, 200, json_media, sc_views_stages(&self->view));
}

static void answer_checkpoints(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    (void)request;
    take_json(out, 200, json_media, sc_views_checkpoints(&self->view));
}

static void answer_steps(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    uint64_t last = DEFAULT_POINTS, points = 0;
    if (!take_number(request, "last", 1, MOST_POINTS, &last, out) ||
        !take_number(request, "points", 1, MOST_POINTS, &points, out))
        return;
    const int n = points > 0 ? sc_board_spread_steps(self->board, (int)points, self->points)
                             : sc_board_last_steps(self->board, 0, (int)last, self->points);
    take_json(out, 200, json_media, sc_views_steps(self->points, n));
}

static void answer_events(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    uint64_t after = 0, first;
    if (request->last_event_id && request->last_event_id[0] >= '0' && request->last_event_id[0] <= '9')
        after = strtoull(request->last_event_id, NULL, 10);
    if (!take_number(request, "after", 0, INT64_MAX, &after, out))
        return;
    if (request->accept && strstr(request->accept, "text/event-stream")) {
        *out = (sc_api_response){.status = 200,
                                 .content_type = "text/event-stream",
                                 .cache_control = "no-store",
                                 .stream = true,
                                 .after = after};
        return;
    }
    const int n = sc_board_events(self->board, after, MOST_EVENTS, self->lines, &first);
    take_json(out, 200, json_media, sc_views_events(self->lines, n, first, after));
    for (int i = 0; i < n; i++)
        free(self->lines[i]);
}

static void answer_schedule(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    (void)request;
    char *schedule = sc_board_schedule(self->board);
    if (schedule)
        take_text(out, 200, json_media, schedule);
    else
        fail(out, 503, "there is no schedule before workers have been assigned to stages");
}

static void answer_config(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    (void)request;
    take_text(out, 200, json_media, sc_board_config(self->board));
}

static void answer_metrics(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    (void)request;
    take_text(out, 200, "text/plain; version=0.0.4; charset=utf-8", sc_metrics_text(&self->view, self->n_requests));
}

static void answer_live(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    (void)self, (void)request;
    take_text(out, 200, "text/plain; charset=utf-8", strdup("ok\n"));
}

static void answer_ready(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    (void)request;
    const sc_board_state state = self->view.state;
    if (state == SC_BOARD_TRAINING || state == SC_BOARD_PAUSED || state == SC_BOARD_FINISHED)
        take_text(out, 200, "text/plain; charset=utf-8", strdup("ok\n"));
    else
        fail(out, 503, "the run is not training: it is %s", sc_board_state_name(state));
}

static void answer_health(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    (void)request;
    take_json(out, sc_views_is_alive(&self->view) ? 200 : 503, json_media, sc_views_health(&self->view));
}

/* ---- verbs -------------------------------------------------------------------------------------------------------- */

/* Takes the same time wherever the two differ first. */
static bool is_same_token(const char *wanted, const char *given)
{
    const size_t n_wanted = strlen(wanted), n = strlen(given);
    unsigned char difference = n_wanted != n;
    for (size_t i = 0; i < n; i++)
        difference |= (unsigned char)(given[i] ^ wanted[i % (n_wanted + 1)]);
    return difference == 0;
}

static bool may_act(const sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    static const char scheme[] = "Bearer ";
    const char *given = request->authorization;
    if (!self->token[0]) {
        fail(out, 403, "operator verbs are off; the config's status.token_file turns them on");
        return false;
    }
    if (given && strncasecmp(given, scheme, strlen(scheme)) == 0 && is_same_token(self->token, given + strlen(scheme)))
        return true;
    fail(out, 401, "a verb needs the token of status.token_file, as 'Authorization: Bearer TOKEN'");
    out->authenticate = "Bearer realm=\"stagecoach\"";
    return false;
}

static void ask(sc_api *self, const sc_api_request *request, sc_board_verb verb, int stage, sc_api_response *out)
{
    if (!may_act(self, request, out))
        return;
    const sc_status status = sc_board_ask(self->board, verb, stage);
    if (status == SC_OK)
        take_json(out, 202, json_media, json_pack("{s:s}", "status", "accepted"));
    else
        fail(out, status == SC_NOT_FOUND ? 404 : 409, "%s", sc_status_message());
}

static void post_checkpoint(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    ask(self, request, SC_BOARD_ASK_CHECKPOINT, 0, out);
}

static void post_pause(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    ask(self, request, SC_BOARD_ASK_PAUSE, 0, out);
}

static void post_resume(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    ask(self, request, SC_BOARD_ASK_RESUME, 0, out);
}

static void post_stop(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    ask(self, request, SC_BOARD_ASK_STOP, 0, out);
}

static const char drain_path[] = "/api/v1/drain/";

static void post_drain(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    const char *text = request->path + strlen(drain_path);
    char *end = NULL, show[64];
    const long stage = *text >= '0' && *text <= '9' && strlen(text) < 6 ? strtol(text, &end, 10) : -1;
    if (!may_act(self, request, out))
        return;
    if (stage < 0 || *end)
        fail(out, 400, "the parameter 'stage' must be the number of a stage, not '%s'", shown(text, show));
    else
        ask(self, request, SC_BOARD_ASK_DRAIN, (int)stage, out);
}

/* ---- routes ------------------------------------------------------------------------------------------------------- */

typedef struct route {
    const char *path;
    bool is_prefix, is_verb;
    void (*answer)(sc_api *self, const sc_api_request *request, sc_api_response *out);
    const char *parameters[3]; /* ends with NULL */
} route;

static const route routes[] = {
    {"/", false, false, answer_page, {NULL}},
    {"/api/v1/status", false, false, answer_status, {NULL}},
    {"/api/v1/stages", false, false, answer_stages, {NULL}},
    {"/api/v1/steps", false, false, answer_steps, {"last", "points", NULL}},
    {"/api/v1/schedule", false, false, answer_schedule, {NULL}},
    {"/api/v1/checkpoints", false, false, answer_checkpoints, {NULL}},
    {"/api/v1/events", false, false, answer_events, {"after", NULL}},
    {"/api/v1/config", false, false, answer_config, {NULL}},
    {"/livez", false, false, answer_live, {NULL}},
    {"/readyz", false, false, answer_ready, {NULL}},
    {"/healthz", false, false, answer_health, {NULL}},
    {"/metrics", false, false, answer_metrics, {NULL}},
    {"/openapi.json", false, false, answer_openapi, {NULL}},
    {"/api/v1/checkpoint", false, true, post_checkpoint, {NULL}},
    {drain_path, true, true, post_drain, {NULL}},
    {"/api/v1/pause", false, true, post_pause, {NULL}},
    {"/api/v1/resume", false, true, post_resume, {NULL}},
    {"/api/v1/stop", false, true, post_stop, {NULL}},
};

static const route *find_route(const char *path)
{
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        const route *r = &routes[i];
        if (r->is_prefix ? strncmp(path, r->path, strlen(r->path)) == 0 : strcmp(path, r->path) == 0)
            return r;
    }
    return NULL;
}

/* A sound answer that is the same as what the asker has is not sent again. */
static void add_etag(const sc_api_request *request, sc_api_response *out)
{
    snprintf(out->etag, sizeof out->etag, "\"%016" PRIx64 "\"", (uint64_t)XXH3_64bits(out->body, out->n_bytes));
    const char *known = request->if_none_match;
    if (!known || (strcmp(known, "*") != 0 && !strstr(known, out->etag)))
        return;
    free(out->owned);
    out->owned = NULL;
    out->body = NULL;
    out->n_bytes = 0;
    out->status = 304;
}

void sc_api_answer(sc_api *self, const sc_api_request *request, sc_api_response *out)
{
    char text[64];
    const route *r = find_route(request->path);
    const bool reads = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
    self->n_requests++;
    if (!r) {
        fail(out, 404, "there is nothing at '%s'; /openapi.json says what there is", shown(request->path, text));
        return;
    }
    if (r->is_verb ? strcmp(request->method, "POST") != 0 : !reads) {
        fail(out, 405, "'%s' is not a method of this path", shown(request->method, text));
        out->allow = r->is_verb ? "POST" : "GET, HEAD";
        return;
    }
    if (!knows_parameters(request, r->parameters, out))
        return;
    sc_board_look(self->board, &self->view);
    r->answer(self, request, out);
    if (out->status == 200 && !out->stream)
        add_etag(request, out);
}

/* ---- streams ------------------------------------------------------------------------------------------------------ */

static void write_document(FILE *out, const char *event, json_t *document)
{
    char *text = document ? json_dumps(document, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    if (text)
        fprintf(out, "event: %s\ndata: %s\n\n", event, text);
    free(text);
    json_decref(document);
}

static void write_events(sc_api *self, sc_api_stream *stream, FILE *out)
{
    uint64_t first;
    int n = sc_board_events(self->board, stream->after, MOST_EVENTS, self->lines, &first);
    for (int i = 0; i < n; i++) {
        fprintf(out, "id: %" PRIu64 "\nevent: event\ndata: %s\n\n", first + (uint64_t)i, self->lines[i]);
        free(self->lines[i]);
    }
    if (n > 0)
        stream->after = first + (uint64_t)n - 1;
}

static void write_news(sc_api *self, sc_api_stream *stream, FILE *out)
{
    sc_board_look(self->board, &self->view);
    stream->revision = self->view.revision;
    write_document(out, "status", sc_views_status(&self->view));
    write_events(self, stream, out);
    write_document(out, "stages", sc_views_stages(&self->view));
    if (!stream->begun ||
        self->view.step < stream->step) /* the asker has what came before; or training has gone back */
        stream->step = self->view.step;
    stream->begun = true;
    int n = sc_board_last_steps(self->board, stream->step, STREAM_POINTS, self->points);
    if (n > 0) {
        stream->step = self->points[n - 1].step;
        write_document(out, "steps", sc_views_steps(self->points, n));
    }
}

sc_status sc_api_stream_next(sc_api *self, sc_api_stream *stream, char **text)
{
    size_t n_bytes = 0;
    *text = NULL;
    if (stream->begun && sc_board_revision(self->board) == stream->revision)
        return SC_OK;
    FILE *out = open_memstream(text, &n_bytes);
    if (!out)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a stream of events");
    write_news(self, stream, out);
    const bool broken = ferror(out) != 0;
    if (fclose(out) == 0 && !broken)
        return SC_OK;
    free(*text);
    *text = NULL;
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a stream of events");
}
