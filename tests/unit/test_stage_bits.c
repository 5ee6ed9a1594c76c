/* The promise of identical bits: losses, gradients, norms and weights of a small GPT-2 with dropout do not depend on how the
 * model is cut into stages, on the order of the schedule, or on whether backward comes in halves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/stage_chain.h"

enum { B = 2, T = 8, M = 3, STEPS = 4, MAX_PARAMS = 41, MAX_ELEMENTS = 1200 };

static const sc_ops *const backends[] = {&sc_ops_reference, &sc_ops_cpu};
static sc_model model = {.family = SC_GPT2,
                         .layers = 3,
                         .heads = 2,
                         .hidden = 16,
                         .context = 10,
                         .vocab = 37,
                         .dropout = 0.2f,
                         .attention_dropout = 0.2f,
                         .classifier_dropout = 0.2f,
                         .norm_epsilon = 1e-5f,
                         .tied = true};
static const sc_optimizer adamw = {
    .kind = SC_ADAMW, .beta1 = 0.9f, .beta2 = 0.99f, .epsilon = 1e-8f, .weight_decay = 0.1f};
static const sc_optimizer sgd = {.kind = SC_SGD, .momentum = 0.9f, .weight_decay = 0.1f};

static int32_t token(int step, int m, int i)
{
    const sc_rng rng = {.seed = 5, .site = SC_RNG_SITE(SC_RNG_TEST, m), .step = (uint32_t)step};
    return (int32_t)sc_rng_below(&rng, (uint64_t)i, (uint64_t)model.vocab);
}

typedef struct step_data {
    int32_t tokens[M][B * T], targets[M][B * T];
    chain_batch batches[M];
    int n_targets;
} step_data;

/* The last micro-batch is smaller in both directions, and some positions do not count. */
static void fill_step(step_data *data, int step)
{
    data->n_targets = 0;
    for (int m = 0; m < M; m++) {
        chain_batch *batch = &data->batches[m];
        *batch = (chain_batch){.B = m < M - 1 ? B : B - 1,
                               .T = m < M - 1 ? T : T - 3,
                               .first_row = (uint32_t)(m * B),
                               .tokens = data->tokens[m],
                               .targets = data->targets[m]};
        for (int i = 0; i < batch->B * batch->T; i++) {
            data->tokens[m][i] = token(step, m, i);
            data->targets[m][i] = i % 7 == 3 ? -1 : token(step, m, i + 1);
            data->n_targets += data->targets[m][i] >= 0;
        }
    }
}

/* Everything that must have the same bits. */
typedef struct outcome {
    double losses[STEPS][M], norms[STEPS][MAX_PARAMS];
    float grads[MAX_PARAMS][MAX_ELEMENTS];  /* of the last step, reduced */
    float params[MAX_PARAMS][MAX_ELEMENTS]; /* after it */
    float moments[MAX_PARAMS][MAX_ELEMENTS];
} outcome;

typedef struct variant {
    int S;
    int sizes[CHAIN_MAX_STAGES];
    chain_order order;
    int max_split;
} variant;

static void read_all(chain *pipeline, sc_state_kind kind, float out[MAX_PARAMS][MAX_ELEMENTS])
{
    for (int ordinal = 0; ordinal < sc_model_n_params(&model); ordinal++)
        if (kind != SC_STATE_GRADIENT || sc_model_param_learns(&model, ordinal)) /* else there is none */
            assert_true(chain_read(pipeline, ordinal, kind, out[ordinal]) <= MAX_ELEMENTS);
}

static outcome *train(const sc_ops *ops, const variant *v, const sc_optimizer *optimizer)
{
    outcome *out = calloc(1, sizeof *out);
    assert_non_null(out);
    assert_true(sc_model_n_params(&model) <= MAX_PARAMS);
    chain pipeline;
    int max_alive = v->order == CHAIN_GPIPE ? M : v->S < M ? v->S + 1 : M; /* a split keeps one more */
    chain_new(&pipeline, ops, &model, v->S, v->sizes, B, T, max_alive, v->max_split, optimizer);
    for (int s = 0; s < v->S; s++)
        CHECK(sc_stage_init(pipeline.stages[s], 42));
    for (int step = 0; step < STEPS; step++) {
        step_data data;
        fill_step(&data, step);
        sc_stage_step options = {
            .train = true, .seed = 9, .optimizer_step = step + 1, .loss_scale = 1.0f / (float)data.n_targets};
        chain_run(&pipeline, v->order, data.batches, M, &options, out->losses[step]);
        chain_reduce_tied(&pipeline);
        double norm = chain_norm(&pipeline, out->norms[step]);
        if (step == STEPS - 1)
            read_all(&pipeline, SC_STATE_GRADIENT, out->grads);
        chain_apply(&pipeline, step + 1, (float)(0.5 / norm), 1e-2f);
    }
    read_all(&pipeline, SC_STATE_PARAMETER, out->params);
    read_all(&pipeline, SC_STATE_FIRST_MOMENT, out->moments);
    chain_destroy(&pipeline);
    return out;
}

static void expect_same(const outcome *a, const outcome *b)
{
    assert_memory_equal(a->losses, b->losses, sizeof a->losses);
    assert_memory_equal(a->norms, b->norms, sizeof a->norms);
    assert_memory_equal(a->grads, b->grads, sizeof a->grads);
    assert_memory_equal(a->params, b->params, sizeof a->params);
    assert_memory_equal(a->moments, b->moments, sizeof a->moments);
}

static void bits_depend_on_neither_slice_nor_schedule(void **state)
{
    (void)state;
    static const variant variants[] = {
        {1, {5}, CHAIN_1F1B, 0},           {2, {3, 2}, CHAIN_GPIPE, 0},      {2, {1, 4}, CHAIN_1F1B, 0},
        {2, {4, 1}, CHAIN_1F1B, 0},        {3, {2, 2, 1}, CHAIN_GPIPE, 0},   {3, {1, 3, 1}, CHAIN_1F1B, 0},
        {4, {1, 1, 2, 1}, CHAIN_GPIPE, 0}, {4, {1, 2, 1, 1}, CHAIN_1F1B, 0}, {5, {1, 1, 1, 1, 1}, CHAIN_1F1B, 0},
    };
    for (size_t k = 0; k < sizeof backends / sizeof *backends; k++)
        for (int o = 0; o < 2; o++) {
            const sc_optimizer *optimizer = o ? &sgd : &adamw;
            outcome *base = train(backends[k], &(variant){1, {5}, CHAIN_GPIPE, 0}, optimizer);
            for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
                outcome *other = train(backends[k], &variants[i], optimizer);
                expect_same(base, other);
                free(other);
            }
            free(base);
        }
}

/* What is frozen stays as it was drawn; and whatever is frozen, the cut and the schedule change no bit of the rest. */
static void what_is_frozen_does_not_change(void **state)
{
    (void)state;
    static const variant variants[] = {{2, {3, 2}, CHAIN_GPIPE, 0},        {2, {1, 4}, CHAIN_1F1B, 0},
                                       {2, {4, 1}, CHAIN_1F1B, 0},         {3, {2, 2, 1}, CHAIN_SPLIT, M},
                                       {4, {1, 1, 2, 1}, CHAIN_1F1B, 0},   {5, {1, 1, 1, 1, 1}, CHAIN_GPIPE, 0},
                                       {5, {1, 1, 1, 1, 1}, CHAIN_1F1B, 0}};
    for (model.frozen = 1; model.frozen <= 4; model.frozen++)
        for (size_t k = 0; k < sizeof backends / sizeof *backends; k++) {
            outcome *base = train(backends[k], &(variant){1, {5}, CHAIN_1F1B, 0}, &adamw);
            for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
                outcome *other = train(backends[k], &variants[i], &adamw);
                expect_same(base, other);
                free(other);
            }
            for (int ordinal = 0; ordinal < sc_model_n_params(&model); ordinal++) {
                static float fresh[MAX_ELEMENTS];
                uint64_t n = 1;
                sc_param param = sc_model_param(&model, ordinal);
                for (int i = 0; i < param.shape.n_dims; i++)
                    n *= (uint64_t)param.shape.dims[i];
                sc_model_init_param(&model, ordinal, 42, 0, n, fresh);
                bool same = memcmp(fresh, base->params[ordinal], n * sizeof *fresh) == 0;
                assert_int_equal(same, !sc_model_param_learns(&model, ordinal));
            }
            free(base);
        }
    model.frozen = 0;
}

/* The first step goes forward alike, and back alike as far as it goes: to freeze changes no gradient of the rest. */
static void what_is_frozen_changes_no_other_gradient(void **state)
{
    (void)state;
    enum { FROZEN = 2 };
    model.tied =
        false; /* a tied decoder's own part of the gradient is frozen too, and that of its bias there is none */
    step_data data;
    fill_step(&data, 0);
    sc_stage_step options = {.train = true, .seed = 9, .optimizer_step = 1, .loss_scale = 1.0f / (float)data.n_targets};
    static float grads[2][MAX_PARAMS][MAX_ELEMENTS];
    double losses[2][M];
    for (int i = 0; i < 2; i++) {
        chain one;
        model.frozen = i ? FROZEN : 0;
        chain_new(&one, &sc_ops_cpu, &model, 1, (int[]){5}, B, T, M, 0, &adamw);
        CHECK(sc_stage_init(one.stages[0], 42));
        chain_run(&one, CHAIN_1F1B, data.batches, M, &options, losses[i]);
        read_all(&one, SC_STATE_GRADIENT, grads[i]);
        chain_destroy(&one);
    }
    assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
    for (int ordinal = 0; ordinal < sc_model_n_params(&model); ordinal++)
        if (sc_model_param_learns(&model, ordinal))
            assert_memory_equal(grads[0][ordinal], grads[1][ordinal], sizeof grads[0][ordinal]);
    model.frozen = 0;
    model.tied = true;
}

static void what_is_frozen_takes_no_memory(void **state)
{
    (void)state;
    sc_stage_options options = {.ops = &sc_ops_cpu, .model = model, .B = B, .T = T, .max_alive = M, .train = true};
    options.optimizer = adamw;
    options.slice = (sc_slice){0, 3}; /* the embedding and two layers */
    sc_stage_memory all = sc_stage_plan_memory(&options);
    options.model.frozen = 2;
    sc_stage_memory some = sc_stage_plan_memory(&options);
    options.model.frozen = 3;
    options.max_alive = 1; /* as an assignment says of a stage that is frozen */
    sc_stage_memory none = sc_stage_plan_memory(&options);
    assert_true(some.params == all.params && none.params == all.params);
    assert_true(all.gradients > some.gradients && some.gradients > 0 && none.gradients == 0);
    assert_true(some.optimizer == 2 * some.gradients && none.optimizer == 0);
    assert_true(all.activations > some.activations && some.activations > none.activations);
}

static void halves_of_backward_give_the_same_bits(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof backends / sizeof *backends; k++) {
        outcome *base = train(backends[k], &(variant){1, {5}, CHAIN_GPIPE, 0}, &adamw);
        for (int S = 1; S <= 3; S++) {
            variant split = {S, {0}, CHAIN_SPLIT, 2}, full = {S, {0}, CHAIN_1F1B, 2};
            for (int s = 0; s < S; s++)
                split.sizes[s] = full.sizes[s] = 5 * (s + 1) / S - 5 * s / S;
            outcome *of_split = train(backends[k], &split, &adamw), *of_full = train(backends[k], &full, &adamw);
            expect_same(base, of_split);
            expect_same(base, of_full);
            free(of_split);
            free(of_full);
        }
        free(base);
    }
}

/* The comparisons above would pass on a model that does nothing. */
static void training_moves_every_parameter_and_dropout_counts(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof backends / sizeof *backends; k++) {
        outcome *out = train(backends[k], &(variant){1, {5}, CHAIN_GPIPE, 0}, &adamw);
        for (int ordinal = 0; ordinal < sc_model_n_params(&model); ordinal++) {
            assert_true(out->norms[0][ordinal] > 0);
            float fresh[MAX_ELEMENTS] = {0};
            sc_param param = sc_model_param(&model, ordinal);
            uint64_t n = 1;
            for (int i = 0; i < param.shape.n_dims; i++)
                n *= (uint64_t)param.shape.dims[i];
            sc_model_init_param(&model, ordinal, 42, 0, n, fresh);
            assert_memory_not_equal(out->params[ordinal], fresh, n * sizeof(float));
        }
        /* Two forwards of one micro-batch: another optimizer step or row draws another mask, the same one the same. */
        chain pipeline;
        chain_new(&pipeline, backends[k], &model, 1, (int[]){5}, B, T, 1, 0, &adamw);
        sc_stage *stage = pipeline.stages[0];
        CHECK(sc_stage_init(stage, 42));
        step_data data;
        fill_step(&data, 0);
        double losses[5];
        for (int i = 0; i < 5; i++) {
            sc_stage_step step = {.train = i < 4, .seed = 9, .optimizer_step = i == 2 ? 2 : 1, .loss_scale = 1.0f};
            uint64_t n_targets;
            CHECK(sc_stage_put_tokens(stage, 0, data.tokens[0], B, T));
            CHECK(sc_stage_put_targets(stage, 0, data.targets[0], B, T));
            CHECK(sc_stage_forward(stage, 0, i == 3 ? B : 0, &step));
            CHECK(sc_stage_take_loss(stage, 0, &losses[i], &n_targets));
            sc_stage_finish(stage, 0);
        }
        assert_true(losses[0] == losses[1]);
        for (int i = 2; i < 5; i++)
            assert_true(losses[0] != losses[i]);
        chain_destroy(&pipeline);
        free(out);
    }
}

static int untie(void **state)
{
    (void)state;
    model.tied = false;
    return 0;
}

static int tie(void **state)
{
    (void)state;
    model.tied = true;
    return 0;
}

int main(void)
{
#define UNTIED(test)                                                                                                   \
    {                                                                                                                  \
        "an untied head: " #test, test, untie, tie, NULL                                                               \
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_depend_on_neither_slice_nor_schedule),
        cmocka_unit_test(what_is_frozen_does_not_change),
        cmocka_unit_test(what_is_frozen_changes_no_other_gradient),
        cmocka_unit_test(what_is_frozen_takes_no_memory),
        cmocka_unit_test(halves_of_backward_give_the_same_bits),
        cmocka_unit_test(training_moves_every_parameter_and_dropout_counts),
        UNTIED(bits_depend_on_neither_slice_nor_schedule),
        UNTIED(halves_of_backward_give_the_same_bits),
        UNTIED(training_moves_every_parameter_and_dropout_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
