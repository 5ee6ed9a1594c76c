/* Hashes of files: xxh3 of 128 bits, spelled as `xxh128sum` does, so that a file can be checked without this program. */
#ifndef SC_CHECKSUMS_H
#define SC_CHECKSUMS_H

#include "proto/base/status.h"

#include <stddef.h>
#include <stdint.h>

enum { SC_CHECKSUM_BYTES = 33 }; /* 32 hexadecimal digits and their NUL */

/* Of bytes in memory. */
void sc_checksum_of(const void *bytes, size_t n_bytes, char hex[SC_CHECKSUM_BYTES]);
/* Size and hash of a regular file, read through a descriptor of its own. Errors: as sc_files_read; SC_DATA_LOSS for a read
 * error of the device. */
sc_status sc_checksum_of_file(const char *path, uint64_t *bytes, char hex[SC_CHECKSUM_BYTES]);

/* xxh3 of 64 bits: of bytes, and of a regular file, read as a stream. Errors: as sc_checksum_of_file. */
uint64_t sc_checksum64_of(const void *bytes, size_t n_bytes);
sc_status sc_checksum64_of_file(const char *path, uint64_t *out);

#define SC_CHECKSUMS_FILE "checksums.xxh128"

/* Writes DIR/checksums.xxh128, a line for each of the files: wholly or not at all. `xxhsum -c` reads it. */
sc_status sc_checksums_write(const char *dir, const char *const *names, int n);
/* Removes it; fine if there is none. */
sc_status sc_checksums_remove(const char *dir);
/* Hashes every file that DIR/checksums.xxh128 names; their number and bytes together in *n and *bytes.
 * Errors: SC_NOT_FOUND (no such list); SC_DATA_LOSS naming the file that is missing or has changed, or the bad line. */
sc_status sc_checksums_check(const char *dir, int *n, uint64_t *bytes);

#endif
