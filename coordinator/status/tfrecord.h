/* Records of TensorFlow's TFRecord files: the length, 8 bytes; its masked CRC32C, 4 bytes; the bytes; their masked CRC32C, 4
 * bytes; all numbers little-endian. Pure.
 * Source: tensorflow.org/tutorials/load_data/tfrecord, section "TFRecords format details"; CRC32C: RFC 3720, appendix B.4. */
#ifndef SC_TFRECORD_H
#define SC_TFRECORD_H

#include <stddef.h>
#include <stdint.h>

enum { SC_TFRECORD_HEAD = 12, SC_TFRECORD_TAIL = 4 };

/* CRC32C (Castagnoli). */
uint32_t sc_tfrecord_crc32c(const void *bytes, size_t n_bytes);
/* Puts head and tail around the n_bytes that lie at record + SC_TFRECORD_HEAD. Returns the record's length. */
size_t sc_tfrecord_frame(uint8_t *record, size_t n_bytes);

#endif
