/* GPipe: all forwards, then all backwards. A stage keeps all M micro-batches alive.
 *
 *   slot        0  1  2  3  4  5  6  7         S = 2, M = 3
 *   worker 0   F0 F1 F2  .  . B0 B1 B2
 *   worker 1    . F0 F1 F2 B0 B1 B2  .
 *
 * The paper runs the backwards last in, first out; here they run in ascending order, as PyTorch's ScheduleGPipe does, so
 * that weight gradients are added in micro-batch order. Bubble and memory are the same.
 * Source: Huang et al., "GPipe", NeurIPS 2019, fig. 2. */
#include "coordinator/schedule/schedule_list.h"

sc_status sc_schedule_gpipe(sc_plan *plan, int stage)
{
    for (int m = 0; m < plan->n_microbatches; m++)
        SC_TRY(sc_schedule_add_forward(plan, stage, m));
    for (int m = 0; m < plan->n_microbatches; m++)
        SC_TRY(sc_schedule_add_backward(plan, stage, m));
    return SC_OK;
}
