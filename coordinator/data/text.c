/* A text's places and validity. */
#include "coordinator/data/tokenizer.h"

#include <inttypes.h>
#include <string.h>

sc_utf8_place sc_text_place(const sc_text *self, size_t at)
{
    sc_utf8_place place = sc_utf8_place_of(self->bytes, at);
    if (place.line == 1)
        place.column += self->columns_before;
    place.line += self->lines_before;
    return place;
}

/* Whether the bytes from `at`, which are no character, could become one with more behind them. */
static bool is_cut(const sc_text *self, size_t at)
{
    static const char *const rests[] = {"\x80", "\x80\x80", "\x80\x80\x80", "\xBF", "\xBF\x80", "\xBF\x80\x80"};
    const size_t left = self->n_bytes - at;
    char whole[SC_UTF8_MAX_BYTES];
    uint32_t c;
    for (size_t i = 0; i < sizeof rests / sizeof *rests; i++) {
        const size_t n = left + strlen(rests[i]);
        if (n > sizeof whole)
            continue;
        memcpy(whole, self->bytes + at, left);
        memcpy(whole + left, rests[i], strlen(rests[i]));
        if (sc_utf8_decode(whole, n, &c) == n)
            return true;
    }
    return false;
}

sc_status sc_text_check_utf8(const sc_text *self, bool more, size_t *end)
{
    size_t at = 0;
    while (at < self->n_bytes) {
        uint64_t eight;
        if (self->n_bytes - at >= sizeof eight) {
            memcpy(&eight, self->bytes + at, sizeof eight);
            if (!(eight & UINT64_C(0x8080808080808080))) { /* all ASCII */
                at += sizeof eight;
                continue;
            }
        }
        uint32_t c;
        const size_t length = sc_utf8_decode(self->bytes + at, self->n_bytes - at, &c);
        if (length == 0)
            break;
        at += length;
    }
    *end = at;
    if (at == self->n_bytes || (more && self->n_bytes - at < SC_UTF8_MAX_BYTES && is_cut(self, at)))
        return SC_OK;
    const sc_utf8_place place = sc_text_place(self, at);
    return SC_FAIL(SC_INVALID,
                   "%s:%" PRIu64 ":%" PRIu64 ": byte 0x%02X at offset %" PRIu64 " is not valid UTF-8; "
                   "convert the text to UTF-8, or use data.tokenizer: byte",
                   self->name, place.line, place.column, (unsigned)(unsigned char)self->bytes[at],
                   self->bytes_before + at);
}
