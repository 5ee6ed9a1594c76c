#include "coordinator/report/entities.h"

#include <stdlib.h>
#include <string.h>

/* One of the two sequences of tags while it is read. */
typedef struct side {
    sc_tag before;
    size_t begin; /* where the entity that may be open begins */
} side;

typedef struct counter {
    sc_entities_rules rules;
    const sc_tag *tags; /* by label */
    sc_counts *counts;
    side right, predicted;
} counter;

static void step(counter *self, sc_tag right, sc_tag predicted, size_t at)
{
    const bool right_ends = sc_tag_ends(self->rules, self->right.before, right);
    const bool predicted_ends = sc_tag_ends(self->rules, self->predicted.before, predicted);
    const int32_t type = self->right.before.type;
    if (right_ends)
        self->counts[type].right++;
    if (predicted_ends)
        self->counts[self->predicted.before.type].predicted++;
    if (right_ends && predicted_ends && type == self->predicted.before.type &&
        self->right.begin == self->predicted.begin)
        self->counts[type].correct++;
    if (sc_tag_begins(self->rules, self->right.before, right))
        self->right.begin = at;
    if (sc_tag_begins(self->rules, self->predicted.before, predicted))
        self->predicted.begin = at;
    self->right.before = right;
    self->predicted.before = predicted;
}

static void count(counter *self, const sc_predictions *predictions)
{
    const sc_tag outside = sc_tag_outside;
    self->right.before = self->predicted.before = outside;
    for (size_t i = 0; i < predictions->n; i++) {
        const sc_prediction *item = &predictions->items[i];
        if (item->begins)
            step(self, outside, outside, i);
        step(self, self->tags[item->right], self->tags[item->predicted], i);
    }
    step(self, outside, outside, predictions->n);
}

sc_status sc_entities_count(const sc_predictions *predictions, sc_entities_rules which, sc_entities *out)
{
    const int32_t n = predictions->labels.n;
    sc_tag *tags = calloc((size_t)n + 1, sizeof *tags);
    sc_status status;
    if (!tags) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to count entities");
        goto out;
    }
    SC_TRY_GOTO(status, sc_tags_take_apart(&predictions->labels, tags, &out->types), out);
    out->counts = calloc((size_t)out->types.n + 1, sizeof *out->counts);
    if (!out->counts) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to count entities");
        goto out;
    }
    counter self = {.rules = which, .tags = tags, .counts = out->counts};
    count(&self, predictions);
out:
    free(tags);
    if (status != SC_OK)
        sc_entities_clear(out);
    return status;
}

void sc_entities_clear(sc_entities *self)
{
    sc_labels_clear(&self->types);
    free(self->counts);
    *self = (sc_entities){0};
}
