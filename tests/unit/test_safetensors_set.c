/* The tensors of a directory: one file, an index, any files, and what is wrong with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/base/safetensors_set.h"
#include "tests/unit/scratch.h"

/* A file with uint8 tensors of one element, named by the letters of `names`; their value is `value`. */
static void write_file(const char *file, const char *names, uint8_t value)
{
    sc_safetensors_writer *out;
    char name[2] = {0};
    assert_int_equal(sc_safetensors_writer_new(scratch_file(file), &out), SC_OK);
    assert_int_equal(sc_safetensors_writer_metadata(out, "of", file), SC_OK);
    for (const char *p = names; *p; p++) {
        name[0] = *p;
        assert_int_equal(sc_safetensors_writer_add(out, name, SC_U8, &SC_SHAPE(1)), SC_OK);
    }
    for (const char *p = names; *p; p++) {
        name[0] = *p;
        assert_int_equal(sc_safetensors_writer_write(out, name, 0, &value, 1), SC_OK);
    }
    assert_int_equal(sc_safetensors_writer_commit(out), SC_OK);
    sc_safetensors_writer_destroy(&out);
}

static void write_index(const char *text)
{
    scratch_write("model.safetensors.index.json", text, strlen(text));
}

static sc_safetensors_set *opened(void)
{
    sc_safetensors_set *set;
    if (sc_safetensors_set_open(scratch_path, &set) != SC_OK)
        fail_msg("refused: %s", sc_status_message());
    return set;
}

static int value_of(const sc_safetensors_set *set, const char *name)
{
    int index = sc_safetensors_set_find(set, name);
    if (index < 0)
        return -1;
    sc_safetensors_place place = sc_safetensors_set_at(set, index);
    assert_string_equal(place.entry->name, name);
    uint8_t value;
    assert_int_equal(sc_safetensors_read(place.file, place.entry, 0, &value, 1), SC_OK);
    return value;
}

static void assert_refused(sc_status status, const char *piece)
{
    sc_safetensors_set *set;
    assert_int_equal(sc_safetensors_set_open(scratch_path, &set), status);
    assert_null(set);
    if (!strstr(sc_status_message(), piece))
        fail_msg("'%s' is not in '%s'", piece, sc_status_message());
}

static void one_file_comes_before_an_index(void **state)
{
    (void)state;
    write_file("model.safetensors", "ab", 1);
    write_index("not looked at");
    sc_safetensors_set *set = opened();
    assert_int_equal(sc_safetensors_set_n(set), 2);
    assert_int_equal(value_of(set, "b"), 1);
    assert_int_equal(value_of(set, "c"), -1);
    assert_string_equal(sc_safetensors_set_metadata(set, "of"), "model.safetensors");
    assert_null(sc_safetensors_set_metadata(set, "other"));
    sc_safetensors_set_close(&set);
    sc_safetensors_set_close(&set);
}

static void an_index_leads_to_its_files(void **state)
{
    (void)state;
    write_file("model-00001-of-00002.safetensors", "abx", 1);
    write_file("model-00002-of-00002.safetensors", "cbx", 2);
    write_index("{\"metadata\": {\"total_size\": 3}, \"weight_map\": {"
                "\"c\": \"model-00002-of-00002.safetensors\", \"a\": \"model-00001-of-00002.safetensors\","
                "\"b\": \"model-00002-of-00002.safetensors\"}}");
    sc_safetensors_set *set = opened();
    assert_int_equal(sc_safetensors_set_n(set), 3);
    assert_int_equal(value_of(set, "a"), 1);
    assert_int_equal(value_of(set, "b"), 2);
    assert_int_equal(value_of(set, "c"), 2);
    assert_int_equal(value_of(set, "x"), -1); /* in the files, but not in the index */
    assert_string_equal(sc_safetensors_set_at(set, 0).entry->name, "c");
    assert_string_equal(sc_safetensors_set_at(set, 2).entry->name, "b");
    sc_safetensors_set_close(&set);
}

static void a_wrong_index_is_refused(void **state)
{
    (void)state;
    write_file("one.safetensors", "a", 1);
    static const struct {
        const char *text;
        sc_status status;
        const char *message;
    } cases[] = {
        {"{\"weight_map\": {\"a\": \"two.safetensors\"}}", SC_NOT_FOUND,
         "tensor 'a' is said to be in two.safetensors, which is not there"},
        {"{\"weight_map\": {\"a\": \"one.safetensors\", \"b\": \"one.safetensors\"}}", SC_DATA_LOSS,
         "tensor 'b' is said to be in one.safetensors, which has no such tensor"},
        {"{\"weight_map\": {\"a\": \"../one.safetensors\"}}", SC_DATA_LOSS, "tensor 'a': its file is not the name"},
        {"{\"weight_map\": {\"a\": \"..\"}}", SC_DATA_LOSS, "tensor 'a': its file is not the name"},
        {"{\"weight_map\": {\"a\": \".\"}}", SC_DATA_LOSS, "not a regular file"},
        {"{\"weight_map\": {\"a\": \"\"}}", SC_DATA_LOSS, "tensor 'a': its file is not the name"},
        {"{\"weight_map\": {\"a\": 1}}", SC_DATA_LOSS, "tensor 'a': its file is not the name"},
        {"{\"weight_map\": {\"a\": \"one.safetensors\", \"a\": \"one.safetensors\"}}", SC_DATA_LOSS, "duplicate"},
        {"{\"weight_map\": []}", SC_DATA_LOSS, "no \"weight_map\""},
        {"[]", SC_DATA_LOSS, "no \"weight_map\""},
        {"{", SC_DATA_LOSS, "is not JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_index(cases[i].text);
        assert_refused(cases[i].status, cases[i].message);
        assert_non_null(strstr(sc_status_message(), scratch_path));
    }
}

static void without_both_all_files_count(void **state)
{
    (void)state;
    assert_refused(SC_NOT_FOUND, "neither model.safetensors nor");
    write_file("stage-1.safetensors", "bc", 1);
    write_file("stage-0.safetensors", "ab", 0);
    scratch_write("manifest.json", "{}", 2);
    scratch_write("stage-2.safetensors.partial-1-1", "x", 1);
    sc_safetensors_set *set = opened();
    assert_int_equal(sc_safetensors_set_n(set), 3);
    assert_int_equal(value_of(set, "a"), 0);
    assert_int_equal(value_of(set, "b"), 0); /* the first file's */
    assert_int_equal(value_of(set, "c"), 1);
    sc_safetensors_set_close(&set);
    scratch_write("stage-3.safetensors", "broken", 6);
    assert_refused(SC_DATA_LOSS, "stage-3.safetensors");
    sc_safetensors_set *none;
    assert_int_equal(sc_safetensors_set_open("/nowhere", &none), SC_NOT_FOUND);
}

int main(void)
{
#define EACH(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        EACH(one_file_comes_before_an_index),
        EACH(an_index_leads_to_its_files),
        EACH(a_wrong_index_is_refused),
        EACH(without_both_all_files_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
