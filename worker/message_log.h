/* The message log: what this worker has sent to other stages in steps that train, by name, so that a neighbour that was lost
 * can do its steps again without anybody else's computing anything (SWIFT, arXiv 2302.06173).
 *
 * Mental model. References to the buffers that were sent, in the order of sending, no copies. Names are without their
 * generation, as it is a later one that asks. Whole steps leave at the old end: when the coordinator says that nobody can
 * need them any more, or when the budget is used up.
 *
 * Invariant: everything that was sent for sequences from sc_message_log_from on is here; 0: nothing need be.
 * Pure. Thread: its owner's. */
#ifndef SC_MESSAGE_LOG_H
#define SC_MESSAGE_LOG_H

#include "proto/wire/name_table.h"

typedef struct sc_logged_tensor {
    struct sc_logged_tensor *previous, *next; /* by age */
    sc_tensor_message message;                /* a reference of its own; name.generation is 0 */
} sc_logged_tensor;

typedef struct sc_message_log {
    sc_logged_tensor *first, *last;
    sc_name_table names;
    uint64_t budget, bytes; /* of payload */
    uint64_t from;
} sc_message_log;

void sc_message_log_init(sc_message_log *self);
/* Empty, of sequences too. The budget stays. */
void sc_message_log_clear(sc_message_log *self);
/* 0: nothing is kept. */
void sc_message_log_set_budget(sc_message_log *self, uint64_t bytes);

/* Keeps a tensor that is sent; one of the same name is replaced. Sequences do not go back, but for those after
 * sc_message_log_drop_from. Borrows. */
void sc_message_log_put(sc_message_log *self, const sc_tensor_message *message);
/* The tensor of that name in any generation, borrowed; NULL: not here. */
const sc_tensor_message *sc_message_log_find(const sc_message_log *self, const sc_tensor_name *name);

/* Nobody needs what is before `sequence`. */
void sc_message_log_release_before(sc_message_log *self, uint64_t sequence);
/* What is from `sequence` on was never decided: it will be sent anew. */
void sc_message_log_drop_from(sc_message_log *self, uint64_t sequence);
uint64_t sc_message_log_from(const sc_message_log *self);

#endif
