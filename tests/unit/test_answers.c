/* Files of answers: what they say, and what is wrong with those that say nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/data/labelled_texts.h"
#include "coordinator/run/answers.h"
#include "proto/base/files.h"

static sc_labels labels;

static int name_labels(void **state)
{
    (void)state;
    static const char *const names[] = {"card", "loan", "other thing"};
    int32_t id;
    for (int i = 0; i < 3; i++)
        assert_int_equal(sc_labels_add(&labels, names[i], strlen(names[i]), &id), SC_OK);
    return 0;
}

static int clear_labels(void **state)
{
    (void)state;
    sc_labels_clear(&labels);
    return 0;
}

static void assert_answer(const sc_answers *answers, int32_t label, double probability, const char *text,
                          const char *wanted, bool wanted_known)
{
    char *answer;
    size_t n;
    bool known;
    assert_int_equal(sc_answers_give(answers, label, probability, text, strlen(text), &answer, &n, &known), SC_OK);
    assert_string_equal(answer, wanted);
    assert_int_equal(n, strlen(wanted));
    assert_int_equal(known, wanted_known);
    free(answer);
}

static void test_answers(void **state)
{
    (void)state;
    static const char yaml[] = "# a comment\n"
                               "threshold: 0.5\n"
                               "unknown: Sorry, {probability}?\n"
                               "default: \"{label}: {text} {{x}}\"\n"
                               "answers:\n"
                               "  card: Ours.\n"
                               "  'other thing': {threshold: 0.9, answer: '{text}{text}'}\n";
    static const char json[] =
        "{\"threshold\": 0.5, \"unknown\": \"Sorry, {probability}?\", \"default\": \"{label}: {text} "
        "{{x}}\",\n \"answers\": {\"card\": \"Ours.\", \"other thing\": {\"threshold\": 0.9, "
        "\"answer\": \"{text}{text}\"}}}";
    static const char *const files[] = {yaml, json};
    for (int i = 0; i < 2; i++) {
        sc_answers *answers = NULL;
        if (sc_answers_parse(files[i], strlen(files[i]), "answers", &labels, &answers) != SC_OK)
            fail_msg("%s", sc_status_message());
        assert_answer(answers, 0, 0.5, "a {label}", "Ours.", true);
        assert_answer(answers, 0, 0.4999, "a", "Sorry, 0.50?", false);
        assert_answer(answers, 1, 1, "a {label}", "loan: a {label} {x}", true); /* what a text holds is no template */
        assert_answer(answers, 2, 0.89, "ab", "Sorry, 0.89?", false);
        assert_answer(answers, 2, 0.9, "ab", "abab", true);
        sc_answers_destroy(&answers);
    }
}

static void test_no_threshold(void **state)
{
    (void)state;
    static const char text[] = "default: ''\nanswers: {loan: {answer: L}}\n";
    sc_answers *answers = NULL;
    assert_int_equal(sc_answers_parse(text, strlen(text), "answers", &labels, &answers), SC_OK);
    assert_answer(answers, 0, 0.01, "a", "", true);
    assert_answer(answers, 1, 0, "a", "L", true);
    sc_answers_destroy(&answers);
}

static void test_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says[2];
    } cases[] = {
        {"", {"a file of answers begins with", NULL}},
        {"- a\n", {"answers:1:", "begins with"}},
        {"answers: {card: a\n", {"not YAML", NULL}},
        {"default: a\ncolour: red\n", {"answers:2:", "'colour' is no key"}},
        {"default: a\ndefault: b\n", {"answers:2:", "twice"}},
        {"default: a\nthreshold: much\n", {"answers:2:", "'much'"}},
        {"default: a\nthreshold: 1.5\n", {"'1.5'", "from 0 to 1"}},
        {"default: a\nthreshold: nan\n", {"'nan'", NULL}},
        {"default: a\nthreshold: 0.5\n", {"threshold", "unknown"}},
        {"answers:\n  card: a\n  lone: b\n", {"answers:3:", "did you mean 'loan'"}},
        {"answers:\n  card: a\n  card: b\n", {"answers:3:", "already"}},
        {"answers: {card: a}\n", {"'loan' has no answer", "default"}},
        {"answers: {card: [a]}\n", {"must be a text", NULL}},
        {"answers: {card: {answer: a, colour: b}}\n", {"a key 'colour'", NULL}},
        {"answers: {card: {answer: a, answer: b}}\n", {"a second 'answer'", NULL}},
        {"default: 'x {name}'\n", {"{name}", "{label}"}},
        {"default: 'x {text'\n", {"'{text'", NULL}},
        {"default: 'x } y'\n", {"}}", NULL}},
        {"default: &a x\nunknown: *a\n", {"anchors", NULL}},
        {"default: !!str x\n", {"tags", NULL}},
        {"default: x\n---\ndefault: y\n", {"second document", NULL}},
        {"default: \"a\\0b\"\n", {"NUL", NULL}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sc_answers *answers = NULL;
        assert_int_equal(sc_answers_parse(cases[i].text, strlen(cases[i].text), "answers", &labels, &answers),
                         SC_INVALID);
        assert_null(answers);
        for (int k = 0; k < 2 && cases[i].says[k]; k++)
            if (!strstr(sc_status_message(), cases[i].says[k]))
                fail_msg("'%s' does not say '%s'", sc_status_message(), cases[i].says[k]);
    }
}

/* The recipe's file answers each intent of its own training data. */
static void test_recipe(void **state)
{
    (void)state;
    static const char root[] = SC_SOURCE_DIR "/deploy/recipes/";
    char data[512], path[512], *bytes;
    size_t n;
    snprintf(data, sizeof data, "%sdata/banking77/train.csv", root);
    snprintf(path, sizeof path, "%scustomer-service/answers.yaml", root);
    sc_labels intents = {0};
    sc_labelled_texts texts = {0};
    sc_data_columns columns = sc_data_columns_defaults();
    columns.label = "category";
    assert_int_equal(sc_files_read(data, INT32_MAX, &bytes, &n), SC_OK);
    const sc_text file = {.name = data, .bytes = bytes, .n_bytes = n};
    assert_int_equal(sc_labelled_texts_read(&texts, &file, SC_DATA_CSV, &columns, &intents, false), SC_OK);
    assert_int_equal(intents.n, 77);
    sc_answers *answers = NULL;
    if (sc_answers_load(path, &intents, &answers) != SC_OK)
        fail_msg("%s", sc_status_message());
    sc_answers_destroy(&answers);
    sc_labelled_texts_clear(&texts);
    sc_labels_clear(&intents);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_no_threshold),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_recipe),
    };
    return cmocka_run_group_tests(tests, name_labels, clear_labels);
}
