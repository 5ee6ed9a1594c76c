/* A directory for a test's files, removed with all that is in it. Failures end the test. */
#ifndef SC_TEST_SCRATCH_H
#define SC_TEST_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char scratch_path[64];

static inline int scratch_setup(void **state)
{
    (void)state;
    snprintf(scratch_path, sizeof scratch_path, "/tmp/stagecoach-test-XXXXXX");
    return mkdtemp(scratch_path) ? 0 : -1;
}

static inline int scratch_remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info, (void)type, (void)walk;
    return remove(path);
}

static inline int scratch_teardown(void **state)
{
    (void)state;
    return nftw(scratch_path, scratch_remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* The path of a file in the directory; one of eight buffers, reused in turn. */
static inline char *scratch_file(const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % 8];
    if (snprintf(path, sizeof paths[0], "%s/%s", scratch_path, name) >= (int)sizeof paths[0])
        abort();
    return path;
}

static inline char *scratch_write(const char *name, const void *bytes, size_t n_bytes)
{
    char *path = scratch_file(name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n_bytes, file), n_bytes);
    assert_int_equal(fclose(file), 0);
    return path;
}

/* The file's content with a NUL behind it; to be freed. */
static inline char *scratch_read(const char *name)
{
    FILE *file = fopen(scratch_file(name), "rb");
    assert_non_null(file);
    char *text = calloc(1, 1 << 16);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 16) - 1, file) < (1 << 16) - 1);
    fclose(file);
    return text;
}

#endif
