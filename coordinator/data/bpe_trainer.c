#include "coordinator/data/bpe_trainer.h"

#include "coordinator/data/bpe_merges.h"
#include "coordinator/data/bpe_pairs.h"
#include "coordinator/data/byte_alphabet.h"
#include "coordinator/data/pre_tokenizer.h"
#include "coordinator/data/tokenizer_bpe.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static const char end_of_text[] = "<|endoftext|>";

typedef struct word {
    uint64_t hash, count;
    size_t start;    /* in bytes, later in symbols: a byte is a symbol at first */
    uint32_t length; /* bytes, later symbols */
} word;

/* A token of the growing vocabulary. */
typedef struct token {
    char *symbols; /* as vocabulary files write it; owned */
    size_t n_bytes;
} token;

struct sc_bpe_trainer {
    sc_pre_tokenizer *splitter;
    char *bytes; /* of all words */
    size_t n_bytes, bytes_capacity;
    word *words;
    uint32_t n_words, *slots, n_slots; /* slots: word + 1 by hash, 0 for an empty one; kept at most half full */

    int32_t *symbols;
    sc_bpe_pairs pairs;
    token *tokens;
    int n_tokens;
    json_t *vocab;    /* {"token": id} */
    json_t *merges;   /* ["left right", ...] */
    uint32_t *raised; /* pairs whose count the current merge raised */
    size_t n_raised, raised_capacity;
};

static sc_status no_memory(void)
{
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to train a vocabulary");
}

sc_status sc_bpe_trainer_new(sc_bpe_trainer **out)
{
    sc_bpe_trainer *self = *out = calloc(1, sizeof *self);
    if (!self)
        return no_memory();
    self->vocab = json_object();
    self->merges = json_array();
    sc_status status = self->vocab && self->merges ? sc_pre_tokenizer_new(&self->splitter) : no_memory();
    if (status != SC_OK)
        sc_bpe_trainer_destroy(out);
    return status;
}

void sc_bpe_trainer_destroy(sc_bpe_trainer **self_p)
{
    sc_bpe_trainer *self = *self_p;
    if (!self)
        return;
    sc_pre_tokenizer_destroy(&self->splitter);
    for (int i = 0; i < self->n_tokens; i++)
        free(self->tokens[i].symbols);
    free(self->tokens);
    free(self->bytes);
    free(self->words);
    free(self->slots);
    free(self->symbols);
    free(self->raised);
    sc_bpe_pairs_clear(&self->pairs);
    json_decref(self->vocab);
    json_decref(self->merges);
    free(self);
    *self_p = NULL;
}

/* Doubles the table of words; the list of them has half its size. */
static sc_status grow_table(sc_bpe_trainer *self)
{
    const uint32_t n_slots = self->n_slots ? 2 * self->n_slots : 1 << 14;
    uint32_t *slots = n_slots ? calloc(n_slots, sizeof *slots) : NULL;
    word *words = slots ? realloc(self->words, n_slots / 2 * sizeof *words) : NULL;
    if (!words) {
        free(slots);
        return no_memory();
    }
    free(self->slots);
    self->words = words;
    self->slots = slots;
    self->n_slots = n_slots;
    for (uint32_t i = 0; i < self->n_words; i++) {
        uint32_t at = (uint32_t)self->words[i].hash & (n_slots - 1);
        while (slots[at])
            at = (at + 1) & (n_slots - 1);
        slots[at] = i + 1;
    }
    return SC_OK;
}

static sc_status store_bytes(sc_bpe_trainer *self, const char *bytes, size_t n)
{
    if (n > self->bytes_capacity - self->n_bytes) {
        const size_t capacity = 2 * (self->n_bytes + n);
        char *larger = realloc(self->bytes, capacity);
        if (!larger)
            return no_memory();
        self->bytes = larger;
        self->bytes_capacity = capacity;
    }
    memcpy(self->bytes + self->n_bytes, bytes, n);
    self->n_bytes += n;
    return SC_OK;
}

static sc_status count_word(sc_bpe_trainer *self, const char *bytes, size_t n)
{
    if (2 * (uint64_t)(self->n_words + 1) > self->n_slots)
        SC_TRY(grow_table(self));
    const uint64_t hash = XXH3_64bits(bytes, n);
    uint32_t at = (uint32_t)hash & (self->n_slots - 1);
    for (; self->slots[at]; at = (at + 1) & (self->n_slots - 1)) {
        word *known = &self->words[self->slots[at] - 1];
        if (known->hash == hash && known->length == n && memcmp(self->bytes + known->start, bytes, n) == 0) {
            known->count++;
            return SC_OK;
        }
    }
    const size_t start = self->n_bytes;
    SC_TRY(store_bytes(self, bytes, n));
    self->words[self->n_words++] = (word){.hash = hash, .count = 1, .start = start, .length = (uint32_t)n};
    self->slots[at] = self->n_words;
    return SC_OK;
}

sc_status sc_bpe_trainer_add(void *context, const sc_text *text, bool more, size_t *used)
{
    sc_bpe_trainer *self = context;
    size_t end, at = 0;
    SC_TRY(sc_text_check_utf8(text, more, &end));
    while (at < end) {
        const size_t next = sc_pre_tokenizer_next(self->splitter, text->bytes, at, end, more);
        if ((next ? next : end) - at > SC_BPE_MAX_WORD) {
            const sc_utf8_place place = sc_text_place(text, at);
            return SC_FAIL(SC_INVALID,
                           "%s:%" PRIu64 ":%" PRIu64 ": a word of more than %d bytes begins here; break it up",
                           text->name, place.line, place.column, SC_BPE_MAX_WORD);
        }
        if (next == 0)
            break;
        SC_TRY(count_word(self, text->bytes + at, next - at));
        at = next;
    }
    *used = at;
    return SC_OK;
}

/* Takes `symbols`. */
static sc_status add_token(sc_bpe_trainer *self, char *symbols, size_t n_bytes)
{
    if (!symbols || json_object_set_new(self->vocab, symbols, json_integer(self->n_tokens)) != 0) {
        free(symbols);
        return no_memory();
    }
    self->tokens[self->n_tokens++] = (token){symbols, n_bytes};
    return SC_OK;
}

/* <|endoftext|> and the bytes; byte_ids tells which token is which. */
static sc_status begin_vocabulary(sc_bpe_trainer *self, int size, int32_t byte_ids[256])
{
    self->tokens = calloc((size_t)size, sizeof *self->tokens);
    if (!self->tokens)
        return no_memory();
    SC_TRY(add_token(self, strdup(end_of_text), sizeof end_of_text - 1));
    for (uint32_t c = 0; self->n_tokens < SC_BPE_TRAINER_FEWEST; c++) {
        char symbol[SC_UTF8_MAX_BYTES], byte;
        const size_t n = sc_utf8_encode(c, symbol);
        if (sc_byte_alphabet_read(symbol, n, &byte) != 1)
            continue;
        byte_ids[(unsigned char)byte] = self->n_tokens;
        SC_TRY(add_token(self, strndup(symbol, n), 1));
    }
    return SC_OK;
}

/* Whether the two may become one token. */
static bool fits(const sc_bpe_trainer *self, int32_t left, int32_t right)
{
    return self->tokens[left].n_bytes + self->tokens[right].n_bytes <= SC_TOKEN_MAX_BYTES;
}

static sc_status raise_pair(sc_bpe_trainer *self, int32_t left, int32_t right, uint32_t in, uint32_t *index)
{
    *index = UINT32_MAX;
    return fits(self, left, right)
               ? sc_bpe_pairs_change(&self->pairs, left, right, (int64_t)self->words[in].count, in, index)
               : SC_OK;
}

static sc_status begin_pairs(sc_bpe_trainer *self, const int32_t byte_ids[256])
{
    self->symbols = malloc(self->n_bytes * sizeof *self->symbols);
    if (!self->symbols)
        return no_memory();
    for (size_t i = 0; i < self->n_bytes; i++)
        self->symbols[i] = byte_ids[(unsigned char)self->bytes[i]];
    uint32_t index;
    for (uint32_t w = 0; w < self->n_words; w++)
        for (size_t i = 0; i + 1 < self->words[w].length; i++) {
            const int32_t *at = self->symbols + self->words[w].start + i;
            SC_TRY(raise_pair(self, at[0], at[1], w, &index));
        }
    for (uint32_t i = 0; i < self->pairs.n; i++)
        SC_TRY(sc_bpe_pairs_queue(&self->pairs, i));
    return SC_OK;
}

/* The pairs beside a join in word `in`: `gone` occurs once less there, `come` once more. */
static sc_status move_count(sc_bpe_trainer *self, const int32_t gone[2], const int32_t come[2], uint32_t in)
{
    uint32_t index;
    if (fits(self, gone[0], gone[1]))
        SC_TRY(
            sc_bpe_pairs_change(&self->pairs, gone[0], gone[1], -(int64_t)self->words[in].count, UINT32_MAX, &index));
    SC_TRY(raise_pair(self, come[0], come[1], in, &index));
    if (index == UINT32_MAX || (self->n_raised && self->raised[self->n_raised - 1] == index))
        return SC_OK;
    if (self->n_raised == self->raised_capacity) {
        const size_t capacity = self->raised_capacity ? 2 * self->raised_capacity : 64;
        uint32_t *raised = realloc(self->raised, capacity * sizeof *raised);
        if (!raised)
            return no_memory();
        self->raised = raised;
        self->raised_capacity = capacity;
    }
    self->raised[self->n_raised++] = index;
    return SC_OK;
}

/* Joins left and right to `merged` wherever the word has them, from the left. */
static sc_status join_in_word(sc_bpe_trainer *self, uint32_t in, int32_t left, int32_t right, int32_t merged)
{
    word *w = &self->words[in];
    int32_t *symbols = self->symbols + w->start;
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->length; i++) {
        if (symbols[i] != left || i + 1 == w->length || symbols[i + 1] != right) {
            symbols[n++] = symbols[i];
            continue;
        }
        if (n > 0)
            SC_TRY(move_count(self, (int32_t[]){symbols[n - 1], left}, (int32_t[]){symbols[n - 1], merged}, in));
        if (i + 2 < w->length)
            SC_TRY(move_count(self, (int32_t[]){right, symbols[i + 2]}, (int32_t[]){merged, symbols[i + 2]}, in));
        symbols[n++] = merged;
        i++;
    }
    w->length = n;
    return SC_OK;
}

static int compare_indices(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Queues each pair whose count the merge raised, once. */
static sc_status queue_raised(sc_bpe_trainer *self)
{
    if (self->n_raised)
        qsort(self->raised, self->n_raised, sizeof *self->raised, compare_indices);
    for (size_t i = 0; i < self->n_raised; i++)
        if (i == 0 || self->raised[i] != self->raised[i - 1])
            SC_TRY(sc_bpe_pairs_queue(&self->pairs, self->raised[i]));
    self->n_raised = 0;
    return SC_OK;
}

static sc_status join_everywhere(sc_bpe_trainer *self, uint32_t index, int32_t merged)
{
    sc_bpe_pair *pair = &self->pairs.items[index];
    const int32_t left = pair->left, right = pair->right;
    uint32_t *words = pair->words, n = pair->n_words;
    pair->words = NULL; /* the pairs may move in memory below */
    pair->n_words = pair->words_capacity = 0;
    sc_status status = SC_OK;
    for (uint32_t i = 0; i < n && status == SC_OK; i++)
        status = join_in_word(self, words[i], left, right, merged);
    free(words);
    self->pairs.items[index].count = 0; /* none is left */
    return status == SC_OK ? queue_raised(self) : status;
}

/* Makes a token of a pair. Two pairs may join to the same one. */
static sc_status merge(sc_bpe_trainer *self, uint32_t index)
{
    const sc_bpe_pair *pair = &self->pairs.items[index];
    const token *left = &self->tokens[pair->left], *right = &self->tokens[pair->right];
    json_t *line = json_sprintf("%s %s", left->symbols, right->symbols);
    char *joined = NULL;
    if (!line || json_array_append_new(self->merges, line) != 0 ||
        asprintf(&joined, "%s%s", left->symbols, right->symbols) < 0)
        return no_memory();
    const json_t *known = json_object_get(self->vocab, joined);
    const int32_t merged = known ? (int32_t)json_integer_value(known) : self->n_tokens;
    if (known)
        free(joined);
    else
        SC_TRY(add_token(self, joined, left->n_bytes + right->n_bytes));
    return join_everywhere(self, index, merged);
}

static sc_status make_tokenizer(const sc_bpe_trainer *self, sc_tokenizer **out)
{
    json_t *added = json_pack("{si}", end_of_text, 0);
    sc_status status =
        added ? sc_tokenizer_bpe_new(self->vocab, added, json_array_size(self->merges), out) : no_memory();
    json_decref(added);
    for (size_t i = 0; i < json_array_size(self->merges) && status == SC_OK; i++) {
        const json_t *line = json_array_get(self->merges, i);
        status = sc_tokenizer_bpe_merge(*out, self->vocab, json_string_value(line), json_string_length(line));
    }
    if (status != SC_OK)
        sc_tokenizer_destroy(out);
    return status;
}

sc_status sc_bpe_trainer_train(sc_bpe_trainer *self, int size, sc_tokenizer **out)
{
    int32_t byte_ids[256];
    *out = NULL;
    if (self->n_words == 0)
        return SC_FAIL(SC_INVALID, "there is no text to train a vocabulary from");
    SC_TRY(begin_vocabulary(self, size, byte_ids));
    SC_TRY(begin_pairs(self, byte_ids));
    while (self->n_tokens < size) {
        uint32_t best;
        SC_TRY(sc_bpe_pairs_best(&self->pairs, &best));
        if (best == UINT32_MAX)
            break;
        SC_TRY(merge(self, best));
    }
    return make_tokenizer(self, out);
}
