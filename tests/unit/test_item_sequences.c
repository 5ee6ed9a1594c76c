#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/example_batches.h"
#include "coordinator/run/item_ranking.h"
#include "tests/unit/items_fixture.h"

#include <math.h>
#include <stdlib.h>

static sc_item_sequences sequences;
static sc_examples *examples;

static int clear(void **state)
{
    (void)state;
    sc_examples_destroy(&examples);
    sc_item_sequences_clear(&sequences);
    return 0;
}

static void leave_one_out(void **state)
{
    (void)state;
    make_sequences("d a c b\nx\nb a d\n", &sequences);
    assert_int_equal(sequences.n_users, 2);
    assert_int_equal(sequences.dropped.users, 1);
    assert_int_equal(sequences.dropped.items, 1);
    assert_int_equal(sequences.dropped.interactions, 1);
    assert_int_equal(sequences.names.n, 4); /* x went with its user; ids are in the order of names */
    assert_string_equal(sequences.names.names[0], "a");
    assert_string_equal(sequences.names.names[3], "d");
    assert_string_equal(part_of(&sequences, 0, SC_ITEMS_TRAIN), "d a");
    assert_string_equal(part_of(&sequences, 0, SC_ITEMS_DEV), "d a c");
    assert_string_equal(part_of(&sequences, 0, SC_ITEMS_TEST), "d a c b");
    assert_string_equal(part_of(&sequences, 1, SC_ITEMS_TRAIN), "b");
    assert_string_equal(part_of(&sequences, 1, SC_ITEMS_TEST), "b a d");
}

/* Rare items go first, then users with few of the others; ids do not depend on the order of lines. */
static void rare_items_and_short_users_are_dropped(void **state)
{
    (void)state;
    static const char *const orders[] = {"a b c a\nr a b c\na r b\nb a c\n", "b a c\na r b\nr a b c\na b c a\n"};
    for (size_t i = 0; i < 2; i++) {
        sc_interactions in = {0};
        const sc_text file = {.name = "f", .bytes = orders[i], .n_bytes = strlen(orders[i])};
        assert_int_equal(sc_interactions_read_sequences(&in, &file), SC_OK);
        assert_int_equal(sc_item_sequences_make(&in, 3, 3, "f", &sequences), SC_OK);
        assert_int_equal(sequences.names.n, 3); /* r is there twice */
        assert_int_equal(sequences.n_users, 3); /* "a r b" has two left */
        assert_int_equal(sequences.dropped.interactions, 4);
        assert_string_equal(part_of(&sequences, 1, SC_ITEMS_TEST), "a b c");
        assert_int_equal(sequences.items[sequences.begins[1]], 1);
        sc_item_sequences_clear(&sequences);
        assert_int_equal(sc_item_sequences_make(&in, 9, 3, "f", &sequences), SC_INVALID);
        assert_non_null(strstr(sc_status_message(), "f: no user has 3 items that occur at least 9 times"));
        sc_interactions_clear(&in);
    }
}

/* "tokens>targets" of a row, "." for none. */
static const char *row_of(size_t row)
{
    static char text[256];
    int32_t tokens[16], segments[16], targets[16], next;
    const int n = sc_examples_get(examples, 0, 0, row, tokens, segments, targets, &next);
    assert_int_equal(n, sc_examples_length(examples, 0, 0, row));
    char *at = text;
    for (int i = 0; i < n; i++)
        *at++ = sequences.names.names[tokens[i] - 1][0];
    *at++ = '>';
    for (int i = 0; i < n; i++)
        *at++ = targets[i] < 0 ? '.' : sequences.names.names[targets[i] - 1][0];
    *at = '\0';
    return text;
}

static void make_examples(sc_item_part part, int longest)
{
    sc_examples_destroy(&examples);
    assert_int_equal(sc_examples_of_items(&sequences, part, longest, &examples), SC_OK);
}

static void training_has_each_target_once(void **state)
{
    (void)state;
    make_sequences("a b c d e f g h i\nx y z\na c e g\n", &sequences);
    make_examples(SC_ITEMS_TRAIN, 4);
    assert_int_equal(sc_examples_n(examples), 3); /* "x" alone has no target */
    assert_string_equal(row_of(0), "ab>bc");
    assert_string_equal(row_of(1), "cdef>defg");
    assert_string_equal(row_of(2), "a>c");
    assert_int_equal(sc_examples_source_of(examples, 2).first, 2);
    make_examples(SC_ITEMS_TRAIN, 6);
    assert_string_equal(row_of(0), "abcdef>bcdefg");
    make_examples(SC_ITEMS_TRAIN, 16);
    assert_string_equal(row_of(0), "abcdef>bcdefg");
    make_examples(SC_ITEMS_TRAIN, 1);
    assert_int_equal(sc_examples_n(examples), 7);
    assert_string_equal(row_of(5), "f>g");
}

static void what_is_held_out_is_the_last_target(void **state)
{
    (void)state;
    make_sequences("a b c d e f g\nx y z\n", &sequences);
    make_examples(SC_ITEMS_DEV, 4);
    assert_int_equal(sc_examples_n(examples), 2);
    assert_string_equal(row_of(0), "bcde>...f");
    assert_string_equal(row_of(1), "x>y");
    make_examples(SC_ITEMS_TEST, 4);
    assert_string_equal(row_of(0), "cdef>...g");
    assert_string_equal(row_of(1), "xy>.z");
}

/* Micro-batches of an evaluation have rows of one length alone, and each row once; those of training are padded with 0. */
static void micro_batches(void **state)
{
    (void)state;
    char lines[4096] = "";
    for (int user = 0; user < 23; user++) {
        for (int i = 0; i < 3 + user * user % 5; i++)
            strcat(lines, i % 2 ? "p " : "q ");
        strcat(lines, "\n");
    }
    make_sequences(lines, &sequences);
    make_examples(SC_ITEMS_DEV, 8);
    sc_example_batches batches;
    sc_micro_batch m;
    int seen[23] = {0}, last = 99;
    assert_int_equal(sc_micro_batch_init(&m, 4, 8), SC_OK);
    assert_int_equal(sc_example_batches_all(examples, 0, 0, 4, &batches), SC_OK);
    for (uint64_t step = 0; step < batches.n_steps; step++) {
        sc_example_batches_get(&batches, step, 0, &m);
        assert_true(m.B >= 1 && m.B <= 4 && m.T <= last);
        last = m.T;
        for (int b = 0; b < m.B; b++) {
            assert_int_equal(m.lengths[b], m.T);
            assert_true(m.targets[b * m.T + m.T - 1] > 0);
            seen[m.rows[b]]++;
        }
    }
    for (int user = 0; user < 23; user++)
        assert_int_equal(seen[user], 1);
    sc_example_batches_clear(&batches);
    make_examples(SC_ITEMS_TRAIN, 8);
    const size_t n = sc_examples_n(examples);
    int n_padded = 0, n_rows = 0;
    assert_int_equal(sc_example_batches_epoch(examples, 1, 0, 4, 2, &batches), SC_OK);
    for (uint64_t step = 0; step < batches.n_steps; step++)
        for (int k = 0; k < 2; k++) {
            sc_example_batches_get(&batches, step, k, &m);
            n_rows += m.B;
            for (int b = 0; b < m.B; b++)
                for (int t = m.lengths[b]; t < m.T; t++, n_padded++) {
                    assert_int_equal(m.tokens[b * m.T + t], SC_ITEM_PADDING);
                    assert_int_equal(m.targets[b * m.T + t], SC_NO_TARGET);
                }
        }
    assert_true(n_rows >= (int)n && n_rows <= (int)n + 1 && n_padded > 0);
    sc_example_batches_clear(&batches);
    sc_micro_batch_clear(&m);
}

/* Training counts: a 3, b 2, c 1, d 0. */
static void popularity_by_hand(void **state)
{
    (void)state;
    make_sequences("a b c d\na b d c\na c b a d\n", &sequences);
    /* The parts to train on are "a b", "a b", "a c b": counts a 3, b 3, c 1, d 0. Test: c d -> d, d -> c, a -> d. */
    sc_ranking_scores seen, all;
    assert_int_equal(sc_item_ranking_popularity(&sequences, SC_ITEMS_TEST, false, &all), SC_OK);
    assert_int_equal(sc_item_ranking_popularity(&sequences, SC_ITEMS_TEST, true, &seen), SC_OK);
    assert_int_equal(all.n, 3);
    /* d is the fourth, c the third */
    assert_true(fabs(all.mrr - (0.25 + 1 / 3.0 + 0.25) / 3) < 1e-15);
    /* without what the user has met there is nothing else left */
    assert_true(seen.mrr == 1 && seen.ndcg == 1 && seen.hr == 1);
    /* dev of the third user is an a that it has met before: it counts all the same, b is as popular */
    assert_int_equal(sc_item_ranking_popularity(&sequences, SC_ITEMS_DEV, true, &seen), SC_OK);
    /* c before d: first of c d; d after c: second of c d; a is first of a d */
    assert_true(fabs(seen.mrr - (1 + 0.5 + 1) / 3) < 1e-15);
}

static void scores_of_a_model(void **state)
{
    (void)state;
    make_sequences("a b c d\nd c b a\n", &sequences);
    sc_item_ranking ranking;
    assert_int_equal(sc_item_ranking_init(&sequences, SC_ITEMS_TEST, false, 5, &ranking), SC_OK);
    /* padding is no candidate, whatever its score */
    const float scores[] = {100, 1, 2, 3, 4};
    sc_item_ranking_add(&ranking, 0, scores); /* d: 1 */
    sc_item_ranking_add(&ranking, 1, scores); /* a: 4 */
    sc_ranking_scores mean = sc_ranking_mean(&ranking.sums);
    assert_true(fabs(mean.mrr - 0.625) < 1e-15);
    assert_true(fabs(mean.loss - (96 + 99) / 2.0) < 1e-6); /* exp (-96) beside 1 is nothing in double */
    sc_item_ranking_clear(&ranking);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(leave_one_out, clear),
        cmocka_unit_test_teardown(rare_items_and_short_users_are_dropped, clear),
        cmocka_unit_test_teardown(training_has_each_target_once, clear),
        cmocka_unit_test_teardown(what_is_held_out_is_the_last_target, clear),
        cmocka_unit_test_teardown(micro_batches, clear),
        cmocka_unit_test_teardown(popularity_by_hand, clear),
        cmocka_unit_test_teardown(scores_of_a_model, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
