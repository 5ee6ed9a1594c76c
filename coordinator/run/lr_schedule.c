#include "coordinator/run/lr_schedule.h"

#include <math.h>

/* How far `step` is on the way from `from` to `to`, 0 .. 1. */
static double share(int64_t step, int64_t from, int64_t to)
{
    return step >= to ? 1 : step <= from ? 0 : (double)(step - from) / (double)(to - from);
}

double sc_lr_at(const sc_config *config, int64_t steps, int64_t step)
{
    const double peak = config->train.learning_rate, low = config->train.min_learning_rate;
    const int64_t warmup = config->train.warmup_share > 0 ? (int64_t)ceil(config->train.warmup_share * (double)steps)
                                                          : config->train.warmup_steps;
    if (step <= warmup)
        return peak * (double)step / (double)warmup;
    switch ((sc_lr_kind)config->train.lr_schedule) {
    case SC_LR_CONSTANT:
        return peak;
    case SC_LR_LINEAR:
        return peak + (low - peak) * share(step, warmup, steps);
    case SC_LR_COSINE:
        return low + (peak - low) * 0.5 * (1 + cos(3.14159265358979323846 * share(step, warmup, steps)));
    case SC_LR_WSD:
        return config->train.decay_steps == 0
                   ? peak
                   : peak + (low - peak) * share(step, steps - config->train.decay_steps, steps);
    }
    return peak;
}
