#include "coordinator/run/prediction_text.h"

#include "coordinator/data/fields.h"
#include "coordinator/data/tokenizer_items.h"
#include "coordinator/data/utf8.h"
#include "coordinator/report/decode.h"
#include "coordinator/report/tags.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sc_prediction_text {
    const sc_predict_model *model;
    sc_prediction_format format;
    int top;
    const sc_answers *answers;
    double *probabilities; /* [K] */
    int32_t *order;        /* [K] */
    sc_labels types;       /* tagging, of labels that are tags: what entities there are, */
    sc_tag *tags;          /* [K]; NULL: words have labels */
    sc_tag_span *spans;    /* of the sentence with most words so far */
    int32_t *labels;
    double *of_words;
    size_t most_words;
};

static sc_status no_memory(void)
{
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the text of a prediction");
}

sc_status sc_prediction_text_new(const sc_predict_model *model, sc_prediction_format format, int top,
                                 const sc_answers *answers, sc_prediction_text **out)
{
    const size_t K = (size_t)model->model.labels + 1;
    sc_prediction_text *self = *out = calloc(1, sizeof *self);
    if (!self)
        return no_memory();
    *self = (sc_prediction_text){.model = model, .format = format, .top = top, .answers = answers};
    self->probabilities = calloc(K, sizeof *self->probabilities);
    self->order = calloc(K, sizeof *self->order);
    sc_status status = self->probabilities && self->order ? SC_OK : no_memory();
    if (status == SC_OK && model->model.task == SC_TASK_TAGGING && sc_tags_are_all(&model->labels)) {
        self->tags = calloc(K, sizeof *self->tags);
        status = self->tags ? sc_tags_take_apart(&model->labels, self->tags, &self->types) : no_memory();
    }
    if (status != SC_OK)
        sc_prediction_text_destroy(out);
    return status;
}

void sc_prediction_text_destroy(sc_prediction_text **self_p)
{
    sc_prediction_text *self = *self_p;
    if (!self)
        return;
    free(self->probabilities);
    free(self->order);
    sc_labels_clear(&self->types);
    free(self->tags);
    free(self->spans);
    free(self->labels);
    free(self->of_words);
    free(self);
    *self_p = NULL;
}

static bool is_multi_label(const sc_predict_model *model)
{
    return model->model.multi_label;
}

/* Probabilities of all labels, and the labels in their order: the whole of it, as labels are few. */
static void rank(sc_prediction_text *self, const sc_predict_item *item)
{
    const int K = self->model->model.labels;
    if (!is_multi_label(self->model))
        sc_decode_softmax(item->logits, K, self->probabilities);
    for (int k = 0; k < K && is_multi_label(self->model); k++)
        self->probabilities[k] = sc_decode_sigmoid(item->logits[k]);
    sc_decode_top(self->probabilities, K, K, self->order);
}

/* --- entities -------------------------------------------------------------------------------------------------------- */

static sc_status find_entities(sc_prediction_text *self, const sc_predict_item *item, size_t *n)
{
    *n = 0;
    if (item->n_words > self->most_words) {
        free(self->spans), free(self->labels), free(self->of_words);
        self->most_words = 0;
        self->spans = malloc(item->n_words * sizeof *self->spans);
        self->labels = malloc(item->n_words * sizeof *self->labels);
        self->of_words = malloc(item->n_words * sizeof *self->of_words);
        if (!self->spans || !self->labels || !self->of_words)
            return no_memory();
        self->most_words = item->n_words;
    }
    for (size_t i = 0; i < item->n_words; i++) {
        self->labels[i] = item->words[i].label;
        self->of_words[i] = item->words[i].probability;
    }
    if (item->n_words > 0)
        *n = sc_tags_spans(self->tags, self->labels, self->of_words, item->n_words, self->spans);
    return SC_OK;
}

/* A stretch of the text, and where it lies in characters. Stretches come from left to right: what was counted stays so. */
typedef struct place {
    size_t begin, end;  /* bytes */
    size_t start, stop; /* characters */
} place;

static void move_to(place *p, const sc_predict_item *item, size_t begin, size_t end)
{
    p->start = begin >= p->begin ? p->start + sc_utf8_count(item->bytes + p->begin, begin - p->begin)
                                 : sc_utf8_count(item->bytes, begin);
    p->stop = p->start + sc_utf8_count(item->bytes + begin, end - begin);
    p->begin = begin;
    p->end = end;
}

/* --- JSON ------------------------------------------------------------------------------------------------------------ */

enum { DIGITS = 6 };

static int append(const char *bytes, size_t n, void *context)
{
    return sc_line_writer_put(context, bytes, n) == SC_OK ? 0 : -1;
}

/* Takes the object; NULL: memory ran out while it was made. */
static sc_status put_json(json_t *object, sc_line_writer *out)
{
    const size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(DIGITS);
    const bool ok = object && json_dump_callback(object, append, out, flags) == 0;
    json_decref(object);
    return ok ? sc_line_writer_put(out, "\n", 1) : no_memory();
}

static json_t *text_of(const char *bytes, size_t n)
{
    return json_stringn(bytes, n);
}

static json_t *label_of(const sc_prediction_text *self, int32_t label)
{
    return json_pack("{s:s, s:f}", "label", self->model->labels.names[label], "probability",
                     self->probabilities[label]);
}

static json_t *list_labels(const sc_prediction_text *self, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, label_of(self, self->order[i]));
    return list;
}

static int n_on(const sc_prediction_text *self, const sc_predict_item *item)
{
    int n = 0;
    while (n < self->model->model.labels && sc_decode_is_on(item->logits[self->order[n]]))
        n++;
    return n;
}

static sc_status add_answer(const sc_prediction_text *self, const sc_predict_item *item, json_t *object)
{
    char *answer = NULL;
    size_t n;
    bool known;
    const int32_t best = self->order[0];
    SC_TRY(sc_answers_give(self->answers, best, self->probabilities[best], item->bytes, item->n_text, &answer, &n,
                           &known));
    json_object_set_new(object, "answer", text_of(answer, n));
    json_object_set_new(object, "known", json_boolean(known));
    free(answer);
    return SC_OK;
}

static sc_status add_class(sc_prediction_text *self, const sc_predict_item *item, json_t *object)
{
    const int K = self->model->model.labels;
    rank(self, item);
    const int32_t best = self->order[0];
    if (item->has_pair)
        json_object_set_new(object, "pair", text_of(item->bytes + item->n_text, item->n_pair));
    if (is_multi_label(self->model)) {
        json_object_set_new(object, "labels", list_labels(self, n_on(self, item)));
    } else {
        json_object_set_new(object, "label", json_string(self->model->labels.names[best]));
        json_object_set_new(object, "probability", json_real(self->probabilities[best]));
    }
    if (self->top > 0)
        json_object_set_new(object, "scores", list_labels(self, self->top < K ? self->top : K));
    return self->answers ? add_answer(self, item, object) : SC_OK;
}

static json_t *stretch_of(const sc_predict_item *item, const char *key, const char *name, const place *p,
                          double probability)
{
    return json_pack("{s:s, s:I, s:I, s:o, s:f}", key, name, "start", (json_int_t)p->start, "end", (json_int_t)p->stop,
                     "text", text_of(item->bytes + p->begin, p->end - p->begin), "probability", probability);
}

static sc_status add_tags(sc_prediction_text *self, const sc_predict_item *item, json_t *object)
{
    json_t *list = json_array();
    place p = {0};
    size_t n = item->n_words;
    json_object_set_new(object, self->tags ? "entities" : "words", list);
    if (self->tags)
        SC_TRY(find_entities(self, item, &n));
    for (size_t i = 0; i < n; i++) {
        const sc_tag_span *span = self->tags ? &self->spans[i] : NULL;
        const size_t first = span ? span->first : i, last = span ? span->first + span->n - 1 : i;
        move_to(&p, item, item->words[first].begin, item->words[last].end);
        json_array_append_new(list, span
                                        ? stretch_of(item, "type", self->types.names[span->type], &p, span->probability)
                                        : stretch_of(item, "label", self->model->labels.names[item->words[i].label], &p,
                                                     item->words[i].probability));
    }
    return SC_OK;
}

/* A token as it is in the vocabulary: "word", or "##ing", which goes on from another. */
static const char *word_of(const sc_predict_model *m, int32_t id, char text[SC_TOKEN_MAX_BYTES + 3])
{
    char bytes[SC_TOKEN_MAX_BYTES];
    const size_t n = sc_tokenizer_decode(m->tokenizer, id, bytes), from = n > 0 && bytes[0] == ' ';
    snprintf(text, SC_TOKEN_MAX_BYTES + 3, "%s%.*s", sc_tokenizer_continues(m->tokenizer, id) ? "##" : "",
             (int)(n - from), bytes + from);
    return text;
}

static void add_masks(const sc_prediction_text *self, const sc_predict_item *item, json_t *object)
{
    json_t *list = json_array();
    place p = {0};
    json_object_set_new(object, "masks", list);
    for (size_t i = 0; i < item->n_masks; i++) {
        const sc_predict_mask *mask = &item->masks[i];
        json_t *words = json_array();
        for (int k = 0; k < mask->n; k++) {
            char text[SC_TOKEN_MAX_BYTES + 3];
            json_array_append_new(words, json_pack("{s:s, s:f}", "word", word_of(self->model, mask->tokens[k], text),
                                                   "probability", mask->probabilities[k]));
        }
        move_to(&p, item, mask->begin, mask->end);
        json_array_append_new(list, json_pack("{s:I, s:I, s:o}", "start", (json_int_t)p.start, "end",
                                              (json_int_t)p.stop, "words", words));
    }
}

static bool is_of_items(const sc_prediction_text *self)
{
    return sc_tokenizer_is_items(self->model->tokenizer);
}

static void add_items(const sc_prediction_text *self, const sc_predict_item *item, json_t *object)
{
    const sc_tokenizer *tokenizer = self->model->tokenizer;
    const sc_predict_mask *next = &item->masks[0];
    json_t *list = json_array(), *unknown = json_array();
    for (int k = 0; k < next->n; k++) {
        const char *title = sc_tokenizer_items_title(tokenizer, next->tokens[k]);
        json_array_append_new(list,
                              json_pack("{s:s, s:s*, s:f}", "item", sc_tokenizer_items_name(tokenizer, next->tokens[k]),
                                        "title", title, "probability", next->probabilities[k]));
    }
    json_object_set_new(object, "items", list);
    sc_field name;
    for (size_t at = 0; sc_field_next(item->bytes, item->n_text, &at, &name);)
        if (sc_tokenizer_items_find(tokenizer, name.text, name.n) < 0)
            json_array_append_new(unknown, text_of(name.text, name.n));
    if (json_array_size(unknown) > 0)
        json_object_set(object, "unknown", unknown);
    json_decref(unknown);
}

static sc_status put_object(sc_prediction_text *self, const sc_predict_item *item, sc_line_writer *out)
{
    if (item->message)
        return put_json(
            json_pack("{s:I, s:s%}", "line", (json_int_t)item->line, "error", item->message, strlen(item->message)),
            out);
    json_t *object = json_object();
    if (!is_of_items(self))
        json_object_set_new(object, "text", text_of(item->bytes, item->n_text));
    sc_status status = SC_OK;
    if (is_of_items(self))
        add_items(self, item, object);
    else if (item->logits)
        status = add_class(self, item, object);
    else if (self->model->model.task == SC_TASK_TAGGING)
        status = add_tags(self, item, object);
    else
        add_masks(self, item, object);
    if (item->cut)
        json_object_set_new(object, "cut", json_true());
    if (status == SC_OK)
        return put_json(object, out);
    json_decref(object);
    return status;
}

/* --- columns --------------------------------------------------------------------------------------------------------- */

static sc_status put_flat(const char *bytes, size_t n, sc_line_writer *out)
{
    for (size_t i = 0; i < n; i++)
        SC_TRY(sc_line_writer_put(out, strchr("\t\n\r", bytes[i]) ? " " : bytes + i, 1));
    return SC_OK;
}

static sc_status put_format(sc_line_writer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static sc_status put_format(sc_line_writer *out, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return sc_line_writer_put(out, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
}

static sc_status put_class_columns(sc_prediction_text *self, const sc_predict_item *item, sc_line_writer *out)
{
    rank(self, item);
    SC_TRY(put_flat(item->bytes, item->n_text, out));
    if (item->has_pair) {
        SC_TRY(sc_line_writer_put(out, "\t", 1));
        SC_TRY(put_flat(item->bytes + item->n_text, item->n_pair, out));
    }
    const int n = is_multi_label(self->model) ? n_on(self, item) : 1;
    for (int i = 0; i < n || i == 0; i++)
        SC_TRY(put_format(out, "%s%s", i ? "," : "\t", i < n ? self->model->labels.names[self->order[i]] : ""));
    SC_TRY(put_format(out, "\t%.*g", DIGITS, self->probabilities[self->order[0]]));
    if (self->answers) {
        char *answer = NULL;
        size_t n_answer;
        bool known;
        SC_TRY(sc_answers_give(self->answers, self->order[0], self->probabilities[self->order[0]], item->bytes,
                               item->n_text, &answer, &n_answer, &known));
        sc_status status = sc_line_writer_put(out, "\t", 1);
        if (status == SC_OK)
            status = put_flat(answer, n_answer, out);
        free(answer);
        SC_TRY(status);
    }
    return sc_line_writer_put(out, "\n", 1);
}

static sc_status put_tag_columns(sc_prediction_text *self, const sc_predict_item *item, sc_line_writer *out)
{
    place p = {0};
    size_t n = item->n_words;
    if (self->tags)
        SC_TRY(find_entities(self, item, &n));
    for (size_t i = 0; i < n; i++) {
        const sc_tag_span *span = self->tags ? &self->spans[i] : NULL;
        const size_t first = span ? span->first : i, last = span ? span->first + span->n - 1 : i;
        move_to(&p, item, item->words[first].begin, item->words[last].end);
        SC_TRY(put_format(out, "%" PRIu64 "\t%zu\t%zu\t%s\t", item->line, p.start, p.stop,
                          span ? self->types.names[span->type] : self->model->labels.names[item->words[i].label]));
        SC_TRY(put_flat(item->bytes + p.begin, p.end - p.begin, out));
        SC_TRY(put_format(out, "\t%.*g\n", DIGITS, span ? span->probability : item->words[i].probability));
    }
    return SC_OK;
}

static sc_status put_mask_columns(const sc_prediction_text *self, const sc_predict_item *item, sc_line_writer *out)
{
    place p = {0};
    for (size_t i = 0; i < item->n_masks; i++) {
        const sc_predict_mask *mask = &item->masks[i];
        move_to(&p, item, mask->begin, mask->end);
        for (int k = 0; k < mask->n; k++) {
            char text[SC_TOKEN_MAX_BYTES + 3];
            SC_TRY(put_format(out, "%" PRIu64 "\t%zu\t%zu\t%s\t%.*g\n", item->line, p.start, p.stop,
                              word_of(self->model, mask->tokens[k], text), DIGITS, mask->probabilities[k]));
        }
    }
    return SC_OK;
}

static sc_status put_item_columns(const sc_prediction_text *self, const sc_predict_item *item, sc_line_writer *out)
{
    const sc_predict_mask *next = &item->masks[0];
    for (int k = 0; k < next->n; k++) {
        const char *title = sc_tokenizer_items_title(self->model->tokenizer, next->tokens[k]);
        SC_TRY(put_format(out, "%" PRIu64 "\t%s\t%.*g\t", item->line,
                          sc_tokenizer_items_name(self->model->tokenizer, next->tokens[k]), DIGITS,
                          next->probabilities[k]));
        if (title)
            SC_TRY(put_flat(title, strlen(title), out));
        SC_TRY(sc_line_writer_put(out, "\n", 1));
    }
    return SC_OK;
}

/* Between blanks a word has none: the tokenizer's words and those of columns may only hold them where columns had tabs. */
static sc_status put_sentence(const sc_prediction_text *self, const sc_predict_item *item, sc_line_writer *out)
{
    for (size_t i = 0; i < item->n_words; i++) {
        const sc_predict_word *word = &item->words[i];
        SC_TRY(put_flat(item->bytes + word->begin, word->end - word->begin, out));
        if (word->n_right > 0) {
            SC_TRY(sc_line_writer_put(out, "\t", 1));
            SC_TRY(sc_line_writer_put(out, item->tags + word->right, word->n_right));
        }
        SC_TRY(put_format(out, "\t%s\n", self->model->labels.names[word->label]));
    }
    return sc_line_writer_put(out, "\n", 1);
}

sc_status sc_prediction_text_put(sc_prediction_text *self, const sc_predict_item *item, sc_line_writer *out)
{
    if (self->format == SC_PREDICTION_JSONL)
        return put_object(self, item, out);
    if (item->message)
        return SC_OK;
    if (is_of_items(self))
        return put_item_columns(self, item, out);
    if (item->logits)
        return put_class_columns(self, item, out);
    if (self->model->model.task != SC_TASK_TAGGING)
        return put_mask_columns(self, item, out);
    return self->format == SC_PREDICTION_CONLL ? put_sentence(self, item, out) : put_tag_columns(self, item, out);
}
