/* Token files: a corpus that was tokenised once.
 *
 * Little-endian; a header of 64 bytes, then the ids:
 *     0  8 bytes  "SCTOKENS"
 *     8  u32      version, 1
 *    12  u32      bytes of an id: 2 (u16) if the vocabulary has at most 65536 tokens, else 4 (u32)
 *    16  u64      how many ids
 *    24  u64      tokens in the vocabulary
 *    32  u64      sc_tokenizer_hash of the tokenizer
 *    40  u64      XXH3 of bytes 0 to 39
 *    48  16 bytes zero
 * The file is 64 + ids * bytes of an id long, to the byte. Ids are checked as they are read (tokens.h). */
#ifndef SC_TOKEN_FILE_H
#define SC_TOKEN_FILE_H

#include "proto/base/files.h"
#include "coordinator/data/tokenizer.h"
#include "coordinator/data/tokens.h"

/* Whether the file begins as a token file does. Errors: those of sc_files_open. */
sc_status sc_token_file_probe(const char *path, bool *is);

/* Opens a token file that was made with a tokenizer of this hash and vocabulary. *out borrows `path` and owns its fd.
 * Errors: those of sc_files_open; SC_DATA_LOSS (truncated, not as above), SC_UNIMPLEMENTED (a newer version),
 * SC_FAILED_PRECONDITION (another tokenizer). */
sc_status sc_token_file_open(const char *path, uint64_t hash, int vocab, sc_token_part *out);

/* Writes one: the file appears at its path when it is complete. Zero-initialise. Thread: one owns it. */
typedef struct sc_token_writer {
    sc_new_file file;
    uint64_t hash, n;
    int vocab;
    char *buffer;
    size_t used; /* bytes in it */
} sc_token_writer;
/* Errors of all: those of sc_new_file. */
sc_status sc_token_writer_open(const char *path, const sc_tokenizer *tokenizer, sc_token_writer *self);
/* An sc_tokenizer_put. */
sc_status sc_token_writer_put(void *self, const int32_t *ids, size_t n);
sc_status sc_token_writer_commit(sc_token_writer *self);
/* Removes what was not committed; may be called in any state, and twice. */
void sc_token_writer_close(sc_token_writer *self);

#endif
