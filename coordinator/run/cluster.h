/* The cluster: the workers of a run as the coordinator sees them, and the calls that it makes to them.
 *
 * Mental model. The cluster owns the coordinator's node, its signals, and the roster (roster.h) of those that joined; a driver
 * (the trainer, the generator) tells it what to do, one call after another, each of which polls the node until it is done:
 *
 *     gather -> assign -> { send tensors, run step, wait for the result, apply step, wait for it } ... -> release
 *
 * Whoever joins is a member at once, and a spare until an assignment seats it. A driver that recovers seats the roster itself
 * (run_state.h); for the others sc_cluster_gather does.
 *
 * Invariants:
 *  1. A call goes to the member that is seated at a rank; an answer is delivered only while it is that, in the same generation,
 *     and no failure was told in between.
 *  2. Every assignment raises the generation; all that belongs to another one is fenced by the node.
 *  3. The first thing that goes wrong (the loss of a member with a rank, a failed call) is kept, with a message for a person,
 *     and every call returns it until sc_cluster_recover; nothing waits for a worker that is gone. The loss of a spare fails
 *     nothing.
 *  4. A first SIGINT or SIGTERM is noted (sc_cluster_stop_requested) and the driver stops at a step's end; a second one, or
 *     the end of run.grace_ms, makes every call return SC_CANCELLED.
 *  5. A local worker that ended, or was lost, is started again (options.restarts), at once and then after longer and longer
 *     pauses; one that ends `restarts` + 1 times without having joined is given up.
 * Thread: the coordinator's only. */
#ifndef SC_CLUSTER_H
#define SC_CLUSTER_H

#include "coordinator/run/message_counts.h"
#include "coordinator/run/recovery.h"
#include "coordinator/run/supervisor.h"
#include "proto/base/config.h"
#include "proto/base/plan.h"
#include "proto/wire/node.h"

typedef struct sc_cluster sc_cluster;

typedef struct sc_cluster_options {
    sc_clock clock;
    const sc_config *config;  /* borrowed */
    const char *listen;       /* endpoint to bind */
    const sc_node_keys *keys; /* NULL: plaintext */
    int n_workers;            /* S that is wanted */
    int restarts;             /* of a local worker; -1: none is ever started again, and each end is a failure */
    void *context;
    /* At least ten times a second while a call waits, for a progress display. May be NULL, as the following. */
    void (*on_tick)(void *context);
    /* A worker joined, as a spare. */
    void (*on_joined)(void *context, const sc_member *member);
    /* A member was lost. With a rank: then the cluster has failed. */
    void (*on_lost)(void *context, const sc_loss *loss);
    /* A member asks to be let go (sc_cluster_release_member) when its state is handed over. */
    void (*on_drain)(void *context, const sc_member *member);
} sc_cluster_options;

/* Binds and blocks SIGINT, SIGTERM and SIGCHLD for the process. Returns owned. Errors: as sc_node_bind. */
sc_status sc_cluster_new(const sc_cluster_options *options, sc_cluster **out);
/* Closes the node. */
void sc_cluster_destroy(sc_cluster **self_p);

const char *sc_cluster_endpoint(const sc_cluster *self);
/* From now on local workers are started by, and their deaths reaped through, `supervisor` (borrowed). */
void sc_cluster_supervise(sc_cluster *self, sc_supervisor *supervisor);
/* S: the ranks of the present assignment; before there is one, those that are wanted. */
int sc_cluster_n_workers(const sc_cluster *self);
uint64_t sc_cluster_generation(const sc_cluster *self);
sc_roster *sc_cluster_roster(sc_cluster *self);
bool sc_cluster_stop_requested(const sc_cluster *self);

/* One turn: handles what came, looks after leases and local workers. Errors: what the cluster keeps. */
sc_status sc_cluster_poll(sc_cluster *self);
/* From now on sc_cluster_poll ends as soon as `fd` can be read, and calls back; `readable` NULL: no more. */
sc_status sc_cluster_watch(sc_cluster *self, int fd, void (*readable)(void *context, int fd), void *context);
/* Waits until all that are wanted have joined, and seats them. Errors: SC_DEADLINE_EXCEEDED after wire.join_ms, naming how many
 * came; SC_CANCELLED if a stop was requested. */
sc_status sc_cluster_gather(sc_cluster *self);

/* Whether what went wrong is the loss of workers, which sc_cluster_recover can make good. */
bool sc_cluster_can_recover(const sc_cluster *self);
/* After a loss: what was in flight is forgotten, and calls go on. The survivors keep their processes and connections. */
void sc_cluster_recover(sc_cluster *self);

/* What every worker is told before the first step. */
typedef struct sc_assignment {
    sc_model model;
    const sc_plan *const *plans; /* RunStep names one by its index */
    int n_plans;
    const sc_slice *slices; /* one per virtual stage */
    int n_slices;
    uint64_t seed;
    int micro_batch_size, sequence_length; /* B, T */
    bool fresh;                            /* initialise from the seed; else the driver brings every parameter */
    bool train;                            /* gradients and optimizer state are kept */
    const float *class_weights;            /* [labels], in training; NULL: all 1 */
    bool cache;                            /* not with train: keys and values are, for sc_cluster_run_cached */
    /* for a run that recovers; zeros for one that does not: */
    bool keep;               /* stages that are as before keep their state */
    uint64_t lineage;        /* of the points that workers keep; 0: none */
    const uint64_t *buddies; /* [n ranks] ids of the members that keep copies, 0: nobody; NULL: nobody at all */
    uint64_t log_bytes;      /* of each worker's message log; 0: none */
} sc_assignment;

/* Raises the generation, tells all that are seated, and waits; spares are told too if there is a lineage, and not waited for.
 * Borrows; the assignment must stay until the next one. */
sc_status sc_cluster_assign(sc_cluster *self, const sc_assignment *assignment);
/* What the rank answered to it. */
const sc_kept_state *sc_cluster_kept(const sc_cluster *self, int rank);

/* Sends one micro-batch's tokens to the first stage's worker or targets to the last one's: int32 (B,T), targets of sequences
 * (B, sc_model_n_targets). Copies. */
sc_status sc_cluster_send_tokens(sc_cluster *self, uint64_t sequence, int microbatch, const int32_t *tokens, int B,
                                 int T);
sc_status sc_cluster_send_targets(sc_cluster *self, uint64_t sequence, int microbatch, const int32_t *targets, int B,
                                  int T);

/* The same for what BERT needs beside them: segments (B,T) for the first stage, lengths (B) for a stage (all of them need
 * them), next (B) in pre-training for the last. */
sc_status sc_cluster_send_segments(sc_cluster *self, uint64_t sequence, int microbatch, const int32_t *segments, int B,
                                   int T);
sc_status sc_cluster_send_lengths(sc_cluster *self, uint64_t sequence, int microbatch, int stage,
                                  const int32_t *lengths, int B);
sc_status sc_cluster_send_next(sc_cluster *self, uint64_t sequence, int microbatch, const int32_t *next, int B);

typedef struct sc_stage_times {
    double forward_seconds, backward_seconds, wait_seconds, step_seconds;
    uint64_t peak_resident_bytes;
    sc_message_counts messages; /* so far */
} sc_stage_times;

/* All workers' answers to one RunStep. */
typedef struct sc_step_result {
    uint64_t sequence;
    int n_losses;
    double *loss_sums;   /* [n_losses], sc_model_n_losses per micro-batch */
    uint64_t *n_correct; /* [n_losses] targets that were right; zeros unless the plan is forward-only */
    double *
        norm_squares; /* [parameters], by ordinal; NaN where no worker voted (a forward-only plan), 0 where it is frozen */
    sc_stage_times *times; /* [S] */
    sc_buffer *logits;     /* NULL unless asked for: as RunStepRequest.want_logits says */
    /* the cluster's own: */
    int n_answered;
    bool in_use;
} sc_step_result;

enum { SC_CLUSTER_MAX_IN_FLIGHT = 2 };

/* Tells all workers to run plan `plan` as item `sequence` (rising by one); does not wait. At most
 * SC_CLUSTER_MAX_IN_FLIGHT are unanswered. */
sc_status sc_cluster_run(sc_cluster *self, uint64_t sequence, int plan, uint64_t optimizer_step, uint64_t n_targets,
                         bool want_logits);
/* The same for pre-training, with the sequences of the whole step beside its masked words. Asks for losses. */
sc_status sc_cluster_run_pretraining(sc_cluster *self, uint64_t sequence, int plan, uint64_t optimizer_step,
                                     uint64_t n_targets, uint64_t n_sequences);
/* The same where the assignment has class weights: of the step's targets together. Asks for losses. */
sc_status sc_cluster_run_weighted(sc_cluster *self, uint64_t sequence, int plan, uint64_t optimizer_step,
                                  uint64_t n_targets, double target_weight);
/* The same for a forward-only plan whose tokens follow the `position` tokens of their sequences that are in the caches, and
 * are added: any number of tokens at position 0, one behind. Asks for logits. */
sc_status sc_cluster_run_cached(sc_cluster *self, uint64_t sequence, int plan, int position);
/* Waits for all workers' answers. *result is borrowed until the second sc_cluster_run from here. */
sc_status sc_cluster_wait(sc_cluster *self, uint64_t sequence, const sc_step_result **result);
/* Whether they are all there: then waiting takes no time. */
bool sc_cluster_has_answers(const sc_cluster *self, uint64_t sequence);
/* Tells all to apply the optimizer; does not wait. */
sc_status sc_cluster_apply(sc_cluster *self, uint64_t sequence, float grad_scale, float learning_rate);
sc_status sc_cluster_wait_applied(sc_cluster *self, uint64_t sequence);

/* ---- points and recovery ---- */

/* Tells all to copy their state after `step` into memory, behind the ApplyStep that was sent last; does not wait. `made` is
 * called for each rank. `keep_steps`, `log_from`: as in SnapshotRequest. */
typedef void (*sc_snapshot_fn)(void *context, int rank, uint64_t step);
sc_status sc_cluster_snapshot(sc_cluster *self, uint64_t step, const uint64_t *keep_steps, int n_keep_steps,
                              uint64_t log_from, sc_snapshot_fn made, void *context);
/* Tells one rank to send its part of a point to its buddy; does not wait. A part that does not arrive is no failure. */
typedef void (*sc_deposit_fn)(void *context, int rank, uint64_t step, bool arrived);
sc_status sc_cluster_deposit(sc_cluster *self, int rank, uint64_t step, sc_deposit_fn done, void *context);

/* The following begin something at one rank; sc_cluster_settle waits for all that was begun. */
/* Brings the rank's state to a point's, from these holders. */
sc_status sc_cluster_restore(sc_cluster *self, int rank, uint64_t step, const sc_holder *holders, int n_holders);
/* Runs a decided step again, from the neighbours' logs; and applies a verdict that was given. */
sc_status sc_cluster_replay(sc_cluster *self, int rank, int plan, const sc_decided_step *step);
sc_status sc_cluster_apply_at(sc_cluster *self, int rank, uint64_t sequence, float grad_scale, float learning_rate);
/* *missing: whether a rank could not get all of what it was to restore. */
sc_status sc_cluster_settle(sc_cluster *self, bool *missing);

/* Streams a parameter's bytes in pieces from (to) the worker whose stage holds it: all of them, where `write` and several
 * do. `sink` and `source` are called in order of offset from within. */
typedef sc_status (*sc_state_sink)(void *context, uint64_t offset, const void *data, size_t n);
typedef sc_status (*sc_state_source)(void *context, uint64_t offset, void *data, size_t n);
sc_status sc_cluster_read_parameter(sc_cluster *self, int ordinal, sc_state_sink sink, void *context);
sc_status sc_cluster_write_parameter(sc_cluster *self, int ordinal, sc_state_source source, void *context);
/* The same for the optimizer's state: moment 1 or 2. */
sc_status sc_cluster_write_moment(sc_cluster *self, int ordinal, int moment, sc_state_source source, void *context);

/* ---- the end ---- */

/* Lets one member go: it is none any more. A local worker is started again when it has ended. */
void sc_cluster_release_member(sc_cluster *self, uint64_t id, const char *reason);
/* Tells all workers to exit and waits for their answers, not longer than wire.call_ms; a dead one is no error any more. */
void sc_cluster_release(sc_cluster *self, const char *reason);

/* Counters of the node, for the end of a run's report. */
sc_node_counters sc_cluster_count(const sc_cluster *self);

#endif
