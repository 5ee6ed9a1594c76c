/* A small model, cut over S workers of K chunks, as an AssignRequest. For the worker's tests; each includes it once. */
#ifndef SC_ASSIGN_FIXTURE_H
#define SC_ASSIGN_FIXTURE_H

#include "coordinator/schedule/schedule.h"
#include "worker/assignment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIXTURE_B = 2,
    FIXTURE_T = 8,
    FIXTURE_M = 4,
    FIXTURE_VOCAB = 11,
    FIXTURE_BLOCKS = 5, /* three layers, the embedding and the head */
    FIXTURE_MAX_STAGES = FIXTURE_BLOCKS,
    FIXTURE_TRAIN = 0, /* plans by index */
    FIXTURE_FORWARD = 1,
};

typedef struct assign_fixture {
    Stagecoach__V1__AssignRequest request;
    Stagecoach__V1__ModelDescription model;
    Stagecoach__V1__OptimizerSettings optimizer;
    Stagecoach__V1__Slice slices[FIXTURE_MAX_STAGES], *slice_pointers[FIXTURE_MAX_STAGES];
    char *plans[2];
    char endpoints[FIXTURE_MAX_STAGES][256], *endpoint_pointers[FIXTURE_MAX_STAGES];
    uint64_t incarnations[FIXTURE_MAX_STAGES];
} assign_fixture;

static inline char *fixture_plan(int S, int M, sc_plan_mode mode)
{
    sc_plan *plan;
    assert_int_equal(sc_schedule_make(SC_SCHEDULE_1F1B, S, 1, M, mode, true, &plan), SC_OK);
    char *text = sc_plan_text(plan);
    assert_non_null(text);
    sc_plan_destroy(&plan);
    return text;
}

/* `train`, `forward`: the plans' text; NULL: 1F1B over S workers (then K is 1). */
static inline void fixture_fill(assign_fixture *self, int S, int K, const char *train, const char *forward)
{
    memset(self, 0, sizeof *self);
    self->model = (Stagecoach__V1__ModelDescription)STAGECOACH__V1__MODEL_DESCRIPTION__INIT;
    self->model.family = SC_GPT2;
    self->model.layers = FIXTURE_BLOCKS - 2;
    self->model.heads = 2;
    self->model.hidden = 16;
    self->model.context = FIXTURE_T;
    self->model.vocab = FIXTURE_VOCAB;
    self->model.dropout = self->model.attention_dropout = self->model.classifier_dropout = 0.1f;
    self->model.norm_epsilon = 1e-5f;
    self->model.tied = true;
    self->optimizer = (Stagecoach__V1__OptimizerSettings)STAGECOACH__V1__OPTIMIZER_SETTINGS__INIT;
    self->optimizer.kind = SC_ADAMW;
    self->optimizer.beta1 = 0.9f;
    self->optimizer.beta2 = 0.99f;
    self->optimizer.epsilon = 1e-8f;
    self->optimizer.weight_decay = 0.1f;
    int n_stages = S * K, next = 0;
    for (int v = 0; v < n_stages; v++) {
        int n_blocks = FIXTURE_BLOCKS / n_stages + (v < FIXTURE_BLOCKS % n_stages);
        self->slices[v] = (Stagecoach__V1__Slice)STAGECOACH__V1__SLICE__INIT;
        self->slices[v].first_block = (uint32_t)next;
        self->slices[v].n_blocks = (uint32_t)n_blocks;
        self->slice_pointers[v] = &self->slices[v];
        next += n_blocks;
    }
    for (int w = 0; w < S; w++) {
        snprintf(self->endpoints[w], sizeof self->endpoints[w], "tcp://127.0.0.1:%d", 9000 + w);
        self->endpoint_pointers[w] = self->endpoints[w];
        self->incarnations[w] = 100 + (uint64_t)w;
    }
    self->plans[FIXTURE_TRAIN] = train ? strdup(train) : fixture_plan(S, FIXTURE_M, SC_PLAN_TRAIN);
    self->plans[FIXTURE_FORWARD] = forward ? strdup(forward) : fixture_plan(S, 2, SC_PLAN_FORWARD);
    self->request = (Stagecoach__V1__AssignRequest)STAGECOACH__V1__ASSIGN_REQUEST__INIT;
    self->request.run = 1;
    self->request.generation = 1;
    self->request.n_plans = 2;
    self->request.plans = self->plans;
    self->request.n_slices = (size_t)n_stages;
    self->request.slices = self->slice_pointers;
    self->request.n_endpoints = self->request.n_incarnations = (size_t)S;
    self->request.endpoints = self->endpoint_pointers;
    self->request.incarnations = self->incarnations;
    self->request.model = &self->model;
    self->request.optimizer = &self->optimizer;
    self->request.seed = 42;
    self->request.micro_batch_size = FIXTURE_B;
    self->request.sequence_length = FIXTURE_T;
    self->request.fresh = self->request.train = true;
    self->request.resend_ms = 1000;
}

/* For generation: the forward plan alone (its index is 0 then), and a cache. */
static inline void fixture_generate(assign_fixture *self)
{
    self->request.n_plans = 1;
    self->request.plans = self->plans + FIXTURE_FORWARD;
    self->request.train = false;
    self->request.cache = true;
}

static inline void fixture_clear(assign_fixture *self)
{
    free(self->plans[FIXTURE_TRAIN]);
    free(self->plans[FIXTURE_FORWARD]);
}

/* Tokens or targets of a micro-batch: some rule that differs from step to step. */
static inline sc_tensor_message fixture_ids(uint64_t step, int m, uint32_t stage, uint32_t kind)
{
    sc_tensor_message message = {
        .name = {.generation = 1, .step = step, .microbatch = (uint32_t)m, .stage = stage, .kind = kind},
        .dtype = SC_I32,
        .shape = SC_SHAPE(FIXTURE_B, FIXTURE_T),
    };
    assert_int_equal(sc_buffer_new(FIXTURE_B * FIXTURE_T * sizeof(int32_t), &message.payload), SC_OK);
    int32_t *ids = sc_buffer_data(message.payload);
    int shift = kind == STAGECOACH__V1__TENSOR_KIND__TARGETS;
    for (int i = 0; i < FIXTURE_B * FIXTURE_T; i++)
        ids[i] = (int32_t)(((i + shift) * (i + shift) + 3 * m + (int)step) % FIXTURE_VOCAB);
    return message;
}

/* For step `step` the tokens at positions from .. from + n - 1 of the sequences that step 1 has. */
static inline sc_tensor_message fixture_tokens_at(uint64_t step, int m, int from, int n)
{
    sc_tensor_message message = fixture_ids(1, m, 0, STAGECOACH__V1__TENSOR_KIND__TOKENS);
    message.name.step = step;
    message.shape = SC_SHAPE(FIXTURE_B, n);
    sc_buffer *all = message.payload;
    assert_int_equal(sc_buffer_new((size_t)(FIXTURE_B * n) * sizeof(int32_t), &message.payload), SC_OK);
    const int32_t *ids = sc_buffer_data(all);
    int32_t *some = sc_buffer_data(message.payload);
    for (int b = 0; b < FIXTURE_B; b++)
        memcpy(some + b * n, ids + b * FIXTURE_T + from, (size_t)n * sizeof *some);
    sc_buffer_unref(&all);
    return message;
}

#endif
