#include "coordinator/run/best.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool sc_best_count(sc_best *self, int64_t step, double value)
{
    if (step <= self->evaluated)
        return false;
    self->evaluated = step;
    const bool is_better = self->metric == SC_METRIC_LOSS ? value < self->value : value > self->value;
    if (!isfinite(value) || (self->step > 0 && !is_better)) {
        self->n_worse++;
        return false;
    }
    self->step = step;
    self->value = value;
    self->n_worse = 0;
    return true;
}

bool sc_best_is_over(const sc_best *self, int64_t patience)
{
    return patience > 0 && self->n_worse >= patience;
}

json_t *sc_best_to_json(const sc_best *self)
{
    char value[40];
    snprintf(value, sizeof value, "%.17g", self->value); /* a text, as the manifest's numbers have fewer digits */
    return json_pack("{s:s, s:I, s:I, s:s, s:I}", "metric", sc_config_word("train.best_metric", self->metric),
                     "evaluated", (json_int_t)self->evaluated, "step", (json_int_t)self->step, "value", value, "worse",
                     (json_int_t)self->n_worse);
}

/* -1: it is none. */
static int metric_of(const char *word)
{
    for (int metric = 0;; metric++) {
        const char *known = sc_config_word("train.best_metric", metric);
        if (strcmp(known, "?") == 0)
            return -1;
        if (strcmp(known, word) == 0)
            return metric;
    }
}

bool sc_best_from_json(const json_t *json, sc_best *out)
{
    const char *metric, *value;
    json_int_t evaluated, step, n_worse;
    json_t *copy = json_deep_copy(json); /* unpacking is not for what is const */
    *out = (sc_best){0};
    bool ok = copy && json_unpack_ex(copy, NULL, JSON_STRICT, "{s:s, s:I, s:I, s:s, s:I}", "metric", &metric,
                                     "evaluated", &evaluated, "step", &step, "value", &value, "worse", &n_worse) == 0;
    if (ok) {
        char *end;
        *out = (sc_best){.metric = metric_of(metric),
                         .evaluated = evaluated,
                         .step = step,
                         .value = strtod(value, &end),
                         .n_worse = n_worse};
        ok = out->metric >= 0 && *value && !*end && isfinite(out->value) && step >= 0 && evaluated >= step &&
             n_worse >= 0;
    }
    json_decref(copy);
    return ok;
}
