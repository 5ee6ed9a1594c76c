#include "coordinator/run/run_dir.h"

#include "coordinator/run/checkpoint_internal.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SC_LOG_SUBSYSTEM "run-dir"

#define TOKEN_FILE ".stagecoach-token" /* the worker's SC_SHARED_TOKEN_FILE */

enum {
    N_PATHS = 8,
    LOCK_PATIENCE_MS = 1000,
    LOCK_LOOK_NS = 10000000,
};

struct sc_run_dir {
    char *dir;
    char *shared;    /* the shared directory of sets, NULL: none */
    bool use_shared; /* new sets go there */
    char token[40];
    int lock_fd, shared_lock_fd; /* -1: none */
    char moved_to[PATH_MAX];
    char paths[N_PATHS][PATH_MAX];
    unsigned next_path;
};

static sc_status fail_errno(const char *what, const char *path)
{
    sc_status status = errno == EACCES || errno == EPERM || errno == EROFS ? SC_PERMISSION_DENIED
                       : errno == ENOSPC || errno == EDQUOT                ? SC_RESOURCE_EXHAUSTED
                                                                           : SC_INVALID;
    return SC_FAIL(status, "cannot %s %s: %s", what, path, strerror(errno));
}

/* With its parents. `option` is for the remedy. */
static sc_status make_dirs(const char *path, const char *option)
{
    const sc_status status = sc_files_make_directories(path);
    return status == SC_OK ? SC_OK : SC_FAIL(status, "%s; choose another place with %s", sc_status_message(), option);
}

const char *sc_run_dir_path(sc_run_dir *self, const char *name)
{
    char *path = self->paths[self->next_path++ % N_PATHS];
    snprintf(path, PATH_MAX, "%s/%s", self->dir, name);
    return path;
}

/* "host:pid, since 2026-01-31 12:00:00 UTC" */
static void describe_holder(char *text, size_t text_bytes)
{
    char host[64] = "unknown", since[32];
    struct tm parts;
    time_t now = time(NULL);
    gethostname(host, sizeof host - 1);
    gmtime_r(&now, &parts);
    strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S UTC", &parts);
    snprintf(text, text_bytes, "%s:%d, since %s\n", host, (int)getpid(), since);
}

static sc_status fail_held(int fd, const char *dir, const char *remedy)
{
    char text[160] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return SC_FAIL(SC_FAILED_PRECONDITION, "another coordinator (%s) is running in %s; stop it, or %s",
                   text[0] ? text : "unknown", dir, remedy);
}

/* A holder that has just been killed may leave a child between fork and exec, which shares the lock for that long. */
static int lock_soon(int fd)
{
    sc_clock clock = sc_clock_system();
    uint64_t end_ms = sc_clock_ms(&clock) + LOCK_PATIENCE_MS;
    int failed;
    while ((failed = flock(fd, LOCK_EX | LOCK_NB)) != 0 && errno == EWOULDBLOCK && sc_clock_ms(&clock) < end_ms)
        nanosleep(&(struct timespec){.tv_nsec = LOCK_LOOK_NS}, NULL);
    return failed;
}

/* Locks DIR/lock; *fd stays open as long as the lock is wanted. */
static sc_status take_lock(const char *dir, const char *remedy, int *fd)
{
    char path[PATH_MAX], text[160];
    if (snprintf(path, sizeof path, "%s/lock", dir) >= (int)sizeof path)
        return SC_FAIL(SC_INVALID, "%s: the path is too long", dir);
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*fd < 0)
        return fail_errno("open", path);
    if (lock_soon(*fd) != 0) {
        if (errno == EWOULDBLOCK)
            return fail_held(*fd, dir, remedy);
        SC_WARN("%s cannot be locked (%s): a second coordinator in this directory would not be noticed", path,
                strerror(errno));
    }
    describe_holder(text, sizeof text);
    ssize_t n = (ssize_t)strlen(text);
    if (ftruncate(*fd, 0) != 0 || pwrite(*fd, text, (size_t)n, 0) != n)
        SC_WARN("%s does not tell who holds it: %s", path, strerror(errno)); /* the lock holds all the same */
    return SC_OK;
}

/* --- the shared directory --------------------------------------------------------------------------------------------------- */

/* Names that a set may have: step-... */
static bool is_set(const struct dirent *entry)
{
    return strncmp(entry->d_name, "step-", 5) == 0;
}

static bool has_sets(const char *path)
{
    DIR *dir = opendir(path);
    bool found = false;
    for (struct dirent *entry; !found && dir && (entry = readdir(dir));)
        found = is_set(entry);
    if (dir)
        closedir(dir);
    return found;
}

/* The link in the run directory names the shared one. */
static sc_status link_shared(sc_run_dir *self)
{
    char target[PATH_MAX];
    const char *path = sc_run_dir_path(self, SC_CHECKPOINT_SHARED_SETS);
    ssize_t n = readlink(path, target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    if (n > 0 && strcmp(target, self->shared) == 0)
        return SC_OK;
    if (n > 0 && has_sets(target))
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "checkpoint.dir: the run's shared checkpoints are in %s, the config has %s; move them there, or "
                       "restore the old value",
                       target, self->shared);
    if (n > 0 && unlink(path) != 0)
        return fail_errno("replace", path);
    return symlink(self->shared, path) == 0 ? SC_OK : fail_errno("make the link", path);
}

static sc_status write_token(sc_run_dir *self)
{
    char path[PATH_MAX];
    uint64_t random[2];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return SC_FAIL(SC_INTERNAL, "no random number for the shared directory's token: %s", strerror(errno));
    snprintf(self->token, sizeof self->token, "%016llx%016llx", (unsigned long long)random[0],
             (unsigned long long)random[1]);
    if (snprintf(path, sizeof path, "%s/%s", self->shared, TOKEN_FILE) >= (int)sizeof path)
        return SC_FAIL(SC_INVALID, "%s: the path is too long", self->shared);
    return sc_files_replace(path, self->token, strlen(self->token));
}

/* With checkpoint.dir: makes it, locks it and says so in the run directory. Without: what the run directory says is locked,
 * for its sets are read and pruned. */
static sc_status open_shared(sc_run_dir *self, const char *key)
{
    static const char remedy[] = "choose another checkpoint.dir: two runs cannot share one";
    char path[PATH_MAX], real[PATH_MAX];
    self->use_shared = key != NULL;
    snprintf(path, sizeof path, "%s", key ? key : sc_run_dir_path(self, SC_CHECKPOINT_SHARED_SETS));
    if (key)
        SC_TRY(make_dirs(path, "checkpoint.dir"));
    if (!realpath(path, real))
        return key ? fail_errno("find", path) : SC_OK; /* a dangling link is told where its sets are looked for */
    self->shared = strdup(real);
    if (!self->shared)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the run directory");
    SC_TRY(take_lock(self->shared, remedy, &self->shared_lock_fd));
    if (!key)
        return SC_OK;
    SC_TRY(link_shared(self));
    return write_token(self);
}

/* The sets of the shared directory go to its earlier/<n>, and `to`, in the run's own earlier/<n>, becomes the link to them. */
static sc_status move_shared_aside(sc_run_dir *self, const char *to)
{
    char target[PATH_MAX], from_path[PATH_MAX], to_path[PATH_MAX];
    if (!self->shared || !has_sets(self->shared))
        return SC_OK;
    if (strlen(self->shared) + 300 > sizeof target)
        return SC_FAIL(SC_INVALID, "%s: the path is too long", self->shared);
    snprintf(target, sizeof target, "%s/earlier", self->shared);
    SC_TRY(make_dirs(target, "checkpoint.dir"));
    for (int n = 1;; n++) {
        snprintf(target, sizeof target, "%s/earlier/%d", self->shared, n);
        if (mkdir(target, 0777) == 0)
            break;
        if (errno != EEXIST)
            return fail_errno("make the directory", target);
    }
    DIR *dir = opendir(self->shared);
    if (!dir)
        return fail_errno("read", self->shared);
    sc_status status = SC_OK;
    for (struct dirent *entry; status == SC_OK && (entry = readdir(dir));) {
        if (!is_set(entry))
            continue;
        snprintf(from_path, sizeof from_path, "%.3500s/%.255s", self->shared, entry->d_name);
        snprintf(to_path, sizeof to_path, "%.3500s/%.255s", target, entry->d_name);
        if (rename(from_path, to_path) != 0)
            status = fail_errno("move aside", from_path);
    }
    closedir(dir);
    SC_TRY(status);
    return symlink(target, to) == 0 ? SC_OK : fail_errno("make the link", to);
}

/* --- earlier runs ------------------------------------------------------------------------------------------------------------ */

/* What an earlier run left goes to earlier/<n>, n the first that is free. */
static sc_status move_aside(sc_run_dir *self)
{
    static const char *const names[] = {"events.jsonl", "config.yaml",     "logs",           "final",
                                        "checkpoints",  "lineage",         SC_RUN_DIR_URL,   "test.pred",
                                        "test.json",    "validation.pred", "validation.json"};
    if (access(sc_run_dir_path(self, "events.jsonl"), F_OK) != 0 &&
        access(sc_run_dir_path(self, "checkpoints"), F_OK) != 0 && !(self->shared && has_sets(self->shared)))
        return SC_OK;
    SC_TRY(make_dirs(sc_run_dir_path(self, "earlier"), "--run-dir"));
    char sub[32];
    for (int n = 1;; n++) {
        snprintf(sub, sizeof sub, "earlier/%d", n);
        if (mkdir(sc_run_dir_path(self, sub), 0777) == 0)
            break;
        if (errno != EEXIST)
            return fail_errno("make the directory", sc_run_dir_path(self, sub));
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char to[64];
        snprintf(to, sizeof to, "%s/%s", sub, names[i]);
        if (rename(sc_run_dir_path(self, names[i]), sc_run_dir_path(self, to)) != 0 && errno != ENOENT)
            return fail_errno("move aside", sc_run_dir_path(self, names[i]));
    }
    char link[64];
    snprintf(link, sizeof link, "%s/" SC_CHECKPOINT_SHARED_SETS, sub);
    SC_TRY(move_shared_aside(self, sc_run_dir_path(self, link)));
    snprintf(self->moved_to, sizeof self->moved_to, "%s", sc_run_dir_path(self, sub));
    return SC_OK;
}

static sc_status settle_earlier_run(sc_run_dir *self, sc_run_dir_mode mode)
{
    sc_checkpoint_list list;
    SC_TRY(sc_checkpoint_list_of(self->dir, &list));
    int n = list.n;
    int64_t newest = n > 0 ? list.steps[0] : 0;
    sc_checkpoint_list_clear(&list);
    bool in_memories = access(sc_run_dir_path(self, "lineage"), F_OK) == 0;
    if ((n > 0 || in_memories) && mode == SC_RUN_DIR_RESUME)
        return SC_OK;
    if (n > 0 && mode == SC_RUN_DIR_FRESH)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "%s holds checkpoints up to step %lld; leave out --fresh to go on from there, choose another "
                       "directory with --run-dir, or add --force to move them aside",
                       self->dir, (long long)newest);
    return move_aside(self);
}

const char *sc_run_dir_root(const sc_run_dir *self)
{
    return self->dir;
}

const char *sc_run_dir_shared(const sc_run_dir *self)
{
    return self->use_shared ? self->shared : NULL;
}

const char *sc_run_dir_token(const sc_run_dir *self)
{
    return self->token;
}

sc_status sc_run_dir_write_config(sc_run_dir *self, const sc_config *config)
{
    const char *path = sc_run_dir_path(self, "config.yaml");
    FILE *file = fopen(path, "we");
    if (!file)
        return fail_errno("write", path);
    int printed = sc_config_print(config, file);
    if (fclose(file) != 0 || printed != 0)
        return fail_errno("write", path);
    return SC_OK;
}

sc_status sc_run_dir_open(const sc_config *config, sc_run_dir_mode mode, sc_run_dir **out, const char **moved_to)
{
    sc_run_dir *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the run directory");
    self->lock_fd = self->shared_lock_fd = -1;
    sc_status status = SC_OK;
    self->dir = strdup(config->run.dir);
    if (!self->dir)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the run directory");
    if (status != SC_OK)
        goto failed;
    SC_TRY_GOTO(status, make_dirs(self->dir, "--run-dir"), failed);
    SC_TRY_GOTO(status, take_lock(self->dir, "choose another directory with --run-dir", &self->lock_fd), failed);
    SC_TRY_GOTO(status, open_shared(self, config->checkpoint.dir), failed);
    SC_TRY_GOTO(status, settle_earlier_run(self, mode), failed);
    SC_TRY_GOTO(status, make_dirs(sc_run_dir_path(self, "logs"), "--run-dir"), failed);
    SC_TRY_GOTO(status, make_dirs(sc_run_dir_path(self, "final"), "--run-dir"), failed);
    if (moved_to)
        *moved_to = self->moved_to;
    *out = self;
    return SC_OK;
failed:
    sc_run_dir_close(&self);
    return status;
}

void sc_run_dir_close(sc_run_dir **self_p)
{
    sc_run_dir *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    if (self->lock_fd >= 0)
        close(self->lock_fd);
    if (self->shared_lock_fd >= 0)
        close(self->shared_lock_fd);
    free(self->shared);
    free(self->dir);
    free(self);
}
