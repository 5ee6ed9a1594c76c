#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/tokenizer.h"
#include "tests/unit/scratch.h"

#define TEXT(name_, literal) ((sc_text){.name = name_, .bytes = literal, .n_bytes = sizeof(literal) - 1})

static sc_tokenizer *char_tokenizer(const sc_text *text)
{
    sc_tokenizer *self;
    assert_int_equal(sc_tokenizer_new_char(&self), SC_OK);
    assert_int_equal(sc_tokenizer_char_add(self, text), SC_OK);
    assert_int_equal(sc_tokenizer_char_freeze(self), SC_OK);
    return self;
}

static void assert_message(const char *piece)
{
    if (!strstr(sc_status_message(), piece))
        fail_msg("message \"%s\" lacks \"%s\"", sc_status_message(), piece);
}

/* Decodes ids and compares with the text. */
static void assert_decodes(const sc_tokenizer *self, const int32_t *ids, size_t n, const sc_text *text)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        char bytes[SC_TOKEN_MAX_BYTES];
        size_t length = sc_tokenizer_decode(self, ids[i], bytes);
        assert_true(length > 0 && at + length <= text->n_bytes);
        assert_memory_equal(bytes, text->bytes + at, length);
        at += length;
    }
    assert_int_equal(at, text->n_bytes);
}

static void characters_are_numbered_by_code_point(void **state)
{
    (void)state;
    const sc_text text = TEXT("t", "ba\nb\xF0\x9F\x98\x80\xC3\xA9");
    sc_tokenizer *self = char_tokenizer(&text);
    assert_string_equal(sc_tokenizer_type(self), "char");
    assert_int_equal(sc_tokenizer_vocab(self), 5);
    int32_t *ids;
    size_t n;
    assert_int_equal(sc_tokenizer_encode_all(self, &text, &ids, &n), SC_OK);
    const int32_t expected[] = {2, 1, 0, 2, 4, 3};
    assert_int_equal(n, 6);
    assert_memory_equal(ids, expected, sizeof expected);
    assert_decodes(self, ids, n, &text);
    free(ids);
    char bytes[SC_TOKEN_MAX_BYTES];
    assert_int_equal(sc_tokenizer_decode(self, 5, bytes), 0);
    assert_int_equal(sc_tokenizer_decode(self, -1, bytes), 0);
    sc_tokenizer_destroy(&self);
    assert_null(self);
    sc_tokenizer_destroy(&self);
}

static void bytes_are_themselves(void **state)
{
    (void)state;
    char all[256 * 40]; /* more than one piece */
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (char)(i * 7);
    const sc_text text = {.name = "t", .bytes = all, .n_bytes = sizeof all};
    sc_tokenizer *self;
    assert_int_equal(sc_tokenizer_new_byte(&self), SC_OK);
    assert_int_equal(sc_tokenizer_vocab(self), 256);
    int32_t *ids;
    size_t n;
    assert_int_equal(sc_tokenizer_encode_all(self, &text, &ids, &n), SC_OK);
    assert_int_equal(n, sizeof all);
    assert_int_equal(ids[1], 7);
    assert_int_equal(ids[9000], (unsigned char)(9000 * 7));
    assert_decodes(self, ids, n, &text);
    free(ids);
    sc_tokenizer_destroy(&self);
}

static void a_long_text_is_encoded_in_pieces(void **state)
{
    (void)state;
    static char bytes[20000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)('a' + i % 26);
    const sc_text text = {.name = "t", .bytes = bytes, .n_bytes = sizeof bytes};
    sc_tokenizer *self = char_tokenizer(&text);
    int32_t *ids;
    size_t n;
    assert_int_equal(sc_tokenizer_encode_all(self, &text, &ids, &n), SC_OK);
    assert_int_equal(n, sizeof bytes);
    assert_decodes(self, ids, n, &text);
    free(ids);
    const sc_text empty = {.name = "t", .bytes = "", .n_bytes = 0};
    assert_int_equal(sc_tokenizer_encode_all(self, &empty, &ids, &n), SC_OK);
    assert_int_equal(n, 0);
    free(ids);
    sc_tokenizer_destroy(&self);
}

static void what_cannot_be_encoded_is_named_with_its_place(void **state)
{
    (void)state;
    const sc_text good = TEXT("good", "abc\n");
    sc_tokenizer *self = char_tokenizer(&good);
    int32_t *ids;
    size_t n;
    const sc_text stranger = TEXT("val.txt", "abc\nab\xE2\x82\xAC");
    assert_int_equal(sc_tokenizer_encode_all(self, &stranger, &ids, &n), SC_INVALID);
    assert_message("val.txt:2:3: ");
    assert_message("U+20AC");
    const sc_text broken = TEXT("the prompt", "ab\xC3");
    assert_int_equal(sc_tokenizer_encode_all(self, &broken, &ids, &n), SC_INVALID);
    assert_message("the prompt:1:3: byte 0xC3 at offset 2");
    sc_tokenizer_destroy(&self);

    assert_int_equal(sc_tokenizer_new_char(&self), SC_OK);
    assert_int_equal(sc_tokenizer_char_freeze(self), SC_INVALID);
    assert_int_equal(sc_tokenizer_char_add(self, &broken), SC_INVALID);
    assert_message("offset 2");
    sc_tokenizer_destroy(&self);
}

static void a_saved_tokenizer_loads_to_the_same(void **state)
{
    (void)state;
    const sc_text text = TEXT("t", "\n \"\\{\x01z\xC3\xA9\xF0\x9F\x98\x80\0q");
    sc_tokenizer *self = char_tokenizer(&text), *again;
    assert_int_equal(sc_tokenizer_save(self, scratch_file("tokenizer.json")), SC_OK);
    assert_int_equal(sc_tokenizer_load(scratch_file("tokenizer.json"), &again), SC_OK);
    assert_int_equal(sc_tokenizer_vocab(again), sc_tokenizer_vocab(self));
    int32_t *ids;
    size_t n;
    assert_int_equal(sc_tokenizer_encode_all(self, &text, &ids, &n), SC_OK);
    assert_decodes(again, ids, n, &text);
    free(ids);
    sc_tokenizer_destroy(&self);
    sc_tokenizer_destroy(&again);

    assert_int_equal(sc_tokenizer_new_byte(&self), SC_OK);
    assert_int_equal(sc_tokenizer_save(self, scratch_file("tokenizer.json")), SC_OK);
    char *content = scratch_read("tokenizer.json");
    assert_string_equal(content, "{\"type\":\"byte\"}\n");
    free(content);
    assert_int_equal(sc_tokenizer_load(scratch_file("tokenizer.json"), &again), SC_OK);
    assert_string_equal(sc_tokenizer_type(again), "byte");
    sc_tokenizer_destroy(&self);
    sc_tokenizer_destroy(&again);
    assert_int_equal(access(scratch_file("tokenizer.json"), F_OK), 0);
}

static void a_saved_tokenizer_has_the_documented_form(void **state)
{
    (void)state;
    const sc_text text = TEXT("t", "b \na");
    sc_tokenizer *self = char_tokenizer(&text);
    assert_int_equal(sc_tokenizer_save(self, scratch_file("tokenizer.json")), SC_OK);
    char *content = scratch_read("tokenizer.json");
    assert_string_equal(content, "{\"type\":\"char\",\"vocab\":[\"\\n\",\" \",\"a\",\"b\"]}\n");
    free(content);
    assert_int_equal(sc_tokenizer_save(self, scratch_file("nowhere/tokenizer.json")), SC_NOT_FOUND);
    sc_tokenizer_destroy(&self);
}

static void loading_is_strict(void **state)
{
    (void)state;
    static const struct {
        const char *content, *message;
    } cases[] = {
        {"", "not JSON"},
        {"{\"type\":\"char\",\"vocab\":[\"a\"]", "not JSON"},
        {"[]", "not a JSON object"},
        {"{\"vocab\":[\"a\"]}", "\"type\""},
        {"{\"type\":\"words\"}", "unknown type \"words\""},
        {"{\"type\":\"byte\",\"vocab\":[]}", "keys that"},
        {"{\"type\":\"byte\",\"type\":\"byte\"}", "not JSON"},
        {"{\"type\":\"char\"}", "\"vocab\""},
        {"{\"type\":\"char\",\"vocab\":[]}", "\"vocab\""},
        {"{\"type\":\"char\",\"vocab\":[\"a\"],\"more\":1}", "keys that"},
        {"{\"type\":\"char\",\"vocab\":[\"a\",\"bc\"]}", "vocab[1]"},
        {"{\"type\":\"char\",\"vocab\":[\"a\",\"\"]}", "vocab[1]"},
        {"{\"type\":\"char\",\"vocab\":[\"a\",7]}", "vocab[1]"},
        {"{\"type\":\"char\",\"vocab\":[\"b\",\"a\"]}", "not above"},
        {"{\"type\":\"char\",\"vocab\":[\"a\",\"a\"]}", "not above"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sc_tokenizer *self;
        char *path = scratch_write("bad.json", cases[i].content, strlen(cases[i].content));
        assert_int_equal(sc_tokenizer_load(path, &self), SC_INVALID);
        assert_null(self);
        assert_message("bad.json");
        assert_message(cases[i].message);
    }
    sc_tokenizer *self;
    assert_int_equal(sc_tokenizer_load(scratch_file("absent.json"), &self), SC_NOT_FOUND);
    assert_message("absent.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_are_numbered_by_code_point),
        cmocka_unit_test(bytes_are_themselves),
        cmocka_unit_test(a_long_text_is_encoded_in_pieces),
        cmocka_unit_test(what_cannot_be_encoded_is_named_with_its_place),
        cmocka_unit_test(a_saved_tokenizer_loads_to_the_same),
        cmocka_unit_test(a_saved_tokenizer_has_the_documented_form),
        cmocka_unit_test(loading_is_strict),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
