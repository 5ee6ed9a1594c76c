#include "coordinator/data/tokens.h"

#include "proto/base/checksums.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t token_bytes(bool wide)
{
    return wide ? sizeof(int32_t) : sizeof(uint16_t);
}

/* n ids that stand as uint16_t at the beginning of `ids`, made int32_t in place. */
static void widen(int32_t *ids, size_t n)
{
    for (size_t i = n; i-- > 0;) {
        uint16_t id;
        memcpy(&id, (const char *)ids + i * sizeof id, sizeof id);
        ids[i] = id;
    }
}

static sc_status read_file(const sc_token_part *part, uint64_t at, size_t n, int32_t *ids)
{
    const size_t n_bytes = n * token_bytes(part->wide);
    const uint64_t offset = part->offset + at * token_bytes(part->wide);
    for (size_t done = 0; done < n_bytes;) {
        const ssize_t got = pread(part->fd, (char *)ids + done, n_bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return SC_FAIL(SC_UNAVAILABLE, "%s: cannot be read: %s", part->name, strerror(errno));
        if (got == 0)
            return SC_FAIL(SC_DATA_LOSS, "%s: has become shorter since it was opened; write it again", part->name);
        done += (size_t)got;
    }
    if (!part->wide)
        widen(ids, n);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= part->vocab)
            return SC_FAIL(SC_DATA_LOSS,
                           "%s: token %" PRIu64 " is %" PRId32 ", beyond the vocabulary of %d; write it again",
                           part->name, at + i, ids[i], part->vocab);
    return SC_OK;
}

static sc_status read_part(const sc_token_part *part, uint64_t at, size_t n, int32_t *ids)
{
    if (!part->data)
        return read_file(part, at, n, ids);
    memcpy(ids, (const char *)part->data + at * token_bytes(part->wide), n * token_bytes(part->wide));
    if (!part->wide)
        widen(ids, n);
    return SC_OK;
}

/* The part that has the stream's token `at`. */
static int find_part(const sc_tokens *self, uint64_t at)
{
    int low = 0, high = self->n_parts;
    while (high - low > 1) {
        const int middle = low + (high - low) / 2;
        if (self->parts[middle].start <= at)
            low = middle;
        else
            high = middle;
    }
    return low;
}

sc_status sc_tokens_read(const sc_tokens *self, uint64_t at, size_t n, int32_t *ids)
{
    assert(at <= self->n && n <= self->n - at);
    at += self->start;
    for (int i = n ? find_part(self, at) : 0; n > 0; i++) {
        const sc_token_part *part = &self->parts[i];
        const uint64_t left = part->start + part->n - at;
        const size_t here = left < n ? (size_t)left : n;
        SC_TRY(read_part(part, at - part->start, here, ids));
        at += here;
        ids += here;
        n -= here;
    }
    return SC_OK;
}

enum {
    HASH_WHOLE = 1 << 26, /* tokens: 256 MiB as int32, a fraction of a second */
    HASH_BLOCK = 1 << 16,
};

static sc_status hash_stretch(const sc_tokens *tokens, uint64_t first, uint64_t n, int32_t *block, uint64_t *hash)
{
    for (uint64_t at = first; at < first + n; at += HASH_BLOCK) {
        size_t count = (size_t)(first + n - at < HASH_BLOCK ? first + n - at : HASH_BLOCK);
        SC_TRY(sc_tokens_read(tokens, at, count, block));
        uint64_t pair[2] = {*hash, sc_checksum64_of(block, count * sizeof *block)};
        *hash = sc_checksum64_of(pair, sizeof pair);
    }
    return SC_OK;
}

sc_status sc_tokens_hash(const sc_tokens *tokens, uint64_t *out)
{
    int32_t *block = malloc(HASH_BLOCK * sizeof *block);
    if (!block)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to hash tokens");
    uint64_t hash = tokens->n, half = HASH_WHOLE / 2;
    sc_status status;
    if (tokens->n <= HASH_WHOLE) {
        status = hash_stretch(tokens, 0, tokens->n, block, &hash);
    } else {
        status = hash_stretch(tokens, 0, half, block, &hash);
        if (status == SC_OK)
            status = hash_stretch(tokens, tokens->n - half, half, block, &hash);
    }
    free(block);
    *out = hash;
    return status;
}
