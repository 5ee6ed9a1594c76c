/* The BPE tokenizer's encoding: added tokens, words, and the table of words that were merged lately. */
#include "coordinator/data/tokenizer_bpe_internal.h"
#include "coordinator/data/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* A word and its ids, in one cache line. Longer words, about one in a thousand of English text, are merged anew. */
enum { CACHED_BYTES = 30, CACHED_IDS = 8 };
typedef struct cached {
    uint8_t n_bytes, n_ids; /* n_bytes 0: empty */
    char bytes[CACHED_BYTES];
    int32_t ids[CACHED_IDS];
} cached;

/* Four megabytes at most: all words of a text so common that they matter. A short text has few. */
enum { MOST_CACHED = 1 << 16, FEWEST_CACHED = 1 << 6 };

/* The state of one call. */
typedef struct encoder {
    const sc_bpe *bpe;
    const sc_text *text;
    sc_tokenizer_put put;
    void *context;
    cached *cache;   /* [n_cached], each word at its hash's place */
    size_t n_cached; /* a power of two */
    sc_bpe_scratch scratch;
    int32_t *word; /* [word_capacity]: ids of a word that is longer than a piece */
    size_t word_capacity;
    size_t n;
    int32_t ids[SC_TOKENIZER_PIECE]; /* not yet put */
} encoder;

static sc_status flush(encoder *self)
{
    const size_t n = self->n;
    self->n = 0;
    return n ? self->put(self->context, self->ids, n) : SC_OK;
}

/* A word that does not fit into a piece. */
static sc_status encode_huge_word(encoder *self, size_t at, size_t n)
{
    if (n > SC_BPE_MAX_WORD) {
        const sc_utf8_place place = sc_text_place(self->text, at);
        return SC_FAIL(SC_INVALID,
                       "%s:%" PRIu64 ":%" PRIu64 ": a word of more than %d bytes (characters of one sort without a "
                       "break) begins here; break it up",
                       self->text->name, place.line, place.column, SC_BPE_MAX_WORD);
    }
    if (n > self->word_capacity) {
        free(self->word);
        self->word = malloc(n * sizeof *self->word);
        self->word_capacity = self->word ? n : 0;
        if (!self->word)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for a word of %zu bytes", self->text->name, n);
    }
    for (size_t i = 0; i < n; i++)
        self->word[i] = self->bpe->byte_ids[(unsigned char)self->text->bytes[at + i]];
    SC_TRY(sc_bpe_merges_apply(&self->bpe->merges, &self->scratch, self->word, &n));
    SC_TRY(flush(self));
    return self->put(self->context, self->word, n);
}

static sc_status encode_word(encoder *self, size_t at, size_t n)
{
    if (n > SC_TOKENIZER_PIECE)
        return encode_huge_word(self, at, n);
    if (n > SC_TOKENIZER_PIECE - self->n)
        SC_TRY(flush(self));
    const char *bytes = self->text->bytes + at;
    int32_t *ids = self->ids + self->n;
    cached *place = NULL;
    if (n <= CACHED_BYTES) {
        place = &self->cache[XXH3_64bits(bytes, n) & (self->n_cached - 1)];
        if (place->n_bytes == n && memcmp(place->bytes, bytes, n) == 0) {
            memcpy(ids, place->ids, place->n_ids * sizeof *ids);
            self->n += place->n_ids;
            return SC_OK;
        }
    }
    size_t n_ids = n;
    for (size_t i = 0; i < n; i++)
        ids[i] = self->bpe->byte_ids[(unsigned char)bytes[i]];
    SC_TRY(sc_bpe_merges_apply(&self->bpe->merges, &self->scratch, ids, &n_ids));
    if (place && n_ids <= CACHED_IDS) {
        place->n_bytes = (uint8_t)n;
        place->n_ids = (uint8_t)n_ids;
        memcpy(place->bytes, bytes, n);
        memcpy(place->ids, ids, n_ids * sizeof *ids);
    }
    self->n += n_ids;
    return SC_OK;
}

/* The first added token that begins in [at, decided) and ends by `end`: its place and id. Without one, *place is
 * `decided` and -1 is returned. */
static int32_t find_added(const sc_bpe *self, const char *bytes, size_t at, size_t decided, size_t end, size_t *place)
{
    for (; at < decided && self->n_added; at++) {
        if (!self->begins_added[(unsigned char)bytes[at]])
            continue;
        for (int i = 0; i < self->n_added; i++) {
            const int32_t id = self->added[i];
            const size_t n = sc_bpe_length(self, id);
            if (n <= end - at && memcmp(bytes + at, self->bytes + self->starts[id], n) == 0) {
                *place = at;
                return id;
            }
        }
    }
    *place = decided;
    return -1;
}

/* Words of [*at, end); *at is where the first undecided one begins, or `end`. */
static sc_status encode_words(encoder *self, size_t *at, size_t end, bool more)
{
    while (*at < end) {
        const size_t next = sc_pre_tokenizer_next(self->bpe->words, self->text->bytes, *at, end, more);
        if (next == 0)
            return end - *at > SC_BPE_MAX_WORD ? encode_huge_word(self, *at, end - *at) : SC_OK;
        SC_TRY(encode_word(self, *at, next - *at));
        *at = next;
    }
    return SC_OK;
}

static sc_status encode_text(encoder *self, size_t end, bool more, size_t *used)
{
    const sc_bpe *bpe = self->bpe;
    const char *bytes = self->text->bytes;
    /* An added token that begins behind `decided` may be one that goes on behind the end. */
    size_t decided = end;
    if (more && bpe->longest_added > 1) {
        decided -= end < bpe->longest_added - 1 ? end : bpe->longest_added - 1;
        while (decided > 0 && ((unsigned char)bytes[decided] & 0xC0) == 0x80)
            decided--;
    }
    size_t at = 0;
    for (;;) {
        size_t stop;
        const int32_t id = find_added(bpe, bytes, at, decided, end, &stop);
        SC_TRY(encode_words(self, &at, stop, more && id < 0));
        if (id < 0)
            break;
        if (self->n == SC_TOKENIZER_PIECE)
            SC_TRY(flush(self));
        self->ids[self->n++] = id;
        at = stop + sc_bpe_length(bpe, id);
        if (at >= decided)
            break;
    }
    *used = at;
    return flush(self);
}

sc_status sc_bpe_encode(const sc_tokenizer *base, const sc_text *text, bool more, sc_tokenizer_put put, void *context,
                        size_t *used)
{
    size_t end, n_cached = FEWEST_CACHED;
    SC_TRY(sc_text_check_utf8(text, more, &end));
    while (n_cached < MOST_CACHED && n_cached < end / 4)
        n_cached *= 2;
    encoder *self = calloc(1, sizeof *self);
    cached *cache = calloc(n_cached, sizeof *cache);
    sc_status status;
    if (!self || !cache) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to encode it", text->name);
        goto out;
    }
    self->bpe = (const sc_bpe *)base;
    self->text = text;
    self->put = put;
    self->context = context;
    self->cache = cache;
    self->n_cached = n_cached;
    status = encode_text(self, end, more, used);
    sc_bpe_scratch_clear(&self->scratch);
    free(self->word);
out:
    free(cache);
    free(self);
    return status;
}
