/* What may stand in a config at all: UTF-8 without NUL; and what is said of a key that is none. */
#include "proto/base/config_internal.h"

#include <string.h>

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

void sc_config_unknown(sc_config_draft *draft, sc_place place, const char *path)
{
    if (!sc_config_has_room(draft)) { /* only counted: a file of nothing but mistakes is read in linear time */
        sc_config_mistake(draft, place, NULL, "unknown key");
        return;
    }
    char section_name[32], names[512], hint[96] = "";
    const char *dot = strchr(path, '.');
    snprintf(section_name, sizeof section_name, "%.*s", (int)(dot ? dot - path : 0), path);
    int section = sc_config_find_section(section_name);
    const char *nearest = sc_config_nearest(path);
    if (nearest)
        snprintf(hint, sizeof hint, " (did you mean %s?)", nearest);
    if (section >= 0 && draft->listed[section]) {
        sc_config_mistake(draft, place, path, "unknown key%s", hint);
        return;
    }
    if (section >= 0)
        draft->listed[section] = true;
    sc_config_names(section, names, sizeof names);
    if (section < 0)
        sc_config_mistake(draft, place, path, "unknown section%s; allowed: %s", hint, names);
    else
        sc_config_mistake(draft, place, path, "unknown key%s; allowed in %s: %s", hint, section_name, names);
}
