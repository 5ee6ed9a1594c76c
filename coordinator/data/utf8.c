#include "coordinator/data/utf8.h"

size_t sc_utf8_decode(const char *text, size_t n, uint32_t *code_point)
{
    const unsigned char *p = (const unsigned char *)text;
    if (n == 0)
        return 0;
    if (p[0] < 0x80) {
        *code_point = p[0];
        return 1;
    }
    /* The second byte's range carries all the special cases: overlong forms, surrogates, the end at U+10FFFF. */
    unsigned char low = 0x80, high = 0xBF;
    size_t length;
    uint32_t value;
    if (p[0] >= 0xC2 && p[0] <= 0xDF) {
        length = 2, value = p[0] & 0x1Fu;
    } else if (p[0] >= 0xE0 && p[0] <= 0xEF) {
        length = 3, value = p[0] & 0x0Fu;
        if (p[0] == 0xE0)
            low = 0xA0;
        else if (p[0] == 0xED)
            high = 0x9F;
    } else if (p[0] >= 0xF0 && p[0] <= 0xF4) {
        length = 4, value = p[0] & 0x07u;
        if (p[0] == 0xF0)
            low = 0x90;
        else if (p[0] == 0xF4)
            high = 0x8F;
    } else {
        return 0;
    }
    if (n < length)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if (p[i] < low || p[i] > high)
            return 0;
        value = value << 6 | (p[i] & 0x3Fu);
        low = 0x80, high = 0xBF;
    }
    *code_point = value;
    return length;
}

size_t sc_utf8_encode(uint32_t code_point, char out[SC_UTF8_MAX_BYTES])
{
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    size_t length = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = length; i-- > 1; code_point >>= 6)
        out[i] = (char)(0x80u | (code_point & 0x3Fu));
    out[0] = (char)(lead[length] | code_point);
    return length;
}

size_t sc_utf8_count(const char *text, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}

sc_utf8_place sc_utf8_place_of(const char *text, size_t at)
{
    sc_utf8_place place = {1, 1};
    for (size_t i = 0; i < at;) {
        uint32_t code_point = 0;
        size_t length = sc_utf8_decode(text + i, at - i, &code_point);
        i += length ? length : 1;
        place.column++;
        if (code_point == '\n')
            place = (sc_utf8_place){place.line + 1, 1};
    }
    return place;
}
