/* The node's connections: what their monitors tell, who is cut off, and what is tried again. */
#include "proto/wire/node_internal.h"

#include "proto/base/log.h"

#define SC_LOG_SUBSYSTEM "node"

/* After a connection to the ROUTER has gone, its peers are probed so many ms after the probe before: libzmq tells of the
 * loss some moments before it takes the routing id away, later on a loaded machine. */
static const uint64_t probe_pauses_ms[] = {10, 10, 50, 250};
enum { N_PROBES = sizeof probe_pauses_ms / sizeof probe_pauses_ms[0] };

/* ---- connections of our own ---------------------------------------------------------------------------------------- */

static void redial_later(sc_peer *peer)
{
    peer->redial_pause_ms = peer->redial_pause_ms ? peer->redial_pause_ms * 2 : SC_RECONNECT_MS;
    if (peer->redial_pause_ms > SC_RECONNECT_MAX_MS)
        peer->redial_pause_ms = SC_RECONNECT_MAX_MS;
    peer->redial_ns = sc_node_now(peer->node) + peer->redial_pause_ms * UINT64_C(1000000);
}

static void take_refusal(sc_peer *peer, const sc_link_event_t *event)
{
    sc_node *node = peer->node;
    sc_refusal why = SC_REFUSED_SILENTLY;
    if (event->number == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
        why = SC_REFUSED_KEY;
    else if (event->number == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL &&
             event->value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
        why = SC_REFUSED_MECHANISM;
    SC_DEBUG("%s: no handshake with %s (event %#x, %#x): is it a stagecoach endpoint?", node->name, sc_peer_name(peer),
             (unsigned)event->number, event->value);
    if (event->number != ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        redial_later(peer);
    if (node->options.on_refused)
        node->options.on_refused(node->options.context, peer, why);
}

void sc_peer_follow(sc_peer *peer)
{
    sc_link_event_t event;
    while (!peer->dead && sc_link_event(peer->monitor, &event)) {
        if (event.number == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
            peer->connection++;
            peer->introduced = peer->reads_ours = peer->same_host = false; /* it may be another process by now */
            peer->hello_ns = peer->redial_ns = 0;
            peer->redial_pause_ms = 0;
            sc_peer_reconnected(peer);
        } else if (event.number == ZMQ_EVENT_DISCONNECTED) {
            sc_peer_disconnected(peer);
            SC_DEBUG("%s: lost the connection to %s", peer->node->name, sc_peer_name(peer));
        } else {
            take_refusal(peer, &event);
        }
    }
}

/* Returns when to look again. */
static uint64_t redial(sc_peer *peer)
{
    if (peer->dead || peer->redial_ns == 0)
        return UINT64_MAX;
    if (peer->redial_ns > sc_node_now(peer->node))
        return peer->redial_ns;
    peer->redial_ns = 0;
    sc_link_redial(peer->socket, peer->endpoint);
    return UINT64_MAX;
}

/* ---- who may come -------------------------------------------------------------------------------------------------- */

/* Those whose keys are not on the list any more are cut off. */
static void cut_off_revoked(sc_node *self)
{
    size_t n_peers = self->n_peers; /* a callback may add to the end */
    for (size_t i = 0; i < n_peers; i++) {
        sc_peer *peer = self->peers[i];
        if (peer->dead || peer->endpoint || sc_gate_admits(self->gate, peer->key.z85))
            continue;
        SC_WARN("%s: %s is cut off: its key %s may not come any more", self->name, sc_peer_name(peer), peer->key.z85);
        self->counters.revoked++;
        if (self->options.on_revoked)
            self->options.on_revoked(self->options.context, peer);
        sc_peer_drop(peer, "its key may not come any more");
        sc_door_shut(peer->fd, self->bound);
    }
}

sc_status sc_node_allow(sc_node *self, const sc_public_key *keys, size_t n)
{
    if (!self->gate)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s asks nobody for a key", self->name);
    SC_TRY(sc_gate_allow(self->gate, keys, n));
    cut_off_revoked(self);
    return SC_OK;
}

/* ---- connections to the ROUTER ------------------------------------------------------------------------------------- */

/* The monitor says that a connection has gone, but not whose: all are probed. */
static void probe_soon(sc_node *self)
{
    uint64_t now_ns = sc_node_now(self), earliest_ns = self->probed_ns + probe_pauses_ms[0] * 1000000u;
    self->n_probes = 0;
    self->probe_ns = now_ns > earliest_ns ? now_ns : earliest_ns;
}

void sc_node_follow_router(sc_node *self)
{
    sc_link_event_t event;
    while (sc_link_event(self->router_monitor, &event))
        switch (event.number) {
        case ZMQ_EVENT_ACCEPTED:
            sc_door_accepted(&self->door, (int)event.value, sc_node_now(self), self->bound);
            break;
        case ZMQ_EVENT_DISCONNECTED:
            sc_door_closed(&self->door, (int)event.value);
            probe_soon(self);
            break;
        case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
            self->counters.unknown_keys++;
            break;
        case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self->counters.without_keys += event.value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH;
            self->counters.wrong_server_keys += event.value == ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC;
            break;
        }
}

/* Sends each accepted peer a Hello that wants no reply; the ROUTER refuses one to a routing id that it has no more. */
static void probe(sc_node *self)
{
    self->probed_ns = sc_node_now(self);
    self->n_probes++;
    self->probe_ns =
        self->n_probes < N_PROBES ? self->probed_ns + probe_pauses_ms[self->n_probes] * 1000000u : UINT64_MAX;
    for (size_t i = 0; i < self->n_peers; i++) {
        sc_peer *peer = self->peers[i];
        if (!peer->dead && !peer->endpoint && peer->connected && peer->incarnation != 0)
            sc_peer_hello(peer, false);
    }
}

static void tell_lost(sc_node *self)
{
    self->any_lost = false;
    for (size_t i = 0; i < self->n_peers; i++) {
        sc_peer *peer = self->peers[i];
        if (peer->dead || !peer->lost)
            continue;
        peer->lost = false;
        SC_DEBUG("%s: the connection to %s is gone", self->name, sc_peer_name(peer));
        if (self->options.on_lost)
            self->options.on_lost(self->options.context, peer);
    }
}

/* ---- time ---------------------------------------------------------------------------------------------------------- */

uint64_t sc_node_tick_connections(sc_node *self)
{
    if (self->probe_ns <= sc_node_now(self))
        probe(self);
    if (self->any_lost)
        tell_lost(self);
    if (self->gate && sc_gate_watch(self->gate))
        cut_off_revoked(self);
    uint64_t next_ns = self->probe_ns;
    for (size_t i = 0; i < self->n_peers; i++) {
        uint64_t redial_ns = redial(self->peers[i]);
        next_ns = redial_ns < next_ns ? redial_ns : next_ns;
    }
    return next_ns;
}
