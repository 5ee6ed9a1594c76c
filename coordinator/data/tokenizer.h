/* A tokenizer: text to ids and back.
 *
 * Mental model. A tokenizer is a fixed vocabulary with two functions. It is made once, from the training text or from a
 * file, and never changes; a run keeps it as tokenizer.json, with which `generate` reads prompts and writes text:
 *   {"type":"char","vocab":["\n"," ","!", ...]}     id = place in the list
 *   {"type":"byte"}                                 id = the byte
 *   {"type":"bpe","vocab":[...],"merges":[...],"added":[...]}    tokenizer_bpe.h
 *   {"type":"wordpiece","vocab":[...],...}                       tokenizer_wordpiece.h
 *   {"type":"items","items":[...],"titles":[...]}                tokenizer_items.h
 * A kind of tokenizer is one table of functions (tokenizer_internal.h); nothing else knows which kinds there are. No
 * kind makes more tokens than the text has bytes.
 *
 * Thread: any number may use one tokenizer at once. */
#ifndef SC_TOKENIZER_H
#define SC_TOKENIZER_H

#include "coordinator/data/utf8.h"
#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sc_tokenizer sc_tokenizer;

/* A text and what messages call it: a file's path, "the prompt". Borrowed. */
typedef struct sc_text {
    const char *name;
    const char *bytes;
    size_t n_bytes;
    /* What of a file lies before a piece of it: bytes, line ends, and characters since the last of these. */
    uint64_t bytes_before, lines_before, columns_before;
} sc_text;

/* Where byte `at` lies in the file. */
sc_utf8_place sc_text_place(const sc_text *self, size_t at);
/* Checks that the text is valid UTF-8; *end is its length. If `more` text follows, up to three bytes of a character that
 * goes on there are not counted. Errors: SC_INVALID, naming line, column and byte. */
sc_status sc_text_check_utf8(const sc_text *self, bool more, size_t *end);

/* The 256 bytes. Returns owned. */
sc_status sc_tokenizer_new_byte(sc_tokenizer **out);

/* The distinct characters (code points) of texts, in order of code point. Texts are given one at a time, so that one is
 * in memory at a time: new, then add each, then freeze; encoding before that is an error of the caller.
 * Errors: SC_INVALID for a text that is not UTF-8, naming line and byte. Returns owned. */
sc_status sc_tokenizer_new_char(sc_tokenizer **out);
sc_status sc_tokenizer_char_add(sc_tokenizer *self, const sc_text *text);
/* Errors: SC_INVALID if there is no character at all. */
sc_status sc_tokenizer_char_freeze(sc_tokenizer *self);

void sc_tokenizer_destroy(sc_tokenizer **self_p);

/* "char", "byte", "bpe", "wordpiece", "items". */
const char *sc_tokenizer_type(const sc_tokenizer *self);
int sc_tokenizer_vocab(const sc_tokenizer *self);

/* Gives the text's ids to `put`, in order, in pieces; a failure of `put` ends it and is returned.
 * Errors: SC_INVALID, naming the text, line and column, for a character that the vocabulary lacks or for broken UTF-8. */
typedef sc_status (*sc_tokenizer_put)(void *context, const int32_t *ids, size_t n);
sc_status sc_tokenizer_encode(const sc_tokenizer *self, const sc_text *text, sc_tokenizer_put put, void *context);
/* The same for the beginning of a text of which `more` follows: encodes as much as can be known, *used bytes; the rest is to
 * be given again with what follows. The ids of all pieces are those of the whole, however it is cut. */
sc_status sc_tokenizer_encode_some(const sc_tokenizer *self, const sc_text *text, bool more, sc_tokenizer_put put,
                                   void *context, size_t *used);
/* The same into one array: *ids is owned, to be freed with free (), not NULL even for an empty text. */
sc_status sc_tokenizer_encode_all(const sc_tokenizer *self, const sc_text *text, int32_t **ids, size_t *n_ids);

/* A token and the bytes [begin, end) of the text that it stands for. sc_utf8_count makes characters of them. */
typedef struct sc_token_span {
    int32_t id;
    size_t begin, end;
} sc_token_span;
/* As encode_all, with the place of each token. What vanished at a token's edges (accents, control characters) is not in it.
 * Errors: as encode; SC_UNIMPLEMENTED for a kind without places (all but wordpiece). */
sc_status sc_tokenizer_encode_spans(const sc_tokenizer *self, const sc_text *text, sc_token_span **spans, size_t *n);

enum { SC_TOKEN_MAX_BYTES = 256 };
/* The bytes of one token; returns how many. They need not be whole characters (byte). A wordpiece that begins a word has a
 * space in front. An id that is none gives 0. */
size_t sc_tokenizer_decode(const sc_tokenizer *self, int32_t id, char out[SC_TOKEN_MAX_BYTES]);

/* The id of an added token such as "<|endoftext|>", -1 if the tokenizer has none of this content. */
int32_t sc_tokenizer_special(const sc_tokenizer *self, const char *content);

/* Whether the token goes on within a word, as "##ing" does. */
bool sc_tokenizer_continues(const sc_tokenizer *self, int32_t id);

/* A hash of all that the tokenizer is: equal for equal ones wherever they came from. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_tokenizer_hash(const sc_tokenizer *self, uint64_t *out);

/* Writes `path` at once and for good: a temporary file, fsync, rename. Errors: SC_UNAVAILABLE, SC_RESOURCE_EXHAUSTED. */
sc_status sc_tokenizer_save(const sc_tokenizer *self, const char *path);
/* Strict: an unknown type or key, a vocabulary that save would not have written, are errors. Returns owned.
 * Errors: SC_NOT_FOUND, SC_UNAVAILABLE (cannot be read), SC_INVALID. */
sc_status sc_tokenizer_load(const char *path, sc_tokenizer **out);

/* Writes the files from which Hugging Face's library makes the same tokenizer into a directory that exists; of kinds that it
 * does not know, none. Errors: as save. */
sc_status sc_tokenizer_export(const sc_tokenizer *self, const char *dir);

/* The tokenizer that a user names: a run's tokenizer; Hugging Face's tokenizer.json; one of vocab.json, merges.txt,
 * encoder.json, vocab.bpe, with its partner beside it; BERT's vocab.txt; or a directory, a run's or one that holds such files, searched in this
 * order. Returns owned. Errors: as load; SC_NOT_FOUND for a directory without any. */
sc_status sc_tokenizer_open(const char *path, sc_tokenizer **out);

#endif
