/* What has come from one peer, and what is awaited from it.
 *
 *   (absent) --expect--> awaited --arrive--> seen          names of steps before the floor are seen without an entry
 *   (absent) ------------arrive-----------> seen
 *
 * An awaited name is asked for when resend_ns have passed, then after twice the wait each time, up to eight times it.
 * Pure: no sockets, the time is passed in. Thread: its owner's. */
#ifndef SC_INBOX_H
#define SC_INBOX_H

#include "proto/wire/name_table.h"

enum { SC_INBOX_MAX_NAMES = 1 << 18 }; /* awaited and seen: bounds what a peer can make us remember to some 20 MB */

typedef enum sc_arrival { SC_ARRIVAL_NEW, SC_ARRIVAL_DUPLICATE, SC_ARRIVAL_FULL } sc_arrival;

typedef struct sc_inbox {
    sc_name_table names;
    uint64_t floor;   /* steps before it have been consumed */
    uint64_t next_ns; /* nothing is due before; UINT64_MAX if nothing is awaited */
} sc_inbox;

void sc_inbox_init(sc_inbox *self);
void sc_inbox_clear(sc_inbox *self);

/* `name` is awaited, unless it is seen or awaited already. A full inbox does not ask. */
void sc_inbox_expect(sc_inbox *self, const sc_tensor_name *name, uint64_t now_ns, uint64_t resend_ns);
/* Whether it has come: then its payload need not be looked at. */
bool sc_inbox_has(const sc_inbox *self, const sc_tensor_name *name);
/* The same, and it is due now: it will not be sent unless asked for. */
void sc_inbox_ask(sc_inbox *self, const sc_tensor_name *name, uint64_t now_ns, uint64_t resend_ns);
/* A tensor has come: only one that is SC_ARRIVAL_NEW may be delivered; one that is SC_ARRIVAL_FULL is not acknowledged. */
sc_arrival sc_inbox_arrive(sc_inbox *self, const sc_tensor_name *name);
/* Whether it is awaited and has not come. */
bool sc_inbox_lacks(const sc_inbox *self, const sc_tensor_name *name);
/* Writes up to `max` names that are due and puts off their next time; returns how many. */
size_t sc_inbox_due(sc_inbox *self, uint64_t now_ns, uint64_t resend_ns, sc_tensor_name *names, size_t max);
/* A new connection: all that is awaited is due. */
void sc_inbox_reconnected(sc_inbox *self, uint64_t now_ns, uint64_t resend_ns);

void sc_inbox_release_before(sc_inbox *self, uint64_t step);
/* Forgets all other generations, and the floor. */
void sc_inbox_keep_generation(sc_inbox *self, uint64_t generation);

#endif
