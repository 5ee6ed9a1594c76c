#include "coordinator/run/scorer.h"

#include "coordinator/report/class_table.h"
#include "coordinator/report/decode.h"
#include "coordinator/report/entities.h"
#include "coordinator/run/item_ranking.h"
#include "coordinator/run/verdict.h"
#include "proto/base/files.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sc_scorer {
    sc_feed *feed;
    const sc_model *model;
    sc_data_split split;
    /* without labels: */
    double sums[SC_MAX_LOSSES];
    uint64_t counts[SC_MAX_LOSSES], correct[SC_MAX_LOSSES];
    /* with labels: */
    const sc_dataset *data;
    int32_t *predicted; /* by text or word */
    bool *on;           /* [texts][labels], where a text has any number, instead */
    double loss;
    uint64_t n_targets;
    sc_predictions predictions;
    sc_label_sets sets;
    /* of items: */
    bool ranks;
    sc_item_ranking ranking;
    sc_ranking_scores popularity;
};

static size_t n_predicted(const sc_scorer *self)
{
    return self->model->task == SC_TASK_TAGGING ? self->data->words[self->split].n_words
                                                : self->data->texts[self->split].n;
}

static sc_status open_ranking(sc_scorer *self)
{
    const sc_item_sequences *sequences = sc_feed_sequences(self->feed);
    const sc_item_part part = self->split == SC_SPLIT_TEST ? SC_ITEMS_TEST : SC_ITEMS_DEV;
    const bool exclude_seen = sc_feed_excludes_seen(self->feed);
    self->ranks = true;
    SC_TRY(sc_item_ranking_init(sequences, part, exclude_seen, self->model->vocab, &self->ranking));
    return sc_item_ranking_popularity(sequences, part, exclude_seen, &self->popularity);
}

sc_status sc_scorer_new(sc_feed *feed, const sc_model *model, sc_data_split split, sc_scorer **out)
{
    sc_scorer *self = *out = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the scores of an evaluation");
    self->feed = feed;
    self->model = model;
    self->split = split;
    if (sc_feed_sequences(feed)) {
        const sc_status status = open_ranking(self);
        if (status != SC_OK)
            sc_scorer_destroy(out);
        return status;
    }
    if (!sc_feed_labels(feed))
        return SC_OK;
    self->data = sc_feed_dataset(feed);
    if (model->multi_label)
        self->on = calloc(n_predicted(self) + 1, (size_t)model->labels * sizeof *self->on);
    else
        self->predicted = calloc(n_predicted(self) + 1, sizeof *self->predicted);
    if (self->predicted || self->on)
        return SC_OK;
    sc_scorer_destroy(out);
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the predictions of an evaluation");
}

void sc_scorer_destroy(sc_scorer **self_p)
{
    sc_scorer *self = *self_p;
    if (!self)
        return;
    sc_predictions_clear(&self->predictions);
    sc_label_sets_clear(&self->sets);
    sc_item_ranking_clear(&self->ranking);
    free(self->predicted);
    free(self->on);
    free(self);
    *self_p = NULL;
}

bool sc_scorer_wants_logits(const sc_scorer *self)
{
    return self->data || self->ranks;
}

void sc_scorer_begin(sc_scorer *self)
{
    memset(self->sums, 0, sizeof self->sums);
    memset(self->counts, 0, sizeof self->counts);
    memset(self->correct, 0, sizeof self->correct);
    sc_predictions_clear(&self->predictions);
    sc_label_sets_clear(&self->sets);
    self->loss = 0;
    self->n_targets = 0;
    self->ranking.sums = (sc_ranking){0};
}

/* --- rounds ------------------------------------------------------------------------------------------------------------ */

static sc_status add_losses(sc_scorer *self, sc_feed_item item, const sc_step_result *result)
{
    sc_feed_size size;
    double sums[SC_MAX_LOSSES];
    SC_TRY(sc_feed_measure(self->feed, item, &size));
    const sc_loss_counts counts = {.n_microbatches = sc_feed_n_microbatches(self->feed, item),
                                   .n_losses = sc_model_n_losses(self->model),
                                   .n = {size.n_targets, size.n_sequences}};
    SC_TRY(sc_verdict_sums(result, &counts, sums));
    for (int i = 0; i < counts.n_losses; i++) {
        self->sums[i] += sums[i];
        self->counts[i] += counts.n[i];
        for (int m = 0; m < counts.n_microbatches; m++)
            self->correct[i] += result->n_correct[m * counts.n_losses + i];
    }
    return SC_OK;
}

static sc_status diverged(const sc_scorer *self)
{
    return SC_FAIL(SC_ABORTED,
                   "the model has diverged: its logits of the %s data are no numbers; a smaller train.learning_rate "
                   "or a longer warm-up helps",
                   sc_data_split_name(self->split));
}

/* A text's logits, one for each label. */
static sc_status add_set(sc_scorer *self, size_t index, const float *logits, const int32_t *right)
{
    const size_t K = (size_t)self->model->labels;
    for (size_t k = 0; k < K; k++) {
        if (!isfinite(logits[k]))
            return diverged(self);
        self->on[index * K + k] = sc_decode_is_on(logits[k]);
        self->loss += sc_decode_sigmoid_loss(logits[k], right[k] != 0);
    }
    self->n_targets += K;
    return SC_OK;
}

/* One target's logits. */
static sc_status add_target(sc_scorer *self, size_t index, const float *logits, int32_t right)
{
    const int K = self->model->labels;
    const int32_t found = sc_decode_class(logits, K, NULL);
    if (found == SC_DECODE_NONE)
        return diverged(self);
    self->loss += sc_decode_loss(logits, K, right);
    self->n_targets++;
    self->predicted[index] = found;
    return SC_OK;
}

/* A row: of a text one target, of a sentence one at the first piece of each of its words. */
static sc_status add_row(sc_scorer *self, const sc_micro_batch *batch, int b, const float *logits)
{
    const size_t K = (size_t)self->model->labels;
    const sc_examples_source source = sc_examples_source_of(sc_feed_examples(self->feed, self->split), batch->rows[b]);
    if (self->on)
        return add_set(self, source.first, logits, batch->targets + (size_t)b * K);
    if (self->model->task == SC_TASK_CLASSIFICATION)
        return add_target(self, source.first, logits, batch->targets[b]);
    size_t word = source.first;
    const int32_t *targets = batch->targets + (size_t)b * (size_t)batch->T;
    for (int t = 0; t < batch->T; t++)
        if (targets[t] != SC_NO_TARGET)
            SC_TRY(add_target(self, word++, logits + (size_t)t * K, targets[t]));
    assert(word == source.first + source.n);
    return SC_OK;
}

sc_status sc_scorer_add(sc_scorer *self, uint64_t round, const sc_step_result *result, int B, int T)
{
    const sc_feed_item item = {.split = self->split, .index = round};
    if (self->ranks)
        return sc_item_ranking_take(&self->ranking, self->feed, item, result->logits);
    if (!self->data)
        return add_losses(self, item, result);
    const size_t room = (size_t)sc_model_n_logits(self->model, T);
    const int M = sc_feed_n_microbatches(self->feed, item);
    if (!result->logits || sc_buffer_bytes(result->logits) != (size_t)M * (size_t)B * room * sizeof(float))
        return SC_FAIL(SC_INVALID, "the last stage sent %zu bytes of logits for %d micro-batches",
                       result->logits ? sc_buffer_bytes(result->logits) : 0, M);
    const float *logits = sc_buffer_data(result->logits);
    for (int m = 0; m < M; m++) {
        const sc_micro_batch *batch;
        SC_TRY(sc_feed_get(self->feed, item, m, &batch));
        for (int b = 0; b < batch->B; b++)
            SC_TRY(add_row(self, batch, b, logits + ((size_t)m * (size_t)B + (size_t)b) * room));
    }
    return SC_OK;
}

/* --- the end ----------------------------------------------------------------------------------------------------------- */

static sc_status predict(sc_scorer *self)
{
    char *const *names = sc_feed_labels(self->feed)->names;
    if (self->model->task == SC_TASK_CLASSIFICATION) {
        const sc_labelled_texts *texts = &self->data->texts[self->split];
        for (size_t i = 0; i < texts->n; i++)
            SC_TRY(sc_predictions_add(&self->predictions, names[texts->items[i].label], names[self->predicted[i]]));
        return SC_OK;
    }
    const sc_tagged_words *words = &self->data->words[self->split];
    for (size_t s = 0; s < words->n; s++) {
        for (size_t i = words->sentences[s].first; i < words->sentences[s].first + words->sentences[s].n; i++)
            SC_TRY(sc_predictions_add(&self->predictions, names[words->words[i].tag], names[self->predicted[i]]));
        sc_predictions_end_sentence(&self->predictions);
    }
    return SC_OK;
}

static sc_status predict_sets(sc_scorer *self)
{
    char *const *names = sc_feed_labels(self->feed)->names;
    const sc_labelled_texts *texts = &self->data->texts[self->split];
    const size_t K = (size_t)self->model->labels;
    for (size_t i = 0; i < texts->n; i++) {
        size_t n;
        const int32_t *right = sc_labelled_texts_labels(texts, &texts->items[i], &n);
        for (size_t k = 0; k < n; k++)
            SC_TRY(sc_label_sets_add(&self->sets, names[right[k]], strlen(names[right[k]]), false));
        for (size_t k = 0; k < K; k++)
            if (self->on[i * K + k])
                SC_TRY(sc_label_sets_add(&self->sets, names[k], strlen(names[k]), true));
        SC_TRY(sc_label_sets_end(&self->sets));
    }
    return sc_label_sets_sort(&self->sets);
}

static sc_status score_sets(sc_scorer *self, sc_score_list *out)
{
    SC_TRY(predict_sets(self));
    const sc_label_sets *sets = &self->sets;
    const size_t n = (size_t)sets->labels.n;
    sc_score *scores = calloc(n + 1, sizeof *scores);
    if (!scores)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the scores of an evaluation");
    for (size_t i = 0; i < n; i++)
        scores[i] = sc_score_of(sets->counts[i]);
    sc_score_list_add(out, "loss", self->loss / (double)self->n_targets);
    sc_score_list_add(out, "accuracy", (double)sets->n_exact / (double)sets->n);
    sc_score_list_add(out, "micro_f1", sc_score_of(sc_counts_sum(sets->counts, n)).f1);
    sc_score_list_add(out, "macro_f1", sc_scores_mean(scores, n, false).f1);
    free(scores);
    return SC_OK;
}

static sc_status score_labels(sc_scorer *self, sc_score_list *out)
{
    sc_class_table table = {0};
    sc_entities entities = {0};
    SC_TRY(predict(self));
    sc_status status;
    SC_TRY_GOTO(status, sc_class_table_make(&self->predictions, &table), done);
    sc_score_list_add(out, "loss", self->loss / (double)self->n_targets);
    sc_score_list_add(out, "accuracy", (double)table.n_correct / (double)table.n_examples);
    sc_score_list_add(out, "macro_f1", sc_scores_mean(table.scores, (size_t)table.labels.n, false).f1);
    if (self->model->task == SC_TASK_TAGGING && sc_predictions_are_tags(&self->predictions)) {
        SC_TRY_GOTO(status, sc_entities_count(&self->predictions, SC_ENTITIES_SEQEVAL, &entities), done);
        sc_score_list_add(out, "entity_f1",
                          sc_score_of_entities(sc_counts_sum(entities.counts, (size_t)entities.types.n)).f1);
    }
done:
    sc_class_table_clear(&table);
    sc_entities_clear(&entities);
    return status;
}

static sc_status score_ranks(const sc_scorer *self, sc_score_list *out)
{
    const sc_ranking_scores s = sc_ranking_mean(&self->ranking.sums), *p = &self->popularity;
    if (!isfinite(s.loss))
        return diverged(self);
    sc_score_list_add(out, "loss", s.loss);
    sc_score_list_add(out, "hr@10", s.hr);
    sc_score_list_add(out, "ndcg@10", s.ndcg);
    sc_score_list_add(out, "mrr", s.mrr);
    sc_score_list_add(out, "popularity_hr@10", p->hr);
    sc_score_list_add(out, "popularity_ndcg@10", p->ndcg);
    sc_score_list_add(out, "popularity_mrr", p->mrr);
    return SC_OK;
}

sc_status sc_scorer_finish(sc_scorer *self, sc_score_list *out)
{
    *out = (sc_score_list){0};
    if (self->on)
        return score_sets(self, out);
    if (self->ranks)
        return score_ranks(self, out);
    if (self->data)
        return score_labels(self, out);
    const sc_loss_counts counts = {.n_losses = sc_model_n_losses(self->model), .n = {self->counts[0], self->counts[1]}};
    const double loss = sc_verdict_loss(self->sums, &counts);
    sc_score_list_add(out, "loss", loss);
    if (self->model->task == SC_TASK_NEXT_TOKEN) {
        sc_score_list_add(out, "perplexity", exp(loss));
        return SC_OK;
    }
    static const char *const names[SC_MAX_LOSSES] = {"accuracy", "next_accuracy"};
    for (int i = 0; i < counts.n_losses; i++)
        sc_score_list_add(out, names[i], (double)self->correct[i] / (double)self->counts[i]);
    return SC_OK;
}

const sc_predictions *sc_scorer_predictions(const sc_scorer *self)
{
    return self->predicted ? &self->predictions : NULL;
}

const sc_label_sets *sc_scorer_sets(const sc_scorer *self)
{
    return self->on ? &self->sets : NULL;
}

/* --- the file ---------------------------------------------------------------------------------------------------------- */

static void put_line(FILE *out, const char *text, size_t n, const char *right, const char *predicted)
{
    sc_predictions_put_text(text, n, out);
    fprintf(out, "\t%s\t%s\n", right, predicted);
}

static void put_sets(const sc_scorer *self, const char *separator, FILE *out)
{
    char *const *names = sc_feed_labels(self->feed)->names;
    const sc_labelled_texts *texts = &self->data->texts[self->split];
    const size_t K = (size_t)self->model->labels;
    for (size_t i = 0; i < texts->n; i++) {
        const sc_labelled_text *item = &texts->items[i];
        size_t n, n_on = 0;
        const int32_t *right = sc_labelled_texts_labels(texts, item, &n);
        sc_predictions_put_text(texts->bytes + item->text, item->n_text, out);
        putc('\t', out);
        for (size_t k = 0; k < n; k++)
            fprintf(out, "%s%s", k ? separator : "", names[right[k]]);
        putc('\t', out);
        for (size_t k = 0; k < K; k++)
            if (self->on[i * K + k])
                fprintf(out, "%s%s", n_on++ ? separator : "", names[k]);
        putc('\n', out);
    }
}

static void put_all(const sc_scorer *self, FILE *out)
{
    char *const *names = sc_feed_labels(self->feed)->names;
    if (self->model->task == SC_TASK_CLASSIFICATION) {
        const sc_labelled_texts *texts = &self->data->texts[self->split];
        for (size_t i = 0; i < texts->n; i++)
            put_line(out, texts->bytes + texts->items[i].text, texts->items[i].n_text, names[texts->items[i].label],
                     names[self->predicted[i]]);
        return;
    }
    const sc_tagged_words *words = &self->data->words[self->split];
    for (size_t s = 0; s < words->n; s++) {
        for (size_t i = words->sentences[s].first; i < words->sentences[s].first + words->sentences[s].n; i++)
            put_line(out, words->bytes + words->words[i].text, words->words[i].n_text, names[words->words[i].tag],
                     names[self->predicted[i]]);
        putc('\n', out);
    }
}

sc_status sc_scorer_write(const sc_scorer *self, const char *path, const char *separator)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (!out)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for the predictions", path);
    if (self->on)
        put_sets(self, separator, out);
    else
        put_all(self, out);
    const bool failed = ferror(out) != 0;
    sc_status status = fclose(out) != 0 || failed
                           ? SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for the predictions", path)
                           : sc_files_replace(path, text, n);
    free(text);
    return status;
}
