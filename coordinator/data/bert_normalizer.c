#include "coordinator/data/bert_normalizer.h"

#include <stddef.h>
#include <utf8proc.h>

typedef struct range {
    uint32_t first, last;
} range;

static bool is_in(const range *ranges, size_t n, uint32_t c)
{
    size_t low = 0, high = n;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (ranges[middle].last < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && ranges[low].first <= c;
}

/* Punctuation, marks and format characters that Unicode 8 does not have, or has as something else, and what lies between
 * them if it is part of a word anyway. */
static const range newer[] = {
    {0x61D, 0x61D},     {0x7FD, 0x7FD},     {0x890, 0x8E2},     {0x9FD, 0x9FE},     {0xA76, 0xA76},
    {0xAFA, 0xAFF},     {0xB55, 0xB55},     {0xC04, 0xC3C},     {0xC77, 0xC77},     {0xC84, 0xC84},
    {0xD00, 0xD00},     {0xD3B, 0xD3C},     {0xD81, 0xD81},     {0xEBA, 0xEBA},     {0xECE, 0xECE},
    {0x180F, 0x1886},   {0x1ABF, 0x1ACE},   {0x1B7D, 0x1B7E},   {0x1DF6, 0x1DFB},   {0x2E43, 0x2E5D},
    {0xA82C, 0xA82C},   {0xA8C5, 0xA8C5},   {0xA8FF, 0xA8FF},   {0xA9BD, 0xA9BD},   {0x10D24, 0x10D27},
    {0x10EAB, 0x10F89}, {0x11070, 0x11074}, {0x110C2, 0x110CD}, {0x111CF, 0x111CF}, {0x1123E, 0x11241},
    {0x1133B, 0x1133B}, {0x11438, 0x1145E}, {0x11660, 0x1166C}, {0x116B9, 0x116B9}, {0x1182F, 0x1183B},
    {0x1193B, 0x11FFF}, {0x12FF1, 0x12FF2}, {0x13430, 0x13455}, {0x16E97, 0x16E9A}, {0x16F4F, 0x16F4F},
    {0x16FE2, 0x16FE4}, {0x1CF00, 0x1CF46}, {0x1E000, 0x1E2EF}, {0x1E4EC, 0x1E4EF}, {0x1E944, 0x1E95F}};

/* Characters that Unicode 8 has in another of the categories that matter. */
enum { PUNCTUATION_ONCE = 0x166D, PUNCTUATION_ONCE_TOO = 0x111C9, MARK_ONCE = 0x1734 };

static utf8proc_category_t category(uint32_t c)
{
    if (c == PUNCTUATION_ONCE || c == PUNCTUATION_ONCE_TOO)
        return UTF8PROC_CATEGORY_PO;
    if (c == MARK_ONCE)
        return UTF8PROC_CATEGORY_MN;
    if (c >= newer[0].first && is_in(newer, sizeof newer / sizeof *newer, c))
        return UTF8PROC_CATEGORY_LO;
    return utf8proc_category((utf8proc_int32_t)c);
}

/* The property White_Space. */
static bool is_space(uint32_t c)
{
    static const range spaces[] = {{9, 13},          {32, 32},         {0x85, 0x85},     {0xA0, 0xA0},
                                   {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F},
                                   {0x205F, 0x205F}, {0x3000, 0x3000}};
    return is_in(spaces, sizeof spaces / sizeof *spaces, c);
}

/* As the library has them: 0x2B820 to 0x2B91F, of CJK extension E, are not among them. */
static bool is_chinese(uint32_t c)
{
    static const range blocks[] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},   {0x20000, 0x2A6DF},
                                   {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F}};
    return c >= blocks[0].first && is_in(blocks, sizeof blocks / sizeof *blocks, c);
}

static bool is_punctuation(uint32_t c)
{
    if (c < 0x80)
        return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
    const utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

static bool is_cleaned(uint32_t c)
{
    if (c == '\t' || c == '\n' || c == '\r')
        return false;
    const utf8proc_category_t k = category(c);
    return c == 0xFFFD || k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO;
}

static void add(const sc_bert_options *options, uint32_t c, sc_bert_parts *out)
{
    const int order = options->strip_accents ? utf8proc_get_property((utf8proc_int32_t)c)->combining_class : 0;
    const bool dropped = options->strip_accents && category(c) == UTF8PROC_CATEGORY_MN;
    uint32_t lower = c;
    if (options->lowercase && !dropped)
        lower = c == 0x130 ? 'i' : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    out->items[out->n].c = lower;
    out->items[out->n].order = (uint8_t)order;
    out->items[out->n++].dropped = dropped;
    if (c == 0x130 && options->lowercase) { /* the one character whose lower case is two: i and a dot above */
        out->items[out->n].c = 0x307;
        out->items[out->n].order = 0;
        out->items[out->n++].dropped = false;
    }
}

/* The class of a character whose parts are known. No decomposition holds white space or punctuation beside anything but
 * marks that vanish, so that the first part which stays decides. */
static sc_bert_class class_of_parts(const sc_bert_options *options, uint32_t c, const sc_bert_parts *parts)
{
    if (options->chinese && is_chinese(c))
        return SC_BERT_ALONE;
    for (int i = 0; i < parts->n; i++)
        if (!parts->items[i].dropped)
            return is_space(parts->items[i].c)         ? SC_BERT_SPACE
                   : is_punctuation(parts->items[i].c) ? SC_BERT_ALONE
                                                       : SC_BERT_WORD;
    return SC_BERT_NOTHING;
}

void sc_bert_normalize(const sc_bert_options *options, uint32_t c, sc_bert_parts *out)
{
    *out = (sc_bert_parts){.class = SC_BERT_NOTHING};
    if (options->clean && is_cleaned(c))
        return;
    out->class = SC_BERT_SPACE;
    if (is_space(c))
        return;
    utf8proc_int32_t parts[SC_BERT_MAX_PARTS] = {(utf8proc_int32_t)c};
    int boundary = 0;
    utf8proc_ssize_t n = 1;
    if (options->strip_accents)
        n = utf8proc_decompose_char((utf8proc_int32_t)c, parts, SC_BERT_MAX_PARTS / 2, UTF8PROC_DECOMPOSE, &boundary);
    for (utf8proc_ssize_t i = 0; i < n && i < SC_BERT_MAX_PARTS / 2; i++)
        add(options, (uint32_t)parts[i], out);
    out->class = class_of_parts(options, c, out);
}

sc_bert_class sc_bert_class_of(const sc_bert_options *options, uint32_t c)
{
    if (options->chinese && c >= 0x4E00 && c <= 0x9FFF) /* most of Chinese text */
        return SC_BERT_ALONE;
    sc_bert_parts parts;
    sc_bert_normalize(options, c, &parts);
    return parts.class;
}
