/* A disk for tests, as a table of calls (proto/base/disk.h): the n-th call fails, with all that follow if so wanted; or the
 * process ends there, by a kill or by a power cut that takes with it what was not synced.
 *
 * What a power cut takes: the bytes of files written since their last fsync; names that their directory's fsync has not
 * made durable, of which it spares the newest, for a disk keeps its own order; and directories made in such a one. */
#ifndef SC_TEST_DISK_FIXTURE_H
#define SC_TEST_DISK_FIXTURE_H

#include "proto/base/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef enum disk_fault { DISK_SOUND, DISK_FAILS_ONCE, DISK_FAILS_ON, DISK_KILL, DISK_POWER_CUT } disk_fault;

enum { DISK_MOST_FDS = 1024, DISK_MOST_NAMES = 64 };

typedef struct disk_name {
    char from[PATH_MAX], to[PATH_MAX]; /* from "": a directory that was made */
} disk_name;

static struct {
    pthread_mutex_t lock;
    disk_fault fault;
    int at, n_calls, error;
    bool struck;
    bool spoilt[DISK_MOST_FDS];  /* an fsync of it has failed */
    bool written[DISK_MOST_FDS]; /* since its last fsync */
    int n_trusted_again;         /* fsyncs of such a one */
    disk_name names[DISK_MOST_NAMES];
    int n_names;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline void disk_path_of(int fd, char path[PATH_MAX])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    path[n > 0 ? n : 0] = '\0';
}

static inline void disk_cut_power(void)
{
    for (int fd = 0; fd < DISK_MOST_FDS; fd++)
        if (disk.written[fd] && ftruncate(fd, 0) != 0)
            abort();
    for (int i = disk.n_names - 1; i >= 0; i--) {
        const disk_name *name = &disk.names[i];
        char lost[PATH_MAX + 8];
        if (name->from[0] && i == disk.n_names - 1)
            continue;
        snprintf(lost, sizeof lost, "%s.lost", name->to);
        if (rename(name->to, name->from[0] ? name->from : lost) != 0 && errno != ENOENT)
            abort();
    }
    raise(SIGKILL);
}

/* Whether the call in hand fails; its errno is set then. Under the lock. */
static inline bool disk_strikes(void)
{
    int call = ++disk.n_calls;
    if (disk.fault == DISK_SOUND || call < disk.at || (call > disk.at && disk.fault != DISK_FAILS_ON))
        return false;
    disk.struck = true;
    if (disk.fault == DISK_KILL)
        raise(SIGKILL);
    if (disk.fault == DISK_POWER_CUT)
        disk_cut_power();
    errno = disk.error;
    return true;
}

static inline void disk_note_name(const char *from, const char *to)
{
    if (disk.n_names == DISK_MOST_NAMES)
        abort();
    disk_name *name = &disk.names[disk.n_names++];
    snprintf(name->from, sizeof name->from, "%s", from);
    snprintf(name->to, sizeof name->to, "%s", to);
}

/* The names in `dir` are durable. */
static inline void disk_sync_names(const char *dir)
{
    size_t length = strlen(dir);
    int n = 0;
    for (int i = 0; i < disk.n_names; i++) {
        const char *to = disk.names[i].to;
        bool inside = strncmp(to, dir, length) == 0 && to[length] == '/' && !strchr(to + length + 1, '/');
        if (!inside)
            disk.names[n++] = disk.names[i];
    }
    disk.n_names = n;
}

#define DISK_CALL(failure, good)                                                                                       \
    pthread_mutex_lock(&disk.lock);                                                                                    \
    bool strikes = disk_strikes();                                                                                     \
    if (strikes) {                                                                                                     \
        failure;                                                                                                       \
    } else {                                                                                                           \
        good;                                                                                                          \
    }                                                                                                                  \
    int kept = strikes ? disk.error : errno;                                                                           \
    pthread_mutex_unlock(&disk.lock);                                                                                  \
    errno = kept

static inline int disk_open(const char *path, int flags, mode_t mode)
{
    int fd = -1;
    DISK_CALL((void)0, fd = open(path, flags, mode); if (fd >= DISK_MOST_FDS) abort();
              if (fd >= 0) disk.spoilt[fd] = disk.written[fd] = false);
    return fd;
}

static inline ssize_t disk_read(int fd, void *bytes, size_t n)
{
    ssize_t got = -1;
    DISK_CALL((void)0, got = read(fd, bytes, n));
    return got;
}

/* A disk that is full takes a part of the bytes. */
static inline ssize_t disk_write(int fd, const void *bytes, size_t n)
{
    ssize_t got = -1;
    DISK_CALL(if (write(fd, bytes, n / 2) < 0) abort(), got = write(fd, bytes, n));
    disk.written[fd] = true;
    return got;
}

static inline ssize_t disk_pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    ssize_t got = -1;
    DISK_CALL(if (pwrite(fd, bytes, n / 2, offset) < 0) abort(), got = pwrite(fd, bytes, n, offset));
    disk.written[fd] = true;
    return got;
}

/* Durability is modelled; the real one would only take its time. */
static inline int disk_fsync(int fd)
{
    int result = -1;
    char path[PATH_MAX];
    struct stat info;
    DISK_CALL(disk.spoilt[fd] = true, result = 0; disk.n_trusted_again += disk.spoilt[fd]; disk.written[fd] = false;
              disk_path_of(fd, path); if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) disk_sync_names(path));
    return result;
}

/* Fails as close does: the descriptor is gone all the same. */
static inline int disk_close(int fd)
{
    int result = -1;
    disk.spoilt[fd] = disk.written[fd] = false;
    DISK_CALL(close(fd), result = close(fd));
    return result;
}

static inline int disk_rename(const char *from, const char *to)
{
    int result = -1;
    DISK_CALL((void)0, result = rename(from, to); if (result == 0) disk_note_name(from, to));
    return result;
}

static inline int disk_unlinkat(int dir_fd, const char *path, int flags)
{
    int result = -1;
    DISK_CALL((void)0, result = unlinkat(dir_fd, path, flags));
    return result;
}

static inline int disk_mkdir(const char *path, mode_t mode)
{
    int result = -1;
    DISK_CALL((void)0, result = mkdir(path, mode); if (result == 0) disk_note_name("", path));
    return result;
}

/* From here on the n-th call from now strikes. */
static inline void disk_plan(disk_fault fault, int at, int error)
{
    static const sc_disk table = {
        .open = disk_open,
        .read = disk_read,
        .write = disk_write,
        .pwrite = disk_pwrite,
        .fsync = disk_fsync,
        .close = disk_close,
        .rename = disk_rename,
        .unlinkat = disk_unlinkat,
        .mkdir = disk_mkdir,
    };
    disk.fault = fault;
    disk.at = at;
    disk.error = error;
    disk.n_calls = disk.n_names = disk.n_trusted_again = 0;
    disk.struck = false;
    sc_disk_set(&table);
}

#endif
