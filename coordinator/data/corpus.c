#include "coordinator/data/corpus.h"

#include "proto/base/files.h"
#include "coordinator/data/text_file.h"
#include "coordinator/data/token_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The files of one stream. */
typedef struct files {
    sc_token_part *parts;
    int n;
} files;

struct sc_corpus {
    sc_tokenizer *tokenizer;
    uint64_t hash; /* of it */
    files train, validation;
    uint64_t n_train; /* of the tokens in `train`, those to train on */
};

/* A text's tokens while they grow, two or four bytes each. */
typedef struct store {
    const sc_tokenizer *tokenizer;
    const char *name; /* of the file */
    bool wide;
    void *data;
    uint64_t n, capacity;
} store;

static size_t token_bytes(bool wide)
{
    return wide ? sizeof(int32_t) : sizeof(uint16_t);
}

static sc_status resize(store *self, uint64_t capacity)
{
    void *data = capacity > SIZE_MAX / sizeof(int32_t) ? NULL : realloc(self->data, capacity * token_bytes(self->wide));
    if (!data)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for %" PRIu64 " tokens", self->name, capacity);
    self->data = data;
    self->capacity = capacity;
    return SC_OK;
}

static sc_status put_store(void *context, const int32_t *ids, size_t n)
{
    store *self = context;
    if (n > self->capacity - self->n)
        SC_TRY(resize(self, self->n + self->n / 2 + n));
    if (self->wide)
        memcpy((int32_t *)self->data + self->n, ids, n * sizeof *ids);
    else
        for (size_t i = 0; i < n; i++)
            ((uint16_t *)self->data)[self->n + i] = (uint16_t)ids[i];
    self->n += n;
    return SC_OK;
}

static sc_status empty_file(const char *path)
{
    return SC_FAIL(SC_INVALID, "%s: is empty; name a file with text in it", path);
}

static sc_status use_text(void *context, const sc_text *text, bool more, size_t *used)
{
    store *self = context;
    return sc_tokenizer_encode_some(self->tokenizer, text, more, put_store, self, used);
}

static sc_status load_text(const sc_corpus *self, const char *path, sc_token_part *part)
{
    store tokens = {
        .tokenizer = self->tokenizer, .name = path, .wide = sc_tokenizer_vocab(self->tokenizer) > UINT16_MAX + 1};
    sc_status status = sc_text_file_each(path, SC_TEXT_FILE_PIECE, use_text, &tokens);
    if (status == SC_OK)
        status = tokens.n ? resize(&tokens, tokens.n) : empty_file(path); /* gives back what was too much */
    if (status != SC_OK) {
        free(tokens.data);
        return sc_status_forward(status, __FILE__, __LINE__);
    }
    *part = (sc_token_part){.name = path, .n = tokens.n, .wide = tokens.wide, .data = tokens.data, .fd = -1};
    return SC_OK;
}

static sc_status load_files(sc_corpus *self, char *const *paths, int n, files *out)
{
    out->parts = calloc((size_t)n + 1, sizeof *out->parts);
    if (!out->parts)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %d files", n);
    for (int i = 0; i < n; i++) {
        sc_token_part *part = &out->parts[i];
        bool tokenised;
        SC_TRY(sc_token_file_probe(paths[i], &tokenised));
        SC_TRY(tokenised ? sc_token_file_open(paths[i], self->hash, sc_tokenizer_vocab(self->tokenizer), part)
                         : load_text(self, paths[i], part));
        out->n++;
        part->start = i ? part[-1].start + part[-1].n : 0;
        part->name = strdup(paths[i]); /* the corpus may outlive the config */
        if (!part->name)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %d files", n);
    }
    return SC_OK;
}

static void close_files(files *self)
{
    for (int i = 0; i < self->n; i++) {
        free((void *)self->parts[i].data);
        free((void *)self->parts[i].name);
        if (self->parts[i].fd >= 0)
            close(self->parts[i].fd);
    }
    free(self->parts);
}

static uint64_t count(const files *self)
{
    return self->n ? self->parts[self->n - 1].start + self->parts[self->n - 1].n : 0;
}

/* The characters of a training text go into the vocabulary. */
static sc_status add_characters(sc_corpus *self, const char *path)
{
    bool tokenised;
    SC_TRY(sc_token_file_probe(path, &tokenised));
    if (tokenised)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "%s: is a token file, and data.tokenizer: char makes its vocabulary of text; set data.tokenizer "
                       "to the tokenizer that the file was made with",
                       path);
    char *bytes;
    size_t n_bytes;
    SC_TRY(sc_files_read(path, INT64_MAX, &bytes, &n_bytes));
    const sc_text text = {.name = path, .bytes = bytes, .n_bytes = n_bytes};
    const sc_status status = n_bytes ? sc_tokenizer_char_add(self->tokenizer, &text) : empty_file(path);
    free(bytes);
    return status;
}

static sc_status make_tokenizer(sc_corpus *self, const sc_config *config)
{
    if (strcmp(config->data.tokenizer, "byte") == 0)
        return sc_tokenizer_new_byte(&self->tokenizer);
    if (strcmp(config->data.tokenizer, "char") != 0) {
        const sc_status status = sc_tokenizer_open(config->data.tokenizer, &self->tokenizer);
        return status == SC_OK ? SC_OK : SC_FAIL(status, "%s: data.tokenizer: %s", config->path, sc_status_message());
    }
    SC_TRY(sc_tokenizer_new_char(&self->tokenizer));
    for (int i = 0; i < config->data.n_train; i++)
        SC_TRY(add_characters(self, config->data.train[i]));
    return sc_tokenizer_char_freeze(self->tokenizer);
}

static sc_status check_sizes(const sc_corpus *self, const sc_config *config)
{
    const int T = sc_config_sequence_length(config);
    const uint64_t n_train = sc_corpus_train(self).n, n_validation = sc_corpus_validation(self).n;
    if (n_train <= (uint64_t)T)
        return SC_FAIL(SC_INVALID,
                       "%s: data.train: there are %" PRIu64 " tokens to train on, and one window takes %d (%d inputs "
                       "and the last target); give more text, or lower model.context or train.sequence_length",
                       config->path, n_train, T + 1, T);
    if (config->train.eval_every == 0 || n_validation > (uint64_t)T)
        return SC_OK;
    if (config->data.n_validation == 0 && config->data.validation_share == 0)
        return SC_FAIL(SC_INVALID,
                       "%s: train.eval_every is %" PRId64 ", but there is no validation text; set "
                       "data.validation_share or data.validation, or train.eval_every to 0",
                       config->path, config->train.eval_every);
    return SC_FAIL(
        SC_INVALID,
        "%s: %s: there are %" PRIu64 " tokens for validation, and one window takes %d (%d inputs and the last "
        "target); give more text, lower the context, or set train.eval_every to 0",
        config->path, config->data.n_validation ? "data.validation" : "data.validation_share", n_validation, T + 1, T);
}

static sc_status load(sc_corpus *self, const sc_config *config)
{
    SC_TRY(make_tokenizer(self, config));
    SC_TRY(sc_tokenizer_hash(self->tokenizer, &self->hash));
    SC_TRY(load_files(self, config->data.train, config->data.n_train, &self->train));
    SC_TRY(load_files(self, config->data.validation, config->data.n_validation, &self->validation));
    self->n_train = count(&self->train);
    if (config->data.n_validation == 0)
        self->n_train = (uint64_t)((double)self->n_train * (1.0 - config->data.validation_share));
    return check_sizes(self, config);
}

sc_status sc_corpus_load(const sc_config *config, sc_corpus **out)
{
    sc_corpus *self = *out = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the training text");
    sc_status status = load(self, config);
    if (status != SC_OK)
        sc_corpus_destroy(out);
    return status;
}

sc_status sc_corpus_load_file(const char *path, const sc_tokenizer *tokenizer, sc_corpus **out)
{
    sc_corpus *self = *out = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for its tokens", path);
    self->tokenizer = (sc_tokenizer *)tokenizer;
    sc_status status = sc_tokenizer_hash(tokenizer, &self->hash);
    if (status == SC_OK)
        status = load_files(self, (char *const[]){(char *)path}, 1, &self->train);
    self->tokenizer = NULL; /* the caller's */
    self->n_train = count(&self->train);
    if (status != SC_OK)
        sc_corpus_destroy(out);
    return status;
}

void sc_corpus_destroy(sc_corpus **self_p)
{
    sc_corpus *self = *self_p;
    if (!self)
        return;
    sc_tokenizer_destroy(&self->tokenizer);
    close_files(&self->train);
    close_files(&self->validation);
    free(self);
    *self_p = NULL;
}

const sc_tokenizer *sc_corpus_tokenizer(const sc_corpus *self)
{
    return self->tokenizer;
}

sc_tokens sc_corpus_train(const sc_corpus *self)
{
    return (sc_tokens){.parts = self->train.parts, .n_parts = self->train.n, .n = self->n_train};
}

sc_tokens sc_corpus_validation(const sc_corpus *self)
{
    if (self->validation.n > 0)
        return (sc_tokens){
            .parts = self->validation.parts, .n_parts = self->validation.n, .n = count(&self->validation)};
    return (sc_tokens){.parts = self->train.parts,
                       .n_parts = self->train.n,
                       .start = self->n_train,
                       .n = count(&self->train) - self->n_train};
}
