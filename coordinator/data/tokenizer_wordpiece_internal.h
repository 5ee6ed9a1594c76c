/* What the files of the WordPiece tokenizer share. */
#ifndef SC_TOKENIZER_WORDPIECE_INTERNAL_H
#define SC_TOKENIZER_WORDPIECE_INTERNAL_H

#include "coordinator/data/added_tokens.h"
#include "coordinator/data/bert_normalizer.h"
#include "coordinator/data/tokenizer_internal.h"

typedef struct sc_wordpiece {
    sc_tokenizer base;
    sc_bert_options options;
    int longest_word;
    char *prefix;
    size_t n_prefix;
    int32_t unknown;
    int n;          /* tokens */
    char *bytes;    /* of all tokens, one after the other */
    size_t *starts; /* [n + 1]: where token i begins in them */
    sc_added_tokens added;
    int32_t *index; /* [n_index]: ids at their hash's place or behind it, -1 for none; a power of two */
    size_t n_index;
    size_t longest_piece;     /* bytes, without the prefix */
    uint8_t ascii_class[128]; /* an sc_bert_class */
    char ascii_normal[128];   /* what the character becomes */
} sc_wordpiece;

/* Whether a token is written with the prefix, that is, goes on from another. */
bool sc_wordpiece_goes_on(const sc_wordpiece *self, int32_t id);
/* The token with these bytes that begins a word, or goes on from another (without the prefix); -1 if there is none. */
int32_t sc_wordpiece_find(const sc_wordpiece *self, bool goes_on, const char *bytes, size_t n);

/* (tokenizer_wordpiece_encode.c) */
sc_status sc_wordpiece_encode(const sc_tokenizer *base, const sc_text *text, bool more, sc_tokenizer_put put,
                              void *context, size_t *used);
sc_status sc_wordpiece_encode_spans(const sc_tokenizer *base, const sc_text *text, sc_token_span **spans, size_t *n);
/* (tokenizer_wordpiece_files.c) */
sc_status sc_wordpiece_export(const sc_tokenizer *base, const char *dir);

#endif
