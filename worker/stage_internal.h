/* What the files of the stage share.
 *
 * Memory, each an arena of the backend:
 *
 *   params       every distinct parameter of the slice, at param.offset
 *   gradients    of those that learn, in the same order, at param.learning_offset; behind them, where one stage has both
 *                sides of the tied matrix, the head's side
 *   optimizer    the moments, each laid out as the gradients
 *   activations  sets      max_alive times the lengths of the sequences (BERT) and the saved slots of all blocks
 *                shared    the saved slots of one transformer block, used by all that have no backward: frozen ones, and all in
 *                          a stage that does not train
 *                weight    weight slots of the largest block, for full backwards
 *                splits    max_split times the weight slots of all blocks, from backward_input to backward_weight
 *                scratch   scratch slots of the largest block
 *                cache     each transformer block's keys and then its values, (cached_rows,context,C) both
 *                output, gradient buffers (N,C), and what norms and the tied exchange need
 *
 * Life of a micro-batch's set (who makes each transition):
 *
 *   FREE --put_*--> FILLING --forward--> FORWARDED --backward--> FREE
 *                                        |    |--backward_input--> SPLIT --backward_weight--> FREE
 *                                        '--finish--> FREE
 */
#ifndef SC_STAGE_INTERNAL_H
#define SC_STAGE_INTERNAL_H

#include "worker/model/arena.h"
#include "worker/model/block.h"
#include "worker/stage.h"

typedef struct sc_stage_param {
    sc_param info;
    uint64_t elements;
    uint64_t offset;          /* in params; bytes */
    bool learns;              /* else it has neither gradient nor moments */
    uint64_t learning_offset; /* in gradients and each moment */
} sc_stage_param;

typedef struct sc_stage_block {
    int index; /* in the model */
    sc_block_kind kind;
    const sc_block_functions *functions;
    float *params[SC_MAX_BLOCK_PARAMS], *grads[SC_MAX_BLOCK_PARAMS];
    uint64_t saved_offset;  /* in a set, or in `shared` */
    bool shares_saved;      /* the saved slots lie in `shared` */
    uint64_t weight_offset; /* in a split */
    uint64_t cache_offset;  /* of its keys, in `cache`; its values follow */
} sc_stage_block;

typedef enum sc_set_state { SC_SET_FREE, SC_SET_FILLING, SC_SET_FORWARDED, SC_SET_SPLIT } sc_set_state;

typedef struct sc_stage_set {
    sc_set_state state;
    int microbatch, B, T;
    bool has_input, has_lengths, has_segments, has_targets, has_next;
    uint64_t n_targets; /* that count */
    int split;          /* its place in `splits` in state SPLIT */
    uint32_t first_row; /* of its forward, as backward draws the same dropout */
    sc_stage_step step;
} sc_stage_set;

/* The gradient that flows back through the stage. A stage in the middle has two buffers, so that the next micro-batch's
 * may be put before this one's was taken. */
typedef enum sc_flow_state { SC_FLOW_EMPTY, SC_FLOW_OUTPUT, SC_FLOW_INPUT } sc_flow_state;
typedef struct sc_stage_flow {
    float *d; /* (N,C): the gradient of the stage's output (OUTPUT) or of its input (INPUT) */
    sc_flow_state state;
    int microbatch;
    size_t elements;
} sc_stage_flow;
enum { SC_STAGE_FLOWS = 2 };

/* The activations' arena, in order. */
typedef struct sc_stage_areas {
    char *sets, *shared, *weight, *splits, *scratch, *cache;
    float *output;
    float *flows[SC_STAGE_FLOWS];
    double *sums;         /* one a parameter, and SC_MAX_LOSSES */
    float *class_weights; /* NULL: none */
    float *staging;       /* SC_STAGE_TIED_PIECE elements of the other side's gradient */
} sc_stage_areas;
enum { SC_STAGE_TIED_PIECE = 1 << 16 }; /* 256 KiB: stays in a core's cache between the copy and the addition */

struct sc_stage {
    sc_stage_options options;
    sc_stage_block *blocks; /* [slice.n_blocks] */
    sc_stage_param *params; /* [n_params], in the order of the blocks: by ordinal, a head's tied matrix last */
    int n_params;
    uint64_t params_bytes, learning_bytes;
    sc_arena params_arena, gradients_arena, optimizer_arena, activations_arena;
    sc_stage_areas areas;
    uint64_t slot_offsets[SC_N_SLOTS]; /* among the slots of one kind and life */
    uint64_t set_bytes, split_bytes;
    sc_stage_set *sets; /* [max_alive] */
    bool *split_used;   /* [max_split] */
    int *cached;        /* [cached_rows]: tokens of each row that the cache has */
    int32_t *host_ids;  /* [2 * B * T]: where a head for masked words sorts out what counts */
    sc_stage_flow flows[SC_STAGE_FLOWS];
    int output_of;       /* the micro-batch whose output `areas.output` holds; -1: none */
    uint64_t tied_added; /* elements of the tied gradient that are reduced in this step */
};

/* Where the parameter lies in one of the arenas. */
static inline float *sc_stage_at(const sc_arena *arena, uint64_t offset)
{
    return arena->memory ? (float *)(void *)(arena->memory + offset) : NULL;
}
static inline float *sc_stage_moment(const sc_stage *self, const sc_stage_param *param, int moment)
{
    return sc_stage_at(&self->optimizer_arena, (uint64_t)moment * self->learning_bytes + param->learning_offset);
}
static inline float *sc_stage_gradient(const sc_stage *self, const sc_stage_param *param)
{
    return sc_stage_at(&self->gradients_arena, param->learning_offset);
}
/* The first of the stage's blocks, by its place in it, that learns; n_blocks: none does. */
static inline int sc_stage_first_learning(const sc_stage *self)
{
    int first = self->options.model.frozen - self->options.slice.first_block;
    return first < 0 ? 0 : first > self->options.slice.n_blocks ? self->options.slice.n_blocks : first;
}

/* ---- stage_microbatch.c ---- */
sc_status sc_stage_check_shape(const sc_stage *self, int microbatch, int B, int T);
/* The set of `microbatch`, which must be in `state`. */
/* NULL if it is not here. */
sc_stage_set *sc_stage_find_set(const sc_stage *self, int microbatch);
sc_status sc_stage_get_set(sc_stage *self, int microbatch, sc_set_state state, const char *what, sc_stage_set **out);
/* The set that a put_* call fills: the micro-batch's own, or a free one. */
sc_status sc_stage_open_set(sc_stage *self, int microbatch, int B, int T, sc_stage_set **out);
void sc_stage_free_set(sc_stage *self, sc_stage_set *set);
/* Of its input, and of its output: B T C. */
size_t sc_stage_elements(const sc_stage *self, const sc_stage_set *set);
char *sc_stage_set_memory(const sc_stage *self, const sc_stage_set *set);
/* Where a saved slot of the stage's block i lies; and that which holds the block's input. */
void *sc_stage_saved_slot(const sc_stage *self, const sc_stage_set *set, int i, sc_slot slot);
void *sc_stage_input_slot(const sc_stage *self, const sc_stage_set *set, int i);
/* Everything block i needs for this micro-batch; `weight` is where its weight slots lie. */
sc_block_call sc_stage_block_call(const sc_stage *self, const sc_stage_set *set, int i, char *weight);
/* From the host; done when it returns. */
sc_status sc_stage_put_bytes(sc_stage *self, void *to, const void *from, size_t bytes);

/* ---- stage.c and stage_update.c ---- */
/* Bytes of a set's lengths, with which it begins. */
uint64_t sc_stage_lengths_bytes(const sc_stage_options *options);
/* Bytes of one block's keys (or values) in the cache. */
uint64_t sc_stage_cache_bytes(const sc_stage_options *options);
void sc_stage_empty_cache(sc_stage *self);

/* The tied matrix among self->params; NULL if the slice has no side of it that learns. */
const sc_stage_param *sc_stage_tied_param(const sc_stage *self);
/* The gradient of the head's side where the stage has both; NULL otherwise. */
float *sc_stage_tied_head_gradient(const sc_stage *self);

#endif
