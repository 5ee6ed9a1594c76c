#include "coordinator/status/http_client.h"

#include "coordinator/status/tls_stream.h"
#include "proto/base/clock.h"
#include "proto/wire/endpoint.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* An exchange until its end. */
typedef struct exchange {
    const char *url, *remedy; /* for messages */
    char host[SC_ENDPOINT_BYTES], port[8];
    uint64_t end_ns;
    int fd;
    sc_tls_stream *tls; /* NULL: plain */
    char *bytes;
    size_t n, capacity;
} exchange;

/* Host and port of a URL of this scheme; *path, if it is not NULL, is what follows. */
static sc_status split(const char *url, const char *scheme, const char *default_port, exchange *self, const char **path)
{
    char endpoint[SC_ENDPOINT_BYTES];
    self->url = url;
    if (strncmp(url, scheme, strlen(scheme)) != 0)
        return SC_FAIL(SC_INVALID, "'%s' is no URL of such a server; expected %sHOST:PORT", url, scheme);
    const char *server = url + strlen(scheme);
    const int n = (int)strcspn(server, "/?#");
    const bool has_port = memchr(server, ':', (size_t)n) && server[n - 1] != ']';
    if (snprintf(endpoint, sizeof endpoint, "tcp://%.*s%s", n, server, has_port ? "" : default_port) >=
            (int)sizeof endpoint ||
        !sc_endpoint_split_tcp(endpoint, self->host, self->port))
        return SC_FAIL(SC_INVALID, "'%s' is no URL of such a server; expected %sHOST:PORT", url, scheme);
    if (path)
        *path = server[n] == '/' ? server + n : "/";
    return SC_OK;
}

/* Until the socket is ready for `events`. */
static sc_status wait_for(exchange *self, short events)
{
    const sc_clock clock = sc_clock_system();
    for (;;) {
        const uint64_t now = sc_clock_ns(&clock);
        if (now >= self->end_ns)
            return SC_FAIL(SC_DEADLINE_EXCEEDED, "%s: no answer came in time", self->url);
        struct pollfd wanted = {.fd = self->fd, .events = events};
        if (poll(&wanted, 1, (int)((self->end_ns - now) / 1000000) + 1) > 0)
            return SC_OK;
    }
}

static sc_status try_address(exchange *self, const struct addrinfo *address)
{
    int error = 0;
    socklen_t n = sizeof error;
    self->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (self->fd >= 0 && (connect(self->fd, address->ai_addr, address->ai_addrlen) == 0 || errno == EINPROGRESS)) {
        SC_TRY(wait_for(self, POLLOUT));
        getsockopt(self->fd, SOL_SOCKET, SO_ERROR, &error, &n);
    } else {
        error = errno;
    }
    if (error == 0)
        return SC_OK;
    return SC_FAIL(SC_UNAVAILABLE, "nothing answers at %s: %s%s", self->url, strerror(error), self->remedy);
}

static sc_status connect_to(exchange *self)
{
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    const int error = getaddrinfo(self->host, self->port, &wanted, &found);
    if (error != 0)
        return SC_FAIL(SC_UNAVAILABLE, "%s: %s", self->url, gai_strerror(error));
    sc_status status = SC_UNAVAILABLE;
    for (const struct addrinfo *a = found; a && status != SC_OK; a = a->ai_next) {
        if (self->fd >= 0)
            close(self->fd);
        status = try_address(self, a);
    }
    freeaddrinfo(found);
    return status;
}

static sc_status send_all(exchange *self, const char *text)
{
    if (self->tls)
        return sc_tls_stream_send(self->tls, text, strlen(text));
    for (size_t left = strlen(text); left > 0;) {
        SC_TRY(wait_for(self, POLLOUT));
        const ssize_t n = send(self->fd, text, left, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return SC_FAIL(SC_UNAVAILABLE, "%s: %s", self->url, strerror(errno));
        text += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    return SC_OK;
}

/* What has come, at least a byte; 0: the end. */
static sc_status receive(exchange *self, char *out, size_t out_bytes, size_t *n_bytes)
{
    if (self->tls)
        return sc_tls_stream_receive(self->tls, out, out_bytes, n_bytes);
    for (;;) {
        SC_TRY(wait_for(self, POLLIN));
        const ssize_t n = recv(self->fd, out, out_bytes, 0);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return SC_FAIL(SC_UNAVAILABLE, "%s: %s", self->url, strerror(errno));
        *n_bytes = n > 0 ? (size_t)n : 0;
        if (n >= 0)
            return SC_OK;
    }
}

/* HTTP/1.0 ends with the connection. */
static sc_status receive_all(exchange *self)
{
    for (;;) {
        if (self->capacity - self->n < 4096) {
            const size_t capacity = 2 * self->capacity + 16384;
            char *bytes = capacity <= SC_HTTP_CLIENT_MAX_BYTES ? realloc(self->bytes, capacity) : NULL;
            if (!bytes)
                return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: the answer is too large", self->url);
            self->bytes = bytes;
            self->capacity = capacity;
        }
        size_t n;
        SC_TRY(receive(self, self->bytes + self->n, self->capacity - self->n - 1, &n));
        if (n == 0)
            break;
        self->n += n;
    }
    self->bytes[self->n] = '\0';
    return SC_OK;
}

/* The body takes the place of the whole. */
static sc_status take_reply(exchange *self, sc_http_reply *out)
{
    const char *body = strstr(self->bytes, "\r\n\r\n");
    if (strncmp(self->bytes, "HTTP/1.", 7) != 0 || sscanf(self->bytes + 8, " %3d", &out->status) != 1 || !body)
        return SC_FAIL(SC_UNAVAILABLE, "what answers at %s does not speak HTTP", self->url);
    body += 4;
    out->n_bytes = self->n - (size_t)(body - self->bytes);
    memmove(self->bytes, body, out->n_bytes + 1);
    out->body = self->bytes;
    self->bytes = NULL;
    return SC_OK;
}

static sc_status exchange_all(exchange *self, const char *request, sc_http_reply *out)
{
    SC_TRY(send_all(self, request));
    SC_TRY(receive_all(self));
    return take_reply(self, out);
}

static sc_status get(exchange *self, const char *path, sc_http_reply *out)
{
    char request[2 * SC_ENDPOINT_BYTES + 128];
    SC_TRY(connect_to(self));
    if (snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: %s:%s\r\nAccept: application/json\r\n\r\n", path,
                 self->host, self->port) >= (int)sizeof request)
        return SC_FAIL(SC_INVALID, "the path %s is too long", path);
    return exchange_all(self, request, out);
}

static sc_status post_all(exchange *self, const sc_http_post *post, const char *path, sc_http_reply *out)
{
    char *request = NULL;
    SC_TRY(connect_to(self));
    const sc_tls_stream_options tls = {
        .fd = self->fd, .host = self->host, .ca_file = post->ca_file, .end_ns = self->end_ns};
    SC_TRY(sc_tls_stream_open(&tls, &self->tls));
    if (asprintf(&request,
                 "POST %s HTTP/1.0\r\nHost: %s:%s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                 "%s%s%s\r\n%s",
                 path, self->host, self->port, strlen(post->body), post->bearer ? "Authorization: Bearer " : "",
                 post->bearer ? post->bearer : "", post->bearer ? "\r\n" : "", post->body) < 0)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for a request", self->url);
    const sc_status status = exchange_all(self, request, out);
    explicit_bzero(request, strlen(request));
    free(request);
    return status;
}

static exchange begin(double seconds)
{
    const sc_clock clock = sc_clock_system();
    return (exchange){.fd = -1, .end_ns = sc_clock_ns(&clock) + (uint64_t)(seconds * 1e9)};
}

static void end(exchange *self)
{
    sc_tls_stream_close(&self->tls);
    if (self->fd >= 0)
        close(self->fd);
    free(self->bytes);
}

sc_status sc_http_get(const char *url, const char *path, double seconds, sc_http_reply *out)
{
    exchange self = begin(seconds);
    self.remedy = "; is the run there, and its status.listen?";
    *out = (sc_http_reply){0};
    SC_TRY(split(url, "http://", ":80", &self, NULL));
    const sc_status status = get(&self, path, out);
    end(&self);
    return status;
}

sc_status sc_https_post(const sc_http_post *post, sc_http_reply *out)
{
    const char *path;
    exchange self = begin(post->seconds);
    self.remedy = "";
    *out = (sc_http_reply){0};
    SC_TRY(split(post->url, "https://", ":443", &self, &path));
    const sc_status status = post_all(&self, post, path, out);
    end(&self);
    return status;
}

void sc_http_reply_clear(sc_http_reply *self)
{
    free(self->body);
    *self = (sc_http_reply){0};
}
