/* A micro-batch in the stage: its set, and where its tensors lie. Its way there and back: stage_forward.c, stage_backward.c. */
#include "worker/stage_internal.h"

#include <inttypes.h>

/* --- sets ---------------------------------------------------------------------------------------------------------- */

sc_stage_set *sc_stage_find_set(const sc_stage *self, int microbatch)
{
    for (int i = 0; i < self->options.max_alive; i++)
        if (self->sets[i].state != SC_SET_FREE && self->sets[i].microbatch == microbatch)
            return &self->sets[i];
    return NULL;
}

sc_status sc_stage_get_set(sc_stage *self, int microbatch, sc_set_state state, const char *what, sc_stage_set **out)
{
    static const char *const names[] = {
        [SC_SET_FREE] = "not in this stage",
        [SC_SET_FILLING] = "not run forward yet",
        [SC_SET_FORWARDED] = "already run forward",
        [SC_SET_SPLIT] = "between the halves of its backward",
    };
    sc_stage_set *set = sc_stage_find_set(self, microbatch);
    sc_set_state is = set ? set->state : SC_SET_FREE;
    if (is != state)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s: micro-batch %d is %s", what, microbatch, names[is]);
    *out = set;
    return SC_OK;
}

sc_status sc_stage_check_shape(const sc_stage *self, int microbatch, int B, int T)
{
    const sc_stage_options *o = &self->options;
    if (B < 1 || T < 1 || B > o->B || T > o->T)
        return SC_FAIL(SC_INVALID, "micro-batch %d has %d sequences of %d tokens; this stage takes 1 to %d of 1 to %d",
                       microbatch, B, T, o->B, o->T);
    return SC_OK;
}

sc_status sc_stage_open_set(sc_stage *self, int microbatch, int B, int T, sc_stage_set **out)
{
    int max_alive = self->options.max_alive;
    sc_stage_set *set = sc_stage_find_set(self, microbatch);
    if (set && set->state != SC_SET_FILLING)
        return SC_FAIL(SC_FAILED_PRECONDITION, "micro-batch %d is put again before its backward is done", microbatch);
    if (set && (set->B != B || set->T != T))
        return SC_FAIL(SC_INVALID, "micro-batch %d has %d sequences of %d tokens, but %d of %d were put before",
                       microbatch, B, T, set->B, set->T);
    for (int i = 0; i < max_alive && !set; i++)
        if (self->sets[i].state == SC_SET_FREE) {
            set = &self->sets[i];
            *set = (sc_stage_set){.state = SC_SET_FILLING, .microbatch = microbatch, .B = B, .T = T};
        }
    if (!set)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "micro-batch %d comes while %d others are in flight, all there is memory for", microbatch,
                       max_alive);
    *out = set;
    return SC_OK;
}

void sc_stage_free_set(sc_stage *self, sc_stage_set *set)
{
    if (set->state == SC_SET_SPLIT)
        self->split_used[set->split] = false;
    set->state = SC_SET_FREE;
}

void sc_stage_finish(sc_stage *self, int microbatch)
{
    sc_stage_set *set = sc_stage_find_set(self, microbatch);
    if (set)
        sc_stage_free_set(self, set);
}

size_t sc_stage_elements(const sc_stage *self, const sc_stage_set *set)
{
    return (size_t)set->B * (size_t)set->T * (size_t)self->options.model.hidden;
}

/* --- slots --------------------------------------------------------------------------------------------------------- */

char *sc_stage_set_memory(const sc_stage *self, const sc_stage_set *set)
{
    return self->areas.sets + (uint64_t)(set - self->sets) * self->set_bytes;
}

void *sc_stage_saved_slot(const sc_stage *self, const sc_stage_set *set, int i, sc_slot slot)
{
    const sc_stage_block *block = &self->blocks[i];
    if (!block->shares_saved)
        return sc_stage_set_memory(self, set) + block->saved_offset + self->slot_offsets[slot];
    if (i == 0 && slot == block->functions->input)
        return sc_stage_set_memory(self, set) +
               sc_stage_lengths_bytes(
                   &self->options); /* the stage's input waits for its forward: it cannot be shared */
    return self->areas.shared + self->slot_offsets[slot];
}

static int32_t *lengths_of(const sc_stage *self, const sc_stage_set *set)
{
    return set->has_lengths ? (int32_t *)(void *)sc_stage_set_memory(self, set) : NULL;
}

void *sc_stage_input_slot(const sc_stage *self, const sc_stage_set *set, int i)
{
    return sc_stage_saved_slot(self, set, i, self->blocks[i].functions->input);
}

sc_block_call sc_stage_block_call(const sc_stage *self, const sc_stage_set *set, int i, char *weight)
{
    const sc_stage_options *o = &self->options;
    const sc_stage_block *block = &self->blocks[i];
    sc_block_call call = {
        .ops = o->ops,
        .stream = o->stream,
        .model = &o->model,
        .block = block->index,
        .params = block->params,
        .grads = block->grads,
        .B = set->B,
        .T = set->T,
        .lengths = lengths_of(self, set),
        .train = set->step.train,
        .targets = set->has_targets,
        .n_masked = (int)set->n_targets,
        .position = set->step.cache ? set->step.position : 0,
        .loss_scale = set->step.loss_scale,
        .next_scale = set->step.next_scale,
        .class_weights = set->step.train ? self->areas.class_weights : NULL,
        .dropout = {.p = set->step.train ? o->model.dropout : 0.0f,
                    .seed = set->step.seed,
                    .step = (uint32_t)set->step.optimizer_step,
                    .first_row = set->first_row,
                    .stride = (uint32_t)o->model.context},
    };
    if (set->step.cache && block->kind == SC_BLOCK_TRANSFORMER) {
        char *keys = self->areas.cache + block->cache_offset, *values = keys + sc_stage_cache_bytes(o);
        size_t row = (size_t)set->first_row * (size_t)o->model.context * (size_t)o->model.hidden;
        call.k_cache = (float *)(void *)keys + row;
        call.v_cache = (float *)(void *)values + row;
    }
    sc_slot slot, end;
    for (sc_model_slots(&o->model, block->kind, &slot, &end); slot < end; slot++) {
        switch (sc_model_slot_life(slot)) {
        case SC_LIFE_SAVED:
            call.slots[slot] = sc_stage_saved_slot(self, set, i, slot);
            break;
        case SC_LIFE_WEIGHT:
            call.slots[slot] = weight ? weight + self->slot_offsets[slot] : NULL;
            break;
        case SC_LIFE_SCRATCH:
            call.slots[slot] = self->areas.scratch ? self->areas.scratch + self->slot_offsets[slot] : NULL;
            break;
        }
    }
    return call;
}

sc_status sc_stage_put_bytes(sc_stage *self, void *to, const void *from, size_t bytes)
{
    SC_TRY(self->options.ops->copy_in(self->options.stream, to, from, bytes));
    return self->options.ops->stream_sync(self->options.stream);
}
