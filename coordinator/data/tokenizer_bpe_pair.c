/* A vocabulary of two files: vocab.json and merges.txt, as Hugging Face names them, or encoder.json and vocab.bpe. */
#include "proto/base/files.h"
#include "coordinator/data/tokenizer_bpe.h"
#include "coordinator/data/tokenizer_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *vocab, *merges;
} pairs[] = {{"vocab.json", "merges.txt"}, {"encoder.json", "vocab.bpe"}};
enum { N_PAIRS = sizeof pairs / sizeof *pairs };

/* Which pair the path is one of, -1 if it is none. */
static int pair_of(const char *path)
{
    const char *name = sc_tokenizer_file_name(path);
    for (int i = 0; i < N_PAIRS; i++)
        if (strcmp(name, pairs[i].vocab) == 0 || strcmp(name, pairs[i].merges) == 0)
            return i;
    return -1;
}

bool sc_tokenizer_bpe_is_pair(const char *path)
{
    return pair_of(path) >= 0;
}

static size_t count_lines(const char *bytes, size_t n_bytes)
{
    size_t n = 1;
    for (size_t i = 0; i < n_bytes; i++)
        n += bytes[i] == '\n';
    return n;
}

/* One merge a line, but for "#version" lines, which say nothing. */
static sc_status read_merges(const char *path, const char *bytes, size_t n_bytes, const json_t *vocab,
                             sc_tokenizer *self)
{
    static const char version[] = "#version";
    size_t line = 1;
    for (size_t at = 0, next; at < n_bytes; at = next, line++) {
        const size_t length = sc_tokenizer_line(bytes, at, n_bytes, &next);
        if (length >= sizeof version - 1 && memcmp(bytes + at, version, sizeof version - 1) == 0)
            continue;
        const sc_status status = sc_tokenizer_bpe_merge(self, vocab, bytes + at, length);
        if (status != SC_OK)
            return SC_FAIL(status, "%s:%zu: %s", path, line, sc_status_message());
    }
    return SC_OK;
}

static sc_status load_pair(const char *vocab_path, const char *merges_path, const json_t *vocab, sc_tokenizer **out)
{
    static const char end_of_text[] = "<|endoftext|>";
    json_t *id = json_object_get(vocab, end_of_text);
    json_t *added = id ? json_pack("{sO}", end_of_text, id) : NULL;
    char *bytes = NULL;
    size_t n_bytes;
    sc_status status;
    if (id && !added) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for its vocabulary", vocab_path);
        goto out;
    }
    SC_TRY_GOTO(status, sc_files_read(merges_path, SC_TOKENIZER_MAX_FILE_BYTES, &bytes, &n_bytes), out);
    status = json_is_object(vocab) ? sc_tokenizer_bpe_new(vocab, added, count_lines(bytes, n_bytes), out)
                                   : SC_FAIL(SC_INVALID, "is not a JSON object of tokens and ids");
    if (status != SC_OK) {
        status = SC_FAIL(status, "%s: %s", vocab_path, sc_status_message());
        goto out;
    }
    status = read_merges(merges_path, bytes, n_bytes, vocab, *out);
    if (status != SC_OK)
        sc_tokenizer_destroy(out);
out:
    json_decref(added);
    free(bytes);
    return status;
}

sc_status sc_tokenizer_bpe_load_pair(const char *path, sc_tokenizer **out)
{
    *out = NULL;
    const int pair = pair_of(path);
    char vocab_path[PATH_MAX], merges_path[PATH_MAX], added_path[PATH_MAX];
    SC_TRY(sc_tokenizer_beside(path, pairs[pair].vocab, vocab_path));
    SC_TRY(sc_tokenizer_beside(path, pairs[pair].merges, merges_path));
    SC_TRY(sc_tokenizer_beside(path, "added_tokens.json", added_path));
    if (access(added_path, F_OK) == 0)
        return SC_FAIL(SC_INVALID,
                       "%s: added tokens are read from tokenizer.json alone; save the tokenizer as one (a \"fast\" "
                       "tokenizer's save_pretrained writes it) and name that",
                       added_path);
    json_t *vocab;
    SC_TRY(sc_tokenizer_read_json(vocab_path, &vocab));
    const sc_status status = load_pair(vocab_path, merges_path, vocab, out);
    json_decref(vocab);
    return status;
}
