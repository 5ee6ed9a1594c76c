/* xxh3 of a payload, in a file of its own so that the hash is compiled once, inlined and with the widest vectors that
 * the machine has. */
#include "proto/wire/frame.h"

#include <xxhash.h>

uint64_t sc_frame_hash(const void *bytes, size_t n_bytes)
{
    return XXH3_64bits(bytes, n_bytes);
}
