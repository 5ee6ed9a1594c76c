#include "coordinator/data/labels.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

void sc_labels_clear(sc_labels *self)
{
    for (int32_t i = 0; i < self->n; i++)
        free(self->names[i]);
    free(self->names);
    free(self->places);
    *self = (sc_labels){0};
}

/* Where the name stands in the table, or would. */
static size_t place_of(const sc_labels *self, const char *name, size_t n_bytes)
{
    size_t i = XXH3_64bits(name, n_bytes) & (self->n_places - 1);
    for (; self->places[i] >= 0; i = (i + 1) & (self->n_places - 1)) {
        const char *other = self->names[self->places[i]];
        if (strlen(other) == n_bytes && memcmp(other, name, n_bytes) == 0)
            break;
    }
    return i;
}

static void fill_table(sc_labels *self)
{
    memset(self->places, 0xFF, self->n_places * sizeof *self->places); /* all -1 */
    for (int32_t i = 0; i < self->n; i++)
        self->places[place_of(self, self->names[i], strlen(self->names[i]))] = i;
}

static sc_status grow(sc_labels *self)
{
    const int32_t capacity = self->capacity ? 2 * self->capacity : 16;
    char **names = realloc(self->names, (size_t)capacity * sizeof *names);
    if (names)
        self->names = names;
    int32_t *places = realloc(self->places, 4 * (size_t)capacity * sizeof *places);
    if (places)
        self->places = places;
    if (!names || !places)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %d labels", (int)capacity);
    self->capacity = capacity;
    self->n_places = 4 * (size_t)capacity;
    fill_table(self);
    return SC_OK;
}

int32_t sc_labels_find(const sc_labels *self, const char *name, size_t n_bytes)
{
    return self->n ? self->places[place_of(self, name, n_bytes)] : -1;
}

sc_status sc_labels_add(sc_labels *self, const char *name, size_t n_bytes, int32_t *id)
{
    n_bytes = strnlen(name, n_bytes);
    *id = sc_labels_find(self, name, n_bytes);
    if (*id >= 0)
        return SC_OK;
    if (self->n == self->capacity)
        SC_TRY(grow(self));
    char *copy = strndup(name, n_bytes);
    if (!copy)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a label");
    self->places[place_of(self, name, n_bytes)] = self->n;
    *id = self->n;
    self->names[self->n++] = copy;
    return SC_OK;
}

typedef struct ordered {
    char *name;
    int32_t before;
} ordered;

static int compare(const void *a, const void *b)
{
    return strcmp(((const ordered *)a)->name, ((const ordered *)b)->name);
}

sc_status sc_labels_sort(sc_labels *self, int32_t *renumber)
{
    if (self->n == 0)
        return SC_OK;
    ordered *all = malloc((size_t)self->n * sizeof *all);
    if (!all)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to sort %d labels", (int)self->n);
    for (int32_t i = 0; i < self->n; i++)
        all[i] = (ordered){self->names[i], i};
    qsort(all, (size_t)self->n, sizeof *all, compare);
    for (int32_t i = 0; i < self->n; i++) {
        self->names[i] = all[i].name;
        if (renumber)
            renumber[all[i].before] = i;
    }
    free(all);
    fill_table(self);
    return SC_OK;
}
