/* A stage: a contiguous slice of the model's blocks with their parameters, gradients, optimizer state and activations.
 *
 * Mental model. The executor puts what came over the wire into a stage, runs an action on it, and takes out what goes
 * over the wire; the stage knows nothing of plans, peers or messages. All its memory is in arenas of the backend, sized
 * in sc_stage_new from the model description's own costs; no call after that allocates.
 *
 * Micro-batches in flight. A micro-batch's saved activations live in one of `max_alive` sets from its forward to the
 * end of its backward (of its forward, where `train` is false). Which set is the stage's own business.
 *
 * Cache. For generation a forward-only stage can keep the keys and values of `cached_rows` sequences, row by row, so that
 * a sequence goes on by one token without computing the earlier ones again. A row is as long as what went forward with
 * it last; it is emptied by sc_stage_reset and by writing any parameter, as its contents belong to the old ones.
 *
 * Invariants:
 *  1. forward (m) comes before backward (m); backward_input (m) before backward_weight (m); weight gradients accumulate
 * in the order of the calls, which the plan keeps in micro-batch order.
 *  2. Bits of gradients, norms and parameters depend on the model, seed, data and B, T alone: not on the slice.
 *  3. The gradient of the tied matrix is kept apart per side (embedding, head) until reduced, also where one stage has
 * both sides, so that the sum is the same two numbers on any partition: embedding + head.
 *  4. Norms and the optimizer are refused until the tied gradient is reduced in full: two copies of one matrix that got
 * different updates would not be found out by the loss.
 *
 *  5. Blocks below model.frozen go forward as in training, dropout and all, and have no backward: their parameters have no
 * gradients, moments or norms and never change. Nor has the tied matrix, when the embedding is one of them; then nothing is
 * exchanged. A stage of frozen blocks alone takes part in norms and the optimizer with nothing.
 *
 * Errors: a call that comes out of this order is SC_FAILED_PRECONDITION, naming the micro-batch, and changes nothing.
 * Thread: the executor's only. Host pointers of put/take calls are used before the call returns. */
#ifndef SC_STAGE_H
#define SC_STAGE_H

#include "kernels/ops.h"
#include "proto/base/model.h"
#include "worker/optim/optimizer.h"

typedef struct sc_stage sc_stage;

/* cached_rows times the context, at most: keeps every size of a cache inside 64 bits. */
enum { SC_MAX_CACHED_TOKENS = 1 << 24 };

typedef struct sc_stage_options {
    const sc_ops *ops;
    sc_stream *stream;
    sc_model model;
    sc_slice slice;
    int B, T;      /* the largest micro-batch; smaller ones are allowed */
    int max_alive; /* micro-batches in flight, at most */
    int max_split; /* micro-batches between backward_input and backward_weight, at most; 0: only full backwards come */
    bool train;    /* false: no gradients, no optimizer state */
    /* Sequences of up to model.context tokens whose keys and values are kept; 0: none. Not with `train`. */
    int cached_rows;
    sc_optimizer optimizer;
    /* [labels], copied: what a target's loss counts in training. NULL: all 1. Not with multi_label. */
    const float *class_weights;
} sc_stage_options;

/* What one call of forward needs to know of the step. */
typedef struct sc_stage_step {
    bool train; /* dropout on, keep what backward needs */
    uint64_t seed;
    int64_t optimizer_step; /* 1 for the first; keys dropout */
    float loss_scale;       /* 1 / targets that count in the whole step, or the sum of their weights */
    float next_scale;       /* pre-training: 1 / sequences in the whole step */
    bool cache;             /* keys and values are read from the cache and added to it */
    int position;           /* with `cache`: tokens of each sequence that the cache has; this micro-batch's follow */
} sc_stage_step;

/* What a stage will allocate, before it does; sc_stage_new allocates exactly this. Bytes. */
typedef struct sc_stage_memory {
    uint64_t params, gradients, optimizer;
    uint64_t activations; /* the cache among them */
} sc_stage_memory;
sc_stage_memory sc_stage_plan_memory(const sc_stage_options *options);

/* Returns owned; parameters are zero until initialised or written. Errors: SC_RESOURCE_EXHAUSTED naming the bytes. */
sc_status sc_stage_new(const sc_stage_options *options, sc_stage **out);
void sc_stage_destroy(sc_stage **self_p);
/* Parameters as a fresh run with `seed` starts them; optimizer state zero. */
sc_status sc_stage_init(sc_stage *self, uint64_t seed);

/* Parameters, optimizer state and gradients zero, nothing in flight: as sc_stage_new leaves it. */
sc_status sc_stage_clear(sc_stage *self);

bool sc_stage_is_first(const sc_stage *self); /* holds the embedding */
bool sc_stage_is_last(const sc_stage *self);  /* holds the head */

/* ---- a micro-batch's way through the stage ---- */
/* First stage: token ids, int32 (B,T) on the host. Errors: SC_INVALID for an id outside the vocabulary or a shape that
 * is larger than the arenas; SC_FAILED_PRECONDITION if `microbatch` has no free set. */
sc_status sc_stage_put_tokens(sc_stage *self, int microbatch, const int32_t *tokens, int B, int T);
/* Other stages: float32 (B,T,C). */
sc_status sc_stage_put_activation(sc_stage *self, int microbatch, const float *activation, int B, int T);
/* BERT, every stage: tokens of each sequence, int32 (B), each in [1, T]; behind them is padding. */
sc_status sc_stage_put_lengths(sc_stage *self, int microbatch, const int32_t *lengths, int B, int T);
/* BERT, first stage: the segment of each token, int32 (B,T), each below model.token_types. */
sc_status sc_stage_put_segments(sc_stage *self, int microbatch, const int32_t *segments, int B, int T);
/* Last stage, before its forward: int32 (B, sc_model_n_targets (T)); -1 marks a position that does not count. */
sc_status sc_stage_put_targets(sc_stage *self, int microbatch, const int32_t *targets, int B, int T);
/* Pre-training, last stage: int32 (B), 1 where the second sentence is from elsewhere, 0 where it follows the first. */
sc_status sc_stage_put_next(sc_stage *self, int microbatch, const int32_t *next, int B, int T);
/* `first_row`: index of the micro-batch's first sequence in the step's batch; keys dropout, and is its row in the cache.
 * With step->cache: at position 0 a micro-batch of any T <= context; behind cached tokens T is 1. A position before a
 * row's end cuts the row there. Errors: SC_FAILED_PRECONDITION (no cache; a row does not reach `position`), SC_INVALID
 * (T > 1 behind cached tokens), SC_OUT_OF_RANGE (position + T > context; rows that the cache lacks). */
sc_status sc_stage_forward(sc_stage *self, int microbatch, uint32_t first_row, const sc_stage_step *step);
/* Not the last stage: its output, float32 (B,T,C), until the next forward. */
sc_status sc_stage_take_activation(sc_stage *self, int microbatch, float *out);
/* Last stage: sums of the micro-batch's losses (in training weighted, not yet divided), sc_model_n_losses of them, and how many
 * targets counted. */
sc_status sc_stage_take_loss(sc_stage *self, int microbatch, double *sums, uint64_t *n_targets);
/* Last stage, forward-only with targets: how many of those that counted the logits have right, for each of the losses: the
 * largest of a target's logits is its own, or, with multi_label, the label's probability is on its side of a half. */
sc_status sc_stage_take_correct(sc_stage *self, int microbatch, uint64_t *n_correct);
/* Last stage, forward-only: logits, (B, sc_model_n_logits (T)), of a micro-batch without targets; a head for masked words also
 * gives (n, V), those of the n positions whose targets count. How many there are (0: not to be taken), and they. */
uint64_t sc_stage_n_logits(const sc_stage *self, int microbatch);
sc_status sc_stage_take_logits(sc_stage *self, int microbatch, float *out);
/* Not the last stage: gradient of its output, (B,T,C). One may be put while the last backward's is not yet taken. */
sc_status sc_stage_put_gradient(sc_stage *self, int microbatch, const float *gradient);
sc_status sc_stage_backward(sc_stage *self, int microbatch); /* both of the following, block by block */
sc_status sc_stage_backward_input(sc_stage *self, int microbatch);
sc_status sc_stage_backward_weight(sc_stage *self, int microbatch);
/* Not the first stage: gradient of its input, (B,T,C), until the next backward. */
sc_status sc_stage_take_gradient(sc_stage *self, int microbatch, float *out);
/* Ends a forward-only micro-batch: its set is free again. Backward does so by itself. */
void sc_stage_finish(sc_stage *self, int microbatch);
/* Forgets all micro-batches in flight, empties the cache and zeroes the gradients: after a step that was broken off. */
sc_status sc_stage_reset(sc_stage *self);

/* ---- the end of a step ---- */
/* The tied matrix's gradient of this stage's side(s). Elements of the exchange. 0 if this stage has no side of it. */
uint64_t sc_stage_tied_elements(const sc_stage *self);
sc_status sc_stage_read_tied(sc_stage *self, uint64_t first, uint64_t n, float *out);
/* Adds the other side's elements; or, where the stage has both sides, sc_stage_reduce_tied_local adds the two. */
sc_status sc_stage_add_tied(sc_stage *self, uint64_t first, uint64_t n, const float *other);
sc_status sc_stage_reduce_tied_local(sc_stage *self);

/* Sum of squares of each gradient that the stage votes for (the tied matrix: the first stage alone), in ordinal order.
 * Arrays of at least sc_stage_n_norms elements. */
int sc_stage_n_norms(const sc_stage *self);
sc_status sc_stage_norms(sc_stage *self, int *ordinals, double *sum_squares);
/* The optimizer, then gradients to zero. `optimizer_step` is 1 for the first. */
sc_status sc_stage_apply(sc_stage *self, int64_t optimizer_step, float grad_scale, float learning_rate);

/* ---- state, by parameter name ---- */
typedef enum sc_state_kind {
    SC_STATE_PARAMETER,
    SC_STATE_FIRST_MOMENT,
    SC_STATE_SECOND_MOMENT,
    SC_STATE_GRADIENT
} sc_state_kind;
/* Bytes [from, from + n) of a float32 tensor. The moments of a frozen parameter, for which there is no memory, are read as the
 * zeros that they are; what is written to them is let go, as a run that froze it later does. Errors: SC_NOT_FOUND (not in this stage, or no such state),
 * SC_OUT_OF_RANGE. */
sc_status sc_stage_read_state(sc_stage *self, const char *name, sc_state_kind kind, uint64_t from, uint64_t n,
                              void *out);
sc_status sc_stage_write_state(sc_stage *self, const char *name, sc_state_kind kind, uint64_t from, uint64_t n,
                               const void *data);

#endif
