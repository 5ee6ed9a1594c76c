/* What the files of the cluster share: cluster.c (life, the loop, calls), cluster_member.c (who joins and who is lost, local
 * workers), cluster_assign.c, cluster_step.c (micro-batches, steps), cluster_point.c (points and recovery), cluster_state.c (parameters as
 * streams). */
#ifndef SC_CLUSTER_INTERNAL_H
#define SC_CLUSTER_INTERNAL_H

#include "coordinator/run/cluster.h"

#include "proto/stagecoach.pb-c.h"

/* A piece of a parameter's stream: one call in flight, or one a holder. */
typedef struct sc_stream_piece {
    uint64_t offset;
    size_t n;
    sc_buffer *data; /* what a read brought */
    int n_pending;   /* answers still to come */
} sc_stream_piece;

/* Calls in flight of a stream: they hide the round trip, and bound what is buffered. */
enum { SC_STREAM_WINDOW = 4 };

/* A worker that `train` started on this machine. */
typedef struct sc_local {
    bool down;           /* ended, or to be ended, and to be started again at `start_ms` */
    bool let_go;         /* released: its end is as it should be */
    int n_failed_starts; /* ends in a row without having joined */
    uint64_t start_ms;
} sc_local;

struct sc_cluster {
    sc_cluster_options options;
    sc_node *node;
    sc_shared_memory *memory; /* of the buffers; NULL: it is not shared */
    sc_buffer_pool *buffers;
    const char *endpoint;
    sc_supervisor *supervisor;      /* borrowed; NULL with `serve` */
    sc_local locals[SC_MAX_STAGES]; /* by local index, with a supervisor */
    Stagecoach__V1__Coordinator_Service service;
    int signal_fd;
    int n_stop_signals;
    uint64_t stop_ms; /* when the first came */
    uint64_t run;
    uint64_t generation;
    uint64_t n_recoveries;
    bool releasing; /* deaths and silence are as they should be */
    sc_status failure;
    bool failure_is_loss; /* of workers: others may take their place */
    char failure_message[1024];
    sc_roster *roster; /* a member's context is its peer */

    const sc_assignment *assignment; /* borrowed; NULL before the first */
    int n_ranks;                     /* of it */
    uint64_t listed[SC_ROSTER_MAX];  /* [n_listed] ids in the order of its endpoints: ranks, then others */
    int n_listed;
    sc_kept_state kept[SC_MAX_STAGES];
    sc_step_result results[SC_CLUSTER_MAX_IN_FLIGHT];
    int n_results_out; /* RunSteps whose answers are not all there */
    uint64_t applying; /* the sequence that is being applied */
    int n_applied;     /* workers that have */
    int n_pending;     /* answers still to come: of Assign, Release, or what sc_cluster_settle waits for */
    bool missing;      /* a Restore came back with NOT_FOUND */
    sc_snapshot_fn on_snapshot;
    void *snapshot_context;
    sc_deposit_fn on_deposit;
    void *deposit_context;
    sc_stream_piece pieces[SC_STREAM_WINDOW]; /* of the stream in progress */
};

static inline uint64_t sc_cluster_now_ms(const sc_cluster *self)
{
    return sc_clock_ms(&self->options.clock);
}

/* Of a control call. */
static inline uint32_t sc_cluster_call_deadline(const sc_cluster *self)
{
    return (uint32_t)self->options.config->wire.call_ms;
}

/* Keeps the first failure. */
void sc_cluster_fail(sc_cluster *self, sc_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* An answer that is as it should be. */
typedef void (*sc_answer_fn)(void *context, int rank, const sc_result *result);
/* Calls one method of StageWorker at the member that is seated at `rank`. An answer that is an error is kept as the cluster's
 * failure, naming worker and method, or loses the member; after a failure, from before a recovery, and when the generation
 * has moved on, no answer is delivered any more: `context` need live no longer than that. Takes `payload`. */
sc_status sc_cluster_call(sc_cluster *self, int rank, const char *method, const ProtobufCMessage *request,
                          sc_buffer *payload, uint32_t deadline_ms, sc_answer_fn answer, void *context);
/* The same with a number that comes back with the answer. `errors_too`: an error of the worker's, or of the way to it, is an
 * answer as well. */
typedef void (*sc_tagged_answer_fn)(void *context, int rank, uint64_t tag, const sc_result *result);
sc_status sc_cluster_call_tagged(sc_cluster *self, int rank, const char *method, const ProtobufCMessage *request,
                                 uint32_t deadline_ms, bool errors_too, uint64_t tag, sc_tagged_answer_fn answer,
                                 void *context);

/* ---- cluster_member.c ---- */

/* Offers the Coordinator service. */
void sc_cluster_serve(sc_cluster *self);
/* The node's callbacks. */
void sc_cluster_on_cut(void *context, sc_peer *peer);
void sc_cluster_on_revoked(void *context, sc_peer *peer);
/* SIGCHLD came. */
void sc_cluster_reap(sc_cluster *self);
/* Leases, losses, local workers that are to be started again. */
void sc_cluster_look_after_members(sc_cluster *self);

#endif
