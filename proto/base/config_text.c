/* What may stand in a config at all: UTF-8 without NUL. */
#include "proto/base/config_internal.h"

/* The bytes of the UTF-8 character at `p`, 0 if it is none: overlong forms, surrogates and what lies above U+10FFFF
 * included. Source: Unicode 15, table 3-7. */
static size_t character_bytes(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xC2 && p[0] <= 0xDF   ? 2
               : p[0] >= 0xE0 && p[0] <= 0xEF ? 3
               : p[0] >= 0xF0 && p[0] <= 0xF4 ? 4
                                              : 0;
    if (n == 0 || left < n)
        return 0;
    unsigned char low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if (p[i] < 0x80 || p[i] > 0xBF)
            return 0;
    return n;
}

const char *sc_config_check_text(const char *text, size_t text_bytes, int *line)
{
    const unsigned char *p = (const unsigned char *)text;
    *line = 1;
    for (size_t i = 0, n; i < text_bytes; i += n) {
        if (p[i] == '\0')
            return "a NUL byte; a config is a text file";
        n = character_bytes(p + i, text_bytes - i);
        if (n == 0)
            return "bytes that are no UTF-8; save the file as UTF-8";
        *line += p[i] == '\n';
    }
    return NULL;
}
