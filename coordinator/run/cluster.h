/* The cluster: the workers of a run as the coordinator sees them, and the calls that it makes to all of them.
 *
 * Mental model. The cluster owns the coordinator's node, its signals, and the list of workers; a driver (the trainer, the
 * generator) tells it what to do, one call after another, each of which polls the node until it is done:
 *
 *     gather -> assign -> { send tensors, run step, wait for the result, apply step, wait for it } ... -> release
 *
 * Invariants:
 *  1. A worker has a rank (its stage in the plan) from its Join on, and keeps it until it is lost.
 *  2. Every assignment raises the generation; all that belongs to another one is fenced by the node.
 *  3. The first thing that goes wrong (a worker's death, its silence beyond the lease, a failed call) is kept, with a
 *     message for a person, and every call returns it until sc_cluster_recover; nothing waits for a worker that is gone.
 *  4. A first SIGINT or SIGTERM is noted (sc_cluster_stop_requested) and the driver stops at a step's end; a second one
 *     makes every call return SC_CANCELLED.
 * Thread: the coordinator's only. */
#ifndef SC_CLUSTER_H
#define SC_CLUSTER_H

#include "coordinator/run/supervisor.h"
#include "proto/base/config.h"
#include "proto/base/plan.h"
#include "proto/wire/node.h"

typedef struct sc_cluster sc_cluster;

typedef struct sc_cluster_worker {
    char name[128]; /* "host:pid" */
    char device[16];
    int threads;
    bool joined;
    uint64_t actions_done; /* from its last Progress */
    char doing[32];
} sc_cluster_worker;

typedef struct sc_cluster_options {
    sc_clock clock;
    const sc_config *config;  /* borrowed */
    const char *listen;       /* endpoint to bind */
    const sc_node_keys *keys; /* NULL: plaintext */
    int n_workers;            /* S */
    void *context;
    /* At least ten times a second while a call waits, for a progress display. May be NULL. */
    void (*on_tick)(void *context);
    /* A worker joined under this rank. May be NULL. */
    void (*on_joined)(void *context, int rank, const sc_cluster_worker *worker);
    /* A worker was lost. May be NULL. */
    void (*on_lost)(void *context, int rank, const sc_cluster_worker *worker, const char *why);
} sc_cluster_options;

/* Binds and blocks SIGINT, SIGTERM and SIGCHLD for the process. Returns owned. Errors: as sc_node_bind. */
sc_status sc_cluster_new(const sc_cluster_options *options, sc_cluster **out);
/* Closes the node. */
void sc_cluster_destroy(sc_cluster **self_p);

const char *sc_cluster_endpoint(const sc_cluster *self);
/* From now on local workers are started by, and their deaths reaped through, `supervisor` (borrowed). */
void sc_cluster_supervise(sc_cluster *self, sc_supervisor *supervisor);
int sc_cluster_n_workers(const sc_cluster *self);
uint64_t sc_cluster_generation(const sc_cluster *self);
const sc_cluster_worker *sc_cluster_worker_at(const sc_cluster *self, int rank);
bool sc_cluster_stop_requested(const sc_cluster *self);

/* Waits until all workers have joined. Errors: SC_DEADLINE_EXCEEDED after wire.join_ms, naming how many came;
 * SC_CANCELLED if a stop was requested. */
sc_status sc_cluster_gather(sc_cluster *self);

/* Whether what went wrong is the loss of workers, which sc_cluster_recover can make good. */
bool sc_cluster_can_recover(const sc_cluster *self);
/* After a loss: starts the lost local workers again (one that is frozen is killed), and waits until all ranks are taken, as
 * sc_cluster_gather does. The survivors keep their processes and connections. What was in flight is forgotten;
 * sc_cluster_assign comes next. */
sc_status sc_cluster_recover(sc_cluster *self);

/* What every worker is told before the first step. */
typedef struct sc_assignment {
    sc_model model;
    const sc_plan *const *plans; /* RunStep names one by its index */
    int n_plans;
    const sc_slice *slices; /* one per virtual stage */
    int n_slices;
    uint64_t seed;
    int micro_batch_size, sequence_length; /* B, T */
    bool fresh;                            /* initialise from the seed; else the driver writes every parameter */
    bool train;                            /* gradients and optimizer state are kept */
    bool cache;                            /* not with train: keys and values are, for sc_cluster_run_cached */
} sc_assignment;

/* Raises the generation, tells all and waits. Borrows; the assignment must stay until the next one. */
sc_status sc_cluster_assign(sc_cluster *self, const sc_assignment *assignment);

/* Sends one micro-batch's tokens to the first stage's worker or targets to the last one's: int32 (B,T). Copies. */
sc_status sc_cluster_send_tokens(sc_cluster *self, uint64_t sequence, int microbatch, const int32_t *tokens, int B,
                                 int T);
sc_status sc_cluster_send_targets(sc_cluster *self, uint64_t sequence, int microbatch, const int32_t *targets, int B,
                                  int T);

typedef struct sc_stage_times {
    double forward_seconds, backward_seconds, wait_seconds, step_seconds;
    uint64_t peak_resident_bytes;
} sc_stage_times;

/* All workers' answers to one RunStep. */
typedef struct sc_step_result {
    uint64_t sequence;
    int n_losses;
    double *loss_sums;     /* [n_losses], one per micro-batch */
    double *norm_squares;  /* [parameters], by ordinal; NaN where no worker voted (a forward-only plan) */
    sc_stage_times *times; /* [S] */
    sc_buffer *logits;     /* NULL unless asked for */
    /* the cluster's own: */
    int n_answered;
    bool in_use;
} sc_step_result;

enum { SC_CLUSTER_MAX_IN_FLIGHT = 2 };

/* Tells all workers to run plan `plan` as item `sequence` (rising by one); does not wait. At most
 * SC_CLUSTER_MAX_IN_FLIGHT are unanswered. */
sc_status sc_cluster_run(sc_cluster *self, uint64_t sequence, int plan, uint64_t optimizer_step, uint64_t n_targets,
                         bool want_logits);
/* The same for a forward-only plan whose tokens follow the `position` tokens of their sequences that are in the caches, and
 * are added: any number of tokens at position 0, one behind. Asks for logits. */
sc_status sc_cluster_run_cached(sc_cluster *self, uint64_t sequence, int plan, int position);
/* Waits for all workers' answers. *result is borrowed until the second sc_cluster_run from here. */
sc_status sc_cluster_wait(sc_cluster *self, uint64_t sequence, const sc_step_result **result);
/* Tells all to apply the optimizer; does not wait. */
sc_status sc_cluster_apply(sc_cluster *self, uint64_t sequence, float grad_scale, float learning_rate);
sc_status sc_cluster_wait_applied(sc_cluster *self, uint64_t sequence);

/* Streams a parameter's bytes in pieces from (to) the worker whose stage holds it: all of them, where `write` and several
 * do. `sink` and `source` are called in order of offset from within. */
typedef sc_status (*sc_state_sink)(void *context, uint64_t offset, const void *data, size_t n);
typedef sc_status (*sc_state_source)(void *context, uint64_t offset, void *data, size_t n);
sc_status sc_cluster_read_parameter(sc_cluster *self, int ordinal, sc_state_sink sink, void *context);
sc_status sc_cluster_write_parameter(sc_cluster *self, int ordinal, sc_state_source source, void *context);
/* The same for the optimizer's state: moment 1 or 2. */
sc_status sc_cluster_write_moment(sc_cluster *self, int ordinal, int moment, sc_state_source source, void *context);

/* Tells all workers to exit and waits for their answers, not longer than wire.call_ms; a dead one is no error any more. */
void sc_cluster_release(sc_cluster *self, const char *reason);

/* Counters of the node, for the end of a run's report. */
sc_node_counters sc_cluster_count(const sc_cluster *self);

#endif
