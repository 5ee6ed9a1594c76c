/* Any bytes as a WordPiece tokenizer's files, or a text. The first byte says which:
 *   t  tokenizer.json      v  vocab.txt      c  tokenizer_config.json, beside a good vocab.txt
 *   0 to 15  a text for a small tokenizer with these options (bits: clean, chinese, strip_accents, lowercase); else uncased
 * What is refused has a message. What is not gives the same ids in pieces as whole, and places in order inside the text. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/data/tokenizer_wordpiece.h"

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
    static const char *const names[] = {"vocab.txt", "tokenizer_config.json", "tokenizer.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(path_of(names[i]));
    rmdir(dir);
}

/* Ids that come in pieces. */
typedef struct gathered {
    int32_t *ids; /* room for one a byte */
    size_t n, capacity;
} gathered;

static sc_status gather(void *context, const int32_t *ids, size_t n)
{
    gathered *self = context;
    if (n > self->capacity - self->n)
        abort();
    memcpy(self->ids + self->n, ids, n * sizeof *ids);
    self->n += n;
    return SC_OK;
}

/* Encodes in pieces of at least `piece` bytes. */
static sc_status encode(const sc_tokenizer *tokenizer, const char *text, size_t n, size_t piece, gathered *out)
{
    size_t at = 0, used, window = piece;
    do {
        const size_t here = window < n - at ? window : n - at;
        const sc_text part = {.name = "text", .bytes = text + at, .n_bytes = here};
        const sc_status status = sc_tokenizer_encode_some(tokenizer, &part, at + here < n, gather, out, &used);
        if (status != SC_OK)
            return status;
        at += used;
        window = used ? piece : 2 * window;
    } while (at < n);
    return SC_OK;
}

static void check_spans(const sc_tokenizer *tokenizer, const char *text, size_t n, const gathered *ids)
{
    sc_token_span *spans;
    size_t n_spans, before = 0;
    if (sc_tokenizer_encode_spans(tokenizer, &(sc_text){.name = "text", .bytes = text, .n_bytes = n}, &spans,
                                  &n_spans) != SC_OK ||
        n_spans != ids->n)
        abort();
    for (size_t i = 0; i < n_spans; i++) {
        if (spans[i].id != ids->ids[i] || spans[i].begin >= spans[i].end || spans[i].end > n || spans[i].end < before)
            abort();
        before = spans[i].begin;
    }
    free(spans);
}

static void check_text(const sc_tokenizer *tokenizer, const char *text, size_t n)
{
    gathered whole = {.ids = malloc((n + 1) * sizeof *whole.ids), .capacity = n};
    gathered pieces = {.ids = malloc((n + 1) * sizeof *pieces.ids), .capacity = n};
    const sc_status status = encode(tokenizer, text, n, n + 1, &whole);
    if (encode(tokenizer, text, n, 3, &pieces) != status)
        abort();
    if (status == SC_OK) {
        if (whole.n != pieces.n || memcmp(whole.ids, pieces.ids, whole.n * sizeof *whole.ids) != 0)
            abort();
        check_spans(tokenizer, text, n, &whole);
    }
    free(whole.ids);
    free(pieces.ids);
}

static void check_open(const char *name, const char *text, size_t n)
{
    sc_tokenizer *tokenizer;
    if (sc_tokenizer_open(path_of(name), &tokenizer) == SC_OK) {
        static const char some[] = "unbe b[MASK] \xC3\x89\xE4\xB8\xAD!\n";
        check_text(tokenizer, some, sizeof some - 1);
        check_text(tokenizer, text, n);
    } else if (tokenizer || !sc_status_message()[0]) {
        abort();
    }
    sc_tokenizer_destroy(&tokenizer);
}

static const char good_vocabulary[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##b\n##e\nb\n!\ne\n##\xCC\x81\n\xE4\xB8\xAD\n";

static sc_tokenizer *make(unsigned options)
{
    json_t *vocab = json_object(), *added = json_object();
    static const char *const tokens[] = {"[UNK]", "[MASK]", "un", "##b", "##e", "b", "!", "e", "##\xCC\x81"};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        json_object_set_new(i < 2 ? added : vocab, tokens[i], json_integer((json_int_t)i));
    sc_wordpiece_options o = sc_wordpiece_defaults(options & 8);
    o.text = (sc_bert_options){options & 1, options & 2, options & 4, options & 8};
    o.longest_word = 12;
    sc_tokenizer *self;
    if (sc_tokenizer_wordpiece_new(vocab, added, &o, &self) != SC_OK)
        abort();
    json_decref(vocab);
    json_decref(added);
    return self;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sc_tokenizer *kinds[16];
    if (!kinds[0]) {
        if (!mkdtemp(dir))
            abort();
        atexit(remove_directory);
        for (unsigned i = 0; i < 16; i++)
            kinds[i] = make(i);
    }
    const unsigned kind = size ? data[0] : 'x';
    const char *text = (const char *)data + (size > 0);
    const size_t n = size - (size > 0);
    if (kind == 't') {
        write_file("tokenizer.json", text, n);
        check_open("tokenizer.json", text, n);
    } else if (kind == 'v') {
        write_file("tokenizer_config.json", "{}", 2);
        write_file("vocab.txt", text, n);
        check_open("vocab.txt", text, n);
    } else if (kind == 'c') {
        write_file("tokenizer_config.json", text, n);
        write_file("vocab.txt", good_vocabulary, sizeof good_vocabulary - 1);
        check_open("vocab.txt", text, n);
    } else {
        check_text(kinds[kind < 16 ? kind : 15], text, n);
    }
    return 0;
}
