#include "coordinator/data/documents.h"

#include "coordinator/data/data_format.h"
#include "coordinator/data/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LINE = 64 << 20 };

void sc_documents_clear(sc_documents *self)
{
    free(self->ids);
    free(self->sentences);
    free(self->firsts);
    *self = (sc_documents){0};
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Quotes and brackets that close: ASCII, and ' " of typographers, >> and the corner brackets. */
static bool closes(uint32_t c)
{
    return c == '"' || c == '\'' || c == ')' || c == ']' || c == 0x2019 || c == 0x201D || c == 0xBB || c == 0x300D ||
           c == 0x300F || c == 0xFF09;
}

static bool is_full_width_end(uint32_t c)
{
    return c == 0x3002 || c == 0xFF01 || c == 0xFF1F;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Whether the period at `at` stands behind a letter alone, an initial. */
static bool is_initial(const char *text, size_t at)
{
    return at > 0 && is_letter(text[at - 1]) && (at == 1 || is_space(text[at - 2]) || text[at - 2] == '.');
}

size_t sc_documents_first_sentence(const char *text, size_t n)
{
    bool ended = false, wide = false;
    size_t length;
    for (size_t at = 0; at < n; at += length) {
        uint32_t c = 0;
        length = sc_utf8_decode(text + at, n - at, &c);
        length = length ? length : 1;
        if (is_full_width_end(c)) {
            ended = wide = true;
        } else if (c == '.' || c == '!' || c == '?') {
            ended = c != '.' || !is_initial(text, at);
        } else if (ended && !closes(c)) {
            size_t next = at;
            while (next < n && is_space(text[next]))
                next++;
            const bool small = next < n && text[next] >= 'a' && text[next] <= 'z';
            if (wide || (next > at && !small))
                return next;
            ended = false;
        }
    }
    return n;
}

static void *grow(void *items, size_t *capacity, size_t needed, size_t size)
{
    if (needed <= *capacity)
        return items;
    void *grown = realloc(items, (2 * needed + 64) * size);
    if (grown)
        *capacity = 2 * needed + 64;
    return grown;
}

static sc_status put_ids(void *context, const int32_t *ids, size_t n)
{
    sc_documents *self = context;
    int32_t *all = grow(self->ids, &self->ids_capacity, self->n_ids + n, sizeof *all);
    if (!all)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu tokens", self->n_ids + n);
    self->ids = all;
    memcpy(all + self->n_ids, ids, n * sizeof *ids);
    self->n_ids += n;
    return SC_OK;
}

static sc_status end_sentence(sc_documents *self, size_t began)
{
    if (self->n_ids == began)
        return SC_OK;
    size_t *sentences = grow(self->sentences, &self->sentences_capacity, self->n_sentences + 2, sizeof *sentences);
    self->sentences = sentences ? sentences : self->sentences;
    size_t *firsts = grow(self->firsts, &self->firsts_capacity, self->n + 1, sizeof *firsts);
    self->firsts = firsts ? firsts : self->firsts;
    if (!sentences || !firsts)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu sentences", self->n_sentences + 1);
    if (!self->open)
        firsts[self->n++] = self->n_sentences;
    self->open = true;
    sentences[self->n_sentences++] = began;
    sentences[self->n_sentences] = self->n_ids;
    return SC_OK;
}

static sc_status add_line(const sc_documents_reader *self, const sc_text *text, size_t at, size_t n)
{
    size_t blanks = 0;
    while (blanks < n && is_space(text->bytes[at + blanks]))
        blanks++;
    if (blanks == n) {
        self->documents->open = false;
        return SC_OK;
    }
    while (n > 0) {
        const size_t length = self->split ? sc_documents_first_sentence(text->bytes + at, n) : n;
        const sc_text sentence = {.name = text->name, .bytes = text->bytes + at, .n_bytes = length};
        const size_t began = self->documents->n_ids;
        SC_TRY(sc_tokenizer_encode(self->tokenizer, &sentence, put_ids, self->documents));
        SC_TRY(end_sentence(self->documents, began));
        at += length;
        n -= length;
    }
    return SC_OK;
}

sc_status sc_documents_add(void *context, const sc_text *text, bool more, size_t *used)
{
    const sc_documents_reader *self = context;
    size_t end;
    SC_TRY(sc_text_check_utf8(text, more, &end));
    *used = 0;
    while (*used < end) {
        const char *line = text->bytes + *used, *stop = memchr(line, '\n', end - *used);
        const size_t n = stop ? (size_t)(stop - line) : end - *used;
        if (n > MAX_LINE) {
            const sc_utf8_place place = sc_text_place(text, *used);
            return SC_FAIL(SC_INVALID, "%s:%" PRIu64 ": a line of more than %d MiB; break it into lines", text->name,
                           place.line, MAX_LINE >> 20);
        }
        if (!stop && more)
            break;
        SC_TRY(add_line(self, text, *used, n));
        *used += n + (stop != NULL);
    }
    if (!more)
        self->documents->open = false;
    return SC_OK;
}

static sc_status copy_document(const sc_documents *self, size_t document, sc_documents *out)
{
    const size_t end = document + 1 < self->n ? self->firsts[document + 1] : self->n_sentences;
    for (size_t i = self->firsts[document]; i < end; i++) {
        const size_t began = out->n_ids, from = self->sentences[i];
        SC_TRY(put_ids(out, self->ids + from, self->sentences[i + 1] - from));
        SC_TRY(end_sentence(out, began));
    }
    out->open = false;
    return SC_OK;
}

sc_status sc_documents_split(sc_documents *self, uint64_t seed, double share, sc_documents *out)
{
    sc_documents rest = {0};
    sc_status status = SC_OK;
    for (size_t i = 0; i < self->n && status == SC_OK; i++)
        status = copy_document(self, i, sc_data_split_takes(seed, self->n, share, i) ? out : &rest);
    if (status != SC_OK) {
        sc_documents_clear(&rest);
        return status;
    }
    sc_documents_clear(self);
    *self = rest;
    return SC_OK;
}
