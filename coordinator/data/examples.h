/* Examples: rows of tokens with what is to be predicted. For BERT they are made of texts by a tokenizer with [CLS], [SEP], [PAD] and,
 * for pre-training, [MASK]; for a recommender of sequences of items.
 *
 *   classification  [CLS] a [SEP] or [CLS] a [SEP] b [SEP]; one target, the label, or of many labels a target each, 0 or 1. What is too long is cut from the longer text's
 *                   end, as Hugging Face's "longest_first".
 *   tags            [CLS] words [SEP]; the tag is the target at the first piece of each word. A sentence that is too long
 *                   becomes several rows, cut between words; of a word that is too long by itself the end is left out. A
 *                   word without a piece of its own is an unknown token.
 *   pre-training    [CLS] a [SEP] b [SEP]; a and b are neighbouring stretches of one document, or b is from elsewhere; the targets
 *                   are the tokens that were masked (pretrain_examples.h).
 *   items           for training a user's items, each target the item that follows, in windows that together have each
 *                   target once; of the items to find of dev or test a row each: the last items before it, one target at the
 *                   row's end.
 *
 * Which rows there are never changes; what is drawn for one (pairs, masks) is a function of seed, epoch and row, by
 * counter-based random numbers, whatever was asked for before. Thread: any number may read at once. */
#ifndef SC_EXAMPLES_H
#define SC_EXAMPLES_H

#include "coordinator/data/item_sequences.h"
#include "coordinator/data/labelled_texts.h"
#include "coordinator/data/tagged_words.h"
#include "coordinator/data/tokenizer.h"

#include <stdbool.h>

enum { SC_NO_TARGET = -1 }; /* a position that the loss passes over */

typedef enum sc_examples_kind {
    SC_EXAMPLES_CLASSES,
    SC_EXAMPLES_TAGS,
    SC_EXAMPLES_PRETRAINING,
    SC_EXAMPLES_ITEMS
} sc_examples_kind;

typedef struct sc_examples sc_examples;

/* longest: tokens of a row, at least 8. Borrow the data while they work. Return owned.
 * Errors: SC_INVALID (the tokenizer lacks [CLS], [SEP] or [PAD]; those of sc_tokenizer_encode), SC_RESOURCE_EXHAUSTED. */
sc_status sc_examples_of_texts(const sc_labelled_texts *texts, const sc_tokenizer *tokenizer, int longest,
                               sc_examples **out);
/* The same of texts with any number of n_labels labels. */
sc_status sc_examples_of_label_sets(const sc_labelled_texts *texts, int n_labels, const sc_tokenizer *tokenizer,
                                    int longest, sc_examples **out);
sc_status sc_examples_of_words(const sc_tagged_words *words, const sc_tokenizer *tokenizer, int longest,
                               sc_examples **out);
/* longest: at least 1. DEV and TEST have a row a user, TRAIN those that have a target. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_examples_of_items(const sc_item_sequences *sequences, sc_item_part part, int longest, sc_examples **out);
void sc_examples_destroy(sc_examples **self_p);

sc_examples_kind sc_examples_kind_of(const sc_examples *self);
size_t sc_examples_n(const sc_examples *self);    /* rows */
int sc_examples_longest(const sc_examples *self); /* tokens of the longest row; of pre-training, what it may have */
int sc_examples_n_targets(const sc_examples *self,
                          int n);                  /* of a row of n tokens: n, or for classification 1 or n_labels */
size_t sc_examples_n_cut(const sc_examples *self); /* texts that were longer than a row may be */
int32_t sc_examples_pad(const sc_examples *self);  /* the id of [PAD], of items SC_ITEM_PADDING */

/* What a row was made of: the text's or user's number; or the first of n words. Not for pre-training. */
typedef struct sc_examples_source {
    size_t first, n;
} sc_examples_source;
sc_examples_source sc_examples_source_of(const sc_examples *self, size_t row);

/* How many tokens a row has in an epoch. seed and epoch matter to pre-training alone. */
int sc_examples_length(const sc_examples *self, uint64_t seed, uint32_t epoch, size_t row);

/* Writes a row; returns its length n.
 * tokens, segments: [n]. targets: [sc_examples_n_targets (n)]. *next: for pre-training 0 if b follows a in the text, 1 if it is
 * from elsewhere, as Hugging Face numbers it; else untouched. */
int sc_examples_get(const sc_examples *self, uint64_t seed, uint32_t epoch, size_t row, int32_t *tokens,
                    int32_t *segments, int32_t *targets, int32_t *next);

#endif
