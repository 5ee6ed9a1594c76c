/* A listening TCP socket for "HOST:PORT". Thread: any. */
#ifndef SC_HTTP_LISTEN_H
#define SC_HTTP_LISTEN_H

#include "proto/base/status.h"

enum { SC_HTTP_URL_BYTES = 320 };

/* *fd is the caller's, closed on exec, non-blocking; `url` is where it can be reached from here. Errors: as
 * sc_http_server_start. */
sc_status sc_http_listen(const char *at, int *fd, char url[SC_HTTP_URL_BYTES]);

#endif
