#include "coordinator/run/cluster_internal.h"

#include "proto/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define SC_LOG_SUBSYSTEM "cluster"

enum {
    TICK_MS = 100,            /* ten looks a second at leases, and at the display */
    FAILED_RELEASE_MS = 2000, /* after a failure: some worker may never answer */
    LINGER_MS = 500,
};

static void keep_failure(sc_cluster *self, sc_status status, bool is_loss, const char *message)
{
    /* What cannot be made good outweighs what can. */
    if (self->failure != SC_OK && (is_loss || !self->failure_is_loss))
        return;
    snprintf(self->failure_message, sizeof self->failure_message, "%s", message);
    self->failure = status;
    self->failure_is_loss = is_loss;
}

void sc_cluster_fail(sc_cluster *self, sc_status status, const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    keep_failure(self, status, false, message);
}

void sc_cluster_lose(sc_cluster *self, int rank, const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    member *m = &self->members[rank];
    if (self->releasing) {
        SC_WARN("%s", message);
        return;
    }
    if (!m->peer && self->failure != SC_OK)
        SC_ERROR("%s", message); /* one more that had not joined: no other word of it would be said */
    keep_failure(self, SC_UNAVAILABLE, true, message);
    if (!m->peer)
        return;
    sc_peer *peer = m->peer;
    m->peer = NULL;
    m->seen.joined = false;
    self->n_joined--;
    if (self->options.on_lost)
        self->options.on_lost(self->options.context, rank, &m->seen, message);
    sc_peer_drop(peer, "the worker is counted as lost");
}

/* --- signals ------------------------------------------------------------------------------------------------------- */

static void on_child_signal(sc_cluster *self)
{
    int rank;
    char report[1024];
    if (!self->supervisor)
        return;
    while (sc_supervisor_reap(self->supervisor, &rank, report, sizeof report), rank >= 0)
        sc_cluster_lose(self, rank, "%s", report);
}

static void on_signal(void *context, int fd)
{
    sc_cluster *self = context;
    struct signalfd_siginfo info;
    while (read(fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            on_child_signal(self);
            continue;
        }
        self->n_stop_signals++;
        if (self->n_stop_signals == 1)
            SC_INFO("%s: stopping at the end of this step; once more stops at once", strsignal((int)info.ssi_signo));
        else
            sc_cluster_fail(self, SC_CANCELLED, "stopped at once by a second signal");
    }
}

static sc_status open_signals(sc_cluster *self)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGCHLD);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return SC_FAIL(SC_INTERNAL, "cannot block signals: %s", strerror(errno));
    self->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (self->signal_fd < 0)
        return SC_FAIL(SC_INTERNAL, "cannot open a signalfd: %s", strerror(errno));
    return SC_OK;
}

/* --- membership ---------------------------------------------------------------------------------------------------- */

static int rank_of_peer(const sc_cluster *self, const sc_peer *peer)
{
    for (int i = 0; i < self->n_workers; i++)
        if (self->members[i].peer == peer)
            return i;
    return -1;
}

/* Local workers take the rank they were started under; a process that joins again (it gave up its old connection) takes
 * its own; others the lowest free one. -1: none is free. */
static int choose_rank(const sc_cluster *self, uint32_t local_index, const char *name)
{
    if (local_index > 0)
        return local_index <= (uint32_t)self->n_workers ? (int)local_index - 1 : -1;
    for (int i = 0; i < self->n_workers; i++)
        if (self->members[i].peer && strcmp(self->members[i].seen.name, name) == 0)
            return i;
    for (int i = 0; i < self->n_workers; i++)
        if (!self->members[i].peer)
            return i;
    return -1;
}

static void handle_join(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__JoinRequest *request,
                        Stagecoach__V1__JoinReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_call *call = sc_call_of(closure_data);
    sc_cluster *self = sc_call_context(call);
    sc_peer *peer = sc_call_peer(call);
    char name[sizeof self->members->seen.name];
    snprintf(name, sizeof name, "%s:%u", request->host, request->pid);
    int rank = rank_of_peer(self, peer);
    if (rank < 0)
        rank = choose_rank(self, request->local_index, name);
    if (rank < 0) {
        char text[160];
        snprintf(text, sizeof text, "the run has its %d workers; one more waits for a place", self->n_workers);
        SC_DEBUG("%s: %s", sc_peer_name(peer), text);
        sc_call_fail(call, SC_RESOURCE_EXHAUSTED, text);
        return;
    }
    if (!request->data_endpoint[0]) {
        sc_call_fail(call, SC_INVALID, "Join without a data endpoint");
        return;
    }
    member *m = &self->members[rank];
    char *endpoint = strdup(request->data_endpoint);
    if (!endpoint) {
        sc_call_fail(call, SC_RESOURCE_EXHAUSTED, "the coordinator is out of memory");
        return;
    }
    if (m->peer && m->peer != peer)
        sc_cluster_lose(self, rank, "worker %d (%s) gave up its connection and joined again", rank, m->seen.name);
    free(m->data_endpoint);
    m->data_endpoint = endpoint;
    if (!m->peer)
        self->n_joined++;
    m->peer = peer;
    sc_peer_set_context(peer, self); /* in use: no stranger takes its place */
    m->incarnation = request->incarnation;
    snprintf(m->key, sizeof m->key, "%s", sc_peer_key(peer));
    m->seen.joined = true;
    m->seen.threads = (int)request->threads;
    memcpy(m->seen.name, name, sizeof name);
    snprintf(m->seen.device, sizeof m->seen.device, "%s", request->device);
    SC_DEBUG("worker %d is %s at %s", rank, m->seen.name, m->data_endpoint);
    if (self->options.on_joined)
        self->options.on_joined(self->options.context, rank, &m->seen);
    Stagecoach__V1__JoinReply reply = STAGECOACH__V1__JOIN_REPLY__INIT;
    reply.run = self->run;
    reply.lease_ms = (uint32_t)self->options.config->wire.lease_ms;
    closure(&reply, closure_data);
}

static void handle_progress(Stagecoach__V1__Coordinator_Service *service,
                            const Stagecoach__V1__ProgressRequest *request,
                            Stagecoach__V1__ProgressReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_call *call = sc_call_of(closure_data);
    sc_cluster *self = sc_call_context(call);
    int rank = rank_of_peer(self, sc_call_peer(call));
    if (rank < 0) {
        sc_call_fail(call, SC_FAILED_PRECONDITION, "this worker has not joined; join again");
        return;
    }
    member *m = &self->members[rank];
    m->seen.actions_done = request->actions_done;
    snprintf(m->seen.doing, sizeof m->seen.doing, "%s", request->doing);
    Stagecoach__V1__ProgressReply reply = STAGECOACH__V1__PROGRESS_REPLY__INIT;
    closure(&reply, closure_data);
}

static void handle_leave(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__LeaveRequest *request,
                         Stagecoach__V1__LeaveReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_call *call = sc_call_of(closure_data);
    sc_cluster *self = sc_call_context(call);
    int rank = rank_of_peer(self, sc_call_peer(call));
    char reason[256];
    snprintf(reason, sizeof reason, "%s", request->reason);
    Stagecoach__V1__LeaveReply reply = STAGECOACH__V1__LEAVE_REPLY__INIT;
    closure(&reply, closure_data);
    if (rank >= 0)
        sc_cluster_lose(self, rank, "worker %d (%s) left the run: %s", rank, self->members[rank].seen.name, reason);
}

/* A key was taken off the list of who may come: its worker is out, and others take its place. */
static void on_revoked(void *context, sc_peer *peer)
{
    sc_cluster *self = context;
    int rank = rank_of_peer(self, peer);
    if (rank >= 0)
        sc_cluster_lose(self, rank, "worker %d (%s) is cut off: its key was taken off the list of those that may come",
                        rank, self->members[rank].seen.name);
}

static void handle_drain(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__DrainRequest *request,
                         Stagecoach__V1__DrainReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)request;
    (void)closure;
    sc_call_fail(sc_call_of(closure_data), SC_UNIMPLEMENTED, "this run hands no state over: leave it");
}

/* Any traffic renews a lease; the worker's Progress calls see to it that there is some. A coordinator that was itself away
 * (stopped by Ctrl-Z, a machine that slept, a slow disk) has not listened: all leases begin anew. */
static void check_leases(sc_cluster *self)
{
    if (self->releasing)
        return;
    uint64_t lease_ms = (uint64_t)self->options.config->wire.lease_ms, now_ms = sc_clock_ms(&self->options.clock);
    if (now_ms - self->looked_at_ms > lease_ms / 2 + TICK_MS)
        self->listening_since_ms = now_ms;
    self->looked_at_ms = now_ms;
    if (now_ms - self->listening_since_ms <= lease_ms)
        return;
    for (int i = 0; i < self->n_workers; i++) {
        const member *m = &self->members[i];
        uint64_t silent_ms = m->peer ? sc_peer_silent_ms(m->peer) : 0;
        if (silent_ms > lease_ms)
            sc_cluster_lose(self, i,
                            "worker %d (%s) has been silent for %" PRIu64
                            " ms, longer than its lease (wire.lease_ms %" PRIu64 "): it is counted as lost",
                            i, m->seen.name, silent_ms, lease_ms);
    }
}

/* --- life and the loop --------------------------------------------------------------------------------------------- */

sc_status sc_cluster_new(const sc_cluster_options *options, sc_cluster **out)
{
    sc_cluster *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the cluster");
    self->options = *options;
    self->signal_fd = -1;
    self->n_workers = options->n_workers;
    self->members = calloc((size_t)options->n_workers, sizeof *self->members);
    self->service = (Stagecoach__V1__Coordinator_Service)STAGECOACH__V1__COORDINATOR__INIT(handle_);
    sc_status status = SC_OK;
    if (!self->members)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %d workers", options->n_workers);
    while (status == SC_OK && self->run == 0) /* 0 means "any run" to a node */
        if (getrandom(&self->run, sizeof self->run, 0) != (ssize_t)sizeof self->run)
            status = SC_FAIL(SC_INTERNAL, "no random number for the run's id: %s", strerror(errno));
    if (status != SC_OK)
        goto failed;
    SC_TRY_GOTO(status, open_signals(self), failed);
    if (options->config->wire.shared_memory && sc_shared_memory_new(&self->memory) != SC_OK)
        SC_DEBUG("%s", sc_status_message()); /* all travels over sockets */
    sc_buffer_memory source = self->memory ? sc_shared_memory_source(self->memory) : (sc_buffer_memory){0};
    SC_TRY_GOTO(status, sc_buffer_pool_new(self->memory ? &source : NULL, &self->buffers), failed);
    sc_node_options node_options = {
        .name = "coordinator",
        .clock = options->clock,
        .run = self->run,
        .resend_ms = (uint32_t)options->config->wire.resend_ms,
        .heartbeat_ms = (uint32_t)(options->config->wire.lease_ms / 4 + 1),
        .max_message_bytes = (uint64_t)options->config->wire.max_message_mb << 20,
        .memory = self->memory,
        .context = self,
        .on_revoked = on_revoked,
        .keys = options->keys,
    };
    SC_TRY_GOTO(status, sc_node_new(&node_options, &self->node), failed);
    SC_TRY_GOTO(status, sc_node_serve(self->node, &self->service.base, self), failed);
    SC_TRY_GOTO(status, sc_node_watch(self->node, self->signal_fd, on_signal, self), failed);
    SC_TRY_GOTO(status, sc_node_bind(self->node, options->listen, &self->endpoint), failed);
    *out = self;
    return SC_OK;
failed:
    sc_cluster_destroy(&self);
    return status;
}

void sc_cluster_destroy(sc_cluster **self_p)
{
    sc_cluster *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    self->releasing = true;
    sc_node_destroy(&self->node, LINGER_MS);
    for (int i = 0; i < SC_CLUSTER_MAX_IN_FLIGHT; i++) {
        free(self->results[i].loss_sums);
        free(self->results[i].norm_squares);
        free(self->results[i].times);
        sc_buffer_unref(&self->results[i].logits);
    }
    for (int i = 0; i < SC_STREAM_WINDOW; i++)
        sc_buffer_unref(&self->pieces[i].data);
    sc_buffer_pool_destroy(&self->buffers);
    sc_shared_memory_destroy(&self->memory);
    if (self->signal_fd >= 0)
        close(self->signal_fd);
    for (int i = 0; self->members && i < self->n_workers; i++)
        free(self->members[i].data_endpoint);
    free(self->members);
    free(self);
}

const char *sc_cluster_endpoint(const sc_cluster *self)
{
    return self->endpoint;
}

void sc_cluster_supervise(sc_cluster *self, sc_supervisor *supervisor)
{
    self->supervisor = supervisor;
}

int sc_cluster_n_workers(const sc_cluster *self)
{
    return self->n_workers;
}

uint64_t sc_cluster_generation(const sc_cluster *self)
{
    return self->generation;
}

const sc_cluster_worker *sc_cluster_worker_at(const sc_cluster *self, int rank)
{
    return &self->members[rank].seen;
}

bool sc_cluster_stop_requested(const sc_cluster *self)
{
    return self->n_stop_signals > 0;
}

sc_node_counters sc_cluster_count(const sc_cluster *self)
{
    return sc_node_count(self->node);
}

sc_status sc_cluster_poll(sc_cluster *self)
{
    SC_TRY(sc_node_poll(self->node, TICK_MS));
    if (self->options.on_tick)
        self->options.on_tick(self->options.context);
    check_leases(self);
    if (self->failure != SC_OK)
        return SC_FAIL(self->failure, "%s", self->failure_message);
    return SC_OK;
}

sc_status sc_cluster_gather(sc_cluster *self)
{
    uint64_t start = sc_clock_ms(&self->options.clock), limit = (uint64_t)self->options.config->wire.join_ms;
    while (self->n_joined < self->n_workers) {
        SC_TRY(sc_cluster_poll(self));
        if (sc_cluster_stop_requested(self))
            return SC_FAIL(SC_CANCELLED, "stopped while waiting for workers");
        if (limit > 0 && sc_clock_ms(&self->options.clock) - start > limit)
            return SC_FAIL(SC_DEADLINE_EXCEEDED,
                           "%d of %d workers came within %" PRIu64 " ms (wire.join_ms); start the others with "
                           "stagecoach-worker --coordinator %s",
                           self->n_joined, self->n_workers, limit, self->endpoint);
    }
    return SC_OK;
}

/* --- loss and recovery ------------------------------------------------------------------------------------------------ */

bool sc_cluster_can_recover(const sc_cluster *self)
{
    return self->failure != SC_OK && self->failure_is_loss && !sc_cluster_stop_requested(self);
}

sc_status sc_cluster_recover(sc_cluster *self)
{
    self->failure = SC_OK;
    self->failure_is_loss = false;
    self->n_recoveries++; /* answers of survivors may still be under way, to who does not wait for them any more */
    for (int i = 0; self->supervisor && i < self->n_workers; i++) {
        if (self->members[i].peer)
            continue;
        sc_supervisor_kill(self->supervisor, i); /* frozen, or on a way of its own: it may never come back */
        SC_TRY(sc_supervisor_start(self->supervisor, i));
    }
    return sc_cluster_gather(self);
}

/* --- calls --------------------------------------------------------------------------------------------------------- */

/* A call in flight: what is needed to know whether its answer still matters. */
typedef struct asked {
    sc_cluster *cluster;
    uint64_t generation, n_recoveries;
    int rank;
    const char *method; /* a literal of the caller's */
    sc_answer_fn answer;
    void *context;
} asked;

static void on_answer(void *context, sc_peer *peer, const sc_result *result)
{
    (void)peer;
    asked a = *(asked *)context;
    free(context);
    sc_cluster *self = a.cluster;
    if (self->failure != SC_OK || self->releasing || a.generation != self->generation ||
        a.n_recoveries != self->n_recoveries)
        return;
    const char *name = self->members[a.rank].seen.name, *code = sc_status_name(result->status);
    switch (result->status) {
    case SC_OK:
        a.answer(a.context, a.rank, result);
        break;
    case SC_UNAVAILABLE:
    case SC_DEADLINE_EXCEEDED:
    case SC_CANCELLED: /* the worker is there no more, does not answer, or has given up its membership */
        sc_cluster_lose(self, a.rank, "worker %d (%s): %s: %s: %s", a.rank, name, a.method, code, result->message);
        break;
    default:
        sc_cluster_fail(self, result->status, "worker %d (%s): %s failed: %s: %s", a.rank, name, a.method, code,
                        result->message);
    }
}

sc_status sc_cluster_call(sc_cluster *self, int rank, const char *method, const ProtobufCMessage *request,
                          sc_buffer *payload, uint32_t deadline_ms, sc_answer_fn answer, void *context)
{
    asked *a = self->members[rank].peer ? malloc(sizeof *a) : NULL;
    if (!a) {
        sc_buffer_unref(&payload);
        if (self->failure != SC_OK)
            return SC_FAIL(self->failure, "%s", self->failure_message);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a call to worker %d", rank);
    }
    *a = (asked){self, self->generation, self->n_recoveries, rank, method, answer, context};
    /* Assign is not bound to a generation: it is what brings the new one. */
    uint64_t generation = strcmp(method, "Assign") == 0 ? 0 : self->generation;
    sc_status status = sc_peer_call(self->members[rank].peer, &stagecoach__v1__stage_worker__descriptor, method,
                                    request, payload, generation, deadline_ms, on_answer, a);
    if (status != SC_OK)
        free(a);
    return status;
}

static void on_released(void *context, sc_peer *peer, const sc_result *result)
{
    sc_cluster *self = context;
    if (result->status != SC_OK)
        SC_DEBUG("%s: Release: %s: %s", sc_peer_name(peer), sc_status_name(result->status), result->message);
    self->n_pending--;
}

void sc_cluster_release(sc_cluster *self, const char *reason)
{
    self->releasing = true;
    if (self->supervisor)
        sc_supervisor_expect_exit(self->supervisor);
    Stagecoach__V1__ReleaseRequest request = STAGECOACH__V1__RELEASE_REQUEST__INIT;
    request.reason = (char *)reason;
    uint32_t deadline = (uint32_t)self->options.config->wire.call_ms;
    self->n_pending = 0;
    for (int i = 0; i < self->n_workers; i++)
        if (self->members[i].peer &&
            sc_peer_call(self->members[i].peer, &stagecoach__v1__stage_worker__descriptor, "Release", &request.base,
                         NULL, 0, deadline, on_released, self) == SC_OK)
            self->n_pending++;
    uint64_t end = sc_clock_ms(&self->options.clock) + (self->failure == SC_OK ? deadline : FAILED_RELEASE_MS);
    while (self->n_pending > 0 && sc_clock_ms(&self->options.clock) < end && self->n_stop_signals < 2) {
        if (self->supervisor && sc_supervisor_n_alive(self->supervisor) == 0)
            break; /* who is gone does not answer */
        if (sc_node_poll(self->node, TICK_MS) != SC_OK)
            break;
    }
}
