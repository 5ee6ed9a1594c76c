/* A hash table keyed by a tensor's name: open addressing, entries of one fixed size that begin with the name.
 * A pointer to an entry is valid until the next put or remove. Thread: its owner's. */
#ifndef SC_NAME_TABLE_H
#define SC_NAME_TABLE_H

#include "proto/wire/node.h"

typedef struct sc_name_table {
    size_t entry_bytes;
    size_t n, n_slots; /* n_slots: 0 or a power of two */
    unsigned char *entries;
    bool *used;
} sc_name_table;

void sc_name_table_init(sc_name_table *self, size_t entry_bytes);
void sc_name_table_clear(sc_name_table *self); /* empty, its memory freed */

/* NULL if absent. */
void *sc_name_table_find(const sc_name_table *self, const sc_tensor_name *name);
/* The entry of that name, made if absent with everything but the name zero; NULL if there is no memory. */
void *sc_name_table_put(sc_name_table *self, const sc_tensor_name *name);
void sc_name_table_remove(sc_name_table *self, const sc_tensor_name *name);

/* Entry of slot 0 <= slot < n_slots, NULL if it is empty. */
void *sc_name_table_at(const sc_name_table *self, size_t slot);
/* Removes what `keep` does not want. */
void sc_name_table_filter(sc_name_table *self, bool (*keep)(const void *entry, uint64_t argument), uint64_t argument);

bool sc_tensor_name_equal(const sc_tensor_name *a, const sc_tensor_name *b);

#endif
