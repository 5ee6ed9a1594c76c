#include "coordinator/data/byte_alphabet.h"

#include "coordinator/data/utf8.h"

/* The 68 bytes that do not stand for themselves are 0x00-0x20, 0x7F-0xA0 and 0xAD. */
enum { FIRST_HIGH = 0x7F, LAST_HIGH = 0xA0, SOFT_HYPHEN = 0xAD, N_LOW = 0x21, N_MOVED = N_LOW + 0x22 + 1 };

static uint32_t symbol_of(unsigned char byte)
{
    if (byte < N_LOW)
        return 0x100u + byte;
    if (byte >= FIRST_HIGH && byte <= LAST_HIGH)
        return 0x100u + N_LOW + byte - FIRST_HIGH;
    return byte == SOFT_HYPHEN ? 0x100u + N_MOVED - 1 : byte;
}

/* The byte of a symbol, -1 if it is none. */
static int byte_of(uint32_t symbol)
{
    if (symbol < 0x100)
        return symbol_of((unsigned char)symbol) == symbol ? (int)symbol : -1;
    const uint32_t moved = symbol - 0x100;
    if (moved >= N_MOVED)
        return -1;
    return moved < N_LOW ? (int)moved : moved == N_MOVED - 1 ? SOFT_HYPHEN : (int)(moved - N_LOW + FIRST_HIGH);
}

size_t sc_byte_alphabet_write(const char *bytes, size_t n, char *out)
{
    size_t used = 0;
    for (size_t i = 0; i < n; i++)
        used += sc_utf8_encode(symbol_of((unsigned char)bytes[i]), out + used);
    return used;
}

size_t sc_byte_alphabet_read(const char *text, size_t n, char *out)
{
    size_t used = 0;
    for (size_t at = 0; at < n; used++) {
        uint32_t symbol = 0;
        const size_t length = sc_utf8_decode(text + at, n - at, &symbol);
        const int byte = length ? byte_of(symbol) : -1;
        if (byte < 0)
            return SIZE_MAX;
        if (out)
            out[used] = (char)byte;
        at += length;
    }
    return used;
}
