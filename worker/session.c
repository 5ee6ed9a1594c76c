/* The assignment, the lease, and the loop that all of the session runs in. */
#include "worker/preempt.h"
#include "worker/ready_file.h"
#include "worker/session_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    STOP_LOOK_MS = 50, /* without a node there is only the stop descriptor to look at */
    LINGER_MS = 1000,  /* for the last reply to get out */
    LONGEST_POLL_MS = 1000,
    SILENT_LEASES = 3, /* the coordinator is lost after so many without a word */
};

/* ---- the executor's thread wakes the node ---- */

static void wake(void *context)
{
    sc_session *self = context;
    pthread_mutex_lock(&self->wake_lock);
    if (self->node)
        sc_node_wake(self->node);
    pthread_mutex_unlock(&self->wake_lock);
}

void sc_session_set_node(sc_session *self, sc_node *node)
{
    pthread_mutex_lock(&self->wake_lock);
    self->node = node;
    pthread_mutex_unlock(&self->wake_lock);
}

/* ---- the assignment ---- */

void sc_session_end_assignment(sc_session *self)
{
    sc_mailbox_close(self->mailbox); /* whatever the executor does for it ends */
    sc_session_end_deposit(self, SC_CANCELLED, "the assignment has ended");
    sc_session_end_restore(self, SC_CANCELLED, "the assignment has ended");
    sc_session_forget_routes(self, false);
    sc_session_forget_shared(self);
    sc_assignment_unref(&self->assignment);
    if (self->state > SC_SESSION_IDLE && self->state <= SC_SESSION_RUNNING)
        self->state = SC_SESSION_IDLE;
}

/* Who may connect to this worker: the members of the assignment. */
static sc_status admit_members(sc_session *self)
{
    const sc_assignment *assignment = self->assignment;
    if ((assignment->keys != NULL) != (self->options.keys != NULL))
        return SC_FAIL(SC_FAILED_PRECONDITION, "the assignment comes %s keys, and this worker has %s",
                       assignment->keys ? "with" : "without", self->options.keys ? "one" : "none");
    return assignment->keys ? sc_node_allow(self->node, assignment->keys, (size_t)assignment->n_members) : SC_OK;
}

sc_status sc_session_begin_assignment(sc_session *self, sc_assignment *assignment)
{
    sc_session_end_assignment(self);
    self->assignment = assignment;
    self->snapshot_ms = 0; /* the next one comes after a pause that is no interval */
    self->kept_vote = 0;
    sc_vault_drop_half(self->vault);
    sc_vault_set_lineage(self->vault, assignment->lineage);
    sc_message_log_set_budget(&self->log, assignment->log_bytes);
    sc_status status;
    SC_TRY_GOTO(status, sc_mailbox_open(self->mailbox, assignment->generation, assignment->limits, &self->epoch),
                failed);
    sc_node_set_generation(self->node, assignment->generation);
    SC_TRY_GOTO(status, admit_members(self), failed);
    sc_node_set_sharing(self->node, assignment->shared_memory);
    SC_TRY_GOTO(status, sc_session_open_routes(self), failed);
    self->state = SC_SESSION_ASSIGNING;
    return SC_OK;
failed:
    sc_session_end_assignment(self);
    return status;
}

/* ---- the end ---- */

void sc_session_end(sc_session *self)
{
    sc_session_end_assignment(self);
    self->state = SC_SESSION_ENDED;
}

void sc_session_fail(sc_session *self, sc_status status)
{
    self->failure = status;
    snprintf(self->failure_message, sizeof self->failure_message, "%s", sc_status_message());
    sc_session_end(self);
}

void sc_session_lose(sc_session *self, const char *format, ...)
{
    if (self->lost)
        return; /* the first reason is the reason */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(self->lost_why, sizeof self->lost_why, format, arguments);
    va_end(arguments);
    self->lost = true;
}

/* ---- the lease ---- */

static void reported(void *context, sc_peer *peer, const sc_result *result)
{
    (void)peer;
    sc_session *self = context;
    self->reporting = false;
    bool unanswered = result->status == SC_OK || result->status == SC_UNAVAILABLE ||
                      result->status == SC_DEADLINE_EXCEEDED || result->status == SC_CANCELLED;
    if (!unanswered && self->state < SC_SESSION_LEAVING)
        sc_session_lose(self, "the coordinator does not know this worker: %s", result->message);
}

static void report_progress(sc_session *self)
{
    self->progress_at_ms = sc_session_now_ms(self) + self->progress_ms;
    if (self->reporting)
        return; /* the wire repeats it by itself */
    sc_executor_progress progress = sc_executor_look(self->executor);
    Stagecoach__V1__ProgressRequest request = STAGECOACH__V1__PROGRESS_REQUEST__INIT;
    request.generation = self->assignment ? self->assignment->generation : 0;
    request.step = progress.step;
    request.actions_done = progress.actions_done;
    request.doing = progress.doing;
    request.waiting = progress.waiting;
    self->reporting = sc_peer_call(self->coordinator, &stagecoach__v1__coordinator__descriptor, "Progress",
                                   &request.base, NULL, 0, self->lease_ms, reported, self) == SC_OK;
}

static void check_coordinator(sc_session *self)
{
    uint64_t silent_ms = sc_peer_silent_ms(self->coordinator);
    if (silent_ms > (uint64_t)SILENT_LEASES * self->lease_ms)
        sc_session_lose(self, "nothing was heard from coordinator %s for %.1f s", self->options.coordinator,
                        (double)silent_ms / 1000);
}

/* ---- the loop ---- */

/* Does what is due, and returns how long nothing will be. */
static int tick(sc_session *self)
{
    uint64_t now = sc_session_now_ms(self), due = now + LONGEST_POLL_MS;
    switch (self->state) {
    case SC_SESSION_CONNECTING:
        if (now >= self->retry_at_ms)
            sc_session_connect(self);
        return 0;
    case SC_SESSION_JOINING:
        if (self->joining)
            break;
        if (now >= self->retry_at_ms)
            sc_session_join(self);
        else
            due = self->retry_at_ms;
        break;
    case SC_SESSION_IDLE:
    case SC_SESSION_ASSIGNING:
    case SC_SESSION_READY:
    case SC_SESSION_RUNNING:
        check_coordinator(self);
        sc_session_show_ready(self, now);
        if (now >= self->progress_at_ms)
            report_progress(self);
        if (self->progress_at_ms < due)
            due = self->progress_at_ms;
        uint64_t shared_due = sc_session_turn_shared(self, now);
        if (shared_due < due)
            due = shared_due;
        sc_session_pace_deposit(self, now, &due);
        sc_session_tick_drain(self, now, &due);
        break;
    case SC_SESSION_LEAVING:
    case SC_SESSION_ENDED:
        break;
    }
    return due > now ? (int)(due - now) : 0;
}

static void take_events(sc_session *self)
{
    sc_executor_event *event;
    while ((event = sc_executor_take_event(self->executor))) {
        if (event->kind != SC_EVENT_DONE) {
            sc_session_route(self, event);
            continue;
        }
        sc_session_answer(self, event);
        sc_executor_event_destroy(&event);
    }
}

static sc_status poll_node(sc_session *self, int timeout_ms)
{
    if (self->node)
        return sc_node_poll(self->node, timeout_ms);
    /* An old socket has to make way for the new one; only the stop descriptor can say something meanwhile. */
    struct pollfd stop = {.fd = self->options.stop_fd, .events = POLLIN};
    if (poll(&stop, 1, STOP_LOOK_MS) > 0)
        sc_session_on_stop(self, stop.fd);
    return SC_OK;
}

sc_status sc_session_run(sc_session *self)
{
    while (self->state != SC_SESSION_ENDED) {
        int timeout_ms = tick(self);
        if (self->state == SC_SESSION_ENDED)
            break;
        SC_TRY(poll_node(self, self->lost ? 0 : timeout_ms));
        take_events(self);
        if (self->lost && self->state < SC_SESSION_LEAVING)
            sc_session_lose_membership(self);
    }
    sc_session_close_node(self, LINGER_MS);
    if (self->failure != SC_OK)
        return SC_FAIL(self->failure, "%s", self->failure_message);
    return SC_OK;
}

/* ---- life ---- */

sc_status sc_session_new(const sc_session_options *options, sc_session **out)
{
    *out = NULL;
    SC_TRY(sc_session_endpoint_check(options->coordinator));
    sc_session *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a session");
    self->options = *options;
    self->preempt_fd = -1;
    pthread_mutex_init(&self->wake_lock, NULL);
    sc_message_log_init(&self->log);
    if (gethostname(self->host, sizeof self->host - 1) != 0)
        snprintf(self->host, sizeof self->host, "unknown");
    snprintf(self->name, sizeof self->name, "worker %s:%d", self->host, (int)getpid());
    sc_session_serve(self);
    sc_status status = SC_OK;
    if (options->listen)
        snprintf(self->listen, sizeof self->listen, "%s", options->listen);
    else
        status = sc_session_endpoint_listen(options->coordinator, self->listen);
    if (status == SC_OK && options->ready_file)
        status = sc_ready_file_begin(options->ready_file);
    if (status == SC_OK && options->preempt_file)
        status = sc_preempt_open(options->preempt_file, &self->preempt_fd);
    if (status == SC_OK)
        status = sc_mailbox_new(&self->mailbox);
    if (status == SC_OK)
        status = sc_shard_saver_new(wake, self, &self->shard_saver);
    if (status == SC_OK && sc_shared_memory_new(&self->memory) != SC_OK)
        SC_DEBUG("%s", sc_status_message()); /* all travels over sockets */
    sc_buffer_memory memory = self->memory ? sc_shared_memory_source(self->memory) : (sc_buffer_memory){0};
    if (status == SC_OK) /* a deposit is one copy then, from here to a buddy on this host */
        status = sc_vault_new(self->memory ? &memory : NULL, &self->vault);
    sc_executor_options executor = {
        .ops = options->ops,
        .threads = options->threads,
        .clock = options->clock,
        .mailbox = self->mailbox,
        .memory = memory,
        .notify = wake,
        .context = self,
    };
    if (status == SC_OK)
        status = sc_executor_new(&executor, &self->executor);
    if (status != SC_OK) {
        sc_session_destroy(&self);
        return sc_status_forward(status, __FILE__, __LINE__);
    }
    *out = self;
    return SC_OK;
}

void sc_session_destroy(sc_session **self_p)
{
    sc_session *self = *self_p;
    if (!self)
        return;
    sc_session_close_node(self, 0);
    sc_executor_destroy(&self->executor);
    sc_shard_saver_destroy(&self->shard_saver);
    free(self->shared_dir);
    sc_mailbox_destroy(&self->mailbox);
    sc_shared_memory_destroy(&self->memory);
    sc_assignment_unref(&self->assignment);
    sc_message_log_clear(&self->log);
    sc_vault_destroy(&self->vault); /* after the executor, which may be filling parts from its pool */
    pthread_mutex_destroy(&self->wake_lock);
    if (self->preempt_fd >= 0)
        close(self->preempt_fd);
    free(self);
    *self_p = NULL;
}
