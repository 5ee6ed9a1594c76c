/* The node's life and its loop. What is sent is in peer.c, calls in call.c, what comes in in receive.c. */
#include "proto/wire/node_internal.h"

#include "proto/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#define SC_LOG_SUBSYSTEM "node"

enum { BURST = 64 }; /* messages taken from one socket before the others have their turn */

/* ---- life ---------------------------------------------------------------------------------------------------------- */

/* libzmq receives each tensor into memory from malloc. Given back to the kernel after each, that memory would come with a
 * page fault for every 4 KiB of every tensor. */
static void keep_freed_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, INT32_MAX);
    mallopt(M_TOP_PAD, 16 << 20);
}

/* Descriptors are what a crowd at the door uses up first; the usual limit of 1024 is one for select(). */
static void allow_descriptors(void)
{
    enum { MOST = 65536 };
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= MOST)
        return;
    limit.rlim_cur = limit.rlim_max < MOST ? limit.rlim_max : MOST;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        SC_DEBUG("the limit of open files stays as it is: %s", strerror(errno));
}

static void prepare_process(void)
{
    keep_freed_memory();
    allow_descriptors();
}

static sc_status copy_keys(sc_node *self, const sc_node_keys *keys)
{
    self->keys = *keys;
    self->keys.allowed_dir = NULL;
    if (!keys->allowed_dir)
        return SC_OK;
    self->allowed_dir = strdup(keys->allowed_dir);
    if (!self->allowed_dir)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a node");
    return SC_OK;
}

sc_status sc_node_new(const sc_node_options *options, sc_node **out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare_process);
    zsys_handler_set(NULL);
    if (!options->name || !options->clock.now_ns || options->resend_ms == 0 || options->max_message_bytes == 0)
        return SC_FAIL(SC_INVALID, "a node needs a name, a clock, resend_ms and max_message_bytes");
    if (options->max_message_bytes > INT64_MAX || options->heartbeat_ms > 600000)
        return SC_FAIL(SC_INVALID, "a node's max_message_bytes or heartbeat_ms is out of range");
    sc_node *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a node");
    self->options = *options;
    self->sharing = options->memory != NULL;
    self->probe_ns = UINT64_MAX;
    self->resend_ns = options->resend_ms * UINT64_C(1000000);
    self->name = strndup(options->name, SC_FRAME_TEXT_BYTES);
    self->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    while (self->incarnation == 0)
        if (getrandom(&self->incarnation, sizeof self->incarnation, 0) != sizeof self->incarnation)
            self->incarnation = 0;
    self->options.keys = NULL;
    sc_status status = options->keys ? copy_keys(self, options->keys) : SC_OK;
    if (!self->name || self->wake_fd < 0)
        status = SC_FAIL(SC_INTERNAL, "no event descriptor for a node: %s", strerror(errno));
    if (status != SC_OK) {
        sc_node_destroy(&self, 0);
        return status;
    }
    *out = self;
    return SC_OK;
}

static void log_turned_away(const sc_node *self)
{
    sc_node_counters n = sc_node_count(self);
    if (n.unknown_keys + n.without_keys + n.wrong_server_keys + n.no_handshakes + n.revoked + n.rejected == 0)
        return;
    SC_WARN("%s: turned away in all: unknown keys %" PRIu64 ", without keys %" PRIu64 ", for another key %" PRIu64
            ", without a handshake %" PRIu64 " (%" PRIu64 " to make room), revoked %" PRIu64
            "; messages rejected %" PRIu64 ", of them of another version %" PRIu64,
            self->name, n.unknown_keys, n.without_keys, n.wrong_server_keys, n.no_handshakes, n.crowded, n.revoked,
            n.rejected, n.odd_versions);
}

void sc_node_destroy(sc_node **self_p, int linger_ms)
{
    sc_node *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    if (self->router)
        log_turned_away(self);
    SC_DEBUG("%s: closing; of payloads, %" PRIu64 " bytes went out (%" PRIu64 " through shared memory), %" PRIu64
             " came in (%" PRIu64 ")",
             self->name ? self->name : "", self->counters.bytes_out, self->counters.shared_out, self->counters.bytes_in,
             self->counters.shared_in);
    for (size_t i = 0; i < self->n_peers; i++)
        self->peers[i]->dead = true; /* first all, so that no callback makes a new call */
    for (size_t i = 0; i < self->n_peers; i++) {
        if (self->peers[i]->endpoint)
            zsock_set_linger(self->peers[i]->socket, linger_ms);
        sc_peer_reset(self->peers[i], SC_UNAVAILABLE, "this node is closing");
    }
    while (self->open_calls)
        sc_call_destroy(self->open_calls);
    sc_node_sweep(self);
    if (self->router) {
        zsock_set_linger(self->router, linger_ms);
        sc_link_close(&self->router, &self->router_monitor);
    }
    sc_gate_destroy(&self->gate);
    sc_door_clear(&self->door);
    explicit_bzero(&self->keys, sizeof self->keys);
    free(self->allowed_dir);
    if (strncmp(self->bound, "ipc://", 6) == 0 && self->bound[6] != '@')
        unlink(self->bound + 6); /* libzmq leaves the file */
    if (self->wake_fd >= 0)
        close(self->wake_fd);
    free(self->peers);
    free(self->watches);
    free(self->items);
    free(self->name);
    free(self);
}

uint64_t sc_node_incarnation(const sc_node *self)
{
    return self->incarnation;
}

void sc_node_set_run(sc_node *self, uint64_t run)
{
    self->options.run = run;
}

void sc_node_set_generation(sc_node *self, uint64_t generation)
{
    self->generation = generation;
    for (size_t i = 0; i < self->n_peers; i++) {
        sc_outbox_keep_generation(&self->peers[i]->outbox, generation);
        sc_inbox_keep_generation(&self->peers[i]->inbox, generation);
    }
}

void sc_node_set_sharing(sc_node *self, bool sharing)
{
    self->sharing = sharing;
}

uint64_t sc_node_generation(const sc_node *self)
{
    return self->generation;
}

sc_node_counters sc_node_count(const sc_node *self)
{
    sc_node_counters counters = self->counters;
    uint64_t explained = counters.unknown_keys + counters.without_keys + counters.wrong_server_keys;
    uint64_t silent = self->door.n_silent_closed;
    counters.no_handshakes = silent > explained ? silent - explained : 0;
    counters.crowded = self->door.n_crowded;
    return counters;
}

void sc_node_release_before(sc_node *self, uint64_t step)
{
    for (size_t i = 0; i < self->n_peers; i++) {
        sc_outbox_release_before(&self->peers[i]->outbox, step);
        sc_inbox_release_before(&self->peers[i]->inbox, step);
    }
}

uint64_t sc_node_kept_bytes(const sc_node *self)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < self->n_peers; i++)
        bytes += self->peers[i]->outbox.bytes;
    return bytes;
}

sc_status sc_node_serve(sc_node *self, ProtobufCService *service, void *context)
{
    if (self->n_offers == SC_NODE_MAX_OFFERS)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "a node offers at most %d services", SC_NODE_MAX_OFFERS);
    for (size_t i = 0; i < self->n_offers; i++)
        if (self->offers[i].service->descriptor == service->descriptor)
            return SC_FAIL(SC_ALREADY_EXISTS, "service %s is offered already", service->descriptor->name);
    self->offers[self->n_offers++] = (sc_offer){.service = service, .context = context};
    return SC_OK;
}

void sc_node_serve_only(sc_node *self, const ProtobufCService *service, const sc_peer *caller)
{
    for (size_t i = 0; i < self->n_offers; i++)
        if (self->offers[i].service == service)
            self->offers[i].caller = caller;
}

/* ---- endpoints ----------------------------------------------------------------------------------------------------- */

static sc_status endpoint_error(const char *verb, const char *endpoint, int error)
{
    switch (error) {
    case EADDRINUSE:
        return SC_FAIL(SC_ALREADY_EXISTS, "cannot %s %s: it is in use", verb, endpoint);
    case EACCES:
    case EPERM:
        return SC_FAIL(SC_PERMISSION_DENIED, "cannot %s %s: permission denied", verb, endpoint);
    default:
        return SC_FAIL(SC_INVALID, "cannot %s '%s': %s; endpoints look like tcp://192.0.2.1:5555 or ipc:///path", verb,
                       endpoint, zmq_strerror(error));
    }
}

/* libzmq looks at the port of a connection only when it connects, and then says nothing: so it is looked at here. */
static bool is_endpoint(const char *text, bool to_bind)
{
    if (strncmp(text, "ipc://", 6) == 0)
        return text[6] != '\0';
    const char *colon = strrchr(text, ':');
    if (strncmp(text, "tcp://", 6) != 0 || colon <= text + 6)
        return false;
    if (to_bind && (strcmp(colon, ":*") == 0 || strcmp(colon, ":0") == 0))
        return true;
    char *end;
    long port = strtol(colon + 1, &end, 10);
    return *end == '\0' && colon[1] >= '0' && colon[1] <= '9' && port >= 1 && port <= 65535;
}

/* An IPv6 socket that is bound to 127.0.0.1 is called tcp://[::ffff:127.0.0.1]:PORT: as a person would write it. */
static void write_plainly(char *endpoint)
{
    static const char mapped[] = "tcp://[::ffff:";
    char *address = endpoint + sizeof mapped - 1, *end = strchr(endpoint, ']');
    if (strncmp(endpoint, mapped, sizeof mapped - 1) != 0 || !end || !memchr(address, '.', (size_t)(end - address)))
        return;
    memmove(end, end + 1, strlen(end));
    memmove(endpoint + strlen("tcp://"), address, strlen(address) + 1);
}

static sc_status open_gate(sc_node *self)
{
    enum { PATIENCE_MS = 2000 }; /* a list that an assignment brings is milliseconds behind */
    sc_gate_options options = {
        .name = self->name,
        .clock = self->options.clock,
        .allowed_dir = self->allowed_dir,
        .patience_ms = self->allowed_dir ? 0 : PATIENCE_MS,
    };
    return sc_gate_new(&options, &self->gate);
}

sc_status sc_node_bind(sc_node *self, const char *endpoint, const char **bound)
{
    if (self->router)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s is bound already, to %s", self->name, self->bound);
    if (!is_endpoint(endpoint, true))
        return endpoint_error("bind", endpoint, EINVAL);
    sc_status status = self->keys.public_key.z85[0] ? open_gate(self) : SC_OK;
    sc_link_keys keys = {.public_key = self->keys.public_key.z85, .secret_key = self->keys.secret_key};
    if (self->gate)
        keys.domain = sc_gate_domain(self->gate);
    if (status == SC_OK)
        status = sc_link_new(ZMQ_ROUTER, &self->options, self->gate ? &keys : NULL, NULL, 0, &self->router);
    if (status == SC_OK)
        status = sc_link_monitor(self->router, &self->router_monitor);
    size_t bytes = sizeof self->bound;
    if (status == SC_OK && (zmq_bind(zsock_resolve(self->router), endpoint) != 0 ||
                            zmq_getsockopt(zsock_resolve(self->router), ZMQ_LAST_ENDPOINT, self->bound, &bytes) != 0))
        status = endpoint_error("bind", endpoint, zmq_errno());
    if (status != SC_OK) {
        if (self->router)
            sc_link_close(&self->router, &self->router_monitor);
        sc_gate_destroy(&self->gate);
        return status;
    }
    write_plainly(self->bound);
    if (bound)
        *bound = self->bound;
    return SC_OK;
}

sc_status sc_node_connect(sc_node *self, const char *endpoint, sc_peer **out)
{
    return sc_node_connect_to(self, endpoint, NULL, out);
}

static sc_peer *find_dialled(const sc_node *self, const char *endpoint, const char *key)
{
    for (size_t i = 0; i < self->n_peers; i++) {
        sc_peer *peer = self->peers[i];
        if (!peer->dead && peer->endpoint && strcmp(peer->endpoint, endpoint) == 0 && strcmp(peer->key.z85, key) == 0)
            return peer;
    }
    return NULL;
}

sc_status sc_node_connect_to(sc_node *self, const char *endpoint, const sc_public_key *server, sc_peer **out)
{
    const char *key = server ? server->z85 : self->keys.server.z85;
    bool encrypted = self->keys.public_key.z85[0] != '\0';
    if (encrypted && !*key)
        return SC_FAIL(SC_FAILED_PRECONDITION, "the key that %s should have is not known", endpoint);
    if (!encrypted && *key)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s uses keys, and this side has none", endpoint);
    *out = find_dialled(self, endpoint, key);
    if (*out)
        return SC_OK;
    if (!is_endpoint(endpoint, false))
        return endpoint_error("connect to", endpoint, EINVAL);
    /* The route: a letter (ZeroMQ keeps those that start with a zero byte), who we are, which socket. */
    unsigned char route[1 + sizeof self->incarnation + sizeof self->n_sockets] = "S";
    memcpy(route + 1, &self->incarnation, sizeof self->incarnation);
    self->n_sockets++;
    memcpy(route + 1 + sizeof self->incarnation, &self->n_sockets, sizeof self->n_sockets);
    sc_peer *peer = NULL;
    zsock_t *socket = NULL, *monitor = NULL;
    char *copy = NULL;
    sc_status status;
    const sc_link_keys keys = {self->keys.public_key.z85, self->keys.secret_key, key, NULL};
    SC_TRY_GOTO(status, sc_link_new(ZMQ_DEALER, &self->options, encrypted ? &keys : NULL, route, sizeof route, &socket),
                fail);
    SC_TRY_GOTO(status, sc_link_monitor(socket, &monitor), fail);
    if (zmq_connect(zsock_resolve(socket), endpoint) != 0) {
        status = endpoint_error("connect to", endpoint, zmq_errno());
        goto fail;
    }
    copy = strdup(endpoint);
    if (!copy) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for another peer");
        goto fail;
    }
    SC_TRY_GOTO(status, sc_peer_new(self, false, &peer), fail);
    peer->endpoint = copy;
    snprintf(peer->key.z85, sizeof peer->key.z85, "%s", key);
    peer->socket = socket;
    peer->monitor = monitor;
    *out = peer;
    return SC_OK;
fail:
    free(copy);
    if (socket)
        sc_link_close(&socket, &monitor);
    return status;
}

/* ---- the loop ------------------------------------------------------------------------------------------------------ */

void sc_node_wake(sc_node *self)
{
    uint64_t one = 1;
    ssize_t written = write(self->wake_fd, &one, sizeof one);
    (void)written; /* it fails only if a wake is pending already */
}

sc_status sc_node_watch(sc_node *self, int fd, void (*readable)(void *context, int fd), void *context)
{
    for (size_t i = 0; i < self->n_watches; i++)
        if (self->watches[i].fd == fd) {
            self->watches[i] = (sc_watch){.fd = fd, .readable = readable, .context = context};
            return SC_OK;
        }
    if (!readable)
        return SC_OK;
    sc_watch *watches = realloc(self->watches, (self->n_watches + 1) * sizeof *watches);
    if (!watches)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to watch another descriptor");
    self->watches = watches;
    self->watches[self->n_watches++] = (sc_watch){.fd = fd, .readable = readable, .context = context};
    return SC_OK;
}

static void sweep_watches(sc_node *self)
{
    size_t kept = 0;
    for (size_t i = 0; i < self->n_watches; i++)
        if (self->watches[i].readable)
            self->watches[kept++] = self->watches[i];
    self->n_watches = kept;
}

/* Takes what a socket has, up to a burst. `peer` NULL: the ROUTER. */
static void drain(sc_node *self, zsock_t *socket, sc_peer *peer)
{
    sc_incoming message;
    for (int n = 0; n < BURST && !(peer && peer->dead) && sc_link_receive(socket, &message); n++)
        sc_node_receive(self, peer, &message);
}

/* What is due is done; returns when the next is. */
static uint64_t tick(sc_node *self)
{
    uint64_t next_ns = sc_node_tick_connections(self);
    for (size_t i = 0; i < self->n_peers; i++) {
        sc_peer *peer = self->peers[i];
        if (peer->dead)
            continue;
        sc_peer_flush_acks(peer);
        if (sc_peer_next_ns(peer) <= sc_node_now(self))
            sc_peer_tick(peer);
        uint64_t peer_ns = peer->dead ? UINT64_MAX : sc_peer_next_ns(peer);
        if (peer_ns < next_ns)
            next_ns = peer_ns;
    }
    return next_ns;
}

/* Fills self->items: the wake descriptor, two for the ROUTER and for each DEALER, the watches. */
static sc_status collect(sc_node *self, int *n_items)
{
    size_t wanted = 3 + 2 * self->n_peers + self->n_watches;
    if (wanted > self->n_items_allocated) {
        zmq_pollitem_t *items = realloc(self->items, wanted * sizeof *items);
        if (!items)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to wait for %zu sockets", wanted);
        self->items = items;
        self->n_items_allocated = wanted;
    }
    int n = 0;
    self->items[n++] = (zmq_pollitem_t){.fd = self->wake_fd, .events = ZMQ_POLLIN};
    if (self->router) {
        self->items[n++] = (zmq_pollitem_t){.socket = zsock_resolve(self->router_monitor), .events = ZMQ_POLLIN};
        self->items[n++] = (zmq_pollitem_t){.socket = zsock_resolve(self->router), .events = ZMQ_POLLIN};
    }
    for (size_t i = 0; i < self->n_peers; i++)
        if (self->peers[i]->endpoint) {
            self->items[n++] = (zmq_pollitem_t){.socket = zsock_resolve(self->peers[i]->monitor), .events = ZMQ_POLLIN};
            self->items[n++] = (zmq_pollitem_t){.socket = zsock_resolve(self->peers[i]->socket), .events = ZMQ_POLLIN};
        }
    for (size_t i = 0; i < self->n_watches; i++)
        self->items[n++] = (zmq_pollitem_t){.fd = self->watches[i].fd, .events = ZMQ_POLLIN};
    *n_items = n;
    return SC_OK;
}

/* Walks the lists as collect did: callbacks may add to their ends, but nothing leaves them before the next sweep. */
static void serve(sc_node *self, size_t n_peers, size_t n_watches, bool router)
{
    const zmq_pollitem_t *item = self->items;
    if ((item++)->revents) {
        uint64_t wakes;
        ssize_t got = read(self->wake_fd, &wakes, sizeof wakes);
        (void)got; /* resets the counter; there is nothing else to learn */
    }
    if (router) {
        if ((item++)->revents)
            sc_node_follow_router(self);
        if ((item++)->revents)
            drain(self, self->router, NULL);
    }
    for (size_t i = 0; i < n_peers; i++) {
        sc_peer *peer = self->peers[i];
        if (!peer->endpoint)
            continue;
        if ((item++)->revents)
            sc_peer_follow(peer);
        if ((item++)->revents)
            drain(self, peer->socket, peer);
    }
    for (size_t i = 0; i < n_watches; i++) {
        sc_watch watch = self->watches[i];
        if ((item++)->revents && watch.readable)
            watch.readable(watch.context, watch.fd);
    }
}

sc_status sc_node_poll(sc_node *self, int timeout_ms)
{
    sc_node_sweep(self);
    sweep_watches(self);
    uint64_t next_ns = tick(self);
    if (next_ns != UINT64_MAX) {
        uint64_t now_ns = sc_node_now(self);
        uint64_t ms = next_ns > now_ns ? (next_ns - now_ns + 999999) / 1000000u : 0;
        if (timeout_ms < 0 || ms < (uint64_t)timeout_ms)
            timeout_ms = ms < INT32_MAX ? (int)ms : INT32_MAX;
    }
    int n_items = 0;
    SC_TRY(collect(self, &n_items));
    size_t n_peers = self->n_peers, n_watches = self->n_watches;
    bool router = self->router != NULL;
    int n = zmq_poll(self->items, n_items, timeout_ms);
    if (n < 0 && zmq_errno() != EINTR)
        return SC_FAIL(SC_UNAVAILABLE, "waiting for messages failed: %s", zmq_strerror(zmq_errno()));
    if (n > 0)
        serve(self, n_peers, n_watches, router);
    tick(self);
    return SC_OK;
}
