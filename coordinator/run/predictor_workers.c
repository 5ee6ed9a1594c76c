/* The predictor's workers: plans, weights, steps, and what a lost worker takes with it. */
#include "coordinator/run/predictor_internal.h"

#include "coordinator/run/weights.h"
#include "coordinator/schedule/partition.h"
#include "coordinator/schedule/schedule.h"
#include "proto/base/log.h"

#include <stdlib.h>
#include <string.h>

#define SC_LOG_SUBSYSTEM "predict"

enum {
    MOST_ROWS = 64,        /* of a micro-batch */
    ROOM = 8192,           /* tokens that the workers' memory has room for: MOST_ROWS of 128, 16 of 512 */
    ROOM_WORDS = 1024,     /* the same where each has V logits */
    ROOM_LOGITS = 1 << 22, /* of a micro-batch of items: 16 MiB */
    MICRO_BATCH = 2048,    /* tokens of a micro-batch, padding included */
    ATTEMPTS = 5,          /* losses of workers in a row without a step in between */
};

/* --- workers ---------------------------------------------------------------------------------------------------------- */

/* Enough micro-batches in two steps to keep all stages busy. */
static sc_status make_plans(sc_predictor *self)
{
    const int S = self->options.workers;
    const bool tied = sc_model_tied_param(&self->model.model) >= 0;
    do {
        SC_TRY(sc_schedule_make(SC_SCHEDULE_1F1B, S, 1, 1 << self->n_plans, SC_PLAN_FORWARD, tied,
                                &self->plans[self->n_plans]));
        self->n_plans++;
    } while (self->n_plans < SC_PREDICT_PLANS && 1 << self->n_plans < 2 * S);
    return SC_OK;
}

static int most_microbatches(const sc_predictor *self)
{
    return 1 << (self->n_plans - 1);
}

static sc_status make_room(sc_predictor *self)
{
    const int longest = self->model.longest, S = self->options.workers;
    const int room = sc_model_predicts_words(&self->model.model) ? ROOM_WORDS : ROOM;
    self->B = room / longest < 1 ? 1 : room / longest > MOST_ROWS ? MOST_ROWS : room / longest;
    if (sc_predictor_is_of_items(self) && self->B > ROOM_LOGITS / self->model.model.vocab)
        self->B = ROOM_LOGITS / self->model.model.vocab + 1;
    SC_TRY(make_plans(self));
    SC_TRY(sc_micro_batch_init(&self->batch, self->B, longest));
    self->next = calloc((size_t)self->B, sizeof *self->next);
    self->slices = calloc((size_t)S, sizeof *self->slices);
    bool complete = self->next && self->slices;
    for (int i = 0; i < SC_PREDICT_IN_FLIGHT; i++) {
        const size_t M = (size_t)most_microbatches(self);
        self->steps[i].B = calloc(M, sizeof *self->steps[i].B);
        self->steps[i].rows = calloc(M * (size_t)self->B, sizeof *self->steps[i].rows);
        complete = complete && self->steps[i].B && self->steps[i].rows;
    }
    if (!complete)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for micro-batches of %d texts", self->B);
    return sc_partition_by_cost(&self->model.model, S, self->B, longest, self->slices);
}

/* A head that is drawn anew, as training begins with it, would predict at random. */
static sc_status load_weights(sc_predictor *self)
{
    sc_hf_weights *weights = NULL;
    SC_TRY(sc_hf_weights_open(self->dir, &self->model.model, &weights));
    sc_status status =
        sc_hf_weights_n_missing(weights) == 0
            ? sc_weights_send(self->local.cluster, &self->model.model, weights)
            : SC_FAIL(
                  SC_DATA_LOSS,
                  "%s lacks %d parameters of the head of a %s: it has not been trained to predict; fine-tune it first",
                  self->dir, sc_hf_weights_n_missing(weights), sc_hf_config_class(&self->model.model));
    sc_hf_weights_close(&weights);
    return status;
}

sc_status sc_predictor_start_workers(sc_predictor *self)
{
    SC_TRY(make_room(self));
    SC_TRY(sc_local_cluster_open(&self->local, &self->clock, self->options.workers, self->options.threads, ATTEMPTS));
    self->assignment = (sc_assignment){
        .model = self->model.model,
        .plans = (const sc_plan *const *)self->plans,
        .n_plans = self->n_plans,
        .slices = self->slices,
        .n_slices = self->options.workers,
        .micro_batch_size = self->B,
        .sequence_length = self->model.longest,
    };
    SC_TRY(sc_cluster_assign(self->local.cluster, &self->assignment));
    return load_weights(self);
}

/* --- steps ----------------------------------------------------------------------------------------------------------- */

/* Long rows first: what needs most memory comes early. Equal ones in the order in which they came. */
static int compare(const void *a, const void *b)
{
    const sc_queued_row *x = a, *y = b;
    if (x->n != y->n)
        return x->n < y->n ? 1 : -1;
    return x->place < y->place ? -1 : x->place > y->place;
}

static void close_window(sc_predictor *self)
{
    const sc_row_list empty = self->closed;
    self->closed = self->filling;
    self->filling = empty;
    self->filling.n = self->n_filling = self->filling_bytes = self->at = 0;
    if (self->closed.n > 1)
        qsort(self->closed.rows, self->closed.n, sizeof *self->closed.rows, compare);
}

/* How many of the rows from `at` on are one micro-batch. Logits of items are those of the last position, so that rows must be of one
 * length. */
static int cut(const sc_predictor *self, size_t at)
{
    const sc_queued_row *rows = self->closed.rows + at;
    int n = 0, n_masks = 0;
    while (
        n < self->B && at + (size_t)n < self->closed.n && (!sc_predictor_is_of_items(self) || rows[n].n == rows[0].n) &&
        (n == 0 || (n + 1) * rows[0].n <= MICRO_BATCH) && (n == 0 || n_masks + rows[n].n_masks <= SC_PREDICT_MAX_MASKS))
        n_masks += rows[n++].n_masks;
    return n;
}

/* Cuts as many micro-batches as there is a plan for. */
static void fill_step(sc_predictor *self, sc_predict_step *s)
{
    const int most = most_microbatches(self);
    size_t at = self->at;
    s->M = 0;
    while (s->M < most && at < self->closed.n) {
        const int n = s->B[s->M] = cut(self, at);
        memcpy(s->rows + (size_t)s->M++ * (size_t)self->B, self->closed.rows + at, (size_t)n * sizeof *s->rows);
        at += (size_t)n;
    }
    s->plan = 0;
    while (s->plan + 1 < self->n_plans && 2 << s->plan <= s->M)
        s->plan++;
    s->M = 1 << s->plan;
    for (int m = 0; m < s->M; m++)
        self->at += (size_t)s->B[m];
}

static void fill_batch(sc_predictor *self, const sc_queued_row *rows, int B)
{
    sc_micro_batch *batch = &self->batch;
    const int T = rows[0].n;
    batch->B = B;
    batch->T = T;
    for (int b = 0; b < B; b++) {
        const sc_predict_row *row = &rows[b].item->rows[rows[b].row];
        const size_t at = (size_t)b * (size_t)T, n = (size_t)row->n * sizeof(int32_t);
        memcpy(batch->tokens + at, row->tokens, n);
        if (row->segments)
            memcpy(batch->segments + at, row->segments, n);
        if (row->targets)
            memcpy(batch->targets + at, row->targets, n);
        for (int t = row->n; t < T; t++) {
            batch->tokens[at + (size_t)t] = self->pad;
            batch->segments[at + (size_t)t] = 0;
            batch->targets[at + (size_t)t] = SC_NO_TARGET;
        }
        batch->lengths[b] = row->n;
    }
}

static sc_status send_batch(sc_predictor *self, uint64_t sequence, int m)
{
    sc_cluster *cluster = self->local.cluster;
    const sc_micro_batch *b = &self->batch;
    const sc_model *model = &self->model.model;
    SC_TRY(sc_cluster_send_tokens(cluster, sequence, m, b->tokens, b->B, b->T));
    if (!sc_model_takes_segments(model))
        return SC_OK;
    SC_TRY(sc_cluster_send_segments(cluster, sequence, m, b->segments, b->B, b->T));
    for (int s = 0; s < self->options.workers; s++)
        SC_TRY(sc_cluster_send_lengths(cluster, sequence, m, s, b->lengths, b->B));
    if (sc_model_predicts_words(model))
        SC_TRY(sc_cluster_send_targets(cluster, sequence, m, b->targets, b->B, b->T));
    return sc_model_predicts_next(model) ? sc_cluster_send_next(cluster, sequence, m, self->next, b->B) : SC_OK;
}

static sc_status send_step(sc_predictor *self, uint64_t sequence)
{
    const sc_predict_step *s = &self->steps[sequence % SC_PREDICT_IN_FLIGHT];
    for (int m = 0; m < s->M; m++) {
        fill_batch(self, s->rows + (size_t)m * (size_t)self->B, s->B[m]);
        SC_TRY(send_batch(self, sequence, m));
    }
    return sc_cluster_run(self->local.cluster, sequence, s->plan, 0, 0, true);
}

/* Over those that are left and the one that was started again: all have lost what they were computing. */
static sc_status begin_again(sc_predictor *self)
{
    sc_cluster *cluster = self->local.cluster;
    sc_cluster_recover(cluster);
    SC_TRY(sc_cluster_gather(cluster));
    SC_TRY(sc_cluster_assign(cluster, &self->assignment));
    SC_TRY(load_weights(self));
    for (uint64_t sequence = self->done + 1; sequence <= self->sent; sequence++)
        SC_TRY(send_step(self, sequence));
    return SC_OK;
}

/* After an error: makes good the loss of a worker, if that is what it was. */
static sc_status recover(sc_predictor *self, sc_status status)
{
    while (status != SC_OK && sc_cluster_can_recover(self->local.cluster) && self->n_losses < ATTEMPTS) {
        self->n_losses++;
        SC_WARN("%s; another is started in its place", sc_status_message());
        status = begin_again(self);
    }
    return status;
}

sc_status sc_predictor_start(sc_predictor *self)
{
    while (self->sent - self->done < SC_PREDICT_IN_FLIGHT) {
        if (self->at == self->closed.n)
            close_window(self);
        if (self->at == self->closed.n)
            return SC_OK;
        fill_step(self, &self->steps[++self->sent % SC_PREDICT_IN_FLIGHT]);
        SC_TRY(recover(self, send_step(self, self->sent)));
    }
    return SC_OK;
}

/* How many floats of a step's logits are a row's, and how many lie from it to the next. */
static size_t stride_of(const sc_predictor *self, const sc_queued_row *row)
{
    if (sc_model_predicts_words(&self->model.model))
        return (size_t)row->n_masks * (size_t)self->model.model.vocab;
    return (size_t)sc_model_n_logits(&self->model.model, self->model.longest);
}

static size_t n_logits_of(const sc_predictor *self, const sc_predict_step *s)
{
    size_t n = 0;
    if (!sc_model_predicts_words(&self->model.model))
        return (size_t)s->M * (size_t)self->B * stride_of(self, s->rows);
    for (int m = 0; m < s->M; m++)
        for (int b = 0; b < s->B[m]; b++)
            n += stride_of(self, &s->rows[m * self->B + b]);
    return n;
}

static sc_status take_step(sc_predictor *self, const sc_predict_step *s, sc_buffer *logits)
{
    if (!logits || sc_buffer_bytes(logits) != n_logits_of(self, s) * sizeof(float))
        return SC_FAIL(SC_INTERNAL, "the last stage sent %zu bytes of logits instead of %zu",
                       logits ? sc_buffer_bytes(logits) : 0, n_logits_of(self, s) * sizeof(float));
    const bool packed = sc_model_predicts_words(&self->model.model);
    const float *at = sc_buffer_data(logits);
    for (int m = 0; m < s->M; m++)
        for (int b = 0; b < self->B; b++) {
            const sc_queued_row *row = &s->rows[m * self->B + b];
            if (b < s->B[m]) {
                SC_TRY(self->task->take(&self->model, row->item, row->row, at));
                row->item->n_rows_taken++;
                self->n_tokens += (uint64_t)row->n;
            }
            if (b < s->B[m] || !packed)
                at += stride_of(self, row);
        }
    return SC_OK;
}

static void on_readable(void *context, int fd)
{
    sc_predictor *self = context;
    (void)fd;
    self->readable = true;
}

sc_status sc_predictor_wait(sc_predictor *self, int fd)
{
    sc_cluster *cluster = self->local.cluster;
    self->readable = false;
    if (fd >= 0)
        SC_TRY(sc_cluster_watch(cluster, fd, on_readable, self));
    sc_status status = sc_cluster_poll(cluster);
    if (fd >= 0)
        (void)sc_cluster_watch(cluster, fd, NULL, NULL);
    status = recover(self, status);
    while (status == SC_OK && self->done < self->sent && sc_cluster_has_answers(cluster, self->done + 1)) {
        const sc_step_result *result;
        SC_TRY(sc_cluster_wait(cluster, self->done + 1, &result));
        status = take_step(self, &self->steps[(self->done + 1) % SC_PREDICT_IN_FLIGHT], result->logits);
        self->done++;
        self->n_losses = 0;
    }
    return status;
}
