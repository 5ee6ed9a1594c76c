/* Entities in sequences of tags: how many there are, how many were found, how many of these are right in both ends and type.
 * What a sequence says is in tags.h. */
#ifndef SC_ENTITIES_H
#define SC_ENTITIES_H

#include "coordinator/report/predictions.h"
#include "coordinator/report/scores.h"
#include "coordinator/report/tags.h"

/* Zero-initialise; clear frees. */
typedef struct sc_entities {
    sc_labels types;   /* sorted */
    sc_counts *counts; /* [types.n] */
} sc_entities;

/* Errors: SC_INVALID (a label that is no tag), SC_RESOURCE_EXHAUSTED. */
sc_status sc_entities_count(const sc_predictions *predictions, sc_entities_rules rules, sc_entities *out);
void sc_entities_clear(sc_entities *self);

#endif
