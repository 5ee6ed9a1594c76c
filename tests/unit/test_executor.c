/* Executors of one pipeline in one process: the test's thread is the network between them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "tests/unit/executor_fixture.h"

static void feed(cluster *self, uint64_t step, int M, bool targets)
{
    int last = self->assignments[0]->n_stages - 1;
    for (int m = 0; m < M; m++) {
        sc_tensor_message tokens = fixture_ids(step, m, 0, STAGECOACH__V1__TENSOR_KIND__TOKENS);
        assert_int_equal(sc_mailbox_put(self->mailboxes[0], self->epochs[0], &tokens), SC_OK);
        if (!targets)
            continue;
        sc_tensor_message ids = fixture_ids(step, m, (uint32_t)last, STAGECOACH__V1__TENSOR_KIND__TARGETS);
        int w = last % self->S;
        assert_int_equal(sc_mailbox_put(self->mailboxes[w], self->epochs[w], &ids), SC_OK);
    }
}

static sc_run_step training_step(uint64_t step, int64_t optimizer_step)
{
    return (sc_run_step){.step = step,
                         .plan = FIXTURE_TRAIN,
                         .optimizer_step = optimizer_step,
                         .n_targets = FIXTURE_B * FIXTURE_T * FIXTURE_M};
}

enum { STEPS = 4, MAX_ORDINALS = 64, PARAM_FLOATS = FIXTURE_VOCAB * 16 };

/* What a run leaves behind, to be compared bit for bit. */
typedef struct record {
    double losses[STEPS][FIXTURE_M], norms[STEPS][MAX_ORDINALS];
    float embedding[PARAM_FLOATS];
} record;

static void one_step(cluster *self, uint64_t step, double *losses, double *norms)
{
    feed(self, step, FIXTURE_M, true);
    sc_run_step request = training_step(step, (int64_t)step);
    for (int w = 0; w < self->S; w++)
        run(self, w, &request);
    for (int w = 0; w < self->S; w++) {
        sc_executor_event *done = next_done(self, w);
        if (done->status != SC_OK)
            fail_msg("%s", done->message);
        assert_true(done->voted);
        assert_int_equal(done->step, step);
        assert_int_equal(done->n_loss_sums, w == self->S - 1 ? FIXTURE_M : 0);
        for (int m = 0; m < done->n_loss_sums; m++)
            losses[m] = done->loss_sums[m];
        for (int i = 0; i < done->n_norms; i++) {
            assert_true(done->ordinals[i] < MAX_ORDINALS);
            assert_true(norms[done->ordinals[i]] == 0); /* one worker alone votes for each */
            norms[done->ordinals[i]] = done->sum_squares[i];
        }
        assert_true(done->times.step >= done->times.forward + done->times.backward + done->times.wait - 1e-9);
        assert_true(done->times.forward > 0 && done->times.backward > 0);
        sc_executor_event_destroy(&done);
    }
    for (int w = 0; w < self->S; w++) {
        apply(self, w, step);
        expect_done(self, w, SC_OK);
        sc_mailbox_release_before(self->mailboxes[w], step + 1);
        assert_int_equal(sc_mailbox_messages(self->mailboxes[w]), 0);
    }
}

static void read_embedding(cluster *self, int w, float *out)
{
    sc_state_piece piece = {.name = "transformer.wte.weight", .kind = SC_STATE_PARAMETER, .n = PARAM_FLOATS * 4};
    assert_int_equal(sc_executor_read(self->executors[w], ++self->last_ticket, self->epochs[w], &piece), SC_OK);
    sc_executor_event *done = next_done(self, w);
    if (done->status != SC_OK)
        fail_msg("%s", done->message);
    memcpy(out, sc_buffer_data(done->payload), PARAM_FLOATS * 4);
    sc_executor_event_destroy(&done);
}

static void train(cluster *self, record *out)
{
    memset(out, 0, sizeof *out);
    uint64_t steady[MAX_WORKERS] = {0};
    for (uint64_t step = 1; step <= STEPS; step++) {
        one_step(self, step, out->losses[step - 1], out->norms[step - 1]);
        for (int w = 0; w < self->S; w++) {
            uint64_t bytes = sc_executor_buffer_bytes(self->executors[w]);
            if (step > 2) /* the second may find an output of the first still in the receiver's hands */
                assert_true(bytes <= steady[w] + FIXTURE_M * FIXTURE_B * FIXTURE_T * 16 * 4);
            if (step == 2)
                steady[w] = bytes;
        }
    }
    read_embedding(self, 0, out->embedding);
    float other_side[PARAM_FLOATS];
    read_embedding(self, self->S - 1, other_side); /* the tied matrix: the same update on both */
    assert_memory_equal(out->embedding, other_side, sizeof other_side);
}

static void every_cut_gives_the_same_bits(void **state)
{
    (void)state;
    static record one, other; /* static: large for a stack under a sanitizer */
    cluster pipeline;
    cluster_new(&pipeline, 1, 1, NULL, NULL, 1000);
    train(&pipeline, &one);
    cluster_destroy(&pipeline);
    assert_true(one.losses[0][0] > 0 && one.losses[0][0] != one.losses[1][0]);
    for (int S = 2; S <= 3; S++) {
        cluster_new(&pipeline, S, 1, NULL, NULL, 1000);
        train(&pipeline, &other);
        cluster_destroy(&pipeline);
        assert_memory_equal(&one, &other, sizeof one);
    }
}

static void chunks_and_split_backwards_give_them_too(void **state)
{
    (void)state;
    static const char chunks[] = "plan hand stages=1 chunks=2 microbatches=4 mode=train\n"
                                 "0F0 0F1 1F0 1B0 0B0 1F1 1B1 0I1 0F2 0W1 1F2 0F3 1F3 1I2 1W2 0B2 1B3 0B3 "
                                 "0REDUCE_TIED 1REDUCE_TIED 0STEP\n";
    static const char forward[] = "plan hand stages=1 chunks=2 microbatches=1 mode=forward\n0F0 1F0\n";
    static record one, other;
    cluster pipeline;
    cluster_new(&pipeline, 1, 1, NULL, NULL, 1000);
    train(&pipeline, &one);
    cluster_destroy(&pipeline);
    cluster_new(&pipeline, 1, 2, chunks, forward, 1000);
    train(&pipeline, &other);
    cluster_destroy(&pipeline);
    assert_memory_equal(&one, &other, sizeof one);
}

static void a_forward_plan_replies_with_losses_or_logits(void **state)
{
    (void)state;
    cluster pipeline;
    cluster_new(&pipeline, 2, 1, NULL, NULL, 1000);
    for (uint64_t step = 1; step <= 2; step++) {
        bool want_logits = step == 2;
        feed(&pipeline, step, 2, !want_logits);
        sc_run_step request = {.step = step, .plan = FIXTURE_FORWARD, .want_logits = want_logits};
        run(&pipeline, 0, &request);
        run(&pipeline, 1, &request);
        expect_done(&pipeline, 0, SC_OK);
        sc_executor_event *done = next_done(&pipeline, 1);
        assert_int_equal(done->status, SC_OK);
        assert_false(done->voted);
        if (want_logits) {
            assert_int_equal(done->n_loss_sums, 0);
            assert_int_equal(sc_buffer_bytes(done->payload), 2 * FIXTURE_B * FIXTURE_VOCAB * 4);
            const float *logits = sc_buffer_data(done->payload);
            for (int row = 0; row < 2 * FIXTURE_B; row++)
                assert_true(logits[row * FIXTURE_VOCAB] != logits[row * FIXTURE_VOCAB + 1]);
        } else {
            assert_null(done->payload);
            assert_int_equal(done->n_loss_sums, 2);
            /* An untrained model is as good as chance: log (V) a target, give or take its small random weights. */
            double chance = FIXTURE_B * FIXTURE_T * 2.3978952727983707;
            assert_true(done->loss_sums[0] > 0.9 * chance && done->loss_sums[0] < 1.1 * chance);
        }
        sc_executor_event_destroy(&done);
    }
    cluster_destroy(&pipeline);
}

enum { GENERATED_ROWS = 2 * FIXTURE_B, LOGITS = GENERATED_ROWS * FIXTURE_VOCAB }; /* the forward plan has M = 2 */

/* A step of generation over all workers: tokens from `from` on, logits of the last one's. */
static void generate(cluster *self, uint64_t step, bool cache, int from, int n, float *logits)
{
    for (int m = 0; m < 2; m++) {
        sc_tensor_message tokens = fixture_tokens_at(step, m, from, n);
        assert_int_equal(sc_mailbox_put(self->mailboxes[0], self->epochs[0], &tokens), SC_OK);
    }
    sc_run_step request = {.step = step, .want_logits = true, .cache = cache, .position = cache ? from : 0};
    for (int w = 0; w < self->S; w++)
        run(self, w, &request);
    for (int w = 0; w < self->S - 1; w++)
        expect_done(self, w, SC_OK);
    sc_executor_event *done = next_done(self, self->S - 1);
    if (done->status != SC_OK)
        fail_msg("%s", done->message);
    assert_int_equal(sc_buffer_bytes(done->payload), LOGITS * sizeof(float));
    memcpy(logits, sc_buffer_data(done->payload), LOGITS * sizeof(float));
    sc_executor_event_destroy(&done);
}

/* All sequences of a step have rows of their own: those of the second micro-batch go on as those of the first. */
static void generation_goes_on_from_the_cache(void **state)
{
    (void)state;
    float got[MAX_WORKERS][LOGITS], whole[LOGITS];
    for (int S = 1; S <= MAX_WORKERS; S++) {
        cluster pipeline;
        assign_fixture fixture;
        fixture_fill(&fixture, S, 1, NULL, NULL);
        fixture_generate(&fixture);
        cluster_open(&pipeline, S, &fixture);
        uint64_t step = 1;
        generate(&pipeline, step++, false, 0, FIXTURE_T, whole);
        for (int from = 0, n = FIXTURE_T - 3; from < FIXTURE_T; from += n, n = 1)
            generate(&pipeline, step++, true, from, n, got[S - 1]);
        for (int i = 0; i < LOGITS; i++)
            assert_true(fabsf(got[S - 1][i] - whole[i]) < 1e-6f); /* of about 0.1; sums over 8 keys in another order */
        assert_memory_equal(got[0], got[S - 1], sizeof got[0]);
        cluster_destroy(&pipeline);
    }
}

static void a_failed_step_empties_the_cache(void **state)
{
    (void)state;
    cluster pipeline;
    assign_fixture fixture;
    float logits[LOGITS];
    fixture_fill(&fixture, 1, 1, NULL, NULL);
    fixture_generate(&fixture);
    cluster_open(&pipeline, 1, &fixture);
    generate(&pipeline, 1, true, 0, FIXTURE_T - 1, logits);
    const sc_status expected[] = {SC_OUT_OF_RANGE, SC_FAILED_PRECONDITION};
    for (uint64_t step = 2; step <= 3; step++) { /* behind the context's end; then where it had gone on */
        sc_run_step request = {.step = step, .want_logits = true, .cache = true, .position = FIXTURE_T - (step == 3)};
        sc_tensor_message tokens = fixture_tokens_at(step, 0, 0, 1);
        assert_int_equal(sc_mailbox_put(pipeline.mailboxes[0], pipeline.epochs[0], &tokens), SC_OK);
        run(&pipeline, 0, &request);
        expect_done(&pipeline, 0, expected[step - 2]);
    }
    generate(&pipeline, 4, true, 0, 1, logits);
    cluster_destroy(&pipeline);
}

static void a_cancelled_wait_ends_at_once(void **state)
{
    (void)state;
    cluster pipeline;
    cluster_new(&pipeline, 2, 1, NULL, NULL, 20);
    sc_run_step request = training_step(1, 1);
    run(&pipeline, 1, &request); /* its activation never comes */
    run(&pipeline, 1, &(sc_run_step){.step = 2, .plan = FIXTURE_FORWARD});
    pump(&pipeline, 1, 0, true); /* the long wait is reported */
    sc_executor_progress progress = sc_executor_look(pipeline.executors[1]);
    assert_string_equal(progress.doing, "1RECV_F0");
    assert_int_equal(progress.step, 1);
    sc_mailbox_close(pipeline.mailboxes[1]);
    expect_done(&pipeline, 1, SC_CANCELLED); /* the running one */
    expect_done(&pipeline, 1, SC_CANCELLED); /* and the queued one */
    assert_string_equal(sc_executor_look(pipeline.executors[1]).doing, "idle");
    cluster_destroy(&pipeline);
}

static void a_failed_step_leaves_no_trace(void **state)
{
    (void)state;
    static record one, other;
    cluster pipeline;
    cluster_new(&pipeline, 1, 1, NULL, NULL, 1000);
    train(&pipeline, &one);
    cluster_destroy(&pipeline);

    cluster_new(&pipeline, 1, 1, NULL, NULL, 1000);
    uint64_t bad = STEPS + 1; /* a sequence number of its own, so that its tensors are in nobody's way */
    feed(&pipeline, bad, FIXTURE_M - 1, true);
    sc_tensor_message tokens = fixture_ids(bad, FIXTURE_M - 1, 0, STAGECOACH__V1__TENSOR_KIND__TOKENS);
    sc_tensor_message targets = fixture_ids(bad, FIXTURE_M - 1, 0, STAGECOACH__V1__TENSOR_KIND__TARGETS);
    *(int32_t *)sc_buffer_data(tokens.payload) = FIXTURE_VOCAB;
    assert_int_equal(sc_mailbox_put(pipeline.mailboxes[0], pipeline.epochs[0], &tokens), SC_OK);
    assert_int_equal(sc_mailbox_put(pipeline.mailboxes[0], pipeline.epochs[0], &targets), SC_OK);
    sc_run_step request = training_step(bad, 1);
    run(&pipeline, 0, &request);
    expect_done(&pipeline, 0, SC_INVALID);
    apply(&pipeline, 0, bad); /* it has not voted */
    expect_done(&pipeline, 0, SC_FAILED_PRECONDITION);
    assert_int_equal(sc_mailbox_messages(pipeline.mailboxes[0]), 0);
    train(&pipeline, &other);
    cluster_destroy(&pipeline);
    assert_memory_equal(&one, &other, sizeof one);
}

static void steps_run_in_order(void **state)
{
    (void)state;
    cluster pipeline;
    cluster_new(&pipeline, 1, 1, NULL, NULL, 1000);
    sc_run_step first = training_step(1, 1), second = training_step(2, 2), skips = training_step(3, 4);
    run(&pipeline, 0, &first);
    run(&pipeline, 0, &skips); /* out of order on purpose: the lower step goes first */
    run(&pipeline, 0, &second);
    assert_int_equal(sc_executor_run(pipeline.executors[0], ++pipeline.last_ticket, pipeline.epochs[0], &second),
                     SC_RESOURCE_EXHAUSTED);
    for (uint64_t step = 1; step <= 3; step++)
        feed(&pipeline, step, FIXTURE_M, true);
    uint64_t steps[3];
    for (int i = 0; i < 3; i++) {
        sc_executor_event *done = next_done(&pipeline, 0); /* the next one waits for this one's ApplyStep */
        steps[i] = done->step;
        assert_int_equal(done->status, i < 2 ? SC_OK : SC_FAILED_PRECONDITION); /* 4 does not follow 2 */
        sc_executor_event_destroy(&done);
        if (i == 2)
            break;
        apply(&pipeline, 0, steps[i] + 7);
        expect_done(&pipeline, 0, SC_FAILED_PRECONDITION);
        apply(&pipeline, 0, steps[i]);
        expect_done(&pipeline, 0, SC_OK);
    }
    assert_int_equal(steps[0], 1);
    assert_int_equal(steps[1], 2);
    cluster_destroy(&pipeline);
}

static void state_goes_in_and_out_by_name(void **state)
{
    (void)state;
    cluster pipeline;
    cluster_new(&pipeline, 1, 2,
                "plan hand stages=1 chunks=2 microbatches=1 mode=train\n"
                "0F0 1F0 1B0 0B0 0REDUCE_TIED 1REDUCE_TIED 0STEP\n",
                "plan hand stages=1 chunks=2 microbatches=1 mode=forward\n0F0 1F0\n", 1000);
    sc_buffer *data;
    assert_int_equal(sc_buffer_new(8, &data), SC_OK);
    memcpy(sc_buffer_data(data), (float[]){1.5f, -2.5f}, 8);
    sc_state_piece piece = {.name = "transformer.h.2.ln_1.bias", .kind = SC_STATE_FIRST_MOMENT, .from = 4, .n = 8};
    assert_int_equal(sc_executor_write(pipeline.executors[0], 90, pipeline.epochs[0], &piece, data), SC_OK);
    expect_done(&pipeline, 0, SC_OK);
    sc_buffer_unref(&data);
    assert_int_equal(sc_executor_read(pipeline.executors[0], 91, pipeline.epochs[0], &piece), SC_OK);
    sc_executor_event *done = next_done(&pipeline, 0);
    assert_int_equal(done->status, SC_OK);
    assert_int_equal(done->ticket, 91);
    assert_memory_equal(sc_buffer_data(done->payload), ((float[]){1.5f, -2.5f}), 8);
    sc_executor_event_destroy(&done);
    snprintf(piece.name, sizeof piece.name, "no.such.weight");
    assert_int_equal(sc_executor_read(pipeline.executors[0], 92, pipeline.epochs[0], &piece), SC_OK);
    expect_done(&pipeline, 0, SC_NOT_FOUND);
    assert_int_equal(sc_executor_forget(pipeline.executors[0], 93), SC_OK);
    expect_done(&pipeline, 0, SC_OK);
    assert_int_equal(sc_executor_read(pipeline.executors[0], 94, pipeline.epochs[0], &piece), SC_OK);
    expect_done(&pipeline, 0, SC_CANCELLED);
    cluster_destroy(&pipeline);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_gives_the_same_bits),
        cmocka_unit_test(chunks_and_split_backwards_give_them_too),
        cmocka_unit_test(a_forward_plan_replies_with_losses_or_logits),
        cmocka_unit_test(generation_goes_on_from_the_cache),
        cmocka_unit_test(a_failed_step_empties_the_cache),
        cmocka_unit_test(a_cancelled_wait_ends_at_once),
        cmocka_unit_test(a_failed_step_leaves_no_trace),
        cmocka_unit_test(steps_run_in_order),
        cmocka_unit_test(state_goes_in_and_out_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
