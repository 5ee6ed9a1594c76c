/* A block of a model: three functions over the slots of one micro-batch.
 *
 * Mental model. A block owns nothing. The stage hands it the parameters, their gradients and the slots
 * (proto/base/model.h), the block queues operations on them. Saved slots are written by forward and only read
 * afterwards; weight slots are written by backward_input and read by backward_weight; scratch is free at each call.
 *
 *   forward          input slot -> saved slots, and `out` (N,C), which is the next block's input slot
 *   backward_input   saved slots, d (N,C) -> weight slots, and d again: the gradient of the output becomes, in place, that
 *                    of the input
 *   backward_weight  saved and weight slots -> grads +=
 *
 * backward_input of all blocks followed by backward_weight of all blocks, and the two in turn block by block, give the
 * same bits, as no block's weight half touches d.
 *
 * Thread: the stage's. Errors: the backend's. */
#ifndef SC_BLOCK_H
#define SC_BLOCK_H

#include "kernels/ops.h"
#include "proto/base/model.h"

typedef struct sc_block_call {
    const sc_ops *ops;
    sc_stream *stream;
    const sc_model *model;
    int block;            /* index in the model: keys dropout */
    float *const *params; /* in the order of sc_model_block_params */
    float *const *grads;  /* the same; what they point to is there only where the stage trains. NULL: does not learn */
    void *slots[SC_N_SLOTS];
    int B, T;
    const int32_t *lengths; /* of the backend: tokens of each sequence, the others are padding; NULL: all have T */
    bool train;             /* dropout, and dlogits */
    bool targets;           /* head: there are targets */
    int n_masked;           /* head for masked words, with targets: how many count */
    /* Transformer, with a cache (else NULL): (B,context,C) each. The keys and values of positions 0 .. position - 1 are
     * there, those of this micro-batch's tokens are added. T is 1 unless position is 0. */
    float *k_cache, *v_cache;
    int position;               /* of the micro-batch's first token in its sequence; 0 without a cache */
    float loss_scale;           /* head: of dlogits */
    const float *class_weights; /* head of classification and tagging: of the labels; NULL: all 1 */
    float next_scale;           /* head, pre-training: the same for the next sentence */
    sc_dropout dropout;         /* all but the site; p is the model's dropout, 0 without `train` */
} sc_block_call;

typedef struct sc_block_functions {
    sc_slot input; /* where the block's input is put */
    sc_status (*forward)(const sc_block_call *call, float *out);
    sc_status (*backward_input)(const sc_block_call *call, float *d);
    sc_status (*backward_weight)(const sc_block_call *call);
    sc_slot targets, loss, logits; /* a head's: where its targets are put, and what it leaves */
} sc_block_functions;

extern const sc_block_functions sc_gpt2_embedding, sc_gpt2_transformer, sc_gpt2_head;
extern const sc_block_functions sc_bert_embedding, sc_bert_transformer, sc_bert_words, sc_bert_classifier,
    sc_bert_tagger;

static inline const sc_block_functions *sc_block_of(const sc_model *model, sc_block_kind kind)
{
    static const sc_block_functions *const gpt2[] = {&sc_gpt2_embedding, &sc_gpt2_transformer, &sc_gpt2_head};
    static const sc_block_functions *const bert[] = {&sc_bert_embedding, &sc_bert_transformer};
    static const sc_block_functions *const heads[] = {
        [SC_TASK_PRETRAINING] = &sc_bert_words,
        [SC_TASK_MASKED_WORDS] = &sc_bert_words,
        [SC_TASK_CLASSIFICATION] = &sc_bert_classifier,
        [SC_TASK_TAGGING] = &sc_bert_tagger,
    };
    if (model->family == SC_GPT2)
        return gpt2[kind];
    return kind == SC_BLOCK_HEAD ? heads[model->task] : bert[kind];
}

/* A float32 or int32 slot. */
static inline float *sc_block_slot(const sc_block_call *call, sc_slot slot)
{
    return call->slots[slot];
}
static inline int32_t *sc_block_ids(const sc_block_call *call, sc_slot slot)
{
    return call->slots[slot];
}

/* Dropout number `which` of the block: 0 embedding, attention's probabilities or a classifier's input, 1 attention's projection,
 * 2 the MLP's. */
static inline sc_dropout sc_block_dropout(const sc_block_call *call, int which)
{
    sc_dropout dropout = call->dropout;
    sc_block_kind kind = sc_model_block_kind(call->model, call->block);
    if (call->train && which == 0 && kind != SC_BLOCK_EMBEDDING)
        dropout.p = kind == SC_BLOCK_HEAD ? call->model->classifier_dropout : call->model->attention_dropout;
    dropout.site = SC_RNG_SITE(SC_RNG_DROPOUT, call->block * 4 + which);
    return dropout;
}

#endif
