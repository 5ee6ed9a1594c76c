/* Added tokens, such as <|endoftext|> or [MASK]: contents that are found in a text before anything else, the leftmost
 * first, of those that begin there the longest. Zero-initialise; clear frees. Thread: any, once filled. */
#ifndef SC_ADDED_TOKENS_H
#define SC_ADDED_TOKENS_H

#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sc_added_token {
    char *text; /* ends with a NUL */
    size_t n_bytes;
    int32_t id;
} sc_added_token;

typedef struct sc_added_tokens {
    sc_added_token *items; /* [n]: longest first */
    int n;
    size_t longest;   /* bytes; 0 if there is none */
    bool begins[256]; /* whether one begins with the byte */
    int first;        /* the one byte that all begin with, or -1 */
} sc_added_tokens;

/* Copies a content that is not there yet and not empty. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_added_tokens_add(sc_added_tokens *self, const char *text, int32_t id);
void sc_added_tokens_clear(sc_added_tokens *self);

/* The id of a content, -1 if there is none. */
int32_t sc_added_tokens_id(const sc_added_tokens *self, const char *content);
bool sc_added_tokens_has(const sc_added_tokens *self, int32_t id);

/* How far, of n bytes of which `more` follow, it is decided where added tokens begin: one that begins behind may go on
 * behind the end. On a character's boundary. */
size_t sc_added_tokens_decided(const sc_added_tokens *self, const char *bytes, size_t n, bool more);
/* The first that begins in [at, decided) and ends by `end`: its place. Without one, *place is `decided` and NULL is returned. */
const sc_added_token *sc_added_tokens_find(const sc_added_tokens *self, const char *bytes, size_t at, size_t decided,
                                           size_t end, size_t *place);

#endif
