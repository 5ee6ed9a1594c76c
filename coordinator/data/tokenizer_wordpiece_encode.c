/* The WordPiece tokenizer's encoding: added tokens, words, pieces, and the table of words that were cut lately. */
#include "coordinator/data/tokenizer_wordpiece.h"
#include "coordinator/data/tokenizer_wordpiece_internal.h"
#include "coordinator/data/utf8.h"
#include "coordinator/data/word_cache.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a word that are waited for with more to come. One of more characters than the longest is unknown however it
 * goes on; one that is not so long must be full of characters that vanish, and is refused at the second limit. */
enum { PATIENCE = 1 << 16, MAX_WORD = 1 << 20 };

/* A word's characters as normalisation leaves them, and the bytes of the text that each came from. */
typedef struct word {
    int n;   /* may exceed `most`: those beyond are counted, not kept */
    int row; /* where the row of marks that are being sorted begins */
    int most;
    size_t begin, end; /* of the text: the first and last character that did not vanish */
    uint32_t c[SC_WORDPIECE_LONGEST_WORD];
    uint8_t order[SC_WORDPIECE_LONGEST_WORD];
    size_t begins[SC_WORDPIECE_LONGEST_WORD], ends[SC_WORDPIECE_LONGEST_WORD];
    size_t n_bytes;
    size_t starts[SC_WORDPIECE_LONGEST_WORD + 1]; /* of each character in `bytes` */
    char bytes[SC_WORDPIECE_LONGEST_WORD * SC_UTF8_MAX_BYTES];
} word;

/* The state of one call. */
typedef struct encoder {
    const sc_wordpiece *wordpiece;
    const sc_text *text;
    sc_tokenizer_put put;
    void *context;
    sc_word_cache cache;
    sc_token_span *spans; /* [n_spans], with room for one a byte; NULL: ids are put, spans not wanted */
    size_t n_spans, n;
    int32_t ids[SC_TOKENIZER_PIECE]; /* not yet put */
    word word;
} encoder;

static sc_status flush(encoder *self)
{
    const size_t n = self->n;
    self->n = 0;
    return n ? self->put(self->context, self->ids, n) : SC_OK;
}

static sc_bert_class next_class(const sc_wordpiece *self, const char *bytes, size_t at, size_t end, size_t *length)
{
    const unsigned char first = (unsigned char)bytes[at];
    *length = 1;
    if (first < 0x80)
        return (sc_bert_class)self->ascii_class[first];
    uint32_t c;
    *length = sc_utf8_decode(bytes + at, end - at, &c);
    return sc_bert_class_of(&self->options, c);
}

/* Puts a part behind the others, or into its row of marks. */
static void add_part(word *self, uint32_t c, uint8_t order, size_t begin, size_t end)
{
    if (self->n == 0)
        self->begin = begin;
    self->end = end;
    int place = self->n++;
    if (place >= self->most)
        return;
    if (order == 0)
        self->row = place + 1;
    for (; place > self->row && self->order[place - 1] > order; place--) {
        self->c[place] = self->c[place - 1];
        self->order[place] = self->order[place - 1];
        self->begins[place] = self->begins[place - 1];
        self->ends[place] = self->ends[place - 1];
    }
    self->c[place] = c;
    self->order[place] = order;
    self->begins[place] = begin;
    self->ends[place] = end;
}

static void normalize(encoder *self, size_t at, size_t end)
{
    const char *bytes = self->text->bytes;
    word *w = &self->word;
    w->n = w->row = 0;
    w->most = self->wordpiece->longest_word;
    for (size_t length; at < end; at += length) {
        uint32_t c;
        sc_bert_parts parts;
        length = sc_utf8_decode(bytes + at, end - at, &c);
        if (c < 0x80) {
            if (self->wordpiece->ascii_class[c] != SC_BERT_NOTHING)
                add_part(w, (unsigned char)self->wordpiece->ascii_normal[c], 0, at, at + length);
            continue;
        }
        sc_bert_normalize(&self->wordpiece->options, c, &parts);
        for (int i = 0; i < parts.n; i++) {
            if (!parts.items[i].dropped)
                add_part(w, parts.items[i].c, parts.items[i].order, at, at + length);
            else if (parts.items[i].order == 0)
                w->row = w->n < w->most ? w->n : w->most;
        }
    }
    w->n_bytes = 0;
    for (int i = 0; i < w->n && i < w->most; i++) {
        w->starts[i] = w->n_bytes;
        w->n_bytes += sc_utf8_encode(w->c[i], w->bytes + w->n_bytes);
    }
    if (w->n <= w->most)
        w->starts[w->n] = w->n_bytes;
}

/* The pieces of the word: their ids, and with `ends` the character behind each. 0 if it is unknown. */
static size_t cut(const sc_wordpiece *self, const word *w, int32_t *ids, int *ends)
{
    size_t n = 0;
    if (w->n > w->most)
        return 0;
    for (int from = 0, to; from < w->n; from = to, n++) {
        int32_t id = -1;
        for (to = w->n; to > from && w->starts[to] - w->starts[from] > self->longest_piece; to--)
            ;
        for (; to > from; to--) {
            id = sc_wordpiece_find(self, from > 0, w->bytes + w->starts[from], w->starts[to] - w->starts[from]);
            if (id >= 0)
                break;
        }
        if (id < 0)
            return 0;
        ids[n] = id;
        ends[n] = to;
    }
    return n;
}

static void put_spans(encoder *self, const int32_t *ids, const int *ends, size_t n)
{
    const word *w = &self->word;
    if (n == 0)
        self->spans[self->n_spans++] =
            (sc_token_span){.id = self->wordpiece->unknown, .begin = w->begin, .end = w->end};
    for (size_t i = 0; i < n; i++)
        self->spans[self->n_spans++] =
            (sc_token_span){.id = ids[i], .begin = w->begins[i > 0 ? ends[i - 1] : 0], .end = w->ends[ends[i] - 1]};
}

static sc_status encode_word(encoder *self, size_t at, size_t n)
{
    const char *bytes = self->text->bytes + at;
    sc_cached_word *place = NULL;
    if (SC_TOKENIZER_PIECE - self->n < (size_t)self->wordpiece->longest_word)
        SC_TRY(flush(self));
    int32_t *ids = self->ids + self->n;
    if (n <= SC_CACHED_BYTES && !self->spans) {
        place = sc_word_cache_at(&self->cache, bytes, n);
        if (sc_cached_word_is(place, bytes, n)) {
            memcpy(ids, place->ids, place->n_ids * sizeof *ids);
            self->n += place->n_ids;
            return SC_OK;
        }
    }
    int ends[SC_WORDPIECE_LONGEST_WORD];
    normalize(self, at, at + n);
    size_t n_ids = cut(self->wordpiece, &self->word, ids, ends);
    if (self->spans) {
        put_spans(self, ids, ends, n_ids);
        return SC_OK;
    }
    if (n_ids == 0)
        ids[n_ids++] = self->wordpiece->unknown;
    if (place)
        sc_cached_word_set(place, bytes, n, ids, n_ids);
    self->n += n_ids;
    return SC_OK;
}

/* A word from *at that goes on behind the end. If it is unknown already, so is its tail: what comes before can be dropped. */
static sc_status shorten(encoder *self, size_t *at, size_t end)
{
    if (end - *at <= PATIENCE)
        return SC_OK;
    const char *bytes = self->text->bytes;
    int kept = 0;
    for (size_t from = end; from > *at && end - from <= PATIENCE;) {
        size_t length;
        do
            from--;
        while (((unsigned char)bytes[from] & 0xC0) == 0x80);
        kept += next_class(self->wordpiece, bytes, from, end, &length) == SC_BERT_WORD;
        if (kept > self->wordpiece->longest_word) {
            *at = from;
            return SC_OK;
        }
    }
    if (end - *at <= MAX_WORD)
        return SC_OK;
    const sc_utf8_place place = sc_text_place(self->text, *at);
    return SC_FAIL(SC_INVALID,
                   "%s:%" PRIu64 ":%" PRIu64 ": a word of more than %d bytes, nearly all of them control characters, "
                   "begins here; is this a text?",
                   self->text->name, place.line, place.column, MAX_WORD);
}

/* Words of [*at, end); *at is where the first undecided one begins, or `end`. */
static sc_status encode_words(encoder *self, size_t *at, size_t end, bool more)
{
    const sc_wordpiece *wordpiece = self->wordpiece;
    const char *bytes = self->text->bytes;
    for (size_t length; *at < end;) {
        const sc_bert_class class = next_class(wordpiece, bytes, *at, end, &length);
        size_t next = *at + length;
        if (class == SC_BERT_WORD) {
            for (; next < end; next += length) {
                const sc_bert_class c = next_class(wordpiece, bytes, next, end, &length);
                if (c != SC_BERT_WORD && c != SC_BERT_NOTHING)
                    break;
            }
            if (next == end && more)
                return shorten(self, at, end);
        }
        if (class == SC_BERT_WORD || class == SC_BERT_ALONE)
            SC_TRY(encode_word(self, *at, next - *at));
        *at = next;
    }
    return SC_OK;
}

static sc_status put_added(encoder *self, const sc_added_token *token, size_t at)
{
    if (self->spans) {
        self->spans[self->n_spans++] = (sc_token_span){.id = token->id, .begin = at, .end = at + token->n_bytes};
        return SC_OK;
    }
    if (self->n == SC_TOKENIZER_PIECE)
        SC_TRY(flush(self));
    self->ids[self->n++] = token->id;
    return SC_OK;
}

static sc_status encode_text(encoder *self, size_t end, bool more, size_t *used)
{
    const sc_added_tokens *added = &self->wordpiece->added;
    const char *bytes = self->text->bytes;
    const size_t decided = sc_added_tokens_decided(added, bytes, end, more);
    size_t at = 0;
    for (;;) {
        size_t stop;
        const sc_added_token *token = sc_added_tokens_find(added, bytes, at, decided, end, &stop);
        SC_TRY(encode_words(self, &at, stop, more && !token));
        if (!token)
            break;
        SC_TRY(put_added(self, token, stop));
        at = stop + token->n_bytes;
        if (at >= decided)
            break;
    }
    *used = at;
    return flush(self);
}

/* NULL if memory ran out. */
static encoder *new_encoder(const sc_tokenizer *base, const sc_text *text)
{
    encoder *self = malloc(sizeof *self);
    if (!self)
        return NULL;
    self->wordpiece = (const sc_wordpiece *)base;
    self->text = text;
    self->spans = NULL;
    self->cache.words = NULL;
    self->n_spans = self->n = 0;
    return self;
}

static sc_status no_memory(const sc_text *text)
{
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to encode it", text->name);
}

sc_status sc_wordpiece_encode(const sc_tokenizer *base, const sc_text *text, bool more, sc_tokenizer_put put,
                              void *context, size_t *used)
{
    size_t end;
    SC_TRY(sc_text_check_utf8(text, more, &end));
    encoder *self = new_encoder(base, text);
    if (!self)
        return no_memory(text);
    self->put = put;
    self->context = context;
    sc_word_cache_init(&self->cache, end);
    const sc_status status = self->cache.words ? encode_text(self, end, more, used) : no_memory(text);
    free(self->cache.words);
    free(self);
    return status;
}

sc_status sc_wordpiece_encode_spans(const sc_tokenizer *base, const sc_text *text, sc_token_span **spans, size_t *n)
{
    size_t end, used;
    *spans = NULL;
    SC_TRY(sc_text_check_utf8(text, false, &end));
    encoder *self = new_encoder(base, text);
    if (!self)
        return no_memory(text);
    self->spans = calloc(end + 1, sizeof *self->spans);
    const sc_status status = self->spans ? encode_text(self, end, false, &used) : no_memory(text);
    *n = self->n_spans;
    if (status == SC_OK)
        *spans = self->spans;
    else
        free(self->spans);
    free(self);
    return status;
}
