/* The BPE tokenizer's encoding: added tokens, words, and the table of words that were merged lately. */
#include "coordinator/data/tokenizer_bpe_internal.h"
#include "coordinator/data/utf8.h"
#include "coordinator/data/word_cache.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The state of one call. */
typedef struct encoder {
    const sc_bpe *bpe;
    const sc_text *text;
    sc_tokenizer_put put;
    void *context;
    sc_word_cache cache;
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
    sc_cached_word *place = NULL;
    if (n <= SC_CACHED_BYTES) {
        place = sc_word_cache_at(&self->cache, bytes, n);
        if (sc_cached_word_is(place, bytes, n)) {
            memcpy(ids, place->ids, place->n_ids * sizeof *ids);
            self->n += place->n_ids;
            return SC_OK;
        }
    }
    size_t n_ids = n;
    for (size_t i = 0; i < n; i++)
        ids[i] = self->bpe->byte_ids[(unsigned char)bytes[i]];
    SC_TRY(sc_bpe_merges_apply(&self->bpe->merges, &self->scratch, ids, &n_ids));
    if (place)
        sc_cached_word_set(place, bytes, n, ids, n_ids);
    self->n += n_ids;
    return SC_OK;
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
    const size_t decided = sc_added_tokens_decided(&bpe->added, bytes, end, more);
    size_t at = 0;
    for (;;) {
        size_t stop;
        const sc_added_token *added = sc_added_tokens_find(&bpe->added, bytes, at, decided, end, &stop);
        SC_TRY(encode_words(self, &at, stop, more && !added));
        if (!added)
            break;
        if (self->n == SC_TOKENIZER_PIECE)
            SC_TRY(flush(self));
        self->ids[self->n++] = added->id;
        at = stop + added->n_bytes;
        if (at >= decided)
            break;
    }
    *used = at;
    return flush(self);
}

sc_status sc_bpe_encode(const sc_tokenizer *base, const sc_text *text, bool more, sc_tokenizer_put put, void *context,
                        size_t *used)
{
    size_t end;
    SC_TRY(sc_text_check_utf8(text, more, &end));
    encoder *self = calloc(1, sizeof *self);
    if (self)
        sc_word_cache_init(&self->cache, end);
    sc_status status;
    if (!self || !self->cache.words) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to encode it", text->name);
        goto out;
    }
    self->bpe = (const sc_bpe *)base;
    self->text = text;
    self->put = put;
    self->context = context;
    status = encode_text(self, end, more, used);
    sc_bpe_scratch_clear(&self->scratch);
    free(self->word);
out:
    if (self)
        free(self->cache.words);
    free(self);
    return status;
}
