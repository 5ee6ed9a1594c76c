#include "coordinator/data/pretrain_examples.h"
#include "coordinator/data/examples_internal.h"

#include "proto/base/rng.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Places of the purpose SC_RNG_EXAMPLE; part of a run's identity. */
enum { PLACE_ROOM, PLACE_SPLIT, PLACE_NEXT, PLACE_ELSEWHERE, PLACE_ORDER, PLACE_FATE, PLACE_TOKEN };

static sc_rng rng_of(uint64_t seed, uint32_t epoch, size_t row, uint32_t place)
{
    return (sc_rng){.seed = seed, .site = SC_RNG_SITE(SC_RNG_EXAMPLE, place), .step = epoch, .row = (uint32_t)row};
}

sc_pretrain_options sc_pretrain_defaults(int longest, uint64_t seed)
{
    return (sc_pretrain_options){.longest = longest, .seed = seed, .mask_share = 0.15, .short_share = 0.1};
}

/* Sentences as units of at most half a row, so that a row has room for two. */
static size_t make_units(const sc_documents *documents, int most, sc_unit *units)
{
    size_t n = 0;
    for (size_t d = 0; d < documents->n; d++) {
        const size_t end = d + 1 < documents->n ? documents->firsts[d + 1] : documents->n_sentences;
        for (size_t s = documents->firsts[d]; s < end; s++)
            for (size_t at = documents->sentences[s]; at < documents->sentences[s + 1]; n++) {
                const size_t left = documents->sentences[s + 1] - at;
                const int here = left < (size_t)most ? (int)left : most;
                if (units)
                    units[n] = (sc_unit){.ids = at, .n = here, .document = (uint32_t)d};
                at += (size_t)here;
            }
    }
    return n;
}

static int draw_room(const sc_pretrain_options *options, size_t stretch)
{
    const int room = options->longest - 3;
    const sc_rng rng = rng_of(options->seed, 0, stretch, PLACE_ROOM);
    if (sc_rng_uniform(&rng, 0) >= (float)options->short_share)
        return room;
    return 2 + (int)sc_rng_below(&rng, 1, (uint64_t)room - 1);
}

static void make_stretches(sc_examples *self, const sc_pretrain_options *options)
{
    for (size_t u = 0; u < self->n_units;) {
        sc_stretch stretch = {.first = u, .room = draw_room(options, self->n)};
        int n_tokens = 0;
        for (; u < self->n_units && self->units[u].document == self->units[stretch.first].document; u++) {
            if (stretch.n > 0 && n_tokens + self->units[u].n > stretch.room)
                break;
            n_tokens += self->units[u].n;
            stretch.n++;
        }
        self->stretches[self->n++] = stretch;
    }
}

static sc_status fill(sc_examples *self, const sc_documents *documents, const sc_tokenizer *tokenizer,
                      const sc_pretrain_options *options)
{
    const int most = (options->longest - 3) / 2;
    self->n_units = make_units(documents, most, NULL);
    self->vocab = sc_tokenizer_vocab(tokenizer);
    self->mask_share = options->mask_share;
    if (self->n_units == 0 || self->n_units > UINT32_MAX)
        return SC_FAIL(SC_INVALID, "there are %zu sentences to pre-train on; at least one, and no more than %u",
                       self->n_units, UINT32_MAX);
    self->units = malloc(self->n_units * sizeof *self->units);
    self->stretches = malloc(self->n_units * sizeof *self->stretches);
    self->ids = malloc(documents->n_ids * sizeof *self->ids);
    self->continues = options->whole_words ? calloc((size_t)self->vocab, sizeof *self->continues) : NULL;
    if (!self->units || !self->stretches || !self->ids || (options->whole_words && !self->continues))
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu tokens of examples", documents->n_ids);
    self->n_ids = documents->n_ids;
    memcpy(self->ids, documents->ids, self->n_ids * sizeof *self->ids);
    make_units(documents, most, self->units);
    make_stretches(self, options);
    for (int32_t id = 0; id < self->vocab && self->continues; id++)
        self->continues[id] = sc_tokenizer_continues(tokenizer, id);
    return SC_OK;
}

sc_status sc_examples_of_documents(const sc_documents *documents, const sc_tokenizer *tokenizer,
                                   const sc_pretrain_options *options, sc_examples **out)
{
    SC_TRY(sc_examples_new(SC_EXAMPLES_PRETRAINING, tokenizer, options->longest, out));
    const sc_status status = fill(*out, documents, tokenizer, options);
    if (status != SC_OK)
        sc_examples_destroy(out);
    return status;
}

/* The two parts of a row, drawn. */
typedef struct pair {
    size_t a, b; /* where in ids */
    int n_a, n_b;
    bool elsewhere;
} pair;

static int tokens_of(const sc_examples *self, size_t first, int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += self->units[first + (size_t)i].n;
    return sum;
}

/* A unit of another document or, where there is none, of this one outside the stretch, if there is any. */
static size_t draw_elsewhere(const sc_examples *self, const sc_stretch *stretch, sc_rng rng)
{
    size_t begin = stretch->first, end = stretch->first + (size_t)stretch->n;
    const uint32_t document = self->units[begin].document;
    if (self->units[0].document != document || self->units[self->n_units - 1].document != document) {
        while (begin > 0 && self->units[begin - 1].document == document)
            begin--;
        while (end < self->n_units && self->units[end].document == document)
            end++;
    }
    const size_t outside = self->n_units - (end - begin);
    if (outside == 0)
        return (size_t)sc_rng_below(&rng, 0, self->n_units);
    const size_t i = (size_t)sc_rng_below(&rng, 0, outside);
    return i < begin ? i : end + (i - begin);
}

static pair draw_pair(const sc_examples *self, uint64_t seed, uint32_t epoch, size_t row)
{
    const sc_stretch *stretch = &self->stretches[row];
    const sc_rng split = rng_of(seed, epoch, row, PLACE_SPLIT), next = rng_of(seed, epoch, row, PLACE_NEXT);
    const int n_first = stretch->n > 1 ? 1 + (int)sc_rng_below(&split, 0, (uint64_t)stretch->n - 1) : 1;
    pair p = {.a = self->units[stretch->first].ids, .n_a = tokens_of(self, stretch->first, n_first)};
    p.elsewhere = stretch->n == 1 || sc_rng_u32(&next, 0) >> 31;
    size_t unit = stretch->first + (size_t)n_first;
    int n_units = stretch->n - n_first;
    if (p.elsewhere) {
        unit = draw_elsewhere(self, stretch, rng_of(seed, epoch, row, PLACE_ELSEWHERE));
        const uint32_t document = self->units[unit].document;
        int n_tokens = p.n_a;
        for (n_units = 0; unit + (size_t)n_units < self->n_units; n_units++) {
            const sc_unit *u = &self->units[unit + (size_t)n_units];
            if (u->document != document || (n_units > 0 && n_tokens + u->n > stretch->room))
                break;
            n_tokens += u->n;
        }
    }
    p.b = self->units[unit].ids;
    p.n_b = tokens_of(self, unit, n_units);
    /* The first unit of b always goes in, so the row may have to be cut. */
    sc_examples_cut(stretch->room, &p.n_a, &p.n_b);
    return p;
}

int sc_pretrain_length(const sc_examples *self, uint64_t seed, uint32_t epoch, size_t row)
{
    const pair p = draw_pair(self, seed, epoch, row);
    return p.n_a + p.n_b + 3;
}

/* The token at a place that is a target. */
static int32_t replace(const sc_examples *self, sc_rng fate, sc_rng any, int at, int32_t token)
{
    const double u = sc_rng_uniform64(&fate, (uint64_t)at);
    if (u < 0.8)
        return self->mask;
    return u < 0.9 ? (int32_t)sc_rng_below(&any, (uint64_t)at, (uint64_t)self->vocab) : token;
}

/* What a place is while targets are drawn: the first of a word with its number in the order of drawing (0 or more), or */
enum { GOES_ON = -2, PASSED = -3, CHOSEN = -4 };

/* Words are taken in random order until there are as many targets as wanted; one that is too long then is passed over. */
static void choose(int n, int wanted, int32_t *places)
{
    for (int left = wanted; left > 0;) {
        int best = -1, length = 1;
        for (int at = 1; at < n; at++)
            if (places[at] >= 0 && (best < 0 || places[at] < places[best]))
                best = at;
        if (best < 0)
            return;
        while (places[best + length] == GOES_ON)
            length++;
        const bool fits = length <= left || left == wanted;
        places[best] = fits ? CHOSEN : PASSED;
        left -= fits ? length : 0;
    }
}

/* Draws the targets of a row with [SEP] at `separator` and at its end. */
static void mask(const sc_examples *self, uint64_t seed, uint32_t epoch, size_t row, int n, int separator,
                 int32_t *tokens, int32_t *targets)
{
    const sc_rng order = rng_of(seed, epoch, row, PLACE_ORDER), fate = rng_of(seed, epoch, row, PLACE_FATE);
    const sc_rng any = rng_of(seed, epoch, row, PLACE_TOKEN);
    const int wanted = (int)(self->mask_share * (n - 3) + 0.5);
    for (int at = 0; at < n; at++) {
        const bool goes_on = self->continues && at > 1 && at - 1 != separator && self->continues[tokens[at]];
        targets[at] = goes_on ? GOES_ON : (int32_t)(sc_rng_u32(&order, (uint64_t)at) >> 1);
    }
    targets[0] = targets[separator] = targets[n - 1] = SC_NO_TARGET;
    choose(n, wanted > 1 ? wanted : 1, targets);
    bool chosen = false;
    for (int at = 0; at < n; at++) {
        chosen = targets[at] == CHOSEN || (chosen && targets[at] == GOES_ON);
        targets[at] = chosen ? tokens[at] : SC_NO_TARGET;
        if (chosen)
            tokens[at] = replace(self, fate, any, at, tokens[at]);
    }
}

int sc_pretrain_get(const sc_examples *self, uint64_t seed, uint32_t epoch, size_t row, int32_t *tokens,
                    int32_t *segments, int32_t *targets, int32_t *next)
{
    const pair p = draw_pair(self, seed, epoch, row);
    const int n = sc_examples_frame(self, self->ids + p.a, p.n_a, self->ids + p.b, p.n_b, tokens, segments);
    mask(self, seed, epoch, row, n, p.n_a + 1, tokens, targets);
    *next = p.elsewhere;
    return n;
}
