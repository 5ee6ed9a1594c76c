/* What a model said beside what is right: one pair of labels an example, or an example's token.
 *
 * A prediction file has an example or token a line; its last two columns are the right label and the predicted one. Columns
 * stand between blanks or, if the first line has a tab, between single tabs, so that labels may hold blanks. An empty line,
 * which may hold blanks, or one that begins with the column "-X-" ends a sentence, as in the files that conlleval reads.
 *
 * Zero-initialise; clear frees. Thread: one owns it. */
#ifndef SC_PREDICTIONS_H
#define SC_PREDICTIONS_H

#include "coordinator/data/labels.h"
#include "coordinator/data/tokenizer.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct sc_prediction {
    int32_t right, predicted; /* labels */
    bool begins;              /* a sentence */
} sc_prediction;

typedef struct sc_predictions {
    sc_labels labels;
    sc_prediction *items; /* [n] */
    size_t n, capacity;
    bool ended; /* what is added next begins a sentence */
} sc_predictions;

void sc_predictions_clear(sc_predictions *self);

/* Labels are texts that end with a NUL. Errors of both: SC_RESOURCE_EXHAUSTED. */
sc_status sc_predictions_add(sc_predictions *self, const char *right, const char *predicted);
void sc_predictions_end_sentence(sc_predictions *self);

/* Errors: SC_INVALID, naming file and line (fewer than two columns, another number of columns than in the lines before, broken
 * UTF-8, not one line). */
sc_status sc_predictions_read(const sc_text *text, sc_predictions *out);

/* Writes a text as a file's column: tabs and line ends become blanks. Whether that worked is the caller's to ask. */
void sc_predictions_put_text(const char *text, size_t n, FILE *out);

/* Whether a label is B, I, E or S, a hyphen and a type: that of an entity's token. */
bool sc_predictions_is_tag(const char *label);
/* Whether all labels are such, or O, and not all are O. */
bool sc_predictions_are_tags(const sc_predictions *self);

#endif
