#include "proto/wire/outbox.h"

#include <stdlib.h>

typedef struct outbox_entry {
    sc_tensor_name name;
    sc_kept_tensor *tensor;
} outbox_entry;

void sc_outbox_init(sc_outbox *self)
{
    *self = (sc_outbox){0};
    sc_name_table_init(&self->names, sizeof(outbox_entry));
}

/* Unlinks from the list and frees; the table's entry is the caller's affair. */
static void let_go(sc_outbox *self, sc_kept_tensor *tensor)
{
    *(tensor->previous ? &tensor->previous->next : &self->first) = tensor->next;
    *(tensor->next ? &tensor->next->previous : &self->last) = tensor->previous;
    if (tensor->pending)
        self->n_pending--;
    self->bytes -= sc_buffer_bytes(tensor->payload);
    sc_buffer_unref(&tensor->payload);
    free(tensor);
}

void sc_outbox_clear(sc_outbox *self)
{
    while (self->first)
        let_go(self, self->first);
    sc_name_table_clear(&self->names);
}

sc_status sc_outbox_put(sc_outbox *self, const sc_tensor_name *name, sc_dtype dtype, const sc_shape *shape,
                        sc_buffer *payload, sc_kept_tensor **out)
{
    sc_kept_tensor *tensor = malloc(sizeof *tensor);
    outbox_entry *entry = tensor ? sc_name_table_put(&self->names, name) : NULL;
    if (!entry) {
        free(tensor);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to keep a tensor until it is acknowledged");
    }
    if (entry->tensor)
        let_go(self, entry->tensor);
    entry->tensor = tensor;
    *tensor = (sc_kept_tensor){
        .previous = self->last,
        .name = *name,
        .dtype = dtype,
        .shape = *shape,
        .payload = sc_buffer_ref(payload),
        .pending = true,
    };
    *(self->last ? &self->last->next : &self->first) = tensor;
    self->last = tensor;
    self->n_pending++;
    self->bytes += sc_buffer_bytes(payload);
    *out = tensor;
    return SC_OK;
}

void sc_outbox_sent(sc_outbox *self, sc_kept_tensor *tensor, uint64_t now_ns)
{
    if (tensor->pending)
        self->n_pending--;
    tensor->pending = false;
    tensor->n_sent++;
    tensor->sent_ns = now_ns;
}

void sc_outbox_acknowledge(sc_outbox *self, const sc_tensor_name *name)
{
    outbox_entry *entry = sc_name_table_find(&self->names, name);
    if (!entry)
        return;
    let_go(self, entry->tensor);
    sc_name_table_remove(&self->names, name);
}

static void make_pending(sc_outbox *self, sc_kept_tensor *tensor)
{
    if (!tensor->pending)
        self->n_pending++;
    tensor->pending = true;
}

bool sc_outbox_has(const sc_outbox *self, const sc_tensor_name *name)
{
    return sc_name_table_find(&self->names, name) != NULL;
}

bool sc_outbox_has_sent(const sc_outbox *self, const sc_tensor_name *name)
{
    const outbox_entry *entry = sc_name_table_find(&self->names, name);
    return entry && !entry->tensor->pending;
}

void sc_outbox_ask(sc_outbox *self, const sc_tensor_name *name, uint64_t now_ns, uint64_t resend_ns)
{
    outbox_entry *entry = sc_name_table_find(&self->names, name);
    if (entry && now_ns - entry->tensor->sent_ns >= resend_ns)
        make_pending(self, entry->tensor);
}

void sc_outbox_reconnected(sc_outbox *self)
{
    for (sc_kept_tensor *tensor = self->first; tensor; tensor = tensor->next)
        make_pending(self, tensor);
}

static void keep_if(sc_outbox *self, bool (*keep)(const sc_tensor_name *name, uint64_t argument), uint64_t argument)
{
    for (sc_kept_tensor *tensor = self->first, *next; tensor; tensor = next) {
        next = tensor->next;
        if (!keep(&tensor->name, argument)) {
            sc_name_table_remove(&self->names, &tensor->name);
            let_go(self, tensor);
        }
    }
}

static bool is_from(const sc_tensor_name *name, uint64_t step)
{
    return name->step >= step;
}

static bool is_of(const sc_tensor_name *name, uint64_t generation)
{
    return name->generation == generation;
}

void sc_outbox_release_before(sc_outbox *self, uint64_t step)
{
    keep_if(self, is_from, step);
}

void sc_outbox_keep_generation(sc_outbox *self, uint64_t generation)
{
    keep_if(self, is_of, generation);
}
