/* The ids of words that were encoded lately: each word at its hash's place, over what was there. One call of a tokenizer's
 * encode has one, so it needs no lock. */
#ifndef SC_WORD_CACHE_H
#define SC_WORD_CACHE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* A word and its ids, in one cache line. Longer words, about one in a thousand of English text, are encoded anew. */
enum { SC_CACHED_BYTES = 30, SC_CACHED_IDS = 8 };
typedef struct sc_cached_word {
    uint8_t n_bytes, n_ids; /* n_bytes 0: empty */
    char bytes[SC_CACHED_BYTES];
    int32_t ids[SC_CACHED_IDS];
} sc_cached_word;

/* Four megabytes at most: all words of a text so common that they matter. A short text has few. */
enum { SC_MOST_CACHED = 1 << 16, SC_FEWEST_CACHED = 1 << 6 };

typedef struct sc_word_cache {
    sc_cached_word *words; /* [n] */
    size_t n;              /* a power of two */
} sc_word_cache;

/* For a text of so many bytes. self->words is NULL if memory ran out; to be freed. */
static inline void sc_word_cache_init(sc_word_cache *self, size_t n_bytes)
{
    self->n = SC_FEWEST_CACHED;
    while (self->n < SC_MOST_CACHED && self->n < n_bytes / 4)
        self->n *= 2;
    self->words = calloc(self->n, sizeof *self->words);
}

/* The place of a word of 1 to SC_CACHED_BYTES bytes, for sc_cached_word_is and sc_cached_word_set. */
static inline sc_cached_word *sc_word_cache_at(const sc_word_cache *self, const char *bytes, size_t n)
{
    return &self->words[XXH3_64bits(bytes, n) & (self->n - 1)];
}

static inline int sc_cached_word_is(const sc_cached_word *self, const char *bytes, size_t n)
{
    return self->n_bytes == n && memcmp(self->bytes, bytes, n) == 0;
}

/* Words of more than SC_CACHED_IDS ids are not kept. */
static inline void sc_cached_word_set(sc_cached_word *self, const char *bytes, size_t n, const int32_t *ids,
                                      size_t n_ids)
{
    if (n_ids > SC_CACHED_IDS)
        return;
    self->n_bytes = (uint8_t)n;
    self->n_ids = (uint8_t)n_ids;
    memcpy(self->bytes, bytes, n);
    memcpy(self->ids, ids, n_ids * sizeof *ids);
}

#endif
