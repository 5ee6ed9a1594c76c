/* What the tests of the BPE tokenizer share. Failures end the test. */
#ifndef SC_TEST_TOKENIZER_FIXTURE_H
#define SC_TEST_TOKENIZER_FIXTURE_H

#include "proto/base/files.h"
#include "coordinator/data/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define GOLDEN SC_SOURCE_DIR "/tests/golden/"

static inline sc_tokenizer *open_tokenizer(const char *path)
{
    sc_tokenizer *self;
    if (sc_tokenizer_open(path, &self) != SC_OK)
        fail_msg("%s", sc_status_message());
    return self;
}

/* A file of the source tree, with a NUL behind it; to be freed. */
static inline char *read_golden(const char *path, size_t *n)
{
    char *bytes;
    if (sc_files_read(path, INT64_MAX, &bytes, n) != SC_OK)
        fail_msg("%s", sc_status_message());
    return bytes;
}

static inline int32_t *encode(const sc_tokenizer *self, const char *bytes, size_t n_bytes, size_t *n)
{
    int32_t *ids;
    if (sc_tokenizer_encode_all(self, &(sc_text){.name = "text", .bytes = bytes, .n_bytes = n_bytes}, &ids, n) != SC_OK)
        fail_msg("%s", sc_status_message());
    return ids;
}

static inline void assert_message(const char *piece)
{
    if (!strstr(sc_status_message(), piece))
        fail_msg("message \"%s\" lacks \"%s\"", sc_status_message(), piece);
}

#endif
