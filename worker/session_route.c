/* The way of tensors: out to the neighbours, and in from them and the coordinator. */
#include "worker/session_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- peers ---- */

static bool list_has(const sc_peer_list *list, const sc_peer *peer)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->peers[i] == peer)
            return true;
    return false;
}

static sc_status list_add(sc_peer_list *list, sc_peer *peer)
{
    if (list_has(list, peer))
        return SC_OK;
    if (list->n == list->n_allocated) {
        size_t more = list->n_allocated ? 2 * list->n_allocated : 8;
        sc_peer **peers = realloc(list->peers, more * sizeof(sc_peer *));
        if (!peers)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu peers", more);
        list->peers = peers;
        list->n_allocated = more;
    }
    list->peers[list->n++] = peer;
    return SC_OK;
}

static void list_clear(sc_peer_list *list)
{
    free(list->peers);
    *list = (sc_peer_list){0};
}

/* In use from now on: no stranger takes its place in the node. */
static void set_route(sc_session *self, int rank, sc_peer *peer)
{
    if (self->routes[rank]) /* a connection that broke */
        sc_peer_set_context(self->routes[rank], NULL);
    self->routes[rank] = peer;
    if (peer)
        sc_peer_set_context(peer, self);
}

/* An incarnation is what a peer says; its key is what it has proven. */
static bool is_member(const sc_session *self, int member, const sc_peer *peer)
{
    const sc_assignment *assignment = self->assignment;
    return peer && member >= 0 && assignment->incarnations[member] == sc_peer_incarnation(peer) &&
           (!assignment->keys || strcmp(assignment->keys[member].z85, sc_peer_key(peer)) == 0);
}

int sc_session_member(const sc_session *self, const sc_peer *peer)
{
    int member = sc_assignment_member(self->assignment, sc_peer_incarnation(peer));
    return is_member(self, member, peer) ? member : -1;
}

sc_status sc_session_reach(sc_session *self, int member, sc_peer **out)
{
    const sc_assignment *assignment = self->assignment;
    const sc_public_key *key = assignment->keys ? &assignment->keys[member] : NULL;
    sc_status status = sc_node_connect_to(self->node, assignment->endpoints[member], key, out);
    if (status == SC_OK)
        status = list_add(&self->dialled, *out);
    if (status != SC_OK)
        return SC_FAIL(status, "the way to worker %d at '%s': %s", member, assignment->endpoints[member],
                       sc_status_message());
    return SC_OK;
}

/* The higher rank is connected to, the lower one connects. */
static sc_status open_route(sc_session *self, int rank)
{
    const sc_assignment *assignment = self->assignment;
    if (rank < assignment->worker) {
        sc_peer *peer = sc_node_find_peer(self->node, assignment->incarnations[rank]);
        set_route(self, rank, is_member(self, rank, peer) ? peer : NULL);
        return SC_OK;
    }
    return sc_session_reach(self, rank, &self->routes[rank]);
}

/* Connections of earlier assignments to who is no member of this one are closed. */
static void close_unused(sc_session *self)
{
    size_t kept = 0;
    for (size_t i = 0; i < self->dialled.n; i++) {
        bool used = sc_session_member(self, self->dialled.peers[i]) >= 0;
        for (int rank = 0; rank < self->assignment->n_workers; rank++)
            used = used || self->routes[rank] == self->dialled.peers[i];
        if (used)
            self->dialled.peers[kept++] = self->dialled.peers[i];
        else
            sc_node_disconnect(self->node, self->dialled.peers[i]);
    }
    self->dialled.n = kept;
}

sc_status sc_session_open_routes(sc_session *self)
{
    int n = self->assignment->n_workers;
    self->routes = calloc((size_t)n, sizeof(sc_peer *));
    if (!self->routes)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the ways to %d workers", n);
    for (int rank = 0; rank < n; rank++)
        if (self->assignment->speaks_with[rank])
            SC_TRY(open_route(self, rank));
    close_unused(self);
    return SC_OK;
}

void sc_session_forget_routes(sc_session *self, bool node_goes)
{
    for (sc_executor_event *event; (event = self->waiting);) {
        self->waiting = event->next;
        sc_executor_event_destroy(&event);
    }
    for (int rank = 0; self->routes && rank < self->assignment->n_workers; rank++)
        if (self->routes[rank])
            sc_peer_set_context(self->routes[rank], NULL);
    free(self->routes);
    self->routes = NULL;
    if (node_goes)
        list_clear(&self->dialled);
}

/* ---- out ---- */

/* The peer that events for `worker` go to; NULL: not there yet. */
static sc_peer *peer_of(const sc_session *self, int worker)
{
    return worker == SC_COORDINATOR ? self->coordinator : self->routes[worker];
}

/* Takes the event. */
static void deliver(sc_session *self, sc_peer *peer, sc_executor_event *event)
{
    const sc_tensor_message *tensor = &event->tensor;
    if (event->kind == SC_EVENT_AWAIT) {
        if (event->at_once)
            sc_peer_ask(peer, &tensor->name);
        else
            sc_peer_expect(peer, &tensor->name);
    } else {
        /* The payload's own size was made from dtype and shape; what fails here is memory, and the receiver's asking
         * again would find nothing: the step must fail rather than hang. */
        sc_status status = sc_peer_send(peer, &tensor->name, tensor->dtype, &tensor->shape, tensor->payload);
        if (status != SC_OK)
            sc_session_lose(self, "a tensor could not be sent: %s", sc_status_message());
    }
    sc_executor_event_destroy(&event);
}

void sc_session_route(sc_session *self, sc_executor_event *event)
{
    if (!self->assignment || event->epoch != self->epoch) {
        sc_executor_event_destroy(&event);
        return;
    }
    if (event->kind == SC_EVENT_SEND && event->logged)
        sc_message_log_put(&self->log, &event->tensor);
    if (event->kind == SC_EVENT_SEND && event->unsent) { /* whom it would go to has it */
        sc_executor_event_destroy(&event);
        return;
    }
    sc_peer *peer = peer_of(self, event->worker);
    if (peer) {
        deliver(self, peer, event);
        return;
    }
    sc_executor_event **end = &self->waiting;
    while (*end)
        end = &(*end)->next;
    *end = event;
}

/* What waited for a lower rank's Hello goes to it now. */
static void deliver_waiting(sc_session *self, int worker)
{
    sc_executor_event **link = &self->waiting;
    while (*link) {
        sc_executor_event *event = *link;
        if (event->worker != worker) {
            link = &event->next;
            continue;
        }
        *link = event->next;
        event->next = NULL;
        deliver(self, self->routes[worker], event);
    }
}

/* ---- in ---- */

void sc_session_on_peer(void *context, sc_peer *peer)
{
    sc_session *self = context;
    if (peer == self->coordinator) {
        if (self->coordinator_incarnation && sc_peer_incarnation(peer) != self->coordinator_incarnation)
            sc_session_lose(self, "the coordinator was started anew");
        return;
    }
    if (list_has(&self->dialled, peer))
        return;
    for (int rank = 0; self->assignment && rank < self->assignment->worker; rank++)
        if (self->assignment->speaks_with[rank] && is_member(self, rank, peer)) {
            set_route(self, rank, peer);
            deliver_waiting(self, rank);
        }
}

/* Of a replayed step, whose tensors nobody sends by himself: see RunStepRequest. */
void sc_session_on_ask(void *context, sc_peer *peer, const sc_tensor_name *name)
{
    sc_session *self = context;
    const sc_assignment *assignment = self->assignment;
    const sc_tensor_message *logged = sc_message_log_find(&self->log, name);
    if (!logged || self->state < SC_SESSION_READY || !assignment || name->stage >= (uint32_t)assignment->n_stages)
        return;
    int receiver = sc_assignment_worker_of(assignment, (int)name->stage);
    if (!is_member(self, receiver, peer))
        return;
    if (sc_peer_send(peer, name, logged->dtype, &logged->shape, logged->payload) != SC_OK)
        SC_WARN("a tensor from the message log was not sent: %s", sc_status_message()); /* it will be asked for again */
    else
        self->n_replayed++;
}

static sc_status accept_tensor(sc_session *self, const sc_peer *peer, sc_tensor_message *message)
{
    const sc_assignment *assignment = self->assignment;
    if (!assignment)
        return SC_FAIL(SC_FAILED_PRECONDITION, "a tensor came, but this worker has no assignment");
    SC_TRY(sc_assignment_check_tensor(assignment, &message->name, message->dtype, &message->shape));
    int sender = sc_assignment_sender(assignment, &message->name);
    if (sender == SC_COORDINATOR ? peer != self->coordinator : !is_member(self, sender, peer))
        return SC_FAIL(SC_PERMISSION_DENIED, "a tensor of kind %u for stage %u came from '%s', who does not make it",
                       message->name.kind, message->name.stage, sc_peer_name(peer));
    return sc_mailbox_put(self->mailbox, self->epoch, message);
}

void sc_session_on_tensor(void *context, sc_peer *peer, sc_tensor_message *message)
{
    sc_session *self = context;
    sc_status status = accept_tensor(self, peer, message);
    sc_tensor_message_clear(message);
    if (status == SC_OK || status == SC_ALREADY_EXISTS || status == SC_OUT_OF_RANGE)
        return; /* the last two: repetitions, which the wire makes when a connection breaks */
    /* The first few are told, then one in each power of two: a peer that errs cannot fill the disk. */
    self->rejected++;
    if (self->rejected <= 4 || (self->rejected & (self->rejected - 1)) == 0)
        SC_WARN("tensor from '%s' rejected (%" PRIu64 " so far): %s", sc_peer_name(peer), self->rejected,
                sc_status_message());
}
