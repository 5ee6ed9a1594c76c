/* Any bytes as a file of interactions; the first byte's last bit says of which kind. What is refused has a message; what is read can
 * be put in order and cut, and each item has an id and a token. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/data/item_sequences.h"
#include "coordinator/data/tokenizer_items.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
    if (!good)
        abort();
}

static void check_sequences(sc_interactions *in)
{
    sc_item_sequences sequences;
    sc_tokenizer *tokenizer;
    if (sc_item_sequences_make(in, 2, SC_ITEM_MIN_USER_ITEMS, "file", &sequences) != SC_OK) {
        check(sc_status_message()[0]);
        return;
    }
    check(sc_tokenizer_new_items(&sequences.names, &tokenizer) == SC_OK);
    for (size_t user = 0; user < sequences.n_users; user++) {
        size_t n;
        const int32_t *items = sc_item_sequences_of(&sequences, user, SC_ITEMS_TEST, &n);
        check(n >= SC_ITEM_MIN_USER_ITEMS);
        for (size_t i = 0; i < n; i++) {
            check(items[i] >= 1 && items[i] < sc_tokenizer_vocab(tokenizer));
            const char *name = sc_tokenizer_items_name(tokenizer, items[i]);
            check(sc_tokenizer_items_find(tokenizer, name, strlen(name)) == items[i]);
        }
    }
    sc_tokenizer_destroy(&tokenizer);
    sc_item_sequences_clear(&sequences);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const sc_interaction_columns columns = {"::", 1, 2, 4};
    const sc_text file = {.name = "file", .bytes = (const char *)data + (size > 0), .n_bytes = size - (size > 0)};
    sc_interactions in = {0};
    const sc_status status =
        size && data[0] % 2 ? sc_interactions_read(&in, &file, &columns) : sc_interactions_read_sequences(&in, &file);
    check(status == SC_OK || sc_status_message()[0]);
    if (status == SC_OK)
        check_sequences(&in);
    sc_interactions_clear(&in);
    return 0;
}
