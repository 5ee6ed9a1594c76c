/* A stream of tokens, of which any stretch can be read: parts in memory and token files one after the other.
 *
 * A token file is not mapped but read where it is asked for, from the page cache if it was read before: what happens to the
 * file meanwhile is then an error with its name, where a map would end the program. Thread: any number may read. */
#ifndef SC_TOKENS_H
#define SC_TOKENS_H

#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sc_token_part {
    const char *name;  /* of the file that it is or came from */
    uint64_t start, n; /* the first token's place in the stream, and how many */
    bool wide;         /* four bytes a token: int32_t; else uint16_t */
    const void *data;  /* in memory; NULL: in the file */
    int fd;
    uint64_t offset; /* of the first token in the file, bytes */
    int vocab;       /* ids in the file are below */
} sc_token_part;

/* A stretch of the parts; borrows them. */
typedef struct sc_tokens {
    const sc_token_part *parts;
    int n_parts;
    uint64_t start, n;
} sc_tokens;

/* Tokens at .. at + n - 1 of the stretch, at + n <= self->n.
 * Errors: SC_DATA_LOSS (a file that has become shorter, an id beyond the vocabulary), SC_UNAVAILABLE (read error). */
sc_status sc_tokens_read(const sc_tokens *self, uint64_t at, size_t n, int32_t *ids);

/* A number that tells streams apart: of the length and the tokens, in a long stream (over 2^26) of those at both ends.
 * Errors: as above; SC_RESOURCE_EXHAUSTED. */
sc_status sc_tokens_hash(const sc_tokens *self, uint64_t *out);

#endif
