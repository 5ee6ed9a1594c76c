/* What the coordinator concludes from the votes of a step: loss, global norm, clip scale. Pure; every sum has one order,
 * so the bits depend on neither the partition nor who answered first. */
#ifndef SC_VERDICT_H
#define SC_VERDICT_H

#include "coordinator/run/cluster.h"

typedef struct sc_verdict {
    double loss;      /* mean over the step's targets, summed in micro-batch order; in pre-training of both, added */
    double grad_norm; /* global 2-norm, its squares summed in the model's own parameter order; before clipping */
    float grad_scale; /* min (1, clip_norm / (grad_norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ */
} sc_verdict;

/* What a step's sums of losses are of, and divided by. */
typedef struct sc_loss_counts {
    int n_microbatches;
    int n_losses;              /* sc_model_n_losses */
    uint64_t n[SC_MAX_LOSSES]; /* targets; in pre-training of masked words, and sequences */
    double weight; /* with class weights, of a step that trains: that of the n[0] targets together; else 0 */
} sc_loss_counts;

/* The losses alone, for forward-only items: each kind summed over the micro-batches, not yet divided. Errors: SC_INVALID if there
 * are not n_losses of each micro-batch. */
sc_status sc_verdict_sums(const sc_step_result *result, const sc_loss_counts *counts, double sums[SC_MAX_LOSSES]);
/* The sum of the means. */
double sc_verdict_loss(const double sums[SC_MAX_LOSSES], const sc_loss_counts *counts);
/* clip_norm 0: no clipping. Errors: as above; SC_INVALID if a parameter has no vote; SC_ABORTED if the loss or the norm is
 * not finite: applying it would destroy the weights. */
sc_status sc_verdict_make(const sc_step_result *result, const sc_loss_counts *counts, int n_params, double clip_norm,
                          sc_verdict *out);

#endif
