/* What a worker's node has counted since it began, with whomever it spoke. */
#ifndef SC_MESSAGE_COUNTS_H
#define SC_MESSAGE_COUNTS_H

#include <stdint.h>

typedef struct sc_message_counts {
    uint64_t received, sent, bytes_received, bytes_sent; /* bytes of payloads, those in shared memory too */
    uint64_t stale;                                      /* of another generation, and dropped */
    uint64_t duplicate;                                  /* had arrived before, and dropped */
    uint64_t resent;                                     /* tensors and calls: a connection had lost them */
    uint64_t replayed; /* tensors from its log, to a lost stage that runs its steps again */
} sc_message_counts;

#endif
