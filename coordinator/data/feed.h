/* A run's data, whatever its task: micro-batches by random access.
 *
 * Mental model. A feed has a training split and, as the config wants it, one for validation and one for a test. A split is a row of
 * items, and an item is what one plan runs: n micro-batches.
 *
 *   training            item i is step i (from 0) of the whole run; items_per_epoch of them see each example once
 *   validation, test    item i is round i of an evaluation; all n_items of them see each example once
 *
 *                       windows of a token stream (batches.h)          examples (example_batches.h)
 *   tasks               next_token                                     classification, tagging, pretraining, masked_words;
 *                                                                      next_token of items (item_data.h)
 *   micro-batches       all of one shape                               padded to their own longest row
 *   evaluation          train.eval_batches batches, spread             each example once
 *
 * What an item is depends on config and data alone, so a run goes on at any step without a memory of the steps before.
 * A kind of data is one table of functions (feed_internal.h); nothing else knows which kinds there are.
 *
 * Memory: what is returned lies in the feed. Thread: one owns it. */
#ifndef SC_FEED_H
#define SC_FEED_H

#include "coordinator/data/dataset.h"
#include "coordinator/data/example_batches.h"
#include "proto/base/config.h"

typedef struct sc_feed sc_feed;

typedef struct sc_feed_item {
    sc_data_split split;
    uint64_t index;
} sc_feed_item;

/* Sums over the micro-batches of an item. */
typedef struct sc_feed_size {
    uint64_t n_targets;   /* that count, of what the loss is the mean over */
    double target_weight; /* with class weights: theirs, of those targets together; else 0 */
    uint64_t n_sequences; /* rows */
    uint64_t n_tokens;    /* without padding */
} sc_feed_size;

/* Reads, checks and tokenises all data that the config names. Returns owned; borrows the config while it works.
 * Errors: those of sc_corpus_load; of tables also SC_INVALID naming file and line (labelled_texts.h, tagged_words.h), or the key. */
sc_status sc_feed_open(const sc_config *config, sc_feed **out);
void sc_feed_destroy(sc_feed **self_p);

/* Borrowed from the feed. */
const sc_tokenizer *sc_feed_tokenizer(const sc_feed *self);
const sc_labels *sc_feed_labels(const sc_feed *self);            /* NULL: the task has none */
const sc_item_sequences *sc_feed_sequences(const sc_feed *self); /* of a recommender; NULL: the data are others */
bool sc_feed_excludes_seen(const sc_feed *self);                 /* data.exclude_seen */
int sc_feed_n_labels(const sc_feed *self);                       /* 0: the same */
const float *sc_feed_class_weights(const sc_feed *self);         /* [n_labels], by train.class_weights; NULL: all 1 */
/* What the examples of a split were made of, and they; NULL: the data are others, or there is no such split. */
const sc_dataset *sc_feed_dataset(const sc_feed *self);
const sc_examples *sc_feed_examples(const sc_feed *self, sc_data_split split);

/* B and T: what no micro-batch exceeds. */
int sc_feed_most_rows(const sc_feed *self);
int sc_feed_longest(const sc_feed *self);
/* Items of an epoch, or of an evaluation; 0: there is no such split. */
uint64_t sc_feed_n_items(const sc_feed *self, sc_data_split split);
/* Tokens of a split, as a run reports them; of pre-training examples those of the documents. */
uint64_t sc_feed_n_tokens(const sc_feed *self, sc_data_split split);
/* A number that tells training data apart. Errors: of reading token files. */
sc_status sc_feed_hash(const sc_feed *self, uint64_t *out);

/* Micro-batches of an item: of training always batch_size / micro_batch_size; of an evaluation's last round perhaps fewer. */
int sc_feed_n_microbatches(const sc_feed *self, sc_feed_item item);
/* Errors of both: of reading token files; SC_RESOURCE_EXHAUSTED. */
sc_status sc_feed_measure(sc_feed *self, sc_feed_item item, sc_feed_size *out);
/* *out is valid until the next call that gets or measures. segments, lengths, next and rows are NULL where the data have none. */
sc_status sc_feed_get(sc_feed *self, sc_feed_item item, int microbatch, const sc_micro_batch **out);

#endif
