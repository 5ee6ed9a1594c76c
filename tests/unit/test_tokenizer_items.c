#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/tokenizer_items.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tokenizer_fixture.h"

static sc_tokenizer *make(void)
{
    static const char *const names[] = {"007", "b", "zwei"};
    sc_labels labels = {0};
    int32_t id;
    sc_tokenizer *self;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(sc_labels_add(&labels, names[i], strlen(names[i]), &id), SC_OK);
    assert_int_equal(sc_tokenizer_new_items(&labels, &self), SC_OK);
    sc_labels_clear(&labels);
    return self;
}

static void items_and_back(void **state)
{
    (void)state;
    sc_tokenizer *self = make();
    size_t n;
    char bytes[SC_TOKEN_MAX_BYTES];
    assert_int_equal(sc_tokenizer_vocab(self), 4);
    int32_t *ids = encode(self, " zwei\t007  007\nb", 16, &n);
    const int32_t expected[] = {3, 1, 1, 2};
    assert_int_equal(n, 4);
    assert_memory_equal(ids, expected, sizeof expected);
    free(ids);
    ids = encode(self, " \n", 2, &n);
    assert_int_equal(n, 0);
    free(ids);
    assert_int_equal(sc_tokenizer_decode(self, 1, bytes), 4);
    assert_memory_equal(bytes, " 007", 4);
    assert_int_equal(sc_tokenizer_decode(self, 0, bytes), 0);
    assert_int_equal(sc_tokenizer_decode(self, 4, bytes), 0);
    assert_int_equal(sc_tokenizer_items_find(self, "zwei!", 4), 3);
    assert_int_equal(sc_tokenizer_items_find(self, "zwei!", 5), -1);
    const sc_text unknown = {.name = "t", .bytes = "b b\n  c b", .n_bytes = 9};
    assert_int_equal(sc_tokenizer_encode_all(self, &unknown, &ids, &n), SC_INVALID);
    assert_message("t:2:3: the model does not know the item 'c'");
    sc_tokenizer_destroy(&self);
}

static sc_status count(void *context, const int32_t *ids, size_t n)
{
    (void)ids;
    *(size_t *)context += n;
    return SC_OK;
}

/* A name that the end of a piece cuts is given again with its rest. */
static void pieces(void **state)
{
    (void)state;
    sc_tokenizer *self = make();
    size_t n = 0, used;
    const sc_text piece = {.name = "t", .bytes = "b zw", .n_bytes = 4};
    assert_int_equal(sc_tokenizer_encode_some(self, &piece, true, count, &n, &used), SC_OK);
    assert_int_equal(used, 2);
    assert_int_equal(n, 1);
    sc_tokenizer_destroy(&self);
}

static void titles_are_saved_too(void **state)
{
    (void)state;
    sc_tokenizer *self = make(), *loaded;
    const char *lines = "zwei::Two \xC3\xBC (1999)::Drama\nnobody::x::y\n007::::Action\n";
    const sc_text file = {.name = "m", .bytes = lines, .n_bytes = strlen(lines)};
    uint64_t before, after, same;
    assert_int_equal(sc_tokenizer_hash(self, &before), SC_OK);
    assert_null(sc_tokenizer_items_title(self, 3));
    assert_int_equal(sc_tokenizer_items_read_titles(self, &file, "::"), SC_OK);
    assert_int_equal(sc_tokenizer_hash(self, &after), SC_OK);
    assert_true(before != after);
    assert_int_equal(sc_tokenizer_save(self, scratch_file("t.json")), SC_OK);
    assert_int_equal(sc_tokenizer_load(scratch_file("t.json"), &loaded), SC_OK);
    assert_int_equal(sc_tokenizer_hash(loaded, &same), SC_OK);
    assert_true(same == after);
    assert_true(sc_tokenizer_is_items(loaded));
    assert_string_equal(sc_tokenizer_type(loaded), "items");
    assert_string_equal(sc_tokenizer_items_name(loaded, 1), "007");
    assert_string_equal(sc_tokenizer_items_title(loaded, 3), "Two \xC3\xBC (1999)");
    assert_null(sc_tokenizer_items_title(loaded, 1));
    sc_tokenizer_destroy(&loaded);
    const sc_text none = {.name = "m", .bytes = "b\n", .n_bytes = 2};
    assert_int_equal(sc_tokenizer_items_read_titles(self, &none, "::"), SC_INVALID);
    assert_message("m:1: has no title behind '::'");
    assert_int_equal(sc_tokenizer_items_read_titles(self, &file, "::"), SC_INVALID);
    assert_message("m:1: gives the item 'zwei' a second title");
    sc_tokenizer_destroy(&self);
}

static void files_that_save_would_not_write(void **state)
{
    (void)state;
    static const struct {
        const char *json, *message;
    } bad[] = {
        {"{\"type\":\"items\",\"items\":[],\"titles\":[]}", "has no \"items\" that is a list"},
        {"{\"type\":\"items\",\"titles\":[]}", "has no \"items\" that is a list"},
        {"{\"type\":\"items\",\"items\":[\"a\"]}", "has no \"titles\""},
        {"{\"type\":\"items\",\"items\":[\"a\"],\"titles\":[\"x\",\"y\"]}", "has no \"titles\""},
        {"{\"type\":\"items\",\"items\":[\"b\",\"a\"],\"titles\":[]}", "items[1], 'a', is not behind"},
        {"{\"type\":\"items\",\"items\":[\"a\",\"a\"],\"titles\":[]}", "items[1], 'a', is not behind"},
        {"{\"type\":\"items\",\"items\":[\"a b\"],\"titles\":[]}", "items[0] is not the name"},
        {"{\"type\":\"items\",\"items\":[7],\"titles\":[]}", "items[0] is not the name"},
        {"{\"type\":\"items\",\"items\":[\"a\"],\"titles\":[7]}", "titles[0] is no text"},
        {"{\"type\":\"items\",\"items\":[\"a\"],\"titles\":[],\"more\":1}", "has keys that"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sc_tokenizer *self;
        const char *path = scratch_write("bad.json", bad[i].json, strlen(bad[i].json));
        assert_int_equal(sc_tokenizer_load(path, &self), SC_INVALID);
        assert_message(bad[i].message);
        assert_null(self);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_and_back),
        cmocka_unit_test(pieces),
        cmocka_unit_test(titles_are_saved_too),
        cmocka_unit_test(files_that_save_would_not_write),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
