/* A gate: who may connect to a bound socket.
 *
 * Mental model. A socket with keys names the gate's domain, and libzmq asks for each connection whether its key may come
 * in (ZAP, RFC 27). One thread of this process answers for all gates at once, whatever their nodes are busy with. A socket
 * whose domain has no gate, or that finds no such thread, lets nobody in (ZMQ_ZAP_ENFORCE_DOMAIN).
 *
 * The list is that of a directory, looked at anew by sc_gate_watch, or is set by sc_gate_allow. Whoever is let in is known by
 * his key from then on: libzmq attaches it to each of his messages.
 *
 * A patient gate is for a list that is about to change: it keeps a key that is not on it waiting, and lets it in as soon
 * as it is; else it says "not now", and libzmq tries again. Any other gate says no, of which the other side is told.
 *
 * Thread: the owner's, all functions. */
#ifndef SC_GATE_H
#define SC_GATE_H

#include "proto/base/clock.h"
#include "proto/wire/keys.h"

typedef struct sc_gate sc_gate;

typedef struct sc_gate_options {
    const char *name; /* in log lines; copied */
    sc_clock clock;
    const char *allowed_dir; /* copied; NULL: sc_gate_allow */
    uint32_t patience_ms;    /* 0: none */
} sc_gate_options;

/* Returns owned, its list loaded. Errors: those of sc_allow_list_load; SC_INTERNAL (no thread, or the process answers ZAP
 * elsewhere). */
sc_status sc_gate_new(const sc_gate_options *options, sc_gate **out);
void sc_gate_destroy(sc_gate **self_p);
/* ZMQ_ZAP_DOMAIN, valid while the gate lives. */
const char *sc_gate_domain(const sc_gate *self);

/* Replaces the list. Errors: SC_RESOURCE_EXHAUSTED; the old one stays. */
sc_status sc_gate_allow(sc_gate *self, const sc_public_key *keys, size_t n);
/* Once a second: reads the directory again if something in it has changed. A list that cannot be read is told of, and the old
 * one stays. True if the list is another one now. */
bool sc_gate_watch(sc_gate *self);
bool sc_gate_admits(const sc_gate *self, const char *key);

#endif
