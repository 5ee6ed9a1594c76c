#include "coordinator/data/corpus.h"

#include "coordinator/data/files.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Tokens that grow, two or four bytes each. */
typedef struct store {
    bool wide;
    void *data;
    uint64_t n, capacity;
} store;

struct sc_corpus {
    sc_tokenizer *tokenizer;
    store train, validation; /* validation: of its own files; empty if it is the tail of `train` */
    uint64_t n_train;        /* of the tokens in `train`, those to train on */
};

static size_t token_bytes(const store *self)
{
    return self->wide ? sizeof(int32_t) : sizeof(uint16_t);
}

/* Makes room for `more` tokens. */
static sc_status reserve(store *self, uint64_t more)
{
    if (more <= self->capacity - self->n)
        return SC_OK;
    uint64_t capacity = self->n + more;
    void *data = capacity > SIZE_MAX / sizeof(int32_t) ? NULL : realloc(self->data, capacity * token_bytes(self));
    if (!data)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %" PRIu64 " tokens of training text", capacity);
    self->data = data;
    self->capacity = capacity;
    return SC_OK;
}

static sc_status put_store(void *context, const int32_t *ids, size_t n)
{
    store *self = context;
    SC_TRY(reserve(self, n));
    if (self->wide)
        memcpy((int32_t *)self->data + self->n, ids, n * sizeof *ids);
    else
        for (size_t i = 0; i < n; i++)
            ((uint16_t *)self->data)[self->n + i] = (uint16_t)ids[i];
    self->n += n;
    return SC_OK;
}

/* Gives back what a file of many-byte characters reserved too much. */
static void trim(store *self)
{
    void *data = self->n ? realloc(self->data, self->n * token_bytes(self)) : NULL;
    if (data) {
        self->data = data;
        self->capacity = self->n;
    }
}

/* Reads the files one after the other and hands each to `use`. */
static sc_status each_file(char *const *paths, int n, sc_corpus *corpus,
                           sc_status (*use)(sc_corpus *corpus, const sc_text *text))
{
    for (int i = 0; i < n; i++) {
        char *bytes;
        size_t n_bytes;
        SC_TRY(sc_files_read(paths[i], INT64_MAX, &bytes, &n_bytes));
        const sc_text text = {.name = paths[i], .bytes = bytes, .n_bytes = n_bytes};
        sc_status status =
            n_bytes ? use(corpus, &text) : SC_FAIL(SC_INVALID, "%s: is empty; name a file with text in it", paths[i]);
        free(bytes);
        if (status != SC_OK)
            return sc_status_forward(status, __FILE__, __LINE__);
    }
    return SC_OK;
}

static sc_status add_characters(sc_corpus *self, const sc_text *text)
{
    return sc_tokenizer_char_add(self->tokenizer, text);
}

static sc_status encode_into(sc_corpus *self, const sc_text *text, store *into)
{
    SC_TRY(reserve(into, text->n_bytes)); /* at most one token a byte */
    return sc_tokenizer_encode(self->tokenizer, text, put_store, into);
}

static sc_status add_train(sc_corpus *self, const sc_text *text)
{
    return encode_into(self, text, &self->train);
}

static sc_status add_validation(sc_corpus *self, const sc_text *text)
{
    return encode_into(self, text, &self->validation);
}

static sc_status make_tokenizer(sc_corpus *self, const sc_config *config)
{
    if (config->data.tokenizer == SC_TOKENIZER_BYTE)
        return sc_tokenizer_new_byte(&self->tokenizer);
    SC_TRY(sc_tokenizer_new_char(&self->tokenizer));
    SC_TRY(each_file(config->data.train, config->data.n_train, self, add_characters));
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
    self->train.wide = self->validation.wide = sc_tokenizer_vocab(self->tokenizer) > UINT16_MAX + 1;
    SC_TRY(each_file(config->data.train, config->data.n_train, self, add_train));
    SC_TRY(each_file(config->data.validation, config->data.n_validation, self, add_validation));
    trim(&self->train);
    trim(&self->validation);
    self->n_train = self->train.n;
    if (config->data.n_validation == 0)
        self->n_train = (uint64_t)((double)self->train.n * (1.0 - config->data.validation_share));
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

void sc_corpus_destroy(sc_corpus **self_p)
{
    sc_corpus *self = *self_p;
    if (!self)
        return;
    sc_tokenizer_destroy(&self->tokenizer);
    free(self->train.data);
    free(self->validation.data);
    free(self);
    *self_p = NULL;
}

const sc_tokenizer *sc_corpus_tokenizer(const sc_corpus *self)
{
    return self->tokenizer;
}

sc_tokens sc_corpus_train(const sc_corpus *self)
{
    return (sc_tokens){.data = self->train.data, .wide = self->train.wide, .n = self->n_train};
}

sc_tokens sc_corpus_validation(const sc_corpus *self)
{
    if (self->validation.n > 0)
        return (sc_tokens){.data = self->validation.data, .wide = self->validation.wide, .n = self->validation.n};
    const char *tail = (const char *)self->train.data + self->n_train * token_bytes(&self->train);
    return (sc_tokens){.data = tail, .wide = self->train.wide, .n = self->train.n - self->n_train};
}
