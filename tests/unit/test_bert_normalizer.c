#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/bert_normalizer.h"
#include "coordinator/data/utf8.h"
#include "tests/unit/tokenizer_fixture.h"

#include <stdio.h>

/* The words of a text, each with a newline, hashed as they come. */
typedef struct words {
    sc_bert_options options;
    uint64_t hash;
    bool open;
} words;

static void put(words *self, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        self->hash = (self->hash ^ (uint8_t)bytes[i]) * UINT64_C(0x100000001B3);
}

static void close_word(words *self)
{
    if (self->open)
        put(self, "\n", 1);
    self->open = false;
}

static void put_parts(words *self, const sc_bert_parts *parts)
{
    for (int i = 0; i < parts->n; i++) {
        char bytes[SC_UTF8_MAX_BYTES];
        if (!parts->items[i].dropped)
            put(self, bytes, sc_utf8_encode(parts->items[i].c, bytes));
    }
}

static void add(words *self, uint32_t c)
{
    sc_bert_parts parts;
    sc_bert_normalize(&self->options, c, &parts);
    assert_int_equal(parts.class, sc_bert_class_of(&self->options, c));
    if (parts.class == SC_BERT_SPACE || parts.class == SC_BERT_ALONE)
        close_word(self);
    if (parts.class == SC_BERT_WORD || parts.class == SC_BERT_ALONE) {
        self->open = true;
        put_parts(self, &parts);
    }
    if (parts.class == SC_BERT_ALONE)
        close_word(self);
}

static void every_character_becomes_what_hugging_face_makes_of_it(void **state)
{
    (void)state;
    static const struct {
        const char *kind;
        sc_bert_options options;
    } kinds[] = {{"uncased", {true, true, true, true}},
                 {"cased", {true, true, false, false}},
                 {"chinese", {true, true, true, true}},
                 {"accents", {true, true, false, true}},
                 {"bare", {false, false, true, false}}};
    size_t n_bytes;
    char *ranges = read_golden(GOLDEN "wordpiece/assigned.txt", &n_bytes);
    char *hashes = read_golden(GOLDEN "wordpiece/characters.txt", &n_bytes), *rest = hashes;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        words self = {.options = kinds[i].options, .hash = UINT64_C(0xCBF29CE484222325)};
        unsigned first, last;
        int used, n = 0;
        for (const char *at = ranges; sscanf(at, "%X %X%n", &first, &last, &used) == 2; at += used)
            for (uint32_t c = first; c <= last; c++, n++) {
                add(&self, 'a');
                add(&self, c);
                add(&self, 'b');
                close_word(&self);
            }
        char kind[16];
        int expected;
        unsigned long long hash;
        assert_int_equal(sscanf(strsep(&rest, "\n"), "%15s %d %llx", kind, &expected, &hash), 3);
        assert_string_equal(kind, kinds[i].kind);
        assert_int_equal(n, expected);
        if (self.hash != hash)
            fail_msg("%s: characters become something else", kind);
    }
    free(ranges);
    free(hashes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_character_becomes_what_hugging_face_makes_of_it)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
