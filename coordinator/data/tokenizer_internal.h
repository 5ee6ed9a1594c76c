/* What a kind of tokenizer is, for those who add one: a table of functions, and tokenizer.c's list that names it. */
#ifndef SC_TOKENIZER_INTERNAL_H
#define SC_TOKENIZER_INTERNAL_H

#include "coordinator/data/tokenizer.h"

#include <jansson.h>
#include <limits.h>

typedef struct sc_tokenizer_kind_table {
    const char *type; /* as tokenizer.json has it */
    int (*vocab)(const sc_tokenizer *self);
    /* As sc_tokenizer_encode_some; without `more`, *used is all. */
    sc_status (*encode)(const sc_tokenizer *self, const sc_text *text, bool more, sc_tokenizer_put put, void *context,
                        size_t *used);
    sc_status (*encode_spans)(const sc_tokenizer *self, const sc_text *text, sc_token_span **spans,
                              size_t *n); /* NULL: has no places */
    size_t (*decode)(const sc_tokenizer *self, int32_t id, char out[SC_TOKEN_MAX_BYTES]);
    int32_t (*special)(const sc_tokenizer *self, const char *content); /* NULL: has none */
    bool (*continues)(const sc_tokenizer *self, int32_t id);           /* NULL: none does */
    sc_status (*export)(const sc_tokenizer *self, const char *dir);    /* NULL: there is nothing to write */
    /* Adds the kind's own keys to `object`. 0, or -1 if memory ran out. */
    int (*save)(const sc_tokenizer *self, json_t *object);
    /* Makes one from the object, which has no other keys than "type" and n_keys of the kind. The message of an error
     * says what is wrong with the content; the caller adds the path. */
    sc_status (*load)(const json_t *object, sc_tokenizer **out);
    size_t n_keys;
    void (*destroy)(sc_tokenizer *self);
} sc_tokenizer_kind_table;

/* A kind's own structure begins with this one. */
struct sc_tokenizer {
    const sc_tokenizer_kind_table *kind;
};

extern const sc_tokenizer_kind_table sc_tokenizer_char_kind;
extern const sc_tokenizer_kind_table sc_tokenizer_byte_kind;
extern const sc_tokenizer_kind_table sc_tokenizer_bpe_kind;
extern const sc_tokenizer_kind_table sc_tokenizer_wordpiece_kind;
extern const sc_tokenizer_kind_table sc_tokenizer_items_kind;

enum { SC_TOKENIZER_PIECE = 4096 }; /* ids given to `put` at a time: a page or four, small enough for the stack */

/* Larger than any vocabulary's file: GPT-2's tokenizer.json has two megabytes, all of Unicode as a char vocabulary about 8. */
enum { SC_TOKENIZER_MAX_FILE_BYTES = 64 << 20 };
/* Reads a JSON file of at most so many bytes, without duplicate keys. *out is owned.
 * Errors: those of sc_files_read; SC_INVALID, naming line and column. */
sc_status sc_tokenizer_read_json(const char *path, json_t **out);

/* Write a file of a directory. `text` or `object` may be NULL: then memory had run out. Errors: those of sc_files_replace. */
sc_status sc_tokenizer_write_file(const char *dir, const char *name, const char *text);
sc_status sc_tokenizer_write_json(const char *dir, const char *name, const json_t *object, size_t flags);

/* The path of a file beside `path`. Errors: SC_INVALID (too long). */
sc_status sc_tokenizer_beside(const char *path, const char *name, char out[PATH_MAX]);
/* The path's last component. */
const char *sc_tokenizer_file_name(const char *path);
/* The next line's length without its end, LF or CR LF; *next is where the one behind it begins. at < n_bytes. */
size_t sc_tokenizer_line(const char *bytes, size_t at, size_t n_bytes, size_t *next);

#endif
