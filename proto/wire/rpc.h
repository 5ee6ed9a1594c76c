/* Calls without sockets: the table of calls that this node has made to one peer, the memory of those that the peer has
 * made to this node, and the dispatch of a request to a service. The time is passed in. Thread: its owner's.
 *
 * A call that is made     waiting --reply | deadline | peer lost--> ended (its `done` runs once)
 *                         While it waits its request is sent again when due: after resend_ns, then after twice the wait
 *                         each time, up to eight times it; at once after a reconnect. One with a payload is sent once
 *                         over each connection, which loses nothing while it stands, and so is a reply with one: on a
 *                         slow connection they would only queue behind themselves.
 * A call that is served   open --answer--> answered --a request that no longer counts it as open--> forgotten
 *                         A repetition of an open call is ignored, of an answered one gets the same reply. */
#ifndef SC_RPC_H
#define SC_RPC_H

#include "proto/wire/frame.h"

enum {
    SC_RPC_MAX_OPEN = 1024,                /* calls of one peer, open or answered, that are remembered */
    SC_RPC_REPLY_BYTES = 64 * 1024 * 1024, /* replies kept for one peer; beyond it the oldest go */
};

/* ---- made ---------------------------------------------------------------------------------------------------------- */

typedef struct sc_made_call {
    struct sc_made_call *next;
    uint64_t id;
    const ProtobufCServiceDescriptor *service;
    const ProtobufCMethodDescriptor *method;
    void *request; /* packed */
    size_t request_bytes;
    sc_buffer *payload;    /* NULL if none */
    uint64_t payload_xxh3; /* 0: not made yet */
    uint64_t generation;
    uint32_t deadline_ms;
    uint64_t deadline_ns, next_ns, wait_ns;
    uint32_t n_sent;
    uint64_t connection; /* of the peer's, that it was sent over the last time */
    sc_result_fn done;
    void *context;
} sc_made_call;

typedef struct sc_made_calls {
    sc_made_call *first, *last; /* by id */
} sc_made_calls;

/* Packs the request. Takes `payload`, also on an error. Errors: SC_INVALID (no such method, request of another type or
 * too large, no deadline), SC_RESOURCE_EXHAUSTED. */
sc_status sc_made_calls_add(sc_made_calls *self, uint64_t id, const ProtobufCServiceDescriptor *service,
                            const char *method, const ProtobufCMessage *request, sc_buffer *payload,
                            uint32_t deadline_ms, uint64_t now_ns, sc_made_call **out);
sc_made_call *sc_made_calls_find(const sc_made_calls *self, uint64_t id);
/* Behind those with smaller ids; takes it. */
void sc_made_calls_append(sc_made_calls *self, sc_made_call *call);
/* Out of the table; the caller owns it. */
void sc_made_calls_unlink(sc_made_calls *self, sc_made_call *call);
void sc_made_call_destroy(sc_made_call **self_p);
/* It was sent, or could not be: when next. */
void sc_made_call_sent(sc_made_call *self, uint64_t now_ns, uint64_t resend_ns);
/* The first whose deadline has passed; the first that is to be sent; NULL if there is none. */
sc_made_call *sc_made_calls_expired(const sc_made_calls *self, uint64_t now_ns);
sc_made_call *sc_made_calls_due(const sc_made_calls *self, uint64_t now_ns);
/* The ids of all, at most n_max, and the highest. Returns their number. */
size_t sc_made_calls_open(const sc_made_calls *self, uint64_t *ids, size_t n_max, uint64_t *last_id);
uint64_t sc_made_calls_next_ns(const sc_made_calls *self); /* UINT64_MAX if there is none */
void sc_made_calls_reconnected(sc_made_calls *self, uint64_t now_ns);

/* ---- served -------------------------------------------------------------------------------------------------------- */

typedef struct sc_served_call {
    uint64_t id;
    bool answered, let_go; /* let_go: the reply was dropped to save memory */
    sc_status status;
    char *message; /* NULL: none */
    void *reply;   /* packed; NULL if status is not SC_OK */
    size_t reply_bytes;
    sc_buffer *payload;
    uint64_t payload_xxh3; /* 0: not made yet */
    uint64_t connection;   /* of the peer's, that the reply was sent over the last time */
} sc_served_call;

typedef struct sc_served_calls {
    sc_served_call *calls; /* in order of arrival */
    size_t n, n_allocated;
    uint64_t last_id; /* the caller's word: of the ids up to this one all calls have ended but those in `open` */
    uint64_t *open;
    size_t n_open;
    uint64_t reply_bytes;
} sc_served_calls;

void sc_served_calls_clear(sc_served_calls *self);
/* The caller's word of which calls have not ended; older words than the newest are passed over. Forgets the others: a call
 * that takes long, as the writing of a shard, keeps no reply of those behind it. */
void sc_served_calls_learn(sc_served_calls *self, uint64_t last_id, const uint64_t *open, size_t n_open);
/* Whether the caller has said that the call has ended. */
bool sc_served_calls_has_ended(const sc_served_calls *self, uint64_t id);
/* NULL if not remembered. Valid until the next add, forget or answer. */
sc_served_call *sc_served_calls_find(const sc_served_calls *self, uint64_t id);
/* Errors: SC_RESOURCE_EXHAUSTED (SC_RPC_MAX_OPEN are remembered, or no memory). */
sc_status sc_served_calls_add(sc_served_calls *self, uint64_t id);
/* Stores the answer and returns it, NULL if the call is not remembered. `reply` NULL: status is not SC_OK. Takes
 * `payload`. A reply that cannot be packed or kept becomes an error. */
sc_served_call *sc_served_calls_answer(sc_served_calls *self, uint64_t id, sc_status status, const char *message,
                                       const ProtobufCMessage *reply, sc_buffer *payload);

/* ---- dispatch ------------------------------------------------------------------------------------------------------ */

typedef struct sc_offer {
    ProtobufCService *service; /* borrowed */
    void *context;
    const sc_peer *caller; /* who alone may call it; NULL: anybody */
} sc_offer;

/* Finds "stagecoach.v1.Coordinator/Join". Errors: SC_UNIMPLEMENTED. */
sc_status sc_rpc_find(const sc_offer *offers, size_t n_offers, const char *method, const sc_offer **offer,
                      unsigned *index);
/* Unpacks the request and invokes the method. Errors (then it was not invoked): SC_INVALID. */
sc_status sc_rpc_invoke(const sc_offer *offer, unsigned index, const void *request, size_t request_bytes,
                        ProtobufCClosure closure, void *closure_data);

#endif
