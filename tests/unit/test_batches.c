#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/batches.h"
#include "coordinator/data/windows.h"
#include "tests/unit/scratch.h"

/* A corpus whose token i is the byte i % 251, so that a window tells where it begins (for i < 251). */
static sc_config *config;
static sc_corpus *corpus;

static void open_corpus(int n_train, int n_validation, int batch_size, int B, int T)
{
    char bytes[4096];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i % 251);
    char *train = scratch_write("train", bytes, (size_t)n_train);
    char *validation = scratch_write("validation", bytes, (size_t)n_validation);
    char yaml[1024];
    snprintf(yaml, sizeof yaml,
             "model: {layers: 1, heads: 1, hidden: 8, context: %d}\n"
             "data: {train: [%s], validation: [%s], validation_share: 0.0, tokenizer: byte}\n"
             "train: {batch_size: %d, micro_batch_size: %d, eval_batches: 3}\n",
             T, train, validation, batch_size, B);
    if (sc_config_parse(yaml, strlen(yaml), "test.yaml", NULL, 0, &config) != SC_OK)
        fail_msg("%s", sc_status_message());
    if (sc_corpus_load(config, &corpus) != SC_OK)
        fail_msg("%s", sc_status_message());
}

static int close_corpus(void **state)
{
    (void)state;
    sc_corpus_destroy(&corpus);
    sc_config_destroy(&config);
    return 0;
}

static void a_step_has_the_same_rows_for_any_micro_batch_size(void **state)
{
    (void)state;
    enum { T = 8, BATCH = 12, N = BATCH * T };
    open_corpus(251, 60, BATCH, BATCH, T);
    sc_batches whole = sc_batches_of(config, corpus);
    assert_int_equal(whole.n_microbatches, 1);
    static const int sizes[] = {1, 2, 3, 4, 6};
    for (uint64_t step = 0; step < 30; step++) {
        int32_t tokens[N], targets[N], part_tokens[N], part_targets[N];
        sc_batches_get(&whole, step, 0, tokens, targets);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            config->train.micro_batch_size = sizes[i];
            sc_batches parts = sc_batches_of(config, corpus);
            assert_int_equal(parts.n_microbatches, BATCH / sizes[i]);
            for (int m = parts.n_microbatches - 1; m >= 0; m--) /* any order will do */
                sc_batches_get(&parts, step, m, part_tokens + m * sizes[i] * T, part_targets + m * sizes[i] * T);
            assert_memory_equal(part_tokens, tokens, sizeof tokens);
            assert_memory_equal(part_targets, targets, sizeof targets);
        }
        for (int i = 0; i < N; i++) /* a window of consecutive bytes: the target is the next one */
            assert_int_equal(targets[i], tokens[i] + 1);
        for (int i = 1; i < N; i++)
            assert_true(i % T == 0 || tokens[i] == targets[i - 1]);
    }
}

/* 251 tokens have 251 / 8 - 1 = 30 windows; 7 rows a step, so epochs end within batches. */
static void an_epoch_uses_each_window_once_and_goes_on_in_mid_batch(void **state)
{
    (void)state;
    enum { T = 8, BATCH = 7, W = 30, EPOCHS = 14 };
    open_corpus(251, 60, BATCH, 1, T);
    sc_batches batches = sc_batches_of(config, corpus);
    int count[251] = {0}, row = 0;
    for (uint64_t step = 0; step < W * EPOCHS / BATCH; step++)
        for (int m = 0; m < BATCH; m++) {
            int32_t tokens[T], targets[T];
            sc_batches_get(&batches, step, m, tokens, targets);
            count[tokens[0]]++;
            if (++row % W)
                continue;
            int windows = 0; /* an epoch is complete */
            int first = (int)sc_windows_offset(251, T, (uint64_t)config->run.seed, (uint32_t)(row / W - 1));
            for (int start = 0; start < 251; start++) {
                assert_int_equal(count[start], start >= first && (start - first) % T == 0 && windows < W);
                windows += count[start];
            }
            assert_int_equal(windows, W);
            memset(count, 0, sizeof count);
        }
    assert_int_equal(row, W * EPOCHS);
}

static void another_seed_is_another_order(void **state)
{
    (void)state;
    open_corpus(251, 60, 4, 4, 8);
    sc_batches batches = sc_batches_of(config, corpus);
    int32_t a[32], b[32], targets[32];
    sc_batches_get(&batches, 3, 0, a, targets);
    batches.seed++;
    sc_batches_get(&batches, 3, 0, b, targets);
    assert_memory_not_equal(a, b, sizeof a);
}

/* Every evaluation row's first token and that no two rows share a target, for a stream of 251 tokens. */
static void assert_evaluation(int n_rows, bool overlap)
{
    sc_batches batches = sc_batches_of(config, corpus);
    const int T = batches.T;
    int32_t *tokens = malloc((size_t)(batches.B * T) * sizeof *tokens);
    int32_t *targets = malloc((size_t)(batches.B * T) * sizeof *targets);
    int count[256] = {0}, rows = 0, most = 0;
    for (int run = 0; run < batches.eval_runs; run++)
        for (int m = 0; m < batches.eval_microbatches; m++, rows += batches.B) {
            sc_batches_get_eval(&batches, run, m, tokens, targets);
            for (int i = 0; i < batches.B * T; i++) {
                assert_int_equal(targets[i], tokens[i] + 1);
                if (++count[targets[i]] > most)
                    most = count[targets[i]];
            }
        }
    free(tokens);
    free(targets);
    assert_int_equal(rows, n_rows);
    assert_int_equal(most > 1, overlap);
}

static void evaluation_takes_as_much_as_there_is(void **state)
{
    (void)state;
    open_corpus(251, 251, 4, 2, 8); /* 31 windows: all of 3 batches of 4 */
    assert_evaluation(12, false);
    close_corpus(state);
    open_corpus(251, 70, 4, 2, 8); /* 8 windows: 2 batches */
    assert_evaluation(8, false);
    close_corpus(state);
    open_corpus(251, 69, 12, 2, 8); /* 8 windows, less than a batch: 4 micro-batches in one run */
    assert_evaluation(8, false);
    sc_batches batches = sc_batches_of(config, corpus);
    assert_int_equal(batches.eval_runs, 1);
    assert_int_equal(batches.eval_microbatches, 4);
    close_corpus(state);
    open_corpus(251, 20, 4, 4, 8); /* 2 windows, less than a micro-batch: rows overlap */
    assert_evaluation(4, true);
}

static void evaluation_rows_do_not_depend_on_the_micro_batch_size(void **state)
{
    (void)state;
    open_corpus(251, 251, 4, 4, 8);
    sc_batches whole = sc_batches_of(config, corpus);
    config->train.micro_batch_size = 1;
    sc_batches parts = sc_batches_of(config, corpus);
    int32_t a[32], b[32], targets[32];
    sc_batches_get_eval(&whole, 2, 0, a, targets);
    for (int m = 0; m < 4; m++)
        sc_batches_get_eval(&parts, 2, m, b + 8 * m, targets);
    assert_memory_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_step_has_the_same_rows_for_any_micro_batch_size, close_corpus),
        cmocka_unit_test_teardown(an_epoch_uses_each_window_once_and_goes_on_in_mid_batch, close_corpus),
        cmocka_unit_test_teardown(another_seed_is_another_order, close_corpus),
        cmocka_unit_test_teardown(evaluation_takes_as_much_as_there_is, close_corpus),
        cmocka_unit_test_teardown(evaluation_rows_do_not_depend_on_the_micro_batch_size, close_corpus),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
