/* BERT's transformer block, post-LayerNorm (Devlin et al. 2018; shapes as in its released code):
 *
 *   qkv  = x Wqkv^T + bqkv                                               (N,3C)
 *   att  = softmax (q k^T / sqrt (HS), keys below the length; dropout) v (N,C), NH heads of HS
 *   res1 = x + dropout (att Wproj^T + bproj)                             (N,C)
 *   ln1  = LayerNorm (res1)                                              (N,C)
 *   fc   = ln1 Wfc^T + bfc,  gelu = GELU_erf (fc)                        (N,I)
 *   res2 = ln1 + dropout (gelu Wmlp^T + bmlp)                            (N,C)
 *   out  = LayerNorm (res2)                                              (N,C)
 *
 * Matrices are (out, in), as nn.Linear keeps them. Those of q, k and v lie one behind the other, and so do their biases
 * (proto/base/model.h): Q_W is the (3C,C) of all three, Q_B the (3C).
 *
 * Rows of padding are computed like all others; no row that is not padding reads them. */
#include "worker/model/block.h"

#include <assert.h>

enum { Q_W, K_W, V_W, Q_B, K_B, V_B, PROJ_W, PROJ_B, LN1_W, LN1_B, FC_W, FC_B, MLP_W, MLP_B, LN2_W, LN2_B };

static sc_attention_shape attention_shape(const sc_block_call *c)
{
    return (sc_attention_shape){
        .B = c->B, .T = c->T, .NH = c->model->heads, .HS = c->model->hidden / c->model->heads, .lengths = c->lengths};
}

static inline bool are_one(float *const *w, size_t C)
{
    return w[K_W] == w[Q_W] + C * C && w[V_W] == w[K_W] + C * C && w[K_B] == w[Q_B] + C && w[V_B] == w[K_B] + C;
}

static sc_status forward(const sc_block_call *c, float *out)
{
    const sc_ops *ops = c->ops;
    sc_stream *s = c->stream;
    float *const *w = c->params;
    int B = c->B, N = B * c->T, C = c->model->hidden, I = sc_model_intermediate(c->model);
    size_t row = (size_t)c->T * (size_t)C; /* of one sequence */
    float epsilon = c->model->norm_epsilon;
    sc_attention_shape shape = attention_shape(c);
    sc_dropout of_probs = sc_block_dropout(c, 0), of_proj = sc_block_dropout(c, 1), of_mlp = sc_block_dropout(c, 2);
    assert(are_one(w, (size_t)C));

    float *x = sc_block_slot(c, SC_SLOT_BERT_X), *qkv = sc_block_slot(c, SC_SLOT_BERT_QKV);
    float *att = sc_block_slot(c, SC_SLOT_BERT_ATT), *res1 = sc_block_slot(c, SC_SLOT_BERT_RES1);
    float *ln1 = sc_block_slot(c, SC_SLOT_BERT_LN1), *fc = sc_block_slot(c, SC_SLOT_BERT_FC);
    float *gelu = sc_block_slot(c, SC_SLOT_BERT_GELU), *res2 = sc_block_slot(c, SC_SLOT_BERT_RES2);

    SC_TRY(ops->linear_forward(s, qkv, x, w[Q_W], w[Q_B], N, C, 3 * C, SC_OUT_IN));
    SC_TRY(ops->attention_forward(s, att, sc_block_slot(c, SC_SLOT_BERT_LSE), qkv, &shape, &of_probs));
    SC_TRY(ops->linear_forward(s, res1, att, w[PROJ_W], w[PROJ_B], N, C, C, SC_OUT_IN));
    SC_TRY(ops->residual_forward(s, res1, x, res1, B, row, &of_proj));
    SC_TRY(ops->layernorm_forward(s, ln1, sc_block_slot(c, SC_SLOT_BERT_LN1_MEAN),
                                  sc_block_slot(c, SC_SLOT_BERT_LN1_RSTD), res1, w[LN1_W], w[LN1_B], N, C, epsilon));

    SC_TRY(ops->linear_activation_forward(s, gelu, fc, ln1, w[FC_W], w[FC_B], N, C, I, SC_OUT_IN, SC_GELU_ERF));
    SC_TRY(ops->linear_forward(s, res2, gelu, w[MLP_W], w[MLP_B], N, I, C, SC_OUT_IN));
    SC_TRY(ops->residual_forward(s, res2, ln1, res2, B, row, &of_mlp));
    /* `out` may be x: where nothing is saved, all blocks share one set of slots. x was last read above. */
    return ops->layernorm_forward(s, out, sc_block_slot(c, SC_SLOT_BERT_LN2_MEAN),
                                  sc_block_slot(c, SC_SLOT_BERT_LN2_RSTD), res2, w[LN2_W], w[LN2_B], N, C, epsilon);
}

/* d (N,C) is dout, dres2, dres1, then dx. */
static sc_status backward_input(const sc_block_call *c, float *d)
{
    const sc_ops *ops = c->ops;
    sc_stream *s = c->stream;
    float *const *w = c->params;
    int B = c->B, N = B * c->T, C = c->model->hidden, I = sc_model_intermediate(c->model);
    size_t row = (size_t)c->T * (size_t)C, all = (size_t)N * (size_t)C;
    sc_attention_shape shape = attention_shape(c);
    sc_dropout of_probs = sc_block_dropout(c, 0), of_proj = sc_block_dropout(c, 1), of_mlp = sc_block_dropout(c, 2);

    float *dmlp = sc_block_slot(c, SC_SLOT_BERT_DMLP), *dfc = sc_block_slot(c, SC_SLOT_BERT_DFC);
    float *dln1 = sc_block_slot(c, SC_SLOT_BERT_DLN1), *dproj = sc_block_slot(c, SC_SLOT_BERT_DPROJ);
    float *dqkv = sc_block_slot(c, SC_SLOT_BERT_DQKV), *datt = sc_block_slot(c, SC_SLOT_BERT_DATT);

    SC_TRY(ops->copy(s, sc_block_slot(c, SC_SLOT_BERT_DOUT), d, all * sizeof *d));
    SC_TRY(ops->layernorm_backward_input(s, d, d, sc_block_slot(c, SC_SLOT_BERT_RES2), w[LN2_W],
                                         sc_block_slot(c, SC_SLOT_BERT_LN2_MEAN),
                                         sc_block_slot(c, SC_SLOT_BERT_LN2_RSTD), N, C, false));
    SC_TRY(ops->dropout_backward(s, dmlp, d, B, row, &of_mlp));
    SC_TRY(ops->linear_activation_backward_input(s, dfc, sc_block_slot(c, SC_SLOT_BERT_FC), dmlp, w[MLP_W], N, I, C,
                                                 SC_OUT_IN, SC_GELU_ERF));
    SC_TRY(ops->linear_backward_input(s, dln1, dfc, w[FC_W], N, C, I, SC_OUT_IN));
    SC_TRY(ops->add(s, dln1, d, all));

    SC_TRY(ops->layernorm_backward_input(s, d, dln1, sc_block_slot(c, SC_SLOT_BERT_RES1), w[LN1_W],
                                         sc_block_slot(c, SC_SLOT_BERT_LN1_MEAN),
                                         sc_block_slot(c, SC_SLOT_BERT_LN1_RSTD), N, C, false));
    SC_TRY(ops->dropout_backward(s, dproj, d, B, row, &of_proj));
    SC_TRY(ops->linear_backward_input(s, datt, dproj, w[PROJ_W], N, C, C, SC_OUT_IN));
    SC_TRY(ops->attention_backward(s, dqkv, datt, sc_block_slot(c, SC_SLOT_BERT_QKV),
                                   sc_block_slot(c, SC_SLOT_BERT_ATT), sc_block_slot(c, SC_SLOT_BERT_LSE), &shape,
                                   &of_probs));
    float *branch = datt; /* free again */
    SC_TRY(ops->linear_backward_input(s, branch, dqkv, w[Q_W], N, C, 3 * C, SC_OUT_IN));
    return ops->add(s, d, branch, all);
}

static sc_status backward_weight(const sc_block_call *c)
{
    const sc_ops *ops = c->ops;
    sc_stream *s = c->stream;
    float *const *dw = c->grads;
    int N = c->B * c->T, C = c->model->hidden, I = sc_model_intermediate(c->model);
    assert(are_one(dw, (size_t)C));

    SC_TRY(ops->layernorm_backward_weight(s, dw[LN2_W], dw[LN2_B], sc_block_slot(c, SC_SLOT_BERT_DOUT),
                                          sc_block_slot(c, SC_SLOT_BERT_RES2), sc_block_slot(c, SC_SLOT_BERT_LN2_MEAN),
                                          sc_block_slot(c, SC_SLOT_BERT_LN2_RSTD), N, C));
    SC_TRY(ops->linear_backward_weight(s, dw[MLP_W], dw[MLP_B], sc_block_slot(c, SC_SLOT_BERT_GELU),
                                       sc_block_slot(c, SC_SLOT_BERT_DMLP), N, I, C, SC_OUT_IN));
    SC_TRY(ops->linear_backward_weight(s, dw[FC_W], dw[FC_B], sc_block_slot(c, SC_SLOT_BERT_LN1),
                                       sc_block_slot(c, SC_SLOT_BERT_DFC), N, C, I, SC_OUT_IN));
    SC_TRY(ops->layernorm_backward_weight(s, dw[LN1_W], dw[LN1_B], sc_block_slot(c, SC_SLOT_BERT_DLN1),
                                          sc_block_slot(c, SC_SLOT_BERT_RES1), sc_block_slot(c, SC_SLOT_BERT_LN1_MEAN),
                                          sc_block_slot(c, SC_SLOT_BERT_LN1_RSTD), N, C));
    SC_TRY(ops->linear_backward_weight(s, dw[PROJ_W], dw[PROJ_B], sc_block_slot(c, SC_SLOT_BERT_ATT),
                                       sc_block_slot(c, SC_SLOT_BERT_DPROJ), N, C, C, SC_OUT_IN));
    return ops->linear_backward_weight(s, dw[Q_W], dw[Q_B], sc_block_slot(c, SC_SLOT_BERT_X),
                                       sc_block_slot(c, SC_SLOT_BERT_DQKV), N, C, 3 * C, SC_OUT_IN);
}

const sc_block_functions sc_bert_transformer = {
    .input = SC_SLOT_BERT_X, .forward = forward, .backward_input = backward_input, .backward_weight = backward_weight};
