/* BERT's head for the classification of tokens:  logits (N,K) = dropout (x) W^T + b;  loss (N). */
#include "worker/model/block.h"

enum { W, BIAS };

/* `out` is NULL: nothing follows a head. */
static sc_status forward(const sc_block_call *c, float *out)
{
    (void)out;
    int N = c->B * c->T, C = c->model->hidden, K = c->model->labels;
    sc_dropout dropout = sc_block_dropout(c, 0);
    float *x = sc_block_slot(c, SC_SLOT_TAGS_X), *logits = sc_block_slot(c, SC_SLOT_TAGS_LOGITS);
    SC_TRY(c->ops->dropout_backward(c->stream, x, x, c->B, (size_t)c->T * (size_t)C, &dropout));
    SC_TRY(c->ops->linear_forward(c->stream, logits, x, c->params[W], c->params[BIAS], N, C, K, SC_OUT_IN));
    if (!c->targets)
        return SC_OK;
    return c->ops->cross_entropy(c->stream, sc_block_slot(c, SC_SLOT_TAGS_LOSS), c->train ? logits : NULL, logits,
                                 sc_block_ids(c, SC_SLOT_TAGS_TARGETS), c->class_weights, N, K, c->loss_scale);
}

/* d (N,C) = dx; what it held does not count. */
static sc_status backward_input(const sc_block_call *c, float *d)
{
    int N = c->B * c->T, C = c->model->hidden, K = c->model->labels;
    sc_dropout dropout = sc_block_dropout(c, 0);
    SC_TRY(c->ops->linear_backward_input(c->stream, d, sc_block_slot(c, SC_SLOT_TAGS_LOGITS), c->params[W], N, C, K,
                                         SC_OUT_IN));
    return c->ops->dropout_backward(c->stream, d, d, c->B, (size_t)c->T * (size_t)C, &dropout);
}

static sc_status backward_weight(const sc_block_call *c)
{
    return c->ops->linear_backward_weight(c->stream, c->grads[W], c->grads[BIAS], sc_block_slot(c, SC_SLOT_TAGS_X),
                                          sc_block_slot(c, SC_SLOT_TAGS_LOGITS), c->B * c->T, c->model->hidden,
                                          c->model->labels, SC_OUT_IN);
}

const sc_block_functions sc_bert_tagger = {
    .input = SC_SLOT_TAGS_X,
    .forward = forward,
    .backward_input = backward_input,
    .backward_weight = backward_weight,
    .targets = SC_SLOT_TAGS_TARGETS,
    .loss = SC_SLOT_TAGS_LOSS,
    .logits = SC_SLOT_TAGS_LOGITS,
};
