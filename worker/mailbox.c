#include "worker/mailbox.h"

#include "proto/base/clock.h"
#include "proto/base/thread.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A hash table with chains; the slots are one array, so that nothing is allocated while a step runs. */
typedef struct slot {
    sc_tensor_message message;
    struct slot *next; /* in its chain, or in the list of free slots */
} slot;

struct sc_mailbox {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* the awaited message came, or the epoch ended */
    /* all below: under the lock */
    uint64_t epoch;
    bool open;
    uint64_t generation, first_step;
    sc_mailbox_limits limits;
    slot *slots, *free;
    slot **chains;
    size_t n_chains; /* a power of two */
    size_t n_messages;
    uint64_t n_bytes;
    bool waiting;
    sc_tensor_name awaited;
};

static bool same_name(const sc_tensor_name *a, const sc_tensor_name *b)
{
    return a->generation == b->generation && a->step == b->step && a->microbatch == b->microbatch &&
           a->stage == b->stage && a->kind == b->kind && a->part == b->part;
}

/* The finisher of MurmurHash3 over the fields that differ within a generation. */
static slot **chain_of(sc_mailbox *self, const sc_tensor_name *name)
{
    uint64_t h = name->step;
    h = h * 31 + name->microbatch;
    h = h * 31 + name->stage;
    h = h * 31 + name->kind;
    h = h * 31 + name->part;
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdull;
    h ^= h >> 33;
    return &self->chains[h & (self->n_chains - 1)];
}

/* The link that points to the message, or to the NULL at the chain's end. */
static slot **find(sc_mailbox *self, const sc_tensor_name *name)
{
    slot **link = chain_of(self, name);
    while (*link && !same_name(&(*link)->message.name, name))
        link = &(*link)->next;
    return link;
}

/* Unlinks a slot and gives its message away. */
static sc_tensor_message take_out(sc_mailbox *self, slot **link)
{
    slot *found = *link;
    sc_tensor_message message = found->message;
    *link = found->next;
    found->next = self->free;
    self->free = found;
    self->n_messages--;
    self->n_bytes -= sc_buffer_bytes(message.payload);
    return message;
}

/* Drops the messages of steps before `step`. */
static void drop_before(sc_mailbox *self, uint64_t step, bool all)
{
    for (size_t i = 0; i < self->n_chains; i++)
        for (slot **link = &self->chains[i]; *link;) {
            if (!all && (*link)->message.name.step >= step) {
                link = &(*link)->next;
                continue;
            }
            sc_tensor_message message = take_out(self, link);
            sc_tensor_message_clear(&message);
        }
}

sc_status sc_mailbox_new(sc_mailbox **out)
{
    *out = NULL;
    sc_mailbox *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a mailbox");
    sc_thread_condition_init(&self->changed);
    pthread_mutex_init(&self->lock, NULL);
    *out = self;
    return SC_OK;
}

/* Under the lock: ends the epoch and frees what it held. */
static void end_epoch(sc_mailbox *self)
{
    drop_before(self, 0, true);
    free(self->slots);
    free(self->chains);
    self->slots = self->free = NULL;
    self->chains = NULL;
    self->n_chains = 0;
    self->open = false;
    self->epoch++;
    pthread_cond_broadcast(&self->changed);
}

void sc_mailbox_destroy(sc_mailbox **self_p)
{
    sc_mailbox *self = *self_p;
    if (!self)
        return;
    end_epoch(self);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
    *self_p = NULL;
}

sc_status sc_mailbox_open(sc_mailbox *self, uint64_t generation, sc_mailbox_limits limits, uint64_t *epoch)
{
    sc_status status = SC_OK;
    pthread_mutex_lock(&self->lock);
    end_epoch(self);
    size_t n_chains = 16;
    while (n_chains < limits.max_messages && n_chains < (size_t)1 << 24)
        n_chains *= 2;
    self->slots = calloc(limits.max_messages + 1, sizeof *self->slots);
    self->chains = calloc(n_chains, sizeof(slot *));
    if (!self->slots || !self->chains) {
        end_epoch(self);
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a mailbox of %zu messages", limits.max_messages);
    } else {
        for (size_t i = 0; i < limits.max_messages; i++)
            self->slots[i].next = &self->slots[i + 1];
        self->slots[limits.max_messages].next = NULL;
        self->free = self->slots;
        self->n_chains = n_chains;
        self->generation = generation;
        self->first_step = 0;
        self->limits = limits;
        self->open = true;
        *epoch = self->epoch;
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

void sc_mailbox_close(sc_mailbox *self)
{
    pthread_mutex_lock(&self->lock);
    end_epoch(self);
    pthread_mutex_unlock(&self->lock);
}

bool sc_mailbox_is_current(sc_mailbox *self, uint64_t epoch)
{
    pthread_mutex_lock(&self->lock);
    bool current = self->open && self->epoch == epoch;
    pthread_mutex_unlock(&self->lock);
    return current;
}

/* Under the lock. */
static sc_status check_put(sc_mailbox *self, uint64_t epoch, const sc_tensor_message *message)
{
    const sc_tensor_name *name = &message->name;
    if (!self->open || self->epoch != epoch)
        return SC_FAIL(SC_CANCELLED, "the assignment that this tensor belongs to has ended");
    if (name->generation != self->generation)
        return SC_FAIL(SC_FAILED_PRECONDITION, "a tensor of generation %" PRIu64 " came in generation %" PRIu64,
                       name->generation, self->generation);
    if (name->step < self->first_step)
        return SC_FAIL(SC_OUT_OF_RANGE, "a tensor of step %" PRIu64 " came after that step was over", name->step);
    if (*find(self, name))
        return SC_FAIL(SC_ALREADY_EXISTS, "a tensor of step %" PRIu64 ", micro-batch %u, stage %u, kind %u came twice",
                       name->step, name->microbatch, name->stage, name->kind);
    uint64_t bytes = sc_buffer_bytes(message->payload);
    if (self->n_messages == self->limits.max_messages || bytes > self->limits.max_bytes - self->n_bytes)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED,
                       "%zu tensors of %" PRIu64 " bytes wait already, as many as the plan can have in flight",
                       self->n_messages, self->n_bytes);
    return SC_OK;
}

sc_status sc_mailbox_put(sc_mailbox *self, uint64_t epoch, sc_tensor_message *message)
{
    pthread_mutex_lock(&self->lock);
    sc_status status = check_put(self, epoch, message);
    if (status == SC_OK) {
        slot *taken = self->free;
        self->free = taken->next;
        slot **chain = chain_of(self, &message->name);
        taken->message = *message;
        taken->next = *chain;
        *chain = taken;
        self->n_messages++;
        self->n_bytes += sc_buffer_bytes(message->payload);
        if (self->waiting && same_name(&self->awaited, &message->name))
            pthread_cond_signal(&self->changed);
    }
    pthread_mutex_unlock(&self->lock);
    if (status == SC_OK)
        *message = (sc_tensor_message){0};
    else
        sc_tensor_message_clear(message);
    return status;
}

sc_status sc_mailbox_wait(sc_mailbox *self, uint64_t epoch, const sc_tensor_name *name, int timeout_ms,
                          sc_tensor_message *out)
{
    const sc_clock clock = sc_clock_system();
    const uint64_t deadline = sc_clock_ns(&clock) + (timeout_ms > 0 ? (uint64_t)timeout_ms * 1000000 : 0);
    sc_status status = SC_OK;
    bool late = false;
    pthread_mutex_lock(&self->lock);
    self->waiting = true;
    self->awaited = *name;
    for (;;) {
        if (!self->open || self->epoch != epoch) {
            status = SC_CANCELLED;
            break;
        }
        slot **link = find(self, name);
        if (*link) {
            *out = take_out(self, link);
            break;
        }
        if (late) {
            status = SC_DEADLINE_EXCEEDED;
            break;
        }
        if (timeout_ms < 0)
            pthread_cond_wait(&self->changed, &self->lock);
        else
            late = !sc_thread_wait_until(&self->changed, &self->lock, deadline);
    }
    self->waiting = false;
    pthread_mutex_unlock(&self->lock);
    if (status == SC_CANCELLED)
        return SC_FAIL(status, "step %" PRIu64 " was broken off", name->step);
    return status; /* a deadline is an answer, not an error with a message */
}

void sc_mailbox_release_before(sc_mailbox *self, uint64_t step)
{
    pthread_mutex_lock(&self->lock);
    if (step > self->first_step) {
        self->first_step = step;
        drop_before(self, step, false);
    }
    pthread_mutex_unlock(&self->lock);
}

size_t sc_mailbox_messages(sc_mailbox *self)
{
    pthread_mutex_lock(&self->lock);
    size_t n = self->n_messages;
    pthread_mutex_unlock(&self->lock);
    return n;
}

uint64_t sc_mailbox_bytes(sc_mailbox *self)
{
    pthread_mutex_lock(&self->lock);
    uint64_t n = self->n_bytes;
    pthread_mutex_unlock(&self->lock);
    return n;
}
