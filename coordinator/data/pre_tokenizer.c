#include "coordinator/data/pre_tokenizer.h"

#include "coordinator/data/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { OTHER, LETTER, DIGIT, SPACE };

/* Planes 0 to 3. The rest has no letter, digit or space: tags, variation selectors, private use, unassigned. */
enum { N_CLASSES = 0x40000 };

struct sc_pre_tokenizer {
    uint8_t classes[N_CLASSES];
};

/* Backtracking steps of one match. These expressions need one a character, of runs no longer than a plane. */
enum { MATCH_LIMIT = 1 << 20 };

/* Every character that may be one, in order: surrogates are none. Returns the bytes. */
static size_t write_alphabet(char *text)
{
    size_t used = 0;
    for (uint32_t c = 0; c < N_CLASSES; c++)
        if (c < 0xD800 || c > 0xDFFF)
            used += sc_utf8_encode(c, text + used);
    return used;
}

/* Gives `class` to all characters of the alphabet that `pattern` matches, run by run. */
static sc_status mark(sc_pre_tokenizer *self, const char *pattern, uint8_t class, const char *alphabet, size_t n_bytes)
{
    int error;
    PCRE2_SIZE offset;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &offset, NULL);
    pcre2_match_data *match = code ? pcre2_match_data_create_from_pattern(code, NULL) : NULL;
    pcre2_match_context *context = code ? pcre2_match_context_create(NULL) : NULL;
    int found = PCRE2_ERROR_NOMEMORY;
    if (match && context) {
        pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without a JIT it is interpreted */
        pcre2_set_match_limit(context, MATCH_LIMIT);
        PCRE2_SIZE at = 0;
        const PCRE2_SIZE *run = pcre2_get_ovector_pointer(match);
        while ((found = pcre2_match(code, (PCRE2_SPTR)alphabet, n_bytes, at, PCRE2_NO_UTF_CHECK, match, context)) > 0)
            for (at = run[0]; at < run[1];) {
                uint32_t c = 0;
                at += sc_utf8_decode(alphabet + at, n_bytes - at, &c);
                self->classes[c] = class;
            }
    }
    pcre2_match_context_free(context);
    pcre2_match_data_free(match);
    pcre2_code_free(code);
    if (found == PCRE2_ERROR_NOMATCH)
        return SC_OK;
    return SC_FAIL(found == PCRE2_ERROR_NOMEMORY && !code ? SC_INTERNAL : SC_RESOURCE_EXHAUSTED,
                   "PCRE2 cannot match %s (error %d); it has to be built with Unicode", pattern, code ? found : error);
}

sc_status sc_pre_tokenizer_new(sc_pre_tokenizer **out)
{
    sc_pre_tokenizer *self = *out = calloc(1, sizeof *self);
    char *alphabet = malloc((size_t)N_CLASSES * SC_UTF8_MAX_BYTES);
    sc_status status;
    if (!self || !alphabet) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a pre-tokenizer");
        goto out;
    }
    size_t n_bytes = write_alphabet(alphabet);
    SC_TRY_GOTO(status, mark(self, "\\p{L}+", LETTER, alphabet, n_bytes), out);
    SC_TRY_GOTO(status, mark(self, "\\p{N}+", DIGIT, alphabet, n_bytes), out);
    SC_TRY_GOTO(status, mark(self, "[\\p{Z}\\t-\\r\\x{85}]+", SPACE, alphabet, n_bytes), out);
out:
    free(alphabet);
    if (status != SC_OK)
        sc_pre_tokenizer_destroy(out);
    return status;
}

void sc_pre_tokenizer_destroy(sc_pre_tokenizer **self_p)
{
    free(*self_p);
    *self_p = NULL;
}

/* The class of the character at `at`, and its bytes. */
static inline int class_at(const sc_pre_tokenizer *self, const char *text, size_t at, size_t end, size_t *length)
{
    const unsigned char byte = (unsigned char)text[at];
    if (byte < 0x80) {
        *length = 1;
        return self->classes[byte];
    }
    uint32_t c = 0;
    *length = sc_utf8_decode(text + at, end - at, &c);
    return c < N_CLASSES ? self->classes[c] : OTHER;
}

/* The end of 's, 't, 're, 've, 'm, 'll or 'd at the apostrophe `at`, or 0. */
static size_t contraction(const char *text, size_t at, size_t end)
{
    if (end - at < 2)
        return 0;
    const char a = text[at + 1], b = end - at > 2 ? text[at + 2] : '\0';
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return at + 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l'))
        return at + 3;
    return 0;
}

/* \s+(?!\S)|\s+ : all spaces at the text's end; elsewhere all but the last, which belongs to what follows if it can; a
 * single one by itself. */
static size_t spaces(const sc_pre_tokenizer *self, const char *text, size_t at, size_t end, bool more)
{
    size_t last = at, p = at, length;
    while (p < end && class_at(self, text, p, end, &length) == SPACE) {
        last = p;
        p += length;
    }
    if (p == end)
        return more ? 0 : end;
    return last > at ? last : p;
}

size_t sc_pre_tokenizer_next(const sc_pre_tokenizer *self, const char *text, size_t at, size_t end, bool more)
{
    size_t length;
    if (text[at] == '\'') {
        if (more && end - at < 3)
            return 0;
        size_t found = contraction(text, at, end);
        if (found)
            return found;
    }
    size_t p = at;
    if (text[at] == ' ') {
        if (at + 1 == end)
            return more ? 0 : end;
        p++;
    }
    const int class = class_at(self, text, p, end, &length);
    if (class == SPACE)
        return spaces(self, text, at, end, more);
    do
        p += length;
    while (p < end && class_at(self, text, p, end, &length) == class);
    return p == end && more ? 0 : p;
}
