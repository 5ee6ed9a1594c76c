/* A micro-batch's way back through the stage: put, backward, take. */
#include "worker/stage_internal.h"

sc_status sc_stage_put_gradient(sc_stage *self, int microbatch, const float *gradient)
{
    sc_stage_set *set = NULL;
    SC_TRY(sc_stage_get_set(self, microbatch, SC_SET_FORWARDED, "putting a gradient", &set));
    if (sc_stage_is_last(self) || !set->step.train)
        return SC_FAIL(SC_FAILED_PRECONDITION, "putting a gradient: micro-batch %d %s", microbatch,
                       set->step.train ? "is in the last stage, which makes its own" : "did not go forward to train");
    for (int i = 0; i < SC_STAGE_FLOWS; i++) {
        sc_stage_flow *flow = &self->flows[i];
        if (!flow->d || flow->state != SC_FLOW_EMPTY)
            continue;
        SC_TRY(sc_stage_put_bytes(self, flow->d, gradient, sc_stage_elements(self, set) * sizeof(float)));
        flow->state = SC_FLOW_OUTPUT;
        flow->microbatch = microbatch;
        return SC_OK;
    }
    return SC_FAIL(SC_FAILED_PRECONDITION,
                   "putting a gradient: micro-batch %d comes before the backward of another, whose "
                   "gradient was put before",
                   microbatch);
}

/* The buffer with the gradient of this micro-batch's output; in the last stage, which makes it, the only buffer. What an
 * earlier backward left is forgotten. */
static sc_status open_flow(sc_stage *self, int microbatch, const char *what, sc_stage_flow **out)
{
    *out = sc_stage_is_last(self) ? &self->flows[0] : NULL;
    for (int i = 0; i < SC_STAGE_FLOWS; i++)
        if (self->flows[i].state == SC_FLOW_OUTPUT && self->flows[i].microbatch == microbatch)
            *out = &self->flows[i];
    if (!*out)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s: the gradient of micro-batch %d's output was not put", what,
                       microbatch);
    for (int i = 0; i < SC_STAGE_FLOWS; i++)
        if (self->flows[i].state == SC_FLOW_INPUT)
            self->flows[i].state = SC_FLOW_EMPTY;
    return SC_OK;
}

/* Nobody takes the gradient of an input that nothing learns from: the first stage's, and that of frozen blocks. */
static void close_flow(sc_stage *self, sc_stage_flow *flow, const sc_stage_set *set)
{
    bool wanted = self->options.slice.first_block > self->options.model.frozen;
    flow->state = wanted ? SC_FLOW_INPUT : SC_FLOW_EMPTY;
    flow->microbatch = set->microbatch;
    flow->elements = sc_stage_elements(self, set);
}

static sc_status get_trained(sc_stage *self, int microbatch, const char *what, sc_stage_set **out)
{
    SC_TRY(sc_stage_get_set(self, microbatch, SC_SET_FORWARDED, what, out));
    if (sc_stage_first_learning(self) == self->options.slice.n_blocks)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s: micro-batch %d is in a stage that is frozen", what, microbatch);
    if (!(*out)->step.train)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s: micro-batch %d did not go forward to train", what, microbatch);
    return SC_OK;
}

/* Block by block, so that all blocks can use one set of weight slots. */
sc_status sc_stage_backward(sc_stage *self, int microbatch)
{
    sc_stage_set *set = NULL;
    sc_stage_flow *flow = NULL;
    SC_TRY(get_trained(self, microbatch, "backward", &set));
    SC_TRY(open_flow(self, microbatch, "backward", &flow));
    for (int i = self->options.slice.n_blocks - 1; i >= sc_stage_first_learning(self); i--) {
        sc_block_call call = sc_stage_block_call(self, set, i, self->areas.weight);
        SC_TRY(self->blocks[i].functions->backward_input(&call, flow->d));
        SC_TRY(self->blocks[i].functions->backward_weight(&call));
    }
    close_flow(self, flow, set);
    sc_stage_free_set(self, set);
    return SC_OK;
}

static char *split_memory(const sc_stage *self, const sc_stage_set *set, int i)
{
    return self->areas.splits + (uint64_t)set->split * self->split_bytes + self->blocks[i].weight_offset;
}

sc_status sc_stage_backward_input(sc_stage *self, int microbatch)
{
    sc_stage_set *set = NULL;
    sc_stage_flow *flow = NULL;
    SC_TRY(get_trained(self, microbatch, "backward_input", &set));
    int split = 0, max_split = self->options.max_split;
    while (split < max_split && self->split_used[split])
        split++;
    if (split == max_split)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "backward_input: micro-batch %d comes while %d others wait for their "
                       "weight gradients, all there is memory for",
                       microbatch, max_split);
    SC_TRY(open_flow(self, microbatch, "backward_input", &flow));
    set->split = split;
    for (int i = self->options.slice.n_blocks - 1; i >= sc_stage_first_learning(self); i--) {
        sc_block_call call = sc_stage_block_call(self, set, i, split_memory(self, set, i));
        SC_TRY(self->blocks[i].functions->backward_input(&call, flow->d));
    }
    close_flow(self, flow, set);
    self->split_used[split] = true;
    set->state = SC_SET_SPLIT;
    return SC_OK;
}

sc_status sc_stage_backward_weight(sc_stage *self, int microbatch)
{
    sc_stage_set *set = NULL;
    SC_TRY(sc_stage_get_set(self, microbatch, SC_SET_SPLIT, "backward_weight", &set));
    for (int i = self->options.slice.n_blocks - 1; i >= sc_stage_first_learning(self); i--) {
        sc_block_call call = sc_stage_block_call(self, set, i, split_memory(self, set, i));
        SC_TRY(self->blocks[i].functions->backward_weight(&call));
    }
    sc_stage_free_set(self, set);
    return SC_OK;
}

sc_status sc_stage_take_gradient(sc_stage *self, int microbatch, float *out)
{
    for (int i = 0; i < SC_STAGE_FLOWS; i++) {
        const sc_stage_flow *flow = &self->flows[i];
        if (flow->state != SC_FLOW_INPUT || flow->microbatch != microbatch)
            continue;
        const sc_stage_options *o = &self->options;
        SC_TRY(o->ops->copy_out(o->stream, out, flow->d, flow->elements * sizeof(float)));
        return o->ops->stream_sync(o->stream);
    }
    return SC_FAIL(SC_FAILED_PRECONDITION,
                   "taking a gradient: micro-batch %d is not the last that went backward in a "
                   "stage after the first",
                   microbatch);
}
