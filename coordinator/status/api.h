/* The API, without a network: a request in, a response out.
 *
 *   GET  /                      the page
 *   GET  /api/v1/status  /stages  /schedule  /checkpoints  /config
 *   GET  /api/v1/steps?last=N   the newest N steps; ?points=N: N that span the run
 *   GET  /api/v1/events?after=ID   and, where text/event-stream is accepted, as server-sent events
 *   GET  /livez  /readyz  /healthz  /metrics  /openapi.json
 *   POST /api/v1/checkpoint  /drain/STAGE  /pause  /resume  /stop     with the bearer token; off where there is none
 *
 * HEAD is answered wherever GET is. Errors are RFC 9457 problems: 400 names the parameter, 401 asks for the token, 403 says
 * that verbs are off, 404 and 405 (with Allow) the rest. What can be the same twice carries an ETag, and is 304 to those
 * who have it. Thread: one owns it. */
#ifndef SC_API_H
#define SC_API_H

#include "coordinator/status/board.h"

#include <stddef.h>

enum { SC_API_PARAMETERS = 8 };

typedef struct sc_api_parameter {
    const char *name, *value; /* decoded; value NULL: it has none */
} sc_api_parameter;

typedef struct sc_api_request {
    const char *method, *path; /* path: decoded, without the query */
    sc_api_parameter parameters[SC_API_PARAMETERS];
    int n_parameters; /* above SC_API_PARAMETERS: so many came, and are refused */
    const char *accept, *authorization, *if_none_match, *last_event_id; /* headers, NULL where absent */
} sc_api_request;

typedef struct sc_api_response {
    unsigned status;
    const char *content_type; /* static */
    const char *body;         /* NULL: none */
    size_t n_bytes;
    char *owned;       /* NULL, or what `body` points to, to be freed with free () */
    const char *allow; /* static, NULL: no such header; as the following */
    const char *authenticate;
    const char *cache_control;
    char etag[24]; /* "": none */
    bool stream;   /* no body but events behind `after`, and what changes, for as long as it is wanted */
    uint64_t after;
} sc_api_response;

typedef struct sc_api sc_api;

enum { SC_API_TOKEN_MIN = 16, SC_API_TOKEN_MAX = 256 };

/* Borrows the board; copies the token (NULL: verbs are off). Returns owned. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_api_new(sc_board *board, const char *token, sc_api **out);
void sc_api_destroy(sc_api **self_p);

/* Always fills *out: what goes wrong is a response too. */
void sc_api_answer(sc_api *self, const sc_api_request *request, sc_api_response *out);
void sc_api_response_clear(sc_api_response *self);

/* The token of a file: its first line, SC_API_TOKEN_MIN to SC_API_TOKEN_MAX printable characters. Returns owned.
 * Errors: as sc_files_read; SC_INVALID. */
sc_status sc_api_token_load(const char *path, char **token);

/* What a stream sends of what is new: server-sent events as text. Zero-initialise but `after`. */
typedef struct sc_api_stream {
    uint64_t after;    /* the last event that was sent */
    uint64_t revision; /* of what was shown last */
    int64_t step;      /* the last that was sent */
    bool begun;
} sc_api_stream;
/* Returns owned; *text is NULL if there is nothing new. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_api_stream_next(sc_api *self, sc_api_stream *stream, char **text);

#endif
