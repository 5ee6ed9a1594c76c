#include "coordinator/data/feed_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

sc_status sc_feed_open(const sc_config *config, sc_feed **out)
{
    *out = NULL;
    const bool is_text = config->model.task == SC_TASK_NEXT_TOKEN && !sc_config_has_items(config);
    const sc_status status = is_text ? sc_feed_open_windows(config, out) : sc_feed_open_examples(config, out);
    if (status != SC_OK)
        sc_feed_destroy(out);
    return status;
}

void sc_feed_destroy(sc_feed **self_p)
{
    sc_feed *self = *self_p;
    if (!self)
        return;
    sc_micro_batch_clear(&self->micro);
    free(self->class_weights);
    self->kind->destroy(self);
    free(self);
    *self_p = NULL;
}

const sc_tokenizer *sc_feed_tokenizer(const sc_feed *self)
{
    return self->kind->tokenizer(self);
}

const sc_labels *sc_feed_labels(const sc_feed *self)
{
    return self->labels;
}

const sc_item_sequences *sc_feed_sequences(const sc_feed *self)
{
    return self->sequences;
}

const sc_dataset *sc_feed_dataset(const sc_feed *self)
{
    return self->dataset;
}

const sc_examples *sc_feed_examples(const sc_feed *self, sc_data_split split)
{
    return self->examples[split];
}

bool sc_feed_excludes_seen(const sc_feed *self)
{
    return self->excludes_seen;
}

int sc_feed_n_labels(const sc_feed *self)
{
    return self->labels ? (int)self->labels->n : 0;
}

const float *sc_feed_class_weights(const sc_feed *self)
{
    return self->class_weights;
}

int sc_feed_most_rows(const sc_feed *self)
{
    return self->micro.most_rows;
}

int sc_feed_longest(const sc_feed *self)
{
    return self->micro.longest;
}

uint64_t sc_feed_n_items(const sc_feed *self, sc_data_split split)
{
    return self->kind->n_items(self, split);
}

uint64_t sc_feed_n_tokens(const sc_feed *self, sc_data_split split)
{
    return self->kind->n_tokens(self, split);
}

sc_status sc_feed_hash(const sc_feed *self, uint64_t *out)
{
    return self->kind->hash(self, out);
}

int sc_feed_n_microbatches(const sc_feed *self, sc_feed_item item)
{
    return self->kind->n_microbatches(self, item);
}

sc_status sc_feed_get(sc_feed *self, sc_feed_item item, int microbatch, const sc_micro_batch **out)
{
    assert(microbatch >= 0 && microbatch < sc_feed_n_microbatches(self, item));
    assert(item.split == SC_SPLIT_TRAIN || item.index < sc_feed_n_items(self, item.split));
    SC_TRY(self->kind->get(self, item, microbatch));
    *out = &self->micro;
    return SC_OK;
}

static uint64_t n_tokens(const sc_micro_batch *m)
{
    uint64_t n = 0;
    for (int b = 0; b < m->B; b++)
        n += (uint64_t)m->lengths[b];
    return n;
}

sc_status sc_feed_measure(sc_feed *self, sc_feed_item item, sc_feed_size *out)
{
    if (self->kind->measure)
        return self->kind->measure(self, item, out);
    for (int i = 0; i < SC_FEED_SIZES; i++)
        if (self->sizes[i].known && self->sizes[i].item.split == item.split &&
            self->sizes[i].item.index == item.index) {
            *out = self->sizes[i].size;
            return SC_OK;
        }
    *out = (sc_feed_size){0};
    for (int m = 0; m < sc_feed_n_microbatches(self, item); m++) {
        SC_TRY(self->kind->get(self, item, m));
        out->n_targets += self->kind->n_targets(self, &out->target_weight);
        out->n_sequences += (uint64_t)self->micro.B;
        out->n_tokens += n_tokens(&self->micro);
    }
    const size_t at = self->n_sizes++ % SC_FEED_SIZES;
    self->sizes[at].known = true;
    self->sizes[at].item = item;
    self->sizes[at].size = *out;
    return SC_OK;
}
