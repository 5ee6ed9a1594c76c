/* Entities in sequences of tags: how many there are, how many were found, how many of these are right in both ends and type.
 *
 * A tag is O, or a prefix B (begin), I (inside), E (end) or S (single) and a type: "B-PER". Where an entity begins and ends follows
 * from a tag and the one before it, and holds for IOB1, IOB2 and sequences that no annotator would write, too. There are
 * two such sets of rules, which differ for E and S alone:
 *   SC_ENTITIES_CONLLEVAL  of conlleval.pl, version 2004-01-26, which does not know S
 *   SC_ENTITIES_SEQEVAL    of seqeval 1.2 in its default mode
 * A sentence's end ends an entity. */
#ifndef SC_ENTITIES_H
#define SC_ENTITIES_H

#include "coordinator/report/predictions.h"
#include "coordinator/report/scores.h"

typedef enum sc_entities_rules { SC_ENTITIES_CONLLEVAL, SC_ENTITIES_SEQEVAL } sc_entities_rules;

/* Zero-initialise; clear frees. */
typedef struct sc_entities {
    sc_labels types;   /* sorted */
    sc_counts *counts; /* [types.n] */
} sc_entities;

/* Errors: SC_INVALID (a label that is no tag), SC_RESOURCE_EXHAUSTED. */
sc_status sc_entities_count(const sc_predictions *predictions, sc_entities_rules rules, sc_entities *out);
void sc_entities_clear(sc_entities *self);

#endif
