/* Where a worker listens for its neighbours, and what address it tells them. Thread: any. */
#ifndef SC_SESSION_ENDPOINT_H
#define SC_SESSION_ENDPOINT_H

#include "proto/base/status.h"
#include "proto/wire/endpoint.h"

#include <stddef.h>

/* Each `out` has SC_ENDPOINT_BYTES. */

/* Whether it is tcp://HOST:PORT with a port from 1 to 65535, or ipc://PATH. Errors: SC_INVALID. */
sc_status sc_session_endpoint_check(const char *endpoint);

/* Where to listen if nobody said: on loopback for a coordinator on loopback, beside the coordinator's file for ipc, on
 * all interfaces otherwise. Errors: SC_INVALID (the coordinator's endpoint, or a path that
 * grows too long). */
sc_status sc_session_endpoint_listen(const char *coordinator, char *out);

/* What to tell the neighbours of the bound endpoint: itself, but in place of "all interfaces" the address of the one
 * through which the coordinator is reached. Sends nothing. Errors: SC_UNAVAILABLE (the coordinator's host has no
 * address, or there is no route to it). */
sc_status sc_session_endpoint_advertise(const char *coordinator, const char *bound, char *out);

#endif
