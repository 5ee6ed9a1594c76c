#include "coordinator/data/files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

sc_status sc_files_status(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return SC_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return SC_PERMISSION_DENIED;
    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
        return SC_RESOURCE_EXHAUSTED;
    case EISDIR:
    case ENAMETOOLONG:
    case ELOOP:
        return SC_INVALID;
    default:
        return SC_UNAVAILABLE;
    }
}

static sc_status fail(const char *path, const char *what)
{
    int error = errno;
    return SC_FAIL(sc_files_status(error), "%s: %s: %s", path, what, strerror(error));
}

static sc_status check_kind(const char *path, const struct stat *info, uint64_t max_bytes)
{
    if (S_ISDIR(info->st_mode))
        return SC_FAIL(SC_INVALID, "%s: is a directory; name the files in it", path);
    if (!S_ISREG(info->st_mode))
        return SC_FAIL(SC_INVALID, "%s: is not a regular file; copy its content to one", path);
    if ((uint64_t)info->st_size > max_bytes)
        return SC_FAIL(SC_INVALID, "%s: has %" PRIu64 " bytes; at most %" PRIu64 " are read", path,
                       (uint64_t)info->st_size, max_bytes);
    return SC_OK;
}

/* Reads to the end of the file or of the buffer. */
static sc_status read_all(const char *path, int fd, char *bytes, size_t capacity, size_t *n_bytes)
{
    size_t used = 0;
    while (used < capacity) {
        ssize_t n = read(fd, bytes + used, capacity - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(path, "cannot be read");
        if (n == 0)
            break;
        used += (size_t)n;
    }
    *n_bytes = used;
    return SC_OK;
}

sc_status sc_files_read(const char *path, uint64_t max_bytes, char **bytes, size_t *n_bytes)
{
    *bytes = NULL;
    /* O_NONBLOCK: opening a pipe that nobody writes to must not hang before it can be refused. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail(path, "cannot be opened");
    sc_status status;
    struct stat info;
    char *buffer = NULL;
    if (fstat(fd, &info) != 0) {
        status = fail(path, "cannot be read");
        goto out;
    }
    SC_TRY_GOTO(status, check_kind(path, &info, max_bytes), out);
    size_t capacity = (size_t)info.st_size;
    buffer = malloc(capacity + 1);
    if (!buffer) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for its %zu bytes", path, capacity);
        goto out;
    }
    SC_TRY_GOTO(status, read_all(path, fd, buffer, capacity, n_bytes), out);
    buffer[*n_bytes] = '\0';
    *bytes = buffer;
    buffer = NULL;
out:
    free(buffer);
    close(fd);
    return status;
}

static sc_status write_all(const char *path, int fd, const char *bytes, size_t n_bytes)
{
    for (size_t done = 0; done < n_bytes;) {
        ssize_t n = write(fd, bytes + done, n_bytes - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(path, "cannot be written");
        done += (size_t)n;
    }
    if (fsync(fd) != 0)
        return fail(path, "cannot be written");
    return SC_OK;
}

sc_status sc_files_sync_directory(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(dir, "cannot be opened");
    /* Some file systems know no fsync of a directory: there a rename is as durable as it can be. */
    sc_status status = fsync(fd) == 0 || errno == EINVAL ? SC_OK : fail(dir, "cannot be written");
    close(fd);
    return status;
}

sc_status sc_files_replace(const char *path, const void *bytes, size_t n_bytes)
{
    char temporary[PATH_MAX];
    int length = snprintf(temporary, sizeof temporary, "%s.tmp.%ld", path, (long)getpid());
    if (length < 0 || (size_t)length >= sizeof temporary)
        return SC_FAIL(SC_INVALID, "%s: the path is too long", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return fail(path, "cannot be written");
    sc_status status = write_all(path, fd, bytes, n_bytes);
    if (close(fd) != 0 && status == SC_OK)
        status = fail(path, "cannot be written");
    if (status == SC_OK && rename(temporary, path) != 0)
        status = fail(path, "cannot be replaced");
    if (status != SC_OK) {
        unlink(temporary);
        return status;
    }
    snprintf(temporary, sizeof temporary, "%s", path);
    return sc_files_sync_directory(dirname(temporary));
}
