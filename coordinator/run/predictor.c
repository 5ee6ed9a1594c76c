#include "coordinator/run/predictor_internal.h"

#include "coordinator/data/tokenizer_items.h"
#include "coordinator/run/weights.h"

#include <stdlib.h>
#include <string.h>

enum {
    SHORTEST = 8,  /* tokens of a row, as examples.h has it */
    TOP_WORDS = 5, /* where options do not say */
    TOP_ITEMS = 10,
    WINDOW = 512,           /* items: enough that micro-batches of like length are full */
    WINDOW_BYTES = 4 << 20, /* of their texts */
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

void sc_predictor_close(sc_predictor **self_p)
{
    sc_predictor *self = *self_p;
    if (!self)
        return;
    sc_local_cluster_close(&self->local, "the predictions are made");
    for (int i = 0; i < self->n_plans; i++)
        sc_plan_destroy(&self->plans[i]);
    for (int i = 0; i < SC_PREDICT_IN_FLIGHT; i++) {
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
    sc_row_list *list = &self->filling;
    if (list->n + item->n_rows > list->capacity) {
        const size_t capacity = 2 * (list->n + item->n_rows) + WINDOW;
        sc_queued_row *rows = realloc(list->rows, capacity * sizeof *rows);
        if (!rows)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu rows", capacity);
        list->rows = rows;
        list->capacity = capacity;
    }
    for (size_t i = 0; i < item->n_rows; i++, list->n++)
        list->rows[list->n] = (sc_queued_row){
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
