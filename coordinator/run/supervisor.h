/* The workers that `stagecoach train` starts on this machine: posix_spawn, their logs, their deaths, their end.
 *
 * Mental model. Each worker is a child process in a process group of its own: the terminal's Ctrl-C reaches the coordinator
 * alone, which then ends them in order, and a worker that is stopped (SIGSTOP) when the coordinator dies is hung up alone (the
 * kernel sends SIGHUP to the whole of a process group that is orphaned with a stopped member, setpgid(2)). Its standard output
 * and error go to LOG_DIR/worker-<i>.log. A child asks the kernel to be ended when its parent dies (`--local-index`), so none
 * outlives the run, whatever happens to it. A pid is forgotten in the moment it is reaped, and only pids of children that are
 * not reaped are signalled: SIGCHLD must not be ignored, or the kernel reaps them (sc_cluster_new sees to it).
 * Thread: the coordinator's loop only. */
#ifndef SC_SUPERVISOR_H
#define SC_SUPERVISOR_H

#include "proto/base/clock.h"
#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct sc_supervisor sc_supervisor;

typedef struct sc_supervisor_options {
    sc_clock clock;
    const char *endpoint; /* where the workers find the coordinator */
    const char *log_dir;  /* exists */
    const char *log_spec; /* for the workers' --log; NULL: theirs from the environment */
    bool log_json;
    const char *device;
    int n_workers, threads;
} sc_supervisor_options;

/* Starts nothing yet. Errors: SC_NOT_FOUND if the program stagecoach-worker is neither beside this one nor in PATH. */
sc_status sc_supervisor_new(const sc_supervisor_options *options, sc_supervisor **out);
/* Ends what still runs: SIGHUP (leave at once), a grace of grace_ms, SIGKILL; reaps all. */
void sc_supervisor_destroy(sc_supervisor **self_p, int grace_ms);

/* Starts worker `index`. Errors: SC_UNAVAILABLE. */
sc_status sc_supervisor_start(sc_supervisor *self, int index);
/* Reaps children that ended. If one did that was not expected to, its index is in *index and *report holds one line:
 * pid, exit code or signal, the last lines of its log and where the log is; else *index is -1. Call on SIGCHLD, until it
 * is -1: several may have ended. */
void sc_supervisor_reap(sc_supervisor *self, int *index, char *report, size_t report_bytes);
/* From now on an exit with code 0 is as it should be. */
void sc_supervisor_expect_exit(sc_supervisor *self);
/* Ends a worker at once, one that is frozen too, and reaps it; nothing if it does not run. */
void sc_supervisor_kill(sc_supervisor *self, int index);
/* 0 if it does not run. */
pid_t sc_supervisor_pid(const sc_supervisor *self, int index);
/* How many still run. */
int sc_supervisor_n_alive(const sc_supervisor *self);

#endif
