/* Labels: the names of classes or tags, numbered. Zero-initialise; clear frees. Thread: one owns it; reading, any. */
#ifndef SC_LABELS_H
#define SC_LABELS_H

#include "proto/base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct sc_labels {
    char **names; /* [n] */
    int32_t n, capacity;
    int32_t *places; /* [n_places]: a table of hashes, -1 for none */
    size_t n_places;
} sc_labels;

void sc_labels_clear(sc_labels *self);

/* The number of a name, which is given the next one if it is new. `name` need not end with a NUL, nor be free of them: what
 * follows one is not kept. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_labels_add(sc_labels *self, const char *name, size_t n_bytes, int32_t *id);
/* The number of a name, -1 if it is none. */
int32_t sc_labels_find(const sc_labels *self, const char *name, size_t n_bytes);

/* Numbers the labels anew by the order of their bytes, which for UTF-8 is that of code points: what a label's number is does
 * not depend on the order of the data. renumber[old number] = new number; may be NULL. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_labels_sort(sc_labels *self, int32_t *renumber);

#endif
