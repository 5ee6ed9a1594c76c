#include "proto/base/spelling.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

enum { MAX_COMPARED = 48 };

size_t sc_spelling_distance(const char *typed, const char *word)
{
    const size_t n_typed = strlen(typed), n_word = strlen(word);
    size_t row[MAX_COMPARED + 1];
    if (n_typed > MAX_COMPARED || n_word > MAX_COMPARED)
        return SIZE_MAX;
    for (size_t j = 0; j <= n_word; j++)
        row[j] = j;
    for (size_t i = 1; i <= n_typed; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n_word; j++) {
            size_t best = diagonal + (tolower((unsigned char)typed[i - 1]) != word[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n_word];
}
