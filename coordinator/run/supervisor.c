#include "coordinator/run/supervisor.h"

#include "proto/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SC_LOG_SUBSYSTEM "supervisor"

extern char **environ;

enum {
    TAIL_BYTES = 400,
    UNSEEN = -1, /* no state that waitpid gives */
};

typedef struct child {
    pid_t pid; /* 0: does not run */
} child;

struct sc_supervisor {
    sc_supervisor_options options;
    char *endpoint, *log_dir, *log_spec, *device;
    char program[PATH_MAX];
    bool exit_expected;
    child *children; /* [n_workers] */
};

/* stagecoach-worker beside this program, as in a build folder or /usr/bin; else found in PATH by posix_spawnp. */
static sc_status find_program(char *path, size_t path_bytes)
{
    static const char name[] = "stagecoach-worker";
    ssize_t n = readlink("/proc/self/exe", path, path_bytes - sizeof name);
    if (n > 0) {
        path[n] = '\0';
        char *slash = strrchr(path, '/');
        if (slash) {
            strcpy(slash + 1, name);
            if (access(path, X_OK) == 0)
                return SC_OK;
        }
    }
    const char *search = getenv("PATH");
    char *copy = search ? strdup(search) : NULL, *rest = NULL;
    bool found = false;
    for (char *dir = copy ? strtok_r(copy, ":", &rest) : NULL; dir && !found; dir = strtok_r(NULL, ":", &rest))
        found = snprintf(path, path_bytes, "%s/%s", dir, name) < (int)path_bytes && access(path, X_OK) == 0;
    free(copy);
    if (!found)
        return SC_FAIL(SC_NOT_FOUND, "the program %s is neither beside this one nor in PATH; install both together",
                       name);
    return SC_OK;
}

sc_status sc_supervisor_new(const sc_supervisor_options *options, sc_supervisor **out)
{
    sc_supervisor *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the supervisor");
    self->options = *options;
    self->endpoint = strdup(options->endpoint);
    self->log_dir = strdup(options->log_dir);
    self->log_spec = options->log_spec ? strdup(options->log_spec) : NULL;
    self->device = strdup(options->device);
    self->children = calloc((size_t)options->n_workers, sizeof *self->children);
    sc_status status = SC_OK;
    if (!self->endpoint || !self->log_dir || !self->device || !self->children)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the supervisor");
    if (status == SC_OK)
        status = find_program(self->program, sizeof self->program);
    if (status != SC_OK) {
        sc_supervisor_destroy(&self, 0);
        return status;
    }
    *out = self;
    return SC_OK;
}

static void log_path(const sc_supervisor *self, int index, char *path, size_t path_bytes)
{
    snprintf(path, path_bytes, "%s/worker-%d.log", self->log_dir, index);
}

sc_status sc_supervisor_start(sc_supervisor *self, int index)
{
    char log[PATH_MAX], threads[16], local[16];
    log_path(self, index, log, sizeof log);
    snprintf(threads, sizeof threads, "%d", self->options.threads);
    snprintf(local, sizeof local, "%d", index);
    char *argv[20];
    int n = 0;
    argv[n++] = self->program;
    argv[n++] = "--coordinator", argv[n++] = self->endpoint;
    argv[n++] = "--threads", argv[n++] = threads;
    argv[n++] = "--device", argv[n++] = self->device;
    argv[n++] = "--local-index", argv[n++] = local;
    if (self->log_spec)
        argv[n++] = "--log", argv[n++] = self->log_spec;
    if (self->options.log_json)
        argv[n++] = "--log-json";
    argv[n] = NULL;

    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
    posix_spawnattr_setsigmask(&attributes, &none); /* the coordinator blocks what it reads from its signalfd */
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    pid_t pid = 0;
    int error = posix_spawn(&pid, self->program, &files, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (error != 0)
        return SC_FAIL(SC_UNAVAILABLE, "cannot start worker %d (%s, log %s): %s", index, self->program, log,
                       strerror(error));
    self->children[index].pid = pid;
    SC_DEBUG("started worker %d as pid %d", index, (int)pid);
    return SC_OK;
}

/* The last lines of a file on one line, joined by " | ". */
static void read_tail(const char *path, char *out, size_t out_bytes)
{
    out[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    struct stat info;
    char text[TAIL_BYTES + 1];
    ssize_t n = 0;
    if (fstat(fd, &info) == 0) {
        off_t from = info.st_size > TAIL_BYTES ? info.st_size - TAIL_BYTES : 0;
        n = pread(fd, text, TAIL_BYTES, from);
        if (from > 0 && n > 0) { /* begin with a whole line, if there is one */
            char *newline = memchr(text, '\n', (size_t)n);
            if (newline && newline + 1 < text + n) {
                n -= newline + 1 - text;
                memmove(text, newline + 1, (size_t)n);
            }
        }
    }
    close(fd);
    while (n > 0 && text[n - 1] == '\n')
        n--;
    size_t used = 0;
    for (ssize_t i = 0; i < n && used + 4 < out_bytes; i++)
        if (text[i] == '\n')
            used += (size_t)snprintf(out + used, out_bytes - used, " | ");
        else
            out[used++] = (unsigned char)text[i] < 0x20 ? ' ' : text[i];
    out[used] = '\0';
}

static void describe_end(const sc_supervisor *self, int index, pid_t pid, int state, char *report, size_t report_bytes)
{
    char log[PATH_MAX], tail[TAIL_BYTES * 2], how[64];
    log_path(self, index, log, sizeof log);
    read_tail(log, tail, sizeof tail);
    if (state == UNSEEN)
        snprintf(how, sizeof how, "ended, nobody saw how");
    else if (WIFSIGNALED(state))
        snprintf(how, sizeof how, "was killed by signal %d (%s)", WTERMSIG(state), strsignal(WTERMSIG(state)));
    else
        snprintf(how, sizeof how, "exited with code %d", WEXITSTATUS(state));
    snprintf(report, report_bytes, "worker %d (pid %d) %s; %s%s (log: %s)", index, (int)pid, how,
             tail[0] ? "its log ends: " : "it logged nothing", tail, log);
}

/* Whether a child that runs has ended; it is reaped then, and its pid, which may be another process's from now on, forgotten.
 * A child that is none (any more) has ended as well: with a state that nobody knows, UNSEEN. */
static bool has_ended(child *c, int flags, int *state)
{
    pid_t pid;
    do
        pid = waitpid(c->pid, state, flags);
    while (pid < 0 && errno == EINTR);
    if (pid == 0)
        return false;
    if (pid < 0)
        *state = UNSEEN;
    c->pid = 0;
    return true;
}

void sc_supervisor_reap(sc_supervisor *self, int *index, char *report, size_t report_bytes)
{
    *index = -1;
    for (int i = 0; i < self->options.n_workers; i++) {
        int state;
        pid_t pid = self->children[i].pid;
        if (pid == 0 || !has_ended(&self->children[i], WNOHANG, &state))
            continue;
        if (self->exit_expected && state != UNSEEN && WIFEXITED(state) && WEXITSTATUS(state) == 0)
            continue;
        *index = i;
        describe_end(self, i, pid, state, report, report_bytes);
        return;
    }
}

void sc_supervisor_expect_exit(sc_supervisor *self)
{
    self->exit_expected = true;
}

pid_t sc_supervisor_pid(const sc_supervisor *self, int index)
{
    return self->children[index].pid;
}

void sc_supervisor_kill(sc_supervisor *self, int index)
{
    child *c = &self->children[index];
    int state;
    if (c->pid == 0 || has_ended(c, WNOHANG, &state))
        return;
    kill(c->pid, SIGKILL);
    has_ended(c, 0, &state);
}

int sc_supervisor_n_alive(const sc_supervisor *self)
{
    int n = 0;
    for (int i = 0; i < self->options.n_workers; i++)
        n += self->children[i].pid != 0;
    return n;
}

static void signal_all(sc_supervisor *self, int number)
{
    for (int i = 0, state; i < self->options.n_workers; i++)
        if (self->children[i].pid && !has_ended(&self->children[i], WNOHANG, &state))
            kill(self->children[i].pid, number);
}

/* Reaps until none is left or the time is over; SIGCHLD is blocked and pending, so sigtimedwait wakes at a death. */
static void wait_all(sc_supervisor *self, int wait_ms)
{
    sigset_t child_signal;
    sigemptyset(&child_signal);
    sigaddset(&child_signal, SIGCHLD);
    uint64_t end = sc_clock_ms(&self->options.clock) + (uint64_t)wait_ms;
    for (;;) {
        for (int i = 0, state; i < self->options.n_workers; i++)
            if (self->children[i].pid)
                has_ended(&self->children[i], WNOHANG, &state);
        uint64_t now = sc_clock_ms(&self->options.clock);
        if (sc_supervisor_n_alive(self) == 0 || now >= end)
            return;
        uint64_t left = end - now < 50 ? end - now : 50; /* another handler may have taken the signal: look again */
        struct timespec timeout = {.tv_nsec = (long)left * 1000000};
        sigtimedwait(&child_signal, NULL, &timeout);
    }
}

void sc_supervisor_destroy(sc_supervisor **self_p, int grace_ms)
{
    sc_supervisor *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    if (self->children && sc_supervisor_n_alive(self) > 0) {
        signal_all(self, SIGHUP); /* leave at once: there is nobody to hand over to */
        wait_all(self, grace_ms);
        signal_all(self, SIGKILL);
        wait_all(self, 10000);
    }
    free(self->children);
    free(self->endpoint);
    free(self->log_dir);
    free(self->log_spec);
    free(self->device);
    free(self);
}
