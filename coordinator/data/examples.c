#include "coordinator/data/examples.h"
#include "coordinator/data/examples_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { SHORTEST = 8 };

void sc_examples_destroy(sc_examples **self_p)
{
    sc_examples *self = *self_p;
    if (!self)
        return;
    free(self->ids);
    free(self->targets);
    free(self->label_ids);
    free(self->rows);
    free(self->units);
    free(self->stretches);
    free(self->continues);
    free(self);
    *self_p = NULL;
}

static sc_status find_special(const sc_tokenizer *tokenizer, const char *content, int32_t *id)
{
    *id = sc_tokenizer_special(tokenizer, content);
    return *id >= 0 ? SC_OK
                    : SC_FAIL(SC_INVALID,
                              "the tokenizer has no token %s, which the examples of BERT need; take one "
                              "of BERT's",
                              content);
}

sc_status sc_examples_new(sc_examples_kind kind, const sc_tokenizer *tokenizer, int longest, sc_examples **out)
{
    assert(longest >= (kind == SC_EXAMPLES_ITEMS ? 1 : SHORTEST));
    *out = NULL;
    sc_examples *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for examples");
    self->kind = kind;
    self->longest = longest;
    sc_status status = SC_OK;
    if (kind == SC_EXAMPLES_ITEMS) {
        self->pad = SC_ITEM_PADDING;
        *out = self;
        return SC_OK;
    }
    SC_TRY_GOTO(status, find_special(tokenizer, "[CLS]", &self->cls), out);
    SC_TRY_GOTO(status, find_special(tokenizer, "[SEP]", &self->sep), out);
    SC_TRY_GOTO(status, find_special(tokenizer, "[PAD]", &self->pad), out);
    if (kind == SC_EXAMPLES_PRETRAINING)
        SC_TRY_GOTO(status, find_special(tokenizer, "[MASK]", &self->mask), out);
    *out = self;
    return SC_OK;
out:
    sc_examples_destroy(&self);
    return status;
}

sc_status sc_examples_reserve(sc_examples *self, size_t n_ids)
{
    if (self->n_ids + n_ids > self->ids_capacity) {
        const size_t capacity = 2 * (self->n_ids + n_ids) + 1024;
        int32_t *ids = realloc(self->ids, capacity * sizeof *ids);
        self->ids = ids ? ids : self->ids;
        int32_t *targets = realloc(self->targets, capacity * sizeof *targets);
        self->targets = targets ? targets : self->targets;
        if (!ids || !targets)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu tokens of examples", capacity);
        self->ids_capacity = capacity;
    }
    if (self->n == self->rows_capacity) {
        const size_t capacity = 2 * self->n + 256;
        sc_fixed_row *rows = realloc(self->rows, capacity * sizeof *rows);
        if (!rows)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu examples", capacity);
        self->rows = rows;
        self->rows_capacity = capacity;
    }
    return SC_OK;
}

static void append(sc_examples *self, const int32_t *ids, int n)
{
    memcpy(self->ids + self->n_ids, ids, (size_t)n * sizeof *ids);
    for (int i = 0; i < n; i++)
        self->targets[self->n_ids + (size_t)i] = SC_NO_TARGET;
    self->n_ids += (size_t)n;
}

static int at_most(size_t n, int most)
{
    return n < (size_t)most ? (int)n : most;
}

void sc_examples_cut(int room, int *n_a, int *n_b)
{
    if (*n_a + *n_b <= room)
        return;
    int *shorter = *n_a <= *n_b ? n_a : n_b, *longer = *n_a <= *n_b ? n_b : n_a;
    if (*shorter > room / 2)
        *shorter = room / 2;
    *longer = room - *shorter;
}

/* Rows that are shorter than they may be need less room. */
static void fit(sc_examples *self)
{
    int longest = 1;
    for (size_t i = 0; i < self->n; i++) {
        const int n = sc_examples_length(self, 0, 0, i);
        longest = n > longest ? n : longest;
    }
    self->longest = longest;
}

/* --- classification ---------------------------------------------------------------------------------------------------- */

static sc_status add_text(sc_examples *self, const sc_labelled_texts *texts, size_t i, const sc_tokenizer *tokenizer)
{
    const sc_labelled_text *item = &texts->items[i];
    int32_t *a = NULL, *b = NULL;
    size_t n_a = 0, n_b = 0;
    const sc_text first = {.name = "a text", .bytes = texts->bytes + item->text, .n_bytes = item->n_text};
    const sc_text second = {.name = "a second text", .bytes = texts->bytes + item->pair, .n_bytes = item->n_pair};
    sc_status status;
    SC_TRY_GOTO(status, sc_tokenizer_encode_all(tokenizer, &first, &a, &n_a), out);
    if (item->n_pair)
        SC_TRY_GOTO(status, sc_tokenizer_encode_all(tokenizer, &second, &b, &n_b), out);
    sc_fixed_row row = {.ids = self->n_ids, .label = item->label, .source = {i, 1}};
    row.first_label = item->first_label;
    row.n_labels = item->n_labels;
    row.n_a = at_most(n_a, self->longest);
    row.n_b = at_most(n_b, self->longest);
    sc_examples_cut(self->longest - (row.n_b ? 3 : 2), &row.n_a, &row.n_b);
    self->n_cut += (size_t)row.n_a < n_a || (size_t)row.n_b < n_b;
    SC_TRY_GOTO(status, sc_examples_reserve(self, (size_t)(row.n_a + row.n_b)), out);
    append(self, a, row.n_a);
    if (row.n_b)
        append(self, b, row.n_b);
    self->rows[self->n++] = row;
out:
    free(a);
    free(b);
    return status;
}

sc_status sc_examples_of_texts(const sc_labelled_texts *texts, const sc_tokenizer *tokenizer, int longest,
                               sc_examples **out)
{
    SC_TRY(sc_examples_new(SC_EXAMPLES_CLASSES, tokenizer, longest, out));
    sc_status status = SC_OK;
    for (size_t i = 0; i < texts->n && status == SC_OK; i++)
        status = add_text(*out, texts, i, tokenizer);
    if (status != SC_OK)
        sc_examples_destroy(out);
    else
        fit(*out);
    return status;
}

sc_status sc_examples_of_label_sets(const sc_labelled_texts *texts, int n_labels, const sc_tokenizer *tokenizer,
                                    int longest, sc_examples **out)
{
    SC_TRY(sc_examples_of_texts(texts, tokenizer, longest, out));
    sc_examples *self = *out;
    self->label_ids = malloc((texts->n_label_ids + 1) * sizeof *self->label_ids);
    if (!self->label_ids) {
        sc_examples_destroy(out);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu labels of texts", texts->n_label_ids);
    }
    for (size_t i = 0; i < texts->n_label_ids; i++)
        self->label_ids[i] = texts->label_ids[i];
    self->n_labels = n_labels;
    return SC_OK;
}

/* --- tags -------------------------------------------------------------------------------------------------------------- */

/* Adds a word's pieces to the last row, or begins a new one if they do not fit there. */
static sc_status add_word(sc_examples *self, const sc_tagged_words *words, size_t i, bool begins,
                          const sc_tokenizer *tokenizer)
{
    const sc_tagged_word *word = &words->words[i];
    const sc_text text = {.name = "a word", .bytes = words->bytes + word->text, .n_bytes = word->n_text};
    int32_t *ids;
    size_t n_ids;
    SC_TRY(sc_tokenizer_encode_all(tokenizer, &text, &ids, &n_ids)); /* never NULL, with room for one */
    const int room = self->longest - 2;
    if (n_ids == 0) {
        const int32_t unknown = sc_tokenizer_special(tokenizer, "[UNK]");
        ids[n_ids++] = unknown >= 0 ? unknown : self->sep;
    }
    const int n = at_most(n_ids, room);
    const sc_status status = sc_examples_reserve(self, (size_t)n);
    if (status == SC_OK) {
        if (begins || self->rows[self->n - 1].n_a + n > room)
            self->rows[self->n++] = (sc_fixed_row){.ids = self->n_ids, .source = {i, 0}};
        sc_fixed_row *row = &self->rows[self->n - 1];
        append(self, ids, n);
        self->targets[self->n_ids - (size_t)n] = word->tag;
        row->n_a += n;
        row->source.n++;
    }
    free(ids);
    return status;
}

sc_status sc_examples_of_words(const sc_tagged_words *words, const sc_tokenizer *tokenizer, int longest,
                               sc_examples **out)
{
    SC_TRY(sc_examples_new(SC_EXAMPLES_TAGS, tokenizer, longest, out));
    sc_status status = SC_OK;
    for (size_t s = 0; s < words->n; s++)
        for (size_t w = 0; w < words->sentences[s].n && status == SC_OK; w++)
            status = add_word(*out, words, words->sentences[s].first + w, w == 0, tokenizer);
    if (status != SC_OK)
        sc_examples_destroy(out);
    else
        fit(*out);
    return status;
}

/* --- reading ----------------------------------------------------------------------------------------------------------- */

sc_examples_kind sc_examples_kind_of(const sc_examples *self)
{
    return self->kind;
}

size_t sc_examples_n(const sc_examples *self)
{
    return self->n;
}

int sc_examples_longest(const sc_examples *self)
{
    return self->longest;
}

int sc_examples_n_targets(const sc_examples *self, int n)
{
    if (self->kind != SC_EXAMPLES_CLASSES)
        return n;
    return self->n_labels > 0 ? self->n_labels : 1;
}

size_t sc_examples_n_cut(const sc_examples *self)
{
    return self->n_cut;
}

int32_t sc_examples_pad(const sc_examples *self)
{
    return self->pad;
}

sc_examples_source sc_examples_source_of(const sc_examples *self, size_t row)
{
    assert(row < self->n && self->kind != SC_EXAMPLES_PRETRAINING);
    return self->rows[row].source;
}

int sc_examples_length(const sc_examples *self, uint64_t seed, uint32_t epoch, size_t row)
{
    assert(row < self->n);
    if (self->kind == SC_EXAMPLES_PRETRAINING)
        return sc_pretrain_length(self, seed, epoch, row);
    if (self->kind == SC_EXAMPLES_ITEMS)
        return self->rows[row].n_a;
    return self->rows[row].n_a + self->rows[row].n_b + (self->rows[row].n_b ? 3 : 2);
}

int sc_examples_frame(const sc_examples *self, const int32_t *a, int n_a, const int32_t *b, int n_b, int32_t *tokens,
                      int32_t *segments)
{
    int n = 0;
    tokens[n++] = self->cls;
    memcpy(tokens + n, a, (size_t)n_a * sizeof *a);
    n += n_a;
    tokens[n++] = self->sep;
    memset(segments, 0, (size_t)n * sizeof *segments);
    if (n_b == 0)
        return n;
    for (int i = 0; i <= n_b; i++) {
        segments[n] = 1;
        tokens[n++] = i < n_b ? b[i] : self->sep;
    }
    return n;
}

int sc_examples_get(const sc_examples *self, uint64_t seed, uint32_t epoch, size_t row, int32_t *tokens,
                    int32_t *segments, int32_t *targets, int32_t *next)
{
    assert(row < self->n);
    if (self->kind == SC_EXAMPLES_PRETRAINING)
        return sc_pretrain_get(self, seed, epoch, row, tokens, segments, targets, next);
    const sc_fixed_row *r = &self->rows[row];
    const int32_t *a = self->ids + r->ids;
    if (self->kind == SC_EXAMPLES_ITEMS) {
        const size_t bytes = (size_t)r->n_a * sizeof *a;
        memcpy(tokens, a, bytes);
        memcpy(targets, self->targets + r->ids, bytes);
        memset(segments, 0, bytes);
        return r->n_a;
    }
    const int n = sc_examples_frame(self, a, r->n_a, a + r->n_a, r->n_b, tokens, segments);
    if (self->kind == SC_EXAMPLES_CLASSES && self->n_labels > 0) {
        memset(targets, 0, (size_t)self->n_labels * sizeof *targets);
        for (size_t i = 0; i < r->n_labels; i++)
            targets[self->label_ids[r->first_label + i]] = 1;
        return n;
    }
    if (self->kind == SC_EXAMPLES_CLASSES) {
        targets[0] = r->label;
        return n;
    }
    targets[0] = targets[n - 1] = SC_NO_TARGET;
    memcpy(targets + 1, self->targets + r->ids, (size_t)r->n_a * sizeof *targets);
    return n;
}
