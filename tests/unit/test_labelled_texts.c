#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/labelled_texts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sc_labelled_texts texts;
static sc_labels labels;

static sc_status read_as(const char *bytes, sc_data_format format, const sc_data_columns *columns, bool known)
{
    const sc_text file = {.name = "f", .bytes = bytes, .n_bytes = strlen(bytes)};
    return sc_labelled_texts_read(&texts, &file, format, columns, &labels, known);
}

static void read_good(const char *bytes, sc_data_format format)
{
    const sc_data_columns columns = sc_data_columns_defaults();
    if (read_as(bytes, format, &columns, false) != SC_OK)
        fail_msg("%s", sc_status_message());
}

static int clear(void **state)
{
    (void)state;
    sc_labelled_texts_clear(&texts);
    sc_labels_clear(&labels);
    return 0;
}

static void assert_item(size_t i, const char *text, const char *label, uint64_t line)
{
    const sc_labelled_text *item = &texts.items[i];
    assert_true(i < texts.n);
    assert_int_equal(item->n_text, strlen(text));
    assert_memory_equal(texts.bytes + item->text, text, item->n_text);
    assert_string_equal(labels.names[item->label], label);
    assert_int_equal(item->line, line);
}

static void assert_refused(const char *bytes, sc_data_format format, const char *message)
{
    const sc_data_columns columns = sc_data_columns_defaults();
    clear(NULL);
    assert_int_equal(read_as(bytes, format, &columns, false), SC_INVALID);
    if (!strstr(sc_status_message(), message))
        fail_msg("message \"%s\" lacks \"%s\"", sc_status_message(), message);
}

static void assert_set(size_t i, const char *text, const char *const *names)
{
    const sc_labelled_text *item = &texts.items[i];
    assert_true(i < texts.n && item->label == SC_MANY_LABELS);
    assert_memory_equal(texts.bytes + item->text, text, strlen(text));
    size_t n;
    const int32_t *ids = sc_labelled_texts_labels(&texts, item, &n);
    for (size_t k = 0; k < n; k++) {
        assert_non_null(names[k]);
        assert_string_equal(labels.names[ids[k]], names[k]);
    }
    assert_null(names[n]);
}

static void texts_with_several_labels(void **state)
{
    (void)state;
    static const char *const both[] = {"joy", "anger", NULL}, *const one[] = {"joy", NULL}, *const none[] = {NULL};
    sc_data_columns columns = sc_data_columns_defaults();
    columns.label_separator = ",";
    assert_int_equal(read_as("both\t joy , anger,joy \nnone\t\none\tjoy\n", SC_DATA_TEXT_LABEL, &columns, false),
                     SC_OK);
    assert_int_equal(
        read_as("{\"text\": \"both\", \"label\": [\"joy\", \"anger\"]}\n{\"text\": \"none\", \"label\": []}\n",
                SC_DATA_JSONL, &columns, true),
        SC_OK);
    columns.label_separator = " | ";
    assert_int_equal(read_as("label,text\njoy | anger,both\n,none\n", SC_DATA_CSV, &columns, true), SC_OK);
    assert_int_equal(sc_labelled_texts_sort(&texts, &labels), SC_OK);
    assert_string_equal(labels.names[0], "anger");
    assert_int_equal(texts.n, 7);
    assert_set(0, "both", both);
    assert_set(1, "none", none);
    assert_set(2, "one", one);
    assert_set(3, "both", both);
    assert_set(4, "none", none);
    assert_set(5, "both", both);
    assert_set(6, "none", none);
    assert_int_equal(sc_labelled_texts_check(&texts, &labels, "f"), SC_OK);

    sc_labelled_texts split = {0};
    assert_int_equal(sc_labelled_texts_split(&texts, 1, 0.5, &split), SC_OK);
    assert_int_equal(split.n + texts.n, 7);
    for (size_t i = 0; i < split.n; i++) {
        size_t n;
        const int32_t *ids = sc_labelled_texts_labels(&split, &split.items[i], &n);
        bool is_both = split.bytes[split.items[i].text] == 'b', is_one = split.bytes[split.items[i].text] == 'o';
        assert_int_equal(n, is_both ? 2 : is_one);
        assert_true(n == 0 || strcmp(labels.names[ids[0]], "joy") == 0);
    }
    sc_labelled_texts_clear(&split);

    static const struct {
        const char *bytes, *message;
        sc_data_format format;
    } bad[] = {
        {"a\tx,,y\n", "f:1: has no label", SC_DATA_TEXT_LABEL},
        {"a\tx,\n", "f:1: has nothing behind the last ','", SC_DATA_TEXT_LABEL},
        {"a\tx\n\ty\n", "f:2: has no text", SC_DATA_TEXT_LABEL},
        {"{\"text\": \"a\", \"label\": \"x\"}\n", "is no array", SC_DATA_JSONL},
        {"{\"text\": \"a\"}\n", "is missing", SC_DATA_JSONL},
        {"{\"text\": \"a\", \"label\": [[]]}\n", "neither a text nor an integer", SC_DATA_JSONL},
    };
    columns.label_separator = ",";
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        clear(NULL);
        assert_int_equal(read_as(bad[i].bytes, bad[i].format, &columns, false), SC_INVALID);
        if (!strstr(sc_status_message(), bad[i].message))
            fail_msg("message \"%s\" lacks \"%s\"", sc_status_message(), bad[i].message);
    }
}

static void lines_with_a_tab(void **state)
{
    (void)state;
    read_good("I like it\tgood\r\n\n so so\t fair \nno\tbad", SC_DATA_TEXT_LABEL);
    assert_int_equal(texts.n, 3);
    assert_item(0, "I like it", "good", 1);
    assert_item(1, "so so", "fair", 3);
    assert_item(2, "no", "bad", 4);
    read_good("\xEF\xBB\xBFgood\tmore of it\n", SC_DATA_LABEL_TEXT);
    assert_item(3, "more of it", "good", 1);
    assert_int_equal(sc_labelled_texts_sort(&texts, &labels), SC_OK);
    assert_string_equal(labels.names[0], "bad");
    assert_item(0, "I like it", "good", 1);
    assert_refused("a\tx\nb\n", SC_DATA_TEXT_LABEL, "f:2: has no tab");
    assert_refused("a\tb\tx\n", SC_DATA_TEXT_LABEL, "f:1: has more than one tab");
    assert_refused("a\t \n", SC_DATA_TEXT_LABEL, "f:1: has no label");
    assert_refused("\tx\n", SC_DATA_TEXT_LABEL, "f:1: has the label 'x' but no text");
    assert_refused("", SC_DATA_TEXT_LABEL, "f: holds no text with a label");
    assert_refused("a\tx\nb\xFF\ty\n", SC_DATA_TEXT_LABEL, "f:2:2: byte 0xFF");
}

static void comma_separated_values(void **state)
{
    (void)state;
    read_good("id,label,text\r\n1,a,plain\r\n2,b,\"with, \"\"comma\"\"\nand line\"\r\n\r\n3,\"a\",six\" pipe\n",
              SC_DATA_CSV);
    assert_int_equal(texts.n, 3);
    assert_item(0, "plain", "a", 2);
    assert_item(1, "with, \"comma\"\nand line", "b", 3);
    assert_item(2, "six\" pipe", "a", 6);
    sc_data_columns columns = sc_data_columns_defaults();
    columns.text = "premise", columns.pair = "hypothesis";
    assert_int_equal(read_as("premise,hypothesis,label\np,h,a\nq,,b", SC_DATA_CSV, &columns, true), SC_OK);
    assert_item(3, "p", "a", 2);
    assert_int_equal(texts.items[3].n_pair, 1);
    assert_memory_equal(texts.bytes + texts.items[3].pair, "h", 1);
    assert_int_equal(texts.items[4].n_pair, 0);
    assert_refused("text,kind\na,b\n", SC_DATA_CSV, "f:1: no column has the name 'label'");
    assert_refused("text,label,text\na,b,c\n", SC_DATA_CSV, "f:1: two columns have the name 'text'");
    assert_refused("text,label\na,b\na,b,c\n", SC_DATA_CSV, "f:3: has 3 columns where the header has 2");
    assert_refused("text,label\n\"a,b\n\n", SC_DATA_CSV, "f:2: the quote that opens in line 2 is not closed");
    assert_refused("text,label\n\"a\nb\" c,b\n", SC_DATA_CSV, "f:2: a field goes on behind the quote");
    assert_refused("text,label\n", SC_DATA_CSV, "f: holds no text with a label");
}

static void json_lines(void **state)
{
    (void)state;
    read_good("{\"text\": \"a\\nb\", \"label\": 3, \"more\": []}\n\n{\"label\": \"x\", \"text\": \"\\u00e9\"}",
              SC_DATA_JSONL);
    assert_item(0, "a\nb", "3", 1);
    assert_item(1, "\xC3\xA9", "x", 3);
    assert_refused("{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"a\"}\n", SC_DATA_JSONL,
                   "f:2: the field \"label\" is missing");
    assert_refused("{\"text\": 1.5, \"label\": \"x\"}\n", SC_DATA_JSONL, "\"text\" is neither a text nor an integer");
    assert_refused("[1]\n", SC_DATA_JSONL, "f:1: is not a JSON object");
    assert_refused("{\"text\"\n", SC_DATA_JSONL, "f:1: is not JSON");
}

static void labels_are_those_of_the_training_data(void **state)
{
    (void)state;
    const sc_data_columns columns = sc_data_columns_defaults();
    read_good("a\tx\nb\ty\n", SC_DATA_TEXT_LABEL);
    assert_int_equal(read_as("c\ty\nd\tz\n", SC_DATA_TEXT_LABEL, &columns, true), SC_INVALID);
    assert_non_null(strstr(sc_status_message(), "f:2: has the label 'z', which the training data lacks"));
    assert_int_equal(sc_labelled_texts_check(&texts, &labels, "train"), SC_OK);
    int32_t id;
    assert_int_equal(sc_labels_add(&labels, "z", 1, &id), SC_OK);
    assert_int_equal(sc_labelled_texts_check(&texts, &labels, "train"), SC_INVALID);
    assert_non_null(strstr(sc_status_message(), "train: no text has the label 'z'"));
}

static void a_split_by_seed_takes_a_share(void **state)
{
    (void)state;
    char bytes[1000];
    size_t used = 0;
    for (int i = 0; i < 101; i++)
        used += (size_t)sprintf(bytes + used, "t%d\tx\n", i);
    read_good(bytes, SC_DATA_TEXT_LABEL);
    sc_labelled_texts dev = {0}, again = {0};
    bool seen[101] = {0};
    assert_int_equal(sc_labelled_texts_split(&texts, 3, 0.2, &dev), SC_OK);
    assert_int_equal(dev.n, 20);
    assert_int_equal(texts.n, 81);
    for (int part = 0; part < 2; part++) {
        const sc_labelled_texts *all = part ? &dev : &texts;
        for (size_t i = 0; i < all->n; i++) {
            char digits[8] = ""; /* a text ends where the next one begins */
            assert_in_range(all->items[i].n_text, 2, sizeof digits - 1);
            memcpy(digits, all->bytes + all->items[i].text + 1, all->items[i].n_text - 1);
            const int number = atoi(digits);
            assert_in_range(number, 0, 100);
            assert_false(seen[number]);
            assert_int_equal(all->items[i].line, number + 1);
            seen[number] = true;
        }
    }
    clear(NULL);
    read_good(bytes, SC_DATA_TEXT_LABEL);
    assert_int_equal(sc_labelled_texts_split(&texts, 3, 0.2, &again), SC_OK);
    for (size_t i = 0; i < dev.n; i++)
        assert_int_equal(dev.items[i].line, again.items[i].line);
    sc_labelled_texts_clear(&again);
    assert_int_equal(sc_labelled_texts_split(&texts, 3, 0, &again), SC_OK);
    assert_int_equal(again.n, 0);
    sc_labelled_texts_clear(&dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(texts_with_several_labels, clear),
        cmocka_unit_test_teardown(lines_with_a_tab, clear),
        cmocka_unit_test_teardown(comma_separated_values, clear),
        cmocka_unit_test_teardown(json_lines, clear),
        cmocka_unit_test_teardown(labels_are_those_of_the_training_data, clear),
        cmocka_unit_test_teardown(a_split_by_seed_takes_a_share, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
