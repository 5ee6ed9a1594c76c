#include "coordinator/report/ranking.h"

#include <assert.h>
#include <math.h>

void sc_ranking_add(sc_ranking *self, uint64_t rank, double loss)
{
    assert(rank >= 1);
    const bool hit = rank <= SC_RANKING_K;
    self->n++;
    self->hits += hit;
    self->gains += hit ? 1 / log2((double)rank + 1) : 0;
    self->reciprocals += 1 / (double)rank;
    self->losses += loss;
}

sc_ranking_scores sc_ranking_mean(const sc_ranking *self)
{
    const double n = self->n > 0 ? (double)self->n : 1;
    return (sc_ranking_scores){.n = self->n,
                               .hr = (double)self->hits / n,
                               .ndcg = self->gains / n,
                               .mrr = self->reciprocals / n,
                               .loss = self->losses / n};
}

uint64_t sc_ranking_rank(const float *scores, int32_t first, int32_t end, const bool *excluded, int32_t right)
{
    assert(right >= first && right < end);
    uint64_t rank = 1;
    for (int32_t i = first; i < end; i++)
        rank += i != right && !(excluded && excluded[i]) && !(scores[i] < scores[right]); /* NaN is no merit either */
    return rank;
}

double sc_ranking_loss(const float *scores, int32_t end, int32_t right)
{
    double most = scores[0], sum = 0;
    for (int32_t i = 1; i < end; i++)
        most = scores[i] > most ? scores[i] : most;
    for (int32_t i = 0; i < end; i++)
        sum += exp(scores[i] - most);
    return log(sum) + most - scores[right];
}
