/* The tasks of predict_item.h: classification, tagging, masked words. */
#include "coordinator/run/predict_item.h"

#include "coordinator/data/examples.h"
#include "coordinator/data/tokenizer_items.h"
#include "coordinator/report/decode.h"

#include <stdlib.h>
#include <string.h>

static sc_status no_memory(void)
{
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a text to predict");
}

/* --- rows ---------------------------------------------------------------------------------------------------------- */

/* One block for all three arrays; where there is no second part all segments are 0. */
static sc_status new_row(int n, sc_predict_row *out)
{
    *out = (sc_predict_row){.n = n, .tokens = malloc(3 * (size_t)n * sizeof *out->tokens)};
    if (!out->tokens)
        return no_memory();
    out->segments = out->tokens + n;
    out->targets = out->segments + n;
    return SC_OK;
}

/* The rows of training's own examples: what is cut there is cut here. */
static sc_status take_rows(sc_predict_item *item, const sc_examples *examples)
{
    const size_t n = sc_examples_n(examples);
    item->rows = calloc(n + 1, sizeof *item->rows);
    if (!item->rows)
        return no_memory();
    for (size_t i = 0; i < n; i++) {
        int32_t next;
        SC_TRY(new_row(sc_examples_length(examples, 0, 0, i), &item->rows[i]));
        sc_predict_row *row = &item->rows[item->n_rows++];
        sc_examples_get(examples, 0, 0, i, row->tokens, row->segments, row->targets, &next);
    }
    return SC_OK;
}

static sc_status rows_of_texts(const sc_predict_model *m, sc_predict_item *item)
{
    sc_labelled_text one = {.n_text = item->n_text, .pair = item->n_text, .n_pair = item->n_pair, .line = item->line};
    const sc_labelled_texts texts = {
        .items = &one, .n = 1, .bytes = item->bytes, .n_bytes = item->n_text + item->n_pair};
    sc_examples *examples = NULL;
    SC_TRY(sc_examples_of_texts(&texts, m->tokenizer, m->longest, &examples));
    const sc_status status = take_rows(item, examples);
    sc_examples_destroy(&examples);
    return status;
}

static sc_status count_tokens(const sc_predict_model *m, const char *bytes, size_t n_bytes, size_t *n)
{
    int32_t *ids;
    SC_TRY(sc_tokenizer_encode_all(m->tokenizer, &(sc_text){.name = "a text", .bytes = bytes, .n_bytes = n_bytes}, &ids,
                                   n));
    free(ids);
    return SC_OK;
}

/* A row that is full may have been made by cutting. */
static sc_status note_cut(const sc_predict_model *m, sc_predict_item *item)
{
    size_t n_a, n_b = 0;
    if (item->rows[0].n < m->longest)
        return SC_OK;
    SC_TRY(count_tokens(m, item->bytes, item->n_text, &n_a));
    if (item->n_pair)
        SC_TRY(count_tokens(m, item->bytes + item->n_text, item->n_pair, &n_b));
    item->cut = n_a + n_b + (n_b ? 3 : 2) > (size_t)item->rows[0].n;
    return SC_OK;
}

static bool is_blank(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strchr(" \t\r\n\v\f", bytes[i]))
            return false;
    return true;
}

/* What a model for whole texts needs: something in each. */
static sc_status check_texts(sc_predict_item *item)
{
    if (is_blank(item->bytes, item->n_text))
        return sc_predict_item_fail(item, "the text is empty");
    if (item->has_pair && is_blank(item->bytes + item->n_text, item->n_pair))
        return sc_predict_item_fail(item, "the second text is empty");
    return SC_OK;
}

/* --- classification ------------------------------------------------------------------------------------------------- */

static sc_status prepare_text(const sc_predict_model *m, sc_predict_item *item)
{
    SC_TRY(check_texts(item));
    if (item->message)
        return SC_OK;
    SC_TRY(rows_of_texts(m, item));
    item->rows[0].targets = NULL;
    return note_cut(m, item);
}

static sc_status take_class(const sc_predict_model *m, sc_predict_item *item, size_t row, const float *logits)
{
    const int K = m->model.labels;
    (void)row;
    if (sc_decode_class(logits, K, NULL) == SC_DECODE_NONE)
        return SC_FAIL(SC_DATA_LOSS, "%s: the model gives no finite numbers; its training must have diverged", m->dir);
    item->logits = malloc((size_t)K * sizeof *logits);
    if (!item->logits)
        return no_memory();
    memcpy(item->logits, logits, (size_t)K * sizeof *logits);
    return SC_OK;
}

/* --- tagging -------------------------------------------------------------------------------------------------------- */

/* The words of a text are its tokens with those that go on from them. */
static sc_status find_words(const sc_predict_model *m, sc_predict_item *item)
{
    sc_token_span *spans = NULL;
    size_t n = 0;
    const sc_text text = {.name = "the text", .bytes = item->bytes, .n_bytes = item->n_text};
    SC_TRY(sc_tokenizer_encode_spans(m->tokenizer, &text, &spans, &n));
    item->words = malloc((n + 1) * sizeof *item->words);
    for (size_t i = 0; i < n && item->words; i++) {
        const bool goes_on = sc_tokenizer_continues(m->tokenizer, spans[i].id) && item->n_words > 0;
        if (goes_on)
            item->words[item->n_words - 1].end = spans[i].end;
        else
            item->words[item->n_words++] =
                (sc_predict_word){.begin = spans[i].begin, .end = spans[i].end, .right_label = -1, .label = -1};
    }
    free(spans);
    return item->words ? SC_OK : no_memory();
}

static sc_status rows_of_words(const sc_predict_model *m, sc_predict_item *item)
{
    sc_tagged_word *words = malloc((item->n_words + 1) * sizeof *words);
    if (!words)
        return no_memory();
    for (size_t i = 0; i < item->n_words; i++)
        words[i] = (sc_tagged_word){.text = item->words[i].begin,
                                    .n_text = item->words[i].end - item->words[i].begin,
                                    .tag = (int32_t)i}; /* its target says where its first piece stands */
    sc_tagged_sentence sentence = {.n = item->n_words};
    const sc_tagged_words all = {.words = words,
                                 .n_words = item->n_words,
                                 .sentences = &sentence,
                                 .n = 1,
                                 .bytes = item->bytes,
                                 .n_bytes = item->n_text};
    sc_examples *examples = NULL;
    sc_status status = sc_examples_of_words(&all, m->tokenizer, m->longest, &examples);
    if (status == SC_OK)
        status = take_rows(item, examples);
    sc_examples_destroy(&examples);
    free(words);
    return status;
}

static sc_status prepare_words(const sc_predict_model *m, sc_predict_item *item)
{
    if (item->has_pair)
        return sc_predict_item_fail(item, "a second text is nothing that the model tags");
    if (!item->has_words)
        SC_TRY(find_words(m, item));
    return rows_of_words(m, item);
}

static sc_status take_tags(const sc_predict_model *m, sc_predict_item *item, size_t row, const float *logits)
{
    const sc_predict_row *r = &item->rows[row];
    const int K = m->model.labels;
    for (int t = 0; t < r->n; t++) {
        if (r->targets[t] < 0)
            continue;
        sc_predict_word *word = &item->words[r->targets[t]];
        const float *of_word = logits + (size_t)t * (size_t)K;
        word->label = sc_decode_class(of_word, K, &word->probability);
        if (word->label == SC_DECODE_NONE)
            return SC_FAIL(SC_DATA_LOSS, "%s: the model gives no finite numbers; its training must have diverged",
                           m->dir);
        if (word->right_label >= 0)
            word->loss = sc_decode_loss(of_word, K, word->right_label);
    }
    return SC_OK;
}

/* --- masked words --------------------------------------------------------------------------------------------------- */

static const char mask_token[] = "[MASK]";

/* The places of the masks that the row has; those that were cut off are none. */
static sc_status find_masks(const sc_predict_model *m, sc_predict_item *item, int32_t mask)
{
    sc_token_span *spans = NULL;
    size_t n = 0;
    const sc_text text = {.name = "the text", .bytes = item->bytes, .n_bytes = item->n_text};
    SC_TRY(sc_tokenizer_encode_spans(m->tokenizer, &text, &spans, &n));
    item->masks = calloc((size_t)item->rows[0].n_masks + 1, sizeof *item->masks);
    for (size_t i = 0; i < n && item->masks && item->n_masks < (size_t)item->rows[0].n_masks; i++)
        if (spans[i].id == mask)
            item->masks[item->n_masks++] = (sc_predict_mask){.begin = spans[i].begin, .end = spans[i].end};
    free(spans);
    return item->masks ? SC_OK : no_memory();
}

static sc_status prepare_masks(const sc_predict_model *m, sc_predict_item *item)
{
    const int32_t mask = sc_tokenizer_special(m->tokenizer, mask_token);
    SC_TRY(check_texts(item));
    if (item->message)
        return SC_OK;
    if (item->has_pair)
        return sc_predict_item_fail(item, "words are filled in one text; there are two");
    SC_TRY(rows_of_texts(m, item));
    SC_TRY(note_cut(m, item));
    sc_predict_row *row = &item->rows[0];
    for (int t = 0; t < row->n; t++) {
        const bool is = row->tokens[t] == mask;
        row->targets[t] = is ? 0 : -1;
        row->n_masks += is;
    }
    if (row->n_masks > 0 && row->n_masks <= SC_PREDICT_MAX_MASKS)
        return find_masks(m, item, mask);
    free(row->tokens);
    item->n_rows = 0;
    if (row->n_masks > 0)
        return sc_predict_item_fail(item, "the text has %d times %s; at most %d are filled in", row->n_masks,
                                    mask_token, SC_PREDICT_MAX_MASKS);
    return sc_predict_item_fail(item, "the text has no %s%s; write it where the model is to fill in a word", mask_token,
                                item->cut ? " in the part that the model can take" : "");
}

static sc_status take_mask(const sc_predict_model *m, sc_predict_mask *mask, const float *logits, double *all)
{
    const int V = m->model.vocab;
    if (!sc_decode_softmax(logits, V, all))
        return SC_FAIL(SC_DATA_LOSS, "%s: the model gives no finite numbers; its training must have diverged", m->dir);
    mask->tokens = malloc((size_t)m->top * sizeof *mask->tokens);
    mask->probabilities = malloc((size_t)m->top * sizeof *mask->probabilities);
    if (!mask->tokens || !mask->probabilities)
        return no_memory();
    mask->n = sc_decode_top(all, V, m->top, mask->tokens);
    for (int i = 0; i < mask->n; i++)
        mask->probabilities[i] = all[mask->tokens[i]];
    return SC_OK;
}

static sc_status take_masks(const sc_predict_model *m, sc_predict_item *item, size_t row, const float *logits)
{
    const size_t V = (size_t)m->model.vocab;
    double *all = malloc(V * sizeof *all);
    sc_status status = all ? SC_OK : no_memory();
    (void)row;
    for (size_t i = 0; i < item->n_masks && status == SC_OK; i++)
        status = take_mask(m, &item->masks[i], logits + i * V, all);
    free(all);
    return status;
}

/* ---------------------------------------------------------------------------------------------------------------------- */

const sc_predict_task *sc_predict_task_of(const sc_predict_model *model)
{
    static const sc_predict_task tasks[] = {
        [SC_TASK_PRETRAINING] = {prepare_masks, take_masks},
        [SC_TASK_MASKED_WORDS] = {prepare_masks, take_masks},
        [SC_TASK_CLASSIFICATION] = {prepare_text, take_class},
        [SC_TASK_TAGGING] = {prepare_words, take_tags},
    };
    if (sc_tokenizer_is_items(model->tokenizer))
        return &sc_predict_items;
    return tasks[model->model.task].prepare ? &tasks[model->model.task] : NULL;
}
