#include "coordinator/status/http_server.h"

#include "coordinator/status/http_listen.h"
#include "proto/base/thread.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECONDS UINT64_C(1000000000)

enum {
    CONNECTION_BYTES = 16 << 10, /* a request's line and headers have to fit */
    BODY_BYTES = 64 << 10,
    TICK_MS = 100,
    DRAIN_TICKS = 5, /* of the end: until streams have their last news */
};
static const uint64_t request_ns = 10 * SECONDS, answer_ns = 30 * SECONDS, news_ns = SECONDS * 2 / 5,
                      comment_ns = 15 * SECONDS;

/* A connection, from its first byte to its last. */
typedef struct connection {
    struct connection *next, **at; /* in the server's list: `at` is what points to this */
    sc_http_server *server;
    struct MHD_Connection *peer;
    int fd;
    bool answering;    /* a request is there; else one is waited for */
    uint64_t since_ns; /* when that began */
    size_t body_bytes;
    /* a stream: */
    bool streams, suspended, ended;
    sc_api_stream stream;
    char *text; /* what is being sent, NULL: nothing */
    size_t n_bytes, sent;
    uint64_t sent_ns, looked_ns;
} connection;

/* Everything but `stopping` is its thread's. */
struct sc_http_server {
    sc_api *api;
    struct MHD_Daemon *daemon;
    connection *connections;
    int n_streams;
    sc_clock clock;
    char url[SC_HTTP_URL_BYTES];
    pthread_t thread;
    bool started;
    int wake; /* an eventfd, written to when `stopping` is set */
    atomic_bool stopping;
};

static uint64_t now_ns(const sc_http_server *self)
{
    return sc_clock_ns(&self->clock);
}

/* ---- streams of events -------------------------------------------------------------------------------------------- */

/* What is to be sent next, if anything is. */
static void find_news(connection *c)
{
    const uint64_t now = now_ns(c->server);
    const bool stopping = atomic_load(&c->server->stopping);
    if (c->looked_ns == 0 || now - c->looked_ns >= news_ns || stopping) {
        c->looked_ns = now;
        if (sc_api_stream_next(c->server->api, &c->stream, &c->text) != SC_OK)
            c->ended = true;
        c->ended = c->ended || stopping; /* these were the last */
    }
    if (!c->text && !c->ended && now - c->sent_ns >= comment_ns)
        c->text = strdup(": still here\n\n");
    c->n_bytes = c->text ? strlen(c->text) : 0;
    c->sent = 0;
}

static ssize_t read_stream(void *context, uint64_t position, char *out, size_t out_bytes)
{
    (void)position;
    connection *c = context;
    if (!c->text && !c->ended)
        find_news(c);
    if (!c->text && c->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (!c->text) {
        c->suspended = true;
        MHD_suspend_connection(c->peer);
        return 0;
    }
    size_t n = c->n_bytes - c->sent < out_bytes ? c->n_bytes - c->sent : out_bytes;
    memcpy(out, c->text + c->sent, n);
    c->sent += n;
    c->sent_ns = now_ns(c->server);
    if (c->sent == c->n_bytes) {
        free(c->text);
        c->text = NULL;
    }
    return (ssize_t)n;
}

static void end_stream(connection *c)
{
    if (c->streams)
        c->server->n_streams--;
    free(c->text);
    c->text = NULL;
    c->streams = c->suspended = c->ended = false;
}

static struct MHD_Response *begin_stream(connection *c, uint64_t after)
{
    c->streams = true;
    c->server->n_streams++;
    c->stream = (sc_api_stream){.after = after};
    c->looked_ns = 0;
    c->sent_ns = now_ns(c->server);
    return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_stream, c, NULL);
}

/* ---- requests ----------------------------------------------------------------------------------------------------- */

static enum MHD_Result add_parameter(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    sc_api_request *request = context;
    if (request->n_parameters < SC_API_PARAMETERS)
        request->parameters[request->n_parameters] = (sc_api_parameter){name, value};
    request->n_parameters++;
    return MHD_YES;
}

static const char *header(struct MHD_Connection *peer, const char *name)
{
    return MHD_lookup_connection_value(peer, MHD_HEADER_KIND, name);
}

static void add_headers(struct MHD_Response *response, const sc_api_response *answer)
{
    /* The page brings its own script and style, and talks to nobody but this server. */
    static const char policy[] = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
                                 "connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'";
    const struct {
        const char *name, *value;
    } headers[] = {
        {MHD_HTTP_HEADER_CONTENT_TYPE, answer->content_type},
        {MHD_HTTP_HEADER_ALLOW, answer->allow},
        {MHD_HTTP_HEADER_WWW_AUTHENTICATE, answer->authenticate},
        {MHD_HTTP_HEADER_CACHE_CONTROL, answer->cache_control},
        {MHD_HTTP_HEADER_ETAG, answer->etag[0] ? answer->etag : NULL},
        {MHD_HTTP_HEADER_VARY, MHD_HTTP_HEADER_ACCEPT},
        {"X-Content-Type-Options", "nosniff"},
        {"Content-Security-Policy", policy},
        {"Referrer-Policy", "no-referrer"},
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        if (headers[i].value)
            MHD_add_response_header(response, headers[i].name, headers[i].value);
}

static const char problem_media[] = "application/problem+json";
static const char too_many[] = "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
                               "\"detail\":\"there are as many streams of events as may be\"}";
static const char too_large[] = "{\"type\":\"about:blank\",\"title\":\"Content Too Large\",\"status\":413,"
                                "\"detail\":\"a body may have 65536 bytes, and no request needs one\"}";

static enum MHD_Result queue(connection *c, struct MHD_Response *response, const sc_api_response *answer)
{
    if (!response)
        return MHD_NO;
    add_headers(response, answer);
    const enum MHD_Result result = MHD_queue_response(c->peer, answer->status, response);
    MHD_destroy_response(response);
    return result;
}

static struct MHD_Response *constant(const char *text)
{
    return MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
}

/* A body that says itself that it is too large is refused before it comes; the connection is closed behind the answer. */
static bool is_too_large(connection *c)
{
    const char *length = header(c->peer, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return length && strtoull(length, NULL, 10) > BODY_BYTES;
}

static enum MHD_Result refuse_body(connection *c)
{
    const sc_api_response refusal = {
        .status = MHD_HTTP_CONTENT_TOO_LARGE, .content_type = problem_media, .cache_control = "no-store"};
    return queue(c, constant(too_large), &refusal);
}

static enum MHD_Result answer(connection *c, const char *path, const char *method)
{
    sc_api_request request = {
        .method = method,
        .path = path,
        .accept = header(c->peer, MHD_HTTP_HEADER_ACCEPT),
        .authorization = header(c->peer, MHD_HTTP_HEADER_AUTHORIZATION),
        .if_none_match = header(c->peer, MHD_HTTP_HEADER_IF_NONE_MATCH),
        .last_event_id = header(c->peer, "Last-Event-ID"),
    };
    sc_api_response response;
    struct MHD_Response *queued;
    MHD_get_connection_values(c->peer, MHD_GET_ARGUMENT_KIND, add_parameter, &request);
    sc_api_answer(c->server->api, &request, &response);
    if (response.stream && c->server->n_streams >= SC_HTTP_STREAMS) {
        response.status = MHD_HTTP_SERVICE_UNAVAILABLE;
        response.content_type = problem_media;
        queued = constant(too_many);
    } else if (response.stream) {
        queued = begin_stream(c, response.after);
    } else {
        queued = MHD_create_response_from_buffer(response.n_bytes, (void *)(uintptr_t)response.body,
                                                 response.owned ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
        if (queued)
            response.owned = NULL; /* it is the response's now */
    }
    const enum MHD_Result result = queue(c, queued, &response);
    sc_api_response_clear(&response);
    return result;
}

/* Comes once when the headers are there, for each piece of a body, and once behind it. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *peer, const char *path, const char *method,
                                  const char *version, const char *body, size_t *body_bytes, void **seen)
{
    (void)context, (void)version, (void)body;
    connection *c = MHD_get_connection_info(peer, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    if (!c) /* there was no memory for it */
        return MHD_NO;
    if (!*seen) {
        *seen = c;
        c->answering = true;
        c->since_ns = now_ns(c->server);
        c->body_bytes = 0;
        return is_too_large(c) ? refuse_body(c) : MHD_YES;
    }
    if (*body_bytes > 0) {
        c->body_bytes += *body_bytes;
        *body_bytes = 0;
        return c->body_bytes <= BODY_BYTES ? MHD_YES : MHD_NO; /* MHD_NO: the connection is closed */
    }
    return answer(c, path, method);
}

static void on_answered(void *context, struct MHD_Connection *peer, void **seen, enum MHD_RequestTerminationCode how)
{
    (void)context, (void)peer, (void)how;
    connection *c = *seen;
    if (!c)
        return;
    end_stream(c);
    c->answering = false;
    c->since_ns = now_ns(c->server);
}

/* ---- connections -------------------------------------------------------------------------------------------------- */

static void on_connection(void *context, struct MHD_Connection *peer, void **socket_context,
                          enum MHD_ConnectionNotificationCode what)
{
    sc_http_server *self = context;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        connection *c = calloc(1, sizeof *c);
        if (!c)
            return;
        c->server = self;
        c->peer = peer;
        c->fd = MHD_get_connection_info(peer, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        c->since_ns = now_ns(self);
        c->next = self->connections;
        c->at = &self->connections;
        if (c->next)
            c->next->at = &c->next;
        self->connections = c;
        *socket_context = c;
        return;
    }
    connection *c = *socket_context;
    if (!c)
        return;
    *c->at = c->next;
    if (c->next)
        c->next->at = c->at;
    end_stream(c);
    free(c);
    *socket_context = NULL;
}

/* Whether the other side has said that no more will come. libmicrohttpd keeps such a connection until its time is over. */
static bool has_gone(const connection *c)
{
    struct pollfd peer = {.fd = c->fd, .events = POLLRDHUP};
    return poll(&peer, 1, 0) > 0;
}

/* Who takes too long is cut off, and so is who has gone without an answer to wait for; streams that wait look for news. */
static void visit_connections(sc_http_server *self)
{
    const uint64_t now = now_ns(self);
    for (connection *c = self->connections; c; c = c->next) {
        const bool late = !c->streams && now - c->since_ns > (c->answering ? answer_ns : request_ns);
        if (late || ((c->streams || !c->answering) && has_gone(c)))
            shutdown(c->fd, SHUT_RDWR);
        if (c->suspended) {
            c->suspended = false;
            MHD_resume_connection(c->peer);
        }
    }
}

/* ---- the thread --------------------------------------------------------------------------------------------------- */

static int wait_ms(sc_http_server *self)
{
    MHD_UNSIGNED_LONG_LONG most;
    if (MHD_get_timeout(self->daemon, &most) == MHD_YES && most < TICK_MS)
        return (int)most;
    return TICK_MS;
}

static void *serve(void *context)
{
    sc_http_server *self = context;
    struct pollfd fds[] = {
        {.fd = MHD_get_daemon_info(self->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, .events = POLLIN},
        {.fd = self->wake, .events = POLLIN},
    };
    uint64_t tick = 0;
    for (int ticks_left = DRAIN_TICKS; ticks_left > 0;) {
        const bool stopping = atomic_load(&self->stopping);
        poll(fds, stopping ? 1 : 2, wait_ms(self));
        MHD_run(self->daemon);
        if (now_ns(self) - tick < TICK_MS * (SECONDS / 1000))
            continue;
        tick = now_ns(self);
        visit_connections(self);
        if (stopping)
            ticks_left = self->n_streams > 0 ? ticks_left - 1 : 0;
    }
    return NULL;
}

static sc_status start_thread(sc_http_server *self)
{
    SC_TRY(sc_thread_start(&self->thread, "status server", serve, self));
    self->started = true;
    return SC_OK;
}

static sc_status start(sc_http_server *self, const char *listen, sc_board *board, const char *token)
{
    int fd;
    SC_TRY(sc_http_listen(listen, &fd, self->url));
    sc_status status = sc_api_new(board, token, &self->api);
    if (status == SC_OK && (self->wake = eventfd(0, EFD_CLOEXEC)) < 0)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "the status server cannot be woken: %s", strerror(errno));
    if (status == SC_OK)
        self->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, self,
                                        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
                                        (unsigned)SC_HTTP_CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                        (size_t)CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, 60U,
                                        MHD_OPTION_NOTIFY_COMPLETED, on_answered, NULL, MHD_OPTION_NOTIFY_CONNECTION,
                                        on_connection, self, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    if (status == SC_OK && !self->daemon)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "the status server cannot be started at %s", listen);
    if (!self->daemon) {
        close(fd);
        return status;
    }
    return start_thread(self); /* the socket is the daemon's from now on */
}

sc_status sc_http_server_start(const char *listen, sc_board *board, const char *token, sc_http_server **out)
{
    *out = NULL;
    sc_http_server *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the status server");
    self->clock = sc_clock_system();
    self->wake = -1;
    sc_status status = start(self, listen, board, token);
    if (status != SC_OK)
        sc_http_server_stop(&self);
    *out = self;
    return status;
}

const char *sc_http_server_url(const sc_http_server *self)
{
    return self->url;
}

void sc_http_server_stop(sc_http_server **self_p)
{
    sc_http_server *self = *self_p;
    if (!self)
        return;
    if (self->started) {
        atomic_store(&self->stopping, true);
        eventfd_write(self->wake, 1);
        pthread_join(self->thread, NULL);
    }
    for (connection *c = self->connections; c; c = c->next)
        if (c->suspended) { /* the daemon refuses to end with one that is */
            c->suspended = false;
            MHD_resume_connection(c->peer);
        }
    if (self->daemon)
        MHD_stop_daemon(self->daemon);
    if (self->wake >= 0)
        close(self->wake);
    sc_api_destroy(&self->api);
    free(self);
    *self_p = NULL;
}
