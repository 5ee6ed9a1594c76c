/* Tags of tokens, and the entities that sequences of them say. Pure; thread: any.
 *
 * A tag is O, or a prefix B (begin), I (inside), E (end) or S (single) and a type: "B-PER". Where an entity begins and ends follows
 * from a tag and the one before it, and holds for IOB1, IOB2 and sequences that no annotator would write, too. There are
 * two such sets of rules, which differ for E and S alone:
 *   SC_ENTITIES_CONLLEVAL  of conlleval.pl, version 2004-01-26, which does not know S
 *   SC_ENTITIES_SEQEVAL    of seqeval 1.2 in its default mode
 * A sentence's end ends an entity. */
#ifndef SC_TAGS_H
#define SC_TAGS_H

#include "coordinator/data/labels.h"

#include <stdbool.h>

typedef enum sc_entities_rules { SC_ENTITIES_CONLLEVAL, SC_ENTITIES_SEQEVAL } sc_entities_rules;

/* A tag taken apart. An O, and the place behind a sentence, have a type, too: none, which is one of its own. */
typedef struct sc_tag {
    char prefix;
    int32_t type;
} sc_tag;
enum { SC_TAG_NO_TYPE = -1 };

/* Takes each label apart: tags[label]; `types`, which is empty, gets the types' names, sorted. Errors: SC_INVALID (a label
 * that is no tag), SC_RESOURCE_EXHAUSTED. */
sc_status sc_tags_take_apart(const sc_labels *labels, sc_tag *tags, sc_labels *types);

/* Whether an entity ends, or begins, between two neighbours. Before and behind a sentence stands sc_tag_outside. */
extern const sc_tag sc_tag_outside;
bool sc_tag_ends(sc_entities_rules rules, sc_tag before, sc_tag next);
bool sc_tag_begins(sc_entities_rules rules, sc_tag before, sc_tag next);

/* An entity: words first .. first + n - 1 of a sentence. */
typedef struct sc_tag_span {
    int32_t type;
    size_t first, n;
    double probability; /* the mean of its words' */
} sc_tag_span;

/* The entities of a sentence of n words by seqeval's rules, in order: found[], of which there may be n. tags: by label;
 * labels, probabilities: [n], of the words. */
size_t sc_tags_spans(const sc_tag *tags, const int32_t *labels, const double *probabilities, size_t n,
                     sc_tag_span *found);

/* Whether all labels are tags, or O, and not all are O: what entities can be made of. */
bool sc_tags_are_all(const sc_labels *labels);

#endif
