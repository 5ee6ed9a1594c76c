/* Compiled with -mavx512f, on x86-64. */
#include "proto/wire/payload_hash.h"

#ifdef __x86_64__
#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t sc_payload_hash_avx512(const void *bytes, size_t n_bytes)
{
    return XXH3_64bits(bytes, n_bytes);
}
#endif
