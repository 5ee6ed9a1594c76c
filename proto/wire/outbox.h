/* What this node has sent to one peer and keeps until it is acknowledged or no longer needed, in the order of sending.
 *
 * A tensor is pending while it has not been handed to libzmq on the peer's present connection: at first, and again after
 * each reconnect, since libzmq loses silently what was in flight. Pure: no sockets, the time is passed in. Thread: its
 * owner's. */
#ifndef SC_OUTBOX_H
#define SC_OUTBOX_H

#include "proto/wire/name_table.h"

typedef struct sc_kept_tensor {
    struct sc_kept_tensor *previous, *next;
    sc_tensor_name name;
    sc_dtype dtype;
    sc_shape shape;
    sc_buffer *payload; /* a reference of its own */
    uint64_t xxh3;      /* 0: not made yet */
    bool pending;
    uint32_t n_sent;
    uint64_t sent_ns; /* the last time */
} sc_kept_tensor;

typedef struct sc_outbox {
    sc_kept_tensor *first, *last;
    sc_name_table names;
    size_t n_pending;
    uint64_t bytes; /* of all payloads */
} sc_outbox;

void sc_outbox_init(sc_outbox *self);
void sc_outbox_clear(sc_outbox *self); /* lets go of everything */

/* Keeps a tensor, pending, with a reference of its own to `payload`; one of the same name is replaced.
 * Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_outbox_put(sc_outbox *self, const sc_tensor_name *name, sc_dtype dtype, const sc_shape *shape,
                        sc_buffer *payload, sc_kept_tensor **out);
/* It has been handed to libzmq. */
void sc_outbox_sent(sc_outbox *self, sc_kept_tensor *tensor, uint64_t now_ns);
void sc_outbox_acknowledge(sc_outbox *self, const sc_tensor_name *name);
/* Whether it is kept. */
bool sc_outbox_has(const sc_outbox *self, const sc_tensor_name *name);
/* The same, and it has been handed to libzmq on the present connection. */
bool sc_outbox_has_sent(const sc_outbox *self, const sc_tensor_name *name);
/* The peer has lost a tensor: it becomes pending, unless it is not here or was sent within the last resend_ns over the
 * same connection, and so is on its way again. */
void sc_outbox_ask(sc_outbox *self, const sc_tensor_name *name, uint64_t now_ns, uint64_t resend_ns);
/* A new connection: all are pending. */
void sc_outbox_reconnected(sc_outbox *self);

void sc_outbox_release_before(sc_outbox *self, uint64_t step);
void sc_outbox_keep_generation(sc_outbox *self, uint64_t generation);

#endif
