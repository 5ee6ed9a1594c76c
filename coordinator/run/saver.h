/* The saver: one checkpoint at a time, in the background of training.
 *
 *   idle -> snapshot: every worker copies its state into memory, in its turn between two steps
 *        -> stream:   the pieces come over the wire, a few calls to each worker at a time, and go to the writer's thread;
 *                     with a shared directory each worker writes its own shard there, and tells its size and hash
 *        -> write:    the thread syncs, renames, hashes; the manifest comes last
 *        -> idle
 *
 * A save that fails is told and does not end the run. One that the disk spoils, not one that it has no room for, is written
 * a second time from the same snapshots, to other files. What it keeps in memory is bounded: pieces in flight, and a limit
 * on those that wait for the disk. Thread: the coordinator's. */
#ifndef SC_SAVER_H
#define SC_SAVER_H

#include "coordinator/run/checkpoint.h"
#include "coordinator/run/cluster.h"

typedef struct sc_saver sc_saver;

/* How a save ended. */
typedef struct sc_saved {
    sc_status status; /* with `message` if not SC_OK */
    const char *message, *path;
    int64_t step;
    uint64_t bytes;
    double seconds;      /* from the snapshot on */
    uint64_t n_failures; /* saves that failed in a row before this one */
    bool is_news;        /* the save before ended otherwise, so that a person should be told */
} sc_saved;

typedef struct sc_saver_options {
    sc_clock clock;
    sc_cluster *cluster; /* borrowed, as are the following */
    const char *dir;     /* the run directory */
    const sc_tokenizer *tokenizer;
    const sc_labels *labels; /* NULL: none */
    const char *shared;      /* checkpoint.dir as an absolute path; NULL: the run directory has the checkpoints */
    const char *token;       /* with `shared`: what the file by which the directory is known holds */
    int keep;                /* complete sets that stay */
    void *context;
    void (*on_saved)(void *context, const sc_saved *saved);
} sc_saver_options;

sc_status sc_saver_new(const sc_saver_options *options, sc_saver **out);
/* Gives up a save in progress. */
void sc_saver_destroy(sc_saver **self_p);

/* With a shared directory: every worker of the assignment looks whether it is there, and waits for the answers. Errors: the
 * cluster's; a worker that does not see it is named, with its host and what to do. */
sc_status sc_saver_check_shared(sc_saver *self);
/* Begins a save of the state after manifest->step. The caller has all ranks make a snapshot of it (sc_cluster_snapshot) and tells
 * of each by sc_saver_snapshotted. If a save is in progress still, the new one is left out and said so. Borrows the manifest.
 * The stream is spread evenly over `spread_seconds`, so that training feels little of it; 0: as fast as it goes.
 * Errors: those of the cluster alone; a save that cannot begin is reported like one that failed. */
sc_status sc_saver_begin(sc_saver *self, const sc_assignment *assignment, const sc_manifest *manifest,
                         double spread_seconds);
/* One rank's snapshot of this step is made; nothing if no save waits for it. */
void sc_saver_snapshotted(sc_saver *self, uint64_t step);
/* The sets of this step stay, whatever `keep` is; 0: none does. */
void sc_saver_pin(sc_saver *self, int64_t step);
/* The step that is being saved, whose snapshots must be kept; 0: none. */
uint64_t sc_saver_step(const sc_saver *self);
/* A turn: asks for pieces, looks after the thread. Call it often. Errors: those of the cluster. */
sc_status sc_saver_turn(sc_saver *self);
bool sc_saver_is_busy(const sc_saver *self);
/* Waits for the end of the save in progress, which need not spare training any more, and of one that was given up: what is begun
 * next is not left out. Errors: those of the cluster. */
sc_status sc_saver_wait(sc_saver *self);
/* After a loss of workers: the save in progress is given up. */
void sc_saver_abort(sc_saver *self);

#endif
