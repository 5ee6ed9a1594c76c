#include "coordinator/data/class_weights.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double most = 1e6; /* far from where a sum of them loses what the small ones add */

static sc_status balance(const sc_labels *labels, const uint64_t *counts, float *weights)
{
    uint64_t n = 0;
    for (int32_t i = 0; i < labels->n; i++)
        n += counts[i];
    for (int32_t i = 0; i < labels->n; i++) {
        if (counts[i] == 0)
            return SC_FAIL(SC_INVALID, "balanced: the training data have no example of '%.60s'", labels->names[i]);
        weights[i] = (float)((double)n / ((double)labels->n * (double)counts[i]));
    }
    return SC_OK;
}

/* LABEL=WEIGHT; a label may have an = of its own. */
static sc_status set_one(const char *text, const sc_labels *labels, float *weights)
{
    const char *equals = strrchr(text, '=');
    char *end = NULL;
    errno = 0;
    const double weight = equals ? strtod(equals + 1, &end) : 0;
    if (!equals || end == equals + 1 || *end != '\0' || errno != 0 || !(weight > 0 && weight <= most))
        return SC_FAIL(SC_INVALID,
                       "'%.60s' is not understood; allowed: balanced, or LABEL=WEIGHT with a weight above 0", text);
    const int32_t id = sc_labels_find(labels, text, (size_t)(equals - text));
    if (id < 0)
        return SC_FAIL(SC_INVALID, "'%.60s': the training data have no label '%.*s'", text,
                       equals - text < 60 ? (int)(equals - text) : 60, text);
    if (weights[id] != 0)
        return SC_FAIL(SC_INVALID, "'%.60s': the label has a weight already", text);
    weights[id] = (float)weight;
    return weights[id] > 0 ? SC_OK : SC_FAIL(SC_INVALID, "'%.60s': the weight is too small", text);
}

sc_status sc_class_weights_new(char *const *texts, int n_texts, const sc_labels *labels, const uint64_t *counts,
                               float **out)
{
    *out = NULL;
    float *weights = calloc((size_t)labels->n + 1, sizeof *weights);
    if (!weights)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the weights of %d labels", labels->n);
    sc_status status = SC_OK;
    if (n_texts == 1 && strcmp(texts[0], "balanced") == 0)
        status = balance(labels, counts, weights);
    else
        for (int i = 0; i < n_texts && status == SC_OK; i++)
            status = set_one(texts[i], labels, weights);
    for (int32_t i = 0; i < labels->n; i++)
        if (weights[i] == 0)
            weights[i] = 1;
    if (status == SC_OK)
        *out = weights;
    else
        free(weights);
    return status;
}
