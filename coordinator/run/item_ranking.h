/* The items that leave-one-out sets apart, ranked among all others by a model's scores, and by how popular items are.
 *
 * Items that the user has met before are no candidates, if they are excluded; one that is to be found is a candidate in any case,
 * even if it was met before. Thread: one owns it. */
#ifndef SC_ITEM_RANKING_H
#define SC_ITEM_RANKING_H

#include "coordinator/data/feed.h"
#include "coordinator/report/ranking.h"
#include "proto/wire/buffer.h"

typedef struct sc_item_ranking {
    const sc_item_sequences *sequences; /* borrowed */
    sc_item_part part;                  /* DEV or TEST */
    bool exclude_seen;
    int32_t vocab;
    bool *excluded; /* [vocab], all false between calls */
    sc_ranking sums;
} sc_item_ranking;

/* vocab: scores of an example, at least the items' and padding. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_item_ranking_init(const sc_item_sequences *sequences, sc_item_part part, bool exclude_seen, int32_t vocab,
                               sc_item_ranking *out);
void sc_item_ranking_clear(sc_item_ranking *self);

/* Takes a model's scores for what follows the user's items. scores: [vocab]. */
void sc_item_ranking_add(sc_item_ranking *self, size_t user, const float *scores);

/* Takes the logits of a round of an evaluation: of each of its micro-batches B rows of `vocab`, of which the last may be empty.
 * Errors: SC_INVALID (another number of them), those of sc_feed_get. */
sc_status sc_item_ranking_take(sc_item_ranking *self, sc_feed *feed, sc_feed_item round, sc_buffer *logits);

/* The baseline: all users, with the number of times that an item occurs in the training part as its score. Its loss is 0. Errors:
 * SC_RESOURCE_EXHAUSTED. */
sc_status sc_item_ranking_popularity(const sc_item_sequences *sequences, sc_item_part part, bool exclude_seen,
                                     sc_ranking_scores *out);

#endif
