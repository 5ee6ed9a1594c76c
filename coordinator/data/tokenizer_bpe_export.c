/* The BPE tokenizer's files for Hugging Face. */
#include "coordinator/data/tokenizer_bpe.h"
#include "coordinator/data/tokenizer_bpe_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sc_status no_memory(void)
{
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to write the tokenizer");
}

/* The tokens by id, as vocab.json and tokenizer.json have them. */
static json_t *vocab_of(const sc_bpe *self)
{
    json_t *vocab = json_object();
    for (int32_t id = 0; id < self->n; id++) {
        char symbols[SC_BPE_MAX_SYMBOLS + 1];
        symbols[sc_bpe_symbols(self, id, symbols)] = '\0';
        if (json_object_set_new(vocab, symbols, json_integer(id)) != 0) {
            json_decref(vocab);
            return NULL;
        }
    }
    return vocab;
}

static void append_merge(const sc_bpe *self, const sc_bpe_merge *merge, char *line)
{
    size_t n = sc_bpe_symbols(self, merge->left, line);
    line[n++] = ' ';
    line[n + sc_bpe_symbols(self, merge->right, line + n)] = '\0';
}

static sc_status write_merges(const sc_bpe *self, const char *dir, json_t *list)
{
    char *text = NULL, line[2 * SC_BPE_MAX_SYMBOLS + 2];
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    if (!out)
        return no_memory();
    fputs("#version: 0.2\n", out);
    int bad = 0;
    for (uint32_t i = 0; i < self->merges.n && !bad; i++) {
        append_merge(self, &self->merges.items[i], line);
        bad = json_array_append_new(list, json_string(line)) != 0 || fprintf(out, "%s\n", line) < 0;
    }
    bad = fclose(out) != 0 || bad;
    const sc_status status = bad ? no_memory() : sc_tokenizer_write_file(dir, "merges.txt", text);
    free(text);
    return status;
}

static json_t *added_of(const sc_bpe *self)
{
    json_t *list = json_array();
    for (int32_t id = 0; id < self->n; id++) {
        if (!sc_added_tokens_has(&self->added, id))
            continue;
        json_t *token = json_pack("{si,ss%,sb,sb,sb,sb,sb}", "id", (int)id, "content", self->bytes + self->starts[id],
                                  sc_bpe_length(self, id), "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0,
                                  "special", 1);
        if (json_array_append_new(list, token) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

sc_status sc_tokenizer_bpe_export(const sc_tokenizer *base, const char *dir)
{
    const sc_bpe *self = (const sc_bpe *)base;
    json_t *vocab = vocab_of(self), *merges = json_array(), *file = NULL;
    sc_status status;
    SC_TRY_GOTO(status, sc_tokenizer_write_json(dir, "vocab.json", vocab, JSON_COMPACT), out);
    SC_TRY_GOTO(status, write_merges(self, dir, merges), out);
    file = json_pack("{ss,sn,sn,so,sn,s{ss,sb,sb,sb},s{ss,sb,sb,sb},s{ss,sb,sb,sb},"
                     "s{ss,sn,sn,sn,sn,sb,sb,sb,sO,sO}}",
                     "version", "1.0", "truncation", "padding", "added_tokens", added_of(self), "normalizer",
                     "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1,
                     "post_processor", "type", "ByteLevel", "add_prefix_space", 1, "trim_offsets", 0, "use_regex", 1,
                     "decoder", "type", "ByteLevel", "add_prefix_space", 1, "trim_offsets", 1, "use_regex", 1, "model",
                     "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                     "fuse_unk", 0, "byte_fallback", 0, "ignore_merges", 0, "vocab", vocab, "merges", merges);
    status = file ? sc_tokenizer_write_json(dir, "tokenizer.json", file, JSON_INDENT(2)) : no_memory();
out:
    json_decref(vocab);
    json_decref(merges);
    json_decref(file);
    return status;
}
