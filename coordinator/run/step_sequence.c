#include "coordinator/run/step_sequence.h"

static bool evaluates_after(const sc_step_sequence *self, int64_t step)
{
    const int64_t every = self->eval_every, epoch = self->eval_epoch;
    if (self->eval_runs == 0 || (every == 0 && epoch == 0))
        return false;
    return step == self->steps || (every > 0 && step % every == 0) || (epoch > 0 && step % epoch == 0);
}

bool sc_step_sequence_first(const sc_step_sequence *self, sc_step_item *item)
{
    *item = (sc_step_item){.sequence = self->first_sequence, .step = self->first_step};
    if (self->first_step > 1 && self->first_step - 1 != self->evaluated_step &&
        evaluates_after(self, self->first_step - 1)) {
        item->step--;
        item->eval = true;
        return true;
    }
    return self->first_step <= self->steps;
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
