#include "worker/model/bert_pooler.h"

sc_status sc_bert_pooler_forward(const sc_block_call *c, const sc_bert_pooler *p, const float *x)
{
    size_t C = (size_t)c->model->hidden, T = (size_t)c->T;
    for (size_t b = 0; b < (size_t)c->B; b++)
        SC_TRY(c->ops->copy(c->stream, p->first + b * C, x + b * T * C, C * sizeof *x));
    return c->ops->linear_activation_forward(c->stream, p->pooled, p->pre, p->first, p->w, p->b, c->B, (int)C, (int)C,
                                             SC_OUT_IN, SC_TANH);
}

sc_status sc_bert_pooler_backward_input(const sc_block_call *c, const sc_bert_pooler *p, float *d)
{
    size_t C = (size_t)c->model->hidden, T = (size_t)c->T;
    SC_TRY(c->ops->linear_backward_input(c->stream, p->dfirst, p->dpre, p->w, c->B, (int)C, (int)C, SC_OUT_IN));
    for (size_t b = 0; b < (size_t)c->B; b++)
        SC_TRY(c->ops->add(c->stream, d + b * T * C, p->dfirst + b * C, C));
    return SC_OK;
}

sc_status sc_bert_pooler_backward_weight(const sc_block_call *c, const sc_bert_pooler *p)
{
    int C = c->model->hidden;
    return c->ops->linear_backward_weight(c->stream, p->dw, p->db, p->first, p->dpre, c->B, C, C, SC_OUT_IN);
}
