/* A stage's calls: memory planned and kept, loss of a fresh model, learning, forward-only, state by name, and errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/stage_chain.h"

enum { B = 2, T = 8 };

static const sc_ops *const backends[] = {&sc_ops_reference, &sc_ops_cpu};
static const sc_model model = {.family = SC_GPT2,
                               .layers = 2,
                               .heads = 2,
                               .hidden = 16,
                               .context = 8,
                               .vocab = 37,
                               .dropout = 0.1f,
                               .attention_dropout = 0.1f,
                               .classifier_dropout = 0.1f,
                               .norm_epsilon = 1e-5f,
                               .tied = true};
static const sc_optimizer adamw = {
    .kind = SC_ADAMW, .beta1 = 0.9f, .beta2 = 0.99f, .epsilon = 1e-8f, .weight_decay = 0.0f};
static const sc_optimizer sgd = {.kind = SC_SGD, .momentum = 0.9f};

static void fill_ids(int32_t *tokens, int32_t *targets)
{
    for (int i = 0; i < B * T; i++) {
        tokens[i] = (7 * i + 3) % model.vocab;
        targets[i] = (7 * i + 10) % model.vocab;
    }
}

/* --- memory -------------------------------------------------------------------------------------------------------- */

static struct {
    int calls;
    uint64_t bytes;
} allocated;

static sc_status counting_memory_new(sc_stream *stream, size_t bytes, void **out)
{
    allocated.calls++;
    allocated.bytes += bytes;
    return sc_ops_reference.memory_new(stream, bytes, out);
}

static sc_status failing_memory_new(sc_stream *stream, size_t bytes, void **out)
{
    return --allocated.calls < 0 ? SC_FAIL(SC_INTERNAL, "out of memory")
                                 : sc_ops_reference.memory_new(stream, bytes, out);
}

static sc_stage_options options_for(const sc_ops *ops, sc_stream *stream, sc_slice slice, bool train)
{
    return (sc_stage_options){.ops = ops,
                              .stream = stream,
                              .model = model,
                              .slice = slice,
                              .B = B,
                              .T = T,
                              .max_alive = 2,
                              .train = train,
                              .optimizer = adamw};
}

static void a_stage_allocates_what_it_planned_and_nothing_after(void **state)
{
    (void)state;
    sc_ops ops = sc_ops_reference;
    ops.memory_new = counting_memory_new;
    int sizes[][2] = {{4, 0}, {1, 3}, {3, 1}, {2, 2}};
    int32_t tokens[B * T], targets[B * T];
    fill_ids(tokens, targets);
    chain_batch batches[2] = {{.B = B, .T = T, .tokens = tokens, .targets = targets},
                              {.B = B, .T = T, .first_row = B, .tokens = tokens, .targets = targets}};
    for (int k = 0; k < 8; k++) {
        const int *size = sizes[k % 4];
        int S = size[1] ? 2 : 1, max_split = k < 4 ? 0 : 2;
        const sc_optimizer *optimizer = k % 2 ? &sgd : &adamw;
        memset(&allocated, 0, sizeof allocated);
        chain pipeline;
        chain_new(&pipeline, &ops, &model, S, size, B, T, 2, max_split, optimizer);
        uint64_t planned = 0;
        for (int s = 0, first = 0; s < S; first += size[s++]) {
            sc_stage_options o = options_for(&ops, pipeline.stream, (sc_slice){first, size[s]}, true);
            o.max_split = max_split;
            o.optimizer = *optimizer;
            sc_stage_memory memory = sc_stage_plan_memory(&o);
            planned += memory.params + memory.gradients + memory.optimizer + memory.activations;
        }
        assert_int_equal(allocated.bytes, planned);

        int calls = allocated.calls;
        for (int s = 0; s < S; s++)
            CHECK(sc_stage_init(pipeline.stages[s], 1));
        for (int64_t step = 1; step <= 2; step++) {
            sc_stage_step options = {.train = true, .optimizer_step = step, .loss_scale = 0.01f};
            double losses[2], norms[64];
            chain_run(&pipeline, max_split ? CHAIN_SPLIT : CHAIN_1F1B, batches, 2, &options, losses);
            chain_reduce_tied(&pipeline);
            chain_norm(&pipeline, norms);
            chain_apply(&pipeline, step, 1.0f, 1e-3f);
        }
        assert_int_equal(allocated.calls, calls);
        chain_destroy(&pipeline);
    }
}

static void memory_is_that_of_the_blocks_costs(void **state)
{
    (void)state;
    sc_stage_options o = options_for(&sc_ops_reference, NULL, (sc_slice){1, 2}, true);
    uint64_t row = (uint64_t)B * T * (uint64_t)model.hidden * 4, saved = 0, weight = 0, params = 0;
    sc_block_cost cost = {0};
    for (int block = 1; block <= 2; block++) {
        cost = sc_model_block_cost(&model, block, B, T);
        saved += cost.saved_bytes;
        weight += cost.weight_bytes;
        params += cost.param_elements * 4;
    }
    o.max_alive = 3;
    /* One output and two gradients of (N,C); norms and the like fit into what is left, under a kilobyte. */
    uint64_t expected = 3 * saved + cost.weight_bytes + cost.scratch_bytes + 3 * row;
    sc_stage_memory memory = sc_stage_plan_memory(&o);
    assert_in_range(memory.activations, expected, expected + 1024);
    assert_int_equal(memory.params, params); /* all sizes here are multiples of 64 bytes */
    assert_int_equal(memory.gradients, params);
    assert_int_equal(memory.optimizer, 2 * params);
    o.max_split = 2;
    assert_int_equal(sc_stage_plan_memory(&o).activations, memory.activations + 2 * weight);
    o.max_split = 0;
    o.optimizer = sgd;
    assert_int_equal(sc_stage_plan_memory(&o).optimizer, params);
    o.train = false;
    memory = sc_stage_plan_memory(&o);
    assert_int_equal(memory.gradients + memory.optimizer, 0);
    assert_in_range(memory.activations, cost.saved_bytes + 4 * row, cost.saved_bytes + 4 * row + 1024);

    /* A stage with both sides of a tied matrix has one of it, and a gradient of each side; untied, they are two matrices. */
    uint64_t matrix = (uint64_t)model.vocab * (uint64_t)model.hidden * 4;
    o = options_for(&sc_ops_reference, NULL, (sc_slice){0, 4}, true);
    sc_stage_memory tied = sc_stage_plan_memory(&o);
    assert_in_range(tied.gradients, tied.params + matrix, tied.params + matrix + 63); /* each starts on 64 bytes */
    o.model.tied = false;
    sc_stage_memory untied = sc_stage_plan_memory(&o);
    assert_int_equal(untied.params, tied.gradients);
    assert_int_equal(untied.gradients, untied.params);
    assert_int_equal(untied.optimizer, 2 * untied.params);
}

static void lack_of_memory_is_an_error(void **state)
{
    (void)state;
    sc_ops ops = sc_ops_reference;
    ops.memory_new = failing_memory_new;
    sc_stream *stream;
    CHECK(ops.stream_new(0, 1, &stream));
    sc_stage_options o = options_for(&ops, stream, (sc_slice){0, 4}, true);
    for (int works = 0; works < 4; works++) {
        allocated.calls = works;
        sc_stage *stage;
        assert_int_equal(sc_stage_new(&o, &stage), SC_RESOURCE_EXHAUSTED);
        assert_null(stage);
        assert_non_null(strstr(sc_status_message(), "bytes"));
    }
    ops.stream_destroy(&stream);
}

/* --- learning ------------------------------------------------------------------------------------------------------ */

static double one_step(chain *pipeline, const int32_t *tokens, const int32_t *targets, int64_t step)
{
    chain_batch batch = {.B = B, .T = T, .tokens = tokens, .targets = targets};
    sc_stage_step options = {.train = true, .optimizer_step = step, .loss_scale = 1.0f / (B * T)};
    double loss;
    chain_run(pipeline, CHAIN_GPIPE, &batch, 1, &options, &loss);
    chain_reduce_tied(pipeline);
    chain_apply(pipeline, step, 1.0f, 1e-2f);
    return loss / (B * T);
}

static void a_fresh_model_knows_nothing_and_then_learns_by_heart(void **state)
{
    (void)state;
    int32_t tokens[B * T], targets[B * T];
    fill_ids(tokens, targets);
    for (size_t k = 0; k < sizeof backends / sizeof *backends; k++) {
        chain pipeline;
        chain_new(&pipeline, backends[k], &model, 2, (int[]){2, 2}, B, T, 1, 0, &adamw);
        for (int s = 0; s < 2; s++)
            CHECK(sc_stage_init(pipeline.stages[s], 3));
        /* Logits of a fresh model are small, so the loss is ln V give or take their spread. */
        double loss = one_step(&pipeline, tokens, targets, 1);
        assert_true(fabs(loss - log(model.vocab)) < 0.1);
        for (int64_t step = 2; step <= 120; step++)
            loss = one_step(&pipeline, tokens, targets, step);
        assert_true(loss < 0.2); /* 16 pairs; dropout keeps it above nothing */
        chain_destroy(&pipeline);
    }
}

/* --- forward only -------------------------------------------------------------------------------------------------- */

static void copy_params(chain *from, sc_stage *to)
{
    for (int ordinal = 0; ordinal < sc_model_n_params(&model); ordinal++) {
        float data[2048];
        sc_param param = sc_model_param(&model, ordinal);
        uint64_t bytes = chain_read(from, ordinal, SC_STATE_PARAMETER, data) * sizeof(float);
        sc_status status = sc_stage_write_state(to, param.name, SC_STATE_PARAMETER, 0, bytes, data);
        assert_true(status == SC_OK || status == SC_NOT_FOUND);
    }
}

/* Stages made for forward only share slots between blocks; two micro-batches are in flight at once. */
static void forward_only_gives_the_losses_and_logits_of_training_stages(void **state)
{
    (void)state;
    int32_t tokens[2][B * T], targets[2][B * T];
    fill_ids(tokens[0], targets[0]);
    fill_ids(targets[1], tokens[1]);
    for (size_t k = 0; k < sizeof backends / sizeof *backends; k++) {
        chain pipeline;
        chain_new(&pipeline, backends[k], &model, 1, (int[]){4}, B, T, 2, 0, &adamw);
        CHECK(sc_stage_init(pipeline.stages[0], 3));
        one_step(&pipeline, tokens[0], targets[0], 1);

        sc_stage *stages[2];
        for (int s = 0; s < 2; s++) {
            sc_stage_options o = options_for(backends[k], pipeline.stream, (sc_slice){s ? 1 : 0, s ? 3 : 1}, false);
            CHECK(sc_stage_new(&o, &stages[s]));
            copy_params(&pipeline, stages[s]);
        }
        sc_stage_step step = {.train = false};
        double expected[2], loss;
        uint64_t n_targets;
        float logits[2][B * 37], got[B * 37], row[B * T * 16];
        for (int m = 0; m < 2; m++) {
            CHECK(sc_stage_put_tokens(pipeline.stages[0], m, tokens[m], B, T));
            CHECK(sc_stage_put_targets(pipeline.stages[0], m, targets[m], B, T));
            CHECK(sc_stage_forward(pipeline.stages[0], m, 0, &step));
            CHECK(sc_stage_take_loss(pipeline.stages[0], m, &expected[m], &n_targets));
            sc_stage_finish(pipeline.stages[0], m);
            CHECK(sc_stage_put_tokens(pipeline.stages[0], m, tokens[m], B, T));
            CHECK(sc_stage_forward(pipeline.stages[0], m, 0, &step));
            CHECK(sc_stage_take_logits(pipeline.stages[0], m, logits[m]));
            sc_stage_finish(pipeline.stages[0], m);
        }
        for (int pass = 0; pass < 2; pass++) { /* with targets, then without */
            for (int m = 0; m < 2; m++) {
                CHECK(sc_stage_put_tokens(stages[0], m, tokens[m], B, T));
                if (pass == 0)
                    CHECK(sc_stage_put_targets(stages[1], m, targets[m], B, T));
            }
            for (int m = 0; m < 2; m++) {
                CHECK(sc_stage_forward(stages[0], m, 0, &step));
                CHECK(sc_stage_take_activation(stages[0], m, row));
                CHECK(sc_stage_put_activation(stages[1], m, row, B, T));
            }
            for (int m = 0; m < 2; m++)
                CHECK(sc_stage_forward(stages[1], m, 0, &step));
            for (int m = 0; m < 2; m++) {
                if (pass == 0) {
                    CHECK(sc_stage_take_loss(stages[1], m, &loss, &n_targets));
                    assert_true(loss == expected[m]);
                } else {
                    CHECK(sc_stage_take_logits(stages[1], m, got));
                    assert_memory_equal(got, logits[m], sizeof got);
                }
                sc_stage_finish(stages[0], m);
                sc_stage_finish(stages[1], m);
            }
        }
        sc_stage_destroy(&stages[0]);
        sc_stage_destroy(&stages[1]);
        chain_destroy(&pipeline);
    }
}

/* --- padding ------------------------------------------------------------------------------------------------------- */

/* Rows of several lengths as one padded micro-batch, or each as one of its own: attention looks back only, and what has no
 * target has no gradient. Dropout is in, and is that of a row wherever it stands. */
static void padding_behind_a_row_changes_nothing(void **state)
{
    (void)state;
    enum { SHORT = 5 };
    int32_t tokens[B * T], targets[B * T];
    fill_ids(tokens, targets);
    for (int t = SHORT; t < T; t++) {
        tokens[t] = 0;
        targets[t] = -1;
    }
    const chain_batch padded = {.B = B, .T = T, .tokens = tokens, .targets = targets};
    const chain_batch alone[2] = {{.B = 1, .T = SHORT, .tokens = tokens, .targets = targets},
                                  {.B = 1, .T = T, .first_row = 1, .tokens = tokens + T, .targets = targets + T}};
    for (size_t k = 0; k < sizeof backends / sizeof *backends; k++) {
        const sc_stage_step step = {.train = true, .seed = 5, .optimizer_step = 1, .loss_scale = 1.0f / (SHORT + T)};
        double norms[2][64], losses[2][2], sum = 0;
        for (int i = 0; i < 2; i++) {
            chain pipeline;
            chain_new(&pipeline, backends[k], &model, 2, (int[]){1, 3}, B, T, 2, 0, &sgd);
            for (int s = 0; s < 2; s++)
                CHECK(sc_stage_init(pipeline.stages[s], 3));
            chain_run(&pipeline, CHAIN_1F1B, i ? alone : &padded, i + 1, &step, losses[i]);
            chain_reduce_tied(&pipeline);
            chain_norm(&pipeline, norms[i]);
            chain_destroy(&pipeline);
            sum += losses[i][0];
        }
        /* The same summands in double: what differs is the order of two additions. */
        assert_true(fabs(losses[0][0] - (losses[1][0] + losses[1][1])) < 1e-12 * sum);
        /* Gradients are sums in float32 over up to 16 positions, in another order. */
        for (int i = 0; i < sc_model_n_params(&model); i++)
            assert_true(fabs(norms[0][i] - norms[1][i]) <= 1e-5 * norms[0][i] + 1e-12);
    }
}

/* --- state and reset ----------------------------------------------------------------------------------------------- */

static void state_goes_by_name_and_bytes(void **state)
{
    (void)state;
    chain pipeline;
    chain_new(&pipeline, &sc_ops_reference, &model, 2, (int[]){2, 2}, B, T, 1, 0, &sgd);
    sc_stage *stage = pipeline.stages[0];
    const char *name = "transformer.h.0.mlp.c_fc.bias";
    float values[4] = {1, 2, 3, 4}, back[4];
    CHECK(sc_stage_write_state(stage, name, SC_STATE_FIRST_MOMENT, 240, 16, values));
    CHECK(sc_stage_read_state(stage, name, SC_STATE_FIRST_MOMENT, 240, 16, back));
    assert_memory_equal(values, back, sizeof values);
    CHECK(sc_stage_read_state(stage, name, SC_STATE_FIRST_MOMENT, 256, 0, back));
    assert_int_equal(sc_stage_read_state(stage, name, SC_STATE_FIRST_MOMENT, 244, 16, back), SC_OUT_OF_RANGE);
    assert_int_equal(sc_stage_write_state(stage, name, SC_STATE_PARAMETER, UINT64_MAX, 2, values), SC_OUT_OF_RANGE);
    assert_int_equal(sc_stage_read_state(stage, name, SC_STATE_SECOND_MOMENT, 0, 4, back), SC_NOT_FOUND);
    assert_int_equal(sc_stage_read_state(stage, "transformer.h.1.ln_1.bias", SC_STATE_PARAMETER, 0, 4, back),
                     SC_NOT_FOUND);
    assert_non_null(strstr(sc_status_message(), "transformer.h.1.ln_1.bias"));
    chain_destroy(&pipeline);
}

/* A step that was broken off leaves nothing: the one after it is as if it had never begun. */
static void reset_forgets_a_broken_step(void **state)
{
    (void)state;
    int32_t tokens[B * T], targets[B * T];
    fill_ids(tokens, targets);
    double losses[2];
    for (int broken = 0; broken < 2; broken++) {
        chain pipeline;
        chain_new(&pipeline, &sc_ops_reference, &model, 1, (int[]){4}, B, T, 2, 1, &adamw);
        sc_stage *stage = pipeline.stages[0];
        CHECK(sc_stage_init(stage, 3));
        sc_stage_step step = {.train = true, .optimizer_step = 1, .loss_scale = 1};
        for (int m = 0; m < 2 * broken; m++) {
            CHECK(sc_stage_put_tokens(stage, m, tokens, B, T));
            CHECK(sc_stage_put_targets(stage, m, targets, B, T));
            CHECK(sc_stage_forward(stage, m, 0, &step));
        }
        if (broken) {
            CHECK(sc_stage_backward(stage, 0));
            CHECK(sc_stage_backward_input(stage, 1));
            CHECK(sc_stage_reduce_tied_local(stage));
            CHECK(sc_stage_reset(stage));
        }
        one_step(&pipeline, tokens, targets, 1);
        losses[broken] = one_step(&pipeline, tokens, targets, 2);
        chain_destroy(&pipeline);
    }
    assert_true(losses[0] == losses[1]);
}

/* --- errors -------------------------------------------------------------------------------------------------------- */

static void bad_options_are_refused(void **state)
{
    (void)state;
    sc_stage *stage;
    sc_stage_options good = options_for(&sc_ops_reference, NULL, (sc_slice){0, 4}, true);
    for (int k = 0; k < 9; k++) {
        sc_stage_options o = good;
        switch (k) {
        case 0:
            o.slice = (sc_slice){0, 0};
            break;
        case 1:
            o.slice = (sc_slice){3, 2};
            break;
        case 2:
            o.slice = (sc_slice){-1, 2};
            break;
        case 3:
            o.B = 0;
            break;
        case 4:
            o.T = model.context + 1;
            break;
        case 5:
            o.max_alive = 0;
            break;
        case 6:
            o.max_split = 3;
            break;
        case 7:
            o.model.heads = 3;
            break;
        case 8:
            o.slice = (sc_slice){1, INT32_MAX};
            break;
        }
        assert_int_equal(sc_stage_new(&o, &stage), SC_INVALID);
        assert_null(stage);
    }
}

static void bad_micro_batches_are_refused(void **state)
{
    (void)state;
    int32_t tokens[B * T], targets[B * T], bad[B * T];
    float row[B * T * 16] = {0};
    fill_ids(tokens, targets);
    memcpy(bad, tokens, sizeof bad);
    bad[T + 2] = model.vocab;
    chain pipeline;
    chain_new(&pipeline, &sc_ops_reference, &model, 2, (int[]){2, 2}, B, T, 1, 0, &adamw);
    sc_stage *first = pipeline.stages[0], *last = pipeline.stages[1];

    assert_int_equal(sc_stage_put_tokens(first, 5, bad, B, T), SC_INVALID);
    assert_non_null(strstr(sc_status_message(), "micro-batch 5, sequence 1, position 2: token 37"));
    assert_int_equal(sc_stage_put_targets(last, 5, bad, B, T), SC_INVALID);
    bad[T + 2] = -1;
    assert_int_equal(sc_stage_put_tokens(first, 5, bad, B, T), SC_INVALID);
    assert_int_equal(sc_stage_put_tokens(first, 0, tokens, B + 1, T), SC_INVALID);
    assert_int_equal(sc_stage_put_tokens(first, 0, tokens, B, 0), SC_INVALID);
    assert_int_equal(sc_stage_put_activation(last, 0, row, B, T + 1), SC_INVALID);
    assert_int_equal(sc_stage_put_activation(first, 0, row, B, T), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_stage_put_tokens(last, 0, tokens, B, T), SC_FAILED_PRECONDITION);
    /* None of these took the only set. */
    CHECK(sc_stage_put_targets(last, 5, targets, B, T));
    assert_int_equal(sc_stage_put_activation(last, 5, row, B, T - 1), SC_INVALID);
    assert_int_equal(sc_stage_put_activation(last, 6, row, B, T), SC_FAILED_PRECONDITION);
    chain_destroy(&pipeline);
}

static void calls_out_of_order_are_refused(void **state)
{
    (void)state;
    int32_t tokens[B * T], targets[B * T];
    float row[B * T * 16] = {0};
    double loss, squares[64];
    int ordinals[64];
    uint64_t n_targets;
    fill_ids(tokens, targets);
    chain pipeline;
    chain_new(&pipeline, &sc_ops_reference, &model, 2, (int[]){2, 2}, B, T, 1, 1, &adamw);
    sc_stage *first = pipeline.stages[0], *last = pipeline.stages[1];
    const sc_stage_step train = {.train = true, .optimizer_step = 1, .loss_scale = 1}, eval = {.train = false};

    assert_int_equal(sc_stage_forward(first, 0, 0, &train), SC_FAILED_PRECONDITION);
    CHECK(sc_stage_put_tokens(first, 0, tokens, B, T));
    assert_int_equal(sc_stage_take_activation(first, 0, row), SC_FAILED_PRECONDITION);
    CHECK(sc_stage_forward(first, 0, 0, &train));
    assert_int_equal(sc_stage_put_tokens(first, 0, tokens, B, T), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_stage_take_loss(first, 0, &loss, &n_targets), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_stage_backward(first, 0), SC_FAILED_PRECONDITION); /* no gradient */
    assert_int_equal(sc_stage_backward_weight(first, 0), SC_FAILED_PRECONDITION);
    CHECK(sc_stage_put_gradient(first, 0, row));
    CHECK(sc_stage_backward_input(first, 0));
    assert_int_equal(sc_stage_backward(first, 0), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_stage_take_gradient(first, 0, row), SC_FAILED_PRECONDITION); /* nobody is before it */
    CHECK(sc_stage_backward_weight(first, 0));
    assert_int_equal(sc_stage_backward_weight(first, 0), SC_FAILED_PRECONDITION);

    CHECK(sc_stage_put_activation(last, 0, row, B, T));
    assert_int_equal(sc_stage_forward(last, 0, 0, &train), SC_FAILED_PRECONDITION); /* no targets */
    CHECK(sc_stage_forward(last, 0, 0, &eval));
    assert_int_equal(sc_stage_backward(last, 0), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_stage_take_loss(last, 0, &loss, &n_targets), SC_FAILED_PRECONDITION);
    sc_stage_finish(last, 0);

    /* The tied matrix: no step before its gradient is whole, and each side adds the other's. */
    assert_int_equal(sc_stage_norms(first, ordinals, squares), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_stage_apply(last, 1, 1, 1e-3f), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_stage_reduce_tied_local(first), SC_FAILED_PRECONDITION);
    uint64_t n = sc_stage_tied_elements(first);
    assert_int_equal(n, 37 * 16);
    assert_int_equal(sc_stage_add_tied(first, 1, n, row), SC_OUT_OF_RANGE);
    chain_destroy(&pipeline);

    chain middle;
    chain_new(&middle, &sc_ops_reference, &model, 3, (int[]){1, 2, 1}, B, T, 1, 0, &adamw);
    assert_int_equal(sc_stage_tied_elements(middle.stages[1]), 0);
    CHECK(sc_stage_apply(middle.stages[1], 1, 1, 1e-3f)); /* nothing to exchange */
    chain_destroy(&middle);
}

/* The next gradient may come in before the last one was taken, but not a third. */
static void a_gradient_may_be_put_before_the_last_is_taken(void **state)
{
    (void)state;
    float row[B * T * 16], before[B * T * 16], after[B * T * 16];
    for (int i = 0; i < B * T * 16; i++)
        row[i] = (float)(i % 11) - 5.0f;
    chain pipeline;
    chain_new(&pipeline, &sc_ops_reference, &model, 3, (int[]){1, 2, 1}, B, T, 3, 0, &adamw);
    sc_stage *stage = pipeline.stages[1];
    CHECK(sc_stage_init(stage, 3));
    const sc_stage_step step = {.train = true, .optimizer_step = 1, .loss_scale = 1};
    for (int m = 0; m < 3; m++) {
        CHECK(sc_stage_put_activation(stage, m, row, B, T));
        CHECK(sc_stage_forward(stage, m, 0, &step));
    }
    CHECK(sc_stage_put_gradient(stage, 0, row));
    CHECK(sc_stage_backward(stage, 0));
    CHECK(sc_stage_take_gradient(stage, 0, before));
    CHECK(sc_stage_put_gradient(stage, 1, row));
    assert_int_equal(sc_stage_put_gradient(stage, 2, row), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_stage_backward(stage, 2), SC_FAILED_PRECONDITION);
    CHECK(sc_stage_take_gradient(stage, 0, after));
    assert_memory_equal(before, after, sizeof before);
    assert_memory_not_equal(before, row, sizeof before);
    CHECK(sc_stage_backward(stage, 1));
    assert_int_equal(sc_stage_take_gradient(stage, 0, after), SC_FAILED_PRECONDITION);
    CHECK(sc_stage_take_gradient(stage, 1, after));
    chain_destroy(&pipeline);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stage_allocates_what_it_planned_and_nothing_after),
        cmocka_unit_test(memory_is_that_of_the_blocks_costs),
        cmocka_unit_test(lack_of_memory_is_an_error),
        cmocka_unit_test(a_fresh_model_knows_nothing_and_then_learns_by_heart),
        cmocka_unit_test(forward_only_gives_the_losses_and_logits_of_training_stages),
        cmocka_unit_test(padding_behind_a_row_changes_nothing),
        cmocka_unit_test(state_goes_by_name_and_bytes),
        cmocka_unit_test(reset_forgets_a_broken_step),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(bad_micro_batches_are_refused),
        cmocka_unit_test(calls_out_of_order_are_refused),
        cmocka_unit_test(a_gradient_may_be_put_before_the_last_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
