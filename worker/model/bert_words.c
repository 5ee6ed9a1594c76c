/* BERT's head for masked words and, in pre-training, for the next sentence.
 *
 *   masked (R,C) = the R rows of x whose targets count; without targets all, R = N
 *   fc = masked Wt^T + bt,  gelu = GELU_erf (fc),  ln = LayerNorm (gelu)       (R,C)
 *   logits = ln word^T + bias                                                  (R,V);  loss (R)
 *   next   = pooled Wn^T + bn                                                  (B,2);  loss (B)
 *
 * `word` is the token embedding; where both lie on one stage, their gradients are apart all the same (stage.h, invariant 3).
 * Only masked rows go through the decoder, which is the larger part of a small model's work. */
#include "worker/model/bert_pooler.h"

enum { FC_W, FC_B, LN_W, LN_B, BIAS, N_OF_WORDS };
/* pre-training: behind those */
enum { POOLER_W = N_OF_WORDS, POOLER_B, NEXT_W, NEXT_B };

static int decoder_of(const sc_block_call *c)
{
    return sc_model_predicts_next(c->model) ? NEXT_B + 1 : N_OF_WORDS;
}

static sc_bert_pooler pooler_of(const sc_block_call *c)
{
    return (sc_bert_pooler){.w = c->params[POOLER_W],
                            .b = c->params[POOLER_B],
                            .dw = c->grads[POOLER_W],
                            .db = c->grads[POOLER_B],
                            .first = sc_block_slot(c, SC_SLOT_NEXT_FIRST),
                            .pre = sc_block_slot(c, SC_SLOT_NEXT_PRE),
                            .pooled = sc_block_slot(c, SC_SLOT_NEXT_POOLED),
                            .dpre = sc_block_slot(c, SC_SLOT_NEXT_DPRE),
                            .dfirst = sc_block_slot(c, SC_SLOT_NEXT_DFIRST)};
}

/* --- masked words -------------------------------------------------------------------------------------------------- */

static sc_status words_forward(const sc_block_call *c)
{
    const sc_ops *ops = c->ops;
    sc_stream *s = c->stream;
    float *const *w = c->params;
    int C = c->model->hidden, V = c->model->vocab, R = c->targets ? c->n_masked : c->B * c->T;
    if (R == 0)
        return SC_OK;
    const float *masked = sc_block_slot(c, SC_SLOT_WORDS_X);
    float *fc = sc_block_slot(c, SC_SLOT_WORDS_FC), *gelu = sc_block_slot(c, SC_SLOT_WORDS_GELU);
    float *ln = sc_block_slot(c, SC_SLOT_WORDS_LN), *logits = sc_block_slot(c, SC_SLOT_WORDS_LOGITS);
    if (c->targets) {
        float *gathered = sc_block_slot(c, SC_SLOT_WORDS_MASKED);
        SC_TRY(ops->gather_rows(s, gathered, masked, sc_block_ids(c, SC_SLOT_WORDS_ROWS), R, C, false));
        masked = gathered;
    }
    SC_TRY(ops->linear_activation_forward(s, gelu, fc, masked, w[FC_W], w[FC_B], R, C, C, SC_OUT_IN, SC_GELU_ERF));
    SC_TRY(ops->layernorm_forward(s, ln, sc_block_slot(c, SC_SLOT_WORDS_MEAN), sc_block_slot(c, SC_SLOT_WORDS_RSTD),
                                  gelu, w[LN_W], w[LN_B], R, C, c->model->norm_epsilon));
    SC_TRY(ops->linear_forward(s, logits, ln, w[decoder_of(c)], w[BIAS], R, C, V, SC_OUT_IN));
    if (!c->targets)
        return SC_OK;
    /* dlogits take the place of the logits, the largest tensor. */
    return ops->cross_entropy(s, sc_block_slot(c, SC_SLOT_WORDS_LOSS), c->train ? logits : NULL, logits,
                              sc_block_ids(c, SC_SLOT_WORDS_TARGETS), NULL, R, V, c->loss_scale);
}

/* d (N,C) += dx. */
static sc_status words_backward_input(const sc_block_call *c, float *d)
{
    const sc_ops *ops = c->ops;
    sc_stream *s = c->stream;
    float *const *w = c->params;
    int C = c->model->hidden, V = c->model->vocab, R = c->n_masked;
    if (R == 0)
        return SC_OK;
    float *dln = sc_block_slot(c, SC_SLOT_WORDS_DLN), *dfc = sc_block_slot(c, SC_SLOT_WORDS_DFC);
    float *dmasked = sc_block_slot(c, SC_SLOT_WORDS_DMASKED);
    SC_TRY(ops->linear_backward_input(s, dln, sc_block_slot(c, SC_SLOT_WORDS_LOGITS), w[decoder_of(c)], R, C, V,
                                      SC_OUT_IN));
    SC_TRY(ops->layernorm_backward_input(s, dfc, dln, sc_block_slot(c, SC_SLOT_WORDS_GELU), w[LN_W],
                                         sc_block_slot(c, SC_SLOT_WORDS_MEAN), sc_block_slot(c, SC_SLOT_WORDS_RSTD), R,
                                         C, false));
    SC_TRY(ops->activation_backward(s, dfc, sc_block_slot(c, SC_SLOT_WORDS_FC), (size_t)R * (size_t)C, SC_GELU_ERF));
    SC_TRY(ops->linear_backward_input(s, dmasked, dfc, w[FC_W], R, C, C, SC_OUT_IN));
    return ops->scatter_rows(s, d, dmasked, sc_block_ids(c, SC_SLOT_WORDS_ROWS), R, C);
}

static sc_status words_backward_weight(const sc_block_call *c)
{
    const sc_ops *ops = c->ops;
    sc_stream *s = c->stream;
    float *const *dw = c->grads;
    int C = c->model->hidden, V = c->model->vocab, R = c->n_masked;
    if (R == 0)
        return SC_OK;
    SC_TRY(ops->linear_backward_weight(s, dw[decoder_of(c)], dw[BIAS], sc_block_slot(c, SC_SLOT_WORDS_LN),
                                       sc_block_slot(c, SC_SLOT_WORDS_LOGITS), R, C, V, SC_OUT_IN));
    SC_TRY(ops->layernorm_backward_weight(s, dw[LN_W], dw[LN_B], sc_block_slot(c, SC_SLOT_WORDS_DLN),
                                          sc_block_slot(c, SC_SLOT_WORDS_GELU), sc_block_slot(c, SC_SLOT_WORDS_MEAN),
                                          sc_block_slot(c, SC_SLOT_WORDS_RSTD), R, C));
    return ops->linear_backward_weight(s, dw[FC_W], dw[FC_B], sc_block_slot(c, SC_SLOT_WORDS_MASKED),
                                       sc_block_slot(c, SC_SLOT_WORDS_DFC), R, C, C, SC_OUT_IN);
}

/* --- the next sentence --------------------------------------------------------------------------------------------- */

static sc_status next_forward(const sc_block_call *c)
{
    sc_bert_pooler pooler = pooler_of(c);
    float *logits = sc_block_slot(c, SC_SLOT_NEXT_LOGITS);
    SC_TRY(sc_bert_pooler_forward(c, &pooler, sc_block_slot(c, SC_SLOT_WORDS_X)));
    SC_TRY(c->ops->linear_forward(c->stream, logits, pooler.pooled, c->params[NEXT_W], c->params[NEXT_B], c->B,
                                  c->model->hidden, 2, SC_OUT_IN));
    if (!c->targets)
        return SC_OK;
    return c->ops->cross_entropy(c->stream, sc_block_slot(c, SC_SLOT_NEXT_LOSS), c->train ? logits : NULL, logits,
                                 sc_block_ids(c, SC_SLOT_NEXT_TARGETS), NULL, c->B, 2, c->next_scale);
}

/* d (N,C) += dx. */
static sc_status next_backward_input(const sc_block_call *c, float *d)
{
    sc_bert_pooler pooler = pooler_of(c);
    SC_TRY(c->ops->linear_activation_backward_input(c->stream, pooler.dpre, pooler.pre,
                                                    sc_block_slot(c, SC_SLOT_NEXT_LOGITS), c->params[NEXT_W], c->B,
                                                    c->model->hidden, 2, SC_OUT_IN, SC_TANH));
    return sc_bert_pooler_backward_input(c, &pooler, d);
}

static sc_status next_backward_weight(const sc_block_call *c)
{
    sc_bert_pooler pooler = pooler_of(c);
    SC_TRY(c->ops->linear_backward_weight(c->stream, c->grads[NEXT_W], c->grads[NEXT_B], pooler.pooled,
                                          sc_block_slot(c, SC_SLOT_NEXT_LOGITS), c->B, c->model->hidden, 2, SC_OUT_IN));
    return sc_bert_pooler_backward_weight(c, &pooler);
}

/* --- both ------------------------------------------------------------------------------------------------------------ */

/* `out` is NULL: nothing follows a head. */
static sc_status forward(const sc_block_call *c, float *out)
{
    (void)out;
    SC_TRY(words_forward(c));
    return sc_model_predicts_next(c->model) ? next_forward(c) : SC_OK;
}

/* d (N,C) = dx; what it held does not count. */
static sc_status backward_input(const sc_block_call *c, float *d)
{
    SC_TRY(c->ops->zero(c->stream, d, (size_t)c->B * (size_t)c->T * (size_t)c->model->hidden * sizeof *d));
    SC_TRY(words_backward_input(c, d));
    return sc_model_predicts_next(c->model) ? next_backward_input(c, d) : SC_OK;
}

static sc_status backward_weight(const sc_block_call *c)
{
    SC_TRY(words_backward_weight(c));
    return sc_model_predicts_next(c->model) ? next_backward_weight(c) : SC_OK;
}

const sc_block_functions sc_bert_words = {
    .input = SC_SLOT_WORDS_X,
    .forward = forward,
    .backward_input = backward_input,
    .backward_weight = backward_weight,
    .targets = SC_SLOT_WORDS_TARGETS,
    .loss = SC_SLOT_WORDS_LOSS,
    .logits = SC_SLOT_WORDS_LOGITS,
};
