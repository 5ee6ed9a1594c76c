/* Precision, recall and F1 of classes from counts, and their averages. Pure; thread: any.
 *
 *   precision  correct / predicted         recall  correct / right (0 where the denominator is 0)
 *   micro      of the sums over all classes (of classes that cover everything: the accuracy)
 *   macro      the mean over the classes   weighted  the mean weighted by support
 * The order of the floating-point operations is that of scikit-learn and NumPy, so that no rounding differs from theirs. */
#ifndef SC_SCORES_H
#define SC_SCORES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How often a class was right, how often it was predicted, how often both at once. */
typedef struct sc_counts {
    uint64_t right, predicted, correct;
} sc_counts;

typedef struct sc_score {
    double precision, recall, f1;
    uint64_t support; /* right */
} sc_score;

/* F1 is 2 correct / (right + predicted), as scikit-learn has it. */
sc_score sc_score_of(sc_counts counts);
/* F1 is 2 precision recall / (precision + recall), as seqeval and conlleval have it: the same but for rounding. */
sc_score sc_score_of_entities(sc_counts counts);

sc_counts sc_counts_sum(const sc_counts *counts, size_t n);

/* Means of n scores, zero for none; weighted by support if `weighted`, zero if there is no support at all. Support is the sum. */
sc_score sc_scores_mean(const sc_score *scores, size_t n, bool weighted);

#endif
