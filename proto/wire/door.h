/* A door: the connections of a bound socket, before and beside what they say.
 *
 * libzmq accepts whoever comes and has no limit. A connection that has not said a word that the node received is silent:
 * it shakes hands, or never will. When too many are silent, or too many there at all, the one that has been silent longest
 * is closed; an honest peer's is silent for milliseconds. Whoever is cut off by mistake connects again.
 *
 * A connection is named by its descriptor, which is libzmq's: it may be closed, and used for another one, before this
 * hears of it. Hence nothing is done with a descriptor but to shut it down, if it is a connection to this very socket; the
 * worst is that somebody has to connect again.
 *
 * Thread: the socket's. */
#ifndef SC_DOOR_H
#define SC_DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SC_DOOR_MAX_CONNECTIONS = 1024, /* or half of the descriptors that the process may have, if that is less */
    SC_DOOR_MAX_SILENT = 128,
};

typedef struct sc_door_slot {
    uint64_t accepted_ns;
    bool open, spoke;
} sc_door_slot;

/* Zero-initialise. */
typedef struct sc_door {
    sc_door_slot *slots; /* [n_slots], by descriptor */
    size_t n_slots, n_open, n_silent;
    uint64_t n_silent_closed; /* closed without a word, by whomever */
    uint64_t n_crowded;       /* of these by sc_door_accepted */
    unsigned n_most;          /* connections; from the first that came */
} sc_door;

void sc_door_clear(sc_door *self);
/* The ROUTER's monitor: a connection was accepted, which may cost another one its place. `bound` is the endpoint. */
void sc_door_accepted(sc_door *self, int fd, uint64_t now_ns, const char *bound);
void sc_door_closed(sc_door *self, int fd);
/* A message came through it. */
void sc_door_spoke(sc_door *self, int fd);
/* Cuts a connection off, if `fd` is one that came to `bound`. */
void sc_door_shut(int fd, const char *bound);

#endif
