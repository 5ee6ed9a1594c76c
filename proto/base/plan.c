#include "proto/base/plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static bool is_name(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
    return length > 0 && name[length] == '\0' && length < sizeof((sc_plan *)0)->schedule;
}

static sc_status check_range(const char *what, int value, int most)
{
    if (value < 1 || value > most)
        return SC_FAIL(SC_INVALID, "a plan has 1 to %d %s, not %d", most, what, value);
    return SC_OK;
}

sc_status sc_plan_new(const char *schedule, int S, int K, int M, sc_plan_mode mode, sc_plan **out)
{
    *out = NULL;
    if (!is_name(schedule))
        return SC_FAIL(SC_INVALID, "a schedule's name is 1 to 31 letters, digits and '_', '.', '-'");
    SC_TRY(check_range("stages", S, SC_MAX_STAGES));
    SC_TRY(check_range("chunks per worker", K, SC_MAX_CHUNKS));
    SC_TRY(check_range("micro-batches", M, SC_MAX_MICROBATCHES));
    sc_plan *self = calloc(1, sizeof *self);
    sc_action_list *workers = calloc((size_t)S, sizeof *workers);
    if (!self || !workers) {
        free(self);
        free(workers);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a plan of %d workers", S);
    }
    memcpy(self->schedule, schedule, strlen(schedule) + 1);
    self->n_workers = S;
    self->n_chunks = K;
    self->n_microbatches = M;
    self->mode = mode;
    self->workers = workers;
    *out = self;
    return SC_OK;
}

void sc_plan_destroy(sc_plan **self_p)
{
    sc_plan *self = *self_p;
    if (!self)
        return;
    for (int w = 0; w < self->n_workers; w++)
        free(self->workers[w].actions);
    free(self->workers);
    free(self);
    *self_p = NULL;
}

sc_status sc_plan_add(sc_plan *self, int worker, sc_action_kind kind, int stage, int microbatch)
{
    assert(worker >= 0 && worker < self->n_workers);
    sc_action_list *list = &self->workers[worker];
    if (list->n == list->capacity) {
        /* The longest list that passes the validator is 8 actions for each chunk and micro-batch, well within an int. */
        if (list->capacity > INT32_MAX / 2)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "worker %d: a list holds at most %d actions", worker, list->n);
        int capacity = list->capacity ? 2 * list->capacity : 16;
        sc_action *actions = realloc(list->actions, (size_t)capacity * sizeof *actions);
        if (!actions)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %d actions of worker %d", capacity, worker);
        list->actions = actions;
        list->capacity = capacity;
    }
    list->actions[list->n++] = (sc_action){.kind = kind, .stage = stage, .microbatch = microbatch};
    return SC_OK;
}
