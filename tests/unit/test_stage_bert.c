/* A BERT's stages: padding changes no bit, gradients are the slopes of the loss with dropout on, a micro-batch without a masked
 * word, and what is refused. Agreement with transformers is tests/backend/test_bert_golden.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/stage_chain.h"

#include <stdio.h>

enum { B = 6, T = 37, C = 48, V = 131, K = 5, MAX_ELEMENTS = 8192 };

static const sc_optimizer sgd = {.kind = SC_SGD};

static sc_model model_for(sc_task task, bool multi_label)
{
    bool labelled = task == SC_TASK_CLASSIFICATION || task == SC_TASK_TAGGING;
    return (sc_model){.family = SC_BERT,
                      .layers = 2,
                      .heads = 3,
                      .hidden = C,
                      .intermediate = 80,
                      .context = 40,
                      .vocab = V,
                      .dropout = 0.3f,
                      .attention_dropout = 0.2f,
                      .classifier_dropout = 0.4f,
                      .norm_epsilon = 1e-12f,
                      .task = task,
                      .token_types = 2,
                      .labels = labelled ? K : 0,
                      .multi_label = multi_label};
}

typedef struct data {
    int32_t tokens[B * T], segments[B * T], targets[B * T], lengths[B], next[B];
} data;

static const int32_t lengths[B] = {37, 5, 1, 23, 12, 36};

/* Behind its length a sequence holds anything: it must not matter. */
static data draw(const sc_model *model)
{
    data d;
    int below = sc_model_targets_below(model), n = sc_model_n_targets(model, T);
    for (int i = 0; i < B * T; i++) {
        d.tokens[i] = (i * 29 + 7) % V;
        d.segments[i] = i % T > 9;
        d.targets[i] = -1;
    }
    for (int b = 0; b < B; b++)
        for (int i = 0; i < n; i++)
            if (n != T || (i < lengths[b] && i % 3 == 0))
                d.targets[b * n + i] = (b * 17 + i * 5 + 2) % below;
    for (int b = 0; b < B; b++)
        d.next[b] = b % 2;
    memcpy(d.lengths, lengths, sizeof lengths);
    return d;
}

static sc_stage *new_stage(const sc_ops *ops, sc_stream *stream, const sc_model *model, bool train)
{
    sc_stage_options options = {.ops = ops,
                                .stream = stream,
                                .model = *model,
                                .slice = {0, sc_model_n_blocks(model)},
                                .B = B,
                                .T = T,
                                .max_alive = 1,
                                .train = train,
                                .optimizer = sgd};
    sc_stage *stage = NULL;
    CHECK(sc_stage_new(&options, &stage));
    CHECK(sc_stage_init(stage, 8));
    return stage;
}

static void put_rows(sc_stage *stage, const data *d, int first, int n, int t)
{
    int32_t tokens[B * T], segments[B * T];
    for (int i = 0; i < n * t; i++) {
        int at = (first + i / t) * T + i % t;
        tokens[i] = d->tokens[at];
        segments[i] = d->segments[at];
    }
    CHECK(sc_stage_put_tokens(stage, 0, tokens, n, t));
    CHECK(sc_stage_put_segments(stage, 0, segments, n, t));
    CHECK(sc_stage_put_lengths(stage, 0, d->lengths + first, n, t));
}

/* --- padding ------------------------------------------------------------------------------------------------------- */

static void a_sentence_has_the_same_logits_alone_and_in_company(void **state)
{
    (void)state;
    static const sc_task tasks[] = {SC_TASK_CLASSIFICATION, SC_TASK_TAGGING, SC_TASK_MASKED_WORDS};
    sc_stream *stream = NULL;
    CHECK(sc_ops_cpu.stream_new(0, 2, &stream));
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++) {
        sc_model model = model_for(tasks[i], false);
        data d = draw(&model);
        sc_stage *stage = new_stage(&sc_ops_cpu, stream, &model, false);
        uint64_t per_row = sc_model_n_logits(&model, T), per_token = per_row / T;
        float *together = calloc(B * per_row, sizeof(float)), *alone = calloc(B * per_row, sizeof(float));
        assert_true(together && alone);
        put_rows(stage, &d, 0, B, T);
        CHECK(sc_stage_forward(stage, 0, 0, &(sc_stage_step){.train = false}));
        CHECK(sc_stage_take_logits(stage, 0, together));
        sc_stage_finish(stage, 0);
        for (int first = 0; first < B; first++)
            for (int n = 1; n <= 2 && first + n <= B; n++) {
                int t = 0;
                for (int b = first; b < first + n; b++)
                    t = lengths[b] > t ? lengths[b] : t;
                put_rows(stage, &d, first, n, t);
                CHECK(sc_stage_forward(stage, 0, 0, &(sc_stage_step){.train = false}));
                CHECK(sc_stage_take_logits(stage, 0, alone));
                sc_stage_finish(stage, 0);
                for (int b = 0; b < n; b++) {
                    uint64_t row = sc_model_n_logits(&model, t);
                    bool by_token = model.task != SC_TASK_CLASSIFICATION;
                    uint64_t count = by_token ? (uint64_t)lengths[first + b] * per_token : per_row;
                    assert_memory_equal(alone + (uint64_t)b * row, together + (uint64_t)(first + b) * per_row,
                                        count * sizeof(float));
                }
            }
        free(together), free(alone);
        sc_stage_destroy(&stage);
    }
    sc_ops_cpu.stream_destroy(&stream);
}

/* --- what is right ------------------------------------------------------------------------------------------------- */

/* Every other target that counts becomes what the logits say, the others something else. Returns how many are right. */
static uint64_t choose_targets(const sc_model *model, const float *logits, data *d)
{
    int below = sc_model_targets_below(model), n = sc_model_n_targets(model, T);
    uint64_t right = 0, counted = 0;
    for (int i = 0; i < B * n; i++) {
        if (d->targets[i] < 0)
            continue;
        const float *x = logits + (size_t)i * (size_t)(model->multi_label ? 1 : below);
        int32_t says = 0;
        for (int v = 1; v < below && !model->multi_label; v++)
            says = x[v] > x[says] ? v : says;
        if (model->multi_label)
            says = *x > 0;
        bool is_right = counted++ % 2 == 0;
        d->targets[i] = is_right ? says : (says + 1) % below;
        right += is_right;
    }
    return right;
}

static void count(sc_stage *stage, const sc_model *model, const data *d, uint64_t *n_correct)
{
    put_rows(stage, d, 0, B, T);
    CHECK(sc_stage_put_targets(stage, 0, d->targets, B, T));
    if (sc_model_predicts_next(model))
        CHECK(sc_stage_put_next(stage, 0, d->next, B, T));
    CHECK(sc_stage_forward(stage, 0, 0, &(sc_stage_step){.train = false}));
    CHECK(sc_stage_take_correct(stage, 0, n_correct));
    sc_stage_finish(stage, 0);
}

static void right_targets_are_counted(void **state)
{
    (void)state;
    static const struct {
        sc_task task;
        bool multi_label;
    } heads[] = {{SC_TASK_PRETRAINING, false},
                 {SC_TASK_MASKED_WORDS, false},
                 {SC_TASK_CLASSIFICATION, false},
                 {SC_TASK_CLASSIFICATION, true},
                 {SC_TASK_TAGGING, false}};
    sc_stream *stream = NULL;
    CHECK(sc_ops_cpu.stream_new(0, 1, &stream));
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        sc_model model = model_for(heads[i].task, heads[i].multi_label);
        data d = draw(&model);
        sc_stage *stage = new_stage(&sc_ops_cpu, stream, &model, false);
        float *logits = calloc(B * sc_model_n_logits(&model, T), sizeof *logits);
        assert_non_null(logits);
        put_rows(stage, &d, 0, B, T);
        CHECK(sc_stage_forward(stage, 0, 0, &(sc_stage_step){.train = false}));
        CHECK(sc_stage_take_logits(stage, 0, logits));
        sc_stage_finish(stage, 0);
        uint64_t right = choose_targets(&model, logits, &d), n_correct[SC_MAX_LOSSES], others[SC_MAX_LOSSES];
        count(stage, &model, &d, n_correct);
        assert_true(n_correct[0] == right && right > 0);
        if (sc_model_predicts_next(&model)) { /* what is right of one answer is wrong of the other */
            for (int b = 0; b < B; b++)
                d.next[b] = !d.next[b];
            count(stage, &model, &d, others);
            assert_true(n_correct[1] + others[1] == B && others[0] == right);
        }
        free(logits);
        sc_stage_destroy(&stage);
    }
    sc_ops_cpu.stream_destroy(&stream);
}

static void a_step_that_trains_counts_nothing(void **state)
{
    (void)state;
    sc_model model = model_for(SC_TASK_TAGGING, false);
    data d = draw(&model);
    sc_stream *stream = NULL;
    CHECK(sc_ops_cpu.stream_new(0, 1, &stream));
    sc_stage *stage = new_stage(&sc_ops_cpu, stream, &model, true);
    put_rows(stage, &d, 0, B, T);
    CHECK(sc_stage_put_targets(stage, 0, d.targets, B, T));
    CHECK(sc_stage_forward(stage, 0, 0, &(sc_stage_step){.train = true, .loss_scale = 1}));
    uint64_t n_correct;
    assert_int_equal(sc_stage_take_correct(stage, 0, &n_correct), SC_FAILED_PRECONDITION);
    sc_stage_destroy(&stage);
    sc_ops_cpu.stream_destroy(&stream);
}

/* --- slopes -------------------------------------------------------------------------------------------------------- */

static double loss_of(sc_stage *stage, const sc_model *model, const data *d, bool finish)
{
    double sums[SC_MAX_LOSSES] = {0};
    uint64_t n_targets;
    put_rows(stage, d, 0, B, T);
    CHECK(sc_stage_put_targets(stage, 0, d->targets, B, T));
    if (sc_model_predicts_next(model))
        CHECK(sc_stage_put_next(stage, 0, d->next, B, T));
    CHECK(sc_stage_forward(
        stage, 0, 6,
        &(sc_stage_step){
            .train = true, .seed = 4, .optimizer_step = 3, .loss_scale = 1.0f / 16, .next_scale = 1.0f / 4}));
    CHECK(sc_stage_take_loss(stage, 0, sums, &n_targets));
    if (finish)
        sc_stage_finish(stage, 0);
    return sums[0] / 16 + sums[1] / 4;
}

static double loss_with(sc_task task, float dropout, float attention, float classifier)
{
    sc_model model = model_for(task, false);
    model.dropout = dropout;
    model.attention_dropout = attention;
    model.classifier_dropout = classifier;
    data d = draw(&model);
    sc_stream *stream = NULL;
    CHECK(sc_ops_cpu.stream_new(0, 1, &stream));
    sc_stage *stage = new_stage(&sc_ops_cpu, stream, &model, true);
    double loss = loss_of(stage, &model, &d, true);
    sc_stage_destroy(&stage);
    sc_ops_cpu.stream_destroy(&stream);
    return loss;
}

static void each_dropout_has_its_place(void **state)
{
    (void)state;
    static const sc_task tasks[] = {SC_TASK_PRETRAINING, SC_TASK_CLASSIFICATION, SC_TASK_TAGGING};
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++) {
        double none = loss_with(tasks[i], 0, 0, 0);
        assert_true(loss_with(tasks[i], 0.3f, 0, 0) != none);
        assert_true(loss_with(tasks[i], 0, 0.3f, 0) != none);
        assert_true((loss_with(tasks[i], 0, 0, 0.3f) == none) == (tasks[i] == SC_TASK_PRETRAINING));
    }
}

/* The loss along a parameter's own gradient rises by the gradient's length. */
static void check_slope(chain *one, const data *d, int ordinal)
{
    sc_param param = sc_model_param(&one->model, ordinal);
    if (strstr(param.name, ".key.bias")) /* zero but for rounding: the softmax does not see it */
        return;
    sc_stage *stage = one->stages[0];
    static float w[MAX_ELEMENTS], dw[MAX_ELEMENTS], moved[MAX_ELEMENTS];
    uint64_t n = chain_read(one, ordinal, SC_STATE_PARAMETER, w);
    assert_true(n <= MAX_ELEMENTS);
    chain_read(one, ordinal, SC_STATE_GRADIENT, dw);
    double length = 0, losses[2];
    for (uint64_t i = 0; i < n; i++)
        length += (double)dw[i] * (double)dw[i];
    length = sqrt(length);
    assert_true(length > 0.01);
    /* The curve's third derivative, and losses of up to 20 that float32 rounds at 1e-6 against a rise of 2 x 2e-3 x 0.01 and
     * more; another mask changes a slope by a tenth and more. */
    const double distance = 2e-2 / fmax(1.0, length), tolerance = 2e-2;
    for (int side = 0; side < 2; side++) {
        for (uint64_t i = 0; i < n; i++)
            moved[i] = (float)((double)w[i] + (side ? 1 : -1) * distance * (double)dw[i] / length);
        CHECK(sc_stage_write_state(stage, param.name, SC_STATE_PARAMETER, 0, n * sizeof *moved, moved));
        losses[side] = loss_of(stage, &one->model, d, true);
    }
    CHECK(sc_stage_write_state(stage, param.name, SC_STATE_PARAMETER, 0, n * sizeof *w, w));
    double slope = (losses[1] - losses[0]) / (2 * distance);
    if (!(fabs(slope - length) <= tolerance * length))
        fail_msg("%s, task %d, %s: slope %.6g, gradient %.6g", one->ops->name, (int)one->model.task, param.name, slope,
                 length);
}

static void check_slopes(const sc_ops *ops, sc_task task, bool multi_label)
{
    sc_model model = model_for(task, multi_label);
    data d = draw(&model);
    chain one = {.ops = ops, .model = model, .S = 1};
    CHECK(ops->stream_new(0, 1, &one.stream));
    one.stages[0] = new_stage(ops, one.stream, &model, true);
    for (int ordinal = 0; ordinal < sc_model_n_params(&model); ordinal++) {
        /* Larger than a fresh model's weights: each block then has its say in the loss. */
        static float w[MAX_ELEMENTS];
        uint64_t n = chain_read(&one, ordinal, SC_STATE_PARAMETER, w);
        sc_param param = sc_model_param(&model, ordinal);
        for (uint64_t i = 0; i < n && param.init == SC_INIT_NORMAL; i++)
            w[i] *= 6.0f;
        CHECK(sc_stage_write_state(one.stages[0], param.name, SC_STATE_PARAMETER, 0, n * sizeof *w, w));
    }
    loss_of(one.stages[0], &model, &d, false);
    CHECK(sc_stage_backward(one.stages[0], 0));
    chain_reduce_tied(&one);
    for (int ordinal = 0; ordinal < sc_model_n_params(&model); ordinal++)
        check_slope(&one, &d, ordinal);
    chain_destroy(&one);
}

static void gradients_are_slopes_under_dropout(void **state)
{
    (void)state;
    check_slopes(&sc_ops_reference, SC_TASK_PRETRAINING, false);
    check_slopes(&sc_ops_cpu, SC_TASK_PRETRAINING, false);
    check_slopes(&sc_ops_cpu, SC_TASK_MASKED_WORDS, false);
    check_slopes(&sc_ops_cpu, SC_TASK_CLASSIFICATION, false);
    check_slopes(&sc_ops_cpu, SC_TASK_CLASSIFICATION, true);
    check_slopes(&sc_ops_cpu, SC_TASK_TAGGING, false);
}

/* --- odd micro-batches, refusals ----------------------------------------------------------------------------------- */

static void nothing_masked_is_no_loss_and_no_gradient(void **state)
{
    (void)state;
    sc_model model = model_for(SC_TASK_MASKED_WORDS, false);
    data d = draw(&model);
    for (int i = 0; i < B * T; i++)
        d.targets[i] = -1;
    chain one = {.ops = &sc_ops_cpu, .model = model, .S = 1};
    CHECK(sc_ops_cpu.stream_new(0, 1, &one.stream));
    one.stages[0] = new_stage(&sc_ops_cpu, one.stream, &model, true);
    assert_true(loss_of(one.stages[0], &model, &d, false) == 0);
    CHECK(sc_stage_backward(one.stages[0], 0));
    chain_reduce_tied(&one);
    double norms[64];
    assert_true(chain_norm(&one, norms) == 0);
    chain_destroy(&one);
}

static void what_a_stage_cannot_use_is_refused(void **state)
{
    (void)state;
    sc_model model = model_for(SC_TASK_PRETRAINING, false);
    data d = draw(&model), bad = d;
    sc_stream *stream = NULL;
    CHECK(sc_ops_cpu.stream_new(0, 1, &stream));
    sc_stage *stage = new_stage(&sc_ops_cpu, stream, &model, true);
    const sc_stage_step train = {.train = true, .loss_scale = 1, .next_scale = 1}, eval = {.train = false};

    bad.lengths[1] = 0;
    assert_int_equal(sc_stage_put_lengths(stage, 0, bad.lengths, B, T), SC_INVALID);
    bad.lengths[1] = T + 1;
    assert_int_equal(sc_stage_put_lengths(stage, 0, bad.lengths, B, T), SC_INVALID);
    bad.segments[3] = 2;
    assert_int_equal(sc_stage_put_segments(stage, 0, bad.segments, B, T), SC_INVALID);
    bad.next[2] = 2;
    assert_int_equal(sc_stage_put_next(stage, 0, bad.next, B, T), SC_INVALID);
    bad.targets[4] = V;
    assert_int_equal(sc_stage_put_targets(stage, 0, bad.targets, B, T), SC_INVALID);

    /* Each input in turn is missed. */
    CHECK(sc_stage_put_tokens(stage, 0, d.tokens, B, T));
    assert_int_equal(sc_stage_forward(stage, 0, 0, &eval), SC_FAILED_PRECONDITION);
    CHECK(sc_stage_put_lengths(stage, 0, d.lengths, B, T));
    assert_int_equal(sc_stage_forward(stage, 0, 0, &eval), SC_FAILED_PRECONDITION);
    CHECK(sc_stage_put_segments(stage, 0, d.segments, B, T));
    assert_int_equal(sc_stage_forward(stage, 0, 0, &train), SC_FAILED_PRECONDITION);
    CHECK(sc_stage_put_targets(stage, 0, d.targets, B, T));
    assert_int_equal(sc_stage_forward(stage, 0, 0, &train), SC_FAILED_PRECONDITION);
    assert_non_null(strstr(sc_status_message(), "next sentences"));
    CHECK(sc_stage_put_next(stage, 0, d.next, B, T));
    CHECK(sc_stage_forward(stage, 0, 0, &train));
    sc_stage_destroy(&stage);

    model = model_for(SC_TASK_TAGGING, false);
    stage = new_stage(&sc_ops_cpu, stream, &model, false);
    assert_int_equal(sc_stage_put_next(stage, 0, d.next, B, T), SC_FAILED_PRECONDITION);
    sc_stage_destroy(&stage);
    sc_ops_cpu.stream_destroy(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sentence_has_the_same_logits_alone_and_in_company),
        cmocka_unit_test(right_targets_are_counted),
        cmocka_unit_test(a_step_that_trains_counts_nothing),
        cmocka_unit_test(each_dropout_has_its_place),
        cmocka_unit_test(gradients_are_slopes_under_dropout),
        cmocka_unit_test(nothing_masked_is_no_loss_and_no_gradient),
        cmocka_unit_test(what_a_stage_cannot_use_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
