/* A pipeline of stages in one process, chained by hand through put and take: what the executor does, without plans,
 * messages and processes. For tests; each includes it once. */
#ifndef SC_TESTS_STAGE_CHAIN_H
#define SC_TESTS_STAGE_CHAIN_H

#include "worker/stage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHAIN_MAX_STAGES = 5, CHAIN_MAX_MICROBATCHES = 4, CHAIN_MAX_ACTIONS = 4 * CHAIN_MAX_MICROBATCHES };

/* A failed call ends the test with the stage's own message. */
#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        if ((call) != SC_OK)                                                                                           \
            fail_msg("%s: %s", #call, sc_status_message());                                                            \
    } while (0)

typedef struct chain_batch { /* one micro-batch, on the host */
    int B, T;
    uint32_t first_row;
    const int32_t *tokens, *targets;
    const int32_t *segments, *lengths, *next; /* BERT */
} chain_batch;

typedef enum chain_order {
    CHAIN_GPIPE, /* all forwards, then all backwards */
    CHAIN_1F1B,
    CHAIN_SPLIT, /* as 1F1B, but each weight gradient waits for the next micro-batch's input gradient */
} chain_order;

typedef struct chain_action {
    char kind; /* F, B, I, W */
    int m;
} chain_action;

typedef struct chain {
    const sc_ops *ops;
    sc_stream *stream;
    sc_model model;
    int S;
    int n_frozen; /* of them, the first so many have frozen blocks alone */
    sc_stage *stages[CHAIN_MAX_STAGES];
    float
        *activations[CHAIN_MAX_STAGES][CHAIN_MAX_MICROBATCHES]; /* [s]: in the mail from s - 1 to s; NULL: not there */
    float *gradients[CHAIN_MAX_STAGES][CHAIN_MAX_MICROBATCHES]; /* [s]: from s + 1 to s */
} chain;

/* `sizes`: blocks of each stage. class_weights: NULL, or as sc_stage_options has them. */
static inline void chain_new_weighted(chain *self, const sc_ops *ops, const sc_model *model, int S, const int *sizes,
                                      int B, int T, int max_alive, int max_split, const sc_optimizer *optimizer,
                                      const float *class_weights)
{
    *self = (chain){.ops = ops, .model = *model, .S = S};
    CHECK(ops->stream_new(0, 1, &self->stream));
    int first = 0;
    for (int s = 0; s < S; s++) {
        sc_stage_options options = {.ops = ops,
                                    .stream = self->stream,
                                    .model = *model,
                                    .slice = {first, sizes[s]},
                                    .B = B,
                                    .T = T,
                                    .max_alive = max_alive,
                                    .max_split = max_split,
                                    .train = true,
                                    .optimizer = *optimizer,
                                    .class_weights = class_weights};
        CHECK(sc_stage_new(&options, &self->stages[s]));
        first += sizes[s];
        self->n_frozen += first <= model->frozen;
    }
    assert_int_equal(first, sc_model_n_blocks(model));
}

static inline void chain_new(chain *self, const sc_ops *ops, const sc_model *model, int S, const int *sizes, int B,
                             int T, int max_alive, int max_split, const sc_optimizer *optimizer)
{
    chain_new_weighted(self, ops, model, S, sizes, B, T, max_alive, max_split, optimizer, NULL);
}

static inline void chain_destroy(chain *self)
{
    for (int s = 0; s < self->S; s++)
        sc_stage_destroy(&self->stages[s]);
    self->ops->stream_destroy(&self->stream);
}

static inline int chain_actions(int S, int s, int M, chain_order order, bool frozen, chain_action *out)
{
    for (int m = 0; frozen && m < M; m++)
        out[m] = (chain_action){'F', m};
    if (frozen)
        return M;
    int n = 0, forwards = 0, backwards = 0;
    int warm_up = order == CHAIN_GPIPE ? M : S - s < M ? S - s : M;
    while (backwards < M) {
        if (forwards < M && forwards - backwards < warm_up) {
            out[n++] = (chain_action){'F', forwards++};
            continue;
        }
        out[n++] = (chain_action){order == CHAIN_SPLIT ? 'I' : 'B', backwards++};
        if (order == CHAIN_SPLIT && backwards >= 2)
            out[n++] = (chain_action){'W', backwards - 2};
    }
    if (order == CHAIN_SPLIT)
        out[n++] = (chain_action){'W', M - 1};
    return n;
}

static inline float *chain_row(const chain *self, const chain_batch *batch)
{
    float *row = malloc((size_t)batch->B * (size_t)batch->T * (size_t)self->model.hidden * sizeof *row);
    assert_non_null(row);
    return row;
}

/* Takes what is in the mail; false if it is not there yet. */
static inline bool chain_receive(float **mail, float **out)
{
    *out = *mail;
    *mail = NULL;
    return *out != NULL;
}

static inline bool chain_forward(chain *self, int s, int m, const chain_batch *batch, const sc_stage_step *step,
                                 double *loss)
{
    sc_stage *stage = self->stages[s];
    float *activation = NULL;
    if (s > 0 && !chain_receive(&self->activations[s][m], &activation))
        return false;
    if (batch->lengths)
        CHECK(sc_stage_put_lengths(stage, m, batch->lengths, batch->B, batch->T));
    if (s == 0 && batch->segments)
        CHECK(sc_stage_put_segments(stage, m, batch->segments, batch->B, batch->T));
    if (s == self->S - 1 && batch->next)
        CHECK(sc_stage_put_next(stage, m, batch->next, batch->B, batch->T));
    if (s == 0)
        CHECK(sc_stage_put_tokens(stage, m, batch->tokens, batch->B, batch->T));
    else
        CHECK(sc_stage_put_activation(stage, m, activation, batch->B, batch->T));
    free(activation);
    if (s == self->S - 1)
        CHECK(sc_stage_put_targets(stage, m, batch->targets, batch->B, batch->T));
    CHECK(sc_stage_forward(stage, m, batch->first_row, step));
    if (s == self->S - 1) {
        uint64_t n_targets, counted = 0;
        CHECK(sc_stage_take_loss(stage, m, loss, &n_targets));
        for (int i = 0; i < batch->B * sc_model_n_targets(&self->model, batch->T); i++)
            counted += batch->targets[i] >= 0;
        assert_int_equal(n_targets, counted);
    } else {
        float *out = self->activations[s + 1][m] = chain_row(self, batch);
        CHECK(sc_stage_take_activation(stage, m, out));
    }
    if (s < self->n_frozen)
        sc_stage_finish(stage, m);
    return true;
}

static inline bool chain_backward(chain *self, int s, int m, const chain_batch *batch, bool split)
{
    sc_stage *stage = self->stages[s];
    float *gradient = NULL;
    if (s < self->S - 1) {
        if (!chain_receive(&self->gradients[s][m], &gradient))
            return false;
        CHECK(sc_stage_put_gradient(stage, m, gradient));
        free(gradient);
    }
    if (split)
        CHECK(sc_stage_backward_input(stage, m));
    else
        CHECK(sc_stage_backward(stage, m));
    if (s > self->n_frozen) {
        float *out = self->gradients[s - 1][m] = chain_row(self, batch);
        CHECK(sc_stage_take_gradient(stage, m, out));
    }
    return true;
}

/* Forward and backward of M micro-batches: each stage goes through its own list until it lacks something. losses: as
 * sc_stage_take_loss gives them, sc_model_n_losses each. */
static inline void chain_run(chain *self, chain_order order, const chain_batch *batches, int M,
                             const sc_stage_step *step, double *losses)
{
    chain_action actions[CHAIN_MAX_STAGES][CHAIN_MAX_ACTIONS];
    int n[CHAIN_MAX_STAGES], at[CHAIN_MAX_STAGES] = {0};
    for (int s = 0; s < self->S; s++)
        n[s] = chain_actions(self->S, s, M, order, s < self->n_frozen, actions[s]);
    for (bool moved = true; moved;) {
        moved = false;
        for (int s = 0; s < self->S; s++)
            while (at[s] < n[s]) {
                chain_action action = actions[s][at[s]];
                const chain_batch *batch = &batches[action.m];
                if (action.kind == 'F' &&
                    !chain_forward(self, s, action.m, batch, step, losses + action.m * sc_model_n_losses(&self->model)))
                    break;
                if ((action.kind == 'B' || action.kind == 'I') &&
                    !chain_backward(self, s, action.m, batch, action.kind == 'I'))
                    break;
                if (action.kind == 'W')
                    CHECK(sc_stage_backward_weight(self->stages[s], action.m));
                at[s]++;
                moved = true;
            }
    }
    for (int s = 0; s < self->S; s++)
        assert_int_equal(at[s], n[s]);
}

/* The first and the last stage exchange the tied matrix's gradient, in two pieces; an untied model has nothing to exchange. */
static inline void chain_reduce_tied(chain *self)
{
    sc_stage *first = self->stages[0], *last = self->stages[self->S - 1];
    if (!sc_model_exchanges_tied(&self->model))
        return;
    if (first == last) {
        CHECK(sc_stage_reduce_tied_local(first));
        return;
    }
    uint64_t n = sc_stage_tied_elements(first), half = n / 2;
    assert_int_equal(n, sc_stage_tied_elements(last));
    float *of_first = malloc(n * sizeof(float)), *of_last = malloc(n * sizeof(float));
    assert_true(of_first && of_last);
    for (int piece = 0; piece < 2; piece++) {
        uint64_t from = piece ? half : 0, count = piece ? n - half : half;
        CHECK(sc_stage_read_tied(first, from, count, of_first));
        CHECK(sc_stage_read_tied(last, from, count, of_last));
        CHECK(sc_stage_add_tied(first, from, count, of_last));
        CHECK(sc_stage_add_tied(last, from, count, of_first));
    }
    free(of_first);
    free(of_last);
}

/* norms[ordinal] = sum of squares; returns the global norm, summed in ordinal order as the coordinator does. */
static inline double chain_norm(chain *self, double *norms)
{
    int n_params = sc_model_n_params(&self->model), n_voted = 0;
    for (int s = 0; s < self->S; s++) {
        int ordinals[256], n = sc_stage_n_norms(self->stages[s]);
        double squares[256];
        assert_true(n <= 256);
        CHECK(sc_stage_norms(self->stages[s], ordinals, squares));
        for (int i = 0; i < n; i++)
            norms[ordinals[i]] = squares[i];
        n_voted += n;
    }
    for (int i = 0; i < n_params; i++)
        if (!sc_model_param_learns(&self->model, i)) {
            norms[i] = 0;
            n_voted++;
        }
    assert_int_equal(n_voted, n_params);
    double sum = 0;
    for (int i = 0; i < n_params; i++)
        sum += norms[i];
    return sqrt(sum);
}

static inline void chain_apply(chain *self, int64_t step, float grad_scale, float learning_rate)
{
    for (int s = 0; s < self->S; s++)
        CHECK(sc_stage_apply(self->stages[s], step, grad_scale, learning_rate));
}

/* A parameter's state from the first stage that has it; the tied matrix's other copy must have the same bits. `out` has
 * room for its elements; returns how many. */
static inline uint64_t chain_read(chain *self, int ordinal, sc_state_kind kind, float *out)
{
    sc_param param = sc_model_param(&self->model, ordinal);
    uint64_t n = 1, bytes;
    for (int i = 0; i < param.shape.n_dims; i++)
        n *= (uint64_t)param.shape.dims[i];
    bytes = n * sizeof(float);
    bool found = false;
    float *copy = malloc(bytes);
    assert_non_null(copy);
    for (int s = 0; s < self->S; s++) {
        sc_status status = sc_stage_read_state(self->stages[s], param.name, kind, 0, bytes, copy);
        if (status == SC_NOT_FOUND)
            continue;
        assert_int_equal(status, SC_OK);
        if (found)
            assert_memory_equal(copy, out, bytes);
        memcpy(out, copy, bytes);
        found = true;
    }
    free(copy);
    assert_true(found);
    return n;
}

#endif
