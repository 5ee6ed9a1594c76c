/* A cluster of workers on this machine for a command that only runs a model forward: `generate`, `evaluate`, `predict`. */
#ifndef SC_LOCAL_CLUSTER_H
#define SC_LOCAL_CLUSTER_H

#include "coordinator/run/local_workers.h"

typedef struct sc_local_cluster {
    sc_config *config; /* the defaults: timeouts of the wire */
    sc_local_workers *workers;
    sc_cluster *cluster;
} sc_local_cluster;

/* Starts n_workers workers with `threads` each (0: a share of the cores) and waits until they have joined. restarts: as in
 * sc_cluster_options; who gives more than -1 recovers. *self is to be closed in any case. Errors: as sc_cluster_new, sc_local_workers_start and sc_cluster_gather. */
sc_status sc_local_cluster_open(sc_local_cluster *self, const sc_clock *clock, int n_workers, int threads,
                                int restarts);
/* Ends the workers; keeps this thread's message. Fine for a zeroed or half opened one. */
void sc_local_cluster_close(sc_local_cluster *self, const char *reason);

#endif
