/* Sockets: options, whole messages out and in. The only file that sends or receives. Thread: the socket's owner's. */
#ifndef SC_LINK_H
#define SC_LINK_H

#include "proto/wire/frame.h"
#include "proto/wire/keys.h"

#include <czmq.h>

enum { SC_ROUTE_BYTES = 255 }; /* the longest routing id that ZeroMQ has */

/* A message to send; everything is borrowed. */
typedef struct sc_outgoing {
    const void *route; /* on a ROUTER: the peer's routing id */
    size_t route_bytes;
    const sc_envelope *header;
    const void *body; /* NULL: none. It is copied */
    size_t body_bytes;
    sc_buffer *payload; /* NULL: none. libzmq takes a reference and no copy */
} sc_outgoing;

/* What CURVE needs of a socket; all texts are Z85 and borrowed. */
typedef struct sc_link_keys {
    const char *public_key, *secret_key;
    const char *server_key; /* a DEALER's: of the other side */
    const char *domain;     /* a ROUTER's: of the gate that says who may come */
} sc_link_keys;

/* What happened to a connection. */
typedef struct sc_link_event_t {
    int number;     /* ZMQ_EVENT_HANDSHAKE_SUCCEEDED, ZMQ_EVENT_DISCONNECTED, ... */
    uint32_t value; /* a descriptor, a status of ZAP, or a protocol error, after the number */
} sc_link_event_t;

/* A message that came. */
typedef struct sc_incoming {
    int fd;                /* on a ROUTER: of the connection that it came through; -1: unknown */
    char key[SC_KEY_TEXT]; /* on a ROUTER with keys: the sender's, as the gate has seen it; else "" */
    zmq_msg_t frames[SC_FRAME_MAX_FRAMES];
    size_t n_frames;
    size_t total_frames; /* larger if there were too many: the rest is dropped */
    unsigned char route[SC_ROUTE_BYTES];
    size_t route_bytes;
} sc_incoming;

/* A DEALER or ROUTER with the options of `options`; `route` names a DEALER to the other side. `keys` NULL: plaintext.
 * Errors: SC_INTERNAL, SC_UNIMPLEMENTED (a libzmq without CURVE). */
sc_status sc_link_new(int type, const sc_node_options *options, const sc_link_keys *keys, const void *route,
                      size_t route_bytes, zsock_t **out);
/* A PAIR that tells of the socket's connections (sc_link_event). Errors: SC_INTERNAL. */
sc_status sc_link_monitor(zsock_t *socket, zsock_t **out);
/* The next event; false if there is none. Never blocks. */
bool sc_link_event(zsock_t *monitor, sc_link_event_t *out);
/* Connects a DEALER again after libzmq has given up on it: it does, when a handshake breaks the protocol or is refused. */
void sc_link_redial(zsock_t *socket, const char *endpoint);
/* Closes the socket and its monitor (which may be NULL already). */
void sc_link_close(zsock_t **socket_p, zsock_t **monitor_p);

/* Never blocks and sends all frames or none. False: nobody is connected there (or the queue is full). */
bool sc_link_send(zsock_t *socket, const sc_outgoing *message);
/* The next message, whole; false if there is none. Never blocks. *message is to be cleared. */
bool sc_link_receive(zsock_t *socket, sc_incoming *message);
void sc_incoming_clear(sc_incoming *message);
/* The bytes of a frame as a buffer: libzmq's own memory where it is aligned to 8, a copy where it is not. The frame is
 * empty afterwards. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_incoming_take(sc_incoming *message, size_t frame, sc_buffer **out);

#endif
