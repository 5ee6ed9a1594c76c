/* What an evaluation of a split adds up to: its loss, and how well the labels were found.
 *
 *   next_token               loss, perplexity
 *     of items               loss, hr@10, ndcg@10 and mrr of what was held out (ranking.h), and the same of popularity alone
 *   classification, tagging  loss, accuracy, macro_f1 over the labels that are right or predicted somewhere; of tags also entity_f1,
 *                            counted as seqeval does. Of tokens those count that have a tag: a word's first.
 *     any number of labels   loss of a label, accuracy of texts with all labels right, micro_f1, macro_f1
 *   pretraining              loss of masked words and next sentences together, accuracy of masked words, next_accuracy
 *   masked_words             loss, accuracy
 *
 * Where there are labels, or items to rank, the stages send logits, and the rest is done here, in double and in the order of the data: the same
 * bits over any number of stages.
 *
 * begin -> add for each round, in order -> finish -> { predictions, write }. Thread: one owns it. */
#ifndef SC_SCORER_H
#define SC_SCORER_H

#include "coordinator/data/feed.h"
#include "coordinator/report/label_sets.h"
#include "coordinator/report/predictions.h"
#include "coordinator/run/cluster.h"
#include "coordinator/run/score_list.h"

typedef struct sc_scorer sc_scorer;

/* Borrows both. Returns owned. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_scorer_new(sc_feed *feed, const sc_model *model, sc_data_split split, sc_scorer **out);
void sc_scorer_destroy(sc_scorer **self_p);

/* Whether rounds are to be run for their logits; then they need no targets. */
bool sc_scorer_wants_logits(const sc_scorer *self);

void sc_scorer_begin(sc_scorer *self);
/* The answers to a round; B, T: of the assignment, which logits are laid out by. Errors: SC_INVALID (not as many losses or logits as
 * there must be), SC_ABORTED (logits that are no numbers); those of sc_feed_get. */
sc_status sc_scorer_add(sc_scorer *self, uint64_t round, const sc_step_result *result, int B, int T);
/* Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_scorer_finish(sc_scorer *self, sc_score_list *out);

/* What was predicted, in the order of the data, where an example has one label; and where it has any number. Borrowed until the
 * next begin. NULL: the task has no such labels. */
const sc_predictions *sc_scorer_predictions(const sc_scorer *self);
const sc_label_sets *sc_scorer_sets(const sc_scorer *self);
/* Writes it as `report` reads it: text or word, the right label, the predicted one, between tabs, an empty line behind each
 * sentence of words; tabs and line ends in texts become blanks. `separator` stands between labels, where there are several. Errors: as
 * sc_files_replace. */
sc_status sc_scorer_write(const sc_scorer *self, const char *path, const char *separator);

#endif
