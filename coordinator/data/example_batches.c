#include "coordinator/data/example_batches.h"

#include "coordinator/data/windows.h"
#include "proto/base/rng.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

sc_status sc_micro_batch_init(sc_micro_batch *self, int most_rows, int longest)
{
    const size_t rows = (size_t)most_rows, all = rows * (size_t)longest;
    *self = (sc_micro_batch){.most_rows = most_rows, .longest = longest};
    self->tokens = malloc(all * sizeof *self->tokens);
    self->segments = malloc(all * sizeof *self->segments);
    self->targets = malloc(all * sizeof *self->targets);
    self->lengths = malloc(rows * sizeof *self->lengths);
    self->next = calloc(rows, sizeof *self->next);
    self->rows = malloc(rows * sizeof *self->rows);
    if (self->tokens && self->segments && self->targets && self->lengths && self->next && self->rows)
        return SC_OK;
    sc_micro_batch_clear(self);
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a micro-batch of %d rows of %d tokens", most_rows, longest);
}

sc_status sc_micro_batch_widen(sc_micro_batch *self, int n_targets)
{
    const size_t all = (size_t)self->most_rows * (size_t)n_targets;
    if (n_targets <= self->longest)
        return SC_OK;
    int32_t *targets = realloc(self->targets, all * sizeof *targets);
    if (!targets)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a micro-batch of %d rows of %d targets", self->most_rows,
                       n_targets);
    self->targets = targets;
    return SC_OK;
}

void sc_micro_batch_clear(sc_micro_batch *self)
{
    free(self->tokens);
    free(self->segments);
    free(self->targets);
    free(self->lengths);
    free(self->next);
    free(self->rows);
    *self = (sc_micro_batch){0};
}

typedef struct sized {
    int length;
    size_t place, row;
} sized;

/* Long rows first: what needs most memory comes early. Equal ones in the order of their places. */
static int compare(const void *a, const void *b)
{
    const sized *x = a, *y = b;
    if (x->length != y->length)
        return x->length < y->length ? 1 : -1;
    return x->place < y->place ? -1 : x->place > y->place;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Shuffles the n / batch_size whole batches of a pool; what is left over stays behind them. */
static void shuffle_batches(sc_example_batches *self, size_t first, size_t n, size_t *spare)
{
    const size_t batch = (size_t)self->batch_size, n_batches = n / batch;
    const sc_rng rng = {.seed = self->seed,
                        .site = SC_RNG_SITE(SC_RNG_SHUFFLE, 2), /* 0 and 1 are those of windows.c */
                        .step = self->epoch,
                        .row = (uint32_t)(first / batch)};
    for (size_t i = n_batches; i-- > 1;) {
        const size_t k = (size_t)sc_rng_below(&rng, i, i + 1);
        size_t *a = self->order + first + i * batch, *b = self->order + first + k * batch;
        memcpy(spare, a, batch * sizeof *a);
        memmove(a, b, batch * sizeof *a);
        memcpy(b, spare, batch * sizeof *a);
    }
}

/* Sorts `pool` rows at a time by length. */
static sc_status arrange(sc_example_batches *self, bool shuffled, size_t pool)
{
    sized *all = malloc(self->n * sizeof *all);
    size_t *spare = malloc((size_t)self->batch_size * sizeof *spare);
    self->order = malloc(self->n * sizeof *self->order);
    if (!all || !spare || !self->order) {
        free(all);
        free(spare);
        sc_example_batches_clear(self);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to put %zu examples in order", sc_examples_n(self->examples));
    }
    for (size_t i = 0; i < self->n; i++) {
        const size_t row = shuffled ? (size_t)sc_windows_permute(self->seed, self->epoch, self->n, i) : i;
        all[i] = (sized){sc_examples_length(self->examples, self->seed, self->epoch, row), i, row};
    }
    for (size_t first = 0; first < self->n; first += pool) {
        const size_t n = smaller(pool, self->n - first);
        qsort(all + first, n, sizeof *all, compare);
        for (size_t i = 0; i < n; i++)
            self->order[first + i] = all[first + i].row;
        if (shuffled)
            shuffle_batches(self, first, n, spare);
    }
    free(all);
    free(spare);
    return SC_OK;
}

/* Steps end where the length changes. */
static sc_status cut_by_length(sc_example_batches *self)
{
    self->begins = malloc((self->n + 1) * sizeof *self->begins);
    if (!self->begins) {
        sc_example_batches_clear(self);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to cut %zu examples", sc_examples_n(self->examples));
    }
    int last = 0;
    self->n_steps = 0;
    for (size_t i = 0, begin = 0; i < self->n; i++) {
        const int length = sc_examples_length(self->examples, self->seed, self->epoch, self->order[i]);
        if (i == 0 || length != last || i - begin == (size_t)self->batch_size)
            self->begins[self->n_steps++] = begin = i;
        last = length;
    }
    self->begins[self->n_steps] = self->n;
    return SC_OK;
}

uint64_t sc_example_batches_steps(size_t n, int batch_size)
{
    return (n + (size_t)batch_size - 1) / (size_t)batch_size;
}

sc_status sc_example_batches_epoch(const sc_examples *examples, uint64_t seed, uint32_t epoch, int batch_size,
                                   int n_microbatches, sc_example_batches *out)
{
    assert(batch_size > 0 && n_microbatches > 0 && batch_size % n_microbatches == 0 && sc_examples_n(examples) > 0);
    *out = (sc_example_batches){.examples = examples,
                                .seed = seed,
                                .epoch = epoch,
                                .batch_size = batch_size,
                                .n_microbatches = n_microbatches,
                                .n = sc_examples_n(examples)};
    out->n_steps = sc_example_batches_steps(out->n, batch_size);
    return arrange(out, true, (size_t)SC_EXAMPLE_POOL * (size_t)batch_size);
}

sc_status sc_example_batches_all(const sc_examples *examples, uint64_t seed, uint32_t epoch, int B,
                                 sc_example_batches *out)
{
    assert(B > 0 && sc_examples_n(examples) > 0);
    *out = (sc_example_batches){.examples = examples,
                                .seed = seed,
                                .epoch = epoch,
                                .batch_size = B,
                                .n_microbatches = 1,
                                .n = sc_examples_n(examples)};
    out->n_steps = sc_example_batches_steps(out->n, B);
    SC_TRY(arrange(out, false, out->n));
    return sc_examples_kind_of(examples) == SC_EXAMPLES_ITEMS ? cut_by_length(out) : SC_OK;
}

void sc_example_batches_clear(sc_example_batches *self)
{
    free(self->order);
    free(self->begins);
    *self = (sc_example_batches){0};
}

static void pad(const sc_micro_batch *batch, int b, int32_t pad_id, bool per_token)
{
    for (int t = batch->lengths[b]; t < batch->T; t++) {
        const size_t at = (size_t)b * (size_t)batch->T + (size_t)t;
        batch->tokens[at] = pad_id;
        batch->segments[at] = 0;
        if (per_token)
            batch->targets[at] = SC_NO_TARGET;
    }
}

void sc_example_batches_get(const sc_example_batches *self, uint64_t step, int microbatch, sc_micro_batch *out)
{
    assert(step < self->n_steps && microbatch >= 0 && microbatch < self->n_microbatches);
    const size_t first = self->begins ? self->begins[step] : (size_t)step * (size_t)self->batch_size;
    const size_t n_rows =
        self->begins ? self->begins[step + 1] - first : smaller((size_t)self->batch_size, self->n - first);
    const size_t m = (size_t)microbatch, M = (size_t)self->n_microbatches;
    const size_t filled = n_rows < M ? M : n_rows; /* with rows of the epoch's beginning */
    const size_t begin = filled * m / M, end = filled * (m + 1) / M;
    const bool per_token = sc_examples_kind_of(self->examples) != SC_EXAMPLES_CLASSES;
    const size_t n_targets = (size_t)sc_examples_n_targets(self->examples, 1);
    out->B = (int)(end - begin);
    out->T = 0;
    assert(out->B <= out->most_rows && sc_examples_longest(self->examples) <= out->longest);
    for (int b = 0; b < out->B; b++) {
        const size_t i = begin + (size_t)b;
        out->rows[b] = self->order[i < n_rows ? first + i : (i - n_rows) % self->n];
        out->lengths[b] = sc_examples_length(self->examples, self->seed, self->epoch, out->rows[b]);
        out->T = out->lengths[b] > out->T ? out->lengths[b] : out->T;
    }
    for (int b = 0; b < out->B; b++) {
        const size_t at = (size_t)b * (size_t)out->T;
        sc_examples_get(self->examples, self->seed, self->epoch, out->rows[b], out->tokens + at, out->segments + at,
                        out->targets + (per_token ? at : (size_t)b * n_targets), &out->next[b]);
        pad(out, b, sc_examples_pad(self->examples), per_token);
    }
}
