/* The status server: the API (api.h) over HTTP/1.1, in a thread of its own. The only file that knows libmicrohttpd.
 *
 * It cannot hold the run up: it takes copies from the board, answers one request at a time, and is bounded in everything
 * that strangers can make it hold. At most SC_HTTP_CONNECTIONS connections of 16 KiB each; a request has to be there within 10
 * seconds and its answer taken within 30, by the clock and not by the last byte, so that a client that sends a byte now
 * and then does not stay; a body is read to 64 KiB and thrown away, for no request needs one. Of streams of events there
 * are at most SC_HTTP_STREAMS; they send what is new at most every 400 ms, and a comment every 15 seconds, by which a client that
 * has gone is noticed.
 *
 * Errors are the API's problems (api.h), and 413 for a body that announces more than 64 KiB. What is no request at all never comes
 * so far: libmicrohttpd 0.9 answers it itself, in HTML, and closes the connection, with 400 (a header line without a colon, a
 * Content-Length that is no number, a broken chunk), 414 (a path of more than some 16 KiB), 431 (headers of more than that), 505
 * (a version that is not 1.x); at a first line that is none, and when a chunked body passes 64 KiB, it closes without an answer.
 *
 * It speaks plain HTTP. Where others than this machine's users can reach it, a proxy with TLS belongs in front. */
#ifndef SC_HTTP_SERVER_H
#define SC_HTTP_SERVER_H

#include "coordinator/status/api.h"

enum { SC_HTTP_CONNECTIONS = 128, SC_HTTP_STREAMS = 32 };

#define SC_STATUS_DEFAULT "127.0.0.1:8080" /* what status.listen: auto means */

typedef struct sc_http_server sc_http_server;

/* Listens at "HOST:PORT" ("[::1]:8080", "0.0.0.0:8080"; port 0: any that is free) and serves until it is stopped. Borrows the
 * board. `token`: as sc_api_new. Returns owned. Errors: SC_INVALID (not of that form, no such host), SC_ALREADY_EXISTS (the port is
 * in use), SC_PERMISSION_DENIED, SC_UNAVAILABLE. Thread: any one. */
sc_status sc_http_server_start(const char *listen, sc_board *board, const char *token, sc_http_server **out);
/* Where it serves: "http://127.0.0.1:8080/". */
const char *sc_http_server_url(const sc_http_server *self);
/* Streams get the last news; then all ends. May be called twice. */
void sc_http_server_stop(sc_http_server **self_p);

#endif
