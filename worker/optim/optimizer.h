/* Optimizers: which moments they keep, and one parameter's update.
 *
 *   AdamW  two moments; decoupled decay (Loshchilov & Hutter 2019), torch.optim.AdamW's order of operations
 *   SGD    one, the velocity; torch.optim.SGD with momentum, no dampening
 * Weight decay applies to matrices alone (sc_param.decays). The clip scale multiplies the gradient in the same pass.
 *
 * Thread: the stage's. */
#ifndef SC_OPTIMIZER_H
#define SC_OPTIMIZER_H

#include "kernels/ops.h"
#include "proto/base/config.h"

typedef struct sc_optimizer {
    sc_optimizer_kind kind;
    float beta1, beta2, epsilon, weight_decay, momentum;
} sc_optimizer;

/* What a step's verdict says. */
typedef struct sc_optimizer_step {
    int64_t step; /* 1 for the first */
    float learning_rate;
    float grad_scale;
} sc_optimizer_step;

/* Tensors of a parameter's size that the optimizer keeps beside it. */
int sc_optimizer_n_moments(const sc_optimizer *self);

/* w and the moments are updated from grad, n elements each. moments: sc_optimizer_n_moments pointers. */
sc_status sc_optimizer_apply(const sc_optimizer *self, const sc_ops *ops, sc_stream *stream,
                             const sc_optimizer_step *step, bool decays, float *w, float *const *moments,
                             const float *grad, size_t n);

#endif
