/* The data of a recommender, read from the files that a config names: sequences of items, and the tokenizer that their names and
 * titles make.
 *
 * Zero-initialise; clear frees. Thread: one owns it. */
#ifndef SC_ITEM_DATA_H
#define SC_ITEM_DATA_H

#include "coordinator/data/item_sequences.h"
#include "proto/base/config.h"

typedef struct sc_item_data {
    sc_item_sequences sequences;
    sc_tokenizer *tokenizer;
} sc_item_data;

/* Borrows the config while it works; *out is to be cleared even after an error. Errors: those of sc_files_read,
 * sc_interactions_read, sc_item_sequences_make and sc_tokenizer_items_read_titles. */
sc_status sc_item_data_read(const sc_config *config, sc_item_data *out);
void sc_item_data_clear(sc_item_data *self);

#endif
