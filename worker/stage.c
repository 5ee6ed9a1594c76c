/* A stage's memory: what it needs, getting it, and setting it to a fresh run's state. */
#include "worker/stage_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* --- what the slice holds ------------------------------------------------------------------------------------------ */

static bool has_embedding(const sc_stage_options *o)
{
    return o->slice.first_block == 0;
}

static bool has_head(const sc_stage_options *o)
{
    return o->slice.first_block + o->slice.n_blocks == sc_model_n_blocks(&o->model);
}

bool sc_stage_is_first(const sc_stage *self)
{
    return has_embedding(&self->options);
}

bool sc_stage_is_last(const sc_stage *self)
{
    return has_head(&self->options);
}

/* The head's tied matrix is the embedding's own where the slice has both. */
static bool is_repeated(const sc_stage_options *o, int block, int ordinal)
{
    return block != 0 && has_embedding(o) && ordinal == sc_model_tied_param(&o->model);
}

static uint64_t elements_of(const sc_param *param)
{
    uint64_t elements = 1;
    for (int i = 0; i < param->shape.n_dims; i++)
        elements *= (uint64_t)param->shape.dims[i];
    return elements;
}

static uint64_t aligned(uint64_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* Fills `params` (NULL: only counts) and returns their number; *bytes is their layout's length, *learning_bytes that of the
 * gradients of those that learn. */
static int list_params(const sc_stage_options *o, sc_stage_param *params, uint64_t *bytes, uint64_t *learning_bytes)
{
    int n = 0;
    *bytes = *learning_bytes = 0;
    for (int i = 0; i < o->slice.n_blocks; i++) {
        int ordinals[SC_MAX_BLOCK_PARAMS], block = o->slice.first_block + i;
        int n_ordinals = sc_model_block_params(&o->model, block, ordinals);
        for (int j = 0; j < n_ordinals; j++) {
            if (is_repeated(o, block, ordinals[j]))
                continue;
            sc_param info = sc_model_param(&o->model, ordinals[j]);
            uint64_t elements = elements_of(&info);
            bool learns = block >= o->model.frozen && sc_model_param_learns(&o->model, ordinals[j]);
            if (params)
                params[n] = (sc_stage_param){.info = info,
                                             .elements = elements,
                                             .offset = *bytes,
                                             .learns = learns,
                                             .learning_offset = *learning_bytes};
            *bytes += aligned(elements * sizeof(float));
            *learning_bytes += learns ? aligned(elements * sizeof(float)) : 0;
            n++;
        }
    }
    return n;
}

static uint64_t tied_elements(const sc_stage_options *o)
{
    if (!sc_model_exchanges_tied(&o->model) || !(has_embedding(o) || has_head(o)))
        return 0;
    sc_param info = sc_model_param(&o->model, sc_model_tied_param(&o->model));
    return elements_of(&info);
}

/* --- activations --------------------------------------------------------------------------------------------------- */

uint64_t sc_stage_cache_bytes(const sc_stage_options *o)
{
    return aligned((uint64_t)o->cached_rows * (uint64_t)o->model.context * (uint64_t)o->model.hidden * sizeof(float));
}

uint64_t sc_stage_lengths_bytes(const sc_stage_options *o)
{
    return sc_model_takes_segments(&o->model) ? aligned((uint64_t)o->B * sizeof(int32_t)) : 0;
}

typedef struct slot_sizes {
    uint64_t saved, weight; /* of all blocks: of a set and of a split */
    uint64_t shared, max_weight, max_scratch;
    uint64_t cache; /* of all blocks */
} slot_sizes;

static uint64_t row_bytes(const sc_stage_options *o)
{
    return aligned((uint64_t)o->B * (uint64_t)o->T * (uint64_t)o->model.hidden * sizeof(float));
}

static bool shares_saved(const sc_stage_options *o, int block)
{
    return (!o->train || block < o->model.frozen) && sc_model_block_kind(&o->model, block) == SC_BLOCK_TRANSFORMER;
}

/* Sizes, and where `blocks` is not NULL each block's place. Transformer blocks without a backward share one set of saved
 * slots; a micro-batch's set then has only the stage's input and what the other blocks save. */
static slot_sizes size_slots(const sc_stage_options *o, sc_stage_block *blocks)
{
    slot_sizes sizes = {.saved = sc_stage_lengths_bytes(o)};
    if (shares_saved(o, o->slice.first_block))
        sizes.saved += row_bytes(o);
    for (int i = 0; i < o->slice.n_blocks; i++) {
        int block = o->slice.first_block + i;
        bool shares = shares_saved(o, block);
        sc_block_cost cost = sc_model_block_cost(&o->model, block, o->B, o->T);
        if (blocks) {
            blocks[i].shares_saved = shares;
            blocks[i].saved_offset = shares ? 0 : sizes.saved;
            blocks[i].weight_offset = sizes.weight;
            blocks[i].cache_offset = sizes.cache;
        }
        if (sc_model_block_kind(&o->model, block) == SC_BLOCK_TRANSFORMER)
            sizes.cache += 2 * sc_stage_cache_bytes(o);
        if (shares)
            sizes.shared = cost.saved_bytes;
        else
            sizes.saved += cost.saved_bytes;
        sizes.weight += cost.weight_bytes;
        sizes.max_weight = cost.weight_bytes > sizes.max_weight ? cost.weight_bytes : sizes.max_weight;
        sizes.max_scratch = cost.scratch_bytes > sizes.max_scratch ? cost.scratch_bytes : sizes.max_scratch;
    }
    return sizes;
}

static void carve_activations(const sc_stage_options *o, int n_params, sc_arena *arena, sc_stage_areas *areas)
{
    slot_sizes sizes = size_slots(o, NULL);
    uint64_t tied = tied_elements(o), row = row_bytes(o);
    *areas = (sc_stage_areas){0};
    areas->sets = sc_arena_carve(arena, (uint64_t)o->max_alive * sizes.saved);
    areas->shared = sc_arena_carve(arena, sizes.shared);
    areas->scratch = sc_arena_carve(arena, o->train ? sizes.max_scratch : 0);
    areas->cache = sc_arena_carve(arena, sizes.cache);
    areas->output = sc_arena_carve(arena, has_head(o) ? 0 : row);
    areas->sums = sc_arena_carve(arena, (uint64_t)(n_params + SC_MAX_LOSSES) * sizeof(double));
    if (!o->train)
        return;
    if (o->class_weights && has_head(o))
        areas->class_weights = sc_arena_carve(arena, (uint64_t)o->model.labels * sizeof(float));
    areas->weight = sc_arena_carve(arena, sizes.max_weight);
    areas->splits = sc_arena_carve(arena, (uint64_t)o->max_split * sizes.weight);
    bool learns = o->slice.first_block + o->slice.n_blocks > o->model.frozen;
    for (int i = 0; learns && i < (has_embedding(o) || has_head(o) ? 1 : SC_STAGE_FLOWS); i++)
        areas->flows[i] = sc_arena_carve(arena, row);
    areas->staging = sc_arena_carve(arena, sizeof(float) * (tied < SC_STAGE_TIED_PIECE ? tied : SC_STAGE_TIED_PIECE));
}

sc_stage_memory sc_stage_plan_memory(const sc_stage_options *o)
{
    sc_stage_memory memory = {0};
    uint64_t learning;
    int n_params = list_params(o, NULL, &memory.params, &learning);
    if (o->train) {
        memory.gradients = learning;
        if (has_embedding(o) && has_head(o))
            memory.gradients += aligned(tied_elements(o) * sizeof(float));
        memory.optimizer = (uint64_t)sc_optimizer_n_moments(&o->optimizer) * learning;
    }
    sc_arena measured = {0};
    sc_stage_areas areas;
    carve_activations(o, n_params, &measured, &areas);
    memory.activations = measured.used;
    return memory;
}

/* --- new and destroy ----------------------------------------------------------------------------------------------- */

static sc_status check_options(const sc_stage_options *o)
{
    SC_TRY(sc_model_check(&o->model));
    int n_blocks = sc_model_n_blocks(&o->model);
    if (o->slice.n_blocks < 1 || o->slice.first_block < 0 || o->slice.n_blocks > n_blocks - o->slice.first_block)
        return SC_FAIL(SC_INVALID, "a stage of %d blocks from block %d on; the model has blocks 0 to %d",
                       o->slice.n_blocks, o->slice.first_block, n_blocks - 1);
    if (o->B < 1 || o->T < 1 || o->T > o->model.context || (int64_t)o->B * o->T > INT32_MAX)
        return SC_FAIL(SC_INVALID,
                       "micro-batches of %d sequences of %d tokens; both must be positive, their product below 2^31 "
                       "and the tokens at most the model's context, %d",
                       o->B, o->T, o->model.context);
    if (o->max_alive < 1 || o->max_alive > SC_MAX_MICROBATCHES || o->max_split < 0 || o->max_split > o->max_alive)
        return SC_FAIL(SC_INVALID,
                       "%d micro-batches in flight, %d of them between their halves of backward; allowed are 1 to %d, "
                       "and no more split than in flight",
                       o->max_alive, o->max_split, SC_MAX_MICROBATCHES);
    int most = o->train || o->model.family == SC_BERT ? 0 : SC_MAX_CACHED_TOKENS / o->model.context;
    if (o->cached_rows < 0 || o->cached_rows > most)
        return SC_FAIL(SC_INVALID, "a cache for %d sequences; a stage that %s, of context %d, has one for 0 to %d",
                       o->cached_rows,
                       o->model.family == SC_BERT ? "is not for generation"
                       : o->train                 ? "trains"
                                                  : "does not train",
                       o->model.context, most);
    return SC_OK;
}

static void place_slots(sc_stage *self)
{
    const sc_stage_options *o = &self->options;
    static const sc_block_kind kinds[] = {SC_BLOCK_EMBEDDING, SC_BLOCK_TRANSFORMER, SC_BLOCK_HEAD};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        uint64_t used[3] = {0}; /* by life */
        sc_slot slot, end;
        for (sc_model_slots(&o->model, kinds[k], &slot, &end); slot < end; slot++) {
            uint64_t *at = &used[sc_model_slot_life(slot)];
            self->slot_offsets[slot] = *at;
            *at += sc_model_slot_bytes(&o->model, slot, o->B, o->T);
        }
    }
    slot_sizes sizes = size_slots(o, self->blocks);
    self->set_bytes = sizes.saved;
    self->split_bytes = sizes.weight;
}

static void place_block_params(sc_stage *self, sc_stage_block *block)
{
    const sc_stage_options *o = &self->options;
    int ordinals[SC_MAX_BLOCK_PARAMS];
    int n = sc_model_block_params(&o->model, block->index, ordinals);
    for (int j = 0; j < n; j++) {
        const sc_stage_param *param = self->params;
        while (param->info.ordinal != ordinals[j])
            param++;
        block->params[j] = sc_stage_at(&self->params_arena, param->offset);
        if (is_repeated(o, block->index, ordinals[j]))
            block->grads[j] = sc_stage_tied_head_gradient(self);
        else
            block->grads[j] = param->learns ? sc_stage_gradient(self, param) : NULL;
    }
}

static sc_status allocate(sc_stage *self)
{
    const sc_stage_options *o = &self->options;
    sc_stage_memory memory = sc_stage_plan_memory(o);
    const struct {
        sc_arena *arena;
        uint64_t bytes;
        const char *what;
    } arenas[] = {{&self->params_arena, memory.params, "parameters"},
                  {&self->gradients_arena, memory.gradients, "gradients"},
                  {&self->optimizer_arena, memory.optimizer, "optimizer state"},
                  {&self->activations_arena, memory.activations, "activations"}};
    for (size_t i = 0; i < sizeof arenas / sizeof *arenas; i++) {
        sc_arena_carve(arenas[i].arena, arenas[i].bytes);
        SC_TRY(sc_arena_allocate(arenas[i].arena, o->ops, o->stream, arenas[i].what));
    }
    carve_activations(o, self->n_params, &self->activations_arena, &self->areas);
    return SC_OK;
}

sc_status sc_stage_new(const sc_stage_options *options, sc_stage **out)
{
    *out = NULL;
    SC_TRY(check_options(options));
    sc_status status = SC_OK;
    sc_stage *self = calloc(1, sizeof *self);
    if (!self)
        goto no_memory;
    self->options = *options;
    self->output_of = -1;
    const sc_slice *slice = &options->slice;
    self->n_params = list_params(options, NULL, &self->params_bytes, &self->learning_bytes);
    self->params = calloc((size_t)self->n_params, sizeof *self->params);
    self->blocks = calloc((size_t)slice->n_blocks, sizeof *self->blocks);
    self->sets = calloc((size_t)options->max_alive, sizeof *self->sets);
    self->split_used = calloc((size_t)options->max_split + 1, sizeof *self->split_used);
    self->cached = calloc((size_t)options->cached_rows + 1, sizeof *self->cached);
    self->host_ids = calloc(2 * (size_t)options->B * (size_t)options->T, sizeof *self->host_ids);
    if (!self->params || !self->blocks || !self->sets || !self->split_used || !self->cached || !self->host_ids)
        goto no_memory;

    list_params(options, self->params, &self->params_bytes, &self->learning_bytes);
    SC_TRY_GOTO(status, allocate(self), fail);
    for (int i = 0; i < slice->n_blocks; i++) {
        sc_stage_block *block = &self->blocks[i];
        block->index = slice->first_block + i;
        block->kind = sc_model_block_kind(&options->model, block->index);
        block->functions = sc_block_of(&options->model, block->kind);
        place_block_params(self, block);
    }
    place_slots(self);
    if (self->areas.class_weights)
        SC_TRY_GOTO(status,
                    sc_stage_put_bytes(self, self->areas.class_weights, options->class_weights,
                                       (size_t)options->model.labels * sizeof(float)),
                    fail);
    self->options.class_weights = NULL; /* the caller's */
    for (int i = 0; i < SC_STAGE_FLOWS; i++)
        self->flows[i].d = self->areas.flows[i];
    *out = self;
    return SC_OK;

no_memory:
    status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a stage of %d blocks", options->slice.n_blocks);
fail:
    sc_stage_destroy(&self);
    return status;
}

void sc_stage_destroy(sc_stage **self_p)
{
    sc_stage *self = *self_p;
    if (!self)
        return;
    sc_arena *arenas[] = {&self->params_arena, &self->gradients_arena, &self->optimizer_arena,
                          &self->activations_arena};
    for (size_t i = 0; i < sizeof arenas / sizeof *arenas; i++)
        sc_arena_release(arenas[i], self->options.ops, self->options.stream);
    free(self->params);
    free(self->blocks);
    free(self->sets);
    free(self->split_used);
    free(self->cached);
    free(self->host_ids);
    free(self);
    *self_p = NULL;
}

/* --- a fresh state ------------------------------------------------------------------------------------------------- */

static sc_status zero_arena(sc_stage *self, const sc_arena *arena)
{
    if (!arena->memory)
        return SC_OK;
    return self->options.ops->zero(self->options.stream, arena->memory, (size_t)arena->bytes);
}

static sc_status init_param(sc_stage *self, const sc_stage_param *param, uint64_t seed)
{
    const sc_stage_options *o = &self->options;
    enum { PIECE = 4096 };
    float piece[PIECE]; /* on the stack: after sc_stage_new nothing is allocated */
    float *to = sc_stage_at(&self->params_arena, param->offset);
    for (uint64_t first = 0; first < param->elements; first += PIECE) {
        uint64_t n = param->elements - first < PIECE ? param->elements - first : PIECE;
        sc_model_init_param(&o->model, param->info.ordinal, seed, first, n, piece);
        SC_TRY(o->ops->copy_in(o->stream, to + first, piece, (size_t)n * sizeof(float)));
        SC_TRY(o->ops->stream_sync(o->stream)); /* before `piece` is written again */
    }
    return SC_OK;
}

sc_status sc_stage_init(sc_stage *self, uint64_t seed)
{
    for (int i = 0; i < self->n_params; i++)
        SC_TRY(init_param(self, &self->params[i], seed));
    SC_TRY(zero_arena(self, &self->optimizer_arena));
    return sc_stage_reset(self);
}

sc_status sc_stage_clear(sc_stage *self)
{
    SC_TRY(zero_arena(self, &self->params_arena));
    SC_TRY(zero_arena(self, &self->optimizer_arena));
    return sc_stage_reset(self);
}

void sc_stage_empty_cache(sc_stage *self)
{
    memset(self->cached, 0, (size_t)self->options.cached_rows * sizeof *self->cached);
}

sc_status sc_stage_reset(sc_stage *self)
{
    memset(self->sets, 0, (size_t)self->options.max_alive * sizeof *self->sets);
    memset(self->split_used, 0, (size_t)self->options.max_split * sizeof *self->split_used);
    for (int i = 0; i < SC_STAGE_FLOWS; i++)
        self->flows[i].state = SC_FLOW_EMPTY;
    self->output_of = -1;
    self->tied_added = 0;
    sc_stage_empty_cache(self);
    SC_TRY(zero_arena(self, &self->gradients_arena));
    return self->options.ops->stream_sync(self->options.stream);
}
