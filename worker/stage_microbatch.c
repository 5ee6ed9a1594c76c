/* A micro-batch's way through the stage: put, forward, take, put, backward, take. */
#include "worker/stage_internal.h"

#include <inttypes.h>

/* --- sets ---------------------------------------------------------------------------------------------------------- */

static sc_stage_set *find_set(sc_stage *self, int microbatch)
{
    for (int i = 0; i < self->options.max_alive; i++)
        if (self->sets[i].state != SC_SET_FREE && self->sets[i].microbatch == microbatch)
            return &self->sets[i];
    return NULL;
}

/* The set of `microbatch`, which must be in `state`. */
static sc_status get_set(sc_stage *self, int microbatch, sc_set_state state, const char *what, sc_stage_set **out)
{
    static const char *const names[] = {
        [SC_SET_FREE] = "not in this stage",
        [SC_SET_FILLING] = "not run forward yet",
        [SC_SET_FORWARDED] = "already run forward",
        [SC_SET_SPLIT] = "between the halves of its backward",
    };
    sc_stage_set *set = find_set(self, microbatch);
    sc_set_state is = set ? set->state : SC_SET_FREE;
    if (is != state)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s: micro-batch %d is %s", what, microbatch, names[is]);
    *out = set;
    return SC_OK;
}

static sc_status check_shape(const sc_stage *self, int microbatch, int B, int T)
{
    const sc_stage_options *o = &self->options;
    if (B < 1 || T < 1 || B > o->B || T > o->T)
        return SC_FAIL(SC_INVALID, "micro-batch %d has %d sequences of %d tokens; this stage takes 1 to %d of 1 to %d",
                       microbatch, B, T, o->B, o->T);
    return SC_OK;
}

/* The set that a put_* call fills: the micro-batch's own, or a free one. */
static sc_status open_set(sc_stage *self, int microbatch, int B, int T, sc_stage_set **out)
{
    int max_alive = self->options.max_alive;
    sc_stage_set *set = find_set(self, microbatch);
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

static void free_set(sc_stage *self, sc_stage_set *set)
{
    if (set->state == SC_SET_SPLIT)
        self->split_used[set->split] = false;
    set->state = SC_SET_FREE;
}

void sc_stage_finish(sc_stage *self, int microbatch)
{
    sc_stage_set *set = find_set(self, microbatch);
    if (set)
        free_set(self, set);
}

static size_t elements(const sc_stage *self, const sc_stage_set *set)
{
    return (size_t)set->B * (size_t)set->T * (size_t)self->options.model.hidden;
}

/* --- slots --------------------------------------------------------------------------------------------------------- */

static char *set_memory(const sc_stage *self, const sc_stage_set *set)
{
    return self->areas.sets + (uint64_t)(set - self->sets) * self->set_bytes;
}

static void *saved_slot(const sc_stage *self, const sc_stage_set *set, int i, sc_slot slot)
{
    const sc_stage_block *block = &self->blocks[i];
    if (!block->shares_saved)
        return set_memory(self, set) + block->saved_offset + self->slot_offsets[slot];
    if (i == 0 && slot == block->functions->input)
        return set_memory(self, set) +
               sc_stage_lengths_bytes(
                   &self->options); /* the stage's input waits for its forward: it cannot be shared */
    return self->areas.shared + self->slot_offsets[slot];
}

static int32_t *lengths_of(const sc_stage *self, const sc_stage_set *set)
{
    return set->has_lengths ? (int32_t *)(void *)set_memory(self, set) : NULL;
}

static void *input_slot(const sc_stage *self, const sc_stage_set *set, int i)
{
    return saved_slot(self, set, i, self->blocks[i].functions->input);
}

/* Everything block i needs for this micro-batch; `weight` is where its weight slots lie. */
static sc_block_call block_call(const sc_stage *self, const sc_stage_set *set, int i, char *weight)
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
            call.slots[slot] = saved_slot(self, set, i, slot);
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

/* --- forward ------------------------------------------------------------------------------------------------------- */

static sc_status put(sc_stage *self, void *to, const void *from, size_t bytes)
{
    SC_TRY(self->options.ops->copy_in(self->options.stream, to, from, bytes));
    return self->options.ops->stream_sync(self->options.stream);
}

/* Ids from outside index rows of tables: each is checked to be in [low, below). `n`: of a sequence. */
static sc_status check_ids(const sc_stage *self, int microbatch, const char *what, const int32_t *ids, int B, int T,
                           int n, int32_t low, int32_t below)
{
    SC_TRY(check_shape(self, microbatch, B, T));
    for (int i = 0; i < B * n; i++)
        if (ids[i] < low || ids[i] >= below)
            return SC_FAIL(SC_INVALID, "micro-batch %d, sequence %d, position %d: %s %" PRId32 " is not %s %" PRId32,
                           microbatch, i / n, i % n, what, ids[i],
                           below == self->options.model.vocab ? "in the vocabulary of" : "below", below);
    return SC_OK;
}

static sc_status check_bert(const sc_stage *self, int microbatch, const char *what, bool is_place)
{
    if (!sc_model_takes_segments(&self->options.model) || !is_place)
        return SC_FAIL(SC_FAILED_PRECONDITION, "micro-batch %d: %s for a stage that takes none", microbatch, what);
    return SC_OK;
}

sc_status sc_stage_put_tokens(sc_stage *self, int microbatch, const int32_t *tokens, int B, int T)
{
    if (!sc_stage_is_first(self))
        return SC_FAIL(SC_FAILED_PRECONDITION, "micro-batch %d: tokens for a stage without the embedding", microbatch);
    sc_stage_set *set = NULL;
    SC_TRY(check_ids(self, microbatch, "token", tokens, B, T, T, 0, self->options.model.vocab));
    SC_TRY(open_set(self, microbatch, B, T, &set));
    SC_TRY(put(self, input_slot(self, set, 0), tokens, (size_t)B * (size_t)T * sizeof *tokens));
    set->has_input = true;
    return SC_OK;
}

sc_status sc_stage_put_lengths(sc_stage *self, int microbatch, const int32_t *lengths, int B, int T)
{
    sc_stage_set *set = NULL;
    SC_TRY(check_bert(self, microbatch, "lengths", true));
    SC_TRY(check_ids(self, microbatch, "length", lengths, B, T, 1, 1, T + 1));
    SC_TRY(open_set(self, microbatch, B, T, &set));
    SC_TRY(put(self, set_memory(self, set), lengths, (size_t)B * sizeof *lengths));
    set->has_lengths = true;
    return SC_OK;
}

sc_status sc_stage_put_segments(sc_stage *self, int microbatch, const int32_t *segments, int B, int T)
{
    sc_stage_set *set = NULL;
    SC_TRY(check_bert(self, microbatch, "segments", sc_stage_is_first(self)));
    SC_TRY(check_ids(self, microbatch, "segment", segments, B, T, T, 0, self->options.model.token_types));
    SC_TRY(open_set(self, microbatch, B, T, &set));
    SC_TRY(
        put(self, saved_slot(self, set, 0, SC_SLOT_BERT_SEGMENTS), segments, (size_t)B * (size_t)T * sizeof *segments));
    set->has_segments = true;
    return SC_OK;
}

sc_status sc_stage_put_activation(sc_stage *self, int microbatch, const float *activation, int B, int T)
{
    if (sc_stage_is_first(self))
        return SC_FAIL(SC_FAILED_PRECONDITION, "micro-batch %d: an activation for the first stage, which takes tokens",
                       microbatch);
    sc_stage_set *set = NULL;
    SC_TRY(check_shape(self, microbatch, B, T));
    SC_TRY(open_set(self, microbatch, B, T, &set));
    SC_TRY(put(self, input_slot(self, set, 0), activation, elements(self, set) * sizeof(float)));
    set->has_input = true;
    return SC_OK;
}

/* Of a head for masked words: where those that count are, and what they are. */
static sc_status put_masked(sc_stage *self, const sc_stage_set *set, int head, const int32_t *targets)
{
    int N = set->B * set->T;
    int32_t *rows = self->host_ids, *of_rows = rows + N, n = 0;
    for (int32_t i = 0; i < N; i++)
        if (targets[i] >= 0) {
            rows[n] = i;
            of_rows[n++] = targets[i];
        }
    SC_TRY(put(self, saved_slot(self, set, head, SC_SLOT_WORDS_ROWS), rows, (size_t)n * sizeof *rows));
    return put(self, saved_slot(self, set, head, SC_SLOT_WORDS_TARGETS), of_rows, (size_t)n * sizeof *rows);
}

sc_status sc_stage_put_targets(sc_stage *self, int microbatch, const int32_t *targets, int B, int T)
{
    if (!sc_stage_is_last(self))
        return SC_FAIL(SC_FAILED_PRECONDITION, "micro-batch %d: targets for a stage without the head", microbatch);
    const sc_model *model = &self->options.model;
    int head = self->options.slice.n_blocks - 1, n = sc_model_n_targets(model, T);
    sc_slot slot = self->blocks[head].functions->targets;
    sc_stage_set *set = NULL;
    SC_TRY(check_ids(self, microbatch, "target", targets, B, T, n, INT32_MIN, sc_model_targets_below(model)));
    SC_TRY(open_set(self, microbatch, B, T, &set));
    if (slot == SC_SLOT_WORDS_TARGETS)
        SC_TRY(put_masked(self, set, head, targets));
    else
        SC_TRY(put(self, saved_slot(self, set, head, slot), targets, (size_t)B * (size_t)n * sizeof *targets));
    set->has_targets = true;
    set->n_targets = 0;
    for (int i = 0; i < B * n; i++)
        set->n_targets += targets[i] >= 0;
    return SC_OK;
}

sc_status sc_stage_put_next(sc_stage *self, int microbatch, const int32_t *next, int B, int T)
{
    sc_stage_set *set = NULL;
    int head = self->options.slice.n_blocks - 1;
    SC_TRY(check_bert(self, microbatch, "next sentences",
                      sc_stage_is_last(self) && sc_model_predicts_next(&self->options.model)));
    SC_TRY(check_ids(self, microbatch, "next sentence", next, B, T, 1, 0, 2));
    SC_TRY(open_set(self, microbatch, B, T, &set));
    SC_TRY(put(self, saved_slot(self, set, head, SC_SLOT_NEXT_TARGETS), next, (size_t)B * sizeof *next));
    set->has_next = true;
    return SC_OK;
}

/* What must have been put before a forward. */
static sc_status check_inputs(const sc_stage *self, const sc_stage_set *set, const sc_stage_step *step)
{
    const sc_model *model = &self->options.model;
    bool bert = sc_model_takes_segments(model), first = sc_stage_is_first(self), last = sc_stage_is_last(self);
    const char *missing = NULL;
    if (!set->has_input)
        missing = "input";
    else if (bert && !set->has_lengths)
        missing = "lengths";
    else if (bert && first && !set->has_segments)
        missing = "segments";
    else if (step->train && last && !set->has_targets)
        missing = "targets";
    else if (set->has_targets && sc_model_predicts_next(model) && !set->has_next)
        missing = "next sentences";
    if (missing)
        return SC_FAIL(SC_FAILED_PRECONDITION, "forward: micro-batch %d has no %s yet", set->microbatch, missing);
    return SC_OK;
}

/* Whether the rows that a micro-batch has in the cache are there, and are what it goes on from. */
static sc_status check_cache(const sc_stage *self, const sc_stage_set *set, uint32_t first_row,
                             const sc_stage_step *step)
{
    int m = set->microbatch, rows = self->options.cached_rows, context = self->options.model.context;
    if (rows == 0)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "forward: micro-batch %d is to use the cache, and this stage was made without one", m);
    if (first_row > (uint32_t)rows || set->B > rows - (int)first_row)
        return SC_FAIL(SC_OUT_OF_RANGE, "forward: micro-batch %d has rows %" PRIu32 " to %" PRIu32 " of a cache of %d",
                       m, first_row, first_row + (uint32_t)set->B - 1, rows);
    if (step->position < 0 || step->position > context - set->T)
        return SC_FAIL(SC_OUT_OF_RANGE,
                       "forward: micro-batch %d has %d tokens from position %d on; the model's context ends at %d", m,
                       set->T, step->position, context);
    if (step->position > 0 && set->T > 1)
        return SC_FAIL(SC_INVALID, "forward: micro-batch %d has %d tokens; behind cached ones they come one by one", m,
                       set->T);
    for (int b = 0; b < set->B; b++) {
        int row = (int)first_row + b;
        if (step->position > self->cached[row])
            return SC_FAIL(SC_FAILED_PRECONDITION,
                           "forward: micro-batch %d goes on at position %d; row %d of the cache has %d tokens", m,
                           step->position, row, self->cached[row]);
    }
    return SC_OK;
}

/* The cache's rows of a micro-batch are this long. */
static void set_cached(sc_stage *self, const sc_stage_set *set, int tokens)
{
    for (int b = 0; set->step.cache && b < set->B; b++)
        self->cached[(int)set->first_row + b] = tokens;
}

sc_status sc_stage_forward(sc_stage *self, int microbatch, uint32_t first_row, const sc_stage_step *step)
{
    sc_stage_set *set = NULL;
    SC_TRY(get_set(self, microbatch, SC_SET_FILLING, "forward", &set));
    if (step->train && !self->options.train)
        return SC_FAIL(SC_FAILED_PRECONDITION, "forward: micro-batch %d is to train a stage made for forward only",
                       microbatch);
    SC_TRY(check_inputs(self, set, step));
    if (step->cache)
        SC_TRY(check_cache(self, set, first_row, step));

    set->step = *step;
    set->first_row = first_row;
    set_cached(self, set, step->position); /* what lies behind is about to be replaced, in some blocks if one fails */
    self->output_of = -1;
    int n_blocks = self->options.slice.n_blocks;
    for (int i = 0; i < n_blocks; i++) {
        sc_block_call call = block_call(self, set, i, NULL);
        float *out = i + 1 < n_blocks ? input_slot(self, set, i + 1) : self->areas.output;
        SC_TRY(self->blocks[i].functions->forward(&call, out));
    }
    set_cached(self, set, step->position + set->T);
    set->state = SC_SET_FORWARDED;
    self->output_of = microbatch;
    return SC_OK;
}

sc_status sc_stage_take_activation(sc_stage *self, int microbatch, float *out)
{
    sc_stage_set *set = NULL;
    SC_TRY(get_set(self, microbatch, SC_SET_FORWARDED, "taking an activation", &set));
    if (sc_stage_is_last(self) || self->output_of != microbatch)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "taking an activation: micro-batch %d is not the last that went forward "
                       "in a stage before the last",
                       microbatch);
    const sc_stage_options *o = &self->options;
    SC_TRY(o->ops->copy_out(o->stream, out, self->areas.output, elements(self, set) * sizeof(float)));
    return o->ops->stream_sync(o->stream);
}

/* What the head left of a micro-batch that went forward with (`targets`) or without targets. */
static sc_status get_head(sc_stage *self, int microbatch, bool targets, const char *what, sc_stage_set **out)
{
    SC_TRY(get_set(self, microbatch, SC_SET_FORWARDED, what, out));
    if (!sc_stage_is_last(self) || (*out)->has_targets != targets)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s: micro-batch %d did not pass the head %s targets", what, microbatch,
                       targets ? "with" : "without");
    return SC_OK;
}

sc_status sc_stage_take_loss(sc_stage *self, int microbatch, double *sums, uint64_t *n_targets)
{
    sc_stage_set *set = NULL;
    SC_TRY(get_head(self, microbatch, true, "taking a loss", &set));
    const sc_stage_options *o = &self->options;
    int head = o->slice.n_blocks - 1, n_losses = sc_model_n_losses(&o->model);
    sc_slot slot = self->blocks[head].functions->loss;
    double *device_sums = self->areas.sums + self->n_params;
    size_t n = slot == SC_SLOT_WORDS_LOSS ? (size_t)set->n_targets
                                          : (size_t)set->B * (size_t)sc_model_n_targets(&o->model, set->T);
    SC_TRY(o->ops->sum(o->stream, device_sums, saved_slot(self, set, head, slot), n));
    if (n_losses > 1)
        SC_TRY(o->ops->sum(o->stream, device_sums + 1, saved_slot(self, set, head, SC_SLOT_NEXT_LOSS), (size_t)set->B));
    SC_TRY(o->ops->copy_out(o->stream, sums, device_sums, (size_t)n_losses * sizeof *sums));
    *n_targets = set->n_targets;
    return o->ops->stream_sync(o->stream);
}

sc_status sc_stage_take_logits(sc_stage *self, int microbatch, float *out)
{
    sc_stage_set *set = NULL;
    SC_TRY(get_head(self, microbatch, false, "taking logits", &set));
    const sc_stage_options *o = &self->options;
    int head = o->slice.n_blocks - 1;
    const float *logits = saved_slot(self, set, head, self->blocks[head].functions->logits);
    size_t n = (size_t)set->B * (size_t)sc_model_n_logits(&o->model, set->T);
    SC_TRY(o->ops->copy_out(o->stream, out, logits, n * sizeof(float)));
    return o->ops->stream_sync(o->stream);
}

/* --- backward ------------------------------------------------------------------------------------------------------ */

sc_status sc_stage_put_gradient(sc_stage *self, int microbatch, const float *gradient)
{
    sc_stage_set *set = NULL;
    SC_TRY(get_set(self, microbatch, SC_SET_FORWARDED, "putting a gradient", &set));
    if (sc_stage_is_last(self) || !set->step.train)
        return SC_FAIL(SC_FAILED_PRECONDITION, "putting a gradient: micro-batch %d %s", microbatch,
                       set->step.train ? "is in the last stage, which makes its own" : "did not go forward to train");
    for (int i = 0; i < SC_STAGE_FLOWS; i++) {
        sc_stage_flow *flow = &self->flows[i];
        if (!flow->d || flow->state != SC_FLOW_EMPTY)
            continue;
        SC_TRY(put(self, flow->d, gradient, elements(self, set) * sizeof(float)));
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

/* Nobody takes the gradient of the first stage's input. */
static void close_flow(sc_stage *self, sc_stage_flow *flow, const sc_stage_set *set)
{
    flow->state = sc_stage_is_first(self) ? SC_FLOW_EMPTY : SC_FLOW_INPUT;
    flow->microbatch = set->microbatch;
    flow->elements = elements(self, set);
}

static sc_status get_trained(sc_stage *self, int microbatch, const char *what, sc_stage_set **out)
{
    SC_TRY(get_set(self, microbatch, SC_SET_FORWARDED, what, out));
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
    for (int i = self->options.slice.n_blocks - 1; i >= 0; i--) {
        sc_block_call call = block_call(self, set, i, self->areas.weight);
        SC_TRY(self->blocks[i].functions->backward_input(&call, flow->d));
        SC_TRY(self->blocks[i].functions->backward_weight(&call));
    }
    close_flow(self, flow, set);
    free_set(self, set);
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
    for (int i = self->options.slice.n_blocks - 1; i >= 0; i--) {
        sc_block_call call = block_call(self, set, i, split_memory(self, set, i));
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
    SC_TRY(get_set(self, microbatch, SC_SET_SPLIT, "backward_weight", &set));
    for (int i = self->options.slice.n_blocks - 1; i >= 0; i--) {
        sc_block_call call = block_call(self, set, i, split_memory(self, set, i));
        SC_TRY(self->blocks[i].functions->backward_weight(&call));
    }
    free_set(self, set);
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
