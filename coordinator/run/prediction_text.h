/* Predictions as text: JSON lines, lines of columns between tabs, or CoNLL columns.
 *
 *   jsonl  an object a text, in UTF-8, in this order of keys; numbers have six digits:
 *     classification  {"text", ["pair"], "label", "probability", ["scores"], ["answer", "known"], ["cut"]}
 *     multi-label     the same with "labels": [{"label", "probability"}, ...], those above one half
 *     tagging         {"text", "entities": [{"type", "start", "end", "text", "probability"}, ...]}
 *                     or, where labels are no tags of entities, "words": [{"label", ...}, ...]
 *     masked words    {"text", "masks": [{"start", "end", "words": [{"word", "probability"}, ...]}, ...], ["cut"]}
 *     items           {"items": [{"item", ["title"], "probability"}, ...], ["unknown": [item, ...]]}, the likeliest first
 *     a mistake       {"line", "error"}
 *     "scores" are the n likeliest labels (--top n). start and end count characters (code points) of the text, end is the first
 *     behind. An entity's probability is the mean of its words'.
 *   tsv    classification  text, label, probability; with answers the answer. Multi-label: labels between commas
 *          tagging         line, start, end, type, text, probability; a line an entity
 *          masked words    line, start, end, word, probability; a line a word
 *          items           line, item, probability, title; a line an item
 *          A tab or line end inside a text is written as a blank. A mistake has no line.
 *   conll  tagging: word and predicted tag, between them the right one if the input has it; an empty line behind a sentence.
 *          Such a file is what `stagecoach report` reads */
#ifndef SC_PREDICTION_TEXT_H
#define SC_PREDICTION_TEXT_H

#include "coordinator/run/answers.h"
#include "coordinator/run/line_writer.h"
#include "coordinator/run/predict_item.h"

typedef enum sc_prediction_format { SC_PREDICTION_JSONL, SC_PREDICTION_TSV, SC_PREDICTION_CONLL } sc_prediction_format;

/* Makes the text of items of one model. */
typedef struct sc_prediction_text sc_prediction_text;

/* top: how many labels are told beside the first; 0: none. answers may be NULL. Borrows both. Returns owned.
 * Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_prediction_text_new(const sc_predict_model *model, sc_prediction_format format, int top,
                                 const sc_answers *answers, sc_prediction_text **out);
void sc_prediction_text_destroy(sc_prediction_text **self_p);
/* Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_prediction_text_put(sc_prediction_text *self, const sc_predict_item *item, sc_line_writer *out);

#endif
