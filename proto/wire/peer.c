/* A peer: what is sent to it, when it is sent again, and what is remembered of it. */
#include "proto/wire/node_internal.h"

#include "proto/base/log.h"

#include <stdlib.h>
#include <string.h>

#define SC_LOG_SUBSYSTEM "node"

/* ---- life ---------------------------------------------------------------------------------------------------------- */

/* When the table is full, whoever was silent longest among those that nobody uses makes room. Returns its place, which
 * the newcomer takes at once: the loop may be walking the list. */
static sc_peer **evict(sc_node *node)
{
    sc_peer **oldest = NULL;
    for (size_t i = 0; i < node->n_peers; i++) {
        sc_peer *peer = node->peers[i];
        if (!peer->endpoint && !peer->context && !peer->made.first && peer->refs == 1 &&
            (!oldest || peer->heard_ns < (*oldest)->heard_ns))
            oldest = &node->peers[i];
    }
    if (!oldest)
        return NULL;
    sc_peer_drop(*oldest, "others need its place");
    if (node->last_heard == *oldest)
        node->last_heard = NULL;
    sc_peer_unref(*oldest);
    return oldest;
}

static sc_peer **append(sc_node *node)
{
    if (node->n_peers == node->n_peers_allocated) {
        size_t n = node->n_peers_allocated ? node->n_peers_allocated * 2 : 16;
        sc_peer **peers = realloc(node->peers, n * sizeof(sc_peer *));
        if (!peers)
            return NULL;
        node->peers = peers;
        node->n_peers_allocated = n;
    }
    return &node->peers[node->n_peers++];
}

sc_status sc_peer_new(sc_node *node, bool stranger, sc_peer **out)
{
    sc_peer *self = calloc(1, sizeof *self);
    bool full = node->n_peers == SC_NODE_MAX_PEERS;
    sc_peer **place = !self ? NULL : !full ? append(node) : stranger ? evict(node) : NULL;
    if (!place) {
        free(self);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no room for another peer: %zu of at most %d", node->n_peers,
                       SC_NODE_MAX_PEERS);
    }
    self->node = node;
    self->refs = 1;
    self->fd = -1;
    self->heard_ns = sc_node_now(node);
    sc_outbox_init(&self->outbox);
    sc_inbox_init(&self->inbox);
    *place = self;
    *out = self;
    return SC_OK;
}

void sc_peer_unref(sc_peer *self)
{
    if (--self->refs > 0)
        return;
    sc_shared_view_close(&self->view);
    free(self->endpoint);
    free(self->name);
    free(self);
}

sc_peer *sc_peer_find_route(sc_node *node, const void *route, size_t route_bytes)
{
    for (size_t i = 0; i < node->n_peers; i++) {
        sc_peer *peer = node->peers[i];
        if (!peer->dead && !peer->endpoint && peer->route_bytes == route_bytes &&
            memcmp(peer->route, route, route_bytes) == 0)
            return peer;
    }
    return NULL;
}

sc_peer *sc_node_find_peer(const sc_node *self, uint64_t incarnation)
{
    sc_peer *found = NULL;
    for (size_t i = 0; i < self->n_peers; i++) {
        sc_peer *peer = self->peers[i];
        if (!peer->dead && !peer->endpoint && peer->incarnation == incarnation &&
            (!found || peer->heard_ns > found->heard_ns))
            found = peer;
    }
    return found;
}

/* Ends its calls, or only those that were sent. */
static void end_calls(sc_peer *self, bool sent_only, sc_status status, const char *why)
{
    /* Out of the table first: a callback may call again. */
    sc_made_calls ended = self->made, kept = {0};
    self->made = (sc_made_calls){0};
    for (sc_made_call *call; (call = ended.first);) {
        sc_made_calls_unlink(&ended, call);
        if (sent_only && call->n_sent == 0)
            sc_made_calls_append(&kept, call);
        else
            sc_peer_end_call(self, call, &(sc_result){.status = status, .message = why});
    }
    for (sc_made_call *call; (call = self->made.first);) { /* what the callbacks called has larger ids */
        sc_made_calls_unlink(&self->made, call);
        sc_made_calls_append(&kept, call);
    }
    self->made = kept;
}

void sc_peer_reset(sc_peer *self, sc_status status, const char *why)
{
    sc_outbox_clear(&self->outbox);
    sc_inbox_clear(&self->inbox);
    sc_served_calls_clear(&self->served);
    self->n_acks = 0;
    end_calls(self, false, status, why);
}

void sc_peer_restarted(sc_peer *self)
{
    sc_served_calls_clear(&self->served);
    self->n_acks = 0;
    end_calls(self, true, SC_UNAVAILABLE, "the peer has restarted");
}

void sc_peer_drop(sc_peer *self, const char *why)
{
    if (self->dead)
        return;
    SC_DEBUG("%s: dropped %s: %s", self->node->name, sc_peer_name(self), why);
    self->dead = !self->endpoint; /* a connection of our own stays and introduces itself anew */
    self->incarnation = 0;
    self->introduced = false;
    self->hello_ns = 0;
    sc_peer_reset(self, SC_UNAVAILABLE, why);
}

void sc_node_disconnect(sc_node *node, sc_peer *self)
{
    (void)node;
    if (self->dead)
        return;
    self->dead = true;
    sc_peer_reset(self, SC_UNAVAILABLE, "this side closed the connection");
}

void sc_node_sweep(sc_node *node)
{
    size_t kept = 0;
    for (size_t i = 0; i < node->n_peers; i++) {
        sc_peer *peer = node->peers[i];
        if (!peer->dead) {
            node->peers[kept++] = peer;
            continue;
        }
        if (node->last_heard == peer)
            node->last_heard = NULL;
        if (peer->endpoint)
            sc_link_close(&peer->socket, &peer->monitor);
        sc_peer_unref(peer);
    }
    node->n_peers = kept;
}

/* ---- what a caller asks -------------------------------------------------------------------------------------------- */

const char *sc_peer_name(const sc_peer *self)
{
    if (self->name)
        return self->name;
    return self->endpoint ? self->endpoint : "a peer without a name";
}

uint64_t sc_peer_incarnation(const sc_peer *self)
{
    return self->incarnation;
}

const char *sc_peer_key(const sc_peer *self)
{
    return self->key.z85;
}

bool sc_peer_connected(const sc_peer *self)
{
    return self->connected && !self->dead;
}

uint64_t sc_peer_silent_ms(const sc_peer *self)
{
    return (sc_node_now(self->node) - self->heard_ns) / 1000000u;
}

void sc_peer_set_context(sc_peer *self, void *context)
{
    self->context = context;
}

void *sc_peer_context(const sc_peer *self)
{
    return self->context;
}

bool sc_peer_is_ready(const sc_peer *self)
{
    return self->connected && (!self->endpoint || self->introduced);
}

/* ---- sending ------------------------------------------------------------------------------------------------------- */

bool sc_peer_put(sc_peer *self, sc_envelope *header, const void *body, size_t body_bytes, const sc_carriage *carriage)
{
    if (self->dead)
        return false;
    header->protocol = SC_PROTOCOL_VERSION;
    sc_outgoing message = {
        .route = self->endpoint ? NULL : self->route,
        .route_bytes = self->route_bytes,
        .header = header,
        .body = body,
        .body_bytes = body_bytes,
        .payload = carriage ? carriage->frame : NULL,
    };
    if (!sc_link_send(self->socket, &message)) {
        if (!self->endpoint)
            sc_peer_disconnected(self); /* the ROUTER has no connection under that routing id */
        return false;
    }
    sc_node_counters *counters = &self->node->counters;
    counters->messages_out++;
    if (message.payload)
        counters->bytes_out += sc_buffer_bytes(message.payload);
    if (carriage && carriage->shared) {
        counters->bytes_out += carriage->place.bytes;
        counters->shared_out += carriage->place.bytes;
    }
    return true;
}

void sc_peer_hello(sc_peer *self, bool reply_wanted)
{
    Stagecoach__V1__Hello hello = STAGECOACH__V1__HELLO__INIT;
    hello.incarnation = self->node->incarnation;
    hello.name = self->node->name;
    hello.reply_wanted = reply_wanted;
    hello.connection = self->connection;
    hello.host = sc_shared_memory_host();
    hello.reads = self->view ? sc_shared_view_cookie(self->view) : 0;
    Stagecoach__V1__SharedMemory memory = STAGECOACH__V1__SHARED_MEMORY__INIT;
    if (self->node->options.memory) {
        sc_shared_offer offer = sc_shared_memory_offer(self->node->options.memory);
        memory.process = offer.process;
        memory.descriptor = offer.descriptor;
        memory.cookie = offer.cookie;
        hello.memory = &memory;
    }
    sc_envelope envelope = STAGECOACH__V1__ENVELOPE__INIT;
    envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_HELLO;
    envelope.hello = &hello;
    sc_peer_put(self, &envelope, NULL, 0, NULL);
}

static bool send_tensor(sc_peer *self, sc_kept_tensor *tensor)
{
    sc_node *node = self->node;
    Stagecoach__V1__TensorName name = sc_frame_write_name(&tensor->name);
    uint64_t shape[SC_MAX_DIMS];
    for (int i = 0; i < tensor->shape.n_dims; i++)
        shape[i] = (uint64_t)tensor->shape.dims[i];
    sc_carriage carriage;
    sc_peer_carry(self, tensor->payload, &tensor->xxh3, &carriage);
    Stagecoach__V1__TensorHeader header = STAGECOACH__V1__TENSOR_HEADER__INIT;
    header.run = node->options.run;
    header.name = &name;
    header.dtype = (uint32_t)tensor->dtype;
    header.n_shape = (size_t)tensor->shape.n_dims;
    header.shape = shape;
    header.bytes = sc_buffer_bytes(tensor->payload);
    header.xxh3 = carriage.xxh3;
    header.shared = carriage.shared ? &carriage.place : NULL;
    sc_envelope envelope = STAGECOACH__V1__ENVELOPE__INIT;
    envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_TENSOR;
    envelope.tensor = &header;
    if (!sc_peer_put(self, &envelope, NULL, 0, &carriage)) {
        self->retry_ns = sc_node_now(node) + node->resend_ns;
        return false;
    }
    if (tensor->n_sent > 0)
        node->counters.repeated++;
    sc_outbox_sent(&self->outbox, tensor, sc_node_now(node));
    return true;
}

static void send_pending(sc_peer *self)
{
    for (sc_kept_tensor *tensor = self->outbox.first; tensor && self->outbox.n_pending > 0; tensor = tensor->next)
        if (tensor->pending && !send_tensor(self, tensor))
            return;
}

sc_status sc_peer_send(sc_peer *self, const sc_tensor_name *name, sc_dtype dtype, const sc_shape *shape,
                       sc_buffer *payload)
{
    SC_TRY(sc_frame_check_name(name));
    uint64_t bytes;
    SC_TRY(sc_shape_bytes(shape, dtype, &bytes));
    if (bytes != sc_buffer_bytes(payload) || bytes > self->node->options.max_message_bytes) {
        char text[96];
        return SC_FAIL(SC_INVALID, "a tensor %s of %s is %llu bytes; its payload has %zu, a message may have %llu",
                       sc_shape_text(shape, text, sizeof text), sc_dtype_name(dtype), (unsigned long long)bytes,
                       sc_buffer_bytes(payload), (unsigned long long)self->node->options.max_message_bytes);
    }
    if (self->dead)
        return SC_FAIL(SC_UNAVAILABLE, "%s was dropped", sc_peer_name(self));
    sc_kept_tensor *tensor;
    SC_TRY(sc_outbox_put(&self->outbox, name, dtype, shape, payload, &tensor));
    if (sc_peer_is_ready(self) && self->outbox.n_pending == 1) /* else it would overtake */
        send_tensor(self, tensor);
    return SC_OK;
}

void sc_peer_expect(sc_peer *self, const sc_tensor_name *name)
{
    sc_inbox_expect(&self->inbox, name, sc_node_now(self->node), self->node->resend_ns);
}

void sc_peer_ask(sc_peer *self, const sc_tensor_name *name)
{
    sc_inbox_ask(&self->inbox, name, sc_node_now(self->node), self->node->resend_ns);
}

bool sc_peer_send_names(sc_peer *self, sc_naming naming, const sc_tensor_name *names, size_t n)
{
    Stagecoach__V1__TensorName written[SC_PEER_MAX_ACKS], *pointers[SC_PEER_MAX_ACKS];
    for (size_t i = 0; i < n; i++) {
        written[i] = sc_frame_write_name(&names[i]);
        pointers[i] = &written[i];
    }
    Stagecoach__V1__Ack ack = STAGECOACH__V1__ACK__INIT;
    Stagecoach__V1__Resend resend = STAGECOACH__V1__RESEND__INIT;
    Stagecoach__V1__Sent sent = STAGECOACH__V1__SENT__INIT;
    sc_envelope envelope = STAGECOACH__V1__ENVELOPE__INIT;
    switch (naming) {
    case SC_NAMING_ACK:
        ack.n_names = n;
        ack.names = pointers;
        envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_ACK;
        envelope.ack = &ack;
        break;
    case SC_NAMING_RESEND:
    case SC_NAMING_LOST:
        resend.n_names = n;
        resend.names = pointers;
        resend.lost = naming == SC_NAMING_LOST;
        envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_RESEND;
        envelope.resend = &resend;
        break;
    case SC_NAMING_SENT:
        sent.n_names = n;
        sent.names = pointers;
        envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_SENT;
        envelope.sent = &sent;
        break;
    }
    return sc_peer_put(self, &envelope, NULL, 0, NULL);
}

/* An acknowledgement that is lost with its connection comes again: the sender repeats the tensor after a reconnect. */
void sc_peer_flush_acks(sc_peer *self)
{
    if (self->n_acks > 0)
        sc_peer_send_names(self, SC_NAMING_ACK, self->acks, self->n_acks);
    self->n_acks = 0;
}

static void ask(sc_peer *self, uint64_t now_ns)
{
    sc_tensor_name names[SC_PEER_MAX_ACKS];
    for (;;) {
        size_t n = sc_inbox_due(&self->inbox, now_ns, self->node->resend_ns, names, SC_PEER_MAX_ACKS);
        if (n == 0 || !sc_peer_send_names(self, SC_NAMING_RESEND, names, n))
            return;
        self->node->counters.resends += n;
    }
}

/* ---- time ---------------------------------------------------------------------------------------------------------- */

void sc_peer_reconnected(sc_peer *self)
{
    uint64_t now_ns = sc_node_now(self->node);
    self->connected = true;
    self->lost = false;
    self->connections++;
    self->retry_ns = 0;
    sc_outbox_reconnected(&self->outbox);
    sc_inbox_reconnected(&self->inbox, now_ns, self->node->resend_ns);
    sc_made_calls_reconnected(&self->made, now_ns);
}

void sc_peer_distrust(sc_peer *self)
{
    self->distrusted = true;
}

/* What is kept here is sent again, and the other side does the same: to whoever was connected to, this is a reconnect as
 * any other, and whoever connected is asked to introduce itself. */
static void start_over(sc_peer *self, uint64_t now_ns)
{
    self->distrusted = false;
    self->reintroduced_ns = now_ns;
    if (self->endpoint) {
        self->connection++;
        self->introduced = false;
        self->hello_ns = 0;
    } else {
        sc_peer_hello(self, true);
    }
    sc_peer_reconnected(self);
}

void sc_peer_disconnected(sc_peer *self)
{
    if (!self->connected)
        return;
    self->connected = false;
    self->lost = self->incarnation != 0;
    self->node->any_lost |= self->lost;
}

static void expire(sc_peer *self, uint64_t now_ns)
{
    sc_made_call *call;
    while ((call = sc_made_calls_expired(&self->made, now_ns))) {
        char message[256];
        snprintf(message, sizeof message, "no reply to %s from %.128s within %u ms (%s, last heard of %llu ms ago)",
                 call->method->name, sc_peer_name(self), call->deadline_ms,
                 self->connected ? "connected" : "not connected", (unsigned long long)sc_peer_silent_ms(self));
        sc_made_calls_unlink(&self->made, call);
        sc_peer_end_call(self, call, &(sc_result){.status = SC_DEADLINE_EXCEEDED, .message = message});
    }
}

void sc_peer_tick(sc_peer *self)
{
    uint64_t now_ns = sc_node_now(self->node);
    expire(self, now_ns);
    if (self->dead || !self->connected)
        return;
    if (self->distrusted && now_ns - self->reintroduced_ns >= self->node->resend_ns)
        start_over(self, now_ns);
    if (self->endpoint && !self->introduced && self->hello_ns <= now_ns) {
        sc_peer_hello(self, true);
        self->hello_ns = now_ns + self->node->resend_ns;
    }
    if (!sc_peer_is_ready(self))
        return;
    for (sc_made_call *call; (call = sc_made_calls_due(&self->made, now_ns));)
        sc_peer_send_call(self, call);
    if (self->outbox.n_pending > 0 && self->retry_ns <= now_ns)
        send_pending(self);
    ask(self, now_ns);
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t sc_peer_next_ns(const sc_peer *self)
{
    uint64_t next_ns = UINT64_MAX;
    if (!sc_peer_is_ready(self)) {
        if (self->connected)
            next_ns = self->hello_ns;
        for (const sc_made_call *call = self->made.first; call; call = call->next)
            next_ns = smaller(next_ns, call->deadline_ns);
        return next_ns;
    }
    next_ns = smaller(sc_made_calls_next_ns(&self->made), self->inbox.next_ns);
    if (self->outbox.n_pending > 0)
        next_ns = smaller(next_ns, self->retry_ns);
    if (self->distrusted)
        next_ns = smaller(next_ns, self->reintroduced_ns + self->node->resend_ns);
    return next_ns;
}
