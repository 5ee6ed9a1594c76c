/* A vocabulary as files have it, {"token": id, ...} and the same for added tokens, put in order by id. */
#ifndef SC_VOCABULARY_H
#define SC_VOCABULARY_H

#include "proto/base/status.h"

#include <jansson.h>
#include <stdbool.h>

enum { SC_VOCABULARY_SHOWN = 60 }; /* bytes of a token that a message repeats */

typedef struct sc_vocabulary_entry {
    const char *text; /* borrowed from the JSON */
    bool added;
} sc_vocabulary_entry;

/* added: may name tokens of `vocab`, with the same id, or be NULL. (*entries)[*n] by id; to be freed.
 * Errors: SC_INVALID (an id that is none, twice or left out; no token at all; more than 1024 added tokens; an empty one),
 * SC_RESOURCE_EXHAUSTED. */
sc_status sc_vocabulary_read(const json_t *vocab, const json_t *added, sc_vocabulary_entry **entries, size_t *n);

/* The other way: a list of tokens by id and one of the ids that are added, as a run's file has them, into the objects
 * `vocab` and `added`. Errors: SC_INVALID (no text, an empty one, one that is there twice; an id that is none). */
sc_status sc_vocabulary_index(const json_t *list, const json_t *added_list, json_t *vocab, json_t *added);

#endif
