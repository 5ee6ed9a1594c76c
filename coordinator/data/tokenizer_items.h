/* The tokenizer of a recommender: a text is items between blanks or tabs, a token is an item's name. Id 0 is padding, which no
 * text has. Items may have titles, for people to read. As a run's tokenizer:
 *   {"type":"items","items":["0002844", ...],"titles":["Fantômas (1913)", ...]}     id = place in the list + 1
 * where titles is empty or as long as items, "" for an item without one. A token decodes to its name with a blank in front. */
#ifndef SC_TOKENIZER_ITEMS_H
#define SC_TOKENIZER_ITEMS_H

#include "coordinator/data/labels.h"
#include "coordinator/data/tokenizer.h"

/* Copies the names, which are sorted and at most SC_ITEM_NAME_BYTES long. Returns owned. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_tokenizer_new_items(const sc_labels *names, sc_tokenizer **out);

/* Takes titles from lines whose columns stand between `separator`: the item's name in the first, its title in the second.
 * Lines of other items are passed over. Errors, naming file and line: SC_INVALID (a line with one column, an item with two
 * titles, broken UTF-8), SC_RESOURCE_EXHAUSTED. */
sc_status sc_tokenizer_items_read_titles(sc_tokenizer *self, const sc_text *file, const char *separator);

/* The others are asked of a tokenizer of items alone. */
bool sc_tokenizer_is_items(const sc_tokenizer *self);
/* The id of a name, -1 if it is none. */
int32_t sc_tokenizer_items_find(const sc_tokenizer *self, const char *name, size_t n_bytes);
/* id: 1 .. vocab - 1. Borrowed. The title is NULL where there is none. */
const char *sc_tokenizer_items_name(const sc_tokenizer *self, int32_t id);
const char *sc_tokenizer_items_title(const sc_tokenizer *self, int32_t id);

#endif
