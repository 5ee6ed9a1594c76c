/* Who met which item, in order of time: what a recommender learns from, and how it is put in order.
 *
 * A file holds a line for each interaction, its fields between a separator, or a line for each user with his items in order.
 * Items are names without blanks. Empty lines are passed over. Several files, of either kind, may be read one behind the other;
 * a user of the first kind is known by his name in all of them, of the second each line is another user.
 *
 * Zero-initialise; clear frees. Thread: one owns it. */
#ifndef SC_INTERACTIONS_H
#define SC_INTERACTIONS_H

#include "coordinator/data/labels.h"
#include "coordinator/data/tokenizer.h"

enum { SC_ITEM_NAME_BYTES = SC_TOKEN_MAX_BYTES - 2 }; /* the longest name: it is a token, with a blank in front */

typedef struct sc_interaction {
    double time;
    int32_t user, item;
    size_t place; /* in which they were read */
} sc_interaction;

typedef struct sc_interactions {
    sc_labels users, items; /* items: numbered as they came */
    sc_interaction *all;    /* [n] */
    size_t n, capacity;
    int32_t n_users;  /* as many as `users`, and those without a name */
    int32_t *numbers; /* [users.n]: of the users that have a name */
    int32_t numbers_capacity;
} sc_interactions;

/* How a line is to be read. Columns are numbers from 1. Borrows the separator. */
typedef struct sc_interaction_columns {
    const char *separator; /* not empty */
    int user, item;
    int time; /* 0: there is none, and the lines are in order */
} sc_interaction_columns;

void sc_interactions_clear(sc_interactions *self);

/* Lines of fields. A time is a number. Errors of both, naming file and line: SC_INVALID (a field that is missing, empty or no
 * number, a name with a blank or too long, broken UTF-8, no interaction at all); SC_RESOURCE_EXHAUSTED. */
sc_status sc_interactions_read(sc_interactions *self, const sc_text *file, const sc_interaction_columns *columns);
/* Lines of items between blanks or tabs. */
sc_status sc_interactions_read_sequences(sc_interactions *self, const sc_text *file);

/* Puts them in order: by user, then by time, and at equal times as they were read. */
void sc_interactions_sort(sc_interactions *self);

#endif
