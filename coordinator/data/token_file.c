#include "coordinator/data/token_file.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

static const char magic[8] = {'S', 'C', 'T', 'O', 'K', 'E', 'N', 'S'};
enum { VERSION = 1, HEADER_BYTES = 64, HASHED_BYTES = 40 };
enum { BUFFER_BYTES = 1 << 20 };

typedef struct header {
    char magic[8];
    uint32_t version, id_bytes;
    uint64_t n, vocab, tokenizer, check;
    char zero[16];
} header;
_Static_assert(sizeof(header) == HEADER_BYTES, "the header is laid out as the format says");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "ids and header are written as they lie in memory");

static uint32_t id_bytes(int vocab)
{
    return vocab > UINT16_MAX + 1 ? sizeof(uint32_t) : sizeof(uint16_t);
}

sc_status sc_token_file_probe(const char *path, bool *is)
{
    int fd;
    uint64_t size;
    SC_TRY(sc_files_open(path, INT64_MAX, &fd, &size));
    char bytes[sizeof magic];
    size_t n;
    const sc_status status = sc_files_fill(path, fd, bytes, sizeof bytes, &n);
    *is = status == SC_OK && n == sizeof magic && memcmp(bytes, magic, n) == 0;
    close(fd);
    return status;
}

static sc_status check_header(const char *path, const header *h, uint64_t size)
{
    static const char zero[sizeof h->zero];
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return SC_FAIL(SC_DATA_LOSS, "%s: is no token file", path);
    if (h->version != VERSION)
        return SC_FAIL(SC_UNIMPLEMENTED, "%s: is a token file of version %" PRIu32 "; this program knows version %d",
                       path, h->version, VERSION);
    if (h->check != XXH3_64bits(h, HASHED_BYTES) || memcmp(h->zero, zero, sizeof zero) != 0)
        return SC_FAIL(SC_DATA_LOSS, "%s: the header is damaged; write the file again", path);
    if (h->vocab == 0 || h->vocab > INT32_MAX || h->id_bytes != id_bytes((int)h->vocab))
        return SC_FAIL(SC_DATA_LOSS, "%s: the header names %" PRIu64 " tokens of %" PRIu32 " bytes", path, h->vocab,
                       h->id_bytes);
    if (h->n != (size - HEADER_BYTES) / h->id_bytes || (size - HEADER_BYTES) % h->id_bytes)
        return SC_FAIL(SC_DATA_LOSS,
                       "%s: the header promises %" PRIu64 " ids of %" PRIu32 " bytes, the file has %" PRIu64
                       " bytes; it was cut or added to, write it again",
                       path, h->n, h->id_bytes, size);
    if (h->n == 0)
        return SC_FAIL(SC_INVALID, "%s: has no tokens", path);
    return SC_OK;
}

static sc_status open_checked(const char *path, uint64_t hash, int vocab, int fd, uint64_t size, sc_token_part *out)
{
    header h;
    size_t n;
    SC_TRY(sc_files_fill(path, fd, (char *)&h, sizeof h, &n));
    if (n < sizeof h || size < sizeof h)
        return SC_FAIL(SC_DATA_LOSS, "%s: has %zu bytes, fewer than a token file's header", path, n);
    SC_TRY(check_header(path, &h, size));
    if (h.tokenizer != hash || h.vocab != (uint64_t)vocab)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "%s: was made with another tokenizer (of %" PRIu64 " tokens, hash %016" PRIx64 ") than this one "
                       "(of %d, %016" PRIx64 "); set data.tokenizer to that, or tokenize the text again",
                       path, h.vocab, h.tokenizer, vocab, hash);
    *out = (sc_token_part){.name = path,
                           .n = h.n,
                           .wide = h.id_bytes == sizeof(uint32_t),
                           .fd = fd,
                           .offset = HEADER_BYTES,
                           .vocab = vocab};
    return SC_OK;
}

sc_status sc_token_file_open(const char *path, uint64_t hash, int vocab, sc_token_part *out)
{
    int fd;
    uint64_t size;
    SC_TRY(sc_files_open(path, INT64_MAX, &fd, &size));
    const sc_status status = open_checked(path, hash, vocab, fd, size, out);
    if (status != SC_OK)
        close(fd);
    return status;
}

sc_status sc_token_writer_open(const char *path, const sc_tokenizer *tokenizer, sc_token_writer *self)
{
    *self = (sc_token_writer){.vocab = sc_tokenizer_vocab(tokenizer), .buffer = malloc(BUFFER_BYTES), .file.fd = -1};
    if (!self->buffer)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to write it", path);
    const header nothing = {0}; /* so that what a crash leaves behind is no token file */
    sc_status status;
    SC_TRY_GOTO(status, sc_tokenizer_hash(tokenizer, &self->hash), out);
    SC_TRY_GOTO(status, sc_new_file_open(path, &self->file), out);
    SC_TRY_GOTO(status, sc_new_file_write(&self->file, &nothing, sizeof nothing), out);
    return SC_OK;
out:
    sc_token_writer_close(self);
    return status;
}

static sc_status flush(sc_token_writer *self)
{
    const size_t n = self->used;
    self->used = 0;
    return sc_new_file_write(&self->file, self->buffer, n);
}

sc_status sc_token_writer_put(void *context, const int32_t *ids, size_t n)
{
    sc_token_writer *self = context;
    const size_t bytes = id_bytes(self->vocab);
    for (size_t i = 0; i < n; i++) {
        if (self->used + bytes > BUFFER_BYTES)
            SC_TRY(flush(self));
        memcpy(self->buffer + self->used, &ids[i], bytes); /* the low bytes come first */
        self->used += bytes;
    }
    self->n += n;
    return SC_OK;
}

sc_status sc_token_writer_commit(sc_token_writer *self)
{
    SC_TRY(flush(self));
    header h = {.version = VERSION,
                .id_bytes = id_bytes(self->vocab),
                .n = self->n,
                .vocab = (uint64_t)self->vocab,
                .tokenizer = self->hash};
    memcpy(h.magic, magic, sizeof magic);
    h.check = XXH3_64bits(&h, HASHED_BYTES);
    SC_TRY(sc_new_file_rewrite(&self->file, 0, &h, sizeof h));
    return sc_new_file_commit(&self->file);
}

void sc_token_writer_close(sc_token_writer *self)
{
    if (self->buffer)
        sc_new_file_close(&self->file);
    free(self->buffer);
    *self = (sc_token_writer){.file.fd = -1};
}
