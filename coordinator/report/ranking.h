/* How well a model ranks: for each example one candidate is right, and its rank among all (1 is the best) is what counts.
 *
 *   HR@k    share of examples whose rank is at most k
 *   NDCG@k  mean of 1 / log2 (rank + 1) where the rank is at most k, and of 0 elsewhere: with one right candidate the ideal is 1
 *   MRR     mean of 1 / rank
 * Candidates of the same score count as better than the right one: a model that tells nothing apart ranks it last.
 * Source: He et al., "Neural collaborative filtering", WWW 2017, sec. 4.1; Krichene & Rendle, "On sampled metrics for item
 * recommendation", KDD 2020: all candidates are ranked, not a sample of them. Pure; thread: any. */
#ifndef SC_RANKING_H
#define SC_RANKING_H

#include <stdbool.h>
#include <stdint.h>

enum { SC_RANKING_K = 10 };

/* Sums over examples. Zero-initialise. */
typedef struct sc_ranking {
    uint64_t n, hits;
    double gains, reciprocals, losses;
} sc_ranking;

/* Means; 0 where there is no example. */
typedef struct sc_ranking_scores {
    uint64_t n;
    double hr, ndcg, mrr;
    double loss; /* mean -log of the right candidate's probability, in nats */
} sc_ranking_scores;

void sc_ranking_add(sc_ranking *self, uint64_t rank, double loss);
sc_ranking_scores sc_ranking_mean(const sc_ranking *self);

/* The rank of candidate `right` among first .. end - 1 by their scores. excluded: [end], candidates that do not count, NULL: none;
 * `right` counts in any case. */
uint64_t sc_ranking_rank(const float *scores, int32_t first, int32_t end, const bool *excluded, int32_t right);

/* -log softmax (scores)[right] over candidates 0 .. end - 1. */
double sc_ranking_loss(const float *scores, int32_t end, int32_t right);

#endif
