/* Small and large files read and written whole. Thread: any. */
#ifndef SC_FILES_H
#define SC_FILES_H

#include "proto/base/status.h"

#include <stddef.h>
#include <stdint.h>

/* Reads a regular file of at most max_bytes. *bytes is owned, to be freed with free (), followed by a NUL that *n_bytes
 * does not count. Errors, naming the path: SC_NOT_FOUND, SC_PERMISSION_DENIED, SC_INVALID (a directory or something
 * else that is no regular file, larger than max_bytes), SC_RESOURCE_EXHAUSTED, SC_UNAVAILABLE (read error). */
sc_status sc_files_read(const char *path, uint64_t max_bytes, char **bytes, size_t *n_bytes);

/* Opens a regular file for reading: *fd is the caller's to close, *n_bytes its size now. Errors: as sc_files_read. */
sc_status sc_files_open(const char *path, uint64_t max_bytes, int *fd, uint64_t *n_bytes);
/* Reads up to `capacity` bytes; *n_bytes is less only at the file's end. Errors: as sc_files_read. */
sc_status sc_files_fill(const char *path, int fd, char *bytes, size_t capacity, size_t *n_bytes);

/* A file that is written piece by piece and takes its place at `path` when it is complete: a temporary file beside it, then
 * fsync, rename, fsync of the directory. Until then, and after an error, the old file stays. Zero-initialise. */
typedef struct sc_new_file {
    char *path, *temporary;
    int fd;
} sc_new_file;
/* Errors of all: as sc_files_replace. */
sc_status sc_new_file_open(const char *path, sc_new_file *self);
sc_status sc_new_file_write(sc_new_file *self, const void *bytes, size_t n_bytes);
/* Writes at an offset, over what is there. */
sc_status sc_new_file_rewrite(sc_new_file *self, uint64_t offset, const void *bytes, size_t n_bytes);
sc_status sc_new_file_commit(sc_new_file *self);
/* Removes what was not committed; may be called in any state, and twice. */
void sc_new_file_close(sc_new_file *self);

/* Replaces `path` by n_bytes bytes, wholly or not at all, whatever happens: temporary file beside it, fsync, rename, fsync of
 * the directory. Errors, naming the path: SC_RESOURCE_EXHAUSTED (disk full), SC_PERMISSION_DENIED, SC_NOT_FOUND (no such
 * directory), SC_UNAVAILABLE. */
sc_status sc_files_replace(const char *path, const void *bytes, size_t n_bytes);

/* Makes the directory `path`, and those above it, where they are not there. Errors, naming the path: SC_PERMISSION_DENIED,
 * SC_RESOURCE_EXHAUSTED (disk full), SC_INVALID (something else is there, or the path is too long), SC_NOT_FOUND (where none can
 * be made, as in /proc), SC_UNAVAILABLE. */
sc_status sc_files_make_directories(const char *path);

/* What was made, renamed or removed in a directory is on the disk only with the directory itself. */
sc_status sc_files_sync_directory(const char *dir);

/* The status that tells an errno best. */
sc_status sc_files_status(int error);

#endif
