#include "proto/base/checksums.h"

#include "proto/base/disk.h"
#include "proto/base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    PIECE_BYTES = 1 << 20,    /* of a file in memory at a time: large enough that the calls cost nothing */
    MAX_LIST_BYTES = 1 << 20, /* a list of checksums has a line for each of a few files */
};

static void print_hex(XXH128_hash_t hash, char hex[SC_CHECKSUM_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    for (size_t i = 0; i < sizeof canonical.digest; i++) {
        hex[2 * i] = digits[canonical.digest[i] >> 4];
        hex[2 * i + 1] = digits[canonical.digest[i] & 15];
    }
    hex[SC_CHECKSUM_BYTES - 1] = '\0';
}

void sc_checksum_of(const void *bytes, size_t n_bytes, char hex[SC_CHECKSUM_BYTES])
{
    print_hex(XXH3_128bits(bytes, n_bytes), hex);
}

static sc_status fail(const char *path, const char *what)
{
    int error = errno;
    sc_status status = error == EIO ? SC_DATA_LOSS : sc_files_status(error);
    return SC_FAIL(status, "%s: %s: %s", path, what, strerror(error));
}

typedef XXH_errorcode (*hash_update)(XXH3_state_t *state, const void *bytes, size_t n_bytes);

static sc_status feed(const char *path, int fd, XXH3_state_t *state, hash_update update, uint64_t *bytes)
{
    char *piece = malloc(PIECE_BYTES);
    if (!piece)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to hash it", path);
    sc_status status = SC_OK;
    ssize_t n;
    *bytes = 0;
    while ((n = sc_disk_get()->read(fd, piece, PIECE_BYTES)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            status = fail(path, "cannot be read");
            break;
        }
        update(state, piece, (size_t)n);
        *bytes += (uint64_t)n;
    }
    free(piece);
    return status;
}

/* The whole file goes through `update`. */
static sc_status stream(const char *path, XXH3_state_t *state, hash_update update, uint64_t *bytes)
{
    /* O_NONBLOCK: a pipe in a file's place must not hang. */
    int fd = sc_disk_get()->open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd < 0)
        return fail(path, "cannot be opened");
    struct stat info;
    sc_status status;
    if (fstat(fd, &info) != 0)
        status = fail(path, "cannot be read");
    else if (!S_ISREG(info.st_mode))
        status = SC_FAIL(SC_INVALID, "%s: is not a regular file", path);
    else
        status = feed(path, fd, state, update, bytes);
    sc_disk_get()->close(fd);
    return status;
}

static sc_status new_state(const char *path, XXH3_state_t **out)
{
    *out = XXH3_createState();
    return *out ? SC_OK : SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to hash it", path);
}

sc_status sc_checksum_of_file(const char *path, uint64_t *bytes, char hex[SC_CHECKSUM_BYTES])
{
    XXH3_state_t *state;
    SC_TRY(new_state(path, &state));
    XXH3_128bits_reset(state);
    sc_status status = stream(path, state, XXH3_128bits_update, bytes);
    if (status == SC_OK)
        print_hex(XXH3_128bits_digest(state), hex);
    XXH3_freeState(state);
    return status;
}

uint64_t sc_checksum64_of(const void *bytes, size_t n_bytes)
{
    return XXH3_64bits(bytes, n_bytes);
}

sc_status sc_checksum64_of_file(const char *path, uint64_t *out)
{
    XXH3_state_t *state;
    uint64_t bytes;
    SC_TRY(new_state(path, &state));
    XXH3_64bits_reset(state);
    sc_status status = stream(path, state, XXH3_64bits_update, &bytes);
    if (status == SC_OK)
        *out = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return status;
}

/* --- a list of them ----------------------------------------------------------------------------------------------------- */

static sc_status file_in(const char *dir, const char *name, char path[PATH_MAX])
{
    return snprintf(path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX
               ? SC_OK
               : SC_FAIL(SC_INVALID, "%s: the path is too long", dir);
}

sc_status sc_checksums_write(const char *dir, const char *const *names, int n)
{
    char path[PATH_MAX], hex[SC_CHECKSUM_BYTES], *text = NULL;
    size_t text_bytes;
    uint64_t bytes;
    FILE *out = open_memstream(&text, &text_bytes);
    if (!out)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for its checksums", dir);
    sc_status status = SC_OK;
    for (int i = 0; status == SC_OK && i < n; i++) {
        status = file_in(dir, names[i], path);
        if (status == SC_OK)
            status = sc_checksum_of_file(path, &bytes, hex);
        if (status == SC_OK)
            fprintf(out, "%s  %s\n", hex, names[i]);
    }
    if (fclose(out) != 0 && status == SC_OK)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for its checksums", dir);
    if (status == SC_OK)
        status = file_in(dir, SC_CHECKSUMS_FILE, path);
    if (status == SC_OK)
        status = sc_files_replace(path, text, text_bytes);
    free(text);
    return status;
}

sc_status sc_checksums_remove(const char *dir)
{
    char path[PATH_MAX];
    SC_TRY(file_in(dir, SC_CHECKSUMS_FILE, path));
    return unlink(path) == 0 || errno == ENOENT ? SC_OK : fail(path, "cannot be removed");
}

/* One line: 32 digits, two blanks, the name of a file in the directory. */
static sc_status check_line(const char *dir, const char *list, const char *line, uint64_t *bytes)
{
    char path[PATH_MAX], found[SC_CHECKSUM_BYTES];
    const size_t digits = SC_CHECKSUM_BYTES - 1;
    const char *name = line + digits + 2;
    if (strspn(line, "0123456789abcdef") != digits || strncmp(line + digits, "  ", 2) != 0 || *name == '\0' ||
        strchr(name, '/'))
        return SC_FAIL(SC_DATA_LOSS, "%s: \"%.80s\" is not a hash and the name of a file", list, line);
    SC_TRY(file_in(dir, name, path));
    sc_status status = sc_checksum_of_file(path, bytes, found);
    if (status == SC_NOT_FOUND)
        return SC_FAIL(SC_DATA_LOSS, "%s: is missing", path);
    if (status == SC_OK && memcmp(found, line, digits) != 0)
        status = SC_FAIL(SC_DATA_LOSS, "%s: its content has changed since it was saved: xxh3-128 is %s, was %.32s",
                         path, found, line);
    return status;
}

sc_status sc_checksums_check(const char *dir, int *n, uint64_t *bytes)
{
    char path[PATH_MAX], *text, *rest;
    size_t text_bytes;
    SC_TRY(file_in(dir, SC_CHECKSUMS_FILE, path));
    SC_TRY(sc_files_read(path, MAX_LIST_BYTES, &text, &text_bytes));
    sc_status status = text_bytes > 0 && strlen(text) == text_bytes && text[text_bytes - 1] == '\n'
                           ? SC_OK
                           : SC_FAIL(SC_DATA_LOSS, "%s: does not end in a whole line", path);
    *n = 0;
    *bytes = 0;
    for (char *line = strtok_r(text, "\n", &rest); status == SC_OK && line; line = strtok_r(NULL, "\n", &rest)) {
        uint64_t file_bytes = 0;
        status = check_line(dir, path, line, &file_bytes);
        *n += 1;
        *bytes += file_bytes;
    }
    free(text);
    return status;
}
