/* UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF (RFC 3629). Pure; thread: any. */
#ifndef SC_UTF8_H
#define SC_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum { SC_UTF8_MAX_BYTES = 4, SC_UTF8_CODE_POINTS = 0x110000 };

/* The code point at the start of `text`, of which n bytes may be read. Returns its bytes, 1 to 4; 0 if they are not
 * valid UTF-8 or n is 0. */
size_t sc_utf8_decode(const char *text, size_t n, uint32_t *code_point);
/* Writes the bytes of a valid code point, returns how many. */
size_t sc_utf8_encode(uint32_t code_point, char out[SC_UTF8_MAX_BYTES]);

/* How many characters n bytes of valid UTF-8 hold. */
size_t sc_utf8_count(const char *text, size_t n);

/* Where byte `at` of a text lies, both from 1. Columns count characters; a byte that is none counts as one. */
typedef struct sc_utf8_place {
    uint64_t line, column;
} sc_utf8_place;
sc_utf8_place sc_utf8_place_of(const char *text, size_t at);

#endif
