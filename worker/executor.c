/* The executor's thread, its queue of commands and its queue of events. */
#include "worker/executor_internal.h"

#include "proto/base/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sc_executor_event_destroy(sc_executor_event **self_p)
{
    sc_executor_event *self = *self_p;
    if (!self)
        return;
    sc_tensor_message_clear(&self->tensor);
    sc_buffer_unref(&self->payload);
    for (int i = 0; i < self->n_parts; i++)
        sc_part_unref(&self->parts[i]);
    free(self->message);
    free(self->loss_sums);
    free(self->n_correct);
    free(self->ordinals);
    free(self->sum_squares);
    free(self);
    *self_p = NULL;
}

static void command_destroy(sc_command **self_p)
{
    sc_command *self = *self_p;
    if (!self)
        return;
    sc_executor_event_destroy(&self->done);
    for (int i = 0; i < self->n_parts; i++)
        sc_part_unref(&self->parts[i]);
    sc_restore_destroy(&self->restore);
    sc_assignment_unref(&self->assignment);
    sc_buffer_unref(&self->data);
    free(self);
    *self_p = NULL;
}

void sc_executor_post(sc_executor *self, sc_executor_event *event)
{
    pthread_mutex_lock(&self->lock);
    if (self->last_event)
        self->last_event->next = event;
    else
        self->first_event = event;
    self->last_event = event;
    pthread_mutex_unlock(&self->lock);
    self->options.notify(self->options.context);
}

sc_executor_event *sc_executor_take_event(sc_executor *self)
{
    pthread_mutex_lock(&self->lock);
    sc_executor_event *event = self->first_event;
    if (event) {
        self->first_event = event->next;
        if (!self->first_event)
            self->last_event = NULL;
        event->next = NULL;
    }
    pthread_mutex_unlock(&self->lock);
    return event;
}

/* ---- the executor's thread ---- */

/* Rule 2. What a closed or newer mailbox has cancelled may always come, to be answered. */
static bool may_run(const sc_executor *self, const sc_command *command)
{
    return command->kind != SC_COMMAND_RUN || !self->voted ||
           (command->epoch != self->voted_epoch && command->run.optimizer_step == self->optimizer_step) ||
           !sc_mailbox_is_current(self->options.mailbox, command->epoch);
}

/* Waits for the first command that may run now; NULL: the executor ends. */
static sc_command *next_command(sc_executor *self)
{
    sc_command *command = NULL;
    atomic_store(&self->waiting, true);
    pthread_mutex_lock(&self->lock);
    while (!self->stopping) {
        sc_command **link = &self->commands;
        while (*link && !may_run(self, *link))
            link = &(*link)->next;
        if (*link) {
            command = *link;
            *link = command->next;
            break;
        }
        pthread_cond_wait(&self->changed, &self->lock);
    }
    pthread_mutex_unlock(&self->lock);
    atomic_store(&self->waiting, false);
    return command;
}

static void finish_command(sc_executor *self, sc_command **command_p, sc_status status)
{
    sc_command *command = *command_p;
    sc_executor_event *done = command->done;
    command->done = NULL;
    done->status = status;
    if (status != SC_OK)
        done->message = strdup(sc_status_message());
    if (command->kind == SC_COMMAND_RUN) {
        pthread_mutex_lock(&self->lock);
        self->n_runs--;
        pthread_mutex_unlock(&self->lock);
    }
    command_destroy(command_p);
    sc_executor_post(self, done);
}

static void announce_start(sc_executor *self, sc_status status)
{
    pthread_mutex_lock(&self->lock);
    self->started = true;
    self->start_status = status;
    if (status != SC_OK)
        snprintf(self->start_message, sizeof self->start_message, "%s", sc_status_message());
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

static void *executor_main(void *context)
{
    sc_executor *self = context;
    const sc_ops *ops = self->options.ops;
    sc_status status = ops->stream_new(0, self->options.threads, &self->stream);
    announce_start(self, status);
    if (status != SC_OK)
        return NULL;
    sc_command *command;
    while ((command = next_command(self))) {
        atomic_store(&self->doing, sc_executor_pack_command(command->kind));
        status = sc_executor_perform(self, command);
        atomic_store(&self->doing, 0);
        atomic_fetch_add(&self->actions_done, 1);
        finish_command(self, &command, status);
    }
    sc_executor_forget_stages(self);
    ops->stream_destroy(&self->stream);
    return NULL;
}

/* ---- the network thread's side ---- */

static sc_status start_thread(sc_executor *self)
{
    SC_TRY(sc_thread_start(&self->thread, "executor", executor_main, self));
    pthread_mutex_lock(&self->lock);
    while (!self->started)
        pthread_cond_wait(&self->changed, &self->lock);
    pthread_mutex_unlock(&self->lock);
    if (self->start_status == SC_OK)
        return SC_OK;
    pthread_join(self->thread, NULL);
    return SC_FAIL(self->start_status, "device %s: %s", self->options.ops->name, self->start_message);
}

static void free_executor(sc_executor *self)
{
    sc_buffer_pool_destroy(&self->pool);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

sc_status sc_executor_new(const sc_executor_options *options, sc_executor **out)
{
    *out = NULL;
    sc_executor *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for an executor");
    self->options = *options;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    sc_status status = sc_buffer_pool_new(options->memory.allocate ? &options->memory : NULL, &self->pool);
    if (status == SC_OK)
        status = start_thread(self);
    if (status != SC_OK) {
        free_executor(self);
        return sc_status_forward(status, __FILE__, __LINE__);
    }
    *out = self;
    return SC_OK;
}

void sc_executor_destroy(sc_executor **self_p)
{
    sc_executor *self = *self_p;
    if (!self)
        return;
    sc_mailbox_close(self->options.mailbox);
    pthread_mutex_lock(&self->lock);
    self->stopping = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
    pthread_join(self->thread, NULL);
    for (sc_command *command; (command = self->commands);) {
        self->commands = command->next;
        command_destroy(&command);
    }
    for (sc_executor_event *event; (event = sc_executor_take_event(self));)
        sc_executor_event_destroy(&event);
    free_executor(self);
    *self_p = NULL;
}

static sc_status command_new(sc_command_kind kind, uint64_t ticket, uint64_t epoch, sc_command **out)
{
    *out = NULL;
    sc_command *command = calloc(1, sizeof *command);
    sc_executor_event *done = calloc(1, sizeof *done);
    if (!command || !done) {
        free(command);
        free(done);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a command to the executor");
    }
    command->kind = kind;
    command->epoch = epoch;
    command->done = done;
    done->kind = SC_EVENT_DONE;
    done->epoch = epoch;
    done->ticket = ticket;
    *out = command;
    return SC_OK;
}

/* At the end; a RunStep before those behind the last other command that have a higher step. */
static void enqueue(sc_executor *self, sc_command *command)
{
    pthread_mutex_lock(&self->lock);
    sc_command **link = &self->commands, **place = NULL;
    for (; *link; link = &(*link)->next) {
        if ((*link)->kind != SC_COMMAND_RUN || (*link)->epoch != command->epoch)
            place = NULL;
        else if (!place && (*link)->run.step > command->run.step)
            place = link;
    }
    if (command->kind != SC_COMMAND_RUN || !place)
        place = link;
    command->next = *place;
    *place = command;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

sc_status sc_executor_assign(sc_executor *self, uint64_t ticket, uint64_t epoch, sc_assignment *assignment)
{
    sc_command *command;
    SC_TRY(command_new(SC_COMMAND_ASSIGN, ticket, epoch, &command));
    command->assignment = sc_assignment_ref(assignment);
    enqueue(self, command);
    return SC_OK;
}

sc_status sc_executor_forget(sc_executor *self, uint64_t ticket)
{
    sc_command *command;
    SC_TRY(command_new(SC_COMMAND_FORGET, ticket, 0, &command));
    enqueue(self, command);
    return SC_OK;
}

sc_status sc_executor_run(sc_executor *self, uint64_t ticket, uint64_t epoch, const sc_run_step *step)
{
    sc_command *command;
    SC_TRY(command_new(SC_COMMAND_RUN, ticket, epoch, &command));
    command->run = *step;
    pthread_mutex_lock(&self->lock);
    bool full = self->n_runs > SC_MAX_QUEUED_STEPS;
    self->n_runs += !full;
    pthread_mutex_unlock(&self->lock);
    if (full) {
        command_destroy(&command);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%d steps wait already behind the one that runs", SC_MAX_QUEUED_STEPS);
    }
    enqueue(self, command);
    return SC_OK;
}

sc_status sc_executor_apply(sc_executor *self, uint64_t ticket, uint64_t epoch, const sc_apply_step *step)
{
    sc_command *command;
    SC_TRY(command_new(SC_COMMAND_APPLY, ticket, epoch, &command));
    command->apply = *step;
    enqueue(self, command);
    return SC_OK;
}

sc_status sc_executor_read(sc_executor *self, uint64_t ticket, uint64_t epoch, const sc_state_piece *piece)
{
    sc_command *command;
    SC_TRY(command_new(SC_COMMAND_READ, ticket, epoch, &command));
    command->piece = *piece;
    enqueue(self, command);
    return SC_OK;
}

sc_status sc_executor_write(sc_executor *self, uint64_t ticket, uint64_t epoch, const sc_state_piece *piece,
                            sc_buffer *data)
{
    sc_command *command;
    SC_TRY(command_new(SC_COMMAND_WRITE, ticket, epoch, &command));
    command->piece = *piece;
    command->data = sc_buffer_ref(data);
    enqueue(self, command);
    return SC_OK;
}

sc_status sc_executor_snapshot(sc_executor *self, uint64_t ticket, uint64_t epoch, sc_part *const *parts, int n_parts,
                               sc_buffer_pool *pool)
{
    sc_command *command;
    SC_TRY(command_new(SC_COMMAND_SNAPSHOT, ticket, epoch, &command));
    for (int i = 0; i < n_parts; i++)
        command->parts[i] = sc_part_ref(parts[i]);
    command->n_parts = n_parts;
    command->pool = pool;
    enqueue(self, command);
    return SC_OK;
}

sc_status sc_executor_restore(sc_executor *self, uint64_t ticket, uint64_t epoch, sc_restore **restore)
{
    sc_command *command;
    SC_TRY(command_new(SC_COMMAND_RESTORE, ticket, epoch, &command));
    command->restore = *restore;
    *restore = NULL;
    enqueue(self, command);
    return SC_OK;
}

sc_executor_progress sc_executor_look(sc_executor *self)
{
    sc_executor_progress progress = {.step = atomic_load(&self->step),
                                     .actions_done = atomic_load(&self->actions_done),
                                     .waiting = atomic_load(&self->waiting)};
    sc_executor_doing_text(atomic_load(&self->doing), progress.doing, sizeof progress.doing);
    return progress;
}

uint64_t sc_executor_buffer_bytes(const sc_executor *self)
{
    return sc_buffer_pool_bytes(self->pool);
}
