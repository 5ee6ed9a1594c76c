#include "coordinator/run/run_dir.h"

#include "coordinator/run/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N_PATHS = 8 };

struct sc_run_dir {
    char *dir;
    int lock_fd;
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

static sc_status make_dirs(const char *path)
{
    char part[PATH_MAX];
    if (strlen(path) >= sizeof part)
        return SC_FAIL(SC_INVALID, "the path of the run directory is longer than %zu bytes", sizeof part - 1);
    strcpy(part, path);
    for (char *p = part + 1;; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char kept = *p;
        *p = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return fail_errno("make the directory", part);
        if (kept == '\0')
            break;
        *p = kept;
    }
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return SC_FAIL(SC_INVALID, "%s is not a directory; run.dir must name one", path);
    return SC_OK;
}

const char *sc_run_dir_path(sc_run_dir *self, const char *name)
{
    char *path = self->paths[self->next_path++ % N_PATHS];
    snprintf(path, PATH_MAX, "%s/%s", self->dir, name);
    return path;
}

static sc_status take_lock(sc_run_dir *self)
{
    const char *path = sc_run_dir_path(self, "lock");
    self->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (self->lock_fd < 0)
        return fail_errno("open", path);
    char text[128] = "";
    if (flock(self->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t n = pread(self->lock_fd, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        text[strcspn(text, "\n")] = '\0';
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "another coordinator (%s) is running in %s; stop it, or choose another directory with --run-dir",
                       text[0] ? text : "unknown", self->dir);
    }
    char host[64] = "";
    gethostname(host, sizeof host - 1);
    int n = snprintf(text, sizeof text, "%s:%d\n", host, (int)getpid());
    if (ftruncate(self->lock_fd, 0) != 0 || pwrite(self->lock_fd, text, (size_t)n, 0) != n)
        return fail_errno("write", path);
    return SC_OK;
}

/* What an earlier run left goes to earlier/<n>, n the first that is free. */
static sc_status move_aside(sc_run_dir *self)
{
    static const char *const names[] = {"events.jsonl", "config.yaml", "logs", "final", "checkpoints"};
    if (access(sc_run_dir_path(self, "events.jsonl"), F_OK) != 0 &&
        access(sc_run_dir_path(self, "checkpoints"), F_OK) != 0)
        return SC_OK;
    SC_TRY(make_dirs(sc_run_dir_path(self, "earlier")));
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
    if (n > 0 && mode == SC_RUN_DIR_RESUME)
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
    self->lock_fd = -1;
    sc_status status = SC_OK;
    self->dir = strdup(config->run.dir);
    if (!self->dir)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the run directory");
    if (status != SC_OK)
        goto failed;
    SC_TRY_GOTO(status, make_dirs(self->dir), failed);
    SC_TRY_GOTO(status, take_lock(self), failed);
    SC_TRY_GOTO(status, settle_earlier_run(self, mode), failed);
    SC_TRY_GOTO(status, make_dirs(sc_run_dir_path(self, "logs")), failed);
    SC_TRY_GOTO(status, make_dirs(sc_run_dir_path(self, "final")), failed);
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
    free(self->dir);
    free(self);
}
