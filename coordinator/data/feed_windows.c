/* The feed of a token stream: windows of T tokens, each the other's targets shifted by one. */
#include "coordinator/data/batches.h"
#include "coordinator/data/feed_internal.h"
#include "coordinator/data/windows.h"

#include <stdlib.h>

typedef struct window_feed {
    sc_feed base;
    sc_corpus *corpus;
    sc_batches batches;
} window_feed;

static const window_feed *of(const sc_feed *self)
{
    return (const window_feed *)self;
}

static void destroy(sc_feed *self)
{
    sc_corpus_destroy(&((window_feed *)self)->corpus);
}

static const sc_tokenizer *tokenizer(const sc_feed *self)
{
    return sc_corpus_tokenizer(of(self)->corpus);
}

static uint64_t n_items(const sc_feed *self, sc_data_split split)
{
    const sc_batches *b = &of(self)->batches;
    if (split == SC_SPLIT_VALIDATION)
        return (uint64_t)b->eval_runs;
    const uint64_t batch = (uint64_t)b->batch_size;
    return split == SC_SPLIT_TRAIN ? (sc_windows_per_epoch(b->train.n, b->T) + batch - 1) / batch : 0;
}

static uint64_t n_tokens(const sc_feed *self, sc_data_split split)
{
    const sc_batches *b = &of(self)->batches;
    return split == SC_SPLIT_TRAIN ? b->train.n : split == SC_SPLIT_VALIDATION ? b->validation.n : 0;
}

static sc_status hash(const sc_feed *self, uint64_t *out)
{
    return sc_tokens_hash(&of(self)->batches.train, out);
}

static int n_microbatches(const sc_feed *self, sc_feed_item item)
{
    const sc_batches *b = &of(self)->batches;
    return item.split == SC_SPLIT_TRAIN ? b->n_microbatches : b->eval_microbatches;
}

static sc_status get(sc_feed *self, sc_feed_item item, int microbatch)
{
    const sc_batches *b = &of(self)->batches;
    self->micro.B = b->B;
    self->micro.T = b->T;
    return item.split == SC_SPLIT_TRAIN
               ? sc_batches_get(b, item.index, microbatch, self->micro.tokens, self->micro.targets)
               : sc_batches_get_eval(b, (int)item.index, microbatch, self->micro.tokens, self->micro.targets);
}

/* Every position has one. */
static sc_status measure(const sc_feed *self, sc_feed_item item, sc_feed_size *out)
{
    const sc_batches *b = &of(self)->batches;
    const uint64_t rows = (uint64_t)n_microbatches(self, item) * (uint64_t)b->B, tokens = rows * (uint64_t)b->T;
    *out = (sc_feed_size){.n_targets = tokens, .n_sequences = rows, .n_tokens = tokens};
    return SC_OK;
}

static const sc_feed_kind windows = {
    .destroy = destroy,
    .tokenizer = tokenizer,
    .n_items = n_items,
    .n_tokens = n_tokens,
    .hash = hash,
    .n_microbatches = n_microbatches,
    .get = get,
    .measure = measure,
};

sc_status sc_feed_open_windows(const sc_config *config, sc_feed **out)
{
    window_feed *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the training data");
    self->base.kind = &windows;
    *out = &self->base;
    SC_TRY(sc_corpus_load(config, &self->corpus));
    self->batches = sc_batches_of(config, self->corpus);
    sc_micro_batch *micro = &self->base.micro;
    const size_t ids = (size_t)self->batches.B * (size_t)self->batches.T;
    *micro = (sc_micro_batch){
        .tokens = calloc(ids, sizeof *micro->tokens),
        .targets = calloc(ids, sizeof *micro->targets),
        .most_rows = self->batches.B,
        .longest = self->batches.T,
    };
    if (!micro->tokens || !micro->targets)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a micro-batch of %zu tokens", ids);
    return SC_OK;
}
