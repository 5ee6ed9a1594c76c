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

/* Replaces `path` by n_bytes bytes, wholly or not at all, whatever happens: temporary file beside it, fsync, rename, fsync of
 * the directory. Errors, naming the path: SC_RESOURCE_EXHAUSTED (disk full), SC_PERMISSION_DENIED, SC_NOT_FOUND (no such
 * directory), SC_UNAVAILABLE. */
sc_status sc_files_replace(const char *path, const void *bytes, size_t n_bytes);

/* What was made, renamed or removed in a directory is on the disk only with the directory itself. */
sc_status sc_files_sync_directory(const char *dir);

/* The status that tells an errno best. */
sc_status sc_files_status(int error);

#endif
