#include "coordinator/run/local_workers.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GRACE_MS = 5000 }; /* for a worker that was asked to end */

struct sc_local_workers {
    char dir[64];
    char endpoint[96];
    sc_supervisor *supervisor;
};

sc_status sc_local_workers_new(sc_local_workers **out)
{
    sc_local_workers *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the local workers");
    /* A socket's path holds 107 bytes at most, so not in the run directory; mkdtemp makes it private to this user. */
    strcpy(self->dir, "/tmp/stagecoach-XXXXXX");
    if (!mkdtemp(self->dir)) {
        int error = errno;
        free(self);
        return SC_FAIL(SC_UNAVAILABLE, "cannot make a directory for sockets in /tmp: %s", strerror(error));
    }
    snprintf(self->endpoint, sizeof self->endpoint, "ipc://%s/coordinator", self->dir);
    *out = self;
    return SC_OK;
}

static void remove_dir(const char *path)
{
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        unlinkat(dirfd(dir), entry->d_name, 0); /* fails for . and .., as it should */
    if (dir)
        closedir(dir);
    rmdir(path);
}

void sc_local_workers_destroy(sc_local_workers **self_p)
{
    sc_local_workers *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    sc_supervisor_destroy(&self->supervisor, GRACE_MS);
    remove_dir(self->dir);
    free(self);
}

const char *sc_local_workers_endpoint(const sc_local_workers *self)
{
    return self->endpoint;
}

/* The cores that this process may use, shared out. */
static int share_of_cores(int n_workers)
{
    cpu_set_t set;
    int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return cores > n_workers ? cores / n_workers : 1;
}

sc_status sc_local_workers_start(sc_local_workers *self, sc_cluster *cluster, const sc_clock *clock, int threads,
                                 const char *log_dir, const char *log_spec, bool log_json)
{
    int n = sc_cluster_n_workers(cluster);
    sc_supervisor_options options = {
        .clock = *clock,
        .endpoint = self->endpoint,
        .log_dir = log_dir ? log_dir : self->dir,
        .log_spec = log_spec,
        .log_json = log_json,
        .device = "cpu",
        .n_workers = n,
        .threads = threads > 0 ? threads : share_of_cores(n),
    };
    SC_TRY(sc_supervisor_new(&options, &self->supervisor));
    sc_cluster_supervise(cluster, self->supervisor);
    for (int i = 0; i < n; i++)
        SC_TRY(sc_supervisor_start(self->supervisor, i));
    return SC_OK;
}
