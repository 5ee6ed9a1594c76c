/* The byte tokenizer: an id is a byte, any text is fine. */
#include "coordinator/data/tokenizer_internal.h"

#include <stdlib.h>

static int vocab(const sc_tokenizer *self)
{
    (void)self;
    return 256;
}

static sc_status encode(const sc_tokenizer *self, const sc_text *text, bool more, sc_tokenizer_put put, void *context,
                        size_t *used)
{
    (void)self, (void)more;
    int32_t ids[SC_TOKENIZER_PIECE];
    for (size_t at = 0; at < text->n_bytes;) {
        size_t n = 0;
        while (n < SC_TOKENIZER_PIECE && at < text->n_bytes)
            ids[n++] = (unsigned char)text->bytes[at++];
        SC_TRY(put(context, ids, n));
    }
    *used = text->n_bytes;
    return SC_OK;
}

static size_t decode(const sc_tokenizer *self, int32_t id, char out[SC_TOKEN_MAX_BYTES])
{
    (void)self;
    if (id < 0 || id > 255)
        return 0;
    out[0] = (char)id;
    return 1;
}

static int save(const sc_tokenizer *self, json_t *object)
{
    (void)self, (void)object;
    return 0;
}

static sc_status load(const json_t *object, sc_tokenizer **out)
{
    (void)object;
    return sc_tokenizer_new_byte(out);
}

static void destroy(sc_tokenizer *self)
{
    free(self);
}

const sc_tokenizer_kind_table sc_tokenizer_byte_kind = {
    .type = "byte", .vocab = vocab, .encode = encode, .decode = decode, .save = save, .load = load, .destroy = destroy};

sc_status sc_tokenizer_new_byte(sc_tokenizer **out)
{
    *out = malloc(sizeof **out);
    if (!*out)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a tokenizer");
    (*out)->kind = &sc_tokenizer_byte_kind;
    return SC_OK;
}
