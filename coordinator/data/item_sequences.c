#include "coordinator/data/item_sequences.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

void sc_item_sequences_clear(sc_item_sequences *self)
{
    sc_labels_clear(&self->names);
    free(self->items);
    free(self->begins);
    *self = (sc_item_sequences){0};
}

/* Moves those whose item is frequent to the front; returns how many there are. */
static size_t keep_frequent(sc_interactions *in, int64_t min_count, const int64_t *counts)
{
    size_t kept = 0;
    for (size_t i = 0; i < in->n; i++)
        if (counts[in->all[i].item] >= min_count)
            in->all[kept++] = in->all[i];
    return kept;
}

static const sc_interaction *end_of_user(const sc_interaction *at, const sc_interaction *end)
{
    const int32_t user = at->user;
    while (at < end && at->user == user)
        at++;
    return at;
}

/* Copies the users that have enough, with the items' old numbers. */
static void copy_users(const sc_interactions *in, size_t n, int64_t min_user_items, sc_item_sequences *out)
{
    size_t n_items = 0;
    for (const sc_interaction *at = in->all, *const all_end = at + n, *end; at < all_end; at = end) {
        end = end_of_user(at, all_end);
        if (end - at < min_user_items)
            continue;
        out->begins[out->n_users++] = n_items;
        for (; at < end; at++)
            out->items[n_items++] = at->item;
    }
    out->begins[out->n_users] = n_items;
}

/* Names what is left, sorts the names and gives the items their ids. `ids`: [items.n], all -1. */
static sc_status number_items(const sc_interactions *in, sc_item_sequences *out, int32_t *ids)
{
    const size_t n = out->begins[out->n_users];
    for (size_t i = 0; i < n; i++) {
        const char *name = in->items.names[out->items[i]];
        if (ids[out->items[i]] < 0)
            SC_TRY(sc_labels_add(&out->names, name, SC_ITEM_NAME_BYTES, &ids[out->items[i]]));
    }
    int32_t *renumber = calloc((size_t)out->names.n + 1, sizeof *renumber);
    if (!renumber)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to sort %d items", (int)out->names.n);
    const sc_status status = sc_labels_sort(&out->names, renumber);
    for (size_t i = 0; i < n && status == SC_OK; i++)
        out->items[i] = renumber[ids[out->items[i]]] + 1;
    free(renumber);
    return status;
}

sc_status sc_item_sequences_make(sc_interactions *in, int64_t min_item_count, int64_t min_user_items, const char *name,
                                 sc_item_sequences *out)
{
    assert(min_user_items >= SC_ITEM_MIN_USER_ITEMS);
    *out = (sc_item_sequences){0};
    sc_interactions_sort(in);
    int64_t *counts = calloc((size_t)in->items.n + 1, sizeof *counts);
    int32_t *ids = malloc(((size_t)in->items.n + 1) * sizeof *ids);
    out->items = malloc((in->n + 1) * sizeof *out->items);
    out->begins = malloc(((size_t)in->n_users + 1) * sizeof *out->begins);
    sc_status status = SC_OK;
    if (!counts || !ids || !out->items || !out->begins)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu interactions", in->n);
    if (status == SC_OK) {
        for (size_t i = 0; i < in->n; i++)
            counts[in->all[i].item]++;
        for (int32_t i = 0; i < in->items.n; i++)
            ids[i] = -1;
        copy_users(in, keep_frequent(in, min_item_count, counts), min_user_items, out);
        if (out->n_users == 0)
            status = SC_FAIL(SC_INVALID,
                             "%s: no user has %" PRId64 " items that occur at least %" PRId64
                             " times; give more data, or lower data.min_user_items or data.min_item_count",
                             name, min_user_items, min_item_count);
    }
    if (status == SC_OK)
        status = number_items(in, out, ids);
    if (status == SC_OK) {
        out->dropped.interactions = in->n - out->begins[out->n_users];
        out->dropped.items = (size_t)(in->items.n - out->names.n);
        out->dropped.users = in->n_users - (int32_t)out->n_users;
    } else
        sc_item_sequences_clear(out);
    free(counts);
    free(ids);
    return status;
}

const int32_t *sc_item_sequences_of(const sc_item_sequences *self, size_t user, sc_item_part part, size_t *n)
{
    assert(user < self->n_users);
    *n = self->begins[user + 1] - self->begins[user] - (size_t)(SC_ITEMS_TEST - part);
    return self->items + self->begins[user];
}
