/* From nowhere to a member of a run: a fresh node, and Join; and back when the membership is lost. */
#include "worker/ready_file.h"
#include "worker/session_internal.h"

#include "proto/base/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    RESEND_MS = 1000,        /* the default of wire.resend_ms */
    HEARTBEAT_MS = 2000,     /* four missed close a connection: well inside the default lease of 10 s */
    MAX_MESSAGE_MB = 1024,   /* the default of wire.max_message_mb */
    JOIN_DEADLINE_MS = 5000, /* of one attempt */
    FIRST_PAUSE_MS = 200,    /* after an attempt that failed, in the mean; doubles */
    LONGEST_PAUSE_MS = 3200,
    COMPLAINT_MS = 10000,   /* between two log lines that say the same */
    PATIENCE_MS = 3000,     /* with handshakes that fail without a reason; a coordinator may be restarting */
    LOOK_AGAIN_MS = 10,     /* whether what is computed has ended */
    HANGING_MS = 5000,      /* longer than it is waited for in silence */
    MAX_BIND_ATTEMPTS = 50, /* at FIRST_PAUSE_MS: ten seconds for the old socket to go */
};

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

void sc_session_close_node(sc_session *self, int linger_ms)
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
    sc_session_set_node(self, NULL);
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
        sc_session_fail(
            self, SC_FAIL(SC_UNAUTHENTICATED,
                          "coordinator %s refused our key (%s, public key %s): its .pub file is not, or no more, in "
                          "allowed/ of the coordinator's keys",
                          coordinator, file, self->options.keys->public_key.z85));
    } else if (why == SC_REFUSED_MECHANISM) {
        sc_session_fail(self,
                        SC_FAIL(SC_UNAUTHENTICATED,
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
    sc_session_set_node(self, node);
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
void sc_session_connect(sc_session *self)
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
    sc_session_close_node(self, 0);
    if (status == SC_ALREADY_EXISTS && self->opened_before && ++self->bind_attempts < MAX_BIND_ATTEMPTS)
        self->retry_at_ms = sc_session_now_ms(self) + FIRST_PAUSE_MS;
    else
        sc_session_fail(self, SC_FAIL(status, "cannot listen on %s: %s", self->listen, sc_status_message()));
}

void sc_session_lose_membership(sc_session *self)
{
    if (self->draining) {
        SC_INFO("%s; this worker was to go anyway", self->lost_why);
        sc_session_end(self);
        return;
    }
    SC_WARN("membership lost: %s; joining again", self->lost_why);
    sc_session_end_assignment(self);
    sc_session_close_node(self, 0);
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

void sc_session_show_ready(sc_session *self, uint64_t now_ms)
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
        sc_session_fail(self, SC_FAIL(result->status, "coordinator %s refused this worker: %s",
                                      self->options.coordinator, result->message));
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
    sc_session_show_ready(self, sc_session_now_ms(self));
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

void sc_session_join(sc_session *self)
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
    if (sc_peer_call(self->coordinator, &stagecoach__v1__coordinator__descriptor, "Join", &request.base, NULL, 0,
                     JOIN_DEADLINE_MS, joined, self) == SC_OK)
        self->joining = true;
    else
        try_later(self, sc_status_message());
    free(held);
    free(request.held);
}
