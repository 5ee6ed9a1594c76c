#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/rng.h"
#include "proto/wire/frame.h"

typedef struct tensor {
    sc_envelope envelope;
    Stagecoach__V1__TensorHeader header;
    Stagecoach__V1__TensorName name;
    uint64_t shape[6];
    unsigned char bytes[512];
    size_t n_bytes;
} tensor;

/* A float32 (2,3,4) that is right in all. */
static void make(tensor *self)
{
    *self = (tensor){
        .envelope = STAGECOACH__V1__ENVELOPE__INIT,
        .header = STAGECOACH__V1__TENSOR_HEADER__INIT,
        .name = STAGECOACH__V1__TENSOR_NAME__INIT,
        .shape = {2, 3, 4, 1, 1, 1},
    };
    self->name.generation = 3;
    self->name.step = 1u << 20;
    self->name.microbatch = SC_MAX_MICROBATCHES - 1;
    self->name.stage = 5;
    self->name.kind = STAGECOACH__V1__TENSOR_KIND__GRADIENT;
    self->name.part = 6;
    self->header.name = &self->name;
    self->header.dtype = SC_F32;
    self->header.n_shape = 3;
    self->header.shape = self->shape;
    self->header.bytes = 96;
    self->envelope.protocol = SC_PROTOCOL_VERSION;
    self->envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_TENSOR;
    self->envelope.tensor = &self->header;
}

static sc_status parse(tensor *self)
{
    self->n_bytes = stagecoach__v1__envelope__pack(&self->envelope, self->bytes);
    sc_envelope *envelope = NULL;
    sc_status status = sc_frame_parse(self->bytes, self->n_bytes, &envelope);
    assert_true((envelope != NULL) == (status == SC_OK || status == SC_FAILED_PRECONDITION));
    sc_frame_free(&envelope);
    return status;
}

static void a_tensors_header_reads_back(void **state)
{
    (void)state;
    tensor one;
    make(&one);
    assert_int_equal(parse(&one), SC_OK);
    sc_envelope *envelope = NULL;
    assert_int_equal(sc_frame_parse(one.bytes, one.n_bytes, &envelope), SC_OK);
    sc_tensor_name name;
    sc_dtype dtype;
    sc_shape shape;
    assert_int_equal(sc_frame_read_tensor(envelope->tensor, 96, &name, &dtype, &shape), SC_OK);
    assert_int_equal(name.generation, 3);
    assert_int_equal(name.step, 1u << 20);
    assert_int_equal(name.microbatch, SC_MAX_MICROBATCHES - 1);
    assert_int_equal(name.stage, 5);
    assert_int_equal(name.kind, STAGECOACH__V1__TENSOR_KIND__GRADIENT);
    assert_int_equal(name.part, 6);
    assert_int_equal(dtype, SC_F32);
    assert_int_equal(shape.n_dims, 3);
    assert_int_equal(shape.dims[2], 4);
    assert_int_equal(sc_frame_read_tensor(envelope->tensor, 95, &name, &dtype, &shape), SC_INVALID);
    assert_non_null(strstr(sc_status_message(), "(2,3,4)"));
    assert_non_null(strstr(sc_status_message(), "95"));
    sc_frame_free(&envelope);
}

#define REJECTED(change)                                                                                               \
    do {                                                                                                               \
        tensor one;                                                                                                    \
        make(&one);                                                                                                    \
        change;                                                                                                        \
        assert_int_equal(parse(&one), SC_INVALID);                                                                     \
    } while (0)

static void a_tensors_header_that_lies_is_rejected(void **state)
{
    (void)state;
    REJECTED(one.shape[1] = 4);
    REJECTED(one.header.bytes = 97);
    REJECTED(one.header.dtype = 0);
    REJECTED(one.header.dtype = SC_I64 + 1);
    REJECTED(one.header.dtype = 0xFFFFFFFF);
    REJECTED(one.header.n_shape = 5);
    REJECTED(one.shape[0] = UINT64_MAX);
    REJECTED((one.shape[0] = UINT64_C(1) << 62, one.shape[1] = 4, one.shape[2] = 1, one.header.bytes = 0));
    REJECTED(one.header.name = NULL);
    REJECTED(one.name.microbatch = SC_MAX_MICROBATCHES);
    REJECTED(one.name.stage = SC_MAX_STAGES * SC_MAX_CHUNKS);
    REJECTED(one.name.kind = STAGECOACH__V1__TENSOR_KIND__TENSOR_UNSPECIFIED);
    REJECTED(one.name.kind = (Stagecoach__V1__TensorKind)9);
    REJECTED(one.name.kind = (Stagecoach__V1__TensorKind)(-1));
    REJECTED(one.name.part = SC_FRAME_MAX_PARTS);
}

static void another_version_names_both(void **state)
{
    (void)state;
    tensor one;
    make(&one);
    one.envelope.protocol = 4;
    assert_int_equal(parse(&one), SC_FAILED_PRECONDITION);
    assert_non_null(strstr(sc_status_message(), "version 4"));
    assert_non_null(strstr(sc_status_message(), "version 1"));
    sc_envelope *envelope = NULL;
    assert_int_equal(sc_frame_parse("", 0, &envelope), SC_INVALID); /* no version at all */
    assert_null(envelope);
}

static sc_status parse_packed(const sc_envelope *envelope)
{
    size_t n = stagecoach__v1__envelope__get_packed_size(envelope);
    unsigned char *bytes = malloc(n);
    stagecoach__v1__envelope__pack(envelope, bytes);
    sc_envelope *parsed = NULL;
    sc_status status = sc_frame_parse(bytes, n, &parsed);
    sc_frame_free(&parsed);
    free(bytes);
    return status;
}

static void fields_out_of_range_are_rejected(void **state)
{
    (void)state;
    char text[2000];
    memset(text, 'x', sizeof text);
    text[SC_FRAME_TEXT_BYTES + 1] = '\0';
    Stagecoach__V1__Request request = STAGECOACH__V1__REQUEST__INIT;
    request.call_id = 1;
    request.deadline_ms = 1;
    request.method = text + 1;
    sc_envelope envelope = STAGECOACH__V1__ENVELOPE__INIT;
    envelope.protocol = SC_PROTOCOL_VERSION;
    assert_int_equal(parse_packed(&envelope), SC_INVALID); /* no body */
    envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_REQUEST;
    envelope.request = &request;
    assert_int_equal(parse_packed(&envelope), SC_OK);
    request.method = text;
    assert_int_equal(parse_packed(&envelope), SC_INVALID);
    request.method = "x";
    request.call_id = 0;
    assert_int_equal(parse_packed(&envelope), SC_INVALID);
    request.call_id = 1;
    request.deadline_ms = 0;
    assert_int_equal(parse_packed(&envelope), SC_INVALID);
    Stagecoach__V1__Hello hello = STAGECOACH__V1__HELLO__INIT;
    envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_HELLO;
    envelope.hello = &hello;
    assert_int_equal(parse_packed(&envelope), SC_INVALID);
    hello.incarnation = 1;
    assert_int_equal(parse_packed(&envelope), SC_OK);
}

static void lists_of_names_are_bounded(void **state)
{
    (void)state;
    Stagecoach__V1__TensorName name = STAGECOACH__V1__TENSOR_NAME__INIT, *names[SC_FRAME_MAX_NAMES + 1];
    name.kind = STAGECOACH__V1__TENSOR_KIND__TOKENS;
    for (int i = 0; i <= SC_FRAME_MAX_NAMES; i++)
        names[i] = &name;
    Stagecoach__V1__Ack ack = STAGECOACH__V1__ACK__INIT;
    ack.names = names;
    sc_envelope envelope = STAGECOACH__V1__ENVELOPE__INIT;
    envelope.protocol = SC_PROTOCOL_VERSION;
    envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_ACK;
    envelope.ack = &ack;
    assert_int_equal(parse_packed(&envelope), SC_INVALID);
    ack.n_names = SC_FRAME_MAX_NAMES;
    assert_int_equal(parse_packed(&envelope), SC_OK);
    ack.n_names++;
    assert_int_equal(parse_packed(&envelope), SC_INVALID);
}

static void numbers_of_frames_are_checked(void **state)
{
    (void)state;
    const struct {
        Stagecoach__V1__Envelope__BodyCase body;
        uint32_t status;
        bool shared; /* the payload is in the sender's memory */
        size_t least, most;
    } cases[] = {
        {STAGECOACH__V1__ENVELOPE__BODY_HELLO, 0, false, 1, 1},
        {STAGECOACH__V1__ENVELOPE__BODY_REQUEST, 0, false, 2, 3},
        {STAGECOACH__V1__ENVELOPE__BODY_REQUEST, 0, true, 2, 2},
        {STAGECOACH__V1__ENVELOPE__BODY_REPLY, 0, false, 2, 3},
        {STAGECOACH__V1__ENVELOPE__BODY_REPLY, 0, true, 2, 2},
        {STAGECOACH__V1__ENVELOPE__BODY_REPLY, 5, false, 1, 1},
        {STAGECOACH__V1__ENVELOPE__BODY_REPLY, 5, true, 1, 1},
        {STAGECOACH__V1__ENVELOPE__BODY_TENSOR, 0, false, 2, 2},
        {STAGECOACH__V1__ENVELOPE__BODY_TENSOR, 0, true, 1, 1},
        {STAGECOACH__V1__ENVELOPE__BODY_ACK, 0, false, 1, 1},
        {STAGECOACH__V1__ENVELOPE__BODY_RESEND, 0, false, 1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Stagecoach__V1__SharedBytes place = STAGECOACH__V1__SHARED_BYTES__INIT;
        Stagecoach__V1__Request request = STAGECOACH__V1__REQUEST__INIT;
        Stagecoach__V1__Reply reply = STAGECOACH__V1__REPLY__INIT;
        Stagecoach__V1__TensorHeader header = STAGECOACH__V1__TENSOR_HEADER__INIT;
        request.shared = reply.shared = header.shared = cases[i].shared ? &place : NULL;
        reply.status = cases[i].status;
        sc_envelope envelope = STAGECOACH__V1__ENVELOPE__INIT;
        envelope.body_case = cases[i].body;
        if (cases[i].body == STAGECOACH__V1__ENVELOPE__BODY_REQUEST)
            envelope.request = &request;
        else if (cases[i].body == STAGECOACH__V1__ENVELOPE__BODY_TENSOR)
            envelope.tensor = &header;
        else
            envelope.reply = &reply;
        for (size_t n = 0; n < 6; n++)
            assert_int_equal(sc_frame_check_frames(&envelope, n, 10),
                             n >= cases[i].least && n <= cases[i].most ? SC_OK : SC_INVALID);
        if (cases[i].least == 2 && cases[i].body != STAGECOACH__V1__ENVELOPE__BODY_TENSOR)
            assert_int_equal(sc_frame_check_frames(&envelope, 2, SC_FRAME_BODY_BYTES + 1), SC_INVALID);
    }
}

static void random_and_cut_bytes_are_no_headers(void **state)
{
    (void)state;
    tensor one;
    make(&one);
    assert_int_equal(parse(&one), SC_OK);
    sc_envelope *envelope = NULL;
    for (size_t n = 0; n < one.n_bytes; n++) {
        assert_int_not_equal(sc_frame_parse(one.bytes, n, &envelope), SC_OK);
        sc_frame_free(&envelope);
    }
    sc_rng rng = {.seed = 5};
    for (uint64_t i = 0; i < 10000; i++) { /* one byte of the right header is another */
        tensor other = one;
        other.bytes[sc_rng_below(&rng, 2 * i, one.n_bytes)] ^= (unsigned char)(1 + sc_rng_below(&rng, 2 * i + 1, 255));
        sc_status status = sc_frame_parse(other.bytes, other.n_bytes, &envelope);
        assert_true(status == SC_OK || status == SC_INVALID || status == SC_FAILED_PRECONDITION);
        sc_frame_free(&envelope);
    }
    static unsigned char large[SC_FRAME_HEADER_BYTES + 1];
    assert_int_equal(sc_frame_parse(large, sizeof large, &envelope), SC_INVALID);
    assert_null(envelope);
}

static void a_small_body_cannot_grow_large(void **state)
{
    (void)state;
    /* Empty norms, two bytes each: four million of them would be a quarter of a gigabyte. */
    unsigned char *bytes = malloc(SC_FRAME_BODY_BYTES);
    for (size_t i = 0; i < SC_FRAME_BODY_BYTES; i += 2) {
        bytes[i] = 0x1A; /* field 3, length-delimited */
        bytes[i + 1] = 0;
    }
    ProtobufCMessage *message = NULL;
    const ProtobufCMessageDescriptor *descriptor = &stagecoach__v1__run_step_reply__descriptor;
    assert_int_equal(sc_frame_unpack(descriptor, bytes, SC_FRAME_BODY_BYTES, &message), SC_INVALID);
    assert_null(message);
    assert_int_equal(sc_frame_unpack(descriptor, bytes, 2000, &message), SC_OK);
    assert_int_equal(((Stagecoach__V1__RunStepReply *)message)->n_norms, 1000);
    protobuf_c_message_free_unpacked(message, NULL);
    assert_int_equal(sc_frame_unpack(descriptor, bytes, SC_FRAME_BODY_BYTES + 2u, &message), SC_INVALID);
    free(bytes);
}

static void the_hash_is_xxh3(void **state)
{
    (void)state;
    /* XXH3_64bits of the empty string, as its specification has it; and of 1 MiB, whichever vectors computed it, as the
     * scalar definition gives for the same bytes in any position. */
    assert_true(sc_frame_hash("", 0) == 0x2D06800538D394C2u);
    size_t n = 1 << 20;
    unsigned char *bytes = malloc(n + 64);
    uint64_t first = 0;
    for (size_t shift = 0; shift < 64; shift += 7) {
        for (size_t i = 0; i < n; i++)
            bytes[shift + i] = (unsigned char)(i * 31 + (i >> 8));
        uint64_t hash = sc_frame_hash(bytes + shift, n);
        if (shift == 0)
            first = hash;
        assert_true(hash == first);
    }
    bytes[63] ^= 1;
    assert_true(sc_frame_hash(bytes + 63, n) != first);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tensors_header_reads_back),
        cmocka_unit_test(a_tensors_header_that_lies_is_rejected),
        cmocka_unit_test(another_version_names_both),
        cmocka_unit_test(fields_out_of_range_are_rejected),
        cmocka_unit_test(lists_of_names_are_bounded),
        cmocka_unit_test(numbers_of_frames_are_checked),
        cmocka_unit_test(random_and_cut_bytes_are_no_headers),
        cmocka_unit_test(a_small_body_cannot_grow_large),
        cmocka_unit_test(the_hash_is_xxh3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
