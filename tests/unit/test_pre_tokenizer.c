#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/data/pre_tokenizer.h"
#include "coordinator/data/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

static sc_pre_tokenizer *words;

static int setup(void **state)
{
    (void)state;
    return sc_pre_tokenizer_new(&words) == SC_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    sc_pre_tokenizer_destroy(&words);
    return words == NULL ? 0 : -1;
}

/* GPT-2's expression as it was published, but for \s, which stands for White_Space. */
#define S "\\p{Z}\\t-\\r\\x{85}"
static const char expression[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" S "\\p{L}\\p{N}]+|[" S "]+(?![^" S "])|[" S "]+";

/* Characters of every class and both sides of every rule, some of them more often. */
static uint32_t random_character(unsigned *seed)
{
    static const uint32_t often[] = {'\'',   ' ', ' ',  '\n', '\t',   's',     't',   'r',    'e',    'v',     'l',
                                     'm',    'd', 'A',  '1',  '.',    0xE9,    0x663, 0x85,   0xA0,   0x180E,  0x3000,
                                     0x2028, '-', 0x4E, 0xBD, 0x200B, 0x1F600, 0xAD,  0x2167, 0x4E00, 0x10FFFF};
    *seed = *seed * 1103515245u + 12345u;
    const unsigned draw = *seed >> 8;
    if (draw % 4)
        return often[draw / 4 % (sizeof often / sizeof *often)];
    const uint32_t c = draw / 4 % 0x30000;
    return c >= 0xD800 && c <= 0xDFFF ? ' ' : c;
}

static size_t random_text(unsigned *seed, int n, char *text)
{
    size_t used = 0;
    for (int i = 0; i < n; i++)
        used += sc_utf8_encode(random_character(seed), text + used);
    return used;
}

static void words_are_the_matches_of_the_expression(void **state)
{
    (void)state;
    int error;
    PCRE2_SIZE offset;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)expression, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &offset, NULL);
    assert_non_null(code);
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(code, NULL);
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(match);
    unsigned seed = 7;
    for (int round = 0; round < 3000; round++) {
        char text[64 * SC_UTF8_MAX_BYTES];
        const size_t n = random_text(&seed, 1 + round % 64, text);
        for (size_t at = 0; at < n;) {
            assert_true(pcre2_match(code, (PCRE2_SPTR)text, n, at, 0, match, NULL) > 0);
            assert_int_equal(found[0], at);
            const size_t next = sc_pre_tokenizer_next(words, text, at, n, false);
            if (next != found[1])
                fail_msg("round %d: the word at %zu ends at %zu, not %zu", round, at, found[1], next);
            at = next;
        }
    }
    pcre2_match_data_free(match);
    pcre2_code_free(code);
}

/* What is said before the end is known must be what is said then. */
static void a_cut_text_gives_no_word_that_could_change(void **state)
{
    (void)state;
    unsigned seed = 11;
    int known = 0, unknown = 0;
    for (int round = 0; round < 3000; round++) {
        char text[32 * SC_UTF8_MAX_BYTES];
        const size_t n = random_text(&seed, 32, text);
        for (size_t at = 0; at < n; at = sc_pre_tokenizer_next(words, text, at, n, false))
            for (size_t end = at + 1; end <= n; end++) {
                if (end < n && ((unsigned char)text[end] & 0xC0) == 0x80)
                    continue;
                const size_t next = sc_pre_tokenizer_next(words, text, at, end, true);
                next ? known++ : unknown++;
                assert_true(next == 0 || next == sc_pre_tokenizer_next(words, text, at, n, false));
            }
    }
    assert_true(known > 10000 && unknown > 10000);
}

static void a_word_is_known_as_soon_as_it_can_be(void **state)
{
    (void)state;
    assert_int_equal(sc_pre_tokenizer_next(words, "ab ", 0, 3, true), 2);
    assert_int_equal(sc_pre_tokenizer_next(words, "ab", 0, 2, true), 0);
    assert_int_equal(sc_pre_tokenizer_next(words, "'re", 0, 3, true), 3);
    assert_int_equal(sc_pre_tokenizer_next(words, "'r", 0, 2, true), 0);
    assert_int_equal(sc_pre_tokenizer_next(words, "  x", 0, 3, true), 1);
    assert_int_equal(sc_pre_tokenizer_next(words, "  ", 0, 2, true), 0);
    assert_int_equal(sc_pre_tokenizer_next(words, "  ", 0, 2, false), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_the_matches_of_the_expression),
        cmocka_unit_test(a_cut_text_gives_no_word_that_could_change),
        cmocka_unit_test(a_word_is_known_as_soon_as_it_can_be),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
