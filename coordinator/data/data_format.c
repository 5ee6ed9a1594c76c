#include "coordinator/data/data_format.h"

#include "coordinator/data/windows.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

bool sc_data_format_parse(const char *name, sc_data_format *out)
{
    static const char *const names[] = {"text-label", "label-text", "csv", "jsonl", "conll", "items", "sequences"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (sc_data_format)i;
            return true;
        }
    return false;
}

sc_data_columns sc_data_columns_defaults(void)
{
    return (sc_data_columns){.text = "text", .pair = "", .label = "label", .word = 1, .tag = -1};
}

bool sc_data_split_takes(uint64_t seed, uint64_t n, double share, uint64_t i)
{
    /* The permutation of an epoch that no training comes to. */
    return (double)sc_windows_permute(seed, UINT32_MAX, n, i) < round((double)n * share);
}
