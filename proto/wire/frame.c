#include "proto/wire/frame.h"

#include <stdlib.h>
#include <string.h>

/* protobuf-c allocates what a message asks for; an allocator with a budget keeps a small frame from growing into a large
 * heap (an empty sub-message takes two bytes of the frame and some sixty of memory). */
typedef struct budget {
    size_t left;
} budget;

static void *budget_allocate(void *context, size_t bytes)
{
    budget *self = context;
    if (bytes > self->left)
        return NULL;
    self->left -= bytes;
    return malloc(bytes);
}

static void budget_free(void *context, void *memory)
{
    (void)context;
    free(memory);
}

sc_status sc_frame_unpack(const ProtobufCMessageDescriptor *descriptor, const void *bytes, size_t n_bytes,
                          ProtobufCMessage **out)
{
    if (n_bytes > SC_FRAME_BODY_BYTES)
        return SC_FAIL(SC_INVALID, "%s of %zu bytes: at most %d are allowed", descriptor->short_name, n_bytes,
                       SC_FRAME_BODY_BYTES);
    budget limit = {.left = SC_FRAME_UNPACKED_BYTES};
    ProtobufCAllocator allocator = {.alloc = budget_allocate, .free = budget_free, .allocator_data = &limit};
    *out = protobuf_c_message_unpack(descriptor, &allocator, n_bytes, bytes);
    if (!*out)
        return SC_FAIL(SC_INVALID, "%zu bytes are no %s", n_bytes, descriptor->short_name);
    return SC_OK;
}

static sc_status check_text(const char *what, const char *text)
{
    if (strnlen(text, SC_FRAME_TEXT_BYTES + 1) > SC_FRAME_TEXT_BYTES)
        return SC_FAIL(SC_INVALID, "%s is longer than %d bytes", what, SC_FRAME_TEXT_BYTES);
    return SC_OK;
}

static sc_status check_names(const char *what, size_t n, Stagecoach__V1__TensorName *const *names)
{
    if (n == 0 || n > SC_FRAME_MAX_NAMES)
        return SC_FAIL(SC_INVALID, "%s with %zu names: 1 to %d are allowed", what, n, SC_FRAME_MAX_NAMES);
    for (size_t i = 0; i < n; i++) {
        sc_tensor_name name;
        SC_TRY(sc_frame_read_name(names[i], &name));
    }
    return SC_OK;
}

static sc_status check_tensor(const Stagecoach__V1__TensorHeader *header)
{
    sc_tensor_name name;
    sc_dtype dtype;
    sc_shape shape;
    return sc_frame_read_tensor(header, header->shared ? header->shared->bytes : header->bytes, &name, &dtype, &shape);
}

static sc_status check(const sc_envelope *envelope)
{
    switch (envelope->body_case) {
    case STAGECOACH__V1__ENVELOPE__BODY_HELLO:
        SC_TRY(check_text("Hello's name", envelope->hello->name));
        if (envelope->hello->incarnation == 0)
            return SC_FAIL(SC_INVALID, "Hello without an incarnation");
        return SC_OK;
    case STAGECOACH__V1__ENVELOPE__BODY_REQUEST:
        SC_TRY(check_text("a request's method", envelope->request->method));
        if (envelope->request->call_id == 0 || envelope->request->deadline_ms == 0)
            return SC_FAIL(SC_INVALID, "a request for '%s' without a call id or a deadline", envelope->request->method);
        return SC_OK;
    case STAGECOACH__V1__ENVELOPE__BODY_REPLY:
        SC_TRY(check_text("a reply's message", envelope->reply->message));
        if (envelope->reply->call_id == 0)
            return SC_FAIL(SC_INVALID, "a reply without a call id");
        return SC_OK;
    case STAGECOACH__V1__ENVELOPE__BODY_TENSOR:
        return check_tensor(envelope->tensor);
    case STAGECOACH__V1__ENVELOPE__BODY_ACK:
        return check_names("Ack", envelope->ack->n_names, envelope->ack->names);
    case STAGECOACH__V1__ENVELOPE__BODY_RESEND:
        return check_names("Resend", envelope->resend->n_names, envelope->resend->names);
    case STAGECOACH__V1__ENVELOPE__BODY_SENT:
        return check_names("Sent", envelope->sent->n_names, envelope->sent->names);
    default:
        return SC_FAIL(SC_INVALID, "a header without a body");
    }
}

sc_status sc_frame_parse(const void *header, size_t header_bytes, sc_envelope **out)
{
    *out = NULL;
    if (header_bytes > SC_FRAME_HEADER_BYTES)
        return SC_FAIL(SC_INVALID, "a header of %zu bytes: at most %d are allowed", header_bytes,
                       SC_FRAME_HEADER_BYTES);
    ProtobufCMessage *message = NULL;
    SC_TRY(sc_frame_unpack(&stagecoach__v1__envelope__descriptor, header, header_bytes, &message));
    sc_envelope *envelope = (sc_envelope *)message;
    if (envelope->protocol == 0) {
        sc_frame_free(&envelope);
        return SC_FAIL(SC_INVALID, "a header without a protocol version");
    }
    if (envelope->protocol != SC_PROTOCOL_VERSION) {
        *out = envelope;
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "protocol version %u met version %d: install the same version of Stagecoach on both sides",
                       envelope->protocol, SC_PROTOCOL_VERSION);
    }
    sc_status status = check(envelope);
    if (status == SC_OK)
        *out = envelope;
    else
        sc_frame_free(&envelope);
    return status;
}

void sc_frame_free(sc_envelope **self_p)
{
    if (*self_p)
        stagecoach__v1__envelope__free_unpacked(*self_p, NULL);
    *self_p = NULL;
}

sc_status sc_frame_check_frames(const sc_envelope *envelope, size_t n_frames, size_t body_bytes)
{
    size_t least = 1, most = 1;
    bool call = false, shared = false;
    if (envelope->body_case == STAGECOACH__V1__ENVELOPE__BODY_TENSOR) {
        least = most = envelope->tensor->shared ? 1 : 2;
    } else if (envelope->body_case == STAGECOACH__V1__ENVELOPE__BODY_REQUEST) {
        call = true;
        shared = envelope->request->shared != NULL;
    } else if (envelope->body_case == STAGECOACH__V1__ENVELOPE__BODY_REPLY && envelope->reply->status == SC_OK) {
        call = true;
        shared = envelope->reply->shared != NULL;
    }
    if (call) {
        least = 2;
        most = shared ? 2 : SC_FRAME_MAX_FRAMES;
    }
    if (n_frames < least || n_frames > most)
        return SC_FAIL(SC_INVALID, "a message of kind %d with %zu frames: %zu to %zu are allowed",
                       (int)envelope->body_case, n_frames, least, most);
    if (call && body_bytes > SC_FRAME_BODY_BYTES)
        return SC_FAIL(SC_INVALID, "a call's message of %zu bytes: at most %d are allowed", body_bytes,
                       SC_FRAME_BODY_BYTES);
    return SC_OK;
}

sc_status sc_frame_read_tensor(const Stagecoach__V1__TensorHeader *header, size_t payload_bytes, sc_tensor_name *name,
                               sc_dtype *dtype, sc_shape *shape)
{
    if (!header->name)
        return SC_FAIL(SC_INVALID, "a tensor without a name");
    SC_TRY(sc_frame_read_name(header->name, name));
    if (header->n_shape > SC_MAX_DIMS)
        return SC_FAIL(SC_INVALID, "a tensor of %zu axes: at most %d are allowed", header->n_shape, SC_MAX_DIMS);
    *shape = (sc_shape){.n_dims = (int)header->n_shape};
    for (size_t i = 0; i < header->n_shape; i++) {
        if (header->shape[i] > INT64_MAX)
            return SC_FAIL(SC_INVALID, "a tensor with an axis of %llu", (unsigned long long)header->shape[i]);
        shape->dims[i] = (int64_t)header->shape[i];
    }
    if (header->dtype > SC_I64)
        return SC_FAIL(SC_INVALID, "a tensor of the unknown type %u", header->dtype);
    *dtype = (sc_dtype)header->dtype;
    uint64_t bytes;
    SC_TRY(sc_shape_bytes(shape, *dtype, &bytes));
    if (bytes != header->bytes || bytes != payload_bytes) {
        char text[96];
        return SC_FAIL(SC_INVALID, "a tensor %s of %s is %llu bytes, its header says %llu, its payload has %zu",
                       sc_shape_text(shape, text, sizeof text), sc_dtype_name(*dtype), (unsigned long long)bytes,
                       (unsigned long long)header->bytes, payload_bytes);
    }
    return SC_OK;
}

sc_status sc_frame_check_name(const sc_tensor_name *name)
{
    if (name->microbatch >= SC_MAX_MICROBATCHES || name->stage >= SC_MAX_STAGES * SC_MAX_CHUNKS ||
        name->kind < STAGECOACH__V1__TENSOR_KIND__TOKENS || name->kind > STAGECOACH__V1__TENSOR_KIND__NEXT_SENTENCE ||
        name->part >= SC_FRAME_MAX_PARTS)
        return SC_FAIL(SC_INVALID, "a tensor's name out of range: micro-batch %u, stage %u, kind %u, part %u",
                       name->microbatch, name->stage, name->kind, name->part);
    return SC_OK;
}

sc_status sc_frame_read_name(const Stagecoach__V1__TensorName *from, sc_tensor_name *name)
{
    *name = (sc_tensor_name){
        .generation = from->generation,
        .step = from->step,
        .microbatch = from->microbatch,
        .stage = from->stage,
        .kind = (uint32_t)from->kind,
        .part = from->part,
    };
    return sc_frame_check_name(name);
}

Stagecoach__V1__TensorName sc_frame_write_name(const sc_tensor_name *name)
{
    Stagecoach__V1__TensorName to = STAGECOACH__V1__TENSOR_NAME__INIT;
    to.generation = name->generation;
    to.step = name->step;
    to.microbatch = name->microbatch;
    to.stage = name->stage;
    to.kind = (Stagecoach__V1__TensorKind)name->kind;
    to.part = name->part;
    return to;
}
