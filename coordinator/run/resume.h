/* Going on from a checkpoint: whether a configuration may, and bringing the state to the workers. */
#ifndef SC_RESUME_H
#define SC_RESUME_H

#include "coordinator/run/checkpoint.h"
#include "coordinator/run/cluster.h"

/* What a run is, beside what may change from one start to the next (steps, learning rate, workers, schedule, ...). */
typedef struct sc_run_identity {
    sc_model model;
    uint64_t seed, data_hash;
    const sc_config *config;
} sc_run_identity;

/* Errors: SC_FAILED_PRECONDITION naming the key with the checkpoint's value and the config's. Pure. */
sc_status sc_resume_check(const sc_manifest *manifest, const sc_run_identity *identity);

/* The manifest of a state after `step` of this run; shards are left to the writer. Returns owned texts: sc_manifest_clear. */
sc_status sc_resume_describe(const sc_run_identity *identity, const sc_plan *plan, int64_t step, sc_manifest *out);

/* Sends parameters and moments of the set at `path` to the workers of the assignment in force. */
sc_status sc_resume_load(sc_cluster *cluster, const char *path, const sc_manifest *manifest);

#endif
