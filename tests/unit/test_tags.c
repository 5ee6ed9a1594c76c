/* Entities from sequences of tags, well-formed or not; their counting is in test_report.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/report/tags.h"

enum { MOST = 32 };

/* "PER 0-1 0.75; LOC 3-3 1.00" of a sentence of tags between blanks, word i with probability 1, 0.5, 1, 0.5 ... */
static const char *spans_of(const char *sentence, char *text, size_t text_bytes)
{
    sc_labels labels = {0}, types = {0};
    sc_tag tags[MOST];
    int32_t words[MOST];
    double probabilities[MOST];
    sc_tag_span found[MOST];
    char copy[256];
    size_t n = 0;
    snprintf(copy, sizeof copy, "%s", sentence);
    for (char *save = NULL, *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save), n++) {
        assert_int_equal(sc_labels_add(&labels, word, strlen(word), &words[n]), SC_OK);
        probabilities[n] = n % 2 ? 0.5 : 1;
    }
    assert_int_equal(sc_tags_take_apart(&labels, tags, &types), SC_OK);
    const size_t n_found = sc_tags_spans(tags, words, probabilities, n, found);
    text[0] = '\0';
    for (size_t i = 0; i < n_found; i++) {
        const size_t used = strlen(text);
        snprintf(text + used, text_bytes - used, "%s%s %zu-%zu %.2f", i ? "; " : "", types.names[found[i].type],
                 found[i].first, found[i].first + found[i].n - 1, found[i].probability);
    }
    sc_labels_clear(&labels);
    sc_labels_clear(&types);
    return text;
}

static void assert_spans(const char *sentence, const char *wanted)
{
    char text[512];
    assert_string_equal(spans_of(sentence, text, sizeof text), wanted);
}

static void test_spans(void **state)
{
    (void)state;
    assert_spans("", "");
    assert_spans("O O O", "");
    assert_spans("B-PER I-PER O B-LOC", "PER 0-1 0.75; LOC 3-3 0.50");
    assert_spans("B-PER B-PER I-PER", "PER 0-0 1.00; PER 1-2 0.75");
    assert_spans("I-PER I-PER I-LOC O", "PER 0-1 0.75; LOC 2-2 1.00"); /* no B- at all */
    assert_spans("O I-ORG O I-ORG", "ORG 1-1 0.50; ORG 3-3 0.50");
    assert_spans("S-PER S-PER B-LOC I-LOC E-LOC", "PER 0-0 1.00; PER 1-1 0.50; LOC 2-4 0.83");
    assert_spans("B-a-b I-a-b I-a", "a-b 0-1 0.75; a 2-2 1.00");
}

static void test_types_are_sorted(void **state)
{
    (void)state;
    sc_labels labels = {0}, types = {0};
    sc_tag tags[3];
    int32_t id;
    const char *const names[] = {"I-PER", "O", "B-LOC"};
    for (int i = 0; i < 3; i++)
        assert_int_equal(sc_labels_add(&labels, names[i], strlen(names[i]), &id), SC_OK);
    assert_int_equal(sc_tags_take_apart(&labels, tags, &types), SC_OK);
    assert_int_equal(types.n, 2);
    assert_string_equal(types.names[0], "LOC");
    assert_int_equal(tags[0].type, 1);
    assert_int_equal(tags[1].type, SC_TAG_NO_TYPE);
    assert_int_equal(tags[2].type, 0);
    sc_labels_clear(&labels);
    sc_labels_clear(&types);
}

static void test_labels_that_are_none(void **state)
{
    (void)state;
    sc_labels labels = {0}, types = {0};
    sc_tag tags[2];
    int32_t id;
    assert_int_equal(sc_labels_add(&labels, "O", 1, &id), SC_OK);
    assert_false(sc_tags_are_all(&labels)); /* nothing but O */
    assert_int_equal(sc_labels_add(&labels, "NOUN", 4, &id), SC_OK);
    assert_false(sc_tags_are_all(&labels));
    assert_int_equal(sc_tags_take_apart(&labels, tags, &types), SC_INVALID);
    assert_non_null(strstr(sc_status_message(), "NOUN"));
    sc_labels_clear(&labels);
    sc_labels_clear(&types);
    assert_int_equal(sc_labels_add(&labels, "O", 1, &id), SC_OK);
    assert_int_equal(sc_labels_add(&labels, "B-X", 3, &id), SC_OK);
    assert_true(sc_tags_are_all(&labels));
    sc_labels_clear(&labels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_types_are_sorted),
        cmocka_unit_test(test_labels_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
