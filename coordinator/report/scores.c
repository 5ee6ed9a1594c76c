#include "coordinator/report/scores.h"

static double divide(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static sc_score without_f1(sc_counts c)
{
    return (sc_score){.precision = divide((double)c.correct, (double)c.predicted),
                      .recall = divide((double)c.correct, (double)c.right),
                      .support = c.right};
}

sc_score sc_score_of(sc_counts c)
{
    sc_score score = without_f1(c);
    score.f1 = divide(2 * (double)c.correct, (double)(c.right + c.predicted));
    return score;
}

sc_score sc_score_of_entities(sc_counts c)
{
    sc_score score = without_f1(c);
    score.f1 = divide(2 * score.precision * score.recall, score.precision + score.recall);
    return score;
}

sc_counts sc_counts_sum(const sc_counts *counts, size_t n)
{
    sc_counts sum = {0};
    for (size_t i = 0; i < n; i++) {
        sum.right += counts[i].right;
        sum.predicted += counts[i].predicted;
        sum.correct += counts[i].correct;
    }
    return sum;
}

typedef enum column { PRECISION, RECALL, F1 } column;

static double value(const sc_score *score, column which, bool weighted)
{
    const double v = which == PRECISION ? score->precision : which == RECALL ? score->recall : score->f1;
    return weighted ? v * (double)score->support : v;
}

/* NumPy's pairwise sum: up to 8 one by one, up to 128 in eight lanes, more by halves that are multiples of 8. */
static double sum(const sc_score *scores, size_t n, column which, bool weighted)
{
    double lanes[8], total = 0;
    size_t i = 0;
    if (n > 128) {
        const size_t half = n / 2 - n / 2 % 8;
        return sum(scores, half, which, weighted) + sum(scores + half, n - half, which, weighted);
    }
    if (n >= 8) {
        for (; i < 8; i++)
            lanes[i] = value(&scores[i], which, weighted);
        for (; i + 8 <= n; i += 8)
            for (size_t k = 0; k < 8; k++)
                lanes[k] += value(&scores[i + k], which, weighted);
        total = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
    }
    for (; i < n; i++)
        total += value(&scores[i], which, weighted);
    return total;
}

sc_score sc_scores_mean(const sc_score *scores, size_t n, bool weighted)
{
    sc_score mean = {0};
    for (size_t i = 0; i < n; i++)
        mean.support += scores[i].support;
    const double scale = weighted ? (double)mean.support : (double)n;
    mean.precision = divide(sum(scores, n, PRECISION, weighted), scale);
    mean.recall = divide(sum(scores, n, RECALL, weighted), scale);
    mean.f1 = divide(sum(scores, n, F1, weighted), scale);
    return mean;
}
