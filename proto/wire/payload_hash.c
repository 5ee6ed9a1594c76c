/* xxh3 of a payload, with the widest vectors that the machine has. Every tensor is hashed at both ends, so this counts:
 * libxxhash as Debian builds it reads 17 GB/s of a warm 1.5 MB (Zen 3), inlined with SSE2 27, with AVX2 47. */
#include "proto/wire/payload_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t sc_frame_hash(const void *bytes, size_t n_bytes)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        return sc_payload_hash_avx512(bytes, n_bytes);
    if (__builtin_cpu_supports("avx2"))
        return sc_payload_hash_avx2(bytes, n_bytes);
#endif
    return XXH3_64bits(bytes, n_bytes);
}
