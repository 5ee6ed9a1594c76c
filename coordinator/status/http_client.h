/* One GET of a document of the API, for the commands that look at a run; one POST of JSON to a server with TLS. Each is a
 * connection of its own (HTTP/1.0), follows no redirection, and blocks. Thread: any. */
#ifndef SC_HTTP_CLIENT_H
#define SC_HTTP_CLIENT_H

#include "proto/base/status.h"

#include <stddef.h>

typedef struct sc_http_reply {
    int status;
    char *body; /* owned, followed by a NUL that n_bytes does not count */
    size_t n_bytes;
} sc_http_reply;

enum { SC_HTTP_CLIENT_MAX_BYTES = 64 << 20 };

/* GET of `path` ("/livez") at `url` ("http://127.0.0.1:8080/", of which only the server counts). `seconds`: for all of it.
 * Errors: SC_INVALID (not such a URL), SC_UNAVAILABLE (nobody there, or no HTTP), SC_DEADLINE_EXCEEDED, SC_RESOURCE_EXHAUSTED. */
sc_status sc_http_get(const char *url, const char *path, double seconds, sc_http_reply *out);

typedef struct sc_http_post {
    const char *url;     /* "https://HOST[:PORT][/PATH]", port 443 unless it says */
    const char *ca_file; /* PEM of who may vouch for the server; NULL: those that the system trusts */
    const char *bearer;  /* a token; NULL: none */
    const char *body;    /* JSON */
    double seconds;      /* for all of it */
} sc_http_post;
/* Errors: as sc_http_get; SC_PERMISSION_DENIED (the server's certificate is not to be trusted). */
sc_status sc_https_post(const sc_http_post *post, sc_http_reply *out);

void sc_http_reply_clear(sc_http_reply *self);

#endif
