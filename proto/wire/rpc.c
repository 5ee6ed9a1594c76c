#include "proto/wire/rpc.h"

#include <stdlib.h>
#include <string.h>

/* ---- made ---------------------------------------------------------------------------------------------------------- */

enum { LONGEST_WAIT = 8 }; /* times resend_ns */

void sc_made_calls_append(sc_made_calls *self, sc_made_call *call)
{
    *(self->last ? &self->last->next : &self->first) = call;
    self->last = call;
}

sc_status sc_made_calls_add(sc_made_calls *self, uint64_t id, const ProtobufCServiceDescriptor *service,
                            const char *method, const ProtobufCMessage *request, sc_buffer *payload,
                            uint32_t deadline_ms, uint64_t now_ns, sc_made_call **out)
{
    sc_status status = SC_OK;
    sc_made_call *call = NULL;
    const ProtobufCMethodDescriptor *found = protobuf_c_service_descriptor_get_method_by_name(service, method);
    if (!found) {
        status = SC_FAIL(SC_INVALID, "service %s has no method '%s'", service->name, method);
        goto done;
    }
    if (request->descriptor != found->input || deadline_ms == 0) {
        status = SC_FAIL(SC_INVALID, "%s/%s takes a %s and a deadline, not a %s and %u ms", service->name, method,
                         found->input->short_name, request->descriptor->short_name, deadline_ms);
        goto done;
    }
    size_t bytes = protobuf_c_message_get_packed_size(request);
    if (bytes > SC_FRAME_BODY_BYTES) {
        status = SC_FAIL(SC_INVALID, "%s of %zu bytes: at most %d are allowed", found->input->short_name, bytes,
                         SC_FRAME_BODY_BYTES);
        goto done;
    }
    call = malloc(sizeof *call);
    void *packed = malloc(bytes + 1);
    if (!call || !packed) {
        free(packed);
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a call of %s", method);
        goto done;
    }
    protobuf_c_message_pack(request, packed);
    *call = (sc_made_call){
        .id = id,
        .service = service,
        .method = found,
        .request = packed,
        .request_bytes = bytes,
        .payload = payload,
        .deadline_ms = deadline_ms,
        .deadline_ns = now_ns + deadline_ms * UINT64_C(1000000),
        .next_ns = now_ns,
    };
    payload = NULL;
    sc_made_calls_append(self, call);
    *out = call;
    call = NULL;
done:
    free(call);
    sc_buffer_unref(&payload);
    return status;
}

sc_made_call *sc_made_calls_find(const sc_made_calls *self, uint64_t id)
{
    sc_made_call *call = self->first;
    while (call && call->id != id)
        call = call->next;
    return call;
}

void sc_made_calls_unlink(sc_made_calls *self, sc_made_call *call)
{
    sc_made_call *previous = NULL;
    for (sc_made_call *at = self->first; at != call; at = at->next)
        previous = at;
    *(previous ? &previous->next : &self->first) = call->next;
    if (self->last == call)
        self->last = previous;
    call->next = NULL;
}

void sc_made_call_destroy(sc_made_call **self_p)
{
    sc_made_call *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    free(self->request);
    sc_buffer_unref(&self->payload);
    free(self);
}

void sc_made_call_sent(sc_made_call *self, uint64_t now_ns, uint64_t resend_ns)
{
    self->wait_ns = self->wait_ns == 0 ? resend_ns : self->wait_ns * 2;
    if (self->wait_ns > resend_ns * LONGEST_WAIT)
        self->wait_ns = resend_ns * LONGEST_WAIT;
    self->next_ns = now_ns + self->wait_ns;
}

sc_made_call *sc_made_calls_expired(const sc_made_calls *self, uint64_t now_ns)
{
    sc_made_call *call = self->first;
    while (call && call->deadline_ns > now_ns)
        call = call->next;
    return call;
}

sc_made_call *sc_made_calls_due(const sc_made_calls *self, uint64_t now_ns)
{
    sc_made_call *call = self->first;
    while (call && call->next_ns > now_ns)
        call = call->next;
    return call;
}

size_t sc_made_calls_open(const sc_made_calls *self, uint64_t *ids, size_t n_max, uint64_t *last_id)
{
    size_t n = 0;
    const sc_made_call *call = self->first;
    for (; call && n < n_max; call = call->next)
        *last_id = ids[n++] = call->id;
    return n; /* beyond n_max nothing is said: last_id is that of the last in the list */
}

uint64_t sc_made_calls_next_ns(const sc_made_calls *self)
{
    uint64_t next_ns = UINT64_MAX;
    for (const sc_made_call *call = self->first; call; call = call->next) {
        if (call->next_ns < next_ns)
            next_ns = call->next_ns;
        if (call->deadline_ns < next_ns)
            next_ns = call->deadline_ns;
    }
    return next_ns;
}

void sc_made_calls_reconnected(sc_made_calls *self, uint64_t now_ns)
{
    for (sc_made_call *call = self->first; call; call = call->next) {
        call->next_ns = now_ns;
        call->wait_ns = 0;
    }
}

/* ---- served -------------------------------------------------------------------------------------------------------- */

static uint64_t bytes_of(const sc_served_call *call)
{
    return call->reply_bytes + (call->payload ? sc_buffer_bytes(call->payload) : 0);
}

static void let_go(sc_served_calls *self, sc_served_call *call)
{
    self->reply_bytes -= bytes_of(call);
    free(call->message);
    free(call->reply);
    sc_buffer_unref(&call->payload);
    call->message = NULL;
    call->reply = NULL;
    call->reply_bytes = 0;
}

void sc_served_calls_clear(sc_served_calls *self)
{
    for (size_t i = 0; i < self->n; i++)
        let_go(self, &self->calls[i]);
    free(self->calls);
    free(self->open);
    *self = (sc_served_calls){0};
}

bool sc_served_calls_has_ended(const sc_served_calls *self, uint64_t id)
{
    if (id > self->last_id)
        return false;
    for (size_t i = 0; i < self->n_open; i++)
        if (self->open[i] == id)
            return false;
    return true;
}

void sc_served_calls_learn(sc_served_calls *self, uint64_t last_id, const uint64_t *open, size_t n_open)
{
    /* Between two new calls the open ones only become fewer, so the shorter of two lists is the newer. */
    if (last_id < self->last_id || (last_id == self->last_id && n_open >= self->n_open) || n_open > SC_RPC_MAX_OPEN)
        return;
    uint64_t *copy = malloc((n_open + 1) * sizeof *copy);
    if (!copy)
        return; /* the next request says it again */
    if (n_open > 0)
        memcpy(copy, open, n_open * sizeof *copy);
    free(self->open);
    self->open = copy;
    self->n_open = n_open;
    self->last_id = last_id;
    size_t kept = 0;
    for (size_t i = 0; i < self->n; i++) {
        if (sc_served_calls_has_ended(self, self->calls[i].id))
            let_go(self, &self->calls[i]);
        else
            self->calls[kept++] = self->calls[i];
    }
    self->n = kept;
}

sc_served_call *sc_served_calls_find(const sc_served_calls *self, uint64_t id)
{
    for (size_t i = self->n; i-- > 0;)
        if (self->calls[i].id == id)
            return &self->calls[i];
    return NULL;
}

sc_status sc_served_calls_add(sc_served_calls *self, uint64_t id)
{
    if (self->n == SC_RPC_MAX_OPEN)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%d calls at once: wait for the replies to some of them",
                       SC_RPC_MAX_OPEN);
    if (self->n == self->n_allocated) {
        size_t n = self->n_allocated ? self->n_allocated * 2 : 16;
        sc_served_call *calls = realloc(self->calls, n * sizeof *calls);
        if (!calls)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for another call");
        self->calls = calls;
        self->n_allocated = n;
    }
    self->calls[self->n++] = (sc_served_call){.id = id};
    return SC_OK;
}

static sc_status pack(sc_served_call *call, const ProtobufCMessage *reply)
{
    size_t bytes = protobuf_c_message_get_packed_size(reply);
    if (bytes > SC_FRAME_BODY_BYTES)
        return SC_FAIL(SC_INTERNAL, "a %s of %zu bytes: at most %d are allowed", reply->descriptor->short_name, bytes,
                       SC_FRAME_BODY_BYTES);
    call->reply = malloc(bytes + 1);
    if (!call->reply)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a %s of %zu bytes", reply->descriptor->short_name, bytes);
    call->reply_bytes = protobuf_c_message_pack(reply, call->reply);
    return SC_OK;
}

/* Drops the oldest replies, but not that of `newest`, until the rest is within its bound. */
static void bound(sc_served_calls *self, const sc_served_call *newest)
{
    for (size_t i = 0; i < self->n && self->reply_bytes > SC_RPC_REPLY_BYTES; i++)
        if (&self->calls[i] != newest && self->calls[i].answered && !self->calls[i].let_go) {
            let_go(self, &self->calls[i]);
            self->calls[i].let_go = true;
        }
}

sc_served_call *sc_served_calls_answer(sc_served_calls *self, uint64_t id, sc_status status, const char *message,
                                       const ProtobufCMessage *reply, sc_buffer *payload)
{
    sc_served_call *call = sc_served_calls_find(self, id);
    if (!call || call->answered) {
        sc_buffer_unref(&payload);
        return NULL;
    }
    if (reply) {
        status = pack(call, reply);
        message = sc_status_message();
    } else if (status == SC_OK) {
        status = SC_INTERNAL;
        message = "the method gave no reply";
    }
    call->answered = true;
    call->status = status;
    if (status != SC_OK) {
        call->message = strndup(message, SC_FRAME_TEXT_BYTES);
        sc_buffer_unref(&payload);
    }
    call->payload = payload;
    self->reply_bytes += bytes_of(call);
    bound(self, call);
    return call;
}

/* ---- dispatch ------------------------------------------------------------------------------------------------------ */

sc_status sc_rpc_find(const sc_offer *offers, size_t n_offers, const char *method, const sc_offer **offer,
                      unsigned *index)
{
    const char *slash = strchr(method, '/');
    for (size_t i = 0; slash && i < n_offers; i++) {
        const ProtobufCServiceDescriptor *descriptor = offers[i].service->descriptor;
        size_t length = strlen(descriptor->name);
        if (length != (size_t)(slash - method) || memcmp(descriptor->name, method, length) != 0)
            continue;
        const ProtobufCMethodDescriptor *found =
            protobuf_c_service_descriptor_get_method_by_name(descriptor, slash + 1);
        if (!found)
            break;
        *offer = &offers[i];
        *index = (unsigned)(found - descriptor->methods);
        return SC_OK;
    }
    return SC_FAIL(SC_UNIMPLEMENTED, "no method '%.256s' here", method);
}

sc_status sc_rpc_invoke(const sc_offer *offer, unsigned index, const void *request, size_t request_bytes,
                        ProtobufCClosure closure, void *closure_data)
{
    const ProtobufCServiceDescriptor *descriptor = offer->service->descriptor;
    ProtobufCMessage *message = NULL;
    SC_TRY(sc_frame_unpack(descriptor->methods[index].input, request, request_bytes, &message));
    offer->service->invoke(offer->service, index, message, closure, closure_data);
    protobuf_c_message_free_unpacked(message, NULL);
    return SC_OK;
}
