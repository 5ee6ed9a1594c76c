/* What an evaluation has found, as names and numbers: for events.jsonl, for a person, for the choice of the best. The first is the
 * loss. */
#ifndef SC_SCORE_LIST_H
#define SC_SCORE_LIST_H

#include <assert.h>
#include <string.h>

enum { SC_MAX_SCORES = 8 };

typedef struct sc_score_list {
    int n;
    struct sc_named_score {
        const char *name; /* "loss", "perplexity", "accuracy", "macro_f1"; static */
        double value;
    } items[SC_MAX_SCORES];
} sc_score_list;

static inline void sc_score_list_add(sc_score_list *self, const char *name, double value)
{
    assert(self->n < SC_MAX_SCORES);
    self->items[self->n++] = (struct sc_named_score){name, value};
}

/* NULL: there is no such score. */
static inline const double *sc_score_list_find(const sc_score_list *self, const char *name)
{
    for (int i = 0; i < self->n; i++)
        if (strcmp(self->items[i].name, name) == 0)
            return &self->items[i].value;
    return NULL;
}

#endif
