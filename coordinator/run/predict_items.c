/* The task of a recommender: what comes next behind a user's items. */
#include "coordinator/run/predict_item.h"

#include "coordinator/data/fields.h"
#include "coordinator/data/item_sequences.h"
#include "coordinator/data/tokenizer_items.h"
#include "coordinator/report/decode.h"

#include <stdlib.h>

static sc_status no_memory(void)
{
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a user's items to predict");
}

/* The last of the items that the model knows. */
static sc_status prepare(const sc_predict_model *m, sc_predict_item *item)
{
    sc_field name;
    int n = 0;
    for (size_t at = 0; sc_field_next(item->bytes, item->n_text, &at, &name);)
        n += sc_tokenizer_items_find(m->tokenizer, name.text, name.n) > 0;
    if (n == 0)
        return sc_predict_item_fail(item, "the line has no item that the model knows");
    int32_t *tokens = malloc((size_t)n * sizeof *tokens);
    item->rows = calloc(1, sizeof *item->rows);
    item->masks = calloc(1, sizeof *item->masks);
    if (!tokens || !item->rows || !item->masks) {
        free(tokens);
        return no_memory();
    }
    const int left_out = n > m->longest ? n - m->longest : 0;
    int i = 0;
    for (size_t at = 0; sc_field_next(item->bytes, item->n_text, &at, &name);) {
        const int32_t id = sc_tokenizer_items_find(m->tokenizer, name.text, name.n);
        if (id > 0 && i++ >= left_out)
            tokens[i - 1 - left_out] = id;
    }
    item->rows[0] = (sc_predict_row){.n = n - left_out, .tokens = tokens};
    item->n_rows = item->n_masks = 1;
    return SC_OK;
}

/* What the user has met, all of it, is no candidate. */
static void exclude_seen(const sc_predict_model *m, const sc_predict_item *item, double *probabilities)
{
    sc_field name;
    for (size_t at = 0; !m->includes_seen && sc_field_next(item->bytes, item->n_text, &at, &name);) {
        const int32_t id = sc_tokenizer_items_find(m->tokenizer, name.text, name.n);
        if (id > 0)
            probabilities[id] = -1;
    }
}

static sc_status take_top(const sc_predict_model *m, sc_predict_item *item, const float *logits, double *all)
{
    enum { FIRST = SC_ITEM_PADDING + 1 };
    sc_predict_mask *next = &item->masks[0];
    const int n_items = sc_tokenizer_vocab(m->tokenizer) - FIRST;
    if (!sc_decode_softmax(logits, m->model.vocab, all))
        return SC_FAIL(SC_DATA_LOSS, "%s: the model gives no finite numbers; its training must have diverged", m->dir);
    next->tokens = malloc((size_t)m->top * sizeof *next->tokens);
    next->probabilities = malloc((size_t)m->top * sizeof *next->probabilities);
    if (!next->tokens || !next->probabilities)
        return no_memory();
    exclude_seen(m, item, all);
    const int n = sc_decode_top(all + FIRST, n_items, m->top, next->tokens);
    for (; next->n < n && all[FIRST + next->tokens[next->n]] >= 0; next->n++) {
        next->tokens[next->n] += FIRST;
        next->probabilities[next->n] = all[next->tokens[next->n]];
    }
    return SC_OK;
}

static sc_status take(const sc_predict_model *m, sc_predict_item *item, size_t row, const float *logits)
{
    double *all = malloc((size_t)m->model.vocab * sizeof *all);
    (void)row;
    const sc_status status = all ? take_top(m, item, logits, all) : no_memory();
    free(all);
    return status;
}

const sc_predict_task sc_predict_items = {prepare, take};
