/* Each user's items in order of time, as ids, cut for leave-one-out: the last one tests, the one before it is for evaluation while
 * training goes on (dev), the others train.
 * Source: Kang & McAuley, "Self-attentive sequential recommendation", ICDM 2018, sec. IV.
 *
 * Items that occur fewer than min_item_count times are left out first, then users with fewer than min_user_items of what is left.
 * What is left of the items is the vocabulary: ids 1 .. n_items by the order of their names' bytes; 0 is padding. So ids do not
 * depend on the order of the data. Users come in the order in which they were read first.
 *
 * Zero-initialise; clear frees. Thread: one owns it; reading, any. */
#ifndef SC_ITEM_SEQUENCES_H
#define SC_ITEM_SEQUENCES_H

#include "coordinator/data/interactions.h"

enum { SC_ITEM_PADDING = 0 };
enum { SC_ITEM_MIN_USER_ITEMS = 3 }; /* fewer cannot be cut in three */

typedef struct sc_item_sequences {
    int32_t *items; /* of all users, one behind the other */
    size_t *begins; /* [n_users + 1]: where in `items` a user's begin */
    size_t n_users;
    sc_labels names; /* of item i: names[i - 1] */
    struct {
        size_t interactions, items; /* that were left out */
        int32_t users;
    } dropped;
} sc_item_sequences;

/* The parts of leave-one-out. */
typedef enum sc_item_part { SC_ITEMS_TRAIN, SC_ITEMS_DEV, SC_ITEMS_TEST } sc_item_part;

/* Sorts the interactions. min_user_items >= SC_ITEM_MIN_USER_ITEMS. `name` is what messages call the data.
 * Errors: SC_INVALID (no user is left), SC_RESOURCE_EXHAUSTED. */
sc_status sc_item_sequences_make(sc_interactions *interactions, int64_t min_item_count, int64_t min_user_items,
                                 const char *name, sc_item_sequences *out);
void sc_item_sequences_clear(sc_item_sequences *self);

/* A user's items of a part: training's own; for DEV and TEST all before the one that is to be found, and that one, the last. */
const int32_t *sc_item_sequences_of(const sc_item_sequences *self, size_t user, sc_item_part part, size_t *n);

#endif
