/* Any bytes as a tokenizer's files, a text or a token file. The first byte says which:
 *   t  tokenizer.json, Hugging Face's or a run's     m  merges.txt, beside a good vocab.json     v  vocab.json
 *   k  a token file                                  anything else: a text for a small tokenizer
 * What is refused has a message. What is not gives back each text that it encodes, the same in pieces as whole. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/data/byte_alphabet.h"
#include "coordinator/data/token_file.h"
#include "coordinator/data/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/stagecoach-fuzz-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_file(const char *name, const void *bytes, size_t n)
{
    FILE *file = fopen(path_of(name), "wb");
    if (!file || fwrite(bytes, 1, n, file) != n || fclose(file) != 0)
        abort();
}

static void remove_directory(void)
{
    static const char *const names[] = {"vocab.json", "merges.txt", "tokenizer.json", "tokens"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(path_of(names[i]));
    rmdir(dir);
}

/* The bytes, "ab", "abc" and <|endoftext|>; written once. */
static const char *good_vocabulary(void)
{
    static char text[8192];
    size_t used = strlen(text);
    if (used)
        return text;
    text[used++] = '{';
    for (int byte = 0; byte < 256; byte++) {
        char c = (char)byte, symbol[SC_BYTE_ALPHABET_MAX + 1];
        symbol[sc_byte_alphabet_write(&c, 1, symbol)] = '\0';
        used += (size_t)snprintf(text + used, sizeof text - used, "\"%s%s\":%d,", c == '"' || c == '\\' ? "\\" : "",
                                 symbol, byte);
    }
    snprintf(text + used, sizeof text - used, "\"ab\":256,\"abc\":257,\"<|endoftext|>\":258}");
    return text;
}

static const char good_merges[] = "#version: 0.2\na b\nab c\n";

/* Compares what ids decode to with the text. */
typedef struct comparison {
    const sc_tokenizer *tokenizer;
    const char *text;
    size_t left, n_ids;
} comparison;

static sc_status compare(void *context, const int32_t *ids, size_t n)
{
    comparison *self = context;
    for (size_t i = 0; i < n; i++) {
        char bytes[SC_TOKEN_MAX_BYTES];
        const size_t length = sc_tokenizer_decode(self->tokenizer, ids[i], bytes);
        if (length == 0 || length > self->left || memcmp(bytes, self->text, length) != 0)
            abort();
        self->text += length;
        self->left -= length;
    }
    self->n_ids += n;
    return SC_OK;
}

/* Encodes in pieces of at least `piece` bytes. */
static sc_status encode(const sc_tokenizer *tokenizer, const char *text, size_t n, size_t piece, size_t *n_ids)
{
    comparison seen = {.tokenizer = tokenizer, .text = text, .left = n};
    size_t at = 0, used, window = piece;
    do {
        const size_t here = window < n - at ? window : n - at;
        const sc_text part = {.name = "text", .bytes = text + at, .n_bytes = here};
        const sc_status status = sc_tokenizer_encode_some(tokenizer, &part, at + here < n, compare, &seen, &used);
        if (status != SC_OK)
            return status;
        at += used;
        window = used ? piece : 2 * window;
    } while (at < n);
    if (seen.left != 0)
        abort();
    *n_ids = seen.n_ids;
    return SC_OK;
}

static void check_text(const sc_tokenizer *tokenizer, const char *text, size_t n)
{
    size_t whole, pieces;
    const sc_status status = encode(tokenizer, text, n, n + 1, &whole);
    if (encode(tokenizer, text, n, 3, &pieces) != status || (status == SC_OK && whole != pieces))
        abort();
}

static void check_open(const char *name, const char *text, size_t n)
{
    sc_tokenizer *tokenizer;
    if (sc_tokenizer_open(path_of(name), &tokenizer) == SC_OK) {
        static const char some[] = "abcab <|endoftext|> ab'll  12\xC2\xBD\n";
        check_text(tokenizer, some, sizeof some - 1);
        check_text(tokenizer, text, n);
    } else if (tokenizer || !sc_status_message()[0]) {
        abort();
    }
    sc_tokenizer_destroy(&tokenizer);
}

static void check_token_file(void)
{
    sc_token_part part;
    int32_t id;
    if (sc_token_file_open(path_of("tokens"), 0, 256, &part) != SC_OK)
        return;
    const sc_tokens all = {.parts = &part, .n_parts = 1, .n = part.n};
    for (uint64_t i = 0; i < part.n; i++)
        if (sc_tokens_read(&all, i, 1, &id) == SC_OK && (id < 0 || id >= 256))
            abort();
    close(part.fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sc_tokenizer *small;
    if (!small) {
        if (!mkdtemp(dir))
            abort();
        atexit(remove_directory);
        write_file("vocab.json", good_vocabulary(), strlen(good_vocabulary()));
        write_file("merges.txt", good_merges, sizeof good_merges - 1);
        if (sc_tokenizer_open(path_of("vocab.json"), &small) != SC_OK)
            abort();
    }
    const char kind = size ? (char)data[0] : 'x', *text = (const char *)data + (size > 0);
    const size_t n = size - (size > 0);
    if (kind == 't') {
        write_file("tokenizer.json", text, n);
        check_open("tokenizer.json", text, n);
    } else if (kind == 'm') {
        write_file("merges.txt", text, n);
        check_open("merges.txt", text, n);
        write_file("merges.txt", good_merges, sizeof good_merges - 1);
    } else if (kind == 'v') {
        write_file("vocab.json", text, n);
        check_open("vocab.json", text, n);
        write_file("vocab.json", good_vocabulary(), strlen(good_vocabulary()));
    } else if (kind == 'k') {
        write_file("tokens", text, n);
        check_token_file();
    } else {
        check_text(small, text, n);
    }
    return 0;
}
