/* What the tests of sequences of items share. Failures end the test. */
#ifndef SC_TEST_ITEMS_FIXTURE_H
#define SC_TEST_ITEMS_FIXTURE_H

#include "coordinator/data/item_sequences.h"

#include <string.h>

/* Sequences of lines of items, nothing left out but users with fewer than three. */
static inline void make_sequences(const char *lines, sc_item_sequences *out)
{
    sc_interactions in = {0};
    const sc_text file = {.name = "f", .bytes = lines, .n_bytes = strlen(lines)};
    if (sc_interactions_read_sequences(&in, &file) != SC_OK ||
        sc_item_sequences_make(&in, 1, SC_ITEM_MIN_USER_ITEMS, "f", out) != SC_OK)
        fail_msg("%s", sc_status_message());
    sc_interactions_clear(&in);
}

/* The names of items, with blanks between them. */
static inline const char *names_of(const sc_item_sequences *sequences, const int32_t *ids, size_t n)
{
    static char text[1024];
    text[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        strcat(text, i ? " " : "");
        strcat(text, sequences->names.names[ids[i] - 1]);
    }
    return text;
}

static inline const char *part_of(const sc_item_sequences *sequences, size_t user, sc_item_part part)
{
    size_t n;
    const int32_t *ids = sc_item_sequences_of(sequences, user, part, &n);
    return names_of(sequences, ids, n);
}

#endif
