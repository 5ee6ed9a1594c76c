#include "proto/base/files.h"

#include "proto/base/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
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
    bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    return SC_FAIL(sc_files_status(error), "%s: %s: %s%s", path, what, strerror(error),
                   full ? "; free some space, or write to another place" : "");
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

sc_status sc_files_open(const char *path, uint64_t max_bytes, int *fd, uint64_t *n_bytes)
{
    /* O_NONBLOCK: opening a pipe that nobody writes to must not hang before it can be refused. */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return fail(path, "cannot be opened");
    struct stat info;
    sc_status status = fstat(*fd, &info) == 0 ? check_kind(path, &info, max_bytes) : fail(path, "cannot be read");
    *n_bytes = (uint64_t)info.st_size;
    if (status != SC_OK) {
        close(*fd);
        *fd = -1;
    }
    return status;
}

sc_status sc_files_fill(const char *path, int fd, char *bytes, size_t capacity, size_t *n_bytes)
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
    int fd;
    uint64_t size;
    SC_TRY(sc_files_open(path, max_bytes, &fd, &size));
    sc_status status;
    char *buffer = malloc(size + 1);
    if (!buffer) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for its %" PRIu64 " bytes", path, size);
        goto out;
    }
    SC_TRY_GOTO(status, sc_files_fill(path, fd, buffer, size, n_bytes), out);
    buffer[*n_bytes] = '\0';
    *bytes = buffer;
    buffer = NULL;
out:
    free(buffer);
    close(fd);
    return status;
}

sc_status sc_files_make_directories(const char *path)
{
    char part[PATH_MAX];
    if (strlen(path) >= sizeof part)
        return SC_FAIL(SC_INVALID, "the path of a directory is longer than %zu bytes", sizeof part - 1);
    strcpy(part, path);
    for (char *p = part + 1; part[0]; p++) {
        const char kept = *p;
        if (kept != '/' && kept != '\0')
            continue;
        *p = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST) {
            const int error = errno;
            return SC_FAIL(sc_files_status(error), "cannot make the directory %s: %s", part, strerror(error));
        }
        if (kept == '\0')
            break;
        *p = kept;
    }
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return SC_FAIL(SC_INVALID, "%s is not a directory", path);
    return SC_OK;
}

sc_status sc_files_sync_directory(const char *dir)
{
    int fd = sc_disk_get()->open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return fail(dir, "cannot be opened");
    /* Some file systems know no fsync of a directory: there a rename is as durable as it can be. */
    sc_status status = sc_disk_get()->fsync(fd) == 0 || errno == EINVAL ? SC_OK : fail(dir, "cannot be written");
    sc_disk_get()->close(fd);
    return status;
}

sc_status sc_new_file_open(const char *path, sc_new_file *self)
{
    *self = (sc_new_file){.fd = -1};
    if (strlen(path) + 32 > PATH_MAX)
        return SC_FAIL(SC_INVALID, "%s: the path is too long", path);
    self->path = strdup(path);
    if (!self->path || asprintf(&self->temporary, "%s.tmp.%ld", path, (long)getpid()) < 0) {
        self->temporary = NULL;
        sc_new_file_close(self);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to write it", path);
    }
    self->fd = sc_disk_get()->open(self->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (self->fd >= 0)
        return SC_OK;
    sc_status status = fail(path, "cannot be written");
    sc_new_file_close(self);
    return status;
}

sc_status sc_new_file_write(sc_new_file *self, const void *bytes, size_t n_bytes)
{
    for (size_t done = 0; done < n_bytes;) {
        ssize_t n = sc_disk_get()->write(self->fd, (const char *)bytes + done, n_bytes - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(self->path, "cannot be written");
        done += (size_t)n;
    }
    return SC_OK;
}

sc_status sc_new_file_rewrite(sc_new_file *self, uint64_t offset, const void *bytes, size_t n_bytes)
{
    for (size_t done = 0; done < n_bytes;) {
        ssize_t n = sc_disk_get()->pwrite(self->fd, (const char *)bytes + done, n_bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(self->path, "cannot be written");
        done += (size_t)n;
    }
    return SC_OK;
}

sc_status sc_new_file_commit(sc_new_file *self)
{
    const int fd = self->fd;
    self->fd = -1;
    sc_status status = sc_disk_get()->fsync(fd) == 0 ? SC_OK : fail(self->path, "cannot be written");
    if (sc_disk_get()->close(fd) != 0 && status == SC_OK)
        status = fail(self->path, "cannot be written");
    if (status == SC_OK && sc_disk_get()->rename(self->temporary, self->path) != 0)
        status = fail(self->path, "cannot be replaced");
    if (status != SC_OK)
        return status;
    free(self->temporary);
    self->temporary = NULL;
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", self->path);
    return sc_files_sync_directory(dirname(copy));
}

void sc_new_file_close(sc_new_file *self)
{
    if (self->temporary) { /* not committed */
        if (self->fd >= 0)
            sc_disk_get()->close(self->fd);
        sc_disk_get()->unlinkat(AT_FDCWD, self->temporary, 0);
    }
    free(self->path);
    free(self->temporary);
    *self = (sc_new_file){.fd = -1};
}

sc_status sc_files_replace(const char *path, const void *bytes, size_t n_bytes)
{
    sc_new_file file;
    SC_TRY(sc_new_file_open(path, &file));
    sc_status status = sc_new_file_write(&file, bytes, n_bytes);
    if (status == SC_OK)
        status = sc_new_file_commit(&file);
    sc_new_file_close(&file);
    return status;
}
