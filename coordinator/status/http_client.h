/* One GET of a document of the API, for the commands that look at a run. Blocks; thread: any. */
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
void sc_http_reply_clear(sc_http_reply *self);

#endif
