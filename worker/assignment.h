/* An assignment: what an AssignRequest says, checked and in the worker's own terms.
 *
 * Mental model. The session parses it once and refuses every lie; from then on nobody checks it again. It never changes
 * and is counted, as the session (which routes tensors by it) and the executor (which runs its plans) both hold it.
 *
 * Thread: any; the count is atomic. */
#ifndef SC_ASSIGNMENT_H
#define SC_ASSIGNMENT_H

#include "proto/base/plan.h"
#include "proto/stagecoach.pb-c.h"
#include "proto/wire/keys.h"
#include "worker/mailbox.h"
#include "worker/stage.h"

#include <stdatomic.h>

enum {
    SC_COORDINATOR = -1,                          /* stands where a rank does */
    SC_TIED_PART_ELEMENTS = (4 << 20) / 4,        /* the tied gradient crosses in parts of at most 4 MiB */
    SC_TIED_WINDOW = 4,                           /* parts that one side has sent and not yet had the like of */
    SC_MAX_QUEUED_STEPS = 2,                      /* RunSteps that may wait behind the running one */
    SC_STEPS_IN_FLIGHT = SC_MAX_QUEUED_STEPS + 2, /* of which tensors may lie here: those, the running one, the next */
};

typedef struct sc_assignment {
    atomic_int references;
    uint64_t run, generation, seed;
    int worker; /* this worker's rank, or its index among the members behind the ranks, which have no stage */
    int n_workers, n_chunks, n_stages;
    int n_members; /* >= n_workers */
    int n_plans;
    sc_plan **plans;
    sc_slice *slices;       /* [n_stages] */
    char **endpoints;       /* [n_members] */
    uint64_t *incarnations; /* [n_members] */
    sc_public_key *keys;    /* [n_members]; NULL: plaintext */
    sc_model model;
    sc_optimizer optimizer;
    float *class_weights; /* [model.labels]; NULL: all 1 */
    int B, T;
    bool fresh, train, cache, keep, shared_memory;
    uint32_t resend_ms;
    uint64_t lineage;
    int buddy; /* index of the member that deposits go to; -1: none */
    uint64_t log_bytes;
    uint8_t *packed; /* what the stages are built from */
    size_t packed_bytes;
    /* what follows from the above */
    int max_microbatches;
    bool *speaks_with;        /* [n_workers]: some plan has traffic between it and this worker */
    sc_mailbox_limits limits; /* what SC_STEPS_IN_FLIGHT steps can have in flight to this worker */
} sc_assignment;

/* Returns owned, with one reference. Errors: SC_INVALID or SC_FAILED_PRECONDITION naming the field, SC_RESOURCE_EXHAUSTED. */
sc_status sc_assignment_parse(const Stagecoach__V1__AssignRequest *request, sc_assignment **out);
sc_assignment *sc_assignment_ref(sc_assignment *self);
void sc_assignment_unref(sc_assignment **self_p); /* NULL is fine */

static inline bool sc_assignment_has_stages(const sc_assignment *self)
{
    return self->worker < self->n_workers;
}

static inline int sc_assignment_worker_of(const sc_assignment *self, int stage)
{
    return stage % self->n_workers;
}

/* Of this worker's chunk `chunk`. */
static inline sc_slice sc_assignment_slice(const sc_assignment *self, int chunk)
{
    return self->slices[chunk * self->n_workers + self->worker];
}

static inline int sc_assignment_n_moments(const sc_assignment *self)
{
    return self->train ? sc_optimizer_n_moments(&self->optimizer) : 0;
}

/* Whether stages that were built for `other` are those that `self` wants: same model, optimizer, place, slices, sizes
 * and plans. What they hold is another question. */
bool sc_assignment_same_stages(const sc_assignment *self, const sc_assignment *other);

/* Index of the member whose node has this incarnation; -1: none. */
int sc_assignment_member(const sc_assignment *self, uint64_t incarnation);

/* The most micro-batches that any plan has at `stage` at once: between their forward and the end of their backward (in
 * a forward-only plan one), and between their input and their weight gradient. */
void sc_assignment_in_flight(const sc_assignment *self, int stage, int *max_alive, int *max_split);

/* Pieces of the tied gradient's exchange, 0 if the model ties nothing that learns; and the elements of one. */
uint32_t sc_assignment_tied_parts(const sc_assignment *self);
uint64_t sc_assignment_tied_part_elements(const sc_assignment *self, uint32_t part);

/* The rank that sends the tensor `name`, SC_COORDINATOR among them. */
int sc_assignment_sender(const sc_assignment *self, const sc_tensor_name *name);
/* Whether a tensor that came is one that this worker can be sent, of the type and shape that the model says.
 * Errors: SC_INVALID saying what was expected. */
sc_status sc_assignment_check_tensor(const sc_assignment *self, const sc_tensor_name *name, sc_dtype dtype,
                                     const sc_shape *shape);

#endif
