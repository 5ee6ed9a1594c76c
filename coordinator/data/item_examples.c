/* Examples of items: training's windows, and a row for each item that is to be found. */
#include "coordinator/data/examples_internal.h"

#include <string.h>

/* A row of n items of a user, whose targets are set apart. */
static sc_status add_row(sc_examples *self, size_t user, const int32_t *items, size_t n)
{
    SC_TRY(sc_examples_reserve(self, n));
    self->rows[self->n++] = (sc_fixed_row){.ids = self->n_ids, .n_a = (int)n, .source = {user, 1}};
    memcpy(self->ids + self->n_ids, items, n * sizeof *items);
    for (size_t i = 0; i < n; i++)
        self->targets[self->n_ids + i] = SC_NO_TARGET;
    self->n_ids += n;
    return SC_OK;
}

/* All items but the first are targets, each once: windows are cut from the end, so that only the first may be short, and an item
 * has as much behind it in its window as it can. */
static sc_status add_windows(sc_examples *self, size_t user, const int32_t *items, size_t n)
{
    const size_t T = (size_t)self->longest, n_targets = n > 0 ? n - 1 : 0;
    size_t length = n_targets % T > 0 ? n_targets % T : T;
    for (size_t at = 0; at < n_targets; at += length, length = T) {
        SC_TRY(add_row(self, user, items + at, length));
        memcpy(self->targets + self->n_ids - length, items + at + 1, length * sizeof *items);
    }
    return SC_OK;
}

/* The last item is the target, behind the T items before it. */
static sc_status add_held_out(sc_examples *self, size_t user, const int32_t *items, size_t n)
{
    const size_t T = (size_t)self->longest, before = n - 1, length = before < T ? before : T;
    SC_TRY(add_row(self, user, items + before - length, length));
    self->targets[self->n_ids - 1] = items[before];
    return SC_OK;
}

sc_status sc_examples_of_items(const sc_item_sequences *sequences, sc_item_part part, int longest, sc_examples **out)
{
    SC_TRY(sc_examples_new(SC_EXAMPLES_ITEMS, NULL, longest, out));
    sc_status status = SC_OK;
    for (size_t user = 0; user < sequences->n_users && status == SC_OK; user++) {
        size_t n;
        const int32_t *items = sc_item_sequences_of(sequences, user, part, &n);
        status = part == SC_ITEMS_TRAIN ? add_windows(*out, user, items, n) : add_held_out(*out, user, items, n);
    }
    if (status != SC_OK)
        sc_examples_destroy(out);
    return status;
}
