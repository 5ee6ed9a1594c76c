/* What the two sides of shared memory agree on: a head in the file's first page, then blocks, each a stamp and its data. */
#ifndef SC_SHARED_MEMORY_INTERNAL_H
#define SC_SHARED_MEMORY_INTERNAL_H

#include "proto/wire/shared_memory.h"

#define SC_SHARED_NAME  "stagecoach"
#define SC_SHARED_MAGIC UINT64_C(0x3179726f6d656d53) /* "Smemory1" */

enum {
    SC_SHARED_HEAD_BYTES = 4096,
    SC_SHARED_STAMP_BYTES = 64, /* before a block's data: a 64-bit number, the rest unused */
    SC_SHARED_ALIGNMENT = 64,   /* of a block and its data */
};

typedef struct sc_shared_head {
    uint64_t magic, cookie;
} sc_shared_head;

#endif
