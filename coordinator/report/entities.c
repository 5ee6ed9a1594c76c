#include "coordinator/report/entities.h"

#include <stdlib.h>
#include <string.h>

/* A tag taken apart. An O, and the place behind a sentence, have a type, too: none, which is one of its own. */
typedef struct tag {
    char prefix;
    int32_t type;
} tag;

enum { NO_TYPE = -1 };

/* For pairs of prefixes of the same type: "BB" means that an entity ends, or begins, between B and B. */
typedef struct rules {
    const char *ends, *begins;
} rules;
static const rules all_rules[] = {
    [SC_ENTITIES_CONLLEVAL] = {.ends = "BB BO IB IO EE EI EO", .begins = "BB IB OB OI EE EI OE"},
    [SC_ENTITIES_SEQEVAL] = {.ends = "BB BS BO IB IS IO EB EI EE ES EO SB SI SE SS SO",
                             .begins = "BB IB EB SB OB BS IS ES SS OS EE EI SE SI OE OI"},
};

static bool is_pair(const char *list, char before, char prefix)
{
    for (; *list; list += list[2] ? 3 : 2)
        if (list[0] == before && list[1] == prefix)
            return true;
    return false;
}

static bool ends(const rules *r, tag before, tag next)
{
    return before.prefix != 'O' && (is_pair(r->ends, before.prefix, next.prefix) || before.type != next.type);
}

static bool begins(const rules *r, tag before, tag next)
{
    return next.prefix != 'O' && (is_pair(r->begins, before.prefix, next.prefix) || before.type != next.type);
}

/* One of the two sequences of tags while it is read. */
typedef struct side {
    tag before;
    size_t begin; /* where the entity that may be open begins */
} side;

typedef struct counter {
    const rules *rules;
    const tag *tags; /* by label */
    sc_counts *counts;
    side right, predicted;
} counter;

static void step(counter *self, tag right, tag predicted, size_t at)
{
    const bool right_ends = ends(self->rules, self->right.before, right);
    const bool predicted_ends = ends(self->rules, self->predicted.before, predicted);
    const int32_t type = self->right.before.type;
    if (right_ends)
        self->counts[type].right++;
    if (predicted_ends)
        self->counts[self->predicted.before.type].predicted++;
    if (right_ends && predicted_ends && type == self->predicted.before.type &&
        self->right.begin == self->predicted.begin)
        self->counts[type].correct++;
    if (begins(self->rules, self->right.before, right))
        self->right.begin = at;
    if (begins(self->rules, self->predicted.before, predicted))
        self->predicted.begin = at;
    self->right.before = right;
    self->predicted.before = predicted;
}

static void count(counter *self, const sc_predictions *predictions)
{
    const tag outside = {'O', NO_TYPE};
    self->right.before = self->predicted.before = outside;
    for (size_t i = 0; i < predictions->n; i++) {
        const sc_prediction *item = &predictions->items[i];
        if (item->begins)
            step(self, outside, outside, i);
        step(self, self->tags[item->right], self->tags[item->predicted], i);
    }
    step(self, outside, outside, predictions->n);
}

static sc_status take_apart(const char *name, sc_labels *types, tag *out)
{
    *out = (tag){name[0], NO_TYPE};
    if (strcmp(name, "O") == 0)
        return SC_OK;
    if (!sc_predictions_is_tag(name))
        return SC_FAIL(SC_INVALID, "the label '%.60s' is neither O nor B-, I-, E- or S- with a type of entity", name);
    return sc_labels_add(types, name + 2, strlen(name + 2), &out->type);
}

sc_status sc_entities_count(const sc_predictions *predictions, sc_entities_rules which, sc_entities *out)
{
    const int32_t n = predictions->labels.n;
    tag *tags = calloc((size_t)n + 1, sizeof *tags);
    int32_t *renumber = calloc((size_t)n + 1, sizeof *renumber);
    sc_status status;
    if (!tags || !renumber) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to count entities");
        goto out;
    }
    for (int32_t i = 0; i < n; i++)
        SC_TRY_GOTO(status, take_apart(predictions->labels.names[i], &out->types, &tags[i]), out);
    SC_TRY_GOTO(status, sc_labels_sort(&out->types, renumber), out);
    for (int32_t i = 0; i < n; i++)
        if (tags[i].type >= 0)
            tags[i].type = renumber[tags[i].type];
    out->counts = calloc((size_t)out->types.n + 1, sizeof *out->counts);
    if (!out->counts) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to count entities");
        goto out;
    }
    counter self = {.rules = &all_rules[which], .tags = tags, .counts = out->counts};
    count(&self, predictions);
out:
    free(tags);
    free(renumber);
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
