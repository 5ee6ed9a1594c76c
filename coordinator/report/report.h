/* Reports on predictions, as text of the widely used programs, to the byte, and as JSON. Pure; thread: any.
 *
 *   sklearn    classes, or tokens with O: what scikit-learn's classification_report returns
 *   seqeval    entities: what seqeval's classification_report returns
 *   conlleval  entities and tokens: what conlleval.pl prints
 *   confusion  how often each class (row) was predicted as each (column)
 *   json       all of this, with full precision:
 *     {"examples": n, "accuracy": a,
 *      "classes": {"NAME": {"precision": p, "recall": r, "f1-score": f, "support": n}, ...},
 *      "macro avg": {...}, "weighted avg": {...},
 *      "confusion": {"labels": [...], "counts": [[...], ...]},
 *      "entities": {"types": {"NAME": {...}, ...}, "micro avg": {...}, "macro avg": {...}, "weighted avg": {...}}}
 *     "entities" for tags alone, counted as seqeval does.
 *
 * Of examples with any number of labels (label_sets.h) there are sklearn, as it reports on an indicator matrix, and json:
 *     {"examples": n, "accuracy": a (all labels right), "classes": {...},
 *      "micro avg": {...}, "macro avg": {...}, "weighted avg": {...}, "samples avg": {...}} */
#ifndef SC_REPORT_H
#define SC_REPORT_H

#include "coordinator/report/label_sets.h"
#include "coordinator/report/predictions.h"

#include <jansson.h>
#include <stdio.h>

typedef enum sc_report_format {
    SC_REPORT_SKLEARN,
    SC_REPORT_SEQEVAL,
    SC_REPORT_CONLLEVAL,
    SC_REPORT_CONFUSION,
    SC_REPORT_JSON,
} sc_report_format;

/* False if the name is none of the above. */
bool sc_report_format_parse(const char *name, sc_report_format *out);

/* Writes the report to `out`; whether that worked is the caller's to ask. digits: of the fractions of sklearn and seqeval, 2 as
 * they do it; 0 to 17. Errors: SC_INVALID (a report on entities of labels that are no tags; no prediction),
 * SC_RESOURCE_EXHAUSTED. */
sc_status sc_report_print(const sc_predictions *predictions, sc_report_format format, int digits, FILE *out);
/* The JSON alone. *out is owned. Errors: SC_INVALID (no prediction), SC_RESOURCE_EXHAUSTED. */
sc_status sc_report_json(const sc_predictions *predictions, json_t **out);

/* The same of label sets, which are sorted. Errors: SC_INVALID also for another format. */
sc_status sc_report_print_sets(const sc_label_sets *sets, sc_report_format format, int digits, FILE *out);
sc_status sc_report_json_sets(const sc_label_sets *sets, json_t **out);

#endif
