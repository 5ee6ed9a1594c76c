#include "coordinator/report/tags.h"

#include "coordinator/report/predictions.h"

#include <stdlib.h>
#include <string.h>

/* For pairs of prefixes of the same type: "BB" means that an entity ends, or begins, between B and B. */
typedef struct rules {
    const char *ends, *begins;
} rules;
static const rules all_rules[] = {
    [SC_ENTITIES_CONLLEVAL] = {.ends = "BB BO IB IO EE EI EO", .begins = "BB IB OB OI EE EI OE"},
    [SC_ENTITIES_SEQEVAL] = {.ends = "BB BS BO IB IS IO EB EI EE ES EO SB SI SE SS SO",
                             .begins = "BB IB EB SB OB BS IS ES SS OS EE EI SE SI OE OI"},
};

const sc_tag sc_tag_outside = {'O', SC_TAG_NO_TYPE};

static bool is_pair(const char *list, char before, char prefix)
{
    for (; *list; list += list[2] ? 3 : 2)
        if (list[0] == before && list[1] == prefix)
            return true;
    return false;
}

bool sc_tag_ends(sc_entities_rules which, sc_tag before, sc_tag next)
{
    return before.prefix != 'O' &&
           (is_pair(all_rules[which].ends, before.prefix, next.prefix) || before.type != next.type);
}

bool sc_tag_begins(sc_entities_rules which, sc_tag before, sc_tag next)
{
    return next.prefix != 'O' &&
           (is_pair(all_rules[which].begins, before.prefix, next.prefix) || before.type != next.type);
}

static sc_status take_apart(const char *name, sc_labels *types, sc_tag *out)
{
    *out = (sc_tag){name[0], SC_TAG_NO_TYPE};
    if (strcmp(name, "O") == 0)
        return SC_OK;
    if (!sc_predictions_is_tag(name))
        return SC_FAIL(SC_INVALID, "the label '%.60s' is neither O nor B-, I-, E- or S- with a type of entity", name);
    return sc_labels_add(types, name + 2, strlen(name + 2), &out->type);
}

sc_status sc_tags_take_apart(const sc_labels *labels, sc_tag *tags, sc_labels *types)
{
    int32_t *renumber = calloc((size_t)labels->n + 1, sizeof *renumber);
    sc_status status = renumber ? SC_OK : SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for types of entities");
    for (int32_t i = 0; i < labels->n && status == SC_OK; i++)
        status = take_apart(labels->names[i], types, &tags[i]);
    if (status == SC_OK)
        status = sc_labels_sort(types, renumber);
    for (int32_t i = 0; i < labels->n && status == SC_OK; i++)
        if (tags[i].type >= 0)
            tags[i].type = renumber[tags[i].type];
    free(renumber);
    return status;
}

size_t sc_tags_spans(const sc_tag *tags, const int32_t *labels, const double *probabilities, size_t n,
                     sc_tag_span *found)
{
    size_t n_found = 0;
    bool open = false;
    double sum = 0;
    for (size_t i = 0; i <= n; i++) {
        const sc_tag before = i > 0 ? tags[labels[i - 1]] : sc_tag_outside;
        const sc_tag next = i < n ? tags[labels[i]] : sc_tag_outside;
        if (open && sc_tag_ends(SC_ENTITIES_SEQEVAL, before, next)) {
            sc_tag_span *span = &found[n_found++];
            span->n = i - span->first;
            span->probability = sum / (double)span->n;
            open = false;
        }
        if (sc_tag_begins(SC_ENTITIES_SEQEVAL, before, next)) {
            found[n_found] = (sc_tag_span){.type = next.type, .first = i};
            open = true;
            sum = 0;
        }
        if (i < n)
            sum += probabilities[i];
    }
    return n_found;
}

bool sc_tags_are_all(const sc_labels *labels)
{
    bool any = false;
    for (int32_t i = 0; i < labels->n; i++) {
        const bool is = sc_predictions_is_tag(labels->names[i]);
        if (!is && strcmp(labels->names[i], "O") != 0)
            return false;
        any |= is;
    }
    return any;
}
