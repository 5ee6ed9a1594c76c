/* Endpoints as text: tcp://HOST:PORT, tcp://[IPV6]:PORT, ipc://PATH. Pure. Thread: any. */
#ifndef SC_ENDPOINT_H
#define SC_ENDPOINT_H

#include <stdbool.h>

enum { SC_ENDPOINT_BYTES = 256 };

/* tcp://HOST:PORT into its parts, an IPv6 address without its brackets. False: it is not of that form. */
bool sc_endpoint_split_tcp(const char *endpoint, char host[SC_ENDPOINT_BYTES], char port[8]);
/* Whether this machine alone can be at the other end: loopback, or ipc. Names are not looked up: "localhost" alone is known
 * to be here. */
bool sc_endpoint_is_local(const char *endpoint);
/* The same of a host, as sc_endpoint_split_tcp gives it. */
bool sc_endpoint_is_loopback(const char *host);

#endif
