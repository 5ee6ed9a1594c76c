/* GPT-2's transformer block, pre-LayerNorm (Radford et al. 2019; shapes as in its released code):
 *
 *   ln1 = LayerNorm (x)                                                   (N,C)
 *   qkv = ln1 Wqkv + bqkv                                                 (N,3C)
 *   att = softmax (q k^T / sqrt (HS), causal; dropout) v                  (N,C), NH heads of HS
 *   res = x + dropout (att Wproj + bproj)                                 (N,C)
 *   ln2 = LayerNorm (res)                                                 (N,C)
 *   fc  = ln2 Wfc + bfc,  gelu = GELU_tanh (fc)                           (N,4C)
 *   out = res + dropout (gelu Wmlp + bmlp)                                (N,C)
 *
 * Matrices are (in, out), as Conv1D keeps them. */
#include "worker/model/block.h"

enum { LN1_W, LN1_B, QKV_W, QKV_B, PROJ_W, PROJ_B, LN2_W, LN2_B, FC_W, FC_B, MLP_W, MLP_B };

static sc_attention_shape attention_shape(const sc_block_call *c)
{
    return (sc_attention_shape){
        .B = c->B, .T = c->T, .NH = c->model->heads, .HS = c->model->hidden / c->model->heads, .causal = true};
}

/* The keys and values of a sequence's first T tokens. */
static sc_status fill_cache(const sc_block_call *c, const float *qkv)
{
    size_t C = (size_t)c->model->hidden, context = (size_t)c->model->context, T = (size_t)c->T;
    for (size_t b = 0; b < (size_t)c->B; b++)
        for (size_t t = 0; t < T; t++) {
            const float *k = qkv + (b * T + t) * 3 * C + C;
            size_t to = (b * context + t) * C;
            SC_TRY(c->ops->copy(c->stream, c->k_cache + to, k, C * sizeof(float)));
            SC_TRY(c->ops->copy(c->stream, c->v_cache + to, k + C, C * sizeof(float)));
        }
    return SC_OK;
}

static sc_status attend(const sc_block_call *c, float *att, const float *qkv)
{
    sc_attention_shape shape = attention_shape(c);
    sc_dropout of_probs = sc_block_dropout(c, 0);
    if (c->k_cache && c->position > 0)
        return c->ops->attention_decode(c->stream, att, c->k_cache, c->v_cache, qkv, c->B, c->position,
                                        c->model->context, shape.NH, shape.HS);
    if (c->k_cache)
        SC_TRY(fill_cache(c, qkv));
    return c->ops->attention_forward(c->stream, att, sc_block_slot(c, SC_SLOT_LSE), qkv, &shape, &of_probs);
}

static sc_status forward(const sc_block_call *c, float *out)
{
    const sc_ops *ops = c->ops;
    sc_stream *s = c->stream;
    float *const *w = c->params;
    int B = c->B, T = c->T, N = B * T, C = c->model->hidden;
    size_t row = (size_t)T * (size_t)C; /* of one sequence */
    float epsilon = c->model->norm_epsilon;
    sc_dropout of_proj = sc_block_dropout(c, 1), of_mlp = sc_block_dropout(c, 2);

    float *x = sc_block_slot(c, SC_SLOT_X), *ln1 = sc_block_slot(c, SC_SLOT_LN1), *qkv = sc_block_slot(c, SC_SLOT_QKV);
    float *att = sc_block_slot(c, SC_SLOT_ATT), *res = sc_block_slot(c, SC_SLOT_RES);
    float *ln2 = sc_block_slot(c, SC_SLOT_LN2), *fc = sc_block_slot(c, SC_SLOT_FC),
          *gelu = sc_block_slot(c, SC_SLOT_GELU);

    SC_TRY(ops->layernorm_forward(s, ln1, sc_block_slot(c, SC_SLOT_LN1_MEAN), sc_block_slot(c, SC_SLOT_LN1_RSTD), x,
                                  w[LN1_W], w[LN1_B], N, C, epsilon));
    SC_TRY(ops->linear_forward(s, qkv, ln1, w[QKV_W], w[QKV_B], N, C, 3 * C, SC_IN_OUT));
    SC_TRY(attend(c, att, qkv));
    SC_TRY(ops->linear_forward(s, res, att, w[PROJ_W], w[PROJ_B], N, C, C, SC_IN_OUT));
    SC_TRY(ops->residual_forward(s, res, x, res, B, row, &of_proj));

    SC_TRY(ops->layernorm_forward(s, ln2, sc_block_slot(c, SC_SLOT_LN2_MEAN), sc_block_slot(c, SC_SLOT_LN2_RSTD), res,
                                  w[LN2_W], w[LN2_B], N, C, epsilon));
    SC_TRY(ops->linear_activation_forward(s, gelu, fc, ln2, w[FC_W], w[FC_B], N, C, 4 * C, SC_IN_OUT, SC_GELU_TANH));
    /* `out` may be x: where nothing is saved, all blocks share one set of slots. x was last read above. */
    SC_TRY(ops->linear_forward(s, out, gelu, w[MLP_W], w[MLP_B], N, 4 * C, C, SC_IN_OUT));
    return ops->residual_forward(s, out, res, out, B, row, &of_mlp);
}

/* d (N,C) is dout, then dres, then dx: each residual hands its gradient on unchanged and its branch adds to it. */
static sc_status backward_input(const sc_block_call *c, float *d)
{
    const sc_ops *ops = c->ops;
    sc_stream *s = c->stream;
    float *const *w = c->params;
    int B = c->B, T = c->T, N = B * T, C = c->model->hidden;
    size_t row = (size_t)T * (size_t)C;
    sc_attention_shape shape = attention_shape(c);
    sc_dropout of_probs = sc_block_dropout(c, 0), of_proj = sc_block_dropout(c, 1), of_mlp = sc_block_dropout(c, 2);

    float *dmlp = sc_block_slot(c, SC_SLOT_DMLP), *dfc = sc_block_slot(c, SC_SLOT_DFC);
    float *dln2 = sc_block_slot(c, SC_SLOT_DLN2), *dproj = sc_block_slot(c, SC_SLOT_DPROJ);
    float *datt = sc_block_slot(c, SC_SLOT_DATT), *dqkv = sc_block_slot(c, SC_SLOT_DQKV);
    float *dln1 = sc_block_slot(c, SC_SLOT_DLN1);

    SC_TRY(ops->dropout_backward(s, dmlp, d, B, row, &of_mlp));
    SC_TRY(ops->linear_activation_backward_input(s, dfc, sc_block_slot(c, SC_SLOT_FC), dmlp, w[MLP_W], N, 4 * C, C,
                                                 SC_IN_OUT, SC_GELU_TANH));
    SC_TRY(ops->linear_backward_input(s, dln2, dfc, w[FC_W], N, C, 4 * C, SC_IN_OUT));
    SC_TRY(ops->layernorm_backward_input(s, d, dln2, sc_block_slot(c, SC_SLOT_RES), w[LN2_W],
                                         sc_block_slot(c, SC_SLOT_LN2_MEAN), sc_block_slot(c, SC_SLOT_LN2_RSTD), N, C,
                                         true));

    SC_TRY(ops->dropout_backward(s, dproj, d, B, row, &of_proj));
    SC_TRY(ops->linear_backward_input(s, datt, dproj, w[PROJ_W], N, C, C, SC_IN_OUT));
    SC_TRY(ops->attention_backward(s, dqkv, datt, sc_block_slot(c, SC_SLOT_QKV), sc_block_slot(c, SC_SLOT_ATT),
                                   sc_block_slot(c, SC_SLOT_LSE), &shape, &of_probs));
    SC_TRY(ops->linear_backward_input(s, dln1, dqkv, w[QKV_W], N, C, 3 * C, SC_IN_OUT));
    return ops->layernorm_backward_input(s, d, dln1, sc_block_slot(c, SC_SLOT_X), w[LN1_W],
                                         sc_block_slot(c, SC_SLOT_LN1_MEAN), sc_block_slot(c, SC_SLOT_LN1_RSTD), N, C,
                                         true);
}

static sc_status backward_weight(const sc_block_call *c)
{
    const sc_ops *ops = c->ops;
    sc_stream *s = c->stream;
    float *const *dw = c->grads;
    int N = c->B * c->T, C = c->model->hidden;

    SC_TRY(ops->linear_backward_weight(s, dw[MLP_W], dw[MLP_B], sc_block_slot(c, SC_SLOT_GELU),
                                       sc_block_slot(c, SC_SLOT_DMLP), N, 4 * C, C, SC_IN_OUT));
    SC_TRY(ops->linear_backward_weight(s, dw[FC_W], dw[FC_B], sc_block_slot(c, SC_SLOT_LN2),
                                       sc_block_slot(c, SC_SLOT_DFC), N, C, 4 * C, SC_IN_OUT));
    SC_TRY(ops->layernorm_backward_weight(s, dw[LN2_W], dw[LN2_B], sc_block_slot(c, SC_SLOT_DLN2),
                                          sc_block_slot(c, SC_SLOT_RES), sc_block_slot(c, SC_SLOT_LN2_MEAN),
                                          sc_block_slot(c, SC_SLOT_LN2_RSTD), N, C));
    SC_TRY(ops->linear_backward_weight(s, dw[PROJ_W], dw[PROJ_B], sc_block_slot(c, SC_SLOT_ATT),
                                       sc_block_slot(c, SC_SLOT_DPROJ), N, C, C, SC_IN_OUT));
    SC_TRY(ops->linear_backward_weight(s, dw[QKV_W], dw[QKV_B], sc_block_slot(c, SC_SLOT_LN1),
                                       sc_block_slot(c, SC_SLOT_DQKV), N, C, 3 * C, SC_IN_OUT));
    return ops->layernorm_backward_weight(s, dw[LN1_W], dw[LN1_B], sc_block_slot(c, SC_SLOT_DLN1),
                                          sc_block_slot(c, SC_SLOT_X), sc_block_slot(c, SC_SLOT_LN1_MEAN),
                                          sc_block_slot(c, SC_SLOT_LN1_RSTD), N, C);
}

const sc_block_functions sc_gpt2_transformer = {
    .input = SC_SLOT_X, .forward = forward, .backward_input = backward_input, .backward_weight = backward_weight};
