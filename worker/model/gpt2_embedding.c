/* GPT-2's embedding:  out = dropout (wte[token] + wpe[position + t]). */
#include "worker/model/block.h"

enum { WTE, WPE };

static sc_status forward(const sc_block_call *c, float *out)
{
    sc_dropout dropout = sc_block_dropout(c, 0);
    const float *wpe = c->params[WPE] + (size_t)c->position * (size_t)c->model->hidden;
    return c->ops->embedding_forward(c->stream, out, sc_block_ids(c, SC_SLOT_TOKENS), c->params[WTE], wpe, c->B, c->T,
                                     c->model->hidden, &dropout);
}

/* Tokens have no gradient: d is only kept until backward_weight, as the next micro-batch's may come before. */
static sc_status backward_input(const sc_block_call *c, float *d)
{
    size_t n = (size_t)c->B * (size_t)c->T * (size_t)c->model->hidden;
    return c->ops->copy(c->stream, sc_block_slot(c, SC_SLOT_DEMBED), d, n * sizeof(float));
}

static sc_status backward_weight(const sc_block_call *c)
{
    sc_dropout dropout = sc_block_dropout(c, 0);
    return c->ops->embedding_backward_weight(c->stream, c->grads[WTE], c->grads[WPE], sc_block_slot(c, SC_SLOT_DEMBED),
                                             sc_block_ids(c, SC_SLOT_TOKENS), c->B, c->T, c->model->hidden, &dropout);
}

const sc_block_functions sc_gpt2_embedding = {
    .input = SC_SLOT_TOKENS, .forward = forward, .backward_input = backward_input, .backward_weight = backward_weight};
