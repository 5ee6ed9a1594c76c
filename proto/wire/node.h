/* A node: one event loop with everything that a process says to others.
 *
 * Mental model. A node has at most one bound ROUTER socket and any number of DEALER connections to other nodes.
 * Whatever is at the other end is a peer, and a peer is a peer whoever opened the connection: calls and tensors go both
 * ways over it. The coordinator's node binds; a worker's node connects to the coordinator, binds its data endpoint, and
 * connects to the neighbours of higher rank.
 *
 *   calls     protobuf-c services. sc_node_serve offers one, dispatched by its generated descriptor; sc_peer_call calls a
 *             method of the other side's. Every call has a deadline and ends exactly once: with the reply, or with a
 *             status. A call without a reply is repeated under the same id after resend_ms, then after twice the wait
 *             each time up to eight times it, and at once after a reconnect; the other side executes an id once and
 *             repeats its reply.
 *   tensors   header frame + raw payload frame, no copy into libzmq; or, between two processes of one host, a header that
 *             says where the payload lies in the sender's memory (shared_memory.h), whatever the endpoint. The sender keeps
 *             a tensor until it is acknowledged or released, and repeats it after a reconnect; the receiver acknowledges,
 *             drops duplicates by name, and asks again, at the same pace, for what it is told to expect and does not get
 *             within resend_ms.
 *   keys      with sc_node_options.keys every connection is encrypted and both sides are who they say (CURVE): those that
 *             come must be on a list, those that are gone to must have the key that is expected. A key that is taken off
 *             the list is cut off.
 *   fence     a tensor, or a request bound to a generation, of another generation than the node's is dropped, counted
 *             and (for a request) answered FAILED_PRECONDITION.
 *
 * Invariants:
 *  1. One thread owns a node and everything that hangs on it; sc_node_wake alone may be called from any thread.
 *  2. A handler or callback may call anything but sc_node_destroy and sc_node_poll.
 *  3. Any byte string from outside ends in a counted rejection (and an error reply where there is somebody to answer):
 *     never in an abort, a leak or unbounded memory.
 *  4. A peer that breaks the protocol loses its message, not the node. */
#ifndef SC_NODE_H
#define SC_NODE_H

#include "proto/base/clock.h"
#include "proto/base/tensor.h"
#include "proto/wire/buffer.h"
#include "proto/wire/keys.h"
#include "proto/wire/shared_memory.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

enum {
    SC_PROTOCOL_VERSION = 1,
    SC_RECONNECT_MS = 100,      /* a connection that broke is tried again after so long, */
    SC_RECONNECT_MAX_MS = 2000, /* and then after twice the wait each time, up to this */
};

typedef struct sc_node sc_node;
typedef struct sc_peer sc_peer;

/* A tensor's name on the wire; see TensorName in stagecoach.proto. */
typedef struct sc_tensor_name {
    uint64_t generation, step;
    uint32_t microbatch, stage, kind, part;
} sc_tensor_name;

/* A tensor that arrived. `payload` holds the bytes, shape and dtype agree with its size. It is aligned to 8 and no more:
 * it is the memory that libzmq received into, which starts 8 bytes past a multiple of 16. */
typedef struct sc_tensor_message {
    sc_tensor_name name;
    sc_dtype dtype;
    sc_shape shape;
    sc_buffer *payload; /* owned by the message */
} sc_tensor_message;
void sc_tensor_message_clear(sc_tensor_message *message);

typedef struct sc_node_counters {
    uint64_t messages_in, messages_out, bytes_in, bytes_out; /* bytes of payload */
    uint64_t shared_in, shared_out;                          /* of these, through shared memory */
    uint64_t rejected;                                       /* malformed or over a limit */
    uint64_t fenced;                                         /* of another generation, or taken back by the sender */
    uint64_t duplicates;                                     /* tensors that had arrived before */
    uint64_t resends;                                        /* tensors asked for again by this node */
    uint64_t repeated;                                       /* tensors and calls sent again */
    uint64_t odd_versions;                                   /* of `rejected`: of another protocol version */
    /* Connections to the bound socket that were turned away, by reason. */
    uint64_t unknown_keys;      /* not on the list */
    uint64_t without_keys;      /* plaintext, where keys are wanted; or the reverse */
    uint64_t wrong_server_keys; /* meant for somebody else: encrypted for another key than this node's */
    uint64_t no_handshakes;     /* silent, cut short or no ZMTP, */
    uint64_t crowded;           /* and closed by us to make room, of these */
    uint64_t revoked;           /* peers that were cut off, and messages of theirs that still came */
} sc_node_counters;

/* How this node proves who it is, and whom it trusts. */
typedef struct sc_node_keys {
    sc_public_key public_key;
    char secret_key[SC_KEY_TEXT];
    sc_public_key server; /* whom sc_node_connect expects at the other end; "": nobody, sc_node_connect_to names it */
    /* Who may come: the .pub files of this directory, read again within a second of a change; copied. NULL: nobody until
     * sc_node_allow, and then a stranger is kept waiting for a moment, for the list may be under way. */
    const char *allowed_dir;
} sc_node_keys;

/* Why the other side of a connection that this node opened did not let it in. */
typedef enum sc_refusal {
    SC_REFUSED_KEY,       /* our key is not on its list; it said so */
    SC_REFUSED_MECHANISM, /* one side uses keys, the other none */
    SC_REFUSED_SILENTLY, /* it closed the connection, or did not speak: it has another key than we expect, does not let us
                           * in yet, died meanwhile, or is something else altogether */
} sc_refusal;

typedef struct sc_node_options {
    const char *name; /* for people, copied: "coordinator" */
    sc_clock clock;
    uint64_t run;       /* tensors of another run are rejected; 0 accepts any until sc_node_set_run */
    uint32_t resend_ms; /* see above; not 0 */
    /* TCP's: after so long without traffic the kernel asks whether the other end is there. A connection on which it acknowledges
     * nothing for four of them (a second each at least) is closed: a network fell silent. However long a message takes on a slow
     * one, it is not. 0: none. */
    uint32_t heartbeat_ms;
    uint64_t max_message_bytes; /* ZMQ_MAXMSGSIZE: a longer frame costs its sender the connection */
    /* Payloads whose buffers are of this memory do not travel to peers on the same host that have such memory too: these
     * read them there. Borrowed while the node lives. NULL: all payloads travel. */
    sc_shared_memory *memory;
    void *context; /* for the callbacks */
    /* Takes the message. NULL: tensors are rejected. */
    void (*on_tensor)(void *context, sc_peer *peer, sc_tensor_message *message);
    /* A peer said Hello (again after a restart: another incarnation). NULL to ignore. */
    void (*on_peer)(void *context, sc_peer *peer);
    /* The connection to a peer that had said Hello is gone, from either side: milliseconds after its process died or its
     * socket was closed; four heartbeats after a machine or a network fell silent. NULL to ignore.
     * That is news, not a verdict. Nothing is dropped: calls keep their deadlines, tensors are kept, and all of it is sent
     * again when the connection stands anew, which a peer that lives sees to within SC_RECONNECT_MAX_MS; from then on
     * sc_peer_connected is true again (on_peer is called only if it has restarted). Called once for each connection, and
     * not at all for one that was replaced before the loss was seen. The peer may be dropped in the callback. */
    void (*on_lost)(void *context, sc_peer *peer);
    /* A peer asks for a tensor of the present generation that this node does not keep for it (any more, or yet): whoever
     * has it may send it. NULL to ignore. */
    void (*on_ask)(void *context, sc_peer *peer, const sc_tensor_name *name);
    /* A peer's key was taken off the list: it is cut off, and dropped after the callback. NULL to ignore. */
    void (*on_revoked)(void *context, sc_peer *peer);
    /* One attempt to connect to `peer` was refused. Another follows, as after any cut connection. NULL to ignore. */
    void (*on_refused)(void *context, sc_peer *peer, sc_refusal why);
    const sc_node_keys *keys; /* copied; NULL: plaintext */
} sc_node_options;

/* The whole process: czmq's signal handling is off from here on (the program owns its signals), malloc keeps freed memory
 * instead of giving it back to the kernel, and as many descriptors may be open as the system allows, up to 65536.
 * Returns owned. Errors: SC_INVALID (options), SC_INTERNAL (no descriptor). */
sc_status sc_node_new(const sc_node_options *options, sc_node **out);
/* Closes sockets without lingering longer than linger_ms for what is queued. Logs what was turned away, if anything was. */
void sc_node_destroy(sc_node **self_p, int linger_ms);

uint64_t sc_node_incarnation(const sc_node *self);
void sc_node_set_run(sc_node *self, uint64_t run);
/* Raises the fence: forgets all kept, expected and remembered tensors of other generations. */
void sc_node_set_generation(sc_node *self, uint64_t generation);
uint64_t sc_node_generation(const sc_node *self);
/* Whether payloads that a peer could read in options.memory are left there; they are at first. */
void sc_node_set_sharing(sc_node *self, bool sharing);
sc_node_counters sc_node_count(const sc_node *self);

/* "tcp://127.0.0.1:*", "ipc:///run/x". *bound, valid while the node lives, is the real endpoint.
 * Errors: SC_INVALID (not an endpoint), SC_ALREADY_EXISTS (in use), SC_PERMISSION_DENIED; with keys, those of
 * sc_allow_list_load. At most one. */
sc_status sc_node_bind(sc_node *self, const char *endpoint, const char **bound);
/* Does not wait: a peer that is not there yet will be. The node owns the peer. The same endpoint gives the same peer.
 */
sc_status sc_node_connect(sc_node *self, const char *endpoint, sc_peer **out);
/* The same to a node whose key is `server`; NULL: as sc_node_connect. The same endpoint and key give the same peer.
 * Errors: SC_FAILED_PRECONDITION if this node has no keys, or it is not known which to expect. */
sc_status sc_node_connect_to(sc_node *self, const char *endpoint, const sc_public_key *server, sc_peer **out);
/* From now on these keys may come, and nobody else. Errors: SC_FAILED_PRECONDITION (not bound, or without keys),
 * SC_RESOURCE_EXHAUSTED. */
sc_status sc_node_allow(sc_node *self, const sc_public_key *keys, size_t n);
/* Closes one connection; its calls end with SC_UNAVAILABLE. Do not use the peer again. */
void sc_node_disconnect(sc_node *self, sc_peer *peer);

/* Offers a service; the node borrows it (a static with the generated _INIT macro). `context` reaches the handlers
 * through sc_call_context. Errors: SC_ALREADY_EXISTS. */
sc_status sc_node_serve(sc_node *self, ProtobufCService *service, void *context);
/* From now on `caller`, a peer that this node has connected to, alone may call the service: anybody else's calls are
 * rejected, counted and answered PERMISSION_DENIED. */
void sc_node_serve_only(sc_node *self, const ProtobufCService *service, const sc_peer *caller);

/* ---- the loop ------------------------------------------------------------------------------------------------------
 */

/* Waits up to timeout_ms (-1: until something happens), handles what came, repeats what is due. Returns SC_OK also when
 * nothing came or a signal interrupted. Errors: SC_UNAVAILABLE if the context was terminated. */
sc_status sc_node_poll(sc_node *self, int timeout_ms);
/* Makes a sc_node_poll in progress (or the next) return soon. Thread: any. */
void sc_node_wake(sc_node *self);
/* Calls back while `fd` is readable. One callback an fd; NULL removes. */
sc_status sc_node_watch(sc_node *self, int fd, void (*readable)(void *context, int fd), void *context);

/* ---- peers ---------------------------------------------------------------------------------------------------------
 */

const char *sc_peer_name(const sc_peer *peer);     /* from its Hello; the endpoint before */
uint64_t sc_peer_incarnation(const sc_peer *peer); /* 0 before its Hello */
/* Its public key, proven by its connection; "" without keys. */
const char *sc_peer_key(const sc_peer *peer);
/* Whether a connection to it stands, as far as is known (see on_lost). */
bool sc_peer_connected(const sc_peer *peer);
/* Milliseconds since anything came from it. */
uint64_t sc_peer_silent_ms(const sc_peer *peer);
/* The latest that came to this node under that incarnation; NULL: none. */
sc_peer *sc_node_find_peer(const sc_node *self, uint64_t incarnation);
void sc_peer_set_context(sc_peer *peer, void *context);
void *sc_peer_context(const sc_peer *peer);
/* Ends all calls to it with SC_UNAVAILABLE and `why`, forgets its tensors. A peer that connected to us is gone: do not use
 * the pointer again; a later message of it makes a new peer. One that we connected to stays and says Hello again. A peer
 * that came to us lives until it is dropped, however long it is silent; only when there are 4096 does one without a
 * context (sc_peer_set_context) and without calls make room for a newcomer. */
void sc_peer_drop(sc_peer *peer, const char *why);

/* ---- calls ---------------------------------------------------------------------------------------------------------
 */

/* What comes back from a call. Valid during the callback only. */
typedef struct sc_result {
    sc_status status;
    const char *message;           /* "" if status is SC_OK */
    const ProtobufCMessage *reply; /* NULL unless SC_OK */
    sc_buffer *payload;            /* NULL if there was none; sc_buffer_ref to keep it */
} sc_result;
typedef void (*sc_result_fn)(void *context, sc_peer *peer, const sc_result *result);

/* Calls `method` ("RunStep") of `service` at the peer. Borrows `request`; takes `payload` (may be NULL). `done` is
 * called exactly once, from sc_node_poll, sc_peer_drop, sc_node_disconnect or sc_node_destroy, never from inside
 * sc_peer_call; NULL if nobody cares. Errors (then `done` is not called): SC_INVALID for a method that the service lacks,
 * a request of another type, a deadline of 0; SC_UNAVAILABLE for a peer that was dropped. */
sc_status sc_peer_call(sc_peer *peer, const ProtobufCServiceDescriptor *service, const char *method,
                       const ProtobufCMessage *request, sc_buffer *payload, uint64_t generation, uint32_t deadline_ms,
                       sc_result_fn done, void *context);

/* In a service's handler the request is valid until it returns, and `closure_data` is the call; it may be answered later, from any callback of the node, once:
 * by the closure (closure (&reply, closure_data)), which packs the reply, or by sc_call_fail. */
typedef struct sc_call sc_call;
sc_call *sc_call_of(void *closure_data);
void *sc_call_context(const sc_call *call); /* as given to sc_node_serve */
sc_peer *sc_call_peer(const sc_call *call);
uint64_t sc_call_generation(const sc_call *call);
sc_buffer *sc_call_payload(const sc_call *call); /* borrowed; NULL if none */
/* Attaches the reply's payload before the closure is called. Takes it. */
void sc_call_set_payload(sc_call *call, sc_buffer *payload);
void sc_call_fail(sc_call *call, sc_status status, const char *message);

/* ---- tensors -------------------------------------------------------------------------------------------------------
 */

/* Sends and keeps until acknowledged. Takes a reference of its own to `payload`; its bytes must not change until then.
 * Never blocks. Errors: SC_INVALID if dtype x shape is not the payload's size. */
sc_status sc_peer_send(sc_peer *peer, const sc_tensor_name *name, sc_dtype dtype, const sc_shape *shape,
                       sc_buffer *payload);
/* `name` is awaited from this peer: asked for again each resend_ms until it comes. */
void sc_peer_expect(sc_peer *peer, const sc_tensor_name *name);
/* The same, and it is asked for at once: the peer has it, but does not send it by itself. */
void sc_peer_ask(sc_peer *peer, const sc_tensor_name *name);
/* Everything of steps before `step` has been consumed: kept copies are let go, names forgotten. */
void sc_node_release_before(sc_node *self, uint64_t step);
/* Bytes kept for unacknowledged tensors. */
uint64_t sc_node_kept_bytes(const sc_node *self);

#endif
