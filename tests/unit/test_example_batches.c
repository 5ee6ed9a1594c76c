#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/example_batches.h"
#include "tests/unit/tokenizer_fixture.h"

enum { N = 103, LONGEST = 20 };

/* 103 texts of 1 to 17 words. */
static sc_examples *examples;

static int setup(void **state)
{
    (void)state;
    sc_tokenizer *bert = open_tokenizer(GOLDEN "vocab-bert/uncased");
    sc_labelled_texts texts = {0};
    sc_labels labels = {0};
    for (int i = 0; i < N; i++) {
        char text[200] = "";
        for (int w = 0; w <= i * i % 17; w++)
            strcat(text, "one ");
        assert_int_equal(
            sc_labelled_texts_add(&texts, text, strlen(text), "", 0, i % 2 ? "a" : "b", 1, 1, &labels, false), SC_OK);
    }
    const sc_status status = sc_examples_of_texts(&texts, bert, LONGEST, &examples);
    sc_labelled_texts_clear(&texts);
    sc_labels_clear(&labels);
    sc_tokenizer_destroy(&bert);
    return status == SC_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    sc_examples_destroy(&examples);
    return 0;
}

/* Checks a micro-batch against its rows and counts these; returns how many tokens are padding. */
static int check(const sc_micro_batch *m, int seen[N])
{
    int longest = 0, padding = 0;
    for (int b = 0; b < m->B; b++) {
        int32_t tokens[LONGEST], segments[LONGEST], target, next;
        const int n = sc_examples_get(examples, 0, 0, m->rows[b], tokens, segments, &target, &next);
        const int32_t *row = m->tokens + b * m->T;
        seen[m->rows[b]]++;
        assert_int_equal(m->lengths[b], n);
        assert_memory_equal(row, tokens, (size_t)n * sizeof *row);
        assert_int_equal(m->targets[b], target);
        for (int t = n; t < m->T; t++, padding++) {
            assert_int_equal(row[t], 0);
            assert_int_equal(m->segments[b * m->T + t], 0);
        }
        longest = n > longest ? n : longest;
    }
    assert_int_equal(m->T, longest);
    return padding;
}

static void an_epoch_has_each_row_once(void **state)
{
    (void)state;
    sc_micro_batch m;
    assert_int_equal(sc_micro_batch_init(&m, 8, LONGEST), SC_OK);
    static const int sizes[][2] = {{8, 1}, {8, 2}, {8, 8}, {1, 1}, {6, 3}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (uint32_t epoch = 0; epoch < 3; epoch++) {
            const int batch_size = sizes[i][0], M = sizes[i][1];
            int seen[N] = {0}, n_rows = 0;
            sc_example_batches batches;
            assert_int_equal(sc_example_batches_epoch(examples, 7, epoch, batch_size, M, &batches), SC_OK);
            assert_int_equal(batches.n_steps, (N + batch_size - 1) / batch_size);
            for (uint64_t step = 0; step < batches.n_steps; step++)
                for (int k = 0; k < M; k++) {
                    sc_example_batches_get(&batches, step, k, &m);
                    assert_true(m.B >= 1 && m.B <= batch_size / M);
                    check(&m, seen);
                    n_rows += m.B;
                }
            for (int r = 0; r < N; r++)
                assert_true(seen[r] >= 1 && seen[r] <= 2);
            /* 103 rows in batches of 8 leave 7, one too few for 8 micro-batches; in the others none comes twice. */
            assert_int_equal(n_rows, M == 8 ? N + 1 : M == 3 ? N + 2 : N);
            sc_example_batches_clear(&batches);
        }
    sc_micro_batch_clear(&m);
}

/* Rows of each step, whatever the micro-batches. */
static void steps_do_not_depend_on_micro_batches(void **state)
{
    (void)state;
    sc_micro_batch m;
    assert_int_equal(sc_micro_batch_init(&m, 8, LONGEST), SC_OK);
    size_t rows[2][8];
    sc_example_batches one, four;
    assert_int_equal(sc_example_batches_epoch(examples, 7, 1, 8, 1, &one), SC_OK);
    assert_int_equal(sc_example_batches_epoch(examples, 7, 1, 8, 4, &four), SC_OK);
    for (uint64_t step = 0; step < one.n_steps; step++) {
        sc_example_batches_get(&one, step, 0, &m);
        const int n = m.B;
        memcpy(rows[0], m.rows, (size_t)n * sizeof *m.rows);
        int used = 0;
        for (int k = 0; k < 4; used += m.B, k++) {
            sc_example_batches_get(&four, step, k, &m);
            memcpy(rows[1] + used, m.rows, (size_t)m.B * sizeof *m.rows);
        }
        assert_int_equal(used, n);
        assert_memory_equal(rows[0], rows[1], (size_t)n * sizeof *m.rows);
    }
    sc_example_batches_clear(&one);
    sc_example_batches_clear(&four);
    sc_micro_batch_clear(&m);
}

static void epochs_differ_and_repeat(void **state)
{
    (void)state;
    sc_example_batches a, b, c;
    assert_int_equal(sc_example_batches_epoch(examples, 7, 0, 4, 1, &a), SC_OK);
    assert_int_equal(sc_example_batches_epoch(examples, 7, 0, 4, 1, &b), SC_OK);
    assert_int_equal(sc_example_batches_epoch(examples, 7, 1, 4, 1, &c), SC_OK);
    assert_memory_equal(a.order, b.order, N * sizeof *a.order);
    assert_memory_not_equal(a.order, c.order, N * sizeof *a.order);
    sc_example_batches_clear(&a);
    sc_example_batches_clear(&b);
    sc_example_batches_clear(&c);
}

static void rows_of_like_length_need_little_padding(void **state)
{
    (void)state;
    sc_micro_batch m;
    sc_example_batches batches;
    int seen[N] = {0}, padding = 0, tokens = 0;
    assert_int_equal(sc_micro_batch_init(&m, 8, LONGEST), SC_OK);
    assert_int_equal(sc_example_batches_epoch(examples, 7, 0, 8, 2, &batches), SC_OK);
    for (uint64_t step = 0; step < batches.n_steps; step++)
        for (int k = 0; k < 2; k++) {
            sc_example_batches_get(&batches, step, k, &m);
            padding += check(&m, seen);
            tokens += m.B * m.T;
        }
    assert_true(padding * 20 < tokens); /* in random order it is a third */
    sc_example_batches_clear(&batches);
    int last = LONGEST;
    memset(seen, 0, sizeof seen);
    assert_int_equal(sc_example_batches_all(examples, 0, 0, 8, &batches), SC_OK);
    for (uint64_t step = 0; step < batches.n_steps; step++) {
        sc_example_batches_get(&batches, step, 0, &m);
        check(&m, seen);
        assert_true(m.T <= last);
        last = m.T;
    }
    for (int r = 0; r < N; r++)
        assert_int_equal(seen[r], 1);
    sc_example_batches_clear(&batches);
    sc_micro_batch_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_epoch_has_each_row_once),
        cmocka_unit_test(steps_do_not_depend_on_micro_batches),
        cmocka_unit_test(epochs_differ_and_repeat),
        cmocka_unit_test(rows_of_like_length_need_little_padding),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
