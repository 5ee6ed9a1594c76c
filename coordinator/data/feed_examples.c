/* The feed of examples: rows of like length, each micro-batch padded to its own longest. */
#include "coordinator/data/class_weights.h"
#include "coordinator/data/feed_internal.h"
#include "coordinator/data/item_data.h"
#include "coordinator/data/pretrain_examples.h"
#include "proto/base/checksums.h"

#include <stdlib.h>
#include <string.h>

enum {
    EPOCHS = 2, /* that are in order at once: a step that is run again may be of the epoch before */
    NO_EPOCH = -1
};

typedef struct example_feed {
    sc_feed base;
    const sc_tokenizer *tokenizer;
    sc_tokenizer *opened; /* the tokenizer, where it is not that of `items` */
    sc_dataset data;
    sc_item_data items; /* for a recommender, instead of `data` */
    uint64_t n_tokens[SC_N_SPLITS];
    uint64_t seed, hash, steps; /* steps of an epoch */
    int batch_size, B, M;
    struct {
        int64_t number; /* NO_EPOCH: none */
        sc_example_batches batches;
    } epochs[EPOCHS]; /* by number, in turn */
    sc_example_batches rounds[SC_N_SPLITS];
} example_feed;

static example_feed *of(const sc_feed *self)
{
    return (example_feed *)self;
}

static bool is_pretraining(const example_feed *self)
{
    return self->data.task == SC_TASK_PRETRAINING || self->data.task == SC_TASK_MASKED_WORDS;
}

static void destroy(sc_feed *base)
{
    example_feed *self = of(base);
    for (int i = 0; i < EPOCHS; i++)
        sc_example_batches_clear(&self->epochs[i].batches);
    for (int i = 0; i < SC_N_SPLITS; i++) {
        sc_example_batches_clear(&self->rounds[i]);
        sc_examples_destroy(&self->base.examples[i]);
    }
    sc_dataset_clear(&self->data);
    sc_item_data_clear(&self->items);
    sc_tokenizer_destroy(&self->opened);
}

static const sc_tokenizer *tokenizer(const sc_feed *self)
{
    return of(self)->tokenizer;
}

/* --- items ------------------------------------------------------------------------------------------------------------- */

static uint64_t n_items(const sc_feed *base, sc_data_split split)
{
    const example_feed *self = of(base);
    if (split == SC_SPLIT_TRAIN)
        return self->steps;
    const uint64_t M = (uint64_t)self->M;
    return (self->rounds[split].n_steps + M - 1) / M; /* its steps are micro-batches */
}

static uint64_t n_tokens(const sc_feed *self, sc_data_split split)
{
    return of(self)->n_tokens[split];
}

static sc_status hash(const sc_feed *self, uint64_t *out)
{
    *out = of(self)->hash;
    return SC_OK;
}

static int n_microbatches(const sc_feed *base, sc_feed_item item)
{
    const example_feed *self = of(base);
    const uint64_t M = (uint64_t)self->M;
    if (item.split == SC_SPLIT_TRAIN)
        return self->M;
    const uint64_t rest = self->rounds[item.split].n_steps - item.index * M;
    return (int)(rest < M ? rest : M);
}

static sc_status find_epoch(example_feed *self, uint64_t number, const sc_example_batches **out)
{
    const size_t at = number % EPOCHS;
    *out = &self->epochs[at].batches;
    if (self->epochs[at].number == (int64_t)number)
        return SC_OK;
    self->epochs[at].number = NO_EPOCH;
    sc_example_batches_clear(&self->epochs[at].batches);
    SC_TRY(sc_example_batches_epoch(self->base.examples[SC_SPLIT_TRAIN], self->seed, (uint32_t)number, self->batch_size,
                                    self->M, &self->epochs[at].batches));
    self->epochs[at].number = (int64_t)number;
    return SC_OK;
}

static sc_status get(sc_feed *base, sc_feed_item item, int microbatch)
{
    example_feed *self = of(base);
    const sc_example_batches *batches = &self->rounds[item.split];
    if (item.split == SC_SPLIT_TRAIN) {
        SC_TRY(find_epoch(self, item.index / self->steps, &batches));
        sc_example_batches_get(batches, item.index % self->steps, microbatch, &base->micro);
    } else {
        sc_example_batches_get(batches, item.index * (uint64_t)self->M + (uint64_t)microbatch, 0, &base->micro);
    }
    return SC_OK;
}

static uint64_t n_targets(const sc_feed *base, double *weight)
{
    const sc_micro_batch *m = &base->micro;
    const size_t n = (size_t)m->B * (size_t)sc_examples_n_targets(base->examples[SC_SPLIT_TRAIN], m->T);
    uint64_t counted = 0;
    for (size_t i = 0; i < n; i++) {
        if (m->targets[i] == SC_NO_TARGET)
            continue;
        counted++;
        if (base->class_weights)
            *weight += base->class_weights[m->targets[i]];
    }
    return counted;
}

static const sc_feed_kind kind = {
    .destroy = destroy,
    .tokenizer = tokenizer,
    .n_items = n_items,
    .n_tokens = n_tokens,
    .hash = hash,
    .n_microbatches = n_microbatches,
    .get = get,
    .n_targets = n_targets,
};

/* --- opening ----------------------------------------------------------------------------------------------------------- */

static sc_status open_tokenizer(example_feed *self, const sc_config *config)
{
    const char *path = config->data.tokenizer;
    if (strcmp(path, "byte") == 0 || strcmp(path, "char") == 0)
        return SC_FAIL(SC_INVALID,
                       "%s: data.tokenizer: %s makes no words; a bert needs the vocab.txt or the directory that its "
                       "vocabulary is in",
                       config->path, path);
    const sc_status status = sc_tokenizer_open(path, &self->opened);
    self->tokenizer = self->opened;
    return status == SC_OK ? SC_OK : SC_FAIL(status, "%s: data.tokenizer: %s", config->path, sc_status_message());
}

static sc_status read_items(example_feed *self, const sc_config *config)
{
    static const sc_item_part parts[] = {
        [SC_SPLIT_TRAIN] = SC_ITEMS_TRAIN, [SC_SPLIT_VALIDATION] = SC_ITEMS_DEV, [SC_SPLIT_TEST] = SC_ITEMS_TEST};
    SC_TRY(sc_item_data_read(config, &self->items));
    self->tokenizer = self->items.tokenizer;
    self->base.sequences = &self->items.sequences;
    self->base.excludes_seen = config->data.exclude_seen;
    self->data.task = SC_TASK_NEXT_TOKEN;
    for (int split = 0; split < SC_N_SPLITS; split++)
        SC_TRY(sc_examples_of_items(&self->items.sequences, parts[split], sc_config_sequence_length(config),
                                    &self->base.examples[split]));
    if (sc_examples_n(self->base.examples[SC_SPLIT_TRAIN]) > 0)
        return SC_OK;
    return SC_FAIL(SC_INVALID,
                   "%s: data.train: no user has an item to train on; a user's last two are for the test and for "
                   "validation, and the first has none before it, so that users of four items or more are needed",
                   config->path);
}

static sc_status make_examples(example_feed *self, const sc_config *config, sc_data_split split)
{
    const int longest = sc_config_sequence_length(config);
    sc_pretrain_options pretraining = sc_pretrain_defaults(longest, self->seed);
    pretraining.mask_share = config->data.mask_share;
    pretraining.short_share = config->data.short_share;
    pretraining.whole_words = config->data.whole_words;
    if (sc_dataset_n(&self->data, split) == 0)
        return SC_OK;
    switch (self->data.task) {
    case SC_TASK_CLASSIFICATION:
        if (config->model.multi_label)
            return sc_examples_of_label_sets(&self->data.texts[split], (int)self->data.labels.n, self->tokenizer,
                                             longest, &self->base.examples[split]);
        return sc_examples_of_texts(&self->data.texts[split], self->tokenizer, longest, &self->base.examples[split]);
    case SC_TASK_TAGGING:
        return sc_examples_of_words(&self->data.words[split], self->tokenizer, longest, &self->base.examples[split]);
    default:
        return sc_examples_of_documents(&self->data.documents[split], self->tokenizer, &pretraining,
                                        &self->base.examples[split]);
    }
}

static sc_status read_texts(example_feed *self, const sc_config *config)
{
    SC_TRY(open_tokenizer(self, config));
    SC_TRY(sc_dataset_read(config, self->tokenizer, &self->data));
    for (int split = 0; split < SC_N_SPLITS; split++)
        SC_TRY(make_examples(self, config, (sc_data_split)split));
    self->base.labels = self->data.labels.n > 0 ? &self->data.labels : NULL;
    self->base.dataset = &self->data;
    return SC_OK;
}

/* Room for rows of the examples and their targets. */
static sc_status init_micro_batch(sc_micro_batch *micro, int rows, int longest, const sc_examples *examples)
{
    SC_TRY(sc_micro_batch_init(micro, rows, longest));
    const sc_status status = sc_micro_batch_widen(micro, sc_examples_n_targets(examples, 1));
    if (status != SC_OK)
        sc_micro_batch_clear(micro);
    return status;
}

/* Targets of each label among the training rows. */
static sc_status count_labels(const example_feed *self, uint64_t *counts)
{
    const sc_examples *examples = self->base.examples[SC_SPLIT_TRAIN];
    sc_micro_batch row;
    SC_TRY(init_micro_batch(&row, 1, sc_examples_longest(examples), examples));
    for (size_t i = 0; i < sc_examples_n(examples); i++) {
        const int n = sc_examples_get(examples, 0, 0, i, row.tokens, row.segments, row.targets, row.next);
        for (int t = 0; t < sc_examples_n_targets(examples, n); t++)
            if (row.targets[t] != SC_NO_TARGET)
                counts[row.targets[t]]++;
    }
    sc_micro_batch_clear(&row);
    return SC_OK;
}

static sc_status weigh_classes(example_feed *self, const sc_config *config)
{
    if (config->train.n_class_weights == 0 || !self->base.labels)
        return SC_OK;
    uint64_t *counts = calloc((size_t)self->base.labels->n, sizeof *counts);
    if (!counts)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to count %d labels", self->base.labels->n);
    sc_status status = count_labels(self, counts);
    if (status == SC_OK) {
        status = sc_class_weights_new(config->train.class_weights, config->train.n_class_weights, self->base.labels,
                                      counts, &self->base.class_weights);
        if (status != SC_OK)
            status = SC_FAIL(status, "%s: train.class_weights: %s", config->path, sc_status_message());
    }
    free(counts);
    return status;
}

/* Of training rows that never change. */
static sc_status hash_rows(example_feed *self)
{
    const sc_examples *examples = self->base.examples[SC_SPLIT_TRAIN];
    sc_micro_batch row;
    SC_TRY(init_micro_batch(&row, 1, sc_examples_longest(examples), examples));
    for (size_t i = 0; i < sc_examples_n(examples); i++) {
        const size_t n = (size_t)sc_examples_get(examples, 0, 0, i, row.tokens, row.segments, row.targets, row.next);
        const size_t n_targets = (size_t)sc_examples_n_targets(examples, (int)n);
        const uint64_t parts[] = {self->hash, sc_checksum64_of(row.tokens, n * sizeof *row.tokens),
                                  sc_checksum64_of(row.targets, n_targets * sizeof *row.targets)};
        self->hash = sc_checksum64_of(parts, sizeof parts);
    }
    sc_micro_batch_clear(&row);
    return SC_OK;
}

/* Of documents, for what is drawn from them differs from epoch to epoch. */
static void hash_documents(example_feed *self, const sc_config *config)
{
    const sc_documents *documents = &self->data.documents[SC_SPLIT_TRAIN];
    const double shares[] = {config->data.mask_share, config->data.short_share, config->data.whole_words};
    const uint64_t parts[] = {
        self->hash, (uint64_t)sc_config_sequence_length(config), sc_checksum64_of(shares, sizeof shares),
        sc_checksum64_of(documents->ids, documents->n_ids * sizeof *documents->ids),
        sc_checksum64_of(documents->sentences, documents->n_sentences * sizeof *documents->sentences)};
    self->hash = sc_checksum64_of(parts, sizeof parts);
}

static void count_tokens(example_feed *self, sc_data_split split)
{
    const sc_examples *examples = self->base.examples[split];
    self->n_tokens[split] = self->data.documents[split].n_ids;
    for (size_t i = 0; !is_pretraining(self) && examples && i < sc_examples_n(examples); i++)
        self->n_tokens[split] += (uint64_t)sc_examples_length(examples, 0, 0, i);
}

static sc_status arrange(example_feed *self)
{
    int longest = 1;
    self->steps = sc_example_batches_steps(sc_examples_n(self->base.examples[SC_SPLIT_TRAIN]), self->batch_size);
    for (int i = 0; i < EPOCHS; i++)
        self->epochs[i].number = NO_EPOCH;
    for (int split = 0; split < SC_N_SPLITS; split++) {
        const sc_examples *examples = self->base.examples[split];
        if (examples && sc_examples_longest(examples) > longest)
            longest = sc_examples_longest(examples);
        if (examples && split != SC_SPLIT_TRAIN) /* what is drawn there is always that of epoch 0 */
            SC_TRY(sc_example_batches_all(examples, self->seed, 0, self->B, &self->rounds[split]));
        count_tokens(self, (sc_data_split)split);
    }
    return init_micro_batch(&self->base.micro, self->B, longest, self->base.examples[SC_SPLIT_TRAIN]);
}

sc_status sc_feed_open_examples(const sc_config *config, sc_feed **out)
{
    example_feed *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the training data");
    self->base.kind = &kind;
    self->seed = (uint64_t)config->run.seed;
    self->batch_size = (int)config->train.batch_size;
    self->B = (int)config->train.micro_batch_size;
    self->M = sc_config_n_microbatches(config);
    *out = &self->base;
    SC_TRY(sc_config_has_items(config) ? read_items(self, config) : read_texts(self, config));
    SC_TRY(sc_tokenizer_hash(self->tokenizer, &self->hash));
    if (is_pretraining(self))
        hash_documents(self, config);
    else
        SC_TRY(hash_rows(self));
    SC_TRY(weigh_classes(self, config));
    return arrange(self);
}
