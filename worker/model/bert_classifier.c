/* BERT's head for the classification of sequences:  logits (B,K) = dropout (pooled) W^T + b;  the loss is cross-entropy, (B), or
 * with multi_label binary cross-entropy, (B,K). */
#include "worker/model/bert_pooler.h"

enum { POOLER_W, POOLER_B, W, BIAS };

static sc_bert_pooler pooler_of(const sc_block_call *c)
{
    return (sc_bert_pooler){.w = c->params[POOLER_W],
                            .b = c->params[POOLER_B],
                            .dw = c->grads[POOLER_W],
                            .db = c->grads[POOLER_B],
                            .first = sc_block_slot(c, SC_SLOT_CLASS_FIRST),
                            .pre = sc_block_slot(c, SC_SLOT_CLASS_PRE),
                            .pooled = sc_block_slot(c, SC_SLOT_CLASS_POOLED),
                            .dpre = sc_block_slot(c, SC_SLOT_CLASS_DPRE),
                            .dfirst = sc_block_slot(c, SC_SLOT_CLASS_DFIRST)};
}

/* `out` is NULL: nothing follows a head. */
static sc_status forward(const sc_block_call *c, float *out)
{
    (void)out;
    int B = c->B, C = c->model->hidden, K = c->model->labels;
    sc_bert_pooler pooler = pooler_of(c);
    sc_dropout dropout = sc_block_dropout(c, 0);
    float *logits = sc_block_slot(c, SC_SLOT_CLASS_LOGITS), *loss = sc_block_slot(c, SC_SLOT_CLASS_LOSS);
    const int32_t *targets = sc_block_ids(c, SC_SLOT_CLASS_TARGETS);
    SC_TRY(sc_bert_pooler_forward(c, &pooler, sc_block_slot(c, SC_SLOT_CLASS_X)));
    SC_TRY(c->ops->dropout_backward(c->stream, pooler.pooled, pooler.pooled, B, (size_t)C, &dropout));
    SC_TRY(c->ops->linear_forward(c->stream, logits, pooler.pooled, c->params[W], c->params[BIAS], B, C, K, SC_OUT_IN));
    if (!c->targets)
        return SC_OK;
    float *dlogits = c->train ? logits : NULL;
    if (c->model->multi_label)
        return c->ops->binary_cross_entropy(c->stream, loss, dlogits, logits, targets, (size_t)B * (size_t)K,
                                            c->loss_scale);
    return c->ops->cross_entropy(c->stream, loss, dlogits, logits, targets, c->class_weights, B, K, c->loss_scale);
}

/* d (N,C) = dx; what it held does not count. */
static sc_status backward_input(const sc_block_call *c, float *d)
{
    int B = c->B, C = c->model->hidden, K = c->model->labels;
    sc_bert_pooler pooler = pooler_of(c);
    sc_dropout dropout = sc_block_dropout(c, 0);
    SC_TRY(c->ops->linear_backward_input(c->stream, pooler.dpre, sc_block_slot(c, SC_SLOT_CLASS_LOGITS), c->params[W],
                                         B, C, K, SC_OUT_IN));
    SC_TRY(c->ops->dropout_backward(c->stream, pooler.dpre, pooler.dpre, B, (size_t)C, &dropout));
    SC_TRY(c->ops->activation_backward(c->stream, pooler.dpre, pooler.pre, (size_t)B * (size_t)C, SC_TANH));
    SC_TRY(c->ops->zero(c->stream, d, (size_t)B * (size_t)c->T * (size_t)C * sizeof *d));
    return sc_bert_pooler_backward_input(c, &pooler, d);
}

static sc_status backward_weight(const sc_block_call *c)
{
    sc_bert_pooler pooler = pooler_of(c);
    SC_TRY(c->ops->linear_backward_weight(c->stream, c->grads[W], c->grads[BIAS], pooler.pooled,
                                          sc_block_slot(c, SC_SLOT_CLASS_LOGITS), c->B, c->model->hidden,
                                          c->model->labels, SC_OUT_IN));
    return sc_bert_pooler_backward_weight(c, &pooler);
}

const sc_block_functions sc_bert_classifier = {
    .input = SC_SLOT_CLASS_X,
    .forward = forward,
    .backward_input = backward_input,
    .backward_weight = backward_weight,
    .targets = SC_SLOT_CLASS_TARGETS,
    .loss = SC_SLOT_CLASS_LOSS,
    .logits = SC_SLOT_CLASS_LOGITS,
};
