/* What an evaluation adds up to, from logits and losses that are known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/run/scorer.h"
#include "tests/unit/scratch.h"

#define VOCAB SC_SOURCE_DIR "/tests/golden/vocab-bert/uncased"

typedef struct world {
    sc_config *config;
    sc_feed *feed;
    sc_model model;
    sc_scorer *scorer;
} world;

static world open_world(const char *model, const char *data)
{
    world w = {0};
    char text[2048];
    snprintf(text, sizeof text,
             "model: {family: bert, %s, layers: 1, heads: 2, hidden: 32, context: 16}\ndata: {%s, tokenizer: %s}\n"
             "train: {epochs: 1, batch_size: 4, micro_batch_size: 2}\n",
             model, data, VOCAB);
    if (sc_config_parse(text, strlen(text), "c.yaml", NULL, 0, &w.config) != SC_OK ||
        sc_feed_open(w.config, &w.feed) != SC_OK)
        fail_msg("%s", sc_status_message());
    assert_int_equal(
        sc_config_model(w.config, sc_tokenizer_vocab(sc_feed_tokenizer(w.feed)), sc_feed_n_labels(w.feed), &w.model),
        SC_OK);
    return w;
}

static void close_world(world *w)
{
    sc_scorer_destroy(&w->scorer);
    sc_feed_destroy(&w->feed);
    sc_config_destroy(&w->config);
}

/* Runs an evaluation whose logits are `lead` for the right label and 0 for the others, but for the target that `wrong` counts down to,
 * where the label behind it is ahead. */
static sc_score_list evaluate(world *w, int wrong, float lead)
{
    const int B = sc_feed_most_rows(w->feed), T = sc_feed_longest(w->feed), K = w->model.labels;
    const bool tags = w->model.task == SC_TASK_TAGGING;
    assert_int_equal(sc_scorer_new(w->feed, &w->model, SC_SPLIT_VALIDATION, &w->scorer), SC_OK);
    assert_true(sc_scorer_wants_logits(w->scorer));
    sc_scorer_begin(w->scorer);
    for (uint64_t round = 0; round < sc_feed_n_items(w->feed, SC_SPLIT_VALIDATION); round++) {
        const sc_feed_item item = {SC_SPLIT_VALIDATION, round};
        const int M = sc_feed_n_microbatches(w->feed, item);
        const size_t room = (size_t)sc_model_n_logits(&w->model, T);
        sc_buffer *buffer;
        assert_int_equal(sc_buffer_new((size_t)M * (size_t)B * room * sizeof(float), &buffer), SC_OK);
        float *logits = sc_buffer_data(buffer);
        memset(logits, 0, sc_buffer_bytes(buffer));
        for (int m = 0; m < M; m++) {
            const sc_micro_batch *batch;
            assert_int_equal(sc_feed_get(w->feed, item, m, &batch), SC_OK);
            for (int i = 0; i < batch->B * (tags ? batch->T : 1); i++) {
                const int b = tags ? i / batch->T : i, t = tags ? i % batch->T : 0;
                if (batch->targets[i] == SC_NO_TARGET)
                    continue;
                const int found = wrong-- == 0 ? (batch->targets[i] + 1) % K : batch->targets[i];
                logits[(size_t)(m * B + b) * room + (size_t)(t * K + found)] = lead;
            }
        }
        const sc_step_result result = {.logits = buffer};
        assert_int_equal(sc_scorer_add(w->scorer, round, &result, B, T), SC_OK);
        sc_buffer_unref(&buffer);
    }
    sc_score_list scores;
    assert_int_equal(sc_scorer_finish(w->scorer, &scores), SC_OK);
    return scores;
}

static void assert_near(const sc_score_list *scores, const char *name, double expected)
{
    const double *value = sc_score_list_find(scores, name);
    assert_non_null(value);
    if (fabs(*value - expected) > 1e-12) /* a few roundings of a double */
        fail_msg("%s is %.17g, not %.17g", name, *value, expected);
}

static void texts_are_classified(void **state)
{
    (void)state;
    static const char train[] = "one\ta\ntwo\tb\nthree\tc\nfour\ta\n",
                      dev[] = "five six seven\tb\none\ta\ntwo\tc\nnine ten\ta\nsix\tb\n";
    char data[1024], *text;
    snprintf(data, sizeof data, "train: [%s], validation: [%s], format: text-label",
             scratch_write("train.tsv", train, strlen(train)), scratch_write("dev.tsv", dev, strlen(dev)));
    world w = open_world("task: classification", data);
    const sc_score_list scores = evaluate(&w, 0, 2); /* longest first: "five six seven" is taken for a c */
    const double right = log(exp(2) + 2) - 2, wrong = log(exp(2) + 2);
    assert_string_equal(scores.items[0].name, "loss");
    assert_near(&scores, "loss", (4 * right + wrong) / 5);
    assert_near(&scores, "accuracy", 0.8);
    assert_near(&scores, "macro_f1", (1 + 2.0 / 3 + 2.0 / 3) / 3); /* a: 1; b: 1 of 2 found; c: 1 of 2 right */
    assert_null(sc_score_list_find(&scores, "entity_f1"));
    assert_int_equal(sc_scorer_predictions(w.scorer)->n, 5);
    assert_int_equal(sc_scorer_write(w.scorer, scratch_file("dev.pred"), ","), SC_OK);
    text = scratch_read("dev.pred");
    assert_string_equal(text, "five six seven\tb\tc\none\ta\ta\ntwo\tc\tc\nnine ten\ta\ta\nsix\tb\tb\n");
    free(text);
    close_world(&w);
}

static void tags_are_found_by_word(void **state)
{
    (void)state;
    static const char train[] = "Bob\tB-PER\nsaw\tO\nParis\tB-LOC\nHilton\tI-LOC\n\nno\tO\n";
    /* The first sentence has more pieces than a row, so it becomes two. */
    static const char dev[] =
        "one\tO\ntwo\tO\nthree\tO\nfour\tO\nfive\tO\nsix\tO\nseven\tO\neight\tO\nnine\tO\nParis\tB-LOC\n"
        "Hilton\tI-LOC\nis\tO\nin\tO\nParis\tB-LOC\nthere\tO\nunbelievably\tO\n\nBob\tB-PER\n\n";
    char data[1024], *text;
    snprintf(data, sizeof data, "train: [%s], validation: [%s]", scratch_write("train.conll", train, strlen(train)),
             scratch_write("dev.conll", dev, strlen(dev)));
    world w = open_world("task: tagging", data);
    sc_score_list scores = evaluate(&w, -1, 3); /* none is wrong */
    assert_near(&scores, "accuracy", 1);
    assert_near(&scores, "entity_f1", 1);
    assert_near(&scores, "loss", log(exp(3) + 3) - 3);
    assert_int_equal(sc_scorer_write(w.scorer, scratch_file("all.pred"), ","), SC_OK);
    text = scratch_read("all.pred");
    assert_non_null(strstr(text, "one\tO\tO\n"));
    assert_non_null(strstr(text, "unbelievably\tO\tO\n\nBob\tB-PER\tB-PER\n\n"));
    free(text);
    sc_scorer_destroy(&w.scorer);
    scores = evaluate(&w, 0, 3); /* the longest row's first word, an O, is taken for B-LOC, label 0 */
    assert_near(&scores, "accuracy", 16.0 / 17);
    assert_near(&scores, "entity_f1", 2 * 0.75 * 1 / 1.75); /* 3 of 4 are right, 3 of 3 are found */
    close_world(&w);
}

static void answers_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const char train[] = "one\ta\ntwo\tb\n";
    char data[1024];
    snprintf(data, sizeof data, "train: [%s], validation: [%s], format: text-label",
             scratch_write("few.tsv", train, strlen(train)), scratch_file("few.tsv"));
    world w = open_world("task: classification", data);
    const int B = sc_feed_most_rows(w.feed), T = sc_feed_longest(w.feed);
    sc_step_result result = {0};
    assert_int_equal(sc_scorer_new(w.feed, &w.model, SC_SPLIT_VALIDATION, &w.scorer), SC_OK);
    sc_scorer_begin(w.scorer);
    assert_int_equal(sc_scorer_add(w.scorer, 0, &result, B, T), SC_INVALID);
    const size_t bytes =
        (size_t)sc_feed_n_microbatches(w.feed, (sc_feed_item){SC_SPLIT_VALIDATION, 0}) * (size_t)B * 2 * sizeof(float);
    assert_int_equal(sc_buffer_new(bytes, &result.logits), SC_OK);
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        ((float *)sc_buffer_data(result.logits))[i] = NAN;
    assert_int_equal(sc_scorer_add(w.scorer, 0, &result, B, T), SC_ABORTED);
    assert_non_null(strstr(sc_status_message(), "diverged"));
    sc_buffer_unref(&result.logits);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_classified),
        cmocka_unit_test(tags_are_found_by_word),
        cmocka_unit_test(answers_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
