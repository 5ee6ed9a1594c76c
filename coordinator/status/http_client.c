#include "coordinator/status/http_client.h"

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
    const char *url; /* for messages */
    char host[SC_ENDPOINT_BYTES], port[8];
    uint64_t end_ns;
    int fd;
    char *bytes;
    size_t n, capacity;
} exchange;

static sc_status split(const char *url, exchange *self)
{
    static const char scheme[] = "http://";
    char endpoint[SC_ENDPOINT_BYTES];
    const char *server = url + strlen(scheme);
    self->url = url;
    if (strncmp(url, scheme, strlen(scheme)) != 0)
        return SC_FAIL(SC_INVALID, "'%s' is no URL of a status server; expected http://HOST:PORT", url);
    const int n = (int)strcspn(server, "/");
    const bool has_port = memchr(server, ':', (size_t)n) && server[n - 1] != ']';
    if (snprintf(endpoint, sizeof endpoint, "tcp://%.*s%s", n, server, has_port ? "" : ":80") >= (int)sizeof endpoint ||
        !sc_endpoint_split_tcp(endpoint, self->host, self->port))
        return SC_FAIL(SC_INVALID, "'%s' is no URL of a status server; expected http://HOST:PORT", url);
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
    return SC_FAIL(SC_UNAVAILABLE, "nothing answers at %s: %s; is the run there, and its status.listen?", self->url,
                   strerror(error));
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
        SC_TRY(wait_for(self, POLLIN));
        const ssize_t n = recv(self->fd, self->bytes + self->n, self->capacity - self->n - 1, 0);
        if (n == 0)
            break;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return SC_FAIL(SC_UNAVAILABLE, "%s: %s", self->url, strerror(errno));
        self->n += n > 0 ? (size_t)n : 0;
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

static sc_status exchange_all(exchange *self, const char *path, sc_http_reply *out)
{
    char request[2 * SC_ENDPOINT_BYTES + 128];
    SC_TRY(connect_to(self));
    if (snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: %s:%s\r\nAccept: application/json\r\n\r\n", path,
                 self->host, self->port) >= (int)sizeof request)
        return SC_FAIL(SC_INVALID, "the path %s is too long", path);
    SC_TRY(send_all(self, request));
    SC_TRY(receive_all(self));
    return take_reply(self, out);
}

sc_status sc_http_get(const char *url, const char *path, double seconds, sc_http_reply *out)
{
    const sc_clock clock = sc_clock_system();
    exchange self = {.fd = -1, .end_ns = sc_clock_ns(&clock) + (uint64_t)(seconds * 1e9)};
    *out = (sc_http_reply){0};
    SC_TRY(split(url, &self));
    const sc_status status = exchange_all(&self, path, out);
    if (self.fd >= 0)
        close(self.fd);
    free(self.bytes);
    return status;
}

void sc_http_reply_clear(sc_http_reply *self)
{
    free(self->body);
    *self = (sc_http_reply){0};
}
