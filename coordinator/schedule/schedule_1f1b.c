/* 1F1B: a warm-up of forwards, then one forward and one backward in turn, then the backwards that are left.
 *
 * Stage i warms up with min(S - i - 1, M) forwards, just as many as it can run before the first gradient comes back, so
 * that at most min(S - i, M) micro-batches are alive in it; the bubble is GPipe's.
 * Source: Harlap et al., "PipeDream", 2018; with a flush at the step's end, as Narayanan et al., "Efficient large-scale
 * language model training on GPU clusters using Megatron-LM", SC 2021, sec. 2.2.1. */
#include "coordinator/schedule/schedule_list.h"

sc_status sc_schedule_1f1b(sc_plan *plan, int stage)
{
    int M = plan->n_microbatches;
    int warm_up = sc_plan_n_stages(plan) - stage - 1;
    if (warm_up > M)
        warm_up = M;
    for (int m = 0; m < warm_up; m++)
        SC_TRY(sc_schedule_add_forward(plan, stage, m));
    for (int m = warm_up; m < M; m++) {
        SC_TRY(sc_schedule_add_forward(plan, stage, m));
        SC_TRY(sc_schedule_add_backward(plan, stage, m - warm_up));
    }
    for (int m = M - warm_up; m < M; m++)
        SC_TRY(sc_schedule_add_backward(plan, stage, m));
    return SC_OK;
}
