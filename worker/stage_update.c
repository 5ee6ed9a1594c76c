/* The end of a step: the tied matrix's two gradients become one, norms are voted, the optimizer is applied. */
#include "worker/stage_internal.h"

#include <inttypes.h>

/* --- the tied matrix ----------------------------------------------------------------------------------------------- */

const sc_stage_param *sc_stage_tied_param(const sc_stage *self)
{
    int tied = sc_model_tied_param(&self->options.model);
    for (int i = 0; i < self->n_params && sc_model_exchanges_tied(&self->options.model); i++)
        if (self->params[i].info.ordinal == tied)
            return &self->params[i];
    return NULL;
}

float *sc_stage_tied_head_gradient(const sc_stage *self)
{
    bool both = sc_stage_is_first(self) && sc_stage_is_last(self) && sc_stage_tied_param(self);
    return both ? sc_stage_at(&self->gradients_arena, self->learning_bytes) : NULL;
}

uint64_t sc_stage_tied_elements(const sc_stage *self)
{
    const sc_stage_param *tied = sc_stage_tied_param(self);
    return tied ? tied->elements : 0;
}

static sc_status check_trains(const sc_stage *self)
{
    if (!self->options.train)
        return SC_FAIL(SC_FAILED_PRECONDITION, "this stage was made for forward only; it has no gradients");
    return SC_OK;
}

static sc_status check_tied_range(const sc_stage *self, uint64_t first, uint64_t n)
{
    SC_TRY(check_trains(self));
    uint64_t elements = sc_stage_tied_elements(self);
    if (first > elements || n > elements - first)
        return SC_FAIL(SC_OUT_OF_RANGE,
                       "elements %" PRIu64 " to %" PRIu64 " of the tied matrix's gradient, which has %" PRIu64
                       " in this stage",
                       first, first + n, elements);
    return SC_OK;
}

/* In a stage with both sides: the embedding's, and once reduced their sum. */
sc_status sc_stage_read_tied(sc_stage *self, uint64_t first, uint64_t n, float *out)
{
    SC_TRY(check_tied_range(self, first, n));
    if (n == 0)
        return SC_OK;
    const sc_stage_options *o = &self->options;
    const float *d = sc_stage_gradient(self, sc_stage_tied_param(self)) + first;
    SC_TRY(o->ops->copy_out(o->stream, out, d, (size_t)n * sizeof(float)));
    return o->ops->stream_sync(o->stream);
}

/* a + b has the same bits as b + a, so the first and the last stage come to the same sum. */
sc_status sc_stage_add_tied(sc_stage *self, uint64_t first, uint64_t n, const float *other)
{
    SC_TRY(check_tied_range(self, first, n));
    if (sc_stage_tied_head_gradient(self))
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "this stage has both sides of the tied matrix; it has no other side to add");
    const sc_stage_options *o = &self->options;
    for (uint64_t done = 0, piece; done < n; done += piece) {
        piece = n - done < SC_STAGE_TIED_PIECE ? n - done : SC_STAGE_TIED_PIECE;
        float *d = sc_stage_gradient(self, sc_stage_tied_param(self)) + first + done;
        SC_TRY(o->ops->copy_in(o->stream, self->areas.staging, other + done, (size_t)piece * sizeof(float)));
        SC_TRY(o->ops->add(o->stream, d, self->areas.staging, (size_t)piece));
    }
    self->tied_added += n;
    return o->ops->stream_sync(o->stream);
}

sc_status sc_stage_reduce_tied_local(sc_stage *self)
{
    SC_TRY(check_trains(self));
    float *head = sc_stage_tied_head_gradient(self);
    if (!head || self->tied_added != 0)
        return SC_FAIL(
            SC_FAILED_PRECONDITION, "%s",
            head ? "the tied matrix's gradient is already reduced in this step"
                 : "this stage does not have both sides of the tied matrix; exchange them with the other stage");
    const sc_stage_param *tied = sc_stage_tied_param(self);
    self->tied_added = tied->elements;
    return self->options.ops->add(self->options.stream, sc_stage_gradient(self, tied), head, (size_t)tied->elements);
}

/* Two copies of the matrix that got different updates would never be found out by their losses alone. */
static sc_status check_reduced(const sc_stage *self)
{
    uint64_t elements = sc_stage_tied_elements(self);
    if (self->tied_added != elements)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "%" PRIu64 " of the tied matrix's %" PRIu64
                       " gradient elements are reduced; the exchange must be "
                       "complete before the step",
                       self->tied_added, elements);
    return SC_OK;
}

/* --- norms and the optimizer --------------------------------------------------------------------------------------- */

/* The head's copy of the tied matrix is the first stage's to vote for. */
static bool votes(const sc_stage *self, const sc_stage_param *param)
{
    if (!param->learns)
        return false;
    return param->info.ordinal != sc_model_tied_param(&self->options.model) || sc_stage_is_first(self);
}

int sc_stage_n_norms(const sc_stage *self)
{
    int n = 0;
    for (int i = 0; i < self->n_params; i++)
        n += votes(self, &self->params[i]);
    return n;
}

sc_status sc_stage_norms(sc_stage *self, int *ordinals, double *sum_squares)
{
    SC_TRY(check_trains(self));
    SC_TRY(check_reduced(self));
    const sc_stage_options *o = &self->options;
    int n = 0;
    for (int i = 0; i < self->n_params; i++) {
        const sc_stage_param *param = &self->params[i];
        if (!votes(self, param))
            continue;
        SC_TRY(o->ops->sum_squares(o->stream, self->areas.sums + n, sc_stage_gradient(self, param),
                                   (size_t)param->elements));
        ordinals[n++] = param->info.ordinal;
    }
    if (n > 0)
        SC_TRY(o->ops->copy_out(o->stream, sum_squares, self->areas.sums, (size_t)n * sizeof(double)));
    return o->ops->stream_sync(o->stream);
}

sc_status sc_stage_apply(sc_stage *self, int64_t optimizer_step, float grad_scale, float learning_rate)
{
    SC_TRY(check_trains(self));
    SC_TRY(check_reduced(self));
    const sc_stage_options *o = &self->options;
    sc_optimizer_step step = {.step = optimizer_step, .learning_rate = learning_rate, .grad_scale = grad_scale};
    for (int i = 0; i < self->n_params; i++) {
        const sc_stage_param *param = &self->params[i];
        if (!param->learns)
            continue;
        float *moments[2] = {sc_stage_moment(self, param, 0), NULL};
        if (sc_optimizer_n_moments(&o->optimizer) > 1)
            moments[1] = sc_stage_moment(self, param, 1);
        SC_TRY(sc_optimizer_apply(&o->optimizer, o->ops, o->stream, &step, param->info.decays,
                                  sc_stage_at(&self->params_arena, param->offset), moments,
                                  sc_stage_gradient(self, param), (size_t)param->elements));
    }
    if (self->gradients_arena.memory) /* a stage may be frozen as a whole */
        SC_TRY(o->ops->zero(o->stream, self->gradients_arena.memory, (size_t)self->gradients_arena.bytes));
    self->tied_added = 0;
    return o->ops->stream_sync(o->stream);
}
