/* What the files of the BPE tokenizer share. */
#ifndef SC_TOKENIZER_BPE_INTERNAL_H
#define SC_TOKENIZER_BPE_INTERNAL_H

#include "coordinator/data/added_tokens.h"
#include "coordinator/data/bpe_merges.h"
#include "coordinator/data/pre_tokenizer.h"
#include "coordinator/data/tokenizer_internal.h"

typedef struct sc_bpe {
    sc_tokenizer base;
    sc_pre_tokenizer *words;
    sc_bpe_merges merges;
    int n;                 /* tokens */
    char *bytes;           /* of all tokens, one after the other */
    size_t *starts;        /* [n + 1]: where token i begins in them */
    int32_t byte_ids[256]; /* the tokens of one byte */
    sc_added_tokens added;
} sc_bpe;

static inline size_t sc_bpe_length(const sc_bpe *self, int32_t id)
{
    return self->starts[id + 1] - self->starts[id];
}

/* Token `id` as vocabulary files write it: an added token as it is, another in the alphabet of bytes. */
enum { SC_BPE_MAX_SYMBOLS = 2 * SC_TOKEN_MAX_BYTES };
size_t sc_bpe_symbols(const sc_bpe *self, int32_t id, char out[SC_BPE_MAX_SYMBOLS]);

/* (tokenizer_bpe_encode.c) */
sc_status sc_bpe_encode(const sc_tokenizer *base, const sc_text *text, bool more, sc_tokenizer_put put, void *context,
                        size_t *used);

#endif
