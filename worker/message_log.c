#include "worker/message_log.h"

#include <stdlib.h>

typedef struct log_entry {
    sc_tensor_name name;
    sc_logged_tensor *tensor;
} log_entry;

void sc_message_log_init(sc_message_log *self)
{
    *self = (sc_message_log){0};
    sc_name_table_init(&self->names, sizeof(log_entry));
}

/* Out of the list and the table. */
static void drop(sc_message_log *self, sc_logged_tensor *tensor)
{
    *(tensor->previous ? &tensor->previous->next : &self->first) = tensor->next;
    *(tensor->next ? &tensor->next->previous : &self->last) = tensor->previous;
    self->bytes -= sc_buffer_bytes(tensor->message.payload);
    sc_name_table_remove(&self->names, &tensor->message.name);
    sc_tensor_message_clear(&tensor->message);
    free(tensor);
}

void sc_message_log_clear(sc_message_log *self)
{
    while (self->first)
        drop(self, self->first);
    sc_name_table_clear(&self->names);
    self->from = 0;
}

void sc_message_log_release_before(sc_message_log *self, uint64_t sequence)
{
    while (self->first && self->first->message.name.step < sequence)
        drop(self, self->first);
    if (self->from != 0 && self->from < sequence)
        self->from = sequence;
}

/* A step that lost one tensor is of no use: it goes whole. */
static void make_room(sc_message_log *self)
{
    while (self->first && self->bytes > self->budget)
        sc_message_log_release_before(self, self->first->message.name.step + 1);
}

void sc_message_log_set_budget(sc_message_log *self, uint64_t bytes)
{
    self->budget = bytes;
    if (bytes == 0)
        sc_message_log_clear(self);
    make_room(self);
}

static sc_tensor_name key_of(const sc_tensor_name *name)
{
    sc_tensor_name key = *name;
    key.generation = 0;
    return key;
}

static sc_logged_tensor *find(const sc_message_log *self, const sc_tensor_name *name)
{
    sc_tensor_name key = key_of(name);
    const log_entry *entry = sc_name_table_find(&self->names, &key);
    return entry ? entry->tensor : NULL;
}

void sc_message_log_put(sc_message_log *self, const sc_tensor_message *message)
{
    uint64_t sequence = message->name.step;
    if (self->budget == 0)
        return;
    if (self->from == 0)
        self->from = sequence;
    if (sequence < self->from)
        return; /* its step has lost others to the budget */
    sc_logged_tensor *same = find(self, &message->name);
    if (same)
        drop(self, same);
    sc_tensor_name key = key_of(&message->name);
    sc_logged_tensor *tensor = malloc(sizeof *tensor);
    log_entry *entry = tensor ? sc_name_table_put(&self->names, &key) : NULL;
    if (!entry) { /* the step is incomplete, and with it all before */
        free(tensor);
        sc_message_log_release_before(self, sequence + 1);
        return;
    }
    entry->tensor = tensor;
    *tensor = (sc_logged_tensor){.previous = self->last, .message = *message};
    tensor->message.name = key;
    tensor->message.payload = sc_buffer_ref(message->payload);
    *(self->last ? &self->last->next : &self->first) = tensor;
    self->last = tensor;
    self->bytes += sc_buffer_bytes(message->payload);
    make_room(self);
}

const sc_tensor_message *sc_message_log_find(const sc_message_log *self, const sc_tensor_name *name)
{
    const sc_logged_tensor *tensor = find(self, name);
    return tensor ? &tensor->message : NULL;
}

void sc_message_log_drop_from(sc_message_log *self, uint64_t sequence)
{
    while (self->last && self->last->message.name.step >= sequence)
        drop(self, self->last);
}

uint64_t sc_message_log_from(const sc_message_log *self)
{
    return self->from;
}
