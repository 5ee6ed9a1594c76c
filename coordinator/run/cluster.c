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

void sc_cluster_fail(sc_cluster *self, sc_status status, const char *format, ...)
{
    if (self->failure != SC_OK && !self->failure_is_loss)
        return; /* what cannot be made good outweighs what can */
    va_list args;
    va_start(args, format);
    vsnprintf(self->failure_message, sizeof self->failure_message, format, args);
    va_end(args);
    self->failure = status;
    self->failure_is_loss = false;
}

/* --- signals ------------------------------------------------------------------------------------------------------- */

static void on_signal(void *context, int fd)
{
    sc_cluster *self = context;
    struct signalfd_siginfo info;
    while (read(fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            sc_cluster_reap(self);
            continue;
        }
        self->n_stop_signals++;
        if (self->n_stop_signals == 1)
            self->stop_ms = sc_cluster_now_ms(self);
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
    /* Whoever started this process may have ignored it, and then the kernel would reap workers unseen. */
    if (signal(SIGCHLD, SIG_DFL) == SIG_ERR || pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return SC_FAIL(SC_INTERNAL, "cannot set up signals: %s", strerror(errno));
    self->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (self->signal_fd < 0)
        return SC_FAIL(SC_INTERNAL, "cannot open a signalfd: %s", strerror(errno));
    return SC_OK;
}

/* --- life and the loop --------------------------------------------------------------------------------------------- */

sc_status sc_cluster_new(const sc_cluster_options *options, sc_cluster **out)
{
    sc_cluster *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the cluster");
    self->options = *options;
    self->signal_fd = -1;
    sc_status status = SC_OK;
    while (status == SC_OK && self->run == 0) /* 0 means "any run" to a node */
        if (getrandom(&self->run, sizeof self->run, 0) != (ssize_t)sizeof self->run)
            status = SC_FAIL(SC_INTERNAL, "no random number for the run's id: %s", strerror(errno));
    if (status != SC_OK)
        goto failed;
    const sc_config *config = options->config;
    sc_roster_options roster_options = {
        .lease_ms = (uint64_t)config->wire.lease_ms,
        .reconnect_ms = (uint64_t)config->wire.reconnect_ms,
        .hang_ms = (uint64_t)config->recovery.hang_ms,
        .hang_steps = config->recovery.hang_steps,
    };
    SC_TRY_GOTO(status, sc_roster_new(&roster_options, sc_cluster_now_ms(self), &self->roster), failed);
    SC_TRY_GOTO(status, open_signals(self), failed);
    if (options->config->wire.shared_memory && sc_shared_memory_new(&self->memory) != SC_OK)
        SC_DEBUG("%s", sc_status_message()); /* all travels over sockets */
    sc_buffer_memory source = self->memory ? sc_shared_memory_source(self->memory) : (sc_buffer_memory){0};
    SC_TRY_GOTO(status, sc_buffer_pool_new(self->memory ? &source : NULL, &self->buffers), failed);
    sc_node_options node_options = {
        .name = "coordinator",
        .clock = options->clock,
        .run = self->run,
        .resend_ms = (uint32_t)config->wire.resend_ms,
        .heartbeat_ms = (uint32_t)(config->wire.lease_ms / 4 + 1),
        .max_message_bytes = (uint64_t)config->wire.max_message_mb << 20,
        .memory = self->memory,
        .context = self,
        .on_lost = sc_cluster_on_cut,
        .on_revoked = sc_cluster_on_revoked,
        .keys = options->keys,
    };
    SC_TRY_GOTO(status, sc_node_new(&node_options, &self->node), failed);
    sc_cluster_serve(self);
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
        free(self->results[i].n_correct);
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
    sc_roster_destroy(&self->roster);
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
    return self->n_ranks > 0 ? self->n_ranks : self->options.n_workers;
}

uint64_t sc_cluster_generation(const sc_cluster *self)
{
    return self->generation;
}

sc_roster *sc_cluster_roster(sc_cluster *self)
{
    return self->roster;
}

bool sc_cluster_stop_requested(const sc_cluster *self)
{
    return self->n_stop_signals > 0;
}

sc_node_counters sc_cluster_count(const sc_cluster *self)
{
    return sc_node_count(self->node);
}

static void check_grace(sc_cluster *self)
{
    uint64_t grace_ms = (uint64_t)self->options.config->run.grace_ms;
    if (self->n_stop_signals > 0 && !self->releasing && sc_cluster_now_ms(self) - self->stop_ms > grace_ms)
        sc_cluster_fail(self, SC_CANCELLED, "the run did not come to an end within %" PRIu64 " ms (run.grace_ms)",
                        grace_ms);
}

sc_status sc_cluster_poll(sc_cluster *self)
{
    SC_TRY(sc_node_poll(self->node, TICK_MS));
    if (self->options.on_tick)
        self->options.on_tick(self->options.context);
    sc_cluster_look_after_members(self);
    check_grace(self);
    if (self->failure != SC_OK)
        return SC_FAIL(self->failure, "%s", self->failure_message);
    return SC_OK;
}

sc_status sc_cluster_watch(sc_cluster *self, int fd, void (*readable)(void *context, int fd), void *context)
{
    return sc_node_watch(self->node, fd, readable, context);
}

sc_status sc_cluster_gather(sc_cluster *self)
{
    uint64_t start = sc_cluster_now_ms(self), limit = (uint64_t)self->options.config->wire.join_ms;
    sc_recovery_crew crew = {.roster = self->roster, .wanted = self->options.n_workers};
    sc_placement p;
    for (;;) {
        sc_recovery_place(&crew, &p);
        if (p.go)
            break;
        SC_TRY(sc_cluster_poll(self));
        if (sc_cluster_stop_requested(self))
            return SC_FAIL(SC_CANCELLED, "stopped while waiting for workers");
        if (limit > 0 && sc_cluster_now_ms(self) - start > limit)
            return SC_FAIL(SC_DEADLINE_EXCEEDED,
                           "%d of %d workers came within %" PRIu64 " ms (wire.join_ms); start the others with "
                           "stagecoach-worker --coordinator %s",
                           sc_roster_count(self->roster), self->options.n_workers, limit, self->endpoint);
    }
    sc_roster_seat(self->roster, p.ids, p.n_ranks);
    return SC_OK;
}

bool sc_cluster_can_recover(const sc_cluster *self)
{
    return self->failure != SC_OK && self->failure_is_loss;
}

void sc_cluster_recover(sc_cluster *self)
{
    self->failure = SC_OK;
    self->failure_is_loss = false;
    self->n_recoveries++; /* answers of survivors may still be under way, to who does not wait for them any more */
    self->n_results_out = self->n_pending = 0;
    self->missing = false;
    sc_roster_expect(self->roster, false, sc_cluster_now_ms(self));
}

/* --- calls --------------------------------------------------------------------------------------------------------- */

/* A call in flight: what is needed to know whether its answer still matters. */
typedef struct asked {
    sc_cluster *cluster;
    uint64_t generation, n_recoveries, id;
    int rank;
    bool errors_too;
    const char *method;  /* a literal of the caller's */
    sc_answer_fn answer; /* one of the two */
    sc_tagged_answer_fn tagged;
    uint64_t tag;
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
    const sc_member *m = sc_roster_find(self->roster, a.id);
    if (!m)
        return; /* lost, and the loss is on its way */
    char text[1024];
    snprintf(text, sizeof text, "worker %d (%s): %s: %s: %.700s", a.rank, m->name, a.method,
             sc_status_name(result->status), result->message);
    bool good = result->status == SC_OK || a.errors_too;
    if (good && a.tagged)
        a.tagged(a.context, a.rank, a.tag, result);
    else if (good)
        a.answer(a.context, a.rank, result);
    else if (result->status == SC_UNAVAILABLE || result->status == SC_DEADLINE_EXCEEDED ||
             result->status == SC_CANCELLED) /* it is there no more, does not answer, or gave up its membership */
        sc_roster_fail(self->roster, a.id, text, sc_cluster_now_ms(self));
    else
        sc_cluster_fail(self, result->status, "%s", text);
}

/* Completes `like`, which says what becomes of the answer. */
static sc_status call(sc_cluster *self, const asked *like, const ProtobufCMessage *request, sc_buffer *payload,
                      uint32_t deadline_ms)
{
    const sc_member *m = sc_roster_ranked(self->roster, like->rank);
    if (!m)
        sc_cluster_look_after_members(self); /* its loss is not told yet */
    asked *a = m && self->failure == SC_OK ? malloc(sizeof *a) : NULL;
    if (!a) {
        sc_buffer_unref(&payload);
        if (self->failure != SC_OK)
            return SC_FAIL(self->failure, "%s", self->failure_message);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a call to worker %d", like->rank);
    }
    *a = *like;
    a->cluster = self;
    a->generation = self->generation;
    a->n_recoveries = self->n_recoveries;
    a->id = m->id;
    /* Assign is not bound to a generation: it is what brings the new one. */
    uint64_t generation = strcmp(a->method, "Assign") == 0 ? 0 : self->generation;
    sc_status status = sc_peer_call(m->context, &stagecoach__v1__stage_worker__descriptor, a->method, request, payload,
                                    generation, deadline_ms, on_answer, a);
    if (status != SC_OK)
        free(a);
    return status;
}

sc_status sc_cluster_call(sc_cluster *self, int rank, const char *method, const ProtobufCMessage *request,
                          sc_buffer *payload, uint32_t deadline_ms, sc_answer_fn answer, void *context)
{
    const asked like = {.rank = rank, .method = method, .answer = answer, .context = context};
    return call(self, &like, request, payload, deadline_ms);
}

sc_status sc_cluster_call_tagged(sc_cluster *self, int rank, const char *method, const ProtobufCMessage *request,
                                 uint32_t deadline_ms, bool errors_too, uint64_t tag, sc_tagged_answer_fn answer,
                                 void *context)
{
    const asked like = {
        .rank = rank, .method = method, .tagged = answer, .tag = tag, .errors_too = errors_too, .context = context};
    return call(self, &like, request, NULL, deadline_ms);
}

/* --- the end ------------------------------------------------------------------------------------------------------- */

static void on_let_go(void *context, sc_peer *peer, const sc_result *result)
{
    (void)context;
    if (result->status == SC_OK)
        sc_peer_drop(peer, "the worker was released");
}

static sc_status call_release(sc_cluster *self, const sc_member *m, const char *reason, sc_result_fn done)
{
    Stagecoach__V1__ReleaseRequest request = STAGECOACH__V1__RELEASE_REQUEST__INIT;
    request.reason = (char *)reason;
    return sc_peer_call(m->context, &stagecoach__v1__stage_worker__descriptor, "Release", &request.base, NULL, 0,
                        sc_cluster_call_deadline(self), done, self);
}

void sc_cluster_release_member(sc_cluster *self, uint64_t id, const char *reason)
{
    const sc_member *m = sc_roster_find(self->roster, id);
    if (!m)
        return;
    if (m->local_index >= 0 && self->supervisor)
        self->locals[m->local_index].let_go = true;
    (void)call_release(self, m, reason, on_let_go); /* a peer that was dropped is gone already */
    sc_peer_set_context(m->context, NULL);
    sc_roster_release(self->roster, id);
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
    uint32_t deadline = sc_cluster_call_deadline(self);
    self->n_pending = 0;
    for (int i = 0; i < sc_roster_count(self->roster); i++)
        if (call_release(self, sc_roster_at(self->roster, i), reason, on_released) == SC_OK)
            self->n_pending++;
    uint64_t end = sc_cluster_now_ms(self) + (self->failure == SC_OK ? deadline : FAILED_RELEASE_MS);
    while (self->n_pending > 0 && sc_cluster_now_ms(self) < end && self->n_stop_signals < 2) {
        if (self->supervisor && sc_supervisor_n_alive(self->supervisor) == 0)
            break; /* who is gone does not answer */
        if (sc_node_poll(self->node, TICK_MS) != SC_OK)
            break;
    }
}
