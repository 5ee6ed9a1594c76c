/* What the files of the cluster share: cluster.c (membership, the loop), cluster_step.c (assignment, steps),
 * cluster_state.c (parameters as streams). */
#ifndef SC_CLUSTER_INTERNAL_H
#define SC_CLUSTER_INTERNAL_H

#include "coordinator/run/cluster.h"

#include "proto/stagecoach.pb-c.h"

typedef struct member {
    sc_cluster_worker seen;
    sc_peer *peer; /* NULL until it joined */
    uint64_t incarnation;
    char *data_endpoint;
    char key[SC_KEY_TEXT]; /* public, as its connection has proven it; "" without keys */
} member;

/* A piece of a parameter's stream: one call in flight, or one a holder. */
typedef struct sc_piece {
    uint64_t offset;
    size_t n;
    sc_buffer *data; /* what a read brought */
    int n_pending;   /* answers still to come */
} sc_piece;

/* Calls in flight of a stream: they hide the round trip, and bound what is buffered. */
enum { SC_STREAM_WINDOW = 4 };

struct sc_cluster {
    sc_cluster_options options;
    sc_node *node;
    sc_shared_memory *memory; /* of the buffers; NULL: it is not shared */
    sc_buffer_pool *buffers;
    const char *endpoint;
    sc_supervisor *supervisor; /* borrowed; NULL with `serve` */
    Stagecoach__V1__Coordinator_Service service;
    int signal_fd;
    int n_stop_signals;
    uint64_t run;
    uint64_t generation;
    uint64_t n_recoveries;
    uint64_t looked_at_ms, listening_since_ms; /* leases: the last look; no gap between looks since then */
    bool releasing;                            /* deaths and silence are as they should be */
    sc_status failure;
    bool failure_is_loss; /* of workers: others may take their place */
    char failure_message[1024];

    int n_workers, n_joined;
    member *members; /* [n_workers], by rank */

    const sc_assignment *assignment; /* borrowed; NULL before the first */
    sc_step_result results[SC_CLUSTER_MAX_IN_FLIGHT];
    uint64_t applying;                 /* the sequence that is being applied */
    int n_applied;                     /* workers that have */
    int n_pending;                     /* answers still to come of a call to all: Assign, Release */
    sc_piece pieces[SC_STREAM_WINDOW]; /* of the stream in progress */
};

/* Keeps the first failure. */
void sc_cluster_fail(sc_cluster *self, sc_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* One turn of the loop: returns the kept failure, if any. */
sc_status sc_cluster_poll(sc_cluster *self);
/* The same, of the worker `rank`: it is lost, and sc_cluster_recover can go on without it. */
void sc_cluster_lose(sc_cluster *self, int rank, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* An answer that is as it should be. */
typedef void (*sc_answer_fn)(void *context, int rank, const sc_result *result);
/* Calls one method of StageWorker at a worker. An answer that is an error is kept as the cluster's failure, naming worker
 * and method; after a failure, from before a recovery, and when the generation has moved on, no answer is delivered any
 * more: `context` need live no longer than that. Takes `payload`. */
sc_status sc_cluster_call(sc_cluster *self, int rank, const char *method, const ProtobufCMessage *request,
                          sc_buffer *payload, uint32_t deadline_ms, sc_answer_fn answer, void *context);

#endif
