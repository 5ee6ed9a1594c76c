/* A training run from the config to the final weights: what `train` and `serve` share.
 *
 *   load the data -> open the run directory, find its newest checkpoint -> gather workers -> assign, load the state
 *   -> steps and evaluations, checkpoints on the way -> the best weights once more, the test -> fetch the weights
 *   -> release the workers
 *
 * A step:  RunStep goes to all; every stage runs its list and votes; the coordinator gives its verdict with ApplyStep, and
 * at once the next RunStep behind it; the step is committed when all have applied it. Micro-batches go out one item
 * ahead, so that no stage waits for them.
 *
 * A worker that is lost is replaced (a local one is started again, `serve` waits for one to come), every stage goes back
 * to the newest checkpoint, and the run goes on; what it ends with has the same bits.
 *
 * The first SIGINT or SIGTERM ends the run after the step in progress, with a checkpoint and the weights saved; the second at once.
 * Whatever happens, local workers are ended and the event log gets its last line. */
#ifndef SC_TRAINER_H
#define SC_TRAINER_H

#include "coordinator/run/run_dir.h"
#include "proto/wire/node.h"

#include <stdbool.h>

typedef struct sc_trainer_options {
    const sc_config *config;  /* pipeline.workers is S */
    const char *listen;       /* `serve`: the endpoint to wait at; NULL: start S local workers */
    const sc_node_keys *keys; /* `serve`: NULL: plaintext */
    int threads;              /* per local worker; 0: a share of the cores */
    sc_run_dir_mode run_dir_mode;
    const char *log_spec; /* for local workers; NULL: from the environment */
} sc_trainer_options;

/* Prints progress and a closing line to standard output. Errors: whatever stopped the run, with a message for a person. */
sc_status sc_trainer_run(const sc_trainer_options *options);

#endif
