#include "coordinator/run/sampler.h"

#include "proto/base/rng.h"

#include <math.h>
#include <stdlib.h>

typedef struct candidate {
    float logit;
    int32_t id;
    double weight; /* proportional to its probability */
} candidate;

struct sc_sampler {
    sc_sampler_settings settings;
    int n_vocab;
    candidate *candidates;
};

sc_status sc_sampler_new(const sc_sampler_settings *settings, int V, sc_sampler **out)
{
    *out = NULL;
    if (!(settings->temperature >= 0) || isinf(settings->temperature))
        return SC_FAIL(SC_INVALID, "the temperature is %g; it must be a number of at least 0", settings->temperature);
    if (settings->top_k < 0)
        return SC_FAIL(SC_INVALID, "top-k is %d; it must be at least 0, which keeps all tokens", settings->top_k);
    if (!(settings->top_p > 0) || settings->top_p > 1)
        return SC_FAIL(SC_INVALID, "top-p is %g; it must be above 0 and at most 1", settings->top_p);
    if (V < 1)
        return SC_FAIL(SC_INVALID, "a vocabulary of %d tokens has none to draw", V);
    sc_sampler *self = malloc(sizeof *self);
    candidate *candidates = calloc((size_t)V, sizeof *candidates);
    if (!self || !candidates) {
        free(self);
        free(candidates);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to draw from %d tokens", V);
    }
    *self = (sc_sampler){.settings = *settings, .n_vocab = V, .candidates = candidates};
    *out = self;
    return SC_OK;
}

void sc_sampler_destroy(sc_sampler **self_p)
{
    if (*self_p)
        free((*self_p)->candidates);
    free(*self_p);
    *self_p = NULL;
}

/* The largest logit first, of equal ones the lowest id. */
static int before(const void *left, const void *right)
{
    const candidate *a = left, *b = right;
    if (a->logit != b->logit)
        return a->logit > b->logit ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* Sets the weights of n ordered candidates: softmax at the temperature, up to a factor. Returns their sum. */
static double weigh(candidate *c, int n, double temperature)
{
    const double top = c[0].logit;
    double sum = 0;
    for (int i = 0; i < n; i++) {
        if (isinf(top)) /* inf - inf is no number */
            c[i].weight = c[i].logit == c[0].logit;
        else
            c[i].weight = exp(((double)c[i].logit - top) / temperature);
        sum += c[i].weight;
    }
    return sum;
}

sc_status sc_sampler_draw(sc_sampler *self, const float *logits, uint32_t position, int32_t *id)
{
    candidate *c = self->candidates;
    int n = 0; /* what is not above -inf can never be drawn, and is left out at once */
    int best = 0;
    for (int v = 0; v < self->n_vocab; v++) {
        if (isnan(logits[v]) || logits[v] == -INFINITY)
            continue;
        c[n] = (candidate){.logit = logits[v], .id = v};
        if (c[n].logit > c[best].logit)
            best = n;
        n++;
    }
    if (n == 0)
        return SC_FAIL(SC_INVALID, "no logit is a number above -inf: the model's weights are broken");
    if (self->settings.temperature == 0) {
        *id = c[best].id;
        return SC_OK;
    }
    qsort(c, (size_t)n, sizeof *c, before);
    if (self->settings.top_k > 0 && self->settings.top_k < n)
        n = self->settings.top_k;
    const double sum = weigh(c, n, self->settings.temperature);
    double kept = sum;
    if (self->settings.top_p < 1) {
        kept = 0;
        int n_kept = 0;
        while (n_kept < n && (n_kept == 0 || kept < self->settings.top_p * sum))
            kept += c[n_kept++].weight;
        n = n_kept;
    }
    const sc_rng rng = {.seed = self->settings.seed, .site = SC_RNG_SITE(SC_RNG_SAMPLE, 0), .step = position};
    const double mark = sc_rng_uniform64(&rng, 0) * kept;
    double passed = 0;
    int drawn = 0;
    for (int i = 0; i < n; i++) {
        if (c[i].weight > 0) /* should rounding put the mark behind the last one */
            drawn = i;
        passed += c[i].weight;
        if (passed > mark)
            break;
    }
    *id = c[drawn].id;
    return SC_OK;
}
