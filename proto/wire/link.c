#include "proto/wire/link.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BACKLOG = 512,       /* connections that wait to be accepted: a cluster that starts at once */
    HANDSHAKE_MS = 5000, /* who has not shaken hands by then is cut off */
};

/* In zmq.h these stand among the drafts, though libzmq 4.3 has them in any build. */
#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
#define ZMQ_ZAP_ENFORCE_DOMAIN 93
#endif
#ifndef ZMQ_MSG_PROPERTY_USER_ID
#define ZMQ_MSG_PROPERTY_USER_ID "User-Id"
#endif

static sc_status set_keys(zsock_t *socket, const sc_link_keys *keys)
{
    void *handle = zsock_resolve(socket);
    int one = 1, rc;
    rc = zmq_setsockopt(handle, ZMQ_CURVE_PUBLICKEY, keys->public_key, SC_KEY_TEXT);
    rc = rc == 0 ? zmq_setsockopt(handle, ZMQ_CURVE_SECRETKEY, keys->secret_key, SC_KEY_TEXT) : rc;
    if (zsock_type(socket) == ZMQ_ROUTER) {
        /* libzmq lets every key in where nobody answers for the domain, unless that is enforced. */
        rc = rc == 0 ? zmq_setsockopt(handle, ZMQ_CURVE_SERVER, &one, sizeof one) : rc;
        rc = rc == 0 ? zmq_setsockopt(handle, ZMQ_ZAP_DOMAIN, keys->domain, strlen(keys->domain)) : rc;
        rc = rc == 0 ? zmq_setsockopt(handle, ZMQ_ZAP_ENFORCE_DOMAIN, &one, sizeof one) : rc;
    } else {
        rc = rc == 0 ? zmq_setsockopt(handle, ZMQ_CURVE_SERVERKEY, keys->server_key, SC_KEY_TEXT) : rc;
    }
    if (rc != 0)
        return SC_FAIL(SC_UNIMPLEMENTED, "a socket takes no keys: %s; was libzmq built with CURVE?",
                       zmq_strerror(zmq_errno()));
    return SC_OK;
}

sc_status sc_link_new(int type, const sc_node_options *options, const sc_link_keys *keys, const void *route,
                      size_t route_bytes, zsock_t **out)
{
    zsock_t *socket = zsock_new(type);
    if (!socket)
        return SC_FAIL(SC_INTERNAL, "no ZeroMQ socket: %s", zmq_strerror(zmq_errno()));
    /* Queues have no high-water mark: it counts messages, not bytes, and a full queue could not take an acknowledgement.
     * What may be in flight is bounded by the plan on this side, by sc_inbox and SC_RPC_MAX_OPEN on the other. */
    zsock_set_sndhwm(socket, 0);
    zsock_set_rcvhwm(socket, 0);
    zsock_set_linger(socket, 0);
    zsock_set_ipv6(socket, 1);
    zsock_set_sndtimeo(socket, 0);
    zsock_set_rcvtimeo(socket, 0);
    zsock_set_handshake_ivl(socket, HANDSHAKE_MS);
    int64_t largest = (int64_t)options->max_message_bytes;
    zmq_setsockopt(zsock_resolve(socket), ZMQ_MAXMSGSIZE, &largest, sizeof largest);
    if (options->heartbeat_ms > 0) {
        /* The kernel's heartbeats, not ZMTP's: those wait behind the messages before them, and would close a slow
         * connection in the middle of a large message, each time again. */
        int seconds = (int)(options->heartbeat_ms + 999) / 1000, longest_ms = (int)options->heartbeat_ms * 4;
        zsock_set_tcp_keepalive(socket, 1);
        zsock_set_tcp_keepalive_idle(socket, seconds);
        zsock_set_tcp_keepalive_intvl(socket, seconds);
        zsock_set_tcp_keepalive_cnt(socket, 3);
        zmq_setsockopt(zsock_resolve(socket), ZMQ_TCP_MAXRT, &longest_ms, sizeof longest_ms);
    }
    if (type == ZMQ_ROUTER) {
        zsock_set_backlog(socket, BACKLOG);
        zsock_set_router_mandatory(socket, 1);
        zsock_set_router_handover(socket, 1); /* a peer that reconnects before its old connection is seen to be dead */
    } else {
        zmq_setsockopt(zsock_resolve(socket), ZMQ_ROUTING_ID, route, route_bytes);
        zsock_set_immediate(socket, 1); /* nothing is queued for a connection that does not stand */
        zsock_set_reconnect_ivl(socket, SC_RECONNECT_MS);
        zsock_set_reconnect_ivl_max(socket, SC_RECONNECT_MAX_MS);
    }
    sc_status status = keys ? set_keys(socket, keys) : SC_OK;
    if (status != SC_OK) {
        zsock_destroy(&socket);
        return status;
    }
    *out = socket;
    return SC_OK;
}

sc_status sc_link_monitor(zsock_t *socket, zsock_t **out)
{
    /* Numbered, not named after the socket: a closed one gives its endpoint back late, when another may have its address. */
    static atomic_ullong n_monitors;
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "inproc://stagecoach-monitor-%llu", atomic_fetch_add(&n_monitors, 1));
    zsock_t *monitor = zsock_new(ZMQ_PAIR);
    if (monitor)
        zsock_set_rcvhwm(monitor, 0); /* a full queue would halt libzmq's I/O thread */
    if (!monitor ||
        zmq_socket_monitor(zsock_resolve(socket), endpoint,
                           ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                               ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                               ZMQ_EVENT_DISCONNECTED) != 0 ||
        zmq_connect(zsock_resolve(monitor), endpoint) != 0) {
        sc_status status = SC_FAIL(SC_INTERNAL, "no monitor of a socket: %s", zmq_strerror(zmq_errno()));
        zsock_destroy(&monitor);
        return status;
    }
    zsock_set_linger(monitor, 0);
    *out = monitor;
    return SC_OK;
}

void sc_link_close(zsock_t **socket_p, zsock_t **monitor_p)
{
    if (*monitor_p)
        zmq_socket_monitor(zsock_resolve(*socket_p), NULL, 0);
    zsock_destroy(monitor_p);
    zsock_destroy(socket_p);
}

bool sc_link_event(zsock_t *monitor, sc_link_event_t *out)
{
    void *handle = zsock_resolve(monitor);
    *out = (sc_link_event_t){0};
    for (int part = 0, more = 1; more; part++) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, handle, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&frame);
            return false;
        }
        uint16_t number;
        if (part == 0 && zmq_msg_size(&frame) >= sizeof number + sizeof out->value) {
            memcpy(&number, zmq_msg_data(&frame), sizeof number);
            memcpy(&out->value, (const char *)zmq_msg_data(&frame) + sizeof number, sizeof out->value);
            out->number = number;
        }
        more = zmq_msg_more(&frame);
        zmq_msg_close(&frame);
    }
    return true;
}

void sc_link_redial(zsock_t *socket, const char *endpoint)
{
    zmq_disconnect(zsock_resolve(socket), endpoint); /* what is left of the old attempt, if anything is */
    zmq_connect(zsock_resolve(socket), endpoint);    /* the endpoint is known to be one */
}

/* ---- out ----------------------------------------------------------------------------------------------------------- */

static void let_go(void *data, void *hint)
{
    (void)data;
    sc_buffer *buffer = hint;
    sc_buffer_unref(&buffer);
}

/* Sends a frame, or closes it. */
static bool send_frame(void *handle, zmq_msg_t *frame, bool more)
{
    if (zmq_msg_send(frame, handle, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) >= 0)
        return true;
    zmq_msg_close(frame);
    return false;
}

static bool send_copy(void *handle, const void *bytes, size_t n_bytes, bool more)
{
    zmq_msg_t frame;
    if (zmq_msg_init_size(&frame, n_bytes) != 0)
        return false;
    if (n_bytes > 0)
        memcpy(zmq_msg_data(&frame), bytes, n_bytes);
    return send_frame(handle, &frame, more);
}

static bool send_header(void *handle, const sc_envelope *header, bool more)
{
    zmq_msg_t frame;
    if (zmq_msg_init_size(&frame, stagecoach__v1__envelope__get_packed_size(header)) != 0)
        return false;
    stagecoach__v1__envelope__pack(header, zmq_msg_data(&frame));
    return send_frame(handle, &frame, more);
}

static bool send_payload(void *handle, sc_buffer *payload)
{
    zmq_msg_t frame;
    sc_buffer *reference = sc_buffer_ref(payload);
    if (zmq_msg_init_data(&frame, sc_buffer_data(payload), sc_buffer_bytes(payload), let_go, reference) != 0) {
        sc_buffer_unref(&reference);
        return false;
    }
    return send_frame(handle, &frame, false);
}

bool sc_link_send(zsock_t *socket, const sc_outgoing *message)
{
    void *handle = zsock_resolve(socket);
    bool body = message->body != NULL, payload = message->payload != NULL;
    /* Only the first frame decides: libzmq refuses it whole, or takes all. When a connection dies between two frames it
     * drops the rest, but still wants to be given the last one. */
    bool ok = message->route ? send_copy(handle, message->route, message->route_bytes, true)
                             : send_header(handle, message->header, body || payload);
    if (!ok)
        return false;
    if (message->route)
        ok &= send_header(handle, message->header, body || payload);
    if (body)
        ok &= send_copy(handle, message->body, message->body_bytes, payload);
    if (payload)
        ok &= send_payload(handle, message->payload);
    return ok;
}

/* ---- in ------------------------------------------------------------------------------------------------------------ */

/* libzmq attaches to each frame what it knows of its connection (not always to the routing id, which it makes itself). */
static void note_origin(zmq_msg_t *frame, sc_incoming *message)
{
    const char *user = zmq_msg_gets(frame, ZMQ_MSG_PROPERTY_USER_ID);
    if (user)
        snprintf(message->key, sizeof message->key, "%s", user);
    message->fd = zmq_msg_get(frame, ZMQ_SRCFD);
}

bool sc_link_receive(zsock_t *socket, sc_incoming *message)
{
    void *handle = zsock_resolve(socket);
    message->n_frames = message->total_frames = message->route_bytes = 0;
    message->fd = -1;
    message->key[0] = '\0';
    bool route = zsock_type(socket) == ZMQ_ROUTER, more = true;
    while (more) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, handle, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&frame);
            break; /* a message comes whole: this is before its first frame */
        }
        more = zmq_msg_more(&frame);
        if (route) {
            message->route_bytes = zmq_msg_size(&frame);
            memcpy(message->route, zmq_msg_data(&frame), message->route_bytes);
            route = false;
            zmq_msg_close(&frame);
            continue;
        }
        if (message->total_frames++ == 0 && zsock_type(socket) == ZMQ_ROUTER)
            note_origin(&frame, message);
        if (message->n_frames < SC_FRAME_MAX_FRAMES)
            message->frames[message->n_frames++] = frame;
        else
            zmq_msg_close(&frame);
    }
    return message->total_frames > 0 || message->route_bytes > 0;
}

void sc_incoming_clear(sc_incoming *message)
{
    for (size_t i = 0; i < message->n_frames; i++)
        zmq_msg_close(&message->frames[i]);
    message->n_frames = 0;
}

static void close_frame(void *hint)
{
    zmq_msg_t *frame = hint;
    zmq_msg_close(frame);
    free(frame);
}

sc_status sc_incoming_take(sc_incoming *message, size_t frame, sc_buffer **out)
{
    zmq_msg_t *from = &message->frames[frame];
    size_t bytes = zmq_msg_size(from);
    void *data = zmq_msg_data(from);
    /* A small frame lies in the block that was read from the connection, at any alignment, and would keep it whole. */
    if (bytes < 8192 || (uintptr_t)data % 8 != 0) {
        SC_TRY(sc_buffer_new(bytes, out));
        if (bytes > 0)
            memcpy(sc_buffer_data(*out), data, bytes);
        return SC_OK;
    }
    zmq_msg_t *kept = malloc(sizeof *kept);
    if (!kept)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a message");
    zmq_msg_init(kept);
    zmq_msg_move(kept, from);
    sc_status status = sc_buffer_wrap(zmq_msg_data(kept), bytes, close_frame, kept, out);
    if (status != SC_OK)
        close_frame(kept);
    return status;
}
