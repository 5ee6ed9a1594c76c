/* GPT-2's alphabet of bytes: vocabulary files write each byte as one printable character, so that a token is a string
 * without spaces. Printable Latin-1 stands for itself; the other 68 bytes are U+0100 upwards, in order (space is U+0120).
 * Source: openai/gpt-2, encoder.py, bytes_to_unicode. Pure; thread: any. */
#ifndef SC_BYTE_ALPHABET_H
#define SC_BYTE_ALPHABET_H

#include <stddef.h>
#include <stdint.h>

/* Two bytes of UTF-8 at most for each. */
enum { SC_BYTE_ALPHABET_MAX = 2 };

/* The symbols of n bytes, as UTF-8; `out` has room for SC_BYTE_ALPHABET_MAX * n. Returns how many bytes were written. */
size_t sc_byte_alphabet_write(const char *bytes, size_t n, char *out);
/* The bytes whose symbols are the UTF-8 text; `out` has room for n. Returns how many, or SIZE_MAX if a character of the
 * text is no symbol. `out` may be NULL. */
size_t sc_byte_alphabet_read(const char *text, size_t n, char *out);

#endif
