/* What the coordinator concludes from the votes of a step: loss, global norm, clip scale. Pure; every sum has one order,
 * so the bits depend on neither the partition nor who answered first. */
#ifndef SC_VERDICT_H
#define SC_VERDICT_H

#include "coordinator/run/cluster.h"

typedef struct sc_verdict {
    double loss;      /* mean over the step's targets, summed in micro-batch order */
    double grad_norm; /* global 2-norm, its squares summed in the model's own parameter order; before clipping */
    float grad_scale; /* min (1, clip_norm / (grad_norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ */
} sc_verdict;

/* The loss alone, for forward-only items. Errors: SC_INVALID if the number of losses is not n_microbatches. */
sc_status sc_verdict_loss(const sc_step_result *result, int n_microbatches, uint64_t n_targets, double *loss);
/* clip_norm 0: no clipping. Errors: as above; SC_INVALID if a parameter has no vote; SC_ABORTED if the loss or the norm is
 * not finite: applying it would destroy the weights. */
sc_status sc_verdict_make(const sc_step_result *result, int n_microbatches, uint64_t n_targets, int n_params,
                          double clip_norm, sc_verdict *out);

#endif
