#include "coordinator/report/report.h"

#include "coordinator/data/utf8.h"
#include "coordinator/report/class_table.h"
#include "coordinator/report/entities.h"
#include "coordinator/report/scores.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool sc_report_format_parse(const char *name, sc_report_format *out)
{
    static const char *const names[] = {"sklearn", "seqeval", "conlleval", "confusion", "json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (sc_report_format)i;
            return true;
        }
    return false;
}

/* --- the table of scikit-learn and seqeval ----------------------------------------------------------------------------- */

typedef struct table {
    FILE *out;
    size_t width; /* of the names, in characters */
    int digits;
} table;

static size_t characters(const char *text)
{
    return sc_utf8_count(text, strlen(text));
}

/* A name at the right of its column; printf would count bytes. */
static void print_name(const table *self, const char *name)
{
    const size_t n = characters(name);
    fprintf(self->out, "%*s%s ", (int)(n < self->width ? self->width - n : 0), "", name);
}

static table begin_table(FILE *out, const sc_labels *labels, int digits)
{
    table self = {.out = out, .width = strlen("weighted avg"), .digits = digits};
    for (int32_t i = 0; i < labels->n; i++)
        if (characters(labels->names[i]) > self.width)
            self.width = characters(labels->names[i]);
    if ((size_t)digits > self.width)
        self.width = (size_t)digits;
    print_name(&self, "");
    fprintf(out, " %9s %9s %9s %9s\n\n", "precision", "recall", "f1-score", "support");
    return self;
}

static void print_row(const table *self, const char *name, sc_score score)
{
    const int d = self->digits;
    print_name(self, name);
    fprintf(self->out, " %9.*f %9.*f %9.*f %9" PRIu64 "\n", d, score.precision, d, score.recall, d, score.f1,
            score.support);
}

static sc_status print_sklearn(const sc_predictions *predictions, int digits, FILE *out)
{
    sc_class_table classes = {0};
    SC_TRY(sc_class_table_make(predictions, &classes));
    const size_t n = (size_t)classes.labels.n;
    const table self = begin_table(out, &classes.labels, digits);
    for (size_t i = 0; i < n; i++)
        print_row(&self, classes.labels.names[i], classes.scores[i]);
    fputc('\n', out);
    print_name(&self, "accuracy");
    fprintf(out, " %9s %9s %9.*f %9" PRIu64 "\n", "", "", digits,
            (double)classes.n_correct / (double)classes.n_examples, classes.n_examples);
    print_row(&self, "macro avg", sc_scores_mean(classes.scores, n, false));
    print_row(&self, "weighted avg", sc_scores_mean(classes.scores, n, true));
    sc_class_table_clear(&classes);
    return SC_OK;
}

static sc_status score_entities(const sc_predictions *predictions, sc_entities_rules rules, sc_entities *entities,
                                sc_score **scores)
{
    *scores = NULL;
    SC_TRY(sc_entities_count(predictions, rules, entities));
    *scores = calloc((size_t)entities->types.n + 1, sizeof **scores);
    if (!*scores) {
        sc_entities_clear(entities);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a report on entities");
    }
    for (int32_t i = 0; i < entities->types.n; i++)
        (*scores)[i] = sc_score_of_entities(entities->counts[i]);
    return SC_OK;
}

static sc_status print_seqeval(const sc_predictions *predictions, int digits, FILE *out)
{
    sc_entities entities = {0};
    sc_score *scores;
    SC_TRY(score_entities(predictions, SC_ENTITIES_SEQEVAL, &entities, &scores));
    const size_t n = (size_t)entities.types.n;
    const table self = begin_table(out, &entities.types, digits);
    for (size_t i = 0; i < n; i++)
        print_row(&self, entities.types.names[i], scores[i]);
    fputc('\n', out);
    print_row(&self, "micro avg", sc_score_of_entities(sc_counts_sum(entities.counts, n)));
    print_row(&self, "macro avg", sc_scores_mean(scores, n, false));
    print_row(&self, "weighted avg", sc_scores_mean(scores, n, true));
    sc_entities_clear(&entities);
    free(scores);
    return SC_OK;
}

/* --- label sets --------------------------------------------------------------------------------------------------------- */

typedef struct set_scores {
    sc_score *of_labels; /* [labels.n] */
    sc_score micro, macro, weighted, samples;
} set_scores;

static sc_status score_sets(const sc_label_sets *sets, set_scores *out)
{
    const size_t n = (size_t)sets->labels.n;
    *out = (set_scores){.of_labels = calloc(n + 1, sizeof *out->of_labels)};
    if (sets->n == 0 || !out->of_labels) {
        free(out->of_labels);
        return sets->n == 0 ? SC_FAIL(SC_INVALID, "there is no prediction to report on")
                            : SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a report on %zu labels", n);
    }
    for (size_t i = 0; i < n; i++)
        out->of_labels[i] = sc_score_of(sets->counts[i]);
    out->micro = sc_score_of(sc_counts_sum(sets->counts, n));
    out->macro = sc_scores_mean(out->of_labels, n, false);
    out->weighted = sc_scores_mean(out->of_labels, n, true);
    out->samples = sc_scores_mean(sets->samples, sets->n, false);
    return SC_OK;
}

static sc_status print_sets(const sc_label_sets *sets, int digits, FILE *out)
{
    set_scores scores;
    SC_TRY(score_sets(sets, &scores));
    const table self = begin_table(out, &sets->labels, digits);
    for (int32_t i = 0; i < sets->labels.n; i++)
        print_row(&self, sets->labels.names[i], scores.of_labels[i]);
    fputc('\n', out);
    print_row(&self, "micro avg", scores.micro);
    print_row(&self, "macro avg", scores.macro);
    print_row(&self, "weighted avg", scores.weighted);
    print_row(&self, "samples avg", scores.samples);
    free(scores.of_labels);
    return SC_OK;
}

/* --- conlleval --------------------------------------------------------------------------------------------------------- */

/* The script computes in percent, which can round otherwise than a fraction would. */
static void print_percents(sc_counts c, FILE *out)
{
    const double precision = c.predicted ? 100.0 * (double)c.correct / (double)c.predicted : 0;
    const double recall = c.right ? 100.0 * (double)c.correct / (double)c.right : 0;
    const double f1 = precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0;
    fprintf(out, "precision: %6.2f%%; recall: %6.2f%%; FB1: %6.2f", precision, recall, f1);
}

static sc_status print_conlleval(const sc_predictions *predictions, FILE *out)
{
    sc_entities entities = {0};
    uint64_t correct = 0;
    SC_TRY(sc_entities_count(predictions, SC_ENTITIES_CONLLEVAL, &entities));
    for (size_t i = 0; i < predictions->n; i++)
        correct += predictions->items[i].right == predictions->items[i].predicted;
    const sc_counts all = sc_counts_sum(entities.counts, (size_t)entities.types.n);
    fprintf(out, "processed %zu tokens with %" PRIu64 " phrases; found: %" PRIu64 " phrases; correct: %" PRIu64 ".\n",
            predictions->n, all.right, all.predicted, all.correct);
    fprintf(out, "accuracy: %6.2f%%; ", 100.0 * (double)correct / (double)predictions->n);
    print_percents(all, out);
    fputc('\n', out);
    for (int32_t i = 0; i < entities.types.n; i++) {
        fprintf(out, "%17s: ", entities.types.names[i]);
        print_percents(entities.counts[i], out);
        fprintf(out, "  %" PRIu64 "\n", entities.counts[i].predicted);
    }
    sc_entities_clear(&entities);
    return SC_OK;
}

/* --- confusion --------------------------------------------------------------------------------------------------------- */

static sc_status print_confusion(const sc_predictions *predictions, FILE *out)
{
    sc_class_table classes = {0};
    SC_TRY(sc_class_table_make(predictions, &classes));
    const size_t n = (size_t)classes.labels.n;
    uint64_t most = 0;
    table names = {.out = out, .width = strlen("right \\ predicted")};
    for (size_t i = 0; i < n * n; i++)
        most = classes.confusion[i] > most ? classes.confusion[i] : most;
    for (size_t i = 0; i < n; i++)
        if (characters(classes.labels.names[i]) > names.width)
            names.width = characters(classes.labels.names[i]);
    size_t width = (size_t)snprintf(NULL, 0, "%" PRIu64, most);
    for (size_t i = 0; i < n; i++)
        if (characters(classes.labels.names[i]) > width)
            width = characters(classes.labels.names[i]);
    print_name(&names, "right \\ predicted");
    for (size_t i = 0; i < n; i++) {
        const char *name = classes.labels.names[i];
        fprintf(out, " %*s%s", (int)(width - characters(name)), "", name);
    }
    fputc('\n', out);
    for (size_t i = 0; i < n; i++) {
        print_name(&names, classes.labels.names[i]);
        for (size_t k = 0; k < n; k++)
            fprintf(out, " %*" PRIu64, (int)width, classes.confusion[i * n + k]);
        fputc('\n', out);
    }
    sc_class_table_clear(&classes);
    return SC_OK;
}

/* --- JSON -------------------------------------------------------------------------------------------------------------- */

static json_t *score_json(sc_score score)
{
    return json_pack("{sf,sf,sf,sI}", "precision", score.precision, "recall", score.recall, "f1-score", score.f1,
                     "support", (json_int_t)score.support);
}

static json_t *scores_json(const sc_labels *labels, const sc_score *scores)
{
    json_t *object = json_object();
    for (int32_t i = 0; i < labels->n; i++)
        json_object_set_new(object, labels->names[i], score_json(scores[i]));
    return object;
}

static json_t *confusion_json(const sc_class_table *classes)
{
    json_t *names = json_array(), *counts = json_array();
    const size_t n = (size_t)classes->labels.n;
    for (size_t i = 0; i < n; i++) {
        json_t *row = json_array();
        for (size_t k = 0; k < n; k++)
            json_array_append_new(row, json_integer((json_int_t)classes->confusion[i * n + k]));
        json_array_append_new(counts, row);
        json_array_append_new(names, json_string(classes->labels.names[i]));
    }
    return json_pack("{so,so}", "labels", names, "counts", counts);
}

static sc_status add_entities(const sc_predictions *predictions, json_t *object)
{
    sc_entities entities = {0};
    sc_score *scores;
    SC_TRY(score_entities(predictions, SC_ENTITIES_SEQEVAL, &entities, &scores));
    const size_t n = (size_t)entities.types.n;
    json_t *json = json_pack("{so,so,so,so}", "types", scores_json(&entities.types, scores), "micro avg",
                             score_json(sc_score_of_entities(sc_counts_sum(entities.counts, n))), "macro avg",
                             score_json(sc_scores_mean(scores, n, false)), "weighted avg",
                             score_json(sc_scores_mean(scores, n, true)));
    const int bad = json_object_set_new(object, "entities", json);
    sc_entities_clear(&entities);
    free(scores);
    return bad ? SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a report") : SC_OK;
}

sc_status sc_report_json(const sc_predictions *predictions, json_t **out)
{
    *out = NULL;
    sc_class_table classes = {0};
    SC_TRY(sc_class_table_make(predictions, &classes));
    const size_t n = (size_t)classes.labels.n;
    json_t *object = json_pack(
        "{sI,sf,so,so,so,so}", "examples", (json_int_t)classes.n_examples, "accuracy",
        (double)classes.n_correct / (double)classes.n_examples, "classes", scores_json(&classes.labels, classes.scores),
        "macro avg", score_json(sc_scores_mean(classes.scores, n, false)), "weighted avg",
        score_json(sc_scores_mean(classes.scores, n, true)), "confusion", confusion_json(&classes));
    sc_class_table_clear(&classes);
    sc_status status = object ? SC_OK : SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a report");
    if (status == SC_OK && sc_predictions_are_tags(predictions))
        status = add_entities(predictions, object);
    if (status == SC_OK)
        *out = object;
    else
        json_decref(object);
    return status;
}

static sc_status dump(json_t *json, FILE *out)
{
    const int bad = json_dumpf(json, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    json_decref(json);
    if (bad)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a report");
    fputc('\n', out);
    return SC_OK;
}

sc_status sc_report_print(const sc_predictions *predictions, sc_report_format format, int digits, FILE *out)
{
    if (predictions->n == 0)
        return SC_FAIL(SC_INVALID, "there is no prediction to report on");
    switch (format) {
    case SC_REPORT_SKLEARN:
        return print_sklearn(predictions, digits, out);
    case SC_REPORT_SEQEVAL:
        return print_seqeval(predictions, digits, out);
    case SC_REPORT_CONLLEVAL:
        return print_conlleval(predictions, out);
    case SC_REPORT_CONFUSION:
        return print_confusion(predictions, out);
    case SC_REPORT_JSON:
        break;
    }
    json_t *json;
    SC_TRY(sc_report_json(predictions, &json));
    return dump(json, out);
}

sc_status sc_report_json_sets(const sc_label_sets *sets, json_t **out)
{
    *out = NULL;
    set_scores scores;
    SC_TRY(score_sets(sets, &scores));
    *out = json_pack("{sI,sf,so,so,so,so,so}", "examples", (json_int_t)sets->n, "accuracy",
                     (double)sets->n_exact / (double)sets->n, "classes", scores_json(&sets->labels, scores.of_labels),
                     "micro avg", score_json(scores.micro), "macro avg", score_json(scores.macro), "weighted avg",
                     score_json(scores.weighted), "samples avg", score_json(scores.samples));
    free(scores.of_labels);
    return *out ? SC_OK : SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a report");
}

sc_status sc_report_print_sets(const sc_label_sets *sets, sc_report_format format, int digits, FILE *out)
{
    if (format == SC_REPORT_SKLEARN)
        return print_sets(sets, digits, out);
    if (format != SC_REPORT_JSON)
        return SC_FAIL(SC_INVALID, "of examples with several labels there are the formats sklearn and json");
    json_t *json;
    SC_TRY(sc_report_json_sets(sets, &json));
    return dump(json, out);
}
