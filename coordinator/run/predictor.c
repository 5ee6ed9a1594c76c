#include "coordinator/run/predictor.h"

#include "coordinator/data/example_batches.h"
#include "coordinator/data/tokenizer_items.h"
#include "coordinator/run/local_cluster.h"
#include "coordinator/run/weights.h"
#include "coordinator/schedule/partition.h"
#include "coordinator/schedule/schedule.h"
#include "proto/base/log.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define SC_LOG_SUBSYSTEM "predict"

enum {
    SHORTEST = 8,      /* tokens of a row, as examples.h has it */
    MOST_ROWS = 64,    /* of a micro-batch */
    ROOM = 8192,       /* tokens that the workers' memory has room for: MOST_ROWS of 128, 16 of 512 */
    ROOM_WORDS = 1024, /* the same where each has V logits */
    TOP_WORDS = 5,     /* where options do not say */
    TOP_ITEMS = 10,
    ROOM_LOGITS = 1 << 22,  /* of a micro-batch of items: 16 MiB */
    MICRO_BATCH = 2048,     /* tokens of a micro-batch, padding included */
    WINDOW = 512,           /* items: enough that micro-batches of like length are full */
    WINDOW_BYTES = 4 << 20, /* of their texts */
    ATTEMPTS = 5,           /* losses of workers in a row without a step in between */
    MAX_PLANS = 7,          /* of 1, 2, 4 ... 64 micro-batches */
    IN_FLIGHT = SC_CLUSTER_MAX_IN_FLIGHT,
};

typedef struct queued_row {
    sc_predict_item *item;
    size_t row, place;
    int n, n_masks;
} queued_row;

typedef struct row_list {
    queued_row *rows; /* [n] */
    size_t n, capacity;
} row_list;

/* One plan's run: rows micro-batch by micro-batch. */
typedef struct step {
    int plan, M;
    int *B;           /* [M]: rows of each */
    queued_row *rows; /* [M * options.B]: those of micro-batch m from m * options.B on */
} step;

struct sc_predictor {
    sc_predictor_options options;
    sc_clock clock;
    char dir[PATH_MAX];
    sc_predict_model model;
    const sc_predict_task *task;
    int B;                     /* rows of a micro-batch, at most */
    int pad;                   /* the id of [PAD] */
    sc_plan *plans[MAX_PLANS]; /* [n_plans]: plan i is of 2^i micro-batches */
    int n_plans;
    sc_slice *slices;
    sc_assignment assignment;
    sc_local_cluster local;
    sc_micro_batch batch;
    int32_t *next;                 /* [B] zeros: what a head for next sentences is told */
    sc_predict_item *first, *last; /* all that were added and not taken, in order */
    row_list filling, closed;
    size_t n_filling, filling_bytes; /* items */
    size_t at;                       /* the next row of `closed` */
    step steps[IN_FLIGHT];
    uint64_t sent, done; /* steps */
    int n_losses;        /* of workers since a step was done */
    uint64_t n_tokens;
    bool readable;
};

/* --- preparation --------------------------------------------------------------------------------------------------- */

static sc_status name_labels(sc_predictor *self)
{
    sc_predict_model *m = &self->model;
    if (m->model.labels == 0)
        return SC_OK;
    SC_TRY(sc_hf_config_load_labels(self->dir, &m->labels));
    for (int32_t k = 0; m->labels.n < m->model.labels; k++) {
        char name[24];
        int32_t id;
        snprintf(name, sizeof name, "LABEL_%d", (int)k);
        SC_TRY(sc_labels_add(&m->labels, name, strlen(name), &id));
    }
    return SC_OK;
}

static bool is_of_items(const sc_predictor *self)
{
    return self->task == &sc_predict_items;
}

static sc_status describe(sc_predictor *self)
{
    int64_t steps;
    sc_predict_model *m = &self->model;
    SC_TRY(sc_weights_find(self->options.dir, -1, self->dir, &steps));
    SC_TRY(sc_weights_describe(self->dir, &m->model, &m->tokenizer));
    m->dir = self->dir;
    m->top = self->options.top > 0 ? self->options.top : sc_tokenizer_is_items(m->tokenizer) ? TOP_ITEMS : TOP_WORDS;
    m->includes_seen = self->options.includes_seen;
    self->task = sc_predict_task_of(m);
    if (!self->task)
        return SC_FAIL(
            SC_INVALID,
            "%s holds a %s, which goes on from a text; 'stagecoach generate' writes with it, and predictions "
            "are made with a BERT that has labels or fills in words, or with a GPT-2 of items",
            self->dir, sc_hf_config_class(&m->model));
    if (self->options.longest > m->model.context)
        return SC_FAIL(SC_INVALID, "a length of %d tokens, but the model in %s has %d; take at most that",
                       self->options.longest, self->dir, m->model.context);
    m->longest = self->options.longest > 0 ? self->options.longest : m->model.context;
    if (sc_tokenizer_is_items(m->tokenizer)) {
        self->pad = SC_ITEM_PADDING;
        return SC_OK;
    }
    if (m->longest < SHORTEST)
        return SC_FAIL(SC_INVALID, "a length of %d tokens; the shortest is %d", m->longest, SHORTEST);
    static const char *const specials[] = {"[PAD]", "[CLS]", "[SEP]", "[MASK]"};
    for (int i = 0; i < (sc_model_predicts_words(&m->model) ? 4 : 3); i++)
        if (sc_tokenizer_special(m->tokenizer, specials[i]) < 0)
            return SC_FAIL(SC_INVALID,
                           "%s: the tokenizer has no token %s; put the one beside it that the model was trained with",
                           self->dir, specials[i]);
    self->pad = sc_tokenizer_special(m->tokenizer, specials[0]);
    return name_labels(self);
}

sc_status sc_predictor_open(const sc_predictor_options *options, sc_predictor **out)
{
    sc_predictor *self = *out = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a predictor");
    self->options = *options;
    self->clock = sc_clock_system();
    const sc_status status = describe(self);
    if (status != SC_OK)
        sc_predictor_close(out);
    return status;
}

const sc_predict_model *sc_predictor_model(const sc_predictor *self)
{
    return &self->model;
}

/* Enough micro-batches in two steps to keep all stages busy. */
static sc_status make_plans(sc_predictor *self)
{
    const int S = self->options.workers;
    const bool tied = sc_model_tied_param(&self->model.model) >= 0;
    do {
        SC_TRY(sc_schedule_make(SC_SCHEDULE_1F1B, S, 1, 1 << self->n_plans, SC_PLAN_FORWARD, tied,
                                &self->plans[self->n_plans]));
        self->n_plans++;
    } while (self->n_plans < MAX_PLANS && 1 << self->n_plans < 2 * S);
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
    if (is_of_items(self) && self->B > ROOM_LOGITS / self->model.model.vocab)
        self->B = ROOM_LOGITS / self->model.model.vocab + 1;
    SC_TRY(make_plans(self));
    SC_TRY(sc_micro_batch_init(&self->batch, self->B, longest));
    self->next = calloc((size_t)self->B, sizeof *self->next);
    self->slices = calloc((size_t)S, sizeof *self->slices);
    bool complete = self->next && self->slices;
    for (int i = 0; i < IN_FLIGHT; i++) {
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

void sc_predictor_close(sc_predictor **self_p)
{
    sc_predictor *self = *self_p;
    if (!self)
        return;
    sc_local_cluster_close(&self->local, "the predictions are made");
    for (int i = 0; i < self->n_plans; i++)
        sc_plan_destroy(&self->plans[i]);
    for (int i = 0; i < IN_FLIGHT; i++) {
        free(self->steps[i].B);
        free(self->steps[i].rows);
    }
    for (sc_predict_item *item; (item = self->first);) {
        self->first = item->next;
        sc_predict_item_destroy(&item);
    }
    sc_micro_batch_clear(&self->batch);
    sc_tokenizer_destroy(&self->model.tokenizer);
    sc_labels_clear(&self->model.labels);
    free(self->filling.rows);
    free(self->closed.rows);
    free(self->slices);
    free(self->next);
    free(self);
    *self_p = NULL;
}

/* --- windows --------------------------------------------------------------------------------------------------------- */

bool sc_predictor_has_room(const sc_predictor *self)
{
    return self->n_filling < WINDOW && self->filling_bytes < WINDOW_BYTES;
}

static sc_status queue_rows(sc_predictor *self, sc_predict_item *item)
{
    row_list *list = &self->filling;
    if (list->n + item->n_rows > list->capacity) {
        const size_t capacity = 2 * (list->n + item->n_rows) + WINDOW;
        queued_row *rows = realloc(list->rows, capacity * sizeof *rows);
        if (!rows)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu rows", capacity);
        list->rows = rows;
        list->capacity = capacity;
    }
    for (size_t i = 0; i < item->n_rows; i++, list->n++)
        list->rows[list->n] = (queued_row){
            .item = item, .row = i, .place = list->n, .n = item->rows[i].n, .n_masks = item->rows[i].n_masks};
    return SC_OK;
}

sc_status sc_predictor_add(sc_predictor *self, sc_predict_item **item_p)
{
    sc_predict_item *item = *item_p;
    *item_p = NULL;
    item->next = NULL;
    if (self->last)
        self->last->next = item;
    else
        self->first = item;
    self->last = item;
    self->n_filling++;
    self->filling_bytes += item->n_text + item->n_pair;
    if (!item->message)
        SC_TRY(self->task->prepare(&self->model, item));
    return item->message ? SC_OK : queue_rows(self, item);
}

/* Long rows first: what needs most memory comes early. Equal ones in the order in which they came. */
static int compare(const void *a, const void *b)
{
    const queued_row *x = a, *y = b;
    if (x->n != y->n)
        return x->n < y->n ? 1 : -1;
    return x->place < y->place ? -1 : x->place > y->place;
}

static void close_window(sc_predictor *self)
{
    const row_list empty = self->closed;
    self->closed = self->filling;
    self->filling = empty;
    self->filling.n = self->n_filling = self->filling_bytes = self->at = 0;
    if (self->closed.n > 1)
        qsort(self->closed.rows, self->closed.n, sizeof *self->closed.rows, compare);
}

/* --- steps ----------------------------------------------------------------------------------------------------------- */

/* How many of the rows from `at` on are one micro-batch. Logits of items are those of the last position, so that rows must be of one
 * length. */
static int cut(const sc_predictor *self, size_t at)
{
    const queued_row *rows = self->closed.rows + at;
    int n = 0, n_masks = 0;
    while (n < self->B && at + (size_t)n < self->closed.n && (!is_of_items(self) || rows[n].n == rows[0].n) &&
           (n == 0 || (n + 1) * rows[0].n <= MICRO_BATCH) &&
           (n == 0 || n_masks + rows[n].n_masks <= SC_PREDICT_MAX_MASKS))
        n_masks += rows[n++].n_masks;
    return n;
}

/* Cuts as many micro-batches as there is a plan for. */
static void fill_step(sc_predictor *self, step *s)
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

static void fill_batch(sc_predictor *self, const queued_row *rows, int B)
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
    const step *s = &self->steps[sequence % IN_FLIGHT];
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
    while (self->sent - self->done < IN_FLIGHT) {
        if (self->at == self->closed.n)
            close_window(self);
        if (self->at == self->closed.n)
            return SC_OK;
        fill_step(self, &self->steps[++self->sent % IN_FLIGHT]);
        SC_TRY(recover(self, send_step(self, self->sent)));
    }
    return SC_OK;
}

/* How many floats of a step's logits are a row's, and how many lie from it to the next. */
static size_t stride_of(const sc_predictor *self, const queued_row *row)
{
    if (sc_model_predicts_words(&self->model.model))
        return (size_t)row->n_masks * (size_t)self->model.model.vocab;
    return (size_t)sc_model_n_logits(&self->model.model, self->model.longest);
}

static size_t n_logits_of(const sc_predictor *self, const step *s)
{
    size_t n = 0;
    if (!sc_model_predicts_words(&self->model.model))
        return (size_t)s->M * (size_t)self->B * stride_of(self, s->rows);
    for (int m = 0; m < s->M; m++)
        for (int b = 0; b < s->B[m]; b++)
            n += stride_of(self, &s->rows[m * self->B + b]);
    return n;
}

static sc_status take_step(sc_predictor *self, const step *s, sc_buffer *logits)
{
    if (!logits || sc_buffer_bytes(logits) != n_logits_of(self, s) * sizeof(float))
        return SC_FAIL(SC_INTERNAL, "the last stage sent %zu bytes of logits instead of %zu",
                       logits ? sc_buffer_bytes(logits) : 0, n_logits_of(self, s) * sizeof(float));
    const bool packed = sc_model_predicts_words(&self->model.model);
    const float *at = sc_buffer_data(logits);
    for (int m = 0; m < s->M; m++)
        for (int b = 0; b < self->B; b++) {
            const queued_row *row = &s->rows[m * self->B + b];
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
        status = take_step(self, &self->steps[(self->done + 1) % IN_FLIGHT], result->logits);
        self->done++;
        self->n_losses = 0;
    }
    return status;
}

sc_predict_item *sc_predictor_take(sc_predictor *self)
{
    sc_predict_item *item = self->first;
    if (!item || item->n_rows_taken < item->n_rows)
        return NULL;
    self->first = item->next;
    if (!self->first)
        self->last = NULL;
    return item;
}

bool sc_predictor_is_idle(const sc_predictor *self)
{
    return !self->first;
}

bool sc_predictor_stop_requested(const sc_predictor *self)
{
    return sc_cluster_stop_requested(self->local.cluster);
}

uint64_t sc_predictor_n_tokens(const sc_predictor *self)
{
    return self->n_tokens;
}
