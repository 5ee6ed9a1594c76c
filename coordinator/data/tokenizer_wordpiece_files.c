/* The WordPiece tokenizer's files: vocab.txt with tokenizer_config.json, read; and what Hugging Face reads, written. */
#define SC_LOG_SUBSYSTEM "tokenizer"
#include "proto/base/files.h"
#include "coordinator/data/tokenizer_wordpiece.h"
#include "coordinator/data/tokenizer_wordpiece_internal.h"
#include "proto/base/log.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In the order of tokenizer_config.json. */
static const struct {
    const char *role, *content;
} specials[] = {{"cls_token", "[CLS]"},
                {"mask_token", "[MASK]"},
                {"pad_token", "[PAD]"},
                {"sep_token", "[SEP]"},
                {"unk_token", "[UNK]"}};
enum { N_SPECIALS = sizeof specials / sizeof *specials };

bool sc_tokenizer_wordpiece_is_txt(const char *path)
{
    return strcmp(sc_tokenizer_file_name(path), "vocab.txt") == 0;
}

static sc_status add_line(json_t *vocab, json_t *added, const char *text, size_t n, json_int_t id)
{
    if (n == 0)
        return SC_FAIL(SC_INVALID, "is empty; a vocabulary has a token on each line");
    if (memchr(text, '\0', n))
        return SC_FAIL(SC_INVALID, "holds a NUL");
    if (json_object_getn(vocab, text, n))
        return SC_FAIL(SC_INVALID, "'%.*s' is there for the second time", n < 60 ? (int)n : 60, text);
    if (json_object_setn_new(vocab, text, n, json_integer(id)) != 0)
        return SC_FAIL(SC_INVALID, "is not valid UTF-8");
    for (int i = 0; i < N_SPECIALS; i++)
        if (strlen(specials[i].content) == n && memcmp(specials[i].content, text, n) == 0 &&
            json_object_setn_new(added, text, n, json_integer(id)) != 0)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the vocabulary");
    return SC_OK;
}

/* Whether a token that is not special has a capital letter: then the vocabulary is not one of lower-cased text. */
static bool has_capitals(const json_t *vocab)
{
    const char *text;
    json_t *value;
    json_object_foreach((json_t *)vocab, text, value)
    {
        const bool special = text[0] == '[';
        for (const char *c = text; *c && !special; c++)
            if (isupper((unsigned char)*c))
                return true;
    }
    return false;
}

/* The content of a special token: a text, or an object with one. */
static sc_status check_special(const json_t *config, const char *role, const char *content)
{
    const json_t *value = json_object_get(config, role);
    if (json_is_object(value))
        value = json_object_get(value, "content");
    const char *text = json_string_value(value);
    if (text && strcmp(text, content) != 0)
        return SC_FAIL(SC_INVALID, "\"%s\" is '%.60s'; supported: %s", role, text, content);
    return SC_OK;
}

/* A key that may be there, true, false or null; null and absence leave *value as it is. */
static sc_status read_switch(const json_t *config, const char *key, bool *value)
{
    const json_t *found = json_object_get(config, key);
    if (!found || json_is_null(found))
        return SC_OK;
    if (!json_is_boolean(found))
        return SC_FAIL(SC_INVALID, "\"%s\" is neither true nor false", key);
    *value = json_is_true(found);
    return SC_OK;
}

static sc_status read_config(const json_t *config, sc_bert_options *options)
{
    if (!json_is_object(config))
        return SC_FAIL(SC_INVALID, "is not a JSON object");
    for (int i = 0; i < N_SPECIALS; i++)
        SC_TRY(check_special(config, specials[i].role, specials[i].content));
    SC_TRY(read_switch(config, "do_lower_case", &options->lowercase));
    options->strip_accents = options->lowercase;
    SC_TRY(read_switch(config, "strip_accents", &options->strip_accents));
    return read_switch(config, "tokenize_chinese_chars", &options->chinese);
}

/* What tokenizer_config.json beside the vocabulary says; without one, what Hugging Face takes for granted. */
static sc_status find_config(const char *path, const json_t *vocab, sc_bert_options *options)
{
    char config_path[PATH_MAX];
    SC_TRY(sc_tokenizer_beside(path, "tokenizer_config.json", config_path));
    if (access(config_path, F_OK) != 0) {
        if (has_capitals(vocab))
            SC_WARN("%s: has tokens with capitals, but there is no tokenizer_config.json beside it, and texts are "
                    "lower-cased; write {\"do_lower_case\": false} to it if they should not be",
                    path);
        return SC_OK;
    }
    json_t *config;
    SC_TRY(sc_tokenizer_read_json(config_path, &config));
    sc_status status = read_config(config, options);
    if (status != SC_OK)
        status = SC_FAIL(status, "%s: %s", config_path, sc_status_message());
    json_decref(config);
    return status;
}

static sc_status read_lines(const char *path, const char *bytes, size_t n_bytes, json_t *vocab, json_t *added)
{
    json_int_t line = 0;
    for (size_t at = 0, next; at < n_bytes; at = next, line++) {
        const size_t n = sc_tokenizer_line(bytes, at, n_bytes, &next);
        const sc_status status = add_line(vocab, added, bytes + at, n, line);
        if (status != SC_OK)
            return SC_FAIL(status, "%s:%" JSON_INTEGER_FORMAT ": %s", path, line + 1, sc_status_message());
    }
    return SC_OK;
}

sc_status sc_tokenizer_wordpiece_load_txt(const char *path, sc_tokenizer **out)
{
    *out = NULL;
    char *bytes;
    size_t n_bytes;
    SC_TRY(sc_files_read(path, SC_TOKENIZER_MAX_FILE_BYTES, &bytes, &n_bytes));
    json_t *vocab = json_object(), *added = json_object();
    sc_wordpiece_options options = sc_wordpiece_defaults(true);
    sc_status status;
    SC_TRY_GOTO(status, read_lines(path, bytes, n_bytes, vocab, added), out);
    SC_TRY_GOTO(status, find_config(path, vocab, &options.text), out);
    status = sc_tokenizer_wordpiece_new(vocab, added, &options, out);
    if (status != SC_OK)
        status = SC_FAIL(status, "%s: %s", path, sc_status_message());
out:
    json_decref(vocab);
    json_decref(added);
    free(bytes);
    return status;
}

/* --- written ----------------------------------------------------------------------------------------------------------- */

static char *token_text(const sc_wordpiece *self, int32_t id, char out[SC_TOKEN_MAX_BYTES])
{
    const size_t n = self->starts[id + 1] - self->starts[id];
    memcpy(out, self->bytes + self->starts[id], n);
    out[n] = '\0';
    return out;
}

/* vocab.txt; the vocabulary of tokenizer.json is filled on the way. */
static sc_status write_vocab(const sc_wordpiece *self, const char *dir, json_t *vocab)
{
    char *lines = NULL, text[SC_TOKEN_MAX_BYTES];
    size_t n_bytes = 0;
    FILE *out = open_memstream(&lines, &n_bytes);
    bool bad = !out;
    for (int32_t id = 0; id < self->n && !bad; id++)
        bad = fprintf(out, "%s\n", token_text(self, id, text)) < 0 ||
              json_object_set_new(vocab, text, json_integer(id)) != 0;
    if (out)
        bad = fclose(out) != 0 || bad;
    const sc_status status = sc_tokenizer_write_file(dir, "vocab.txt", bad ? NULL : lines);
    free(lines);
    return status;
}

static json_t *added_of(const sc_wordpiece *self)
{
    json_t *list = json_array();
    char text[SC_TOKEN_MAX_BYTES];
    for (int32_t id = 0; id < self->n; id++)
        if (sc_added_tokens_has(&self->added, id))
            json_array_append_new(list, json_pack("{si,ss,sb,sb,sb,sb,sb}", "id", (int)id, "content",
                                                  token_text(self, id, text), "single_word", 0, "lstrip", 0, "rstrip",
                                                  0, "normalized", 0, "special", 1));
    return list;
}

static json_t *template_part(const char *kind, const char *id, int type)
{
    return json_pack("{s{ss,si}}", kind, "id", id, "type_id", type);
}

/* [CLS] A [SEP], [CLS] A [SEP] B [SEP], if there are such tokens. */
static json_t *post_processor_of(const sc_wordpiece *self)
{
    const int32_t cls = sc_added_tokens_id(&self->added, "[CLS]"), sep = sc_added_tokens_id(&self->added, "[SEP]");
    if (cls < 0 || sep < 0)
        return json_null();
    return json_pack("{ss,s[o,o,o],s[o,o,o,o,o],s{s{sss[i]s[s]},s{sss[i]s[s]}}}", "type", "TemplateProcessing",
                     "single", template_part("SpecialToken", "[CLS]", 0), template_part("Sequence", "A", 0),
                     template_part("SpecialToken", "[SEP]", 0), "pair", template_part("SpecialToken", "[CLS]", 0),
                     template_part("Sequence", "A", 0), template_part("SpecialToken", "[SEP]", 0),
                     template_part("Sequence", "B", 1), template_part("SpecialToken", "[SEP]", 1), "special_tokens",
                     "[CLS]", "id", "[CLS]", "ids", (int)cls, "tokens", "[CLS]", "[SEP]", "id", "[SEP]", "ids",
                     (int)sep, "tokens", "[SEP]");
}

static json_t *tokenizer_of(const sc_wordpiece *self, json_t *vocab)
{
    char unknown[SC_TOKEN_MAX_BYTES];
    const sc_bert_options *o = &self->options;
    return json_pack("{ss,sn,sn,so,s{ss,sb,sb,sb,sb},s{ss},so,s{ss,ss,sb},s{ss,ss,ss,si,sO}}", "version", "1.0",
                     "truncation", "padding", "added_tokens", added_of(self), "normalizer", "type", "BertNormalizer",
                     "clean_text", (int)o->clean, "handle_chinese_chars", (int)o->chinese, "strip_accents",
                     (int)o->strip_accents, "lowercase", (int)o->lowercase, "pre_tokenizer", "type", "BertPreTokenizer",
                     "post_processor", post_processor_of(self), "decoder", "type", "WordPiece", "prefix", self->prefix,
                     "cleanup", 1, "model", "type", "WordPiece", "unk_token", token_text(self, self->unknown, unknown),
                     "continuing_subword_prefix", self->prefix, "max_input_chars_per_word", self->longest_word, "vocab",
                     vocab);
}

static json_t *config_of(const sc_wordpiece *self)
{
    json_t *config = json_pack("{ss,sb,sb,sb}", "tokenizer_class", "BertTokenizer", "do_lower_case",
                               (int)self->options.lowercase, "strip_accents", (int)self->options.strip_accents,
                               "tokenize_chinese_chars", (int)self->options.chinese);
    for (int i = 0; i < N_SPECIALS; i++)
        if (sc_added_tokens_id(&self->added, specials[i].content) >= 0)
            json_object_set_new(config, specials[i].role, json_string(specials[i].content));
    return config;
}

sc_status sc_wordpiece_export(const sc_tokenizer *base, const char *dir)
{
    const sc_wordpiece *self = (const sc_wordpiece *)base;
    json_t *vocab = json_object(), *file = NULL, *config = NULL;
    sc_status status;
    SC_TRY_GOTO(status, write_vocab(self, dir, vocab), out);
    file = tokenizer_of(self, vocab);
    SC_TRY_GOTO(status, sc_tokenizer_write_json(dir, "tokenizer.json", file, JSON_INDENT(2)), out);
    config = config_of(self);
    status = sc_tokenizer_write_json(dir, "tokenizer_config.json", config, JSON_INDENT(2));
out:
    json_decref(vocab);
    json_decref(file);
    json_decref(config);
    return status;
}
