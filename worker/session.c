/* The membership: connect, join, renew the lease, leave; and the loop that all of the session runs in. */
#include "worker/preempt.h"
#include "worker/ready_file.h"
#include "worker/session_internal.h"

#include "proto/base/rng.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    RESEND_MS = 1000,        /* the default of wire.resend_ms */
    HEARTBEAT_MS = 2000,     /* four missed close a connection: well inside the default lease of 10 s */
    MAX_MESSAGE_MB = 1024,   /* the default of wire.max_message_mb */
    JOIN_DEADLINE_MS = 5000, /* of one attempt */
    FIRST_PAUSE_MS = 200,    /* after an attempt that failed, in the mean; doubles */
    LONGEST_PAUSE_MS = 3200,
    COMPLAINT_MS = 10000, /* between two log lines that say the same */
    PATIENCE_MS = 3000,   /* with handshakes that fail without a reason; a coordinator may be restarting */
    LINGER_MS = 1000,     /* for the last reply to get out */
    LONGEST_POLL_MS = 1000,
    LOOK_AGAIN_MS = 10,     /* whether what is computed has ended */
    HANGING_MS = 5000,      /* longer than it is waited for in silence */
    SILENT_LEASES = 3,      /* the coordinator is lost after so many without a word */
    MAX_BIND_ATTEMPTS = 50, /* at FIRST_PAUSE_MS: ten seconds for the old socket to go */
};

static const ProtobufCServiceDescriptor *const coordinator_service = &stagecoach__v1__coordinator__descriptor;

/* ---- the executor's thread wakes the node ---- */

static void wake(void *context)
{
    sc_session *self = context;
    pthread_mutex_lock(&self->wake_lock);
    if (self->node)
        sc_node_wake(self->node);
    pthread_mutex_unlock(&self->wake_lock);
}

static void set_node(sc_session *self, sc_node *node)
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

static void fail_run(sc_session *self, sc_status status)
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

/* ---- connecting ---- */

/* Says it at once, and then each COMPLAINT_MS. */
static void complain(sc_session *self, const char *what)
{
    uint64_t now = sc_session_now_ms(self);
    if (self->complained && now - self->complained_at_ms < COMPLAINT_MS)
        return;
    SC_WARN("coordinator %s: %s; still trying", self->options.coordinator, what);
    self->complained = true;
    self->complained_at_ms = now;
}

static void close_node(sc_session *self, int linger_ms)
{
    sc_node *node = self->node;
    if (!node)
        return;
    if (self->options.ready_file)
        sc_ready_file_remove(self->options.ready_file);
    self->ready_at_ms = 0;
    sc_session_end_deposit(self, SC_CANCELLED, "this worker is going");
    sc_session_end_restore(self, SC_CANCELLED, "this worker is going");
    sc_session_forget_pending(self);
    sc_session_forget_shared(self);
    set_node(self, NULL);
    sc_session_forget_routes(self, true);
    sc_node_destroy(&node, linger_ms);
    self->coordinator = NULL;
    self->bound[0] = '\0';
}

/* A key that is refused, or missing, does not heal by itself. A handshake that does not come about may: the coordinator may
 * be on its way up or down. */
static void on_refused(void *context, sc_peer *peer, sc_refusal why)
{
    sc_session *self = context;
    if (peer != self->coordinator || self->state >= SC_SESSION_LEAVING)
        return;
    const char *coordinator = self->options.coordinator, *file = self->options.key_file;
    if (why == SC_REFUSED_KEY) {
        fail_run(self,
                 SC_FAIL(SC_UNAUTHENTICATED,
                         "coordinator %s refused our key (%s, public key %s): its .pub file is not, or no more, in "
                         "allowed/ of the coordinator's keys",
                         coordinator, file, self->options.keys->public_key.z85));
    } else if (why == SC_REFUSED_MECHANISM) {
        fail_run(self, SC_FAIL(SC_UNAUTHENTICATED,
                               file ? "coordinator %s uses no keys, and this worker was given one; leave --key away "
                                      "only if you trust the network between them"
                                    : "coordinator %s asks for a key: give the one that keygen made for this worker, "
                                      "with --key FILE",
                               coordinator));
    } else if (file) {
        uint64_t now = sc_session_now_ms(self);
        if (self->refused_since_ms == 0)
            self->refused_since_ms = now;
        else if (now - self->refused_since_ms >= PATIENCE_MS)
            complain(self, "no encrypted connection comes about: is it the coordinator whose public key is in the "
                           "worker's key file?");
    }
}

static sc_status open_node(sc_session *self)
{
    sc_node_options options = {
        .name = self->name,
        .clock = self->options.clock,
        .resend_ms = RESEND_MS,
        .heartbeat_ms = HEARTBEAT_MS,
        .max_message_bytes = (uint64_t)MAX_MESSAGE_MB << 20,
        .memory = self->memory,
        .context = self,
        .on_tensor = sc_session_on_tensor,
        .on_peer = sc_session_on_peer,
        .on_ask = sc_session_on_ask,
        .on_refused = on_refused,
        .keys = self->options.keys,
    };
    sc_node *node;
    const char *bound;
    SC_TRY(sc_node_new(&options, &node));
    set_node(self, node);
    SC_TRY(sc_node_bind(node, self->listen, &bound));
    snprintf(self->bound, sizeof self->bound, "%s", bound);
    SC_TRY(sc_node_serve(node, &self->service.base, self));
    SC_TRY(sc_node_serve(node, &self->store_service.base, self));
    if (self->options.stop_fd >= 0)
        SC_TRY(sc_node_watch(node, self->options.stop_fd, sc_session_on_stop, self));
    if (self->preempt_fd >= 0)
        SC_TRY(sc_node_watch(node, self->preempt_fd, sc_session_on_preempt, self));
    SC_TRY(sc_node_connect(node, self->options.coordinator, &self->coordinator));
    sc_node_serve_only(node, &self->service.base, self->coordinator); /* neighbours send tensors and give no orders */
    return SC_OK;
}

/* CONNECTING: a fresh node, or the end of the run if there can be none. */
static void connect_to_run(sc_session *self)
{
    sc_status status = open_node(self);
    if (status == SC_OK) {
        SC_INFO("listening on %s; looking for coordinator %s", self->bound, self->options.coordinator);
        self->opened_before = true;
        self->bind_attempts = 0;
        self->coordinator_incarnation = 0;
        self->state = SC_SESSION_JOINING;
        self->pause_ms = FIRST_PAUSE_MS;
        self->retry_at_ms = 0;
        return;
    }
    close_node(self, 0);
    if (status == SC_ALREADY_EXISTS && self->opened_before && ++self->bind_attempts < MAX_BIND_ATTEMPTS)
        self->retry_at_ms = sc_session_now_ms(self) + FIRST_PAUSE_MS;
    else
        fail_run(self, SC_FAIL(status, "cannot listen on %s: %s", self->listen, sc_status_message()));
}

static void lose_membership(sc_session *self)
{
    if (self->draining) {
        SC_INFO("%s; this worker was to go anyway", self->lost_why);
        sc_session_end(self);
        return;
    }
    SC_WARN("membership lost: %s; joining again", self->lost_why);
    sc_session_end_assignment(self);
    close_node(self, 0);
    sc_executor_forget(self->executor, ++self->last_ticket); /* without memory the next assignment forgets as well */
    sc_message_log_clear(&self->log);
    self->lost = self->joining = self->reporting = false;
    self->retry_at_ms = 0;
    self->state = SC_SESSION_CONNECTING;
}

/* ---- joining ---- */

/* Workers that were turned away together do not come back together. */
static void try_later(sc_session *self, const char *why)
{
    complain(self, why);
    uint64_t now = sc_session_now_ms(self);
    sc_rng rng = {.seed = sc_node_incarnation(self->node)};
    self->retry_at_ms = now + self->pause_ms / 2 + sc_rng_below(&rng, now, self->pause_ms);
    if (self->pause_ms < LONGEST_PAUSE_MS)
        self->pause_ms *= 2;
}

static void show_ready(sc_session *self, uint64_t now_ms)
{
    if (!self->options.ready_file || now_ms < self->ready_at_ms)
        return;
    self->ready_at_ms = now_ms + SC_READY_FILE_TOUCH_MS;
    bool failed = sc_ready_file_touch(self->options.ready_file) != SC_OK;
    if (failed && !self->ready_failed)
        SC_WARN("%s; probes will say that this worker is not ready", sc_status_message());
    self->ready_failed = failed;
}

static void joined(void *context, sc_peer *peer, const sc_result *result)
{
    sc_session *self = context;
    self->joining = false;
    if (self->state != SC_SESSION_JOINING)
        return;
    if (result->status == SC_DEADLINE_EXCEEDED) {
        complain(self, result->message); /* and again at once: a Join on its way is there when the coordinator comes */
        return;
    }
    /* RESOURCE_EXHAUSTED: the run has its workers; this one waits until it is needed in a lost one's place. */
    if (result->status == SC_UNAVAILABLE || result->status == SC_CANCELLED || result->status == SC_RESOURCE_EXHAUSTED) {
        try_later(self, result->message);
        return;
    }
    if (result->status != SC_OK) {
        fail_run(self, SC_FAIL(result->status, "coordinator %s refused this worker: %s", self->options.coordinator,
                               result->message));
        return;
    }
    const Stagecoach__V1__JoinReply *reply = (const Stagecoach__V1__JoinReply *)result->reply;
    self->run = reply->run;
    self->lease_ms = reply->lease_ms < 100 ? 100 : reply->lease_ms;
    self->progress_ms = reply->progress_ms ? reply->progress_ms : self->lease_ms / 3;
    self->coordinator_incarnation = sc_peer_incarnation(peer);
    sc_node_set_run(self->node, self->run);
    self->state = SC_SESSION_IDLE;
    self->complained = false;
    self->refused_since_ms = 0;
    self->progress_at_ms = sc_session_now_ms(self) + self->progress_ms;
    show_ready(self, sc_session_now_ms(self));
    SC_INFO("joined run %016" PRIx64 " at %s; neighbours reach this worker at %s", self->run, self->options.coordinator,
            self->advertised);
}

/* Names what the vault holds; both arrays are owned. False: no memory, and then it holds nothing to speak of. */
static bool list_held(const sc_session *self, Stagecoach__V1__HeldPart **held, Stagecoach__V1__HeldPart ***pointers)
{
    size_t n = sc_vault_n_parts(self->vault);
    *held = calloc(n + 1, sizeof **held);
    *pointers = calloc(n + 1, sizeof(Stagecoach__V1__HeldPart *));
    for (size_t i = 0; *held && *pointers && i < n; i++) {
        (*held)[i] = sc_session_write_key(&sc_vault_at(self->vault, i)->key);
        (*pointers)[i] = &(*held)[i];
    }
    return *held && *pointers;
}

/* A worker whose computing hangs in an earlier assignment can do nothing for the run: it does not come back as one that can. */
static bool is_computing_still(sc_session *self)
{
    uint64_t now = sc_session_now_ms(self);
    if (sc_executor_look(self->executor).waiting) {
        self->computing_since_ms = 0;
        return false;
    }
    if (self->computing_since_ms == 0)
        self->computing_since_ms = now;
    if (now - self->computing_since_ms > HANGING_MS)
        complain(self, "the action in progress has not ended; if this goes on, end the process and start it again");
    self->retry_at_ms = now + LOOK_AGAIN_MS;
    return true;
}

static void join(sc_session *self)
{
    if (is_computing_still(self))
        return;
    const char *advertise = self->options.advertise;
    if (advertise)
        snprintf(self->advertised, sizeof self->advertised, "%s", advertise);
    else if (sc_session_endpoint_advertise(self->options.coordinator, self->bound, self->advertised) != SC_OK) {
        try_later(self, sc_status_message());
        return;
    }
    Stagecoach__V1__JoinRequest request = STAGECOACH__V1__JOIN_REQUEST__INIT;
    request.incarnation = sc_node_incarnation(self->node);
    request.host = self->host;
    request.pid = (uint32_t)getpid();
    request.device = (char *)self->options.ops->name;
    request.threads = (uint32_t)self->options.threads;
    request.data_endpoint = self->advertised;
    request.version = (char *)SC_VERSION;
    request.local_index = self->options.local_index < 0 ? 0 : (uint32_t)self->options.local_index + 1;
    Stagecoach__V1__HeldPart *held;
    if (list_held(self, &held, &request.held))
        request.n_held = sc_vault_n_parts(self->vault);
    if (sc_peer_call(self->coordinator, coordinator_service, "Join", &request.base, NULL, 0, JOIN_DEADLINE_MS, joined,
                     self) == SC_OK)
        self->joining = true;
    else
        try_later(self, sc_status_message());
    free(held);
    free(request.held);
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
    self->reporting = sc_peer_call(self->coordinator, coordinator_service, "Progress", &request.base, NULL, 0,
                                   self->lease_ms, reported, self) == SC_OK;
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
            connect_to_run(self);
        return 0;
    case SC_SESSION_JOINING:
        if (self->joining)
            break;
        if (now >= self->retry_at_ms)
            join(self);
        else
            due = self->retry_at_ms;
        break;
    case SC_SESSION_IDLE:
    case SC_SESSION_ASSIGNING:
    case SC_SESSION_READY:
    case SC_SESSION_RUNNING:
        check_coordinator(self);
        show_ready(self, now);
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
    if (poll(&stop, 1, FIRST_PAUSE_MS / 4) > 0)
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
            lose_membership(self);
    }
    close_node(self, LINGER_MS);
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
    close_node(self, 0);
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
