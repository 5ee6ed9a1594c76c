/* Data of each task through the one interface that a run knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/data/feed.h"
#include "coordinator/data/tokenizer_items.h"
#include "tests/unit/scratch.h"

#define VOCAB SC_SOURCE_DIR "/tests/golden/vocab-bert/uncased"

static sc_config *config_of(const char *data, const char *train)
{
    char text[2048];
    sc_config *config;
    snprintf(text, sizeof text,
             "run: {seed: 3}\n%s\ntrain: {steps: 4, batch_size: 8, micro_batch_size: 2, eval_every: 0%s}\n", data,
             train);
    if (sc_config_parse(text, strlen(text), "c.yaml", NULL, 0, &config) != SC_OK)
        fail_msg("%s", sc_status_message());
    return config;
}

/* Classification: texts of 1 to 8 words. */
static void write_texts(const char *path, int n)
{
    FILE *out = fopen(path, "we");
    assert_non_null(out);
    for (int i = 0; i < n; i++) {
        for (int w = 0; w <= i * i % 9; w++)
            fputs("one ", out);
        fprintf(out, "two\t%s\n", i % 3 ? "b" : "a");
    }
    fclose(out);
}

static void texts_come_in_epochs_and_rounds(void **state)
{
    (void)state;
    const char *dir = scratch_path;
    char path[256], data[1024];
    snprintf(path, sizeof path, "%s/t.tsv", dir);
    write_texts(path, 37);
    snprintf(data, sizeof data,
             "model: {family: bert, task: classification, context: 32}\n"
             "data: {train: [%s], format: text-label, tokenizer: %s, validation_share: 0.3, test_share: 0.1}",
             path, VOCAB);
    sc_config *config = config_of(data, "");
    sc_feed *feed;
    assert_int_equal(sc_feed_open(config, &feed), SC_OK);
    assert_int_equal(sc_feed_n_labels(feed), 2);
    assert_string_equal(sc_feed_labels(feed)->names[0], "a");
    assert_int_equal(sc_feed_longest(feed), 11); /* the longest text, and no more */
    assert_int_equal(sc_feed_most_rows(feed), 2);
    const uint64_t steps = sc_feed_n_items(feed, SC_SPLIT_TRAIN);
    assert_int_equal(steps, 3); /* 37 - 11 - 4 texts in batches of 8 */

    /* A step of the third epoch asked for first is the one asked for last. */
    const sc_micro_batch *m;
    const sc_feed_item late = {SC_SPLIT_TRAIN, 2 * steps + 1};
    assert_int_equal(sc_feed_get(feed, late, 3, &m), SC_OK);
    const size_t row = m->rows[1];
    uint64_t rows = 0, targets = 0;
    for (uint64_t i = 0; i < steps; i++) {
        sc_feed_size size;
        assert_int_equal(sc_feed_n_microbatches(feed, (sc_feed_item){SC_SPLIT_TRAIN, i}), 4);
        assert_int_equal(sc_feed_measure(feed, (sc_feed_item){SC_SPLIT_TRAIN, i}, &size), SC_OK);
        rows += size.n_sequences;
        targets += size.n_targets;
    }
    assert_int_equal(rows, 22);
    assert_int_equal(targets, 22);
    assert_int_equal(sc_feed_get(feed, late, 3, &m), SC_OK);
    assert_int_equal(m->rows[1], row);

    /* Evaluations see each text once; the last round has what is left. */
    assert_int_equal(sc_feed_n_items(feed, SC_SPLIT_VALIDATION), 2); /* 11 texts: 6 micro-batches, 4 a round */
    assert_int_equal(sc_feed_n_microbatches(feed, (sc_feed_item){SC_SPLIT_VALIDATION, 1}), 2);
    rows = 0;
    for (uint64_t i = 0; i < 2; i++) {
        sc_feed_size size;
        assert_int_equal(sc_feed_measure(feed, (sc_feed_item){SC_SPLIT_VALIDATION, i}, &size), SC_OK);
        rows += size.n_sequences;
    }
    assert_int_equal(rows, 11);
    assert_int_equal(sc_feed_n_items(feed, SC_SPLIT_TEST), 1);

    /* Other data are known by their hash; what is evaluated on is no part of it. */
    uint64_t hash, other;
    assert_int_equal(sc_feed_hash(feed, &hash), SC_OK);
    sc_feed_destroy(&feed);
    write_texts(path, 36);
    assert_int_equal(sc_feed_open(config, &feed), SC_OK);
    assert_int_equal(sc_feed_hash(feed, &other), SC_OK);
    assert_true(hash != other);
    sc_feed_destroy(&feed);
    sc_config_destroy(&config);
}

static void many_labels_are_targets_each(void **state)
{
    (void)state;
    enum { K = 20 }; /* more than a text has tokens */
    char path[256], data[1024];
    snprintf(path, sizeof path, "%s/m.tsv", scratch_path);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    for (int i = 0; i < K; i++)
        fprintf(file, "one two\t%s%02d%s%02d\n", i ? "l" : "", i, i ? ";l" : "", i ? 0 : 99);
    fputs("none\t\n", file);
    fclose(file);
    snprintf(data, sizeof data,
             "model: {family: bert, task: classification, multi_label: true, context: 32}\n"
             "data: {train: [%s], format: text-label, label_separator: \";\", tokenizer: %s, validation_share: 0}",
             path, VOCAB);
    sc_config *config = config_of(data, "");
    sc_feed *feed;
    if (sc_feed_open(config, &feed) != SC_OK)
        fail_msg("%s", sc_status_message());
    const int n_labels = sc_feed_n_labels(feed); /* "0099", l00, l01 to l19 */
    assert_int_equal(n_labels, K + 1);
    int on = 0;
    for (uint64_t i = 0; i < sc_feed_n_items(feed, SC_SPLIT_TRAIN); i++) {
        sc_feed_size size;
        assert_int_equal(sc_feed_measure(feed, (sc_feed_item){SC_SPLIT_TRAIN, i}, &size), SC_OK);
        assert_int_equal(size.n_targets, size.n_sequences * (uint64_t)n_labels);
        for (int m = 0; m < sc_feed_n_microbatches(feed, (sc_feed_item){SC_SPLIT_TRAIN, i}); m++) {
            const sc_micro_batch *micro;
            assert_int_equal(sc_feed_get(feed, (sc_feed_item){SC_SPLIT_TRAIN, i}, m, &micro), SC_OK);
            for (int b = 0; b < micro->B; b++) {
                int of_row = 0;
                for (int k = 0; k < n_labels; k++)
                    of_row += micro->targets[b * n_labels + k];
                size_t row = micro->rows[b];
                assert_int_equal(of_row, row == 0 ? 1 : row == K ? 0 : 2);
                on += of_row;
            }
        }
    }
    assert_true(on >= 1 + 2 * (K - 1));
    sc_feed_destroy(&feed);
    sc_config_destroy(&config);
}

static void targets_weigh_what_their_classes_do(void **state)
{
    (void)state;
    char path[256], data[1024];
    snprintf(path, sizeof path, "%s/w.tsv", scratch_path);
    write_texts(path, 24); /* 8 of a, 16 of b */
    snprintf(data, sizeof data,
             "model: {family: bert, task: classification, context: 32}\n"
             "data: {train: [%s], format: text-label, tokenizer: %s, validation_share: 0}",
             path, VOCAB);
    sc_config *config = config_of(data, ", class_weights: balanced");
    sc_feed *feed;
    assert_int_equal(sc_feed_open(config, &feed), SC_OK);
    const float *weights = sc_feed_class_weights(feed);
    assert_true(weights && weights[0] == 1.5f && weights[1] == 0.75f); /* 24 / (2 * 8), 24 / (2 * 16) */
    double sum = 0;
    for (uint64_t i = 0; i < sc_feed_n_items(feed, SC_SPLIT_TRAIN); i++) {
        sc_feed_size size;
        assert_int_equal(sc_feed_measure(feed, (sc_feed_item){SC_SPLIT_TRAIN, i}, &size), SC_OK);
        assert_int_equal(size.n_targets, 8);
        sum += size.target_weight;
    }
    assert_true(sum == 24); /* what balanced weights add up to */
    sc_feed_destroy(&feed);
    sc_config_destroy(&config);

    config = config_of(data, ", class_weights: [c=2]");
    assert_int_equal(sc_feed_open(config, &feed), SC_INVALID);
    assert_non_null(strstr(sc_status_message(), "c.yaml: train.class_weights: 'c=2'"));
    sc_config_destroy(&config);
}

static void documents_are_masked_anew_in_each_epoch(void **state)
{
    (void)state;
    const char *dir = scratch_path;
    char path[256], data[1024];
    snprintf(path, sizeof path, "%s/p.txt", dir);
    FILE *out = fopen(path, "we");
    assert_non_null(out);
    for (int i = 0; i < 12; i++)
        fputs("The first sentence of a document.\nAnd the second one follows it here.\nA third.\n\n", out);
    fclose(out);
    snprintf(data, sizeof data,
             "model: {family: bert, task: pretraining, context: 24}\n"
             "data: {train: [%s], tokenizer: %s, validation_share: 0.25}",
             path, VOCAB);
    sc_config *config = config_of(data, "");
    sc_feed *feed;
    assert_int_equal(sc_feed_open(config, &feed), SC_OK);
    assert_null(sc_feed_labels(feed));
    const uint64_t steps = sc_feed_n_items(feed, SC_SPLIT_TRAIN);
    sc_feed_size size;
    for (uint64_t i = 0; i < 3 * steps; i++) {
        const sc_feed_item item = {SC_SPLIT_TRAIN, i};
        uint64_t targets = 0, tokens = 0, rows = 0;
        assert_int_equal(sc_feed_measure(feed, item, &size), SC_OK);
        for (int k = 0; k < sc_feed_n_microbatches(feed, item); k++) {
            const sc_micro_batch *m;
            assert_int_equal(sc_feed_get(feed, item, k, &m), SC_OK);
            for (int at = 0; at < m->B * m->T; at++)
                targets += m->targets[at] >= 0;
            for (int b = 0; b < m->B; b++, rows++)
                tokens += (uint64_t)m->lengths[b];
        }
        assert_int_equal(size.n_targets, targets);
        assert_int_equal(size.n_tokens, tokens);
        assert_int_equal(size.n_sequences, rows);
    }
    assert_true(sc_feed_n_items(feed, SC_SPLIT_VALIDATION) > 0);
    sc_feed_destroy(&feed);
    sc_config_destroy(&config);
}

/* A user's items, in order of time, train; the last two are for the evaluations, one row each. */
static void items_are_left_out_one_by_one(void **state)
{
    (void)state;
    char data[1024];
    const char *lines = "1|b|20\n1|a|10\n1|c|30\n1|d|40\n1|x|15\n2|a|1\n2|b|2\n2|c|3\n2|d|4\n2|a|5\n3|a|1\n",
               *titles = "a|Title of a\n";
    const char *path = scratch_write("items", lines, strlen(lines)),
               *title_path = scratch_write("titles", titles, strlen(titles));
    snprintf(data, sizeof data,
             "model: {context: 8}\n"
             "data: {train: [%s], format: items, separator: '|', time_column: 3, min_item_count: 2, min_user_items: 4, "
             "titles: %s}",
             path, title_path);
    sc_config *config = config_of(data, "");
    sc_feed *feed;
    if (sc_feed_open(config, &feed) != SC_OK)
        fail_msg("%s", sc_status_message());
    const sc_item_sequences *sequences = sc_feed_sequences(feed);
    assert_int_equal(sequences->n_users, 2);
    assert_int_equal(sc_tokenizer_vocab(sc_feed_tokenizer(feed)), 5); /* a b c d, and padding */
    assert_string_equal(sc_tokenizer_items_title(sc_feed_tokenizer(feed), 1), "Title of a");
    /* "a b" and "a b c", with 1 and 2 targets; dev c and d behind them, test d and a */
    const int32_t targets[SC_N_SPLITS][2] = {[SC_SPLIT_VALIDATION] = {3, 4}, [SC_SPLIT_TEST] = {4, 1}};
    const sc_micro_batch *m;
    sc_feed_size size;
    assert_int_equal(sc_feed_n_items(feed, SC_SPLIT_TRAIN), 1);
    assert_int_equal(sc_feed_measure(feed, (sc_feed_item){SC_SPLIT_TRAIN, 0}, &size), SC_OK);
    for (int split = SC_SPLIT_VALIDATION; split < SC_N_SPLITS; split++) {
        int n = 0;
        assert_int_equal(sc_feed_n_items(feed, (sc_data_split)split), 1);
        const sc_feed_item round = {(sc_data_split)split, 0};
        assert_int_equal(sc_feed_n_microbatches(feed, round), 2); /* two lengths */
        for (int i = 0; i < 2; i++) {
            assert_int_equal(sc_feed_get(feed, round, i, &m), SC_OK);
            assert_int_equal(m->B, 1);
            assert_int_equal(m->targets[m->T - 1], targets[split][m->rows[0]]);
            n += m->T;
        }
        assert_int_equal(n, split == SC_SPLIT_VALIDATION ? 5 : 7);
    }
    sc_feed_destroy(&feed);
    sc_config_destroy(&config);
    const char *short_lines = "1|a|1\n1|b|2\n1|a|3\n2|b|1\n2|a|2\n2|b|3\n";
    scratch_write("items", short_lines, strlen(short_lines));
    snprintf(data, sizeof data,
             "data: {train: [%s], format: items, separator: '|', time_column: 3, min_item_count: 1, "
             "min_user_items: 3}",
             path);
    config = config_of(data, "");
    assert_int_equal(sc_feed_open(config, &feed), SC_INVALID);
    assert_non_null(strstr(sc_status_message(), "c.yaml: data.train: no user has an item to train on"));
    sc_config_destroy(&config);
}

static void a_token_stream_has_windows(void **state)
{
    (void)state;
    const char *dir = scratch_path;
    char path[256], data[1024];
    snprintf(path, sizeof path, "%s/s.txt", dir);
    FILE *out = fopen(path, "we");
    assert_non_null(out);
    for (int i = 0; i < 100; i++)
        fputs("0123456789", out);
    fclose(out);
    snprintf(data, sizeof data, "model: {context: 10}\ndata: {train: [%s], validation_share: 0.2}", path);
    sc_config *config = config_of(data, ", eval_batches: 1");
    sc_feed *feed;
    sc_feed_size size;
    const sc_micro_batch *m;
    assert_int_equal(sc_feed_open(config, &feed), SC_OK);
    assert_int_equal(sc_feed_n_items(feed, SC_SPLIT_TRAIN), 10); /* 79 windows in batches of 8 */
    assert_int_equal(sc_feed_n_items(feed, SC_SPLIT_VALIDATION), 1);
    assert_int_equal(sc_feed_n_items(feed, SC_SPLIT_TEST), 0);
    assert_int_equal(sc_feed_measure(feed, (sc_feed_item){SC_SPLIT_TRAIN, 123}, &size), SC_OK);
    assert_int_equal(size.n_targets, 80);
    assert_int_equal(sc_feed_get(feed, (sc_feed_item){SC_SPLIT_TRAIN, 123}, 3, &m), SC_OK);
    assert_true(m->B == 2 && m->T == 10 && !m->lengths && m->targets[0] == m->tokens[1]);
    sc_feed_destroy(&feed);
    sc_config_destroy(&config);
}

/* What is wrong is told with its place before anything begins. */
static void broken_data_are_refused(void **state)
{
    (void)state;
    const char *dir = scratch_path;
    static const struct {
        const char *text, *keys, *told;
    } cases[] = {
        {"a\tx\nb\ty\nc", "", ":3: "},
        {"", "", ": holds no text"},
        {"a\tx\nb\ty\n", ", validation_share: 0.1", "data.validation_share: of 2 texts none is left for validation"},
        {"a\tx\nb\ty\n", ", validation: [DIR/dev.tsv]", "dev.tsv:2: "},
        {"a\tx\n\xff\xfe\ty\n", "", ":2"},
    };
    char path[256], data[1024];
    snprintf(path, sizeof path, "%s/dev.tsv", dir);
    FILE *out = fopen(path, "we");
    assert_non_null(out);
    fputs("a\tx\nb\tz\n", out);
    fclose(out);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char keys[512];
        const char *at = strstr(cases[i].keys, "DIR");
        snprintf(keys, sizeof keys, "%.*s%s%s", at ? (int)(at - cases[i].keys) : (int)strlen(cases[i].keys),
                 cases[i].keys, at ? dir : "", at ? at + 3 : "");
        snprintf(path, sizeof path, "%s/b.tsv", dir);
        out = fopen(path, "we");
        assert_non_null(out);
        fputs(cases[i].text, out);
        fclose(out);
        snprintf(data, sizeof data,
                 "model: {family: bert, task: classification, context: 32}\n"
                 "data: {train: [%s], format: text-label, tokenizer: %s%s}",
                 path, VOCAB, keys);
        sc_config *config = config_of(data, "");
        sc_feed *feed;
        const sc_status status = sc_feed_open(config, &feed);
        assert_int_equal(status, SC_INVALID);
        assert_null(feed);
        if (!strstr(sc_status_message(), cases[i].told))
            fail_msg("'%s' is not in '%s'", cases[i].told, sc_status_message());
        sc_config_destroy(&config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_come_in_epochs_and_rounds),
        cmocka_unit_test(many_labels_are_targets_each),
        cmocka_unit_test(targets_weigh_what_their_classes_do),
        cmocka_unit_test(documents_are_masked_anew_in_each_epoch),
        cmocka_unit_test(items_are_left_out_one_by_one),
        cmocka_unit_test(a_token_stream_has_windows),
        cmocka_unit_test(broken_data_are_refused),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
