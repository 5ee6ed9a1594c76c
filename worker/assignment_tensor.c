/* What an assignment says of the tensors that may come, and of how many micro-batches a stage has at once. */
#include "worker/assignment.h"

#include <inttypes.h>

void sc_assignment_in_flight(const sc_assignment *self, int stage, int *max_alive, int *max_split)
{
    *max_alive = 1; /* what a forward-only plan needs, and a stage that is frozen */
    *max_split = 0;
    for (int i = 0; i < self->n_plans; i++) {
        if (self->plans[i]->mode != SC_PLAN_TRAIN || stage < self->plans[i]->n_frozen)
            continue;
        const sc_action_list *list = &self->plans[i]->workers[self->worker];
        int alive = 0, split = 0;
        for (int a = 0; a < list->n; a++) {
            if (list->actions[a].stage != stage)
                continue;
            switch (list->actions[a].kind) {
            case SC_ACT_FORWARD:
                alive++;
                break;
            case SC_ACT_BACKWARD:
                alive--;
                break;
            case SC_ACT_BACKWARD_INPUT:
                split++;
                break;
            case SC_ACT_BACKWARD_WEIGHT:
                split--;
                alive--;
                break;
            default:
                break;
            }
            if (alive > *max_alive)
                *max_alive = alive;
            if (split > *max_split)
                *max_split = split;
        }
    }
}

static uint64_t tied_elements(const sc_assignment *self)
{
    int ordinal = sc_model_tied_param(&self->model);
    uint64_t elements = 0;
    if (sc_model_exchanges_tied(&self->model)) {
        sc_param param = sc_model_param(&self->model, ordinal);
        if (sc_shape_elements(&param.shape, &elements) != SC_OK)
            return 0;
    }
    return elements;
}

uint32_t sc_assignment_tied_parts(const sc_assignment *self)
{
    return (uint32_t)((tied_elements(self) + SC_TIED_PART_ELEMENTS - 1) / SC_TIED_PART_ELEMENTS);
}

uint64_t sc_assignment_tied_part_elements(const sc_assignment *self, uint32_t part)
{
    uint64_t first = (uint64_t)part * SC_TIED_PART_ELEMENTS, elements = tied_elements(self);
    if (first >= elements)
        return 0;
    return elements - first < SC_TIED_PART_ELEMENTS ? elements - first : SC_TIED_PART_ELEMENTS;
}

int sc_assignment_sender(const sc_assignment *self, const sc_tensor_name *name)
{
    int v = (int)name->stage;
    switch (name->kind) {
    case STAGECOACH__V1__TENSOR_KIND__ACTIVATION:
        return sc_assignment_worker_of(self, v - 1);
    case STAGECOACH__V1__TENSOR_KIND__GRADIENT:
        return sc_assignment_worker_of(self, v + 1);
    case STAGECOACH__V1__TENSOR_KIND__TIED_GRADIENT:
        return sc_assignment_worker_of(self, self->n_stages - 1 - v);
    default:
        return SC_COORDINATOR;
    }
}

/* Every axis is at least 1 and at most (`exact`: equal to) what is allowed. */
static bool shape_fits(const sc_shape *shape, const sc_shape *most, int first_exact)
{
    if (shape->n_dims != most->n_dims)
        return false;
    for (int i = 0; i < shape->n_dims; i++)
        if (shape->dims[i] < 1 || shape->dims[i] > most->dims[i] ||
            (i >= first_exact && shape->dims[i] != most->dims[i]))
            return false;
    return true;
}

sc_status sc_assignment_check_tensor(const sc_assignment *self, const sc_tensor_name *name, sc_dtype dtype,
                                     const sc_shape *shape)
{
    int last = self->n_stages - 1, v = name->stage <= (uint32_t)last ? (int)name->stage : -1;
    if (v < 0 || sc_assignment_worker_of(self, v) != self->worker)
        return SC_FAIL(SC_INVALID, "a tensor for stage %u came to worker %d, which does not have it", name->stage,
                       self->worker);
    bool tied = name->kind == STAGECOACH__V1__TENSOR_KIND__TIED_GRADIENT;
    if (name->microbatch >= (uint32_t)self->max_microbatches || (name->part != 0 && !tied))
        return SC_FAIL(SC_INVALID, "a tensor for micro-batch %u, part %u came; the plans have %d micro-batches",
                       name->microbatch, name->part, self->max_microbatches);
    sc_shape most = SC_SHAPE(self->B, self->T);
    sc_dtype expected = SC_F32;
    int first_exact = 2;
    bool takes = false;
    switch (name->kind) {
    case STAGECOACH__V1__TENSOR_KIND__TOKENS:
        takes = v == 0;
        expected = SC_I32;
        break;
    case STAGECOACH__V1__TENSOR_KIND__TARGETS:
        takes = v == last;
        expected = SC_I32;
        most = SC_SHAPE(self->B, sc_model_n_targets(&self->model, self->T));
        if (self->model.task == SC_TASK_CLASSIFICATION)
            first_exact = 1;
        break;
    case STAGECOACH__V1__TENSOR_KIND__SEGMENTS:
        takes = v == 0 && sc_model_takes_segments(&self->model);
        expected = SC_I32;
        break;
    case STAGECOACH__V1__TENSOR_KIND__LENGTHS:
        takes = sc_model_takes_segments(&self->model);
        expected = SC_I32;
        most = SC_SHAPE(self->B);
        break;
    case STAGECOACH__V1__TENSOR_KIND__NEXT_SENTENCE:
        takes = v == last && sc_model_predicts_next(&self->model);
        expected = SC_I32;
        most = SC_SHAPE(self->B);
        break;
    case STAGECOACH__V1__TENSOR_KIND__ACTIVATION:
        takes = v > 0;
        most = SC_SHAPE(self->B, self->T, self->model.hidden);
        break;
    case STAGECOACH__V1__TENSOR_KIND__GRADIENT:
        takes = v < last;
        most = SC_SHAPE(self->B, self->T, self->model.hidden);
        break;
    case STAGECOACH__V1__TENSOR_KIND__TIED_GRADIENT:
        takes = (v == 0 || v == last) && name->part < sc_assignment_tied_parts(self);
        most = SC_SHAPE((int64_t)sc_assignment_tied_part_elements(self, name->part));
        first_exact = 0;
        break;
    default:
        break;
    }
    if (!takes)
        return SC_FAIL(SC_INVALID, "stage %d takes no tensor of kind %u, part %u", v, name->kind, name->part);
    char got[64], allowed[64];
    if (dtype != expected || !shape_fits(shape, &most, first_exact))
        return SC_FAIL(SC_INVALID,
                       "stage %d got a tensor of kind %u as %s %s, step %" PRIu64
                       ", micro-batch %u; it takes %s up to %s",
                       v, name->kind, sc_dtype_name(dtype), sc_shape_text(shape, got, sizeof got), name->step,
                       name->microbatch, sc_dtype_name(expected), sc_shape_text(&most, allowed, sizeof allowed));
    return SC_OK;
}
