#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/tagged_words.h"

#include <stdio.h>
#include <string.h>

static sc_tagged_words words;
static sc_labels labels;

static sc_status read_columns(const char *bytes, sc_data_columns columns, bool known)
{
    const sc_text file = {.name = "f", .bytes = bytes, .n_bytes = strlen(bytes)};
    return sc_tagged_words_read(&words, &file, &columns, &labels, known);
}

static int clear(void **state)
{
    (void)state;
    sc_tagged_words_clear(&words);
    sc_labels_clear(&labels);
    return 0;
}

/* All words and tags, "word/TAG word/TAG | word/TAG". */
static void assert_words(const char *expected)
{
    char text[1024];
    size_t used = 0;
    for (size_t s = 0; s < words.n; s++)
        for (size_t w = 0; w < words.sentences[s].n; w++) {
            const sc_tagged_word *word = &words.words[words.sentences[s].first + w];
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%.*s/%s",
                                     w   ? " "
                                     : s ? " | "
                                         : "",
                                     (int)word->n_text, words.bytes + word->text, labels.names[word->tag]);
        }
    assert_string_equal(text, expected);
}

static void any_number_of_columns(void **state)
{
    (void)state;
    const sc_data_columns defaults = sc_data_columns_defaults();
    assert_int_equal(read_columns("-DOCSTART- -X- O O\n\nEU NNP I-NP B-ORG\nrejects  VBZ I-VP O\r\n \t \n\n. . O O",
                                  defaults, false),
                     SC_OK);
    assert_words("EU/B-ORG rejects/O | ./O");
    assert_int_equal(words.sentences[0].line, 3);
    assert_int_equal(words.sentences[1].line, 7);
    clear(NULL);
    assert_int_equal(read_columns("\t\nNew York\tB-LOC\n\t\n.\tO\n\tO\n", defaults, false), SC_OK);
    assert_words("New York/B-LOC | ./O /O");
    clear(NULL);
    sc_data_columns columns = {.word = 2, .tag = -2};
    assert_int_equal(read_columns("1 a B-X _\n2 b I-X _\n", columns, false), SC_OK);
    assert_words("a/B-X b/I-X");
}

static void iob1_becomes_iob2(void **state)
{
    (void)state;
    const sc_data_columns defaults = sc_data_columns_defaults();
    assert_int_equal(read_columns("a I-X\nb I-X\nc B-X\nd O\ne I-Y\nf I-X\n\ng I-X\n", defaults, false), SC_OK);
    assert_words("a/B-X b/I-X c/B-X d/O e/B-Y f/B-X | g/B-X");
    clear(NULL);
    /* IOB2 with a slip of its annotator stays what it is. */
    assert_int_equal(read_columns("a B-X\nb I-X\nc O\nd I-X\n", defaults, false), SC_OK);
    assert_words("a/B-X b/I-X c/O d/I-X");
}

static void tags_are_those_of_the_training_data(void **state)
{
    (void)state;
    const sc_data_columns defaults = sc_data_columns_defaults();
    assert_int_equal(read_columns("a O\nb B-X\n", defaults, false), SC_OK);
    assert_int_equal(sc_tagged_words_sort(&words, &labels), SC_OK);
    assert_string_equal(labels.names[0], "B-X");
    assert_words("a/O b/B-X");
    assert_int_equal(read_columns("a O\nb B-Y\n", defaults, true), SC_INVALID);
    assert_non_null(strstr(sc_status_message(), "f:2: has the tag 'B-Y', which the training data lacks"));
}

static void mistakes_are_named_by_line(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *message;
    } cases[] = {{"", "f: holds no word"},
                 {"\n \n", "f: holds no word"},
                 {"a O\nb X O\n", "f:2: has 3 columns where the lines before have 2"},
                 {"a\nb\n", "f:1: has 1 column: none for the word (1) beside the tag (-1)"},
                 {"a\tO\nb\t\n", "f:2: has an empty tag"},
                 {"a O\nb \xC3 O\n", "f:2:3: byte 0xC3"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        clear(NULL);
        assert_int_equal(read_columns(cases[i].bytes, sc_data_columns_defaults(), false), SC_INVALID);
        if (!strstr(sc_status_message(), cases[i].message))
            fail_msg("message \"%s\" lacks \"%s\"", sc_status_message(), cases[i].message);
    }
}

static void a_split_by_seed_moves_whole_sentences(void **state)
{
    (void)state;
    assert_int_equal(read_columns("a O\nb B-X\n\nc O\n\nd O\ne B-X\n\nf O\n", sc_data_columns_defaults(), false),
                     SC_OK);
    sc_tagged_words dev = {0};
    assert_int_equal(sc_tagged_words_split(&words, 1, 0.5, &dev), SC_OK);
    assert_int_equal(dev.n, 2);
    assert_int_equal(words.n, 2);
    assert_int_equal(dev.n_words + words.n_words, 6);
    const sc_tagged_words first = words;
    words = dev;
    char joined[8] = "";
    for (size_t i = 0; i < first.n_words; i++)
        strncat(joined, first.bytes + first.words[i].text, 1);
    for (size_t i = 0; i < dev.n_words; i++)
        strncat(joined, dev.bytes + dev.words[i].text, 1);
    for (const char *c = "abcdef"; *c; c++)
        assert_non_null(strchr(joined, *c));
    assert_int_equal((strchr(joined, 'b') - strchr(joined, 'a')), 1);
    assert_int_equal((strchr(joined, 'e') - strchr(joined, 'd')), 1);
    dev = first;
    sc_tagged_words_clear(&dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(any_number_of_columns, clear),
        cmocka_unit_test_teardown(iob1_becomes_iob2, clear),
        cmocka_unit_test_teardown(tags_are_those_of_the_training_data, clear),
        cmocka_unit_test_teardown(mistakes_are_named_by_line, clear),
        cmocka_unit_test_teardown(a_split_by_seed_moves_whole_sentences, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
