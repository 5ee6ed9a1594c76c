#include "coordinator/run/step_sequence.h"

bool sc_step_sequence_first(const sc_step_sequence *self, sc_step_item *item)
{
    *item = (sc_step_item){.sequence = 1, .step = self->first_step};
    return self->first_step <= self->steps;
}

static bool evaluates_after(const sc_step_sequence *self, int64_t step)
{
    return self->eval_runs > 0 && self->eval_every > 0 && (step % self->eval_every == 0 || step == self->steps);
}

bool sc_step_sequence_next(const sc_step_sequence *self, sc_step_item *item)
{
    item->sequence++;
    if (!item->eval && evaluates_after(self, item->step)) {
        item->eval = true;
        item->run = 0;
        return true;
    }
    if (item->eval && ++item->run < self->eval_runs)
        return true;
    item->eval = false;
    item->run = 0;
    return ++item->step <= self->steps;
}
