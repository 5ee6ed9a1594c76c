#include "coordinator/run/verdict.h"

#include <math.h>

sc_status sc_verdict_loss(const sc_step_result *result, int n_microbatches, uint64_t n_targets, double *loss)
{
    if (result->n_losses != n_microbatches)
        return SC_FAIL(SC_INVALID, "the last stage sent %d losses for %d micro-batches", result->n_losses,
                       n_microbatches);
    double sum = 0;
    for (int m = 0; m < n_microbatches; m++)
        sum += result->loss_sums[m];
    *loss = sum / (double)n_targets;
    return SC_OK;
}

sc_status sc_verdict_make(const sc_step_result *result, int n_microbatches, uint64_t n_targets, int n_params,
                          double clip_norm, sc_verdict *out)
{
    SC_TRY(sc_verdict_loss(result, n_microbatches, n_targets, &out->loss));
    double squares = 0;
    for (int i = 0; i < n_params; i++) {
        if (isnan(result->norm_squares[i]) && isfinite(out->loss))
            return SC_FAIL(SC_INVALID, "no stage sent a finite gradient norm of parameter %d", i);
        squares += result->norm_squares[i];
    }
    out->grad_norm = sqrt(squares);
    if (!isfinite(out->loss) || !isfinite(out->grad_norm))
        return SC_FAIL(
            SC_ABORTED,
            "training diverged: loss %g, gradient norm %g; the weights are those before this step; a smaller "
            "train.learning_rate, a longer train.warmup_steps or train.clip_norm helps",
            out->loss, out->grad_norm);
    double scale = clip_norm > 0 ? clip_norm / (out->grad_norm + 1e-6) : 1.0;
    out->grad_scale = scale < 1.0 ? (float)scale : 1.0f;
    return SC_OK;
}
