/* What a classifier is to answer: a template for each label, and from which probability on it is sure of itself.
 *
 * A file of answers is YAML, or JSON, which is YAML, too:
 *
 *   threshold: 0.6                        # below this probability nothing is known (0: always something)
 *   unknown: I am not sure. Please ask a colleague.     # the answer then; needed with a threshold
 *   default: You ask about {label}.       # of labels that have no answer of their own
 *   answers:
 *     card_arrival: Your card is on its way.
 *     lost_card: {threshold: 0.8, answer: "We block it at once. ({probability})"}
 *
 * In a template {text}, {label} and {probability} (two digits) stand for these; {{ and }} for braces. Every label of the model
 * has an answer, or there is a default. Anchors, aliases and tags are refused. Thread: any, once it is loaded. */
#ifndef SC_ANSWERS_H
#define SC_ANSWERS_H

#include "coordinator/data/labels.h"
#include "proto/base/status.h"

#include <stdbool.h>

typedef struct sc_answers sc_answers;

/* Reads `path`, for these labels. Returns owned. Errors: SC_NOT_FOUND, SC_INVALID naming file and line: what is not YAML, an
 * unknown key or label, one that comes twice, a threshold outside [0, 1], a template with an unknown name, a label without an
 * answer; SC_RESOURCE_EXHAUSTED. */
sc_status sc_answers_load(const char *path, const sc_labels *labels, sc_answers **out);
/* The same from memory, as if the file were called `path`; safe on any bytes. */
sc_status sc_answers_parse(const char *text, size_t text_bytes, const char *path, const sc_labels *labels,
                           sc_answers **out);
void sc_answers_destroy(sc_answers **self_p);

/* The answer to a text (n bytes), owned, to be freed with free (); its length in *n_answer. *known: whether the probability
 * reaches the label's threshold. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_answers_give(const sc_answers *self, int32_t label, double probability, const char *text, size_t n,
                          char **answer, size_t *n_answer, bool *known);

#endif
