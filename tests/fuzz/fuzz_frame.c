/* Headers and the tensors behind them: the bytes are a header and, after a two-byte length, what follows it.
 *   byte 0, 1   bytes of the header, little-endian        then the header, then the payload */
#include "proto/wire/frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_tensor(const Stagecoach__V1__TensorHeader *header, size_t payload_bytes)
{
    sc_tensor_name name;
    sc_dtype dtype;
    sc_shape shape;
    if (sc_frame_read_tensor(header, payload_bytes, &name, &dtype, &shape) != SC_OK)
        return;
    uint64_t bytes;
    if (sc_shape_bytes(&shape, dtype, &bytes) != SC_OK || bytes != payload_bytes || sc_frame_check_name(&name) != SC_OK)
        abort(); /* what was accepted lies */
    Stagecoach__V1__TensorName written = sc_frame_write_name(&name);
    sc_tensor_name again;
    if (sc_frame_read_name(&written, &again) != SC_OK || memcmp(&name, &again, sizeof name) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t header_bytes = (size_t)data[0] | (size_t)data[1] << 8;
    if (header_bytes > size - 2)
        header_bytes = size - 2;
    const uint8_t *payload = data + 2 + header_bytes;
    size_t payload_bytes = size - 2 - header_bytes;
    sc_envelope *envelope = NULL;
    sc_status status = sc_frame_parse(data + 2, header_bytes, &envelope);
    if (status != SC_OK && status != SC_INVALID && status != SC_FAILED_PRECONDITION)
        abort();
    if ((envelope != NULL) != (status == SC_OK || status == SC_FAILED_PRECONDITION))
        abort();
    if (status == SC_OK) {
        for (size_t n = 0; n < 5; n++)
            sc_frame_check_frames(envelope, n, payload_bytes);
        if (envelope->body_case == STAGECOACH__V1__ENVELOPE__BODY_TENSOR) {
            check_tensor(envelope->tensor, payload_bytes);
            check_tensor(envelope->tensor, envelope->tensor->bytes);
            sc_frame_hash(payload, payload_bytes);
        }
    }
    sc_frame_free(&envelope);
    return 0;
}
