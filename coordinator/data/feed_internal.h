/* What the files of the feed share: feed.c (the interface), feed_windows.c (a token stream), feed_examples.c (examples). */
#ifndef SC_FEED_INTERNAL_H
#define SC_FEED_INTERNAL_H

#include "coordinator/data/feed.h"

typedef struct sc_feed_kind {
    void (*destroy)(sc_feed *self);
    const sc_tokenizer *(*tokenizer)(const sc_feed *self);
    uint64_t (*n_items)(const sc_feed *self, sc_data_split split);
    uint64_t (*n_tokens)(const sc_feed *self, sc_data_split split);
    sc_status (*hash)(const sc_feed *self, uint64_t *out);
    int (*n_microbatches)(const sc_feed *self, sc_feed_item item);
    /* Fills the feed's micro-batch. */
    sc_status (*get)(sc_feed *self, sc_feed_item item, int microbatch);
    /* What is known of an item without looking at it. NULL: its micro-batches are got, and counted with n_targets. */
    sc_status (*measure)(const sc_feed *self, sc_feed_item item, sc_feed_size *out);
    /* That count in the feed's micro-batch, and what they weigh where there are class weights. */
    uint64_t (*n_targets)(const sc_feed *self, double *weight);
} sc_feed_kind;

enum { SC_FEED_SIZES = 4 }; /* items whose size is remembered: one is asked for several times, while the next is sent */

/* The beginning of each kind's own structure. */
struct sc_feed {
    const sc_feed_kind *kind;
    const sc_labels *labels;            /* NULL: none */
    float *class_weights;               /* [labels->n], owned; NULL: all 1 */
    const sc_item_sequences *sequences; /* NULL: none */
    bool excludes_seen;
    const sc_dataset *dataset;          /* NULL: none */
    sc_examples *examples[SC_N_SPLITS]; /* owned; NULL: the data are others, or there is no such split */
    sc_micro_batch micro;
    struct {
        bool known;
        sc_feed_item item;
        sc_feed_size size;
    } sizes[SC_FEED_SIZES]; /* in turn */
    uint64_t n_sizes;
};

/* One of each kind. *out is to be destroyed even after an error, if it is not NULL. */
sc_status sc_feed_open_windows(const sc_config *config, sc_feed **out);
sc_status sc_feed_open_examples(const sc_config *config, sc_feed **out);

#endif
