#include "coordinator/run/verdict.h"

#include <math.h>

sc_status sc_verdict_sums(const sc_step_result *result, const sc_loss_counts *counts, double sums[SC_MAX_LOSSES])
{
    if (result->n_losses != counts->n_microbatches * counts->n_losses)
        return SC_FAIL(SC_INVALID, "the last stage sent %d losses for %d micro-batches", result->n_losses,
                       counts->n_microbatches);
    for (int i = 0; i < counts->n_losses; i++) {
        sums[i] = 0;
        for (int m = 0; m < counts->n_microbatches; m++)
            sums[i] += result->loss_sums[m * counts->n_losses + i];
    }
    return SC_OK;
}

double sc_verdict_loss(const double sums[SC_MAX_LOSSES], const sc_loss_counts *counts)
{
    double loss = 0;
    for (int i = 0; i < counts->n_losses; i++)
        loss += sums[i] / (i == 0 && counts->weight > 0 ? counts->weight : (double)counts->n[i]);
    return loss;
}

sc_status sc_verdict_make(const sc_step_result *result, const sc_loss_counts *counts, int n_params, double clip_norm,
                          sc_verdict *out)
{
    double sums[SC_MAX_LOSSES];
    SC_TRY(sc_verdict_sums(result, counts, sums));
    out->loss = sc_verdict_loss(sums, counts);
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
