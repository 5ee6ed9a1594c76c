#include "coordinator/run/label_evaluator.h"

#include "coordinator/data/labelled_texts.h"
#include "coordinator/data/tagged_words.h"
#include "coordinator/report/decode.h"
#include "coordinator/report/report.h"
#include "coordinator/run/hf_config.h"
#include "coordinator/run/weights.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct evaluator {
    const sc_label_evaluator_options *options;
    sc_predictor *predictor;
    const sc_predict_model *model;
    sc_labels labels; /* the model's */
    sc_labelled_texts texts;
    sc_tagged_words words;
    size_t n, added, taken; /* texts or sentences */
    FILE *written;          /* the file of predictions, in memory; NULL: there is none */
    sc_label_evaluation *out;
} evaluator;

static bool gives_tags(const evaluator *self)
{
    return self->model->model.task == SC_TASK_TAGGING;
}

sc_status sc_label_evaluator_fits(const char *dir, bool *fits)
{
    char found[PATH_MAX];
    int64_t steps;
    sc_model model;
    SC_TRY(sc_weights_find(dir, -1, found, &steps));
    SC_TRY(sc_hf_config_load(found, &model));
    *fits = model.task == SC_TASK_CLASSIFICATION || model.task == SC_TASK_TAGGING;
    return SC_OK;
}

/* --- data ------------------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

static sc_status choose_format(const evaluator *self, sc_data_format *out)
{
    const sc_label_evaluator_options *o = self->options;
    *out = gives_tags(self) ? SC_DATA_CONLL : SC_DATA_TEXT_LABEL;
    if (o->format && !sc_data_format_parse(o->format, out))
        return SC_FAIL(SC_INVALID, "'%s' is no format of data; take text-label, label-text, csv, jsonl or conll",
                       o->format);
    if (!o->format && !gives_tags(self) && ends_with(o->data, ".csv"))
        *out = SC_DATA_CSV;
    if (!o->format && !gives_tags(self) && (ends_with(o->data, ".jsonl") || ends_with(o->data, ".json")))
        *out = SC_DATA_JSONL;
    if ((*out == SC_DATA_CONLL) != gives_tags(self) || *out > SC_DATA_CONLL)
        return SC_FAIL(SC_INVALID, "the model in %s gives %s; the format %s has none", self->model->dir,
                       gives_tags(self) ? "words tags" : "texts labels", o->format);
    return SC_OK;
}

static sc_status read_data(evaluator *self)
{
    const sc_label_evaluator_options *o = self->options;
    sc_data_format format;
    char *bytes;
    size_t n;
    sc_data_columns columns = o->columns;
    if (!self->model->model.multi_label)
        columns.label_separator = NULL;
    SC_TRY(choose_format(self, &format));
    for (int32_t i = 0; i < self->model->labels.n; i++) {
        int32_t id;
        const char *name = self->model->labels.names[i];
        SC_TRY(sc_labels_add(&self->labels, name, strlen(name), &id));
    }
    SC_TRY(sc_files_read(o->data, INT32_MAX, &bytes, &n));
    const sc_text file = {.name = o->data, .bytes = bytes, .n_bytes = n};
    const sc_status status = gives_tags(self)
                                 ? sc_tagged_words_read(&self->words, &file, &columns, &self->labels, true)
                                 : sc_labelled_texts_read(&self->texts, &file, format, &columns, &self->labels, true);
    free(bytes);
    self->n = gives_tags(self) ? self->words.n : self->texts.n;
    return status;
}

/* --- prediction --------------------------------------------------------------------------------------------------------- */

static sc_status make_text(const evaluator *self, sc_predict_item **out)
{
    const sc_labelled_text *t = &self->texts.items[self->added];
    return sc_predict_item_new(self->texts.bytes + t->text, t->n_text, t->n_pair ? self->texts.bytes + t->pair : NULL,
                               t->n_pair, t->line, out);
}

static sc_status make_sentence(const evaluator *self, sc_predict_item **out)
{
    const sc_tagged_sentence *s = &self->words.sentences[self->added];
    SC_TRY(sc_predict_item_new_words(s->line, out));
    for (size_t i = 0; i < s->n; i++) {
        const sc_tagged_word *word = &self->words.words[s->first + i];
        const char *tag = self->labels.names[word->tag];
        const sc_status status =
            sc_predict_item_add_word(*out, self->words.bytes + word->text, word->n_text, tag, strlen(tag));
        if (status != SC_OK) {
            sc_predict_item_destroy(out);
            return status;
        }
        if (!(*out)->message)
            (*out)->words[i].right_label = word->tag;
    }
    return SC_OK;
}

static void write_text(evaluator *self, const char *text, size_t n)
{
    if (self->written)
        sc_predictions_put_text(text, n, self->written);
}

static void write(evaluator *self, const char *before, const char *text)
{
    if (self->written)
        fprintf(self->written, "%s%s", before, text);
}

static sc_status count(evaluator *self, int32_t right, int32_t predicted, double loss)
{
    const char *right_name = self->labels.names[right], *predicted_name = self->labels.names[predicted];
    self->out->loss += loss; /* the sum, until the end */
    self->out->n_examples++;
    self->out->n_correct += right == predicted;
    write(self, "\t", right_name);
    write(self, "\t", predicted_name);
    write(self, "", "\n");
    return sc_predictions_add(&self->out->predictions, right_name, predicted_name);
}

static sc_status add_to_set(evaluator *self, int32_t label, bool predicted, size_t place)
{
    const char *name = self->labels.names[label];
    write(self, place ? self->options->columns.label_separator : "\t", name);
    return sc_label_sets_add(&self->out->sets, name, strlen(name), predicted);
}

static sc_status take_set(evaluator *self, const sc_predict_item *item, const sc_labelled_text *text)
{
    const int K = self->model->model.labels;
    size_t n, n_predicted = 0;
    double loss = 0;
    const int32_t *right = sc_labelled_texts_labels(&self->texts, text, &n);
    for (size_t i = 0; i < n; i++)
        SC_TRY(add_to_set(self, right[i], false, i));
    write(self, n ? "" : "\t", "");
    for (int32_t k = 0; k < K; k++) {
        bool is_right = false;
        for (size_t i = 0; i < n; i++)
            is_right |= right[i] == k;
        loss += sc_decode_sigmoid_loss(item->logits[k], is_right);
        if (sc_decode_is_on(item->logits[k]))
            SC_TRY(add_to_set(self, k, true, n_predicted++));
    }
    write(self, n_predicted ? "" : "\t", "\n");
    self->out->loss += loss / K;
    self->out->n_examples++;
    return sc_label_sets_end(&self->out->sets);
}

static sc_status take_text(evaluator *self, const sc_predict_item *item)
{
    const int K = self->model->model.labels;
    const sc_labelled_text *text = &self->texts.items[self->taken];
    write_text(self, item->bytes, item->n_text);
    if (self->model->model.multi_label)
        return take_set(self, item, text);
    return count(self, text->label, sc_decode_class(item->logits, K, NULL),
                 sc_decode_loss(item->logits, K, text->label));
}

static sc_status take_sentence(evaluator *self, const sc_predict_item *item)
{
    for (size_t i = 0; i < item->n_words; i++) {
        const sc_predict_word *word = &item->words[i];
        write_text(self, item->bytes + word->begin, word->end - word->begin);
        SC_TRY(count(self, word->right_label, word->label, word->loss));
    }
    write(self, "", "\n");
    sc_predictions_end_sentence(&self->out->predictions);
    return SC_OK;
}

static sc_status take(evaluator *self, const sc_predict_item *item)
{
    if (item->message)
        return SC_FAIL(SC_INVALID, "%s:%" PRIu64 ": %s", self->options->data, item->line, item->message);
    SC_TRY(gives_tags(self) ? take_sentence(self, item) : take_text(self, item));
    self->taken++;
    return SC_OK;
}

static sc_status predict(evaluator *self)
{
    while (self->taken < self->n) {
        while (self->added < self->n && sc_predictor_has_room(self->predictor)) {
            sc_predict_item *item = NULL;
            SC_TRY(gives_tags(self) ? make_sentence(self, &item) : make_text(self, &item));
            self->added++;
            SC_TRY(sc_predictor_add(self->predictor, &item));
        }
        SC_TRY(sc_predictor_start(self->predictor));
        SC_TRY(sc_predictor_wait(self->predictor, -1));
        for (sc_predict_item *item; (item = sc_predictor_take(self->predictor));) {
            const sc_status status = take(self, item);
            sc_predict_item_destroy(&item);
            SC_TRY(status);
        }
        if (sc_predictor_stop_requested(self->predictor))
            return SC_FAIL(SC_CANCELLED, "stopped after %zu of %zu examples", self->taken, self->n);
    }
    return SC_OK;
}

static sc_status run(evaluator *self)
{
    const sc_clock clock = sc_clock_system();
    SC_TRY(sc_predictor_open(&self->options->predictor, &self->predictor));
    self->model = sc_predictor_model(self->predictor);
    SC_TRY(read_data(self));
    SC_TRY(sc_predictor_start_workers(self->predictor));
    const uint64_t begin = sc_clock_ns(&clock);
    SC_TRY(predict(self));
    self->out->loss /= (double)self->out->n_examples;
    self->out->n_tokens = sc_predictor_n_tokens(self->predictor);
    self->out->seconds = sc_clock_seconds_since(&clock, begin);
    if (!self->model->model.multi_label)
        return SC_OK;
    self->out->n_correct = self->out->sets.n_exact;
    return sc_label_sets_sort(&self->out->sets);
}

sc_status sc_label_evaluator_run(const sc_label_evaluator_options *options, sc_label_evaluation *out)
{
    evaluator self = {.options = options, .out = out};
    char *text = NULL;
    size_t n = 0;
    if (options->predictions && !(self.written = open_memstream(&text, &n)))
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for predictions");
    sc_status status = run(&self);
    sc_predictor_close(&self.predictor);
    if (self.written && fclose(self.written) != 0 && status == SC_OK)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for predictions");
    if (options->predictions && status == SC_OK)
        status = sc_files_replace(options->predictions, text, n);
    free(text);
    sc_labelled_texts_clear(&self.texts);
    sc_tagged_words_clear(&self.words);
    sc_labels_clear(&self.labels);
    return status;
}

void sc_label_evaluation_clear(sc_label_evaluation *self)
{
    sc_predictions_clear(&self->predictions);
    sc_label_sets_clear(&self->sets);
}

/* --- printing ----------------------------------------------------------------------------------------------------------- */

static sc_status print_json(const sc_label_evaluation *self, FILE *out)
{
    json_t *report = NULL;
    SC_TRY(self->sets.n ? sc_report_json_sets(&self->sets, &report) : sc_report_json(&self->predictions, &report));
    const bool ok =
        json_object_set_new(report, "loss", json_real(self->loss)) == 0 &&
        json_object_set_new(report, "seconds", json_real(self->seconds)) == 0 &&
        json_object_set_new(report, "tokens_per_second", json_real((double)self->n_tokens / self->seconds)) == 0;
    if (ok)
        json_dumpf(report, out, JSON_COMPACT);
    json_decref(report);
    fputc('\n', out);
    return ok ? SC_OK : SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a report");
}

sc_status sc_label_evaluation_print(const sc_label_evaluation *self, bool json, FILE *out)
{
    enum { DIGITS = 4 };
    if (json)
        return print_json(self, out);
    const bool tags = !self->sets.n && sc_predictions_are_tags(&self->predictions);
    fprintf(out, "loss %.9g  accuracy %.4f  %" PRIu64 " %s  %.1f s  %.0f tok/s\n\n", self->loss,
            (double)self->n_correct / (double)self->n_examples, self->n_examples, tags ? "words" : "examples",
            self->seconds, (double)self->n_tokens / self->seconds);
    if (self->sets.n)
        return sc_report_print_sets(&self->sets, SC_REPORT_SKLEARN, DIGITS, out);
    return sc_report_print(&self->predictions, tags ? SC_REPORT_SEQEVAL : SC_REPORT_SKLEARN, DIGITS, out);
}
