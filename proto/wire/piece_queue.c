#include "proto/wire/piece_queue.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef enum phase { SHUT, OPEN, CLOSED } phase;

struct sc_piece_queue {
    pthread_mutex_t lock; /* guards what follows; held for a few instructions */
    pthread_cond_t changed;
    phase phase;
    sc_piece *first, **last;
    uint64_t bytes;
};

sc_status sc_piece_queue_new(sc_piece_queue **out)
{
    sc_piece_queue *self = calloc(1, sizeof *self);
    *out = self;
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a queue of pieces");
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    self->last = &self->first;
    return SC_OK;
}

void sc_piece_queue_destroy(sc_piece_queue **self_p)
{
    sc_piece_queue *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    sc_piece_queue_shut(self);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static void let_go(sc_piece *piece)
{
    while (piece) {
        sc_piece *next = piece->next;
        sc_buffer_unref(&piece->data);
        free(piece);
        piece = next;
    }
}

sc_status sc_piece_queue_put(sc_piece_queue *self, int shard, const char *name, uint64_t from, sc_buffer *data)
{
    size_t name_bytes = strlen(name) + 1;
    sc_piece *piece = malloc(sizeof *piece + name_bytes);
    if (!piece) {
        sc_buffer_unref(&data);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a piece of '%s'", name);
    }
    *piece = (sc_piece){.shard = shard, .from = from, .data = data};
    memcpy(piece->name, name, name_bytes);
    pthread_mutex_lock(&self->lock);
    bool wanted = self->phase == OPEN;
    if (wanted) {
        *self->last = piece;
        self->last = &piece->next;
        self->bytes += sc_buffer_bytes(data);
        pthread_cond_signal(&self->changed);
    }
    pthread_mutex_unlock(&self->lock);
    if (!wanted)
        let_go(piece);
    return SC_OK;
}

sc_piece *sc_piece_queue_take(sc_piece_queue *self)
{
    pthread_mutex_lock(&self->lock);
    while (!self->first && self->phase == OPEN)
        pthread_cond_wait(&self->changed, &self->lock);
    sc_piece *piece = self->first;
    if (piece) {
        self->first = piece->next;
        if (!self->first)
            self->last = &self->first;
        piece->next = NULL;
    }
    pthread_mutex_unlock(&self->lock);
    return piece;
}

void sc_piece_queue_done(sc_piece_queue *self, sc_piece **piece_p)
{
    sc_piece *piece = *piece_p;
    *piece_p = NULL;
    pthread_mutex_lock(&self->lock);
    self->bytes -= sc_buffer_bytes(piece->data);
    pthread_mutex_unlock(&self->lock);
    let_go(piece);
}

static void set_phase(sc_piece_queue *self, phase from, phase to)
{
    pthread_mutex_lock(&self->lock);
    if (self->phase == from)
        self->phase = to;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

void sc_piece_queue_open(sc_piece_queue *self)
{
    set_phase(self, SHUT, OPEN);
}

void sc_piece_queue_close(sc_piece_queue *self)
{
    set_phase(self, OPEN, CLOSED);
}

void sc_piece_queue_shut(sc_piece_queue *self)
{
    pthread_mutex_lock(&self->lock);
    sc_piece *rest = self->first;
    for (const sc_piece *piece = rest; piece; piece = piece->next)
        self->bytes -= sc_buffer_bytes(piece->data);
    self->first = NULL;
    self->last = &self->first;
    self->phase = SHUT;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
    let_go(rest);
}

bool sc_piece_queue_is_shut(sc_piece_queue *self)
{
    pthread_mutex_lock(&self->lock);
    bool is_shut = self->phase == SHUT;
    pthread_mutex_unlock(&self->lock);
    return is_shut;
}

uint64_t sc_piece_queue_bytes(sc_piece_queue *self)
{
    pthread_mutex_lock(&self->lock);
    uint64_t bytes = self->bytes;
    pthread_mutex_unlock(&self->lock);
    return bytes;
}
