/* The wire format: what the frames of a message are, and the checks that every one passes before anybody acts on it.
 *
 * A message is a ZeroMQ multi-part message (ZMTP 3.1), sent and received as a whole:
 *
 *     frame 0   header   a packed Envelope (proto/stagecoach.proto), at most 64 KiB
 *     frame 1   body     request, OK reply: the call's packed message, at most 8 MiB
 *                        tensor: its raw bytes, row-major, little-endian
 *     frame 2   payload  request, OK reply, optional: raw bytes that belong to the call
 *
 * Raw bytes that a peer on the same host reads in the sender's memory (shared_memory.h) have no frame: the header says
 * where they lie.
 *
 *     Hello     1 frame     the first message on a connection, from the connecting side; answered by the other
 *     Request   2 or 3      Reply   2 or 3, or 1 if its status is not OK
 *     Tensor    2, or 1     Ack, Resend, Sent   1
 *
 * On a ROUTER socket the peer's routing id comes before frame 0; it is libzmq's affair and no part of the message.
 *
 * A header holds: a protocol version, which must be SC_PROTOCOL_VERSION (another one is answered by a Hello or a Reply
 * that names both); and exactly one body. Field numbers of Envelope, Hello and Reply hold for all versions to come, so
 * that two versions can at least tell each other. The ranges of all other fields are in sc_frame_check. Raw bytes are
 * guarded by their xxh3 (64 bits, seed 0) in the header; it is 0 for those that do not leave the host and for those that
 * travel encrypted, which authenticates them.
 *
 * All functions here are pure: byte strings in, checked values out, safe on any bytes. Thread: any. */
#ifndef SC_FRAME_H
#define SC_FRAME_H

#include "proto/wire/node.h"

#include "proto/stagecoach.pb-c.h"

enum {
    SC_FRAME_HEADER_BYTES = 64 * 1024,          /* the largest header */
    SC_FRAME_BODY_BYTES = 8 * 1024 * 1024,      /* the largest message of a call */
    SC_FRAME_UNPACKED_BYTES = 64 * 1024 * 1024, /* what one body may grow to in memory */
    SC_FRAME_MAX_FRAMES = 3,                    /* routing id apart */
    SC_FRAME_MAX_NAMES = 512,                   /* in one Ack or Resend */
    SC_FRAME_TEXT_BYTES = 1023,                 /* a peer's name, a method's, a status message */
    SC_FRAME_MAX_PARTS = 1 << 20,               /* pieces of one tensor */
};

typedef Stagecoach__V1__Envelope sc_envelope;

/* Unpacks and checks a header. *out is owned, see sc_frame_free.
 * Errors: SC_INVALID; SC_FAILED_PRECONDITION for another protocol version, and then *out is what could be read of it
 * (never NULL, its body possibly unset and not checked), so that the sender can be answered. */
sc_status sc_frame_parse(const void *header, size_t header_bytes, sc_envelope **out);
void sc_frame_free(sc_envelope **self_p);

/* Whether a message with this header may have so many frames (header included), with a body of so many bytes. */
sc_status sc_frame_check_frames(const sc_envelope *envelope, size_t n_frames, size_t body_bytes);

/* Checks the header of a tensor with a payload of so many bytes, and converts it. */
sc_status sc_frame_read_tensor(const Stagecoach__V1__TensorHeader *header, size_t payload_bytes, sc_tensor_name *name,
                               sc_dtype *dtype, sc_shape *shape);
/* Checks a name that came, or that is to be sent. Errors: SC_INVALID. */
sc_status sc_frame_check_name(const sc_tensor_name *name);
sc_status sc_frame_read_name(const Stagecoach__V1__TensorName *from, sc_tensor_name *name);
Stagecoach__V1__TensorName sc_frame_write_name(const sc_tensor_name *name);

/* Unpacks a call's message in bounded memory. *out is owned: protobuf_c_message_free_unpacked (*out, NULL).
 * Errors: SC_INVALID. */
sc_status sc_frame_unpack(const ProtobufCMessageDescriptor *descriptor, const void *bytes, size_t n_bytes,
                          ProtobufCMessage **out);

/* xxh3 of raw bytes. */
uint64_t sc_frame_hash(const void *bytes, size_t n_bytes);

#endif
