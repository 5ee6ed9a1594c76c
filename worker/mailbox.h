/* The mailbox: tensors that have arrived and wait for the executor, by name.
 *
 * Mental model. The network thread puts, the executor waits for one name at a time and takes it out. What the executor
 * hands from one of its stages to another goes through here as well, under the name it would have on the wire.
 *
 * Epochs. A mailbox is opened for a generation and each opening is an epoch, a number that is never used twice. Every
 * call names the epoch it belongs to; opening or closing ends all waits of an earlier one with SC_CANCELLED and drops
 * what lies here. So to cancel whatever the executor does is to close the mailbox, and work that was begun for an
 * earlier assignment cannot touch the present one, not even when a restarted coordinator counts its generations anew.
 *
 * Bounds. It holds as many tensors and bytes as the assignment's plans can have in flight; more is an error of the
 * sender's. All its memory but the payloads is allocated by sc_mailbox_open.
 *
 * Thread: any; one lock. Only sc_mailbox_wait blocks, and only one thread may wait. */
#ifndef SC_MAILBOX_H
#define SC_MAILBOX_H

#include "proto/wire/node.h"

typedef struct sc_mailbox sc_mailbox;

typedef struct sc_mailbox_limits {
    size_t max_messages;
    uint64_t max_bytes; /* of payload */
} sc_mailbox_limits;

/* Returns owned, closed. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_mailbox_new(sc_mailbox **out);
/* Nobody may be waiting. */
void sc_mailbox_destroy(sc_mailbox **self_p);

/* Begins an epoch for `generation`, empty. Errors: SC_RESOURCE_EXHAUSTED (then it is closed). */
sc_status sc_mailbox_open(sc_mailbox *self, uint64_t generation, sc_mailbox_limits limits, uint64_t *epoch);
/* Ends the epoch, without another. */
void sc_mailbox_close(sc_mailbox *self);
/* Whether `epoch` is the present one and open. */
bool sc_mailbox_is_current(sc_mailbox *self, uint64_t epoch);

/* Takes the message, whatever it returns. Errors, each with the message cleared and nothing else changed:
 * SC_CANCELLED (of another epoch), SC_FAILED_PRECONDITION (of another generation), SC_ALREADY_EXISTS (a tensor of this
 * name lies here), SC_OUT_OF_RANGE (of a step that was released), SC_RESOURCE_EXHAUSTED (over a limit). */
sc_status sc_mailbox_put(sc_mailbox *self, uint64_t epoch, sc_tensor_message *message);

/* Waits for `name` up to timeout_ms (-1: for ever) and takes it out; the caller owns *out.
 * Errors: SC_CANCELLED, SC_DEADLINE_EXCEEDED. */
sc_status sc_mailbox_wait(sc_mailbox *self, uint64_t epoch, const sc_tensor_name *name, int timeout_ms,
                          sc_tensor_message *out);

/* Steps before `step` are over: drops what is left of them, and refuses what still comes. Steps never go back in an
 * epoch. */
void sc_mailbox_release_before(sc_mailbox *self, uint64_t step);

size_t sc_mailbox_messages(sc_mailbox *self);
uint64_t sc_mailbox_bytes(sc_mailbox *self);

#endif
