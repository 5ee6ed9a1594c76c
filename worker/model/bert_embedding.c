/* BERT's embedding (Devlin et al. 2018):  out = dropout (LayerNorm (word[token] + position[t] + type[segment])). */
#include "worker/model/block.h"

enum { WORDS, POSITIONS, TYPES, LN_W, LN_B };

static sc_status forward(const sc_block_call *c, float *out)
{
    const sc_ops *ops = c->ops;
    sc_stream *s = c->stream;
    float *const *w = c->params;
    int N = c->B * c->T, C = c->model->hidden;
    float *sum = sc_block_slot(c, SC_SLOT_BERT_SUM);
    sc_dropout dropout = sc_block_dropout(c, 0);
    SC_TRY(ops->embedding_forward(s, sum, sc_block_ids(c, SC_SLOT_BERT_TOKENS), w[WORDS], w[POSITIONS], c->B, c->T, C,
                                  NULL));
    SC_TRY(ops->gather_rows(s, sum, w[TYPES], sc_block_ids(c, SC_SLOT_BERT_SEGMENTS), N, C, true));
    SC_TRY(ops->layernorm_forward(s, out, sc_block_slot(c, SC_SLOT_BERT_SUM_MEAN),
                                  sc_block_slot(c, SC_SLOT_BERT_SUM_RSTD), sum, w[LN_W], w[LN_B], N, C,
                                  c->model->norm_epsilon));
    return ops->dropout_backward(s, out, out, c->B, (size_t)c->T * (size_t)C, &dropout); /* a factor, either way */
}

/* Ids have no gradient: d is only kept until backward_weight. */
static sc_status backward_input(const sc_block_call *c, float *d)
{
    sc_dropout dropout = sc_block_dropout(c, 0);
    return c->ops->dropout_backward(c->stream, sc_block_slot(c, SC_SLOT_BERT_DEMBED), d, c->B,
                                    (size_t)c->T * (size_t)c->model->hidden, &dropout);
}

static sc_status backward_weight(const sc_block_call *c)
{
    const sc_ops *ops = c->ops;
    sc_stream *s = c->stream;
    float *const *dw = c->grads;
    int N = c->B * c->T, C = c->model->hidden;
    const float *sum = sc_block_slot(c, SC_SLOT_BERT_SUM), *mean = sc_block_slot(c, SC_SLOT_BERT_SUM_MEAN),
                *rstd = sc_block_slot(c, SC_SLOT_BERT_SUM_RSTD);
    float *d = sc_block_slot(c, SC_SLOT_BERT_DEMBED);
    SC_TRY(ops->layernorm_backward_weight(s, dw[LN_W], dw[LN_B], d, sum, mean, rstd, N, C));
    SC_TRY(ops->layernorm_backward_input(s, d, d, sum, c->params[LN_W], mean, rstd, N, C, false));
    SC_TRY(ops->embedding_backward_weight(s, dw[WORDS], dw[POSITIONS], d, sc_block_ids(c, SC_SLOT_BERT_TOKENS), c->B,
                                          c->T, C, NULL));
    return ops->scatter_rows(s, dw[TYPES], d, sc_block_ids(c, SC_SLOT_BERT_SEGMENTS), N, C);
}

const sc_block_functions sc_bert_embedding = {.input = SC_SLOT_BERT_TOKENS,
                                              .forward = forward,
                                              .backward_input = backward_input,
                                              .backward_weight = backward_weight};
