/* Requests through the way that they take in the node: found by name, unpacked, handed to the service, answered, the reply
 * unpacked again by its reader.
 *   the method's name up to a NUL, or one byte below 16: its number     then the packed request */
#include "proto/wire/rpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A service of any descriptor: reads all of the request, and answers with the reply's defaults. */
static void invoke(ProtobufCService *service, unsigned index, const ProtobufCMessage *input, ProtobufCClosure closure,
                   void *closure_data)
{
    size_t bytes = protobuf_c_message_get_packed_size(input);
    uint8_t *packed = malloc(bytes + 1);
    if (!packed || protobuf_c_message_pack(input, packed) != bytes)
        abort();
    ProtobufCMessage *again = NULL; /* it need not be accepted: an unknown field may have the number 0 */
    if (sc_frame_unpack(input->descriptor, packed, bytes, &again) == SC_OK)
        protobuf_c_message_free_unpacked(again, NULL);
    free(packed);
    const ProtobufCMessageDescriptor *output = service->descriptor->methods[index].output;
    ProtobufCMessage *reply = malloc(output->sizeof_message);
    if (!reply)
        abort();
    output->message_init(reply);
    closure(reply, closure_data);
    free(reply);
}

static void answer(const ProtobufCMessage *reply, void *closure_data)
{
    sc_served_calls *calls = closure_data;
    const sc_served_call *served = sc_served_calls_answer(calls, 1, SC_OK, "", reply, NULL);
    ProtobufCMessage *unpacked = NULL;
    if (!served || served->status != SC_OK ||
        sc_frame_unpack(reply->descriptor, served->reply, served->reply_bytes, &unpacked) != SC_OK)
        abort();
    protobuf_c_message_free_unpacked(unpacked, NULL);
}

static const char *const methods[] = {
    "stagecoach.v1.Coordinator/Join",      "stagecoach.v1.Coordinator/Progress",
    "stagecoach.v1.Coordinator/Leave",     "stagecoach.v1.StageWorker/Assign",
    "stagecoach.v1.StageWorker/RunStep",   "stagecoach.v1.StageWorker/ApplyStep",
    "stagecoach.v1.StageWorker/ReadState", "stagecoach.v1.StageWorker/WriteState",
    "stagecoach.v1.StageWorker/Release",
};
enum { N_METHODS = sizeof methods / sizeof methods[0] };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ProtobufCService coordinator = {.descriptor = &stagecoach__v1__coordinator__descriptor, .invoke = invoke};
    ProtobufCService worker = {.descriptor = &stagecoach__v1__stage_worker__descriptor, .invoke = invoke};
    const sc_offer offers[] = {{.service = &coordinator}, {.service = &worker}};
    const uint8_t *end = memchr(data, 0, size);
    if (size == 0)
        return 0;
    char method[256];
    size_t used = 1;
    if (data[0] < 16) {
        snprintf(method, sizeof method, "%s", methods[data[0] % N_METHODS]);
    } else if (end && (size_t)(end - data) < sizeof method) {
        used = (size_t)(end - data) + 1;
        memcpy(method, data, used);
    } else {
        return 0;
    }
    const sc_offer *offer;
    unsigned index;
    if (sc_rpc_find(offers, 2, method, &offer, &index) != SC_OK)
        return 0;
    sc_served_calls calls = {0};
    if (sc_served_calls_add(&calls, 1) != SC_OK)
        abort();
    sc_rpc_invoke(offer, index, data + used, size - used, answer, &calls);
    sc_served_calls_clear(&calls);
    return 0;
}
