/* What is predicted of one text: the rows of tokens that it becomes, and what the model's logits say of it.
 *
 * Mental model. An item is made of a text (or two, or of words with tags), `prepare` makes its rows, and `take` is given the
 * logits of each of them, in any order; with the last one the item is complete. What differs from task to task is one table
 * of functions (sc_predict_task_of); the predictor, which brings rows to the workers and logits back, knows none of them.
 *
 *   classification  one row, cut as in training; logits (K)
 *   tagging         a row, or several with as many words as fit each, as in training; logits (T,K), of which the first piece of a
 *                   word gives its tag. Words are those of the tokenizer, unless the item brings its own
 *   masked words    one row; logits (masks,V)
 *   items           one row, a user's last ones; logits (V) of what comes next. One that the model does not know is passed over
 *
 * A text that cannot be predicted (broken UTF-8, nothing in it) is an item without rows and with a message: a stream goes on.
 *
 * Ownership: sc_predict_item_new copies; sc_predict_model borrows. Thread: one owns an item. */
#ifndef SC_PREDICT_ITEM_H
#define SC_PREDICT_ITEM_H

#include "coordinator/data/labels.h"
#include "coordinator/data/tokenizer.h"
#include "proto/base/model.h"
#include "proto/base/status.h"

#include <stdbool.h>

enum {
    SC_PREDICT_LONGEST_TEXT = 1 << 20, /* bytes of an item: what is longer is no text of one line any more */
    SC_PREDICT_MAX_MASKS = 64,         /* masked words of an item: their logits are one message */
};

/* What is known of the model by those who make and read items. */
typedef struct sc_predict_model {
    const char *dir; /* for messages */
    sc_model model;
    sc_tokenizer *tokenizer;
    sc_labels labels;   /* [K]: by number; of a head for masked words none */
    int longest;        /* tokens of a row */
    int top;            /* masked words: how many words are given of each; items: how many of them */
    bool includes_seen; /* items: those that the user has met are given, too */
} sc_predict_model;

/* A row of tokens, [n] each. segments: NULL for items. targets: tagging, the number of the word whose first piece stands here, else -1; masked words, 0
 * where one is wanted, else -1; classification and items, NULL. */
typedef struct sc_predict_row {
    int n, n_masks;
    int32_t *tokens, *segments, *targets;
} sc_predict_row;

/* A word: bytes [begin, end) of the text. */
typedef struct sc_predict_word {
    size_t begin, end;
    size_t right, n_right; /* where in `tags` its right tag stands, if the item came with tags; n_right 0: none */
    int32_t right_label;   /* the right tag's number, -1: unknown; who has it sets it before the item is added */
    int32_t label;
    double probability;
    double loss; /* of the right tag, if it is known */
} sc_predict_word;

/* A masked word: bytes [begin, end) of the text, and the likeliest tokens, [top]. Of items one, which has no place. */
typedef struct sc_predict_mask {
    size_t begin, end;
    int32_t *tokens;
    double *probabilities;
    int n;
} sc_predict_mask;

typedef struct sc_predict_item {
    char *bytes; /* the text, and the second one behind it; words that came one by one have a blank between them */
    size_t n_text, n_pair, capacity;
    char *tags; /* [n_tags]: right ones */
    size_t n_tags, tags_capacity;
    bool has_pair, has_words;
    uint64_t line;        /* where it begins in its file, from 1 */
    char *message;        /* why nothing is predicted of it; NULL if it is */
    bool cut;             /* the text was too long: its end was left out */
    sc_predict_row *rows; /* [n_rows] */
    size_t n_rows, n_rows_taken;
    float *logits;          /* classification: [K] */
    sc_predict_word *words; /* tagging: [n_words] */
    size_t n_words, words_capacity;
    sc_predict_mask *masks; /* masked words: [n_masks]; items: [1] */
    size_t n_masks;
    struct sc_predict_item *next; /* the predictor's */
} sc_predict_item;

/* A text; `pair` NULL: there is no second one. What is wrong with it is in its message. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_predict_item_new(const char *text, size_t n_text, const char *pair, size_t n_pair, uint64_t line,
                              sc_predict_item **out);
/* An item that is nothing but a message. */
sc_status sc_predict_item_new_mistake(const char *message, uint64_t line, sc_predict_item **out);
/* An empty sentence, to which words are added one by one. right: its tag, n_right 0: none. */
sc_status sc_predict_item_new_words(uint64_t line, sc_predict_item **out);
sc_status sc_predict_item_add_word(sc_predict_item *self, const char *word, size_t n_word, const char *right,
                                   size_t n_right);
void sc_predict_item_destroy(sc_predict_item **self_p);

/* Gives the item a message; `format` as printf. */
sc_status sc_predict_item_fail(sc_predict_item *self, const char *format, ...) __attribute__((format(printf, 2, 3)));

typedef struct sc_predict_task {
    /* Makes the item's rows, or gives it a message. Errors: SC_RESOURCE_EXHAUSTED. */
    sc_status (*prepare)(const sc_predict_model *model, sc_predict_item *item);
    /* Reads the logits of one row. Errors: SC_DATA_LOSS (logits that are no finite numbers), SC_RESOURCE_EXHAUSTED. */
    sc_status (*take)(const sc_predict_model *model, sc_predict_item *item, size_t row, const float *logits);
} sc_predict_task;

/* NULL for a task that there is no prediction of. */
const sc_predict_task *sc_predict_task_of(const sc_predict_model *model);
extern const sc_predict_task sc_predict_items;

#endif
