#include "coordinator/status/tfrecord.h"

uint32_t sc_tfrecord_crc32c(const void *bytes, size_t n_bytes)
{
    const uint8_t *in = bytes;
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < n_bytes; i++) { /* bit by bit: records are short, and few */
        crc ^= in[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1u)));
    }
    return ~crc;
}

/* A checksum of bytes that hold checksums: masked, so that it is not at odds with itself. */
static uint32_t masked(const void *bytes, size_t n_bytes)
{
    const uint32_t crc = sc_tfrecord_crc32c(bytes, n_bytes);
    return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

static void put_little_endian(uint8_t *out, uint64_t value, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

size_t sc_tfrecord_frame(uint8_t *record, size_t n_bytes)
{
    uint8_t *bytes = record + SC_TFRECORD_HEAD;
    put_little_endian(record, n_bytes, 8);
    put_little_endian(record + 8, masked(record, 8), 4);
    put_little_endian(bytes + n_bytes, masked(bytes, n_bytes), 4);
    return SC_TFRECORD_HEAD + n_bytes + SC_TFRECORD_TAIL;
}
