/* What comes in: checked, counted, and handed to whom it concerns. */
#include "proto/wire/node_internal.h"

#include "proto/base/log.h"

#include <stdlib.h>
#include <string.h>

#define SC_LOG_SUBSYSTEM "node"

void sc_tensor_message_clear(sc_tensor_message *message)
{
    sc_buffer_unref(&message->payload);
}

/* ---- who is there -------------------------------------------------------------------------------------------------- */

/* A stranger on the ROUTER: it is known from its Hello on, or if it speaks another version, so that this is logged once.
 * Whoever says anything else first knew an earlier life of this
 * node, or was dropped here: it is asked to introduce itself, and repeats what matters. */
static sc_peer *meet(sc_node *node, const sc_incoming *message, const sc_envelope *envelope)
{
    sc_peer *peer = NULL;
    if (envelope->body_case == STAGECOACH__V1__ENVELOPE__BODY_HELLO || envelope->protocol != SC_PROTOCOL_VERSION) {
        if (sc_peer_new(node, true, &peer) != SC_OK) {
            SC_DEBUG("%s: a peer was turned away: %s", node->name, sc_status_message());
            return NULL;
        }
        peer->socket = node->router;
        if (node->gate)
            memcpy(peer->key.z85, message->key, sizeof message->key);
        peer->route_bytes = message->route_bytes;
        memcpy(peer->route, message->route, message->route_bytes);
        return peer;
    }
    sc_peer stranger = {.node = node, .socket = node->router, .route_bytes = message->route_bytes};
    memcpy(stranger.route, message->route, message->route_bytes);
    sc_peer_hello(&stranger, true);
    return NULL;
}

static void rename_peer(sc_peer *peer, const char *name)
{
    char *copy = strdup(name);
    if (!copy)
        return; /* it keeps the old one */
    /* It goes into log lines and onto terminals. */
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?';
    free(peer->name);
    peer->name = copy;
}

static void take_hello(sc_peer *peer, const Stagecoach__V1__Hello *hello)
{
    sc_node *node = peer->node;
    uint64_t now_ns = sc_node_now(node);
    bool news = peer->incarnation != hello->incarnation;
    bool tell = sc_peer_look(peer, hello) && !hello->reply_wanted;
    if (news && peer->incarnation != 0) {
        SC_INFO("%s: %s has restarted", node->name, sc_peer_name(peer));
        peer->incarnation = hello->incarnation;
        sc_peer_restarted(peer);
        if (peer->dead)
            return;
    }
    peer->incarnation = hello->incarnation;
    if (*hello->name)
        rename_peer(peer, hello->name);
    if (peer->endpoint) {
        peer->introduced = true;
        if (hello->reply_wanted && now_ns - peer->reintroduced_ns >= node->resend_ns) {
            peer->reintroduced_ns = now_ns; /* it did not know us: what was sent before is lost */
            sc_peer_hello(peer, false);
            sc_peer_reconnected(peer);
        }
    } else {
        if (news || hello->connection != peer->connection) {
            peer->connection = hello->connection;
            sc_peer_reconnected(peer);
        }
        if (hello->reply_wanted)
            sc_peer_hello(peer, false);
    }
    if (tell)
        sc_peer_hello(peer, false);
    if (news) {
        SC_DEBUG("%s: met %s", node->name, sc_peer_name(peer));
        if (node->options.on_peer)
            node->options.on_peer(node->options.context, peer);
    }
}

/* ---- another protocol version -------------------------------------------------------------------------------------- */

/* `why`, which names both versions, goes to the log, once a peer at most, and to whoever waits for a reply. */
static void take_odd_version(sc_peer *peer, const sc_envelope *envelope, const char *why)
{
    sc_node *node = peer->node;
    char message[256], more[64];
    snprintf(message, sizeof message, "%s", why);
    if (!peer->version_logged && sc_log_limit_pass(&node->odd_versions, sc_node_now(node) / 1000000, more, sizeof more))
        SC_ERROR("%s: %s: %s%s", node->name, sc_peer_name(peer), message, more);
    peer->version_logged = true;
    if (envelope->body_case == STAGECOACH__V1__ENVELOPE__BODY_HELLO) {
        peer->introduced = true; /* saying it again would not help */
        peer->connected |= !peer->endpoint;
        if (envelope->hello->reply_wanted)
            sc_peer_hello(peer, false);
        sc_peer_reset(peer, SC_FAILED_PRECONDITION, message);
    } else if (envelope->body_case == STAGECOACH__V1__ENVELOPE__BODY_REQUEST) {
        Stagecoach__V1__Reply reply = STAGECOACH__V1__REPLY__INIT;
        reply.call_id = envelope->request->call_id;
        reply.status = SC_FAILED_PRECONDITION;
        reply.message = message;
        sc_envelope answer = STAGECOACH__V1__ENVELOPE__INIT;
        answer.body_case = STAGECOACH__V1__ENVELOPE__BODY_REPLY;
        answer.reply = &reply;
        sc_peer_put(peer, &answer, NULL, 0, NULL);
    } else if (envelope->body_case == STAGECOACH__V1__ENVELOPE__BODY_REPLY) {
        sc_made_call *call = sc_made_calls_find(&peer->made, envelope->reply->call_id);
        if (!call)
            return;
        sc_made_calls_unlink(&peer->made, call);
        sc_peer_end_call(peer, call, &(sc_result){.status = SC_FAILED_PRECONDITION, .message = message});
    }
}

/* ---- tensors ------------------------------------------------------------------------------------------------------- */

static void acknowledge(sc_peer *peer, const sc_tensor_name *name)
{
    if (peer->n_acks == SC_PEER_MAX_ACKS)
        sc_peer_flush_acks(peer);
    peer->acks[peer->n_acks++] = *name;
}

enum { PAYLOAD_FRAME = 1 };

static sc_status take_tensor(sc_peer *peer, const Stagecoach__V1__TensorHeader *header, sc_incoming *message)
{
    sc_node *node = peer->node;
    sc_tensor_message tensor = {0};
    size_t bytes = header->shared ? header->shared->bytes : zmq_msg_size(&message->frames[1]);
    SC_TRY(sc_frame_read_tensor(header, bytes, &tensor.name, &tensor.dtype, &tensor.shape));
    if (!node->options.on_tensor)
        return SC_FAIL(SC_INVALID, "a tensor came to a node that takes none");
    if (node->options.run != 0 && header->run != node->options.run)
        return SC_FAIL(SC_INVALID, "a tensor of run %016llx came to run %016llx", (unsigned long long)header->run,
                       (unsigned long long)node->options.run);
    if (tensor.name.generation != node->generation) {
        node->counters.fenced++;
        return SC_OK;
    }
    if (sc_inbox_has(&peer->inbox, &tensor.name)) { /* what is in the sender's memory may be something else by now */
        node->counters.duplicates++;
        acknowledge(peer, &tensor.name);
        return SC_OK;
    }
    sc_status status = sc_peer_fetch(peer, message, PAYLOAD_FRAME, header->shared, header->xxh3, &tensor.payload);
    if (status == SC_ABORTED) {
        node->counters.fenced++;
        return SC_OK;
    }
    if (status == SC_DATA_LOSS || status == SC_FAILED_PRECONDITION)
        sc_peer_expect(peer, &tensor.name); /* so that it is asked for again */
    if (status != SC_OK)
        return SC_FAIL(status, "a tensor of step %llu, micro-batch %u, stage %u: %s",
                       (unsigned long long)tensor.name.step, tensor.name.microbatch, tensor.name.stage,
                       sc_status_message());
    if (sc_inbox_arrive(&peer->inbox, &tensor.name) == SC_ARRIVAL_FULL) {
        sc_tensor_message_clear(&tensor);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "more tensors than can be remembered");
    }
    node->counters.bytes_in += bytes;
    acknowledge(peer, &tensor.name);
    node->options.on_tensor(node->options.context, peer, &tensor);
    return SC_OK;
}

/* Names gathered for an answer, sent whenever they are as many as one message takes. */
typedef struct answer {
    sc_peer *peer;
    sc_naming naming;
    sc_tensor_name names[SC_PEER_MAX_ACKS];
    size_t n;
} answer;

static void answer_flush(answer *self)
{
    if (self->n > 0)
        sc_peer_send_names(self->peer, self->naming, self->names, self->n);
    self->n = 0;
}

static void answer_add(answer *self, const sc_tensor_name *name)
{
    if (self->n == SC_PEER_MAX_ACKS)
        answer_flush(self);
    self->names[self->n++] = *name;
}

static void ask_owner(sc_peer *peer, const sc_tensor_name *name)
{
    sc_node *node = peer->node;
    if (node->options.on_ask && name->generation == node->generation)
        node->options.on_ask(node->options.context, peer, name);
}

/* A name in an Ack, a Resend or a Sent. What is waited for here and was not before the Sent is lost; what is waited for there
 * and has been sent may be on its way, and is repeated only if the other side knows that it is not. */
static void take_name(sc_peer *peer, sc_naming naming, const sc_tensor_name *name, answer *reply)
{
    switch (naming) {
    case SC_NAMING_ACK:
        sc_outbox_acknowledge(&peer->outbox, name);
        break;
    case SC_NAMING_RESEND:
        if (sc_outbox_has_sent(&peer->outbox, name))
            answer_add(reply, name);
        else if (!sc_outbox_has(&peer->outbox, name))
            ask_owner(peer, name);
        break;
    case SC_NAMING_LOST:
        sc_outbox_ask(&peer->outbox, name, sc_node_now(peer->node), peer->node->resend_ns);
        break;
    case SC_NAMING_SENT:
        if (sc_inbox_lacks(&peer->inbox, name))
            answer_add(reply, name);
        break;
    }
}

static sc_status take_names(sc_peer *peer, sc_naming naming, size_t n, Stagecoach__V1__TensorName *const *names)
{
    answer reply = {.peer = peer, .naming = naming == SC_NAMING_SENT ? SC_NAMING_LOST : SC_NAMING_SENT};
    for (size_t i = 0; i < n; i++) {
        sc_tensor_name name;
        SC_TRY(sc_frame_read_name(names[i], &name));
        take_name(peer, naming, &name, &reply);
    }
    answer_flush(&reply);
    return SC_OK;
}

/* ---- all ----------------------------------------------------------------------------------------------------------- */

static sc_status dispatch(sc_peer *peer, const sc_envelope *envelope, sc_incoming *message)
{
    switch (envelope->body_case) {
    case STAGECOACH__V1__ENVELOPE__BODY_HELLO:
        take_hello(peer, envelope->hello);
        return SC_OK;
    case STAGECOACH__V1__ENVELOPE__BODY_REQUEST:
        sc_peer_take_request(peer, envelope->request, message);
        return SC_OK;
    case STAGECOACH__V1__ENVELOPE__BODY_REPLY:
        sc_peer_take_reply(peer, envelope->reply, message);
        return SC_OK;
    case STAGECOACH__V1__ENVELOPE__BODY_TENSOR:
        return take_tensor(peer, envelope->tensor, message);
    case STAGECOACH__V1__ENVELOPE__BODY_ACK:
        return take_names(peer, SC_NAMING_ACK, envelope->ack->n_names, envelope->ack->names);
    case STAGECOACH__V1__ENVELOPE__BODY_RESEND:
        return take_names(peer, envelope->resend->lost ? SC_NAMING_LOST : SC_NAMING_RESEND, envelope->resend->n_names,
                          envelope->resend->names);
    case STAGECOACH__V1__ENVELOPE__BODY_SENT:
        return take_names(peer, SC_NAMING_SENT, envelope->sent->n_names, envelope->sent->names);
    default:
        return SC_FAIL(SC_INVALID, "a header without a body");
    }
}

/* A routing id is what a peer says that it is; its key is what it has proven. Whoever was let in may have been taken off the
 * list since, and a routing id belongs to the key that came with it first. */
static bool may_speak(sc_node *node, const sc_peer *peer, const sc_incoming *message)
{
    if (!node->gate)
        return true;
    bool admitted = sc_gate_admits(node->gate, message->key);
    node->counters.revoked += !admitted;
    return admitted && (!peer || strcmp(peer->key.z85, message->key) == 0);
}

/* SC_OK with *out NULL: it was a stranger's, who was asked for his name or turned away. */
static sc_status find_sender(sc_node *node, const sc_incoming *message, const sc_envelope *envelope, sc_peer **out)
{
    sc_peer *peer = node->last_heard;
    if (!peer || peer->dead || peer->route_bytes != message->route_bytes ||
        memcmp(peer->route, message->route, message->route_bytes) != 0)
        peer = sc_peer_find_route(node, message->route, message->route_bytes);
    if (!may_speak(node, peer, message))
        return SC_FAIL(SC_PERMISSION_DENIED, "a message came under key %s, which may not speak here", message->key);
    sc_door_spoke(&node->door, message->fd);
    if (!peer)
        peer = meet(node, message, envelope);
    if (peer)
        peer->fd = message->fd;
    node->last_heard = peer;
    *out = peer;
    return SC_OK;
}

void sc_node_receive(sc_node *node, sc_peer *peer, sc_incoming *message)
{
    sc_envelope *envelope = NULL;
    node->counters.messages_in++;
    sc_status status = SC_INVALID;
    if (message->n_frames == 0)
        SC_FAIL(status, "a message without a frame");
    else
        status = sc_frame_parse(zmq_msg_data(&message->frames[0]), zmq_msg_size(&message->frames[0]), &envelope);
    bool odd_version = status == SC_FAILED_PRECONDITION;
    if (status == SC_OK)
        status = sc_frame_check_frames(envelope, message->total_frames,
                                       message->n_frames > 1 ? zmq_msg_size(&message->frames[1]) : 0);
    if (status == SC_OK || odd_version) {
        char why[256]; /* meeting a peer may set another message */
        snprintf(why, sizeof why, "%s", odd_version ? sc_status_message() : "");
        sc_status found = peer ? SC_OK : find_sender(node, message, envelope, &peer);
        if (found != SC_OK)
            status = found;
        if (peer) {
            peer->refs++; /* a callback may drop it */
            peer->heard_ns = sc_node_now(node);
            if (odd_version)
                take_odd_version(peer, envelope, why);
            else
                status = dispatch(peer, envelope, message);
            sc_peer_unref(peer);
        }
    }
    node->counters.odd_versions += odd_version;
    if (status != SC_OK) {
        node->counters.rejected++;
        SC_DEBUG("%s: rejected a message: %s", node->name, sc_status_message());
    }
    sc_frame_free(&envelope);
    sc_incoming_clear(message);
}
