#include "proto/wire/inbox.h"

enum { LONGEST_WAIT = 8 }; /* times resend_ns */

typedef struct inbox_entry {
    sc_tensor_name name;
    bool seen;
    uint64_t next_ns, wait_ns; /* while it is awaited */
} inbox_entry;

void sc_inbox_init(sc_inbox *self)
{
    *self = (sc_inbox){.next_ns = UINT64_MAX};
    sc_name_table_init(&self->names, sizeof(inbox_entry));
}

void sc_inbox_clear(sc_inbox *self)
{
    sc_name_table_clear(&self->names);
    self->floor = 0;
    self->next_ns = UINT64_MAX;
}

/* NULL: it is seen, over, or there is no room. */
static inbox_entry *await(sc_inbox *self, const sc_tensor_name *name)
{
    if (name->step < self->floor)
        return NULL;
    inbox_entry *entry = sc_name_table_find(&self->names, name);
    if (!entry && self->names.n < SC_INBOX_MAX_NAMES)
        entry = sc_name_table_put(&self->names, name);
    return entry && !entry->seen ? entry : NULL;
}

static void set_next(sc_inbox *self, inbox_entry *entry, uint64_t next_ns)
{
    entry->next_ns = next_ns;
    if (next_ns < self->next_ns)
        self->next_ns = next_ns;
}

void sc_inbox_expect(sc_inbox *self, const sc_tensor_name *name, uint64_t now_ns, uint64_t resend_ns)
{
    inbox_entry *entry = await(self, name);
    if (!entry || entry->wait_ns != 0)
        return;
    entry->wait_ns = resend_ns;
    set_next(self, entry, now_ns + resend_ns);
}

void sc_inbox_ask(sc_inbox *self, const sc_tensor_name *name, uint64_t now_ns, uint64_t resend_ns)
{
    inbox_entry *entry = await(self, name);
    if (!entry)
        return;
    entry->wait_ns = resend_ns / 2; /* doubled when it is asked for, now */
    set_next(self, entry, now_ns);
}

bool sc_inbox_has(const sc_inbox *self, const sc_tensor_name *name)
{
    if (name->step < self->floor)
        return true;
    const inbox_entry *entry = sc_name_table_find(&self->names, name);
    return entry && entry->seen;
}

sc_arrival sc_inbox_arrive(sc_inbox *self, const sc_tensor_name *name)
{
    if (sc_inbox_has(self, name))
        return SC_ARRIVAL_DUPLICATE;
    inbox_entry *entry = sc_name_table_find(&self->names, name);
    if (!entry && self->names.n >= SC_INBOX_MAX_NAMES)
        return SC_ARRIVAL_FULL;
    if (!entry)
        entry = sc_name_table_put(&self->names, name);
    if (!entry)
        return SC_ARRIVAL_FULL;
    entry->seen = true;
    return SC_ARRIVAL_NEW;
}

bool sc_inbox_lacks(const sc_inbox *self, const sc_tensor_name *name)
{
    const inbox_entry *entry = sc_name_table_find(&self->names, name);
    return entry && !entry->seen;
}

size_t sc_inbox_due(sc_inbox *self, uint64_t now_ns, uint64_t resend_ns, sc_tensor_name *names, size_t max)
{
    if (now_ns < self->next_ns)
        return 0;
    size_t n = 0;
    uint64_t next_ns = UINT64_MAX;
    for (size_t slot = 0; slot < self->names.n_slots; slot++) {
        inbox_entry *entry = sc_name_table_at(&self->names, slot);
        if (!entry || entry->seen)
            continue;
        if (entry->next_ns <= now_ns && n < max) {
            names[n++] = entry->name;
            entry->wait_ns =
                entry->wait_ns * 2 < resend_ns * LONGEST_WAIT ? entry->wait_ns * 2 : resend_ns * LONGEST_WAIT;
            entry->next_ns = now_ns + entry->wait_ns;
        }
        if (entry->next_ns < next_ns)
            next_ns = entry->next_ns;
    }
    self->next_ns = next_ns;
    return n;
}

void sc_inbox_reconnected(sc_inbox *self, uint64_t now_ns, uint64_t resend_ns)
{
    for (size_t slot = 0; slot < self->names.n_slots; slot++) {
        inbox_entry *entry = sc_name_table_at(&self->names, slot);
        if (entry && !entry->seen) {
            entry->wait_ns = resend_ns / 2; /* doubled when it is asked for, now */
            set_next(self, entry, now_ns);
        }
    }
}

static bool is_from(const void *entry, uint64_t step)
{
    return ((const inbox_entry *)entry)->name.step >= step;
}

static bool is_of(const void *entry, uint64_t generation)
{
    return ((const inbox_entry *)entry)->name.generation == generation;
}

void sc_inbox_release_before(sc_inbox *self, uint64_t step)
{
    if (step <= self->floor)
        return;
    self->floor = step;
    sc_name_table_filter(&self->names, is_from, step);
}

void sc_inbox_keep_generation(sc_inbox *self, uint64_t generation)
{
    self->floor = 0;
    sc_name_table_filter(&self->names, is_of, generation);
}
