/* Who joins, and who is lost; local workers that are started again. */
#include "coordinator/run/cluster_internal.h"

#include "proto/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SC_LOG_SUBSYSTEM "cluster"

enum {
    MOST_HELD = 256,       /* parts that a Join may name */
    RESTART_MS = 250,      /* before a local worker that never joined is started again; doubles each time */
    REPORTS_IN_A_HANG = 4, /* Progress is wanted so often that a hang shows in time */
    SHORTEST_REPORT_MS = 50,
};

/* --- the Coordinator service --------------------------------------------------------------------------------------- */

static const sc_member *member_of(const sc_cluster *self, const sc_call *call)
{
    return sc_roster_of(self->roster, sc_call_peer(call));
}

static sc_status join(sc_cluster *self, sc_peer *peer, const Stagecoach__V1__JoinRequest *request, uint64_t *id)
{
    int local_index = request->local_index > 0 ? (int)request->local_index - 1 : -1;
    if (local_index >= self->options.n_workers || (local_index >= 0 && !self->supervisor))
        return SC_FAIL(SC_INVALID, "Join with local index %d: this run has started no such worker", local_index);
    if (request->n_held > MOST_HELD)
        return SC_FAIL(SC_INVALID, "Join with %zu parts; at most %d are allowed", request->n_held, MOST_HELD);
    sc_part parts[MOST_HELD];
    for (size_t i = 0; i < request->n_held; i++) {
        const Stagecoach__V1__HeldPart *held = request->held[i];
        if (held->first_block > SC_MAX_LAYERS + 2 || held->n_blocks > SC_MAX_LAYERS + 2)
            return SC_FAIL(SC_INVALID, "Join with a part of blocks %u and %u more", held->first_block, held->n_blocks);
        parts[i] = (sc_part){held->lineage, held->optimizer_step, (int)held->first_block, (int)held->n_blocks};
    }
    const sc_roster_join_request joining = {
        .incarnation = request->incarnation,
        .host = request->host,
        .pid = request->pid,
        .device = request->device,
        .threads = (int)request->threads,
        .endpoint = request->data_endpoint,
        .version = request->version,
        .local_index = local_index,
        .parts = parts,
        .n_parts = (int)request->n_held,
    };
    const sc_member *before = sc_roster_of(self->roster, peer);
    if (before && before->incarnation == request->incarnation) { /* its first Join's answer was late: it is the same */
        *id = before->id;
        return SC_OK;
    }
    SC_TRY(sc_roster_join(self->roster, &joining, sc_cluster_now_ms(self), id));
    sc_roster_set_context(self->roster, *id, peer);
    sc_peer_set_context(peer, self); /* in use: no stranger takes its place */
    if (local_index >= 0)
        self->locals[local_index].n_failed_starts = 0;
    const sc_member *m = sc_roster_find(self->roster, *id);
    SC_DEBUG("%s joined at %s, with %d parts of points", m->name, m->endpoint, m->n_parts);
    if (strcmp(m->version, SC_VERSION) != 0)
        SC_WARN("%s is of version %s, this coordinator of " SC_VERSION ": their results may differ", m->name,
                m->version);
    if (self->options.on_joined)
        self->options.on_joined(self->options.context, m);
    return SC_OK;
}

static void handle_join(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__JoinRequest *request,
                        Stagecoach__V1__JoinReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_call *call = sc_call_of(closure_data);
    sc_cluster *self = sc_call_context(call);
    uint64_t id;
    sc_status status = join(self, sc_call_peer(call), request, &id);
    if (status != SC_OK) {
        sc_call_fail(call, status, sc_status_message());
        return;
    }
    const sc_config *config = self->options.config;
    uint32_t progress_ms = (uint32_t)config->recovery.hang_ms / REPORTS_IN_A_HANG;
    Stagecoach__V1__JoinReply reply = STAGECOACH__V1__JOIN_REPLY__INIT;
    reply.run = self->run;
    reply.lease_ms = (uint32_t)config->wire.lease_ms;
    reply.progress_ms = progress_ms > SHORTEST_REPORT_MS ? progress_ms : SHORTEST_REPORT_MS;
    if (reply.progress_ms > reply.lease_ms / 3)
        reply.progress_ms = reply.lease_ms / 3;
    closure(&reply, closure_data);
}

static void handle_progress(Stagecoach__V1__Coordinator_Service *service,
                            const Stagecoach__V1__ProgressRequest *request,
                            Stagecoach__V1__ProgressReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_call *call = sc_call_of(closure_data);
    sc_cluster *self = sc_call_context(call);
    const sc_member *m = member_of(self, call);
    if (!m) {
        sc_call_fail(call, SC_FAILED_PRECONDITION, "this worker has not joined; join again");
        return;
    }
    sc_roster_report(self->roster, m->id, request->actions_done, request->waiting, request->doing,
                     sc_cluster_now_ms(self));
    Stagecoach__V1__ProgressReply reply = STAGECOACH__V1__PROGRESS_REPLY__INIT;
    closure(&reply, closure_data);
}

static void handle_leave(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__LeaveRequest *request,
                         Stagecoach__V1__LeaveReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_call *call = sc_call_of(closure_data);
    sc_cluster *self = sc_call_context(call);
    const sc_member *m = member_of(self, call);
    if (m)
        sc_roster_leave(self->roster, m->id, request->reason, sc_cluster_now_ms(self));
    Stagecoach__V1__LeaveReply reply = STAGECOACH__V1__LEAVE_REPLY__INIT;
    closure(&reply, closure_data);
}

static void handle_drain(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__DrainRequest *request,
                         Stagecoach__V1__DrainReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_call *call = sc_call_of(closure_data);
    sc_cluster *self = sc_call_context(call);
    const sc_member *m = member_of(self, call);
    if (!m) {
        sc_call_fail(call, SC_FAILED_PRECONDITION, "this worker has not joined; it may go");
        return;
    }
    bool is_news = !m->draining;
    sc_roster_drain(self->roster, m->id, request->reason);
    if (is_news && self->options.on_drain)
        self->options.on_drain(self->options.context, m);
    Stagecoach__V1__DrainReply reply = STAGECOACH__V1__DRAIN_REPLY__INIT;
    closure(&reply, closure_data);
}

void sc_cluster_serve(sc_cluster *self)
{
    self->service = (Stagecoach__V1__Coordinator_Service)STAGECOACH__V1__COORDINATOR__INIT(handle_);
}

void sc_cluster_on_cut(void *context, sc_peer *peer)
{
    sc_cluster *self = context;
    const sc_member *m = sc_roster_of(self->roster, peer);
    if (m)
        sc_roster_cut(self->roster, m->id, sc_cluster_now_ms(self));
}

/* A key was taken off the list of who may come: its worker is out, and others take its place. The peer goes with the
 * callback, so the loss is taken at once. */
void sc_cluster_on_revoked(void *context, sc_peer *peer)
{
    sc_cluster *self = context;
    const sc_member *m = sc_roster_of(self->roster, peer);
    char reason[256];
    if (!m)
        return;
    snprintf(reason, sizeof reason, "%s (worker %d) is cut off: its key was taken off the list of those that may come",
             m->name, m->rank);
    sc_roster_fail(self->roster, m->id, reason, sc_cluster_now_ms(self));
    sc_cluster_look_after_members(self);
}

/* --- local workers ------------------------------------------------------------------------------------------------- */

/* It ended before it joined. Again, after a pause, unless that has happened too often. */
static void count_failed_start(sc_cluster *self, int index, const char *report)
{
    sc_local *local = &self->locals[index];
    int n = ++local->n_failed_starts;
    if (n <= self->options.restarts) {
        SC_WARN("%s", report);
        local->down = true;
        local->start_ms = sc_cluster_now_ms(self) + ((uint64_t)RESTART_MS << (n < 8 ? n - 1 : 7));
        return;
    }
    bool complete = self->n_ranks > 0;
    for (int rank = 0; rank < self->n_ranks; rank++)
        complete = complete && sc_roster_ranked(self->roster, rank);
    if (complete) /* the others go on */
        SC_ERROR("%s; it is not started again", report);
    else
        sc_cluster_fail(self, SC_UNAVAILABLE, "%s", report);
}

void sc_cluster_reap(sc_cluster *self)
{
    int index;
    char report[1024];
    while (self->supervisor && (sc_supervisor_reap(self->supervisor, &index, report, sizeof report), index >= 0)) {
        sc_local *local = &self->locals[index];
        bool was_member = sc_roster_exited(self->roster, index, report, sc_cluster_now_ms(self));
        if (self->releasing)
            SC_WARN("%s", report);
        else if (local->let_go)
            *local = (sc_local){.down = true};
        else if (!was_member)
            count_failed_start(self, index, report);
    }
}

static void start_again(sc_cluster *self)
{
    for (int i = 0; self->supervisor && i < self->options.n_workers; i++) {
        sc_local *local = &self->locals[i];
        if (!local->down || sc_cluster_now_ms(self) < local->start_ms)
            continue;
        local->down = false;
        if (sc_supervisor_start(self->supervisor, i) != SC_OK)
            count_failed_start(self, i, sc_status_message());
    }
}

/* --- leases and losses --------------------------------------------------------------------------------------------- */

static void hear(sc_cluster *self)
{
    uint64_t now = sc_cluster_now_ms(self);
    for (int i = 0; i < sc_roster_count(self->roster); i++) {
        const sc_member *m = sc_roster_at(self->roster, i);
        uint64_t silent_ms = sc_peer_silent_ms(m->context);
        sc_roster_heard(self->roster, m->id, now > silent_ms ? now - silent_ms : 0);
        if (!sc_peer_connected(m->context)) /* what lay unread from before the cut heals nothing */
            sc_roster_cut(self->roster, m->id, now);
    }
}

static void take_loss(sc_cluster *self, const sc_loss *loss)
{
    const sc_member *m = &loss->member;
    if (m->rank >= 0 && self->failure == SC_OK) {
        snprintf(self->failure_message, sizeof self->failure_message, "%s", loss->reason);
        self->failure = SC_UNAVAILABLE;
        self->failure_is_loss = self->options.restarts >= 0;
    }
    if (!sc_roster_of(self->roster, m->context))
        sc_peer_drop(m->context, "the worker is counted as lost");
    bool replaced = false; /* by itself: it gave up its connection and joined again */
    for (int i = 0; i < sc_roster_count(self->roster); i++)
        replaced = replaced || (m->local_index >= 0 && sc_roster_at(self->roster, i)->local_index == m->local_index);
    if (m->local_index >= 0 && self->supervisor && !replaced) {
        sc_supervisor_kill(self->supervisor,
                           m->local_index); /* frozen, or on a way of its own: it may never come back */
        self->locals[m->local_index].down = self->options.restarts >= 0;
        self->locals[m->local_index].start_ms = 0;
        if (self->options.restarts < 0)
            sc_cluster_fail(self, SC_UNAVAILABLE, "%s", loss->reason);
    }
    if (self->options.on_lost)
        self->options.on_lost(self->options.context, loss);
}

void sc_cluster_look_after_members(sc_cluster *self)
{
    if (self->releasing)
        return;
    hear(self);
    sc_roster_look(self->roster, sc_cluster_now_ms(self));
    sc_loss loss;
    while (sc_roster_next_loss(self->roster, &loss))
        take_loss(self, &loss);
    start_again(self);
}
