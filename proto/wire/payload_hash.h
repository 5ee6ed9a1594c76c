/* The same hash, compiled for wider vectors; x86-64 alone, and only where the processor has them. */
#ifndef SC_PAYLOAD_HASH_H
#define SC_PAYLOAD_HASH_H

#include "proto/wire/frame.h"

uint64_t sc_payload_hash_avx2(const void *bytes, size_t n_bytes);
uint64_t sc_payload_hash_avx512(const void *bytes, size_t n_bytes);

#endif
