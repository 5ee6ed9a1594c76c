#include "worker/optim/optimizer.h"

int sc_optimizer_n_moments(const sc_optimizer *self)
{
    return self->kind == SC_ADAMW ? 2 : 1;
}

sc_status sc_optimizer_apply(const sc_optimizer *self, const sc_ops *ops, sc_stream *stream,
                             const sc_optimizer_step *step, bool decays, float *w, float *const *moments,
                             const float *grad, size_t n)
{
    float weight_decay = decays ? self->weight_decay : 0.0f;
    if (self->kind == SC_ADAMW) {
        sc_adamw h = {.learning_rate = step->learning_rate,
                      .beta1 = self->beta1,
                      .beta2 = self->beta2,
                      .epsilon = self->epsilon,
                      .weight_decay = weight_decay,
                      .grad_scale = step->grad_scale,
                      .step = step->step};
        return ops->adamw(stream, w, moments[0], moments[1], grad, n, &h);
    }
    sc_sgd h = {.learning_rate = step->learning_rate,
                .momentum = self->momentum,
                .weight_decay = weight_decay,
                .grad_scale = step->grad_scale,
                .step = step->step};
    return ops->sgd(stream, w, moments[0], grad, n, &h);
}
