#include "coordinator/run/local_workers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_PREFIX "stagecoach-"

enum { GRACE_MS = 5000 }; /* for a worker that was asked to end */

struct sc_local_workers {
    char dir[64];
    int lock_fd; /* of the directory's "owner": locked while this process lives, however it ends */
    char endpoint[96];
    sc_supervisor *supervisor;
};

static void remove_dir(const char *path)
{
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        unlinkat(dirfd(dir), entry->d_name, 0); /* fails for . and .., as it should */
    if (dir)
        closedir(dir);
    rmdir(path);
}

/* The lock of a directory's owner; -1 if there is none, or somebody holds it. */
static int lock_owner(const char *dir, int flags)
{
    char path[PATH_MAX];
    struct stat opened, there;
    snprintf(path, sizeof path, "%.200s/owner", dir);
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
    if (fd < 0)
        return -1;
    /* Between open and lock another start may have taken the directory for a dead one's and removed it. */
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &opened) == 0 && lstat(path, &there) == 0 &&
        opened.st_ino == there.st_ino && opened.st_dev == there.st_dev)
        return fd;
    close(fd);
    return -1;
}

/* Removes what coordinators that were killed have left. */
static void remove_orphans(void)
{
    DIR *tmp = opendir("/tmp");
    struct stat info;
    for (struct dirent *entry; tmp && (entry = readdir(tmp));) {
        char path[PATH_MAX];
        if (strncmp(entry->d_name, DIR_PREFIX, strlen(DIR_PREFIX)) != 0)
            continue;
        snprintf(path, sizeof path, "/tmp/%s", entry->d_name);
        if (lstat(path, &info) != 0 || !S_ISDIR(info.st_mode) || info.st_uid != geteuid())
            continue;
        int fd = lock_owner(path, 0);
        if (fd < 0)
            continue;
        remove_dir(path);
        close(fd);
    }
    if (tmp)
        closedir(tmp);
}

sc_status sc_local_workers_new(sc_local_workers **out)
{
    sc_local_workers *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the local workers");
    self->lock_fd = -1;
    remove_orphans();
    /* A socket's path holds 107 bytes at most, so not in the run directory; mkdtemp makes it private to this user. */
    while (self->lock_fd < 0) {
        strcpy(self->dir, "/tmp/" DIR_PREFIX "XXXXXX");
        if (!mkdtemp(self->dir)) {
            int error = errno;
            free(self);
            return SC_FAIL(SC_UNAVAILABLE, "cannot make a directory for sockets in /tmp: %s", strerror(error));
        }
        self->lock_fd = lock_owner(self->dir, O_CREAT);
        if (self->lock_fd < 0 && access(self->dir, F_OK) == 0) {
            int error = errno;
            rmdir(self->dir);
            free(self);
            return SC_FAIL(SC_UNAVAILABLE, "cannot make a lock for sockets in /tmp: %s", strerror(error));
        }
    }
    snprintf(self->endpoint, sizeof self->endpoint, "ipc://%s/coordinator", self->dir);
    *out = self;
    return SC_OK;
}

void sc_local_workers_destroy(sc_local_workers **self_p)
{
    sc_local_workers *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    sc_supervisor_destroy(&self->supervisor, GRACE_MS);
    remove_dir(self->dir);
    close(self->lock_fd);
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
