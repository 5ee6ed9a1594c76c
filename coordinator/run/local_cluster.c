#include "coordinator/run/local_cluster.h"

#include <stdio.h>
#include <string.h>

sc_status sc_local_cluster_open(sc_local_cluster *self, const sc_clock *clock, int n_workers, int threads, int restarts)
{
    static const char defaults[] = "{data: {train: [none]}}"; /* the one key that has no default */
    *self = (sc_local_cluster){0};
    SC_TRY(sc_config_parse(defaults, strlen(defaults), "the defaults", NULL, 0, &self->config));
    SC_TRY(sc_local_workers_new(&self->workers));
    sc_cluster_options options = {
        .clock = *clock,
        .config = self->config,
        .listen = sc_local_workers_endpoint(self->workers),
        .n_workers = n_workers,
        .restarts = restarts,
    };
    SC_TRY(sc_cluster_new(&options, &self->cluster));
    SC_TRY(sc_local_workers_start(self->workers, self->cluster, clock, threads, NULL, NULL, false));
    return sc_cluster_gather(self->cluster);
}

void sc_local_cluster_close(sc_local_cluster *self, const char *reason)
{
    char message[1024];
    snprintf(message, sizeof message, "%s", sc_status_message());
    if (self->cluster)
        sc_cluster_release(self->cluster, reason);
    sc_local_workers_destroy(&self->workers);
    sc_cluster_destroy(&self->cluster);
    sc_config_destroy(&self->config);
    (void)SC_FAIL(SC_UNKNOWN, "%s", message); /* what came in between may have left its own */
}
