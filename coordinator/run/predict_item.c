#include "coordinator/run/predict_item.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sc_status no_memory(void)
{
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a text to predict");
}

void sc_predict_item_destroy(sc_predict_item **self_p)
{
    sc_predict_item *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->n_rows; i++)
        free(self->rows[i].tokens);
    for (size_t i = 0; i < self->n_masks; i++) {
        free(self->masks[i].tokens);
        free(self->masks[i].probabilities);
    }
    free(self->rows);
    free(self->masks);
    free(self->words);
    free(self->tags);
    free(self->logits);
    free(self->message);
    free(self->bytes);
    free(self);
    *self_p = NULL;
}

sc_status sc_predict_item_fail(sc_predict_item *self, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (self->message)
        return SC_OK; /* the first is the cause */
    self->message = strdup(text);
    return self->message ? SC_OK : no_memory();
}

/* What no text may have, whatever the model. `what` names it: "the text". */
static sc_status check(sc_predict_item *self, const char *what, const char *bytes, size_t n)
{
    if (n > SC_PREDICT_LONGEST_TEXT)
        return sc_predict_item_fail(self, "%s has %zu bytes; at most %d are taken", what, n, SC_PREDICT_LONGEST_TEXT);
    if (memchr(bytes, '\0', n))
        return sc_predict_item_fail(self, "%s holds a NUL byte; it must be UTF-8", what);
    for (size_t at = 0, length; at < n; at += length) {
        uint32_t c;
        length = sc_utf8_decode(bytes + at, n - at, &c);
        if (length == 0)
            return sc_predict_item_fail(self, "%s is not UTF-8: byte 0x%02X at its character %zu", what,
                                        (unsigned char)bytes[at], sc_utf8_count(bytes, at) + 1);
    }
    return SC_OK;
}

static sc_status new_item(size_t n_bytes, uint64_t line, sc_predict_item **out)
{
    *out = calloc(1, sizeof **out);
    if (*out)
        (*out)->bytes = malloc(n_bytes + 1);
    if (*out && (*out)->bytes) {
        (*out)->line = line;
        return SC_OK;
    }
    sc_predict_item_destroy(out);
    return no_memory();
}

sc_status sc_predict_item_new(const char *text, size_t n_text, const char *pair, size_t n_pair, uint64_t line,
                              sc_predict_item **out)
{
    SC_TRY(new_item(n_text + n_pair, line, out));
    sc_predict_item *self = *out;
    memcpy(self->bytes, text, n_text);
    if (pair)
        memcpy(self->bytes + n_text, pair, n_pair);
    self->n_text = n_text;
    self->n_pair = n_pair;
    self->has_pair = pair != NULL;
    sc_status status = check(self, "the text", text, n_text);
    if (status == SC_OK && pair)
        status = check(self, "the second text", pair, n_pair);
    if (status != SC_OK)
        sc_predict_item_destroy(out);
    return status;
}

sc_status sc_predict_item_new_mistake(const char *message, uint64_t line, sc_predict_item **out)
{
    SC_TRY(new_item(0, line, out));
    const sc_status status = sc_predict_item_fail(*out, "%s", message);
    if (status != SC_OK)
        sc_predict_item_destroy(out);
    return status;
}

/* --- sentences of words -------------------------------------------------------------------------------------------- */

sc_status sc_predict_item_new_words(uint64_t line, sc_predict_item **out)
{
    SC_TRY(new_item(0, line, out));
    (*out)->has_words = true;
    return SC_OK;
}

static sc_status append(char **bytes, size_t *n, size_t *capacity, const char *more, size_t n_more)
{
    if (n_more > *capacity - *n) {
        const size_t room = 2 * (*n + n_more) + 64;
        char *grown = realloc(*bytes, room);
        if (!grown)
            return no_memory();
        *bytes = grown;
        *capacity = room;
    }
    if (n_more > 0)
        memcpy(*bytes + *n, more, n_more);
    *n += n_more;
    return SC_OK;
}

sc_status sc_predict_item_add_word(sc_predict_item *self, const char *word, size_t n_word, const char *right,
                                   size_t n_right)
{
    if (self->message)
        return SC_OK;
    if (n_word > SC_PREDICT_LONGEST_TEXT - self->n_text)
        return sc_predict_item_fail(self, "the sentence has more than %d bytes", SC_PREDICT_LONGEST_TEXT);
    if (self->n_words == self->words_capacity) {
        const size_t capacity = 2 * self->words_capacity + 16;
        sc_predict_word *words = realloc(self->words, capacity * sizeof *words);
        if (!words)
            return no_memory();
        self->words = words;
        self->words_capacity = capacity;
    }
    if (self->n_words > 0)
        SC_TRY(append(&self->bytes, &self->n_text, &self->capacity, " ", 1));
    const size_t begin = self->n_text, tag = self->n_tags;
    SC_TRY(append(&self->bytes, &self->n_text, &self->capacity, word, n_word));
    SC_TRY(append(&self->tags, &self->n_tags, &self->tags_capacity, right, n_right));
    SC_TRY(check(self, "a word", word, n_word));
    SC_TRY(check(self, "a tag", right, n_right));
    self->words[self->n_words++] = (sc_predict_word){
        .begin = begin, .end = self->n_text, .right = tag, .n_right = n_right, .right_label = -1, .label = -1};
    return SC_OK;
}
