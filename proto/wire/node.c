/* The node's life and its loop. Its endpoints are in node_endpoint.c, what is sent is in peer.c, calls in call.c, what comes
 * in in receive.c. */
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
