#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/report/report.h"
#include "coordinator/report/scores.h"
#include "tests/unit/tokenizer_fixture.h"

#include <math.h>

#define REPORTS GOLDEN "report/"

static sc_predictions read_predictions(const char *name)
{
    char path[512];
    size_t n;
    snprintf(path, sizeof path, REPORTS "%s.pred", name);
    char *bytes = read_golden(path, &n);
    sc_predictions self = {0};
    if (sc_predictions_read(&(sc_text){.name = path, .bytes = bytes, .n_bytes = n}, &self) != SC_OK)
        fail_msg("%s", sc_status_message());
    free(bytes);
    return self;
}

static char *print(const sc_predictions *predictions, sc_report_format format, int digits)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    if (sc_report_print(predictions, format, digits, out) != SC_OK)
        fail_msg("%s", sc_status_message());
    fclose(out);
    return text;
}

static void assert_report(const char *name, sc_report_format format, int digits, const char *golden)
{
    char path[512];
    size_t n;
    snprintf(path, sizeof path, REPORTS "%s.%s.txt", name, golden);
    char *expected = read_golden(path, &n);
    sc_predictions predictions = read_predictions(name);
    char *text = print(&predictions, format, digits);
    assert_string_equal(text, expected);
    free(text);
    free(expected);
    sc_predictions_clear(&predictions);
}

static sc_label_sets read_sets(const char *bytes, size_t n)
{
    sc_label_sets self = {0};
    if (sc_label_sets_read(&(sc_text){.name = "f", .bytes = bytes, .n_bytes = n}, "|", &self) != SC_OK)
        fail_msg("%s", sc_status_message());
    return self;
}

static char *print_sets(const sc_label_sets *sets, sc_report_format format, int digits)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    assert_int_equal(sc_report_print_sets(sets, format, digits, out), SC_OK);
    fclose(out);
    return text;
}

static void indicator_matrices_are_reported_as_scikit_learn_does(void **state)
{
    (void)state;
    size_t n;
    char *bytes = read_golden(REPORTS "sets.pred", &n);
    sc_label_sets sets = read_sets(bytes, n);
    for (int digits = 2; digits <= 4; digits += 2) {
        char *expected = read_golden(digits == 2 ? REPORTS "sets.sklearn.txt" : REPORTS "sets.sklearn4.txt", &n);
        char *text = print_sets(&sets, SC_REPORT_SKLEARN, digits);
        assert_string_equal(text, expected);
        free(text);
        free(expected);
    }
    /* The same numbers to the last bit. */
    json_t *ours, *theirs = json_load_file(REPORTS "sets.json", 0, NULL);
    assert_non_null(theirs);
    assert_int_equal(sc_report_json_sets(&sets, &ours), SC_OK);
    assert_int_equal(json_integer_value(json_object_get(ours, "examples")), 300);
    json_object_del(ours, "examples");
    const char *key;
    json_t *value;
    assert_true(json_real_value(json_object_get(ours, "accuracy")) ==
                json_real_value(json_object_get(theirs, "accuracy")));
    json_object_update(ours, json_object_get(ours, "classes"));
    json_object_update(theirs, json_object_get(theirs, "classes"));
    json_object_foreach(theirs, key, value)
    {
        if (!json_is_object(value) || strcmp(key, "classes") == 0)
            continue;
        static const char *const parts[] = {"precision", "recall", "f1-score", "support"};
        for (int i = 0; i < 4; i++)
            assert_true(json_number_value(json_object_get(json_object_get(ours, key), parts[i])) ==
                        json_number_value(json_object_get(value, parts[i])));
    }
    json_decref(ours);
    json_decref(theirs);
    sc_label_sets_clear(&sets);
    free(bytes);
}

static void files_of_label_sets_are_checked(void **state)
{
    (void)state;
    static const char good[] = "a\t x | y |x\ty\r\n\nb\t\t\nc\ty\ty\n";
    sc_label_sets sets = read_sets(good, strlen(good));
    assert_int_equal(sets.n, 3);
    assert_int_equal(sets.n_exact, 2);
    assert_int_equal(sets.labels.n, 2);
    assert_true(sets.counts[0].right == 1 && sets.counts[0].predicted == 0);
    assert_true(sets.counts[1].right == 2 && sets.counts[1].correct == 2);
    FILE *out = fopen("/dev/null", "we");
    assert_int_equal(sc_report_print_sets(&sets, SC_REPORT_CONLLEVAL, 2, out), SC_INVALID);
    fclose(out);
    sc_label_sets_clear(&sets);
    static const char *const bad[][2] = {{"a|b\n", "f:1: has no tab"},
                                         {"a\tb\nx\ta\tb\n", "f:2: has 3 columns"},
                                         {"a||b\tc\n", "f:1: has an empty label"},
                                         {"a|\tc\n", "f:1: has an empty label"},
                                         {"\n", "f: holds no prediction"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const sc_text text = {.name = "f", .bytes = bad[i][0], .n_bytes = strlen(bad[i][0])};
        assert_int_equal(sc_label_sets_read(&text, "|", &sets), SC_INVALID);
        if (!strstr(sc_status_message(), bad[i][1]))
            fail_msg("'%s' does not say '%s'", sc_status_message(), bad[i][1]);
        sc_label_sets_clear(&sets);
    }
}

static void conlleval_is_reproduced_to_the_byte(void **state)
{
    (void)state;
    assert_report("arcada", SC_REPORT_CONLLEVAL, 2, "conlleval");
    assert_report("edge-a", SC_REPORT_CONLLEVAL, 2, "conlleval");
}

static void scikit_learn_is_reproduced_to_the_byte(void **state)
{
    (void)state;
    static const char *const names[] = {"classes", "many", "tags", "arcada", "edge-a"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_report(names[i], SC_REPORT_SKLEARN, 2, "sklearn");
        assert_report(names[i], SC_REPORT_SKLEARN, 4, "sklearn4");
    }
}

static void seqeval_is_reproduced_to_the_byte(void **state)
{
    (void)state;
    assert_report("tags", SC_REPORT_SEQEVAL, 2, "seqeval");
    assert_report("arcada", SC_REPORT_SEQEVAL, 2, "seqeval");
    assert_report("edge-a", SC_REPORT_SEQEVAL, 2, "seqeval");
}

/* The same numbers to the bit: both are doubles that were printed with all their digits. */
static void assert_scores(const json_t *ours, const json_t *theirs)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)theirs, key, value)
    {
        const json_t *mine = json_object_get(ours, key);
        if (!mine || json_number_value(mine) != json_number_value(value))
            fail_msg("%s is %.17g, not %.17g", key, json_number_value(mine), json_number_value(value));
    }
}

static void assert_averages(const json_t *ours, const json_t *theirs)
{
    assert_scores(json_object_get(ours, "macro avg"), json_object_get(theirs, "macro avg"));
    assert_scores(json_object_get(ours, "weighted avg"), json_object_get(theirs, "weighted avg"));
}

static void assert_json(const char *name, bool tags)
{
    char path[512];
    snprintf(path, sizeof path, REPORTS "%s.json", name);
    json_t *theirs = json_load_file(path, 0, NULL), *ours, *value;
    assert_non_null(theirs);
    sc_predictions predictions = read_predictions(name);
    assert_int_equal(sc_report_json(&predictions, &ours), SC_OK);
    assert_true(json_number_value(json_object_get(ours, "accuracy")) ==
                json_number_value(json_object_get(theirs, "accuracy")));
    assert_averages(ours, theirs);
    const char *key;
    json_object_foreach(json_object_get(theirs, "classes"), key, value)
        assert_scores(json_object_get(json_object_get(ours, "classes"), key), value);
    assert_true(json_equal(json_object_get(json_object_get(ours, "confusion"), "counts"),
                           json_object_get(theirs, "confusion")));
    const json_t *entities = json_object_get(ours, "entities"), *their_entities = json_object_get(theirs, "entities");
    assert_int_equal(entities != NULL, tags);
    assert_averages(entities, their_entities);
    assert_scores(json_object_get(entities, "micro avg"), json_object_get(their_entities, "micro avg"));
    json_object_foreach((json_t *)their_entities, key, value) if (!strstr(key, " avg"))
        assert_scores(json_object_get(json_object_get(entities, "types"), key), value);
    json_decref(theirs);
    json_decref(ours);
    sc_predictions_clear(&predictions);
}

static void json_has_the_same_numbers_to_the_bit(void **state)
{
    (void)state;
    assert_json("classes", false);
    assert_json("tags", true);
    assert_json("arcada", true);
    assert_json("edge-a", true);
}

static void predictions_can_be_added_one_by_one(void **state)
{
    (void)state;
    sc_predictions self = {0};
    static const char *const pairs[][2] = {{"B-A", "B-A"}, {"I-A", "I-A"}, {NULL, NULL}, {"I-A", "I-A"}, {"O", "B-A"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (pairs[i][0])
            assert_int_equal(sc_predictions_add(&self, pairs[i][0], pairs[i][1]), SC_OK);
        else
            sc_predictions_end_sentence(&self);
    char *text = print(&self, SC_REPORT_CONLLEVAL, 2);
    assert_string_equal(text, "processed 4 tokens with 2 phrases; found: 3 phrases; correct: 2.\n"
                              "accuracy:  75.00%; precision:  66.67%; recall: 100.00%; FB1:  80.00\n"
                              "                A: precision:  66.67%; recall: 100.00%; FB1:  80.00  3\n");
    free(text);
    text = print(&self, SC_REPORT_CONFUSION, 2);
    assert_string_equal(text, "right \\ predicted  B-A I-A   O\n"
                              "              B-A    1   0   0\n"
                              "              I-A    0   2   0\n"
                              "                O    1   0   0\n");
    free(text);
    sc_predictions_clear(&self);
}

static void assert_bad(const char *bytes, const char *message)
{
    sc_predictions self = {0};
    const sc_text text = {.name = "f.pred", .bytes = bytes, .n_bytes = strlen(bytes)};
    assert_int_equal(sc_predictions_read(&text, &self), SC_INVALID);
    if (!strstr(sc_status_message(), message))
        fail_msg("message \"%s\" lacks \"%s\"", sc_status_message(), message);
    sc_predictions_clear(&self);
}

static void mistakes_in_a_file_are_named_by_line(void **state)
{
    (void)state;
    assert_bad("", "f.pred: holds no prediction");
    assert_bad(" \t \n\n", "f.pred: holds no prediction");
    assert_bad("a O O\nb\n", "f.pred:2: has one column");
    assert_bad("a O O\n\nb x O O\n", "f.pred:3: has 4 columns where the lines before have 3");
    assert_bad("a\tO\tO\nb\tO\t\n", "f.pred:2: has an empty label");
    assert_bad("a O O\nb O \xFF\n", "f.pred:2:5: byte 0xFF");
}

static void entities_of_labels_that_are_none_are_refused(void **state)
{
    (void)state;
    sc_predictions self = {0};
    assert_int_equal(sc_predictions_add(&self, "positive", "negative"), SC_OK);
    assert_false(sc_predictions_are_tags(&self));
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    assert_int_equal(sc_report_print(&self, SC_REPORT_SEQEVAL, 2, out), SC_INVALID);
    assert_non_null(strstr(sc_status_message(), "the label 'positive' is neither O nor B-"));
    fclose(out);
    assert_string_equal(text, "");
    free(text);
    sc_predictions_clear(&self);
}

static void labels_are_numbered_and_sorted(void **state)
{
    (void)state;
    sc_labels self = {0};
    int32_t id, renumber[200];
    char name[16];
    assert_int_equal(sc_labels_find(&self, "x", 1), -1);
    for (int32_t i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "l%03d", 199 - (int)i);
        assert_int_equal(sc_labels_add(&self, name, strlen(name), &id), SC_OK);
        assert_int_equal(id, i);
    }
    assert_int_equal(sc_labels_add(&self, "l199", 4, &id), SC_OK);
    assert_int_equal(id, 0);
    assert_int_equal(sc_labels_sort(&self, renumber), SC_OK);
    assert_int_equal(renumber[0], 199);
    assert_int_equal(sc_labels_find(&self, "l007", 4), 7);
    assert_int_equal(sc_labels_find(&self, "l00", 3), -1);
    assert_string_equal(self.names[7], "l007");
    sc_labels_clear(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(indicator_matrices_are_reported_as_scikit_learn_does),
        cmocka_unit_test(files_of_label_sets_are_checked),
        cmocka_unit_test(conlleval_is_reproduced_to_the_byte),
        cmocka_unit_test(scikit_learn_is_reproduced_to_the_byte),
        cmocka_unit_test(seqeval_is_reproduced_to_the_byte),
        cmocka_unit_test(json_has_the_same_numbers_to_the_bit),
        cmocka_unit_test(predictions_can_be_added_one_by_one),
        cmocka_unit_test(mistakes_in_a_file_are_named_by_line),
        cmocka_unit_test(entities_of_labels_that_are_none_are_refused),
        cmocka_unit_test(labels_are_numbered_and_sorted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
