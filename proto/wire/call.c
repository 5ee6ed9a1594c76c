/* Calls on their way: requests and replies between the tables of rpc.h and the peers. */
#include "proto/wire/node_internal.h"

#include "proto/base/log.h"

#include <stdlib.h>
#include <string.h>

#define SC_LOG_SUBSYSTEM "rpc"

/* ---- made ---------------------------------------------------------------------------------------------------------- */

sc_status sc_peer_call(sc_peer *self, const ProtobufCServiceDescriptor *service, const char *method,
                       const ProtobufCMessage *request, sc_buffer *payload, uint64_t generation, uint32_t deadline_ms,
                       sc_result_fn done, void *context)
{
    if (self->dead) {
        sc_buffer_unref(&payload);
        return SC_FAIL(SC_UNAVAILABLE, "%s was dropped", sc_peer_name(self));
    }
    if (payload && sc_buffer_bytes(payload) > self->node->options.max_message_bytes) {
        sc_status status = SC_FAIL(SC_INVALID, "a payload of %zu bytes: a message may have %llu",
                                   sc_buffer_bytes(payload), (unsigned long long)self->node->options.max_message_bytes);
        sc_buffer_unref(&payload);
        return status;
    }
    sc_made_call *call;
    SC_TRY(sc_made_calls_add(&self->made, ++self->node->next_call_id, service, method, request, payload, deadline_ms,
                             sc_node_now(self->node), &call));
    call->generation = generation;
    call->done = done;
    call->context = context;
    if (sc_peer_is_ready(self))
        sc_peer_send_call(self, call);
    return SC_OK;
}

void sc_peer_send_call(sc_peer *self, sc_made_call *call)
{
    if (call->payload && call->n_sent > 0 && call->connection == self->connections) {
        sc_made_call_sent(call, sc_node_now(self->node), self->node->resend_ns);
        return; /* it is on its way */
    }
    char method[SC_FRAME_TEXT_BYTES + 1];
    snprintf(method, sizeof method, "%s/%s", call->service->name, call->method->name);
    sc_carriage carriage;
    sc_peer_carry(self, call->payload, &call->payload_xxh3, &carriage);
    Stagecoach__V1__Request request = STAGECOACH__V1__REQUEST__INIT;
    request.call_id = call->id;
    request.method = method;
    request.deadline_ms = call->deadline_ms;
    request.generation = call->generation;
    request.payload_xxh3 = carriage.xxh3;
    request.shared = carriage.shared ? &carriage.place : NULL;
    uint64_t open[SC_RPC_MAX_OPEN];
    request.open = open;
    request.n_open = sc_made_calls_open(&self->made, open, SC_RPC_MAX_OPEN, &request.last_id);
    sc_envelope envelope = STAGECOACH__V1__ENVELOPE__INIT;
    envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_REQUEST;
    envelope.request = &request;
    if (sc_peer_put(self, &envelope, call->request, call->request_bytes, &carriage)) {
        call->connection = self->connections;
        if (call->n_sent++ > 0)
            self->node->counters.repeated++;
    }
    sc_made_call_sent(call, sc_node_now(self->node), self->node->resend_ns);
}

void sc_peer_end_call(sc_peer *self, sc_made_call *call, const sc_result *result)
{
    if (call->done)
        call->done(call->context, self, result);
    sc_made_call_destroy(&call);
}

enum { PAYLOAD_FRAME = 2 };

/* Takes the payload, if the message has one. False, with the message rejected, if it cannot be had. */
static bool take_payload(sc_peer *peer, sc_incoming *message, const Stagecoach__V1__SharedBytes *shared, uint64_t xxh3,
                         sc_buffer **out)
{
    sc_node *node = peer->node;
    *out = NULL;
    if (!shared && message->n_frames <= PAYLOAD_FRAME)
        return true;
    sc_status status = sc_peer_fetch(peer, message, PAYLOAD_FRAME, shared, xxh3, out);
    if (status == SC_OK) {
        node->counters.bytes_in += sc_buffer_bytes(*out);
        return true;
    }
    SC_DEBUG("%s: a payload of a call cannot be had: %s", node->name, sc_status_message());
    if (status == SC_ABORTED) { /* its sender has ended the call */
        node->counters.fenced++;
        return false;
    }
    node->counters.rejected++;
    if (status != SC_INVALID)
        sc_peer_distrust(peer); /* so that it is sent again */
    return false;
}

void sc_peer_take_reply(sc_peer *self, const Stagecoach__V1__Reply *reply, sc_incoming *message)
{
    sc_node *node = self->node;
    sc_made_call *call = sc_made_calls_find(&self->made, reply->call_id);
    sc_buffer *payload = NULL;
    if (!call || !take_payload(self, message, reply->shared, reply->payload_xxh3, &payload))
        return; /* late or repeated; or the next repetition of the request brings it again */
    ProtobufCMessage *unpacked = NULL;
    sc_result result = {.status = sc_status_from_number(reply->status), .message = reply->message, .payload = payload};
    if (result.status == SC_OK) {
        result.status = sc_frame_unpack(call->method->output, zmq_msg_data(&message->frames[1]),
                                        zmq_msg_size(&message->frames[1]), &unpacked);
        result.message = "";
        if (result.status != SC_OK) {
            node->counters.rejected++;
            result.status = SC_INTERNAL;
            result.message = sc_status_message();
        }
        result.reply = unpacked;
    }
    if (result.status != SC_OK) /* a callback may be given no payload of a call that failed */
        result.payload = NULL;
    sc_made_calls_unlink(&self->made, call);
    sc_peer_end_call(self, call, &result);
    if (unpacked)
        protobuf_c_message_free_unpacked(unpacked, NULL);
    sc_buffer_unref(&payload);
}

/* ---- served -------------------------------------------------------------------------------------------------------- */

static void send_reply(sc_peer *peer, sc_served_call *call)
{
    sc_carriage carriage;
    sc_peer_carry(peer, call->payload, &call->payload_xxh3, &carriage);
    Stagecoach__V1__Reply reply = STAGECOACH__V1__REPLY__INIT;
    reply.call_id = call->id;
    reply.status = (uint32_t)call->status;
    if (call->message)
        reply.message = call->message;
    reply.payload_xxh3 = carriage.xxh3;
    reply.shared = carriage.shared ? &carriage.place : NULL;
    sc_envelope envelope = STAGECOACH__V1__ENVELOPE__INIT;
    envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_REPLY;
    envelope.reply = &reply;
    if (sc_peer_put(peer, &envelope, call->reply, call->reply_bytes, &carriage))
        call->connection = peer->connections;
}

static void refuse(sc_peer *peer, uint64_t call_id, sc_status status, const char *message)
{
    char copy[SC_FRAME_TEXT_BYTES + 1];
    snprintf(copy, sizeof copy, "%s", message);
    send_reply(peer, &(sc_served_call){.id = call_id, .status = status, .message = copy});
}

/* Answers the call, once, and frees it. */
static void answer(sc_call *call, sc_status status, const char *message, const ProtobufCMessage *reply)
{
    sc_peer *peer = call->peer;
    sc_buffer *payload = call->reply_payload;
    call->reply_payload = NULL;
    sc_served_call *served = sc_served_calls_answer(&peer->served, call->id, status, message, reply, payload);
    if (served)
        send_reply(peer, served);
    sc_call_destroy(call);
}

static void close_call(const ProtobufCMessage *reply, void *closure_data)
{
    answer(closure_data, SC_OK, "", reply);
}

void sc_call_fail(sc_call *self, sc_status status, const char *message)
{
    answer(self, status == SC_OK ? SC_UNKNOWN : status, message ? message : "", NULL);
}

static sc_call *call_new(sc_peer *peer, const Stagecoach__V1__Request *request, void *context, sc_buffer *payload)
{
    sc_node *node = peer->node;
    sc_call *self = malloc(sizeof *self);
    if (!self)
        return NULL;
    *self = (sc_call){
        .next = node->open_calls,
        .peer = peer,
        .id = request->call_id,
        .generation = request->generation,
        .context = context,
        .payload = payload,
    };
    peer->refs++;
    if (node->open_calls)
        node->open_calls->previous = self;
    node->open_calls = self;
    return self;
}

void sc_call_destroy(sc_call *self)
{
    *(self->previous ? &self->previous->next : &self->peer->node->open_calls) = self->next;
    if (self->next)
        self->next->previous = self->previous;
    sc_buffer_unref(&self->payload);
    sc_buffer_unref(&self->reply_payload);
    sc_peer_unref(self->peer);
    free(self);
}

/* True if this request is to be carried out: it is new, and of this generation. */
static bool admit(sc_peer *self, const Stagecoach__V1__Request *request)
{
    sc_node *node = self->node;
    sc_served_calls_learn(&self->served, request->last_id, request->open, request->n_open);
    if (sc_served_calls_has_ended(&self->served, request->call_id))
        return false; /* an old repetition that was overtaken by the end of its call */
    sc_served_call *known = sc_served_calls_find(&self->served, request->call_id);
    if (known && known->let_go)
        refuse(self, request->call_id, SC_ABORTED, "the call was carried out, but its reply is no longer kept");
    else if (known && known->answered && (!known->payload || known->connection != self->connections))
        send_reply(self, known);
    if (known) {
        node->counters.repeated += known->answered;
        return false;
    }
    if (request->generation != 0 && request->generation != node->generation) {
        char message[128];
        snprintf(message, sizeof message, "the request is of generation %llu, %.48s is in generation %llu",
                 (unsigned long long)request->generation, node->name, (unsigned long long)node->generation);
        node->counters.fenced++;
        refuse(self, request->call_id, SC_FAILED_PRECONDITION, message);
        return false;
    }
    return true;
}

void sc_peer_take_request(sc_peer *self, const Stagecoach__V1__Request *request, sc_incoming *message)
{
    sc_node *node = self->node;
    sc_buffer *payload = NULL;
    if (!admit(self, request) || !take_payload(self, message, request->shared, request->payload_xxh3, &payload))
        return;
    const sc_offer *offer;
    unsigned index;
    sc_call *call = NULL;
    sc_status status = sc_rpc_find(node->offers, node->n_offers, request->method, &offer, &index);
    if (status == SC_OK && offer->caller && offer->caller != self) {
        status = SC_FAIL(SC_PERMISSION_DENIED, "%s is not for %s to call", request->method, sc_peer_name(self));
        node->counters.rejected++;
    }
    if (status == SC_OK)
        status = sc_served_calls_add(&self->served, request->call_id);
    if (status == SC_OK && !(call = call_new(self, request, offer->context, payload)))
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for another call");
    if (status != SC_OK) {
        sc_buffer_unref(&payload);
        refuse(self, request->call_id, status, sc_status_message());
        return;
    }
    SC_DEBUG("%s: %s from %s", node->name, request->method, sc_peer_name(self));
    status = sc_rpc_invoke(offer, index, zmq_msg_data(&message->frames[1]), zmq_msg_size(&message->frames[1]),
                           close_call, call);
    if (status != SC_OK) {
        node->counters.rejected++;
        sc_call_fail(call, status, sc_status_message());
    }
}

sc_call *sc_call_of(void *closure_data)
{
    return closure_data;
}

void *sc_call_context(const sc_call *self)
{
    return self->context;
}

sc_peer *sc_call_peer(const sc_call *self)
{
    return self->peer;
}

uint64_t sc_call_generation(const sc_call *self)
{
    return self->generation;
}

sc_buffer *sc_call_payload(const sc_call *self)
{
    return self->payload;
}

void sc_call_set_payload(sc_call *self, sc_buffer *payload)
{
    sc_buffer_unref(&self->reply_payload);
    self->reply_payload = payload;
}
