#include "coordinator/report/class_table.h"

#include <stdlib.h>
#include <string.h>

/* More classes make a table that nobody reads, of more than a gigabyte. */
enum { MOST_CLASSES = 10000 };

void sc_class_table_clear(sc_class_table *self)
{
    sc_labels_clear(&self->labels);
    free(self->confusion);
    free(self->scores);
    *self = (sc_class_table){0};
}

static void score(sc_class_table *self)
{
    const size_t n = (size_t)self->labels.n;
    for (size_t i = 0; i < n; i++) {
        sc_counts counts = {.correct = self->confusion[i * n + i]};
        for (size_t k = 0; k < n; k++) {
            counts.right += self->confusion[i * n + k];
            counts.predicted += self->confusion[k * n + i];
        }
        self->scores[i] = sc_score_of(counts);
        self->n_correct += counts.correct;
    }
}

sc_status sc_class_table_make(const sc_predictions *predictions, sc_class_table *out)
{
    const size_t n = (size_t)predictions->labels.n;
    if (predictions->n == 0)
        return SC_FAIL(SC_INVALID, "there is no prediction to report on");
    if (n > MOST_CLASSES)
        return SC_FAIL(SC_INVALID, "there are %zu labels; a report has at most %d", n, MOST_CLASSES);
    int32_t *renumber = calloc(n, sizeof *renumber);
    out->confusion = calloc(n * n, sizeof *out->confusion);
    out->scores = calloc(n, sizeof *out->scores);
    sc_status status;
    if (!renumber || !out->confusion || !out->scores) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a report on %zu labels", n);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        int32_t id;
        const char *name = predictions->labels.names[i];
        SC_TRY_GOTO(status, sc_labels_add(&out->labels, name, strlen(name), &id), out);
    }
    SC_TRY_GOTO(status, sc_labels_sort(&out->labels, renumber), out);
    for (size_t i = 0; i < predictions->n; i++) {
        const sc_prediction *item = &predictions->items[i];
        out->confusion[(size_t)renumber[item->right] * n + (size_t)renumber[item->predicted]]++;
    }
    out->n_examples = predictions->n;
    score(out);
out:
    free(renumber);
    if (status != SC_OK)
        sc_class_table_clear(out);
    return status;
}
