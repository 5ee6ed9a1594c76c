#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <string.h>

#include "coordinator/data/utf8.h"

static void every_code_point_comes_back(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < SC_UTF8_CODE_POINTS; c++) {
        char bytes[SC_UTF8_MAX_BYTES];
        size_t length = sc_utf8_encode(c, bytes);
        uint32_t back = UINT32_MAX;
        bool surrogate = c >= 0xD800 && c <= 0xDFFF;
        assert_int_equal(sc_utf8_decode(bytes, length, &back), surrogate ? 0 : length);
        if (!surrogate)
            assert_int_equal(back, c);
        assert_int_equal(sc_utf8_decode(bytes, length - 1, &back), 0);
    }
}

/* Table 3-7 of the Unicode standard: of all sequences of two, and of three and four with the later bytes at their
 * limits, exactly the well-formed ones are accepted. An accepted one must be its own shortest encoding. */
static void only_the_shortest_form_is_accepted(void **state)
{
    (void)state;
    static const unsigned char ends[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
    int accepted = 0;
    for (int b0 = 0x80; b0 < 0x100; b0++)
        for (int b1 = 0; b1 < 0x100; b1++)
            for (size_t i = 0; i < sizeof ends; i++)
                for (size_t j = 0; j < sizeof ends; j++) {
                    const char bytes[] = {(char)b0, (char)b1, (char)ends[i], (char)ends[j]};
                    uint32_t c;
                    size_t length = sc_utf8_decode(bytes, sizeof bytes, &c);
                    if (length == 0)
                        continue;
                    char again[SC_UTF8_MAX_BYTES];
                    assert_int_equal(sc_utf8_encode(c, again), length);
                    assert_memory_equal(again, bytes, length);
                    assert_true(c < SC_UTF8_CODE_POINTS && (c < 0xD800 || c > 0xDFFF));
                    accepted++;
                }
    /* 30 leads x 64 continuations of two bytes with 100 ends each; of three bytes, 15 x 64 + 32 (E0: A0..BF) less 32
     * (ED: 80..9F) less 64 = 960 pairs, 6 of the ends continue, 10 follow; of four, 3 x 64 + 48 + 16 pairs, 6 x 6. */
    assert_int_equal(accepted, 30 * 64 * 100 + (14 * 64 + 32 + 32) * 6 * 10 + (3 * 64 + 48 + 16) * 36);
}

static void places_count_lines_and_characters(void **state)
{
    (void)state;
    const char text[] = "ab\n\xC3\xA9x\xFFy";
    sc_utf8_place place = sc_utf8_place_of(text, 0);
    assert_true(place.line == 1 && place.column == 1);
    place = sc_utf8_place_of(text, 3);
    assert_true(place.line == 2 && place.column == 1);
    place = sc_utf8_place_of(text, 6); /* the bad byte, behind two characters of three bytes */
    assert_true(place.line == 2 && place.column == 3);
    place = sc_utf8_place_of(text, 7);
    assert_true(place.line == 2 && place.column == 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_comes_back),
        cmocka_unit_test(only_the_shortest_form_is_accepted),
        cmocka_unit_test(places_count_lines_and_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
