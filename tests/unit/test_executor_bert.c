/* A BERT over executors: micro-batches of different shapes, what comes beside the tokens, and what goes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "tests/unit/executor_fixture.h"

#include <math.h>

#define KIND(name) STAGECOACH__V1__TENSOR_KIND__##name

enum { M = FIXTURE_M, STEPS = 3, MAX_ORDINALS = 80, LABELS = 3, EMBEDDING = FIXTURE_VOCAB * 16 };

/* No two neighbours have the same shape. */
static const struct {
    int B, T;
    int32_t lengths[FIXTURE_B];
} shapes[M] = {{2, 8, {8, 3}}, {2, 5, {2, 5}}, {1, 3, {3}}, {2, 7, {7, 7}}};

static int frozen; /* blocks of what the next cluster trains */

static int frozen_stages(int S)
{
    int n = 0, blocks = 0;
    while (n < S && (blocks += FIXTURE_BLOCKS / S + (n < FIXTURE_BLOCKS % S)) <= frozen)
        n++;
    return n;
}

static void open_bert(cluster *self, int S, sc_task task, bool multi_label)
{
    bool tied = task == SC_TASK_PRETRAINING && frozen == 0;
    char *texts[2];
    for (int i = 0; i < 2; i++) {
        sc_plan *plan = NULL;
        if (i == FIXTURE_TRAIN)
            assert_int_equal(sc_schedule_make_frozen(SC_SCHEDULE_1F1B, S, 1, M, tied, frozen_stages(S), &plan), SC_OK);
        else
            assert_int_equal(sc_schedule_make(SC_SCHEDULE_1F1B, S, 1, M, SC_PLAN_FORWARD, tied, &plan), SC_OK);
        texts[i] = sc_plan_text(plan);
        assert_non_null(texts[i]);
        sc_plan_destroy(&plan);
    }
    assign_fixture fixture;
    fixture_fill(&fixture, S, 1, texts[FIXTURE_TRAIN], texts[FIXTURE_FORWARD]);
    free(texts[0]), free(texts[1]);
    fixture.model.family = SC_BERT;
    fixture.model.task = (uint32_t)task;
    fixture.model.intermediate = 24;
    fixture.model.token_types = 2;
    fixture.model.labels = task == SC_TASK_PRETRAINING ? 0 : LABELS;
    fixture.model.multi_label = multi_label;
    fixture.model.tied = false;
    fixture.model.frozen = (uint32_t)frozen;
    cluster_open(self, S, &fixture);
}

static const sc_model *model_of(const cluster *self)
{
    return &self->assignments[0]->model;
}

/* Brings a tensor of ids; n == 0: of one axis. */
static void put_ids(cluster *self, uint64_t step, int m, int stage, uint32_t kind, const int32_t *ids, int B, int n)
{
    sc_tensor_message message = {
        .name = {.generation = 1, .step = step, .microbatch = (uint32_t)m, .stage = (uint32_t)stage, .kind = kind},
        .dtype = SC_I32,
        .shape = n ? SC_SHAPE(B, n) : SC_SHAPE(B)};
    size_t bytes = (size_t)B * (size_t)(n ? n : 1) * sizeof *ids;
    assert_int_equal(sc_buffer_new(bytes, &message.payload), SC_OK);
    memcpy(sc_buffer_data(message.payload), ids, bytes);
    if (sc_assignment_check_tensor(self->assignments[stage], &message.name, message.dtype, &message.shape) != SC_OK)
        fail_msg("%s", sc_status_message());
    assert_int_equal(sc_mailbox_put(self->mailboxes[stage], self->epochs[stage], &message), SC_OK);
}

static void feed_lengths(cluster *self, uint64_t step, int m)
{
    for (int s = 0; s < self->S; s++)
        put_ids(self, step, m, s, KIND(LENGTHS), shapes[m].lengths, shapes[m].B, 0);
}

static void feed_inputs(cluster *self, uint64_t step, int m)
{
    int32_t tokens[FIXTURE_B * FIXTURE_T], segments[FIXTURE_B * FIXTURE_T];
    int B = shapes[m].B, T = shapes[m].T;
    for (int i = 0; i < B * T; i++) {
        tokens[i] = (int32_t)((uint64_t)(i * i + 3 * m) + step) % FIXTURE_VOCAB;
        segments[i] = i % T > 1;
    }
    put_ids(self, step, m, 0, KIND(TOKENS), tokens, B, T);
    put_ids(self, step, m, 0, KIND(SEGMENTS), segments, B, T);
}

/* Every other token that is no padding counts, or every sequence. Returns how many. */
static uint64_t feed_targets(cluster *self, uint64_t step, int m)
{
    int32_t targets[FIXTURE_B * FIXTURE_T], next[FIXTURE_B] = {0, 1};
    int B = shapes[m].B, T = shapes[m].T, n = sc_model_n_targets(model_of(self), T), last = self->S - 1;
    bool by_token = model_of(self)->task != SC_TASK_CLASSIFICATION;
    uint64_t counted = 0;
    for (int i = 0; i < B * n; i++) {
        bool counts = !by_token || (i % n < shapes[m].lengths[i / n] && i % 2 == 0);
        targets[i] = counts ? (int32_t)((uint64_t)(5 * i + m) + step) % sc_model_targets_below(model_of(self)) : -1;
        counted += counts;
    }
    put_ids(self, step, m, last, KIND(TARGETS), targets, B, n);
    if (sc_model_predicts_next(model_of(self)))
        put_ids(self, step, m, last, KIND(NEXT_SENTENCE), next, B, 0);
    return counted;
}

typedef struct record {
    double losses[STEPS][M * SC_MAX_LOSSES], norms[STEPS][MAX_ORDINALS];
    float embedding[EMBEDDING];
} record;

static void train_step(cluster *self, uint64_t step, record *out)
{
    sc_run_step request = {
        .step = step, .plan = FIXTURE_TRAIN, .optimizer_step = (int64_t)step, .n_sequences = 2 * M - 1};
    for (int m = 0; m < M; m++) {
        feed_inputs(self, step, m);
        feed_lengths(self, step, m);
        request.n_targets += feed_targets(self, step, m);
    }
    for (int w = 0; w < self->S; w++)
        run(self, w, &request);
    for (int w = 0; w < self->S; w++) {
        sc_executor_event *done = next_done(self, w);
        if (done->status != SC_OK)
            fail_msg("%s", done->message);
        assert_int_equal(done->n_loss_sums, w == self->S - 1 ? M * sc_model_n_losses(model_of(self)) : 0);
        for (int i = 0; i < done->n_loss_sums; i++)
            out->losses[step - 1][i] = done->loss_sums[i];
        for (int i = 0; i < done->n_norms; i++)
            out->norms[step - 1][done->ordinals[i]] = done->sum_squares[i];
        sc_executor_event_destroy(&done);
    }
    for (int w = 0; w < self->S; w++) {
        apply(self, w, step);
        expect_done(self, w, SC_OK);
        sc_mailbox_release_before(self->mailboxes[w], step + 1);
        assert_int_equal(sc_mailbox_messages(self->mailboxes[w]), 0);
    }
}

static void train(int S, sc_task task, bool multi_label, record *out)
{
    cluster pipeline;
    memset(out, 0, sizeof *out);
    open_bert(&pipeline, S, task, multi_label);
    for (uint64_t step = 1; step <= STEPS; step++)
        train_step(&pipeline, step, out);
    sc_state_piece piece = {
        .name = "bert.embeddings.word_embeddings.weight", .kind = SC_STATE_PARAMETER, .n = EMBEDDING * sizeof(float)};
    assert_int_equal(sc_executor_read(pipeline.executors[0], ++pipeline.last_ticket, pipeline.epochs[0], &piece),
                     SC_OK);
    sc_executor_event *done = next_done(&pipeline, 0);
    assert_int_equal(done->status, SC_OK);
    memcpy(out->embedding, sc_buffer_data(done->payload), sizeof out->embedding);
    sc_executor_event_destroy(&done);
    cluster_destroy(&pipeline);
}

static void every_cut_gives_the_same_bits(void **state)
{
    (void)state;
    static const struct {
        sc_task task;
        bool multi_label;
    } heads[] = {{SC_TASK_PRETRAINING, false},
                 {SC_TASK_CLASSIFICATION, false},
                 {SC_TASK_CLASSIFICATION, true},
                 {SC_TASK_TAGGING, false}};
    static record one, other; /* static: large for a stack under a sanitizer */
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        train(1, heads[i].task, heads[i].multi_label, &one);
        assert_true(one.losses[0][0] > 0 && one.losses[0][0] != one.losses[1][0] && one.norms[0][0] > 0);
        for (int S = 2; S <= 3; S++) {
            train(S, heads[i].task, heads[i].multi_label, &other);
            assert_memory_equal(&one, &other, sizeof one);
        }
    }
}

/* Stages without a backward, and one that has it for some of its blocks. */
static void every_cut_freezes_the_same(void **state)
{
    (void)state;
    static const sc_task tasks[] = {SC_TASK_PRETRAINING, SC_TASK_CLASSIFICATION, SC_TASK_TAGGING};
    static record one, other;
    static float fresh[EMBEDDING];
    for (frozen = 1; frozen < FIXTURE_BLOCKS; frozen++)
        for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++) {
            train(1, tasks[i], false, &one);
            for (int S = 2; S <= 3; S++) {
                train(S, tasks[i], false, &other);
                assert_memory_equal(&one, &other, sizeof one);
            }
            cluster any;
            open_bert(&any, 1, tasks[i], false);
            sc_model_init_param(model_of(&any), 0, any.assignments[0]->seed, 0, EMBEDDING, fresh);
            assert_memory_equal(fresh, one.embedding, sizeof fresh);
            assert_true(one.norms[0][0] == 0 && one.losses[0][0] != one.losses[1][0]);
            cluster_destroy(&any);
        }
    frozen = 0;
}

static void a_plan_must_freeze_what_the_model_does(void **state)
{
    (void)state;
    assign_fixture fixture;
    sc_assignment *assignment = NULL;
    fixture_fill(&fixture, 2, 1, NULL, NULL);
    fixture.model.frozen = 3; /* all of stage 0, which the plan has go backward */
    assert_int_equal(sc_assignment_parse(&fixture.request, &assignment), SC_INVALID);
    assert_non_null(strstr(sc_status_message(), "frozen"));
    fixture.model.frozen = FIXTURE_BLOCKS;
    assert_int_equal(sc_assignment_parse(&fixture.request, &assignment), SC_INVALID);
    fixture_clear(&fixture);
}

/* --- logits -------------------------------------------------------------------------------------------------------- */

/* Of masked words those that feed_targets asks for. */
static sc_buffer *logits_of(int S, sc_task task)
{
    cluster pipeline;
    open_bert(&pipeline, S, task, false);
    for (int m = 0; m < M; m++) {
        feed_inputs(&pipeline, 1, m);
        feed_lengths(&pipeline, 1, m);
        if (task == SC_TASK_PRETRAINING)
            feed_targets(&pipeline, 1, m);
    }
    for (int w = 0; w < S; w++)
        run(&pipeline, w, &(sc_run_step){.step = 1, .plan = FIXTURE_FORWARD, .want_logits = true});
    sc_buffer *logits = NULL;
    for (int w = 0; w < S; w++) {
        sc_executor_event *done = next_done(&pipeline, w);
        if (done->status != SC_OK)
            fail_msg("%s", done->message);
        if (done->payload)
            logits = sc_buffer_ref(done->payload);
        sc_executor_event_destroy(&done);
    }
    assert_non_null(logits);
    cluster_destroy(&pipeline);
    return logits;
}

/* A row for each sequence that a micro-batch may have, with room for all its tokens; what is not there is zero. */
static void logits_have_their_places(void **state)
{
    (void)state;
    static const sc_task tasks[] = {SC_TASK_CLASSIFICATION, SC_TASK_TAGGING};
    for (int i = 0; i < 2; i++) {
        sc_buffer *one = logits_of(1, tasks[i]), *three = logits_of(3, tasks[i]);
        int per_row = tasks[i] == SC_TASK_TAGGING ? FIXTURE_T : 1;
        assert_int_equal(sc_buffer_bytes(one), M * FIXTURE_B * per_row * LABELS * (int)sizeof(float));
        assert_int_equal(sc_buffer_bytes(three), sc_buffer_bytes(one));
        const float *logits = sc_buffer_data(one);
        assert_memory_equal(logits, sc_buffer_data(three), sc_buffer_bytes(one));
        for (int row = 0; row < M * FIXTURE_B; row++)
            for (int t = 0; t < per_row; t++) {
                int m = row / FIXTURE_B;
                bool there = row % FIXTURE_B < shapes[m].B && t < shapes[m].T;
                const float *of = logits + (row * per_row + t) * LABELS;
                assert_true(there == (of[0] != 0 || of[1] != 0 || of[2] != 0));
            }
        sc_buffer_unref(&one);
        sc_buffer_unref(&three);
    }
}

/* Of a head for masked words the rows that were asked for, one behind the other: from them the losses of the same targets. */
static void logits_of_masked_words_are_those_asked_for(void **state)
{
    (void)state;
    cluster pipeline;
    sc_buffer *one = logits_of(1, SC_TASK_PRETRAINING), *three = logits_of(3, SC_TASK_PRETRAINING);
    open_bert(&pipeline, 1, SC_TASK_PRETRAINING, false);
    uint64_t counted[M], all = 0;
    for (int m = 0; m < M; m++) {
        feed_inputs(&pipeline, 1, m);
        feed_lengths(&pipeline, 1, m);
        all += counted[m] = feed_targets(&pipeline, 1, m);
    }
    assert_int_equal(sc_buffer_bytes(one), all * FIXTURE_VOCAB * sizeof(float));
    assert_int_equal(sc_buffer_bytes(three), sc_buffer_bytes(one));
    assert_memory_equal(sc_buffer_data(one), sc_buffer_data(three), sc_buffer_bytes(one));

    run(&pipeline, 0, &(sc_run_step){.step = 1, .plan = FIXTURE_FORWARD});
    sc_executor_event *done = next_done(&pipeline, 0);
    assert_int_equal(done->status, SC_OK);
    const float *row = sc_buffer_data(one);
    for (int m = 0; m < M; m++) {
        double loss = 0;
        for (int i = 0, n = 0; n < (int)counted[m]; i++) {
            if (i % shapes[m].T >= shapes[m].lengths[i / shapes[m].T] || i % 2)
                continue;
            double sum = 0;
            for (int v = 0; v < FIXTURE_VOCAB; v++)
                sum += exp((double)row[v]);
            loss += log(sum) - (double)row[(5 * i + m + 1) % FIXTURE_VOCAB];
            row += FIXTURE_VOCAB;
            n++;
        }
        assert_true(fabs(loss - done->loss_sums[2 * m]) < 1e-5 * loss); /* float32 beside double */
    }
    sc_executor_event_destroy(&done);
    sc_buffer_unref(&one);
    sc_buffer_unref(&three);
    cluster_destroy(&pipeline);
}

/* --- what is right ------------------------------------------------------------------------------------------------- */

static void evaluate(int S, uint64_t *n_correct, double *losses)
{
    cluster pipeline;
    open_bert(&pipeline, S, SC_TASK_PRETRAINING, false);
    for (int m = 0; m < M; m++) {
        feed_inputs(&pipeline, 1, m);
        feed_lengths(&pipeline, 1, m);
        feed_targets(&pipeline, 1, m);
    }
    for (int w = 0; w < S; w++)
        run(&pipeline, w, &(sc_run_step){.step = 1, .plan = FIXTURE_FORWARD});
    for (int w = 0; w < S; w++) {
        sc_executor_event *done = next_done(&pipeline, w);
        if (done->status != SC_OK)
            fail_msg("%s", done->message);
        assert_true((done->n_correct != NULL) == (w == S - 1));
        if (done->n_correct) {
            memcpy(n_correct, done->n_correct, M * SC_MAX_LOSSES * sizeof *n_correct);
            memcpy(losses, done->loss_sums, M * SC_MAX_LOSSES * sizeof *losses);
        }
        sc_executor_event_destroy(&done);
    }
    cluster_destroy(&pipeline);
}

/* Of two answers the right one has more than half the probability: a loss below log 2. */
static void what_is_right_comes_with_the_losses(void **state)
{
    (void)state;
    double losses[M * SC_MAX_LOSSES];
    uint64_t one[M * SC_MAX_LOSSES], three[M * SC_MAX_LOSSES];
    evaluate(1, one, losses);
    evaluate(3, three, losses);
    assert_memory_equal(one, three, sizeof one);
    for (int m = 0; m < M; m++) {
        assert_true(one[2 * m] <= (uint64_t)(shapes[m].B * shapes[m].T));
        assert_true(one[2 * m + 1] <= (uint64_t)shapes[m].B);
        if (shapes[m].B == 1)
            assert_int_equal(one[2 * m + 1], losses[2 * m + 1] < log(2));
    }
}

/* --- refusals ------------------------------------------------------------------------------------------------------ */

static void expect_refusal(cluster *self, const sc_run_step *step, const char *word)
{
    run(self, 0, step);
    sc_executor_event *done = next_done(self, 0);
    assert_int_equal(done->status, SC_INVALID);
    if (!strstr(done->message, word))
        fail_msg("'%s' does not say '%s'", done->message, word);
    sc_executor_event_destroy(&done);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    cluster pipeline;
    open_bert(&pipeline, 1, SC_TASK_PRETRAINING, false);
    expect_refusal(&pipeline, &(sc_run_step){.step = 1, .plan = FIXTURE_TRAIN, .optimizer_step = 1, .n_targets = 1},
                   "how many sequences");

    const int32_t ids[FIXTURE_B * FIXTURE_T] = {1, 1};
    const sc_run_step train1 = {
        .step = 1, .plan = FIXTURE_TRAIN, .optimizer_step = 1, .n_targets = 1, .n_sequences = 1};
    feed_inputs(&pipeline, 1, 0);
    put_ids(&pipeline, 1, 0, 0, KIND(LENGTHS), ids, 1, 0); /* of two sequences */
    expect_refusal(&pipeline, &train1, "lengths");

    sc_run_step train2 = train1;
    train2.step = 2;
    feed_inputs(&pipeline, 2, 0);
    feed_lengths(&pipeline, 2, 0);
    put_ids(&pipeline, 2, 0, 0, KIND(TARGETS), ids, shapes[0].B, shapes[0].T - 1);
    expect_refusal(&pipeline, &train2, "targets");
    cluster_destroy(&pipeline);
}

static void only_a_bert_takes_more_than_tokens(void **state)
{
    (void)state;
    cluster bert, gpt;
    open_bert(&bert, 3, SC_TASK_CLASSIFICATION, true);
    cluster_new(&gpt, 1, 1, NULL, NULL, 1000);
    const struct {
        const cluster *of;
        uint32_t stage, kind;
        sc_shape shape;
        bool taken;
    } cases[] = {
        {&bert, 0, KIND(SEGMENTS), SC_SHAPE(2, 5), true},   {&bert, 1, KIND(SEGMENTS), SC_SHAPE(2, 5), false},
        {&bert, 1, KIND(LENGTHS), SC_SHAPE(1), true},       {&bert, 1, KIND(LENGTHS), SC_SHAPE(3), false},
        {&bert, 1, KIND(LENGTHS), SC_SHAPE(2, 1), false},   {&bert, 2, KIND(NEXT_SENTENCE), SC_SHAPE(2), false},
        {&bert, 2, KIND(TARGETS), SC_SHAPE(1, 3), true},    {&bert, 2, KIND(TARGETS), SC_SHAPE(2, 2), false},
        {&gpt, 0, KIND(SEGMENTS), SC_SHAPE(2, 5), false},   {&gpt, 0, KIND(LENGTHS), SC_SHAPE(2), false},
        {&gpt, 0, KIND(NEXT_SENTENCE), SC_SHAPE(2), false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sc_tensor_name name = {.generation = 1, .step = 1, .stage = cases[i].stage, .kind = cases[i].kind};
        sc_status status =
            sc_assignment_check_tensor(cases[i].of->assignments[cases[i].stage], &name, SC_I32, &cases[i].shape);
        if (status != (cases[i].taken ? SC_OK : SC_INVALID))
            fail_msg("case %zu: %s", i, sc_status_name(status));
    }
    cluster_destroy(&bert);
    cluster_destroy(&gpt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_gives_the_same_bits),
        cmocka_unit_test(every_cut_freezes_the_same),
        cmocka_unit_test(a_plan_must_freeze_what_the_model_does),
        cmocka_unit_test(logits_have_their_places),
        cmocka_unit_test(logits_of_masked_words_are_those_asked_for),
        cmocka_unit_test(what_is_right_comes_with_the_losses),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(only_a_bert_takes_more_than_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
