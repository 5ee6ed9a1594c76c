#include "coordinator/run/eval_windows.h"

#include <assert.h>

uint64_t sc_eval_windows_n(const sc_eval_windows *self)
{
    uint64_t T = (uint64_t)self->T;
    return (self->tokens.n - 1 + T - 1) / T;
}

uint64_t sc_eval_windows_n_microbatches(const sc_eval_windows *self)
{
    uint64_t B = (uint64_t)self->B;
    return (sc_eval_windows_n(self) + B - 1) / B;
}

int sc_eval_windows_rows(const sc_eval_windows *self, uint64_t microbatch)
{
    assert(microbatch < sc_eval_windows_n_microbatches(self));
    uint64_t rest = sc_eval_windows_n(self) - microbatch * (uint64_t)self->B;
    return rest < (uint64_t)self->B ? (int)rest : self->B;
}

sc_status sc_eval_windows_get(const sc_eval_windows *self, uint64_t microbatch, int32_t *tokens, int32_t *targets,
                              uint64_t *n_targets)
{
    /* Windows lie one behind the other, so those of a micro-batch are one stretch. */
    size_t room = (size_t)sc_eval_windows_rows(self, microbatch) * (size_t)self->T;
    uint64_t start = microbatch * (uint64_t)self->B * (uint64_t)self->T, rest = self->tokens.n - 1 - start;
    size_t n = rest < room ? (size_t)rest : room;
    SC_TRY(sc_tokens_read(&self->tokens, start, n, tokens));
    SC_TRY(sc_tokens_read(&self->tokens, start + 1, n, targets));
    for (size_t i = n; i < room; i++) {
        tokens[i] = 0;
        targets[i] = -1;
    }
    *n_targets = n;
    return SC_OK;
}
