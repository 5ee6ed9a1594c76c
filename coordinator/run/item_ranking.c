#include "coordinator/run/item_ranking.h"

#include <assert.h>
#include <stdlib.h>

sc_status sc_item_ranking_init(const sc_item_sequences *sequences, sc_item_part part, bool exclude_seen, int32_t vocab,
                               sc_item_ranking *out)
{
    assert(part != SC_ITEMS_TRAIN && vocab > sequences->names.n);
    *out = (sc_item_ranking){.sequences = sequences, .part = part, .exclude_seen = exclude_seen, .vocab = vocab};
    out->excluded = calloc((size_t)vocab, sizeof *out->excluded);
    return out->excluded ? SC_OK : SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to rank %d items", (int)vocab);
}

void sc_item_ranking_clear(sc_item_ranking *self)
{
    free(self->excluded);
    *self = (sc_item_ranking){0};
}

static void mark(sc_item_ranking *self, const int32_t *items, size_t n, bool seen)
{
    for (size_t i = 0; self->exclude_seen && i < n; i++)
        self->excluded[items[i]] = seen;
}

static uint64_t rank_of(sc_item_ranking *self, size_t user, const float *scores, int32_t *right)
{
    size_t n;
    const int32_t *items = sc_item_sequences_of(self->sequences, user, self->part, &n);
    *right = items[n - 1];
    mark(self, items, n - 1, true);
    const uint64_t rank =
        sc_ranking_rank(scores, SC_ITEM_PADDING + 1, self->sequences->names.n + 1, self->excluded, *right);
    mark(self, items, n - 1, false);
    return rank;
}

void sc_item_ranking_add(sc_item_ranking *self, size_t user, const float *scores)
{
    int32_t right;
    const uint64_t rank = rank_of(self, user, scores, &right);
    sc_ranking_add(&self->sums, rank, sc_ranking_loss(scores, self->vocab, right));
}

sc_status sc_item_ranking_take(sc_item_ranking *self, sc_feed *feed, sc_feed_item round, sc_buffer *logits)
{
    const size_t V = (size_t)self->vocab, B = (size_t)sc_feed_most_rows(feed);
    const int n = sc_feed_n_microbatches(feed, round);
    const size_t wanted = (size_t)n * B * V * sizeof(float), came = logits ? sc_buffer_bytes(logits) : 0;
    if (came != wanted)
        return SC_FAIL(SC_INVALID, "the last stage sent %zu bytes of logits instead of %zu", came, wanted);
    for (int m = 0; m < n; m++) {
        const sc_micro_batch *data;
        const float *rows = (const float *)sc_buffer_data(logits) + (size_t)m * B * V;
        SC_TRY(sc_feed_get(feed, round, m, &data));
        for (int b = 0; b < data->B; b++)
            sc_item_ranking_add(self, data->rows[b], rows + (size_t)b * V);
    }
    return SC_OK;
}

sc_status sc_item_ranking_popularity(const sc_item_sequences *sequences, sc_item_part part, bool exclude_seen,
                                     sc_ranking_scores *out)
{
    sc_item_ranking ranking;
    const int32_t vocab = sequences->names.n + 1;
    SC_TRY(sc_item_ranking_init(sequences, part, exclude_seen, vocab, &ranking));
    float *counts = calloc((size_t)vocab, sizeof *counts);
    sc_status status = counts ? SC_OK : SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to count %d items", (int)vocab);
    for (size_t user = 0; counts && user < sequences->n_users; user++) {
        size_t n;
        const int32_t *items = sc_item_sequences_of(sequences, user, SC_ITEMS_TRAIN, &n);
        for (size_t i = 0; i < n; i++)
            counts[items[i]]++;
    }
    for (size_t user = 0; counts && user < sequences->n_users; user++) {
        int32_t right;
        const uint64_t rank = rank_of(&ranking, user, counts, &right);
        sc_ranking_add(&ranking.sums, rank, 0);
    }
    *out = sc_ranking_mean(&ranking.sums);
    free(counts);
    sc_item_ranking_clear(&ranking);
    return status;
}
