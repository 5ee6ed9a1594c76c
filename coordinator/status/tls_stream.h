/* The client's side of TLS over a connected socket, with a deadline: who the server is, is checked before a byte is sent.
 * Thread: any, one at a time. */
#ifndef SC_TLS_STREAM_H
#define SC_TLS_STREAM_H

#include "proto/base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct sc_tls_stream sc_tls_stream;

typedef struct sc_tls_stream_options {
    int fd;              /* connected, non-blocking; borrowed */
    const char *host;    /* whom the certificate has to name: a name or an address */
    const char *ca_file; /* PEM of the authorities that may vouch for it; NULL: those that the system trusts */
    uint64_t end_ns;     /* by sc_clock_system: until then all has to be done */
} sc_tls_stream_options;

/* Shakes hands. Returns owned. Errors: SC_PERMISSION_DENIED (the certificate is not to be trusted, or of somebody else), SC_INVALID
 * (no certificates in ca_file), SC_UNAVAILABLE (no TLS there), SC_DEADLINE_EXCEEDED, SC_RESOURCE_EXHAUSTED. */
sc_status sc_tls_stream_open(const sc_tls_stream_options *options, sc_tls_stream **out);
void sc_tls_stream_close(sc_tls_stream **self_p);

/* All of it. Errors: SC_UNAVAILABLE, SC_DEADLINE_EXCEEDED. */
sc_status sc_tls_stream_send(sc_tls_stream *self, const void *bytes, size_t n_bytes);
/* What comes next, at least a byte; *n_bytes 0: the end. Errors: as sc_tls_stream_send. */
sc_status sc_tls_stream_receive(sc_tls_stream *self, void *out, size_t out_bytes, size_t *n_bytes);

#endif
