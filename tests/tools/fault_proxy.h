/* A TCP proxy that fails on command: what lies between two processes of a test, on one machine, without privileges.
 *
 * Mental model. A link listens, and carries each connection that comes to its target and back, byte for byte. It never
 * alters a byte; what it can do is what networks do:
 *   reset      both ends get a RST; what the link and the kernel still held is lost
 *   cut        a reset after exactly so many more bytes: in the middle of a message
 *   blackhole  accepts, carries and refuses nothing for a while, then goes on with the same connections
 *   slow       so many bytes a second in each direction, each of them late by the latency
 * A link holds at most 256 KiB in each direction of a connection, as a socket's buffers would.
 *
 * Nothing here waits: sc_fault_proxy_turn does what can be done now, so that a test can run a link in its own loop;
 * sc_fault_proxy_wants tells another loop what to wait for. Thread: one, all functions. */
#ifndef SC_FAULT_PROXY_H
#define SC_FAULT_PROXY_H

#include "proto/base/clock.h"
#include "proto/base/status.h"

#include <poll.h>
#include <stddef.h>

enum {
    SC_FAULT_PROXY_CONNECTIONS = 64,                         /* at a time; more wait to be accepted */
    SC_FAULT_PROXY_FDS = 1 + 2 * SC_FAULT_PROXY_CONNECTIONS, /* what sc_fault_proxy_wants may fill in */
};

typedef struct sc_fault_proxy sc_fault_proxy;

typedef struct sc_fault_proxy_counts {
    uint64_t accepted;   /* connections */
    uint64_t carried;    /* bytes, both ways */
    uint64_t resets;     /* on command, of links that had connections; cuts among them */
    uint64_t blackholes; /* on command */
} sc_fault_proxy_counts;

/* `listen` and `target` are ADDRESS:PORT with IPv4 numbers; port 0 of `listen` takes one that is free. Returns owned.
 * Errors: SC_INVALID (an address), SC_ALREADY_EXISTS (in use), SC_RESOURCE_EXHAUSTED. */
sc_status sc_fault_proxy_new(const char *listen, const char *target, const sc_clock *clock, sc_fault_proxy **out);
/* Resets what it still carries. */
void sc_fault_proxy_destroy(sc_fault_proxy **self_p);

int sc_fault_proxy_port(const sc_fault_proxy *self);
sc_fault_proxy_counts sc_fault_proxy_count(const sc_fault_proxy *self);

void sc_fault_proxy_reset(sc_fault_proxy *self);
/* A reset once `bytes` (not 0) more have been carried; replaces one that has not come yet. */
void sc_fault_proxy_cut_after(sc_fault_proxy *self, uint64_t bytes);
void sc_fault_proxy_blackhole(sc_fault_proxy *self, uint32_t ms);
/* 0, 0: as fast as it goes. */
void sc_fault_proxy_slow(sc_fault_proxy *self, uint64_t bytes_per_second, uint32_t latency_ms);

void sc_fault_proxy_turn(sc_fault_proxy *self);
/* Fills in what to poll for, and lowers *due_ns to the time at which a turn is due anyway. Returns how many. */
size_t sc_fault_proxy_wants(const sc_fault_proxy *self, struct pollfd fds[SC_FAULT_PROXY_FDS], uint64_t *due_ns);

#endif
