/* Gradients are the slopes of the loss, with dropout on: what the golden file, which has none, cannot say. Forward and
 * backward must draw the same masks, or a parameter below one gets another slope. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/stage_chain.h"

enum { B = 2, T = 8, MAX_ELEMENTS = 1200 };

static sc_model model = {.family = SC_GPT2,
                         .layers = 2,
                         .heads = 2,
                         .hidden = 16,
                         .context = 10,
                         .vocab = 37,
                         .dropout = 0.4f,
                         .attention_dropout = 0.4f,
                         .classifier_dropout = 0.4f,
                         .norm_epsilon = 1e-5f,
                         .tied = true};
static const sc_optimizer adamw = {.kind = SC_ADAMW};
static const sc_stage_step train = {.train = true, .seed = 4, .optimizer_step = 3, .loss_scale = 1.0f / (B * T)};

static double loss_of(sc_stage *stage, bool finish)
{
    int32_t tokens[B * T], targets[B * T];
    for (int i = 0; i < B * T; i++) {
        tokens[i] = (7 * i + 3) % model.vocab;
        targets[i] = (11 * i + 10) % model.vocab;
    }
    double loss;
    uint64_t n_targets;
    CHECK(sc_stage_put_tokens(stage, 0, tokens, B, T));
    CHECK(sc_stage_put_targets(stage, 0, targets, B, T));
    CHECK(sc_stage_forward(stage, 0, 6, &train));
    CHECK(sc_stage_take_loss(stage, 0, &loss, &n_targets));
    if (finish)
        sc_stage_finish(stage, 0);
    return loss / (B * T);
}

static void write_param(sc_stage *stage, const char *name, uint64_t n, const float *data)
{
    CHECK(sc_stage_write_state(stage, name, SC_STATE_PARAMETER, 0, n * sizeof *data, data));
}

/* The loss along a parameter's own gradient rises by the gradient's length. */
static void check_slope(chain *pipeline, int ordinal)
{
    sc_param param = sc_model_param(&model, ordinal);
    sc_stage *stage = pipeline->stages[0];
    float w[MAX_ELEMENTS], dw[MAX_ELEMENTS], moved[MAX_ELEMENTS];
    uint64_t n = chain_read(pipeline, ordinal, SC_STATE_PARAMETER, w);
    chain_read(pipeline, ordinal, SC_STATE_GRADIENT, dw);
    double length = 0, losses[2];
    for (uint64_t i = 0; i < n; i++)
        length += (double)dw[i] * (double)dw[i];
    length = sqrt(length);
    assert_true(length > 0.1);
    /* Over this distance the third derivative adds about 1e-4 of the slope, and a float32 loss of about 4, which rounds
     * at 4e-7, up to 2e-4 of the smallest slope, 0.1. Another mask changes a slope by a tenth and more. */
    const double distance = 1e-2, tolerance = 1e-3;
    for (int side = 0; side < 2; side++) {
        for (uint64_t i = 0; i < n; i++)
            moved[i] = (float)((double)w[i] + (side ? 1 : -1) * distance * (double)dw[i] / length);
        write_param(stage, param.name, n, moved);
        losses[side] = loss_of(stage, true);
    }
    write_param(stage, param.name, n, w);
    double slope = (losses[1] - losses[0]) / (2 * distance);
    if (!(fabs(slope - length) <= tolerance * length))
        fail_msg("%s, %s: slope %.6g, gradient %.6g", pipeline->ops->name, param.name, slope, length);
}

static void check_backend(const sc_ops *ops, bool tied)
{
    chain pipeline;
    model.tied = tied;
    chain_new(&pipeline, ops, &model, 1, (int[]){4}, B, T, 1, 0, &adamw);
    sc_stage *stage = pipeline.stages[0];
    CHECK(sc_stage_init(stage, 8));
    for (int ordinal = 0; ordinal < sc_model_n_params(&model); ordinal++) {
        /* Ten times a fresh model's weights: each block then has its say in the loss. */
        float w[MAX_ELEMENTS];
        uint64_t n = chain_read(&pipeline, ordinal, SC_STATE_PARAMETER, w);
        sc_param param = sc_model_param(&model, ordinal);
        for (uint64_t i = 0; i < n && param.init == SC_INIT_NORMAL; i++)
            w[i] *= 10.0f;
        write_param(stage, param.name, n, w);
    }
    loss_of(stage, false);
    CHECK(sc_stage_backward(stage, 0));
    chain_reduce_tied(&pipeline);
    for (int ordinal = 0; ordinal < sc_model_n_params(&model); ordinal++)
        check_slope(&pipeline, ordinal);
    chain_destroy(&pipeline);
}

static void gradients_of_the_reference_are_slopes(void **state)
{
    (void)state;
    check_backend(&sc_ops_reference, true);
    check_backend(&sc_ops_reference, false);
}

static void gradients_of_the_cpu_are_slopes(void **state)
{
    (void)state;
    check_backend(&sc_ops_cpu, true);
    check_backend(&sc_ops_cpu, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_the_reference_are_slopes),
        cmocka_unit_test(gradients_of_the_cpu_are_slopes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
