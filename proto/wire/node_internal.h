/* What the files of the node share: the node and its peers. */
#ifndef SC_NODE_INTERNAL_H
#define SC_NODE_INTERNAL_H

#include "proto/base/log.h"
#include "proto/wire/door.h"
#include "proto/wire/gate.h"
#include "proto/wire/inbox.h"
#include "proto/wire/link.h"
#include "proto/wire/outbox.h"
#include "proto/wire/rpc.h"

enum {
    SC_NODE_MAX_PEERS = 4096, /* bounds what strangers can make us remember */
    SC_NODE_MAX_OFFERS = 16,  /* services */
    SC_PEER_MAX_ACKS = 256,   /* gathered into one Ack; at most SC_FRAME_MAX_NAMES */
};

struct sc_call {
    sc_call *previous, *next; /* in the node's list: it lives until it is answered, whatever becomes of the peer */
    sc_peer *peer;            /* a reference */
    uint64_t id, generation;
    void *context;
    sc_buffer *payload, *reply_payload;
};

struct sc_peer {
    sc_node *node;
    unsigned refs;  /* the node's own, and one for each open call */
    bool dead;      /* dropped: swept at the next poll */
    char *endpoint; /* that was connected to; NULL for one that came to our ROUTER */
    char *name;
    void *context;
    uint64_t incarnation; /* 0 before its Hello */
    uint64_t heard_ns;
    bool version_logged; /* it was logged that it speaks another version */

    zsock_t *socket; /* its own DEALER, or the node's ROUTER (borrowed) */
    zsock_t *monitor;
    unsigned char route[SC_ROUTE_BYTES]; /* on the ROUTER */
    size_t route_bytes;
    uint32_t connection; /* counts; see Hello */
    bool connected;
    bool lost;          /* on_lost is still to be called for it */
    sc_public_key key;  /* "": plaintext */
    int fd;             /* on the ROUTER: the last connection that it was heard on */
    uint64_t redial_ns; /* DEALER: libzmq has given up, connect again then; 0: it has not */
    uint32_t redial_pause_ms;
    bool introduced;          /* DEALER: Hello was answered on this connection */
    uint64_t hello_ns;        /* DEALER: when to say Hello again, if not introduced */
    uint64_t reintroduced_ns; /* when it last wanted to know who we are */
    uint64_t connections;     /* that have stood so far: what was sent over another one may be lost */
    bool distrusted;          /* something came damaged: both sides are to repeat what matters */
    uint64_t retry_ns;        /* pending tensors could not be sent: try again then */

    bool same_host;
    bool reads_ours;         /* it has opened this node's memory */
    sc_shared_view *view;    /* of its memory; NULL: none */
    uint64_t refused_cookie; /* of a memory of its that could not be opened: it is not tried again */

    sc_made_calls made;
    sc_served_calls served;
    sc_outbox outbox;
    sc_inbox inbox;
    sc_tensor_name acks[SC_PEER_MAX_ACKS];
    size_t n_acks;
};

typedef struct sc_watch {
    int fd;
    void (*readable)(void *context, int fd); /* NULL: removed */
    void *context;
} sc_watch;

struct sc_node {
    sc_node_options options;
    char *name;
    uint64_t incarnation, generation;
    uint64_t resend_ns;
    bool sharing;
    sc_node_counters counters;
    sc_node_keys keys; /* public_key "": plaintext */
    char *allowed_dir;
    sc_gate *gate; /* NULL: plaintext, or not bound */
    sc_door door;
    zsock_t *router, *router_monitor; /* NULL until bound */
    sc_log_limit odd_versions;
    bool any_lost;                /* some peer is `lost` */
    size_t n_probes;              /* since a connection to the ROUTER went; see probe in connection.c */
    uint64_t probe_ns, probed_ns; /* when the next is due, UINT64_MAX: none; when the last was */
    char bound[256];
    int wake_fd;
    sc_peer **peers;
    size_t n_peers, n_peers_allocated;
    sc_peer *last_heard; /* the ROUTER's last sender: the next is often the same */
    sc_offer offers[SC_NODE_MAX_OFFERS];
    size_t n_offers;
    sc_watch *watches;
    size_t n_watches;
    zmq_pollitem_t *items;
    size_t n_items_allocated;
    sc_call *open_calls;
    uint64_t next_call_id;
    uint32_t n_sockets; /* DEALERs so far: tells their routes apart */
};

static inline uint64_t sc_node_now(const sc_node *self)
{
    return sc_clock_ns(&self->options.clock);
}

/* ---- payload.c ----------------------------------------------------------------------------------------------------- */

/* How a payload travels to a peer. */
typedef struct sc_carriage {
    sc_buffer *frame;                  /* NULL: in none. Borrowed */
    uint64_t xxh3;                     /* for the header; 0: not hashed */
    bool shared;                       /* the peer reads it, */
    Stagecoach__V1__SharedBytes place; /* here: for the header */
} sc_carriage;

/* `payload` NULL: there is none. Its hash is made at most once: it is kept in *known_xxh3, 0 until then. */
void sc_peer_carry(const sc_peer *peer, sc_buffer *payload, uint64_t *known_xxh3, sc_carriage *out);
/* Takes the payload of a message, from the place in the peer's memory that the header names, or else from the frame.
 * *out is owned. Errors: SC_DATA_LOSS (damaged), SC_ABORTED (the sender has let it go), SC_INVALID (no such place),
 * SC_FAILED_PRECONDITION (the peer's memory is not open here), SC_RESOURCE_EXHAUSTED. */
sc_status sc_peer_fetch(sc_peer *peer, sc_incoming *message, size_t frame, const Stagecoach__V1__SharedBytes *shared,
                        uint64_t xxh3, sc_buffer **out);
/* What the peer's Hello says of hosts and memories. True: its memory was opened, of which it is to be told. */
bool sc_peer_look(sc_peer *peer, const Stagecoach__V1__Hello *hello);

/* ---- peer.c -------------------------------------------------------------------------------------------------------- */

/* A peer in the node's list; a stranger may take the place of one that nobody uses.
 * Errors: SC_RESOURCE_EXHAUSTED (no memory, too many peers). */
sc_status sc_peer_new(sc_node *node, bool stranger, sc_peer **out);
sc_peer *sc_peer_find_route(sc_node *node, const void *route, size_t route_bytes);
/* Ends its calls with `status` and `why`, forgets its tensors and what it called. */
void sc_peer_reset(sc_peer *peer, sc_status status, const char *why);
/* Another process answers in its place. Calls that were sent to the one before end with SC_UNAVAILABLE; what has not been sent
 * may be meant for this one, and tensors are fenced by their generation: both stay. */
void sc_peer_restarted(sc_peer *peer);
void sc_peer_unref(sc_peer *peer);
/* Takes the dead out of the node's list. */
void sc_node_sweep(sc_node *node);
/* Sends `header` with the protocol's version filled in. `carriage` NULL: there is no payload. */
bool sc_peer_put(sc_peer *peer, sc_envelope *header, const void *body, size_t body_bytes, const sc_carriage *carriage);
void sc_peer_hello(sc_peer *peer, bool reply_wanted);
/* Whether calls and tensors may go to it: it is connected and, if this side connected, has said who it is on this connection.
 * What was meant for a process that is gone must not reach its successor, which may act on it. */
bool sc_peer_is_ready(const sc_peer *peer);
/* A connection stands, anew: what may be lost is sent and asked for again. */
void sc_peer_reconnected(sc_peer *peer);
/* Something came damaged: as after a reconnect, but not more often than each resend_ns. */
void sc_peer_distrust(sc_peer *peer);
/* What the other side says of tensors: Ack, Resend, Sent. */
typedef enum sc_naming { SC_NAMING_ACK, SC_NAMING_RESEND, SC_NAMING_LOST, SC_NAMING_SENT } sc_naming;
/* At most SC_PEER_MAX_ACKS. */
bool sc_peer_send_names(sc_peer *peer, sc_naming naming, const sc_tensor_name *names, size_t n);
/* The connection is gone; the node's next turn tells. */
void sc_peer_disconnected(sc_peer *peer);
/* Sends what is pending, due or gathered; ends calls whose deadline has passed. */
void sc_peer_tick(sc_peer *peer);
void sc_peer_flush_acks(sc_peer *peer);
/* Nothing is due before: UINT64_MAX if never. */
uint64_t sc_peer_next_ns(const sc_peer *peer);

/* ---- connection.c -------------------------------------------------------------------------------------------------- */

/* What the monitors say. */
void sc_node_follow_router(sc_node *node);
void sc_peer_follow(sc_peer *peer);
/* Does what is due for the connections, and calls on_lost; returns when the next is. */
uint64_t sc_node_tick_connections(sc_node *node);

/* ---- call.c -------------------------------------------------------------------------------------------------------- */

void sc_peer_take_request(sc_peer *peer, const Stagecoach__V1__Request *request, sc_incoming *message);
void sc_peer_take_reply(sc_peer *peer, const Stagecoach__V1__Reply *reply, sc_incoming *message);
/* Calls `done` and destroys. */
void sc_peer_end_call(sc_peer *peer, sc_made_call *call, const sc_result *result);
void sc_peer_send_call(sc_peer *peer, sc_made_call *call);
/* Frees without an answer. */
void sc_call_destroy(sc_call *call);

/* ---- receive.c ----------------------------------------------------------------------------------------------------- */

/* Handles one message that came from `peer`, or, if that is NULL, from the ROUTER. Clears it. */
void sc_node_receive(sc_node *node, sc_peer *peer, sc_incoming *message);

#endif
