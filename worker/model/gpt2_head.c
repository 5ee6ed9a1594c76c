/* GPT-2's head:  lnf = LayerNorm (x) (N,C);  logits = lnf decoder^T (N,V);  loss (N). In a tied model the decoder is the token
 * embedding; where both lie on one stage, their gradients are apart all the same (stage.h, invariant 3). */
#include "worker/model/block.h"

enum { LNF_W, LNF_B, DECODER };

/* Without targets only the next token is asked for: the last position of each sequence moves to the front of x, B rows
 * in all. Row b * T + T - 1 never lies before row b, so no row is overwritten before it was moved. */
static sc_status gather_last_rows(const sc_block_call *c, float *x)
{
    size_t C = (size_t)c->model->hidden, T = (size_t)c->T;
    if (T == 1)
        return SC_OK;
    for (size_t b = 0; b < (size_t)c->B; b++)
        SC_TRY(c->ops->copy(c->stream, x + b * C, x + (b * T + T - 1) * C, C * sizeof(float)));
    return SC_OK;
}

/* `out` is NULL: nothing follows a head. */
static sc_status forward(const sc_block_call *c, float *out)
{
    (void)out;
    const sc_ops *ops = c->ops;
    sc_stream *s = c->stream;
    float *const *w = c->params;
    int C = c->model->hidden, V = c->model->vocab, N = c->targets ? c->B * c->T : c->B;
    float *x = sc_block_slot(c, SC_SLOT_LNF_X), *lnf = sc_block_slot(c, SC_SLOT_LNF);
    float *logits = sc_block_slot(c, SC_SLOT_LOGITS);

    if (!c->targets)
        SC_TRY(gather_last_rows(c, x));
    SC_TRY(ops->layernorm_forward(s, lnf, sc_block_slot(c, SC_SLOT_LNF_MEAN), sc_block_slot(c, SC_SLOT_LNF_RSTD), x,
                                  w[LNF_W], w[LNF_B], N, C, c->model->norm_epsilon));
    SC_TRY(ops->linear_forward(s, logits, lnf, w[DECODER], NULL, N, C, V, SC_OUT_IN));
    if (!c->targets)
        return SC_OK;
    /* dlogits take the place of the logits: (N,V) is the largest tensor of a small model. */
    return ops->cross_entropy(s, sc_block_slot(c, SC_SLOT_LOSS), c->train ? logits : NULL, logits,
                              sc_block_ids(c, SC_SLOT_TARGETS), NULL, N, V, c->loss_scale);
}

/* d (N,C) = dx; what it held does not count. */
static sc_status backward_input(const sc_block_call *c, float *d)
{
    int C = c->model->hidden, V = c->model->vocab, N = c->B * c->T;
    float *dlnf = sc_block_slot(c, SC_SLOT_DLNF);
    SC_TRY(c->ops->linear_backward_input(c->stream, dlnf, sc_block_slot(c, SC_SLOT_LOGITS), c->params[DECODER], N, C, V,
                                         SC_OUT_IN));
    return c->ops->layernorm_backward_input(c->stream, d, dlnf, sc_block_slot(c, SC_SLOT_LNF_X), c->params[LNF_W],
                                            sc_block_slot(c, SC_SLOT_LNF_MEAN), sc_block_slot(c, SC_SLOT_LNF_RSTD), N,
                                            C, false);
}

static sc_status backward_weight(const sc_block_call *c)
{
    int C = c->model->hidden, V = c->model->vocab, N = c->B * c->T;
    if (c->grads[DECODER]) /* not frozen with the embedding */
        SC_TRY(c->ops->linear_backward_weight(c->stream, c->grads[DECODER], NULL, sc_block_slot(c, SC_SLOT_LNF),
                                              sc_block_slot(c, SC_SLOT_LOGITS), N, C, V, SC_OUT_IN));
    return c->ops->layernorm_backward_weight(
        c->stream, c->grads[LNF_W], c->grads[LNF_B], sc_block_slot(c, SC_SLOT_DLNF), sc_block_slot(c, SC_SLOT_LNF_X),
        sc_block_slot(c, SC_SLOT_LNF_MEAN), sc_block_slot(c, SC_SLOT_LNF_RSTD), N, C);
}

const sc_block_functions sc_gpt2_head = {
    .input = SC_SLOT_LNF_X,
    .forward = forward,
    .backward_input = backward_input,
    .backward_weight = backward_weight,
    .targets = SC_SLOT_TARGETS,
    .loss = SC_SLOT_LOSS,
    .logits = SC_SLOT_LOGITS,
};
