#include "tests/tools/fault_proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    HELD_BYTES = 256 * 1024, /* in one direction */
    HELD_BURSTS = 512,       /* reads whose bytes are still held */
    QUANTA_PER_SECOND = 50,  /* a slow link carries in portions of a fiftieth of a second's bytes */
    TURNS = 16,              /* reads and writes of one direction before the others have their turn */
};

/* Bytes that were read together and may go on at the same time. */
typedef struct burst {
    uint64_t end; /* in bytes of the direction's stream */
    uint64_t due_ns;
} burst;

/* One direction of a connection: a ring of bytes. */
typedef struct wire {
    int from, to;
    bool ended;        /* nothing more comes */
    uint64_t in, out;  /* bytes of the stream, so far */
    uint64_t next_ns;  /* a slow link: not before */
    uint64_t first, n; /* bursts held: a ring as well */
    burst bursts[HELD_BURSTS];
    unsigned char bytes[HELD_BYTES];
} wire;

typedef struct connection {
    wire there, back;
} connection;

struct sc_fault_proxy {
    sc_clock clock;
    int listener, port;
    struct sockaddr_in target;
    connection *connections[SC_FAULT_PROXY_CONNECTIONS];
    size_t n_connections;
    uint64_t cut_at;                       /* of counts.carried; 0: never */
    uint64_t blackhole_ns;                 /* until then */
    uint64_t bytes_per_second, latency_ns; /* 0: unbounded, none */
    sc_fault_proxy_counts counts;
};

/* ---- sockets ------------------------------------------------------------------------------------------------------- */

static sc_status parse_address(const char *text, struct sockaddr_in *out)
{
    char host[64];
    int port;
    *out = (struct sockaddr_in){.sin_family = AF_INET};
    if (sscanf(text, "%63[0-9.]:%d", host, &port) != 2 || port < 0 || port > 65535 ||
        inet_pton(AF_INET, host, &out->sin_addr) != 1)
        return SC_FAIL(SC_INVALID, "'%s' is not an address; 127.0.0.1:5555 is one", text);
    out->sin_port = htons((uint16_t)port);
    return SC_OK;
}

static int open_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (fd >= 0) /* a link adds only the latency that it is told to */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* Closes with a RST. */
static void reset_socket(int fd)
{
    struct linger hard = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
}

static sc_status listen_at(sc_fault_proxy *self, const char *text)
{
    struct sockaddr_in address;
    SC_TRY(parse_address(text, &address));
    socklen_t bytes = sizeof address;
    int one = 1;
    self->listener = open_socket();
    if (self->listener < 0)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no socket: %s", strerror(errno));
    setsockopt(self->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(self->listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(self->listener, 64) != 0 ||
        getsockname(self->listener, (struct sockaddr *)&address, &bytes) != 0)
        return SC_FAIL(errno == EADDRINUSE ? SC_ALREADY_EXISTS : SC_INVALID, "cannot listen at %s: %s", text,
                       strerror(errno));
    self->port = ntohs(address.sin_port);
    return SC_OK;
}

sc_status sc_fault_proxy_new(const char *listen, const char *target, const sc_clock *clock, sc_fault_proxy **out)
{
    sc_fault_proxy *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a link");
    self->clock = *clock;
    self->listener = -1;
    sc_status status = parse_address(target, &self->target);
    if (status == SC_OK)
        status = listen_at(self, listen);
    if (status != SC_OK) {
        sc_fault_proxy_destroy(&self);
        return sc_status_forward(status, __FILE__, __LINE__);
    }
    *out = self;
    return SC_OK;
}

/* ---- connections --------------------------------------------------------------------------------------------------- */

static void reset_connection(sc_fault_proxy *self, size_t i)
{
    reset_socket(self->connections[i]->there.from);
    reset_socket(self->connections[i]->there.to);
    free(self->connections[i]);
    self->connections[i] = self->connections[--self->n_connections];
}

/* Both ends have been told all there was. */
static void close_connection(sc_fault_proxy *self, size_t i)
{
    close(self->connections[i]->there.from);
    close(self->connections[i]->there.to);
    free(self->connections[i]);
    self->connections[i] = self->connections[--self->n_connections];
}

static void accept_all(sc_fault_proxy *self)
{
    while (self->n_connections < SC_FAULT_PROXY_CONNECTIONS) {
        int near = accept4(self->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
        if (near < 0)
            return;
        setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        int far = open_socket();
        connection *both = malloc(sizeof *both);
        if (far < 0 || !both ||
            (connect(far, (struct sockaddr *)&self->target, sizeof self->target) != 0 && errno != EINPROGRESS)) {
            reset_socket(near);
            if (far >= 0)
                close(far);
            free(both);
            continue;
        }
        /* The rings' memory is touched when bytes come. */
        wire *wires[] = {&both->there, &both->back};
        for (int w = 0; w < 2; w++) {
            wires[w]->from = w ? far : near;
            wires[w]->to = w ? near : far;
            wires[w]->ended = false;
            wires[w]->in = wires[w]->out = wires[w]->next_ns = wires[w]->first = wires[w]->n = 0;
        }
        self->connections[self->n_connections++] = both;
        self->counts.accepted++;
    }
}

/* ---- carrying ------------------------------------------------------------------------------------------------------ */

static bool has_room(const wire *one)
{
    return !one->ended && one->in - one->out < HELD_BYTES && one->n < HELD_BURSTS;
}

/* False if the connection is broken. */
static bool take_in(sc_fault_proxy *self, wire *one, uint64_t now_ns, bool *moved)
{
    if (!has_room(one))
        return true;
    size_t at = one->in % HELD_BYTES, room = HELD_BYTES - (size_t)(one->in - one->out);
    if (room > HELD_BYTES - at)
        room = HELD_BYTES - at;
    ssize_t n = read(one->from, one->bytes + at, room);
    if (n < 0)
        return errno == EAGAIN || errno == ENOTCONN || errno == EINTR;
    if (n == 0) {
        one->ended = true;
        return true;
    }
    one->in += (uint64_t)n;
    one->bursts[(one->first + one->n++) % HELD_BURSTS] = (burst){.end = one->in, .due_ns = now_ns + self->latency_ns};
    *moved = true;
    return true;
}

/* When the next bytes may go on; UINT64_MAX: there are none. */
static uint64_t due_ns(const wire *one)
{
    if (one->n == 0)
        return UINT64_MAX;
    uint64_t burst_ns = one->bursts[one->first % HELD_BURSTS].due_ns;
    return burst_ns > one->next_ns ? burst_ns : one->next_ns;
}

/* False if the connection is broken, or this was where to cut. */
static bool pass_on(sc_fault_proxy *self, wire *one, uint64_t now_ns, bool *moved)
{
    if (due_ns(one) > now_ns)
        return true;
    size_t at = one->out % HELD_BYTES, n_bytes = (size_t)(one->bursts[one->first % HELD_BURSTS].end - one->out);
    if (n_bytes > HELD_BYTES - at)
        n_bytes = HELD_BYTES - at;
    uint64_t quantum = self->bytes_per_second / QUANTA_PER_SECOND + 1;
    if (self->bytes_per_second > 0 && n_bytes > quantum)
        n_bytes = (size_t)quantum;
    if (self->cut_at > 0 && n_bytes > self->cut_at - self->counts.carried)
        n_bytes = (size_t)(self->cut_at - self->counts.carried);
    ssize_t n = send(one->to, one->bytes + at, n_bytes, MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == ENOTCONN || errno == EINTR;
    one->out += (uint64_t)n;
    self->counts.carried += (uint64_t)n;
    if (self->bytes_per_second > 0)
        one->next_ns = (one->next_ns > now_ns ? one->next_ns : now_ns) +
                       (uint64_t)n * UINT64_C(1000000000) / self->bytes_per_second;
    if (one->out == one->bursts[one->first % HELD_BURSTS].end) {
        one->first++;
        one->n--;
    }
    *moved = true;
    return self->cut_at == 0 || self->counts.carried < self->cut_at;
}

static bool carry(sc_fault_proxy *self, wire *one, uint64_t now_ns)
{
    bool moved = true;
    for (int turn = 0; turn < TURNS && moved; turn++) {
        moved = false;
        if (!take_in(self, one, now_ns, &moved) || !pass_on(self, one, now_ns, &moved))
            return false;
    }
    return true;
}

static bool is_over(const wire *one)
{
    return one->ended && one->n == 0;
}

void sc_fault_proxy_turn(sc_fault_proxy *self)
{
    uint64_t now_ns = sc_clock_ns(&self->clock);
    if (now_ns < self->blackhole_ns)
        return;
    accept_all(self);
    for (size_t i = 0; i < self->n_connections;) {
        connection *both = self->connections[i];
        if (!carry(self, &both->there, now_ns) || !carry(self, &both->back, now_ns)) {
            if (self->cut_at > 0 && self->counts.carried >= self->cut_at) {
                sc_fault_proxy_reset(self);
                return;
            }
            reset_connection(self, i);
        } else if (is_over(&both->there) || is_over(&both->back)) {
            close_connection(self, i);
        } else {
            i++;
        }
    }
}

size_t sc_fault_proxy_wants(const sc_fault_proxy *self, struct pollfd fds[SC_FAULT_PROXY_FDS], uint64_t *due)
{
    uint64_t now_ns = sc_clock_ns(&self->clock);
    if (now_ns < self->blackhole_ns) {
        *due = self->blackhole_ns < *due ? self->blackhole_ns : *due;
        return 0;
    }
    size_t n = 0;
    if (self->n_connections < SC_FAULT_PROXY_CONNECTIONS)
        fds[n++] = (struct pollfd){.fd = self->listener, .events = POLLIN};
    for (size_t i = 0; i < self->n_connections; i++) {
        const wire *wires[] = {&self->connections[i]->there, &self->connections[i]->back};
        for (int w = 0; w < 2; w++) { /* of the end that this direction comes from */
            uint64_t next_ns = due_ns(wires[w]), other_ns = due_ns(wires[1 - w]);
            short events = has_room(wires[w]) ? POLLIN : 0;
            if (other_ns <= now_ns)
                events |= POLLOUT;
            if (next_ns > now_ns && next_ns < *due)
                *due = next_ns;
            if (events) /* an end that hung up would wake the loop again and again */
                fds[n++] = (struct pollfd){.fd = wires[w]->from, .events = events};
        }
    }
    return n;
}

/* ---- faults -------------------------------------------------------------------------------------------------------- */

void sc_fault_proxy_reset(sc_fault_proxy *self)
{
    self->counts.resets += self->n_connections > 0;
    self->cut_at = 0;
    while (self->n_connections > 0)
        reset_connection(self, 0);
}

void sc_fault_proxy_cut_after(sc_fault_proxy *self, uint64_t bytes)
{
    self->cut_at = self->counts.carried + bytes;
}

void sc_fault_proxy_blackhole(sc_fault_proxy *self, uint32_t ms)
{
    self->counts.blackholes++;
    self->blackhole_ns = sc_clock_ns(&self->clock) + ms * UINT64_C(1000000);
}

void sc_fault_proxy_slow(sc_fault_proxy *self, uint64_t bytes_per_second, uint32_t latency_ms)
{
    self->bytes_per_second = bytes_per_second;
    self->latency_ns = latency_ms * UINT64_C(1000000);
}

int sc_fault_proxy_port(const sc_fault_proxy *self)
{
    return self->port;
}

sc_fault_proxy_counts sc_fault_proxy_count(const sc_fault_proxy *self)
{
    return self->counts;
}

void sc_fault_proxy_destroy(sc_fault_proxy **self_p)
{
    sc_fault_proxy *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    while (self->n_connections > 0)
        reset_connection(self, 0);
    if (self->listener >= 0)
        close(self->listener);
    free(self);
}
