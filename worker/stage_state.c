/* A stage's state by the names of its parameters: read for a checkpoint, written from one, under any partition. */
#include "worker/stage_internal.h"

#include <inttypes.h>
#include <string.h>

/* The address of bytes [from, from + n) of a parameter's state; NULL: of moments that it would have, were it not frozen. */
static sc_status find_state(const sc_stage *self, const char *name, sc_state_kind kind, uint64_t from, uint64_t n,
                            char **out)
{
    const sc_stage_param *param = NULL;
    for (int i = 0; i < self->n_params && !param; i++)
        if (strcmp(self->params[i].info.name, name) == 0)
            param = &self->params[i];
    if (!param)
        return SC_FAIL(SC_NOT_FOUND, "this stage (blocks %d to %d) has no parameter '%s'",
                       self->options.slice.first_block,
                       self->options.slice.first_block + self->options.slice.n_blocks - 1, name);

    float *state = NULL;
    int n_moments = self->options.train ? sc_optimizer_n_moments(&self->options.optimizer) : 0;
    if (kind == SC_STATE_PARAMETER)
        state = sc_stage_at(&self->params_arena, param->offset);
    else if (kind == SC_STATE_GRADIENT)
        state = param->learns ? sc_stage_gradient(self, param) : NULL;
    else if ((int)kind - SC_STATE_FIRST_MOMENT < n_moments && param->learns)
        state = sc_stage_moment(self, param, (int)kind - SC_STATE_FIRST_MOMENT);
    bool zero = kind != SC_STATE_GRADIENT && (int)kind - SC_STATE_FIRST_MOMENT < n_moments && !param->learns;
    if (!state && !zero)
        return SC_FAIL(SC_NOT_FOUND, "this stage keeps no %s of '%s'",
                       kind == SC_STATE_GRADIENT ? "gradient" : "such moment", name);

    uint64_t bytes = param->elements * sizeof(float);
    if (from > bytes || n > bytes - from)
        return SC_FAIL(SC_OUT_OF_RANGE, "bytes %" PRIu64 " to %" PRIu64 " of '%s', which has %" PRIu64, from, from + n,
                       name, bytes);
    *out = state ? (char *)state + from : NULL;
    return SC_OK;
}

sc_status sc_stage_read_state(sc_stage *self, const char *name, sc_state_kind kind, uint64_t from, uint64_t n,
                              void *out)
{
    char *state = NULL;
    SC_TRY(find_state(self, name, kind, from, n, &state));
    if (!state) {
        memset(out, 0, (size_t)n);
        return SC_OK;
    }
    SC_TRY(self->options.ops->copy_out(self->options.stream, out, state, (size_t)n));
    return self->options.ops->stream_sync(self->options.stream);
}

sc_status sc_stage_write_state(sc_stage *self, const char *name, sc_state_kind kind, uint64_t from, uint64_t n,
                               const void *data)
{
    char *state = NULL;
    SC_TRY(find_state(self, name, kind, from, n, &state));
    if (!state)
        return SC_OK;
    if (kind == SC_STATE_PARAMETER)
        sc_stage_empty_cache(self);
    SC_TRY(self->options.ops->copy_in(self->options.stream, state, data, (size_t)n));
    return self->options.ops->stream_sync(self->options.stream);
}
