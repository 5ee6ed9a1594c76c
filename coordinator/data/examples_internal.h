/* What the kinds of examples share. */
#ifndef SC_EXAMPLES_INTERNAL_H
#define SC_EXAMPLES_INTERNAL_H

#include "coordinator/data/examples.h"

/* A row whose tokens are fixed. */
typedef struct sc_fixed_row {
    size_t ids;   /* where its tokens stand: a, then b, without [CLS] and [SEP] */
    int n_a, n_b; /* n_b 0: no b */
    int32_t label;
    size_t first_label, n_labels; /* of many: where in label_ids */
    sc_examples_source source;
} sc_fixed_row;

/* Pre-training: neighbouring stretches of a document's tokens, which fill a row. */
typedef struct sc_unit {
    size_t ids; /* where in the documents' ids */
    int n;
    uint32_t document;
} sc_unit;
typedef struct sc_stretch {
    size_t first; /* unit */
    int n;        /* units */
    int room;     /* tokens that a row of it may have, without [CLS] and [SEP] */
} sc_stretch;

struct sc_examples {
    sc_examples_kind kind;
    int longest;
    int32_t cls, sep, pad, mask;
    size_t n, n_cut;
    int32_t *ids; /* [n_ids] */
    size_t n_ids, ids_capacity;
    int32_t *targets;   /* tags and items: [n_ids] */
    int n_labels;       /* of which a text has any number; 0: one label each */
    int32_t *label_ids; /* of the texts with many, as they have them */
    sc_fixed_row *rows; /* [n], not for pre-training */
    size_t rows_capacity;
    /* pre-training */
    sc_unit *units; /* [n_units] */
    size_t n_units;
    sc_stretch *stretches; /* [n] */
    bool *continues;       /* by id; whole words are masked if not NULL */
    int32_t vocab;
    double mask_share;
};

/* tokenizer: not used for items. */
sc_status sc_examples_new(sc_examples_kind kind, const sc_tokenizer *tokenizer, int longest, sc_examples **out);
/* Room for so many tokens more, and one row. */
sc_status sc_examples_reserve(sc_examples *self, size_t n_ids);

/* How many tokens of a and b are left of `room`, as Hugging Face's "longest_first" cuts them. */
void sc_examples_cut(int room, int *n_a, int *n_b);
/* Writes [CLS] a [SEP], and b [SEP] if n_b > 0, with segments; returns the length. */
int sc_examples_frame(const sc_examples *self, const int32_t *a, int n_a, const int32_t *b, int n_b, int32_t *tokens,
                      int32_t *segments);

/* (pretrain_examples.c) */
int sc_pretrain_length(const sc_examples *self, uint64_t seed, uint32_t epoch, size_t row);
int sc_pretrain_get(const sc_examples *self, uint64_t seed, uint32_t epoch, size_t row, int32_t *tokens,
                    int32_t *segments, int32_t *targets, int32_t *next);

#endif
