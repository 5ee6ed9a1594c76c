/* Workers on this machine for a command that starts its own: a private ipc:// endpoint and the supervisor's children.
 * Used by `train` and, through local_cluster.h, by `generate` and `evaluate`. */
#ifndef SC_LOCAL_WORKERS_H
#define SC_LOCAL_WORKERS_H

#include "coordinator/run/cluster.h"

typedef struct sc_local_workers sc_local_workers;

/* Makes a private directory for the sockets. Returns owned. Errors: SC_UNAVAILABLE. */
sc_status sc_local_workers_new(sc_local_workers **out);
/* Ends workers that still run and removes the sockets' directory. */
void sc_local_workers_destroy(sc_local_workers **self_p);
/* The endpoint that the coordinator's cluster is to bind. */
const char *sc_local_workers_endpoint(const sc_local_workers *self);
/* Starts the cluster's workers. threads 0: an equal share of this machine's cores, at least one.
 * log_dir NULL: the sockets' directory, so logs vanish with it. */
sc_status sc_local_workers_start(sc_local_workers *self, sc_cluster *cluster, const sc_clock *clock, int threads,
                                 const char *log_dir, const char *log_spec, bool log_json);

#endif
