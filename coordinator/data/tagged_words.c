#include "coordinator/data/tagged_words.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_COLUMNS = 256, SHOWN = 60, LONGEST_TAG = 256 };

void sc_tagged_words_clear(sc_tagged_words *self)
{
    free(self->words);
    free(self->sentences);
    free(self->bytes);
    *self = (sc_tagged_words){0};
}

typedef struct column {
    const char *text;
    size_t n;
} column;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

/* How many columns the line has; those beyond the most are counted, not kept. */
static int split(const char *line, size_t n, bool tabs, column out[MOST_COLUMNS])
{
    int n_columns = 0;
    size_t blanks = 0;
    while (blanks < n && is_blank(line[blanks]))
        blanks++;
    if (blanks == n)
        return 0;
    for (size_t at = 0, end = 0; end < n; at = end + 1) {
        end = at;
        while (end < n && !(tabs ? line[end] == '\t' : is_blank(line[end])))
            end++;
        if (tabs || end > at) {
            if (n_columns < MOST_COLUMNS)
                out[n_columns] = (column){line + at, end - at};
            n_columns++;
        }
    }
    return n_columns;
}

/* A file's lines, one after the other. */
typedef struct reader {
    const sc_text *file;
    const sc_data_columns *columns;
    size_t at;
    uint64_t line; /* of what was read last */
    bool tabs;
    int n_columns; /* 0: not known yet */
    column word, tag;
} reader;

/* The column of a number from 1, or from -1 at the end; NULL if there is none. */
static const column *pick(const column *all, int n, int number)
{
    const int i = number > 0 ? number - 1 : n + number;
    return i >= 0 && i < n ? &all[i] : NULL;
}

static sc_status take_columns(reader *self, const column *all, int n)
{
    if (self->n_columns && n != self->n_columns)
        return SC_FAIL(SC_INVALID, "has %d columns where the lines before have %d", n, self->n_columns);
    if (n > MOST_COLUMNS)
        return SC_FAIL(SC_INVALID, "has %d columns; at most %d are read", n, MOST_COLUMNS);
    self->n_columns = n;
    const column *word = pick(all, n, self->columns->word), *tag = pick(all, n, self->columns->tag);
    if (!word || !tag || word == tag)
        return SC_FAIL(SC_INVALID, "has %d column%s: none for the word (%d) beside the tag (%d)", n, n == 1 ? "" : "s",
                       self->columns->word, self->columns->tag);
    if (tag->n == 0)
        return SC_FAIL(SC_INVALID, "has an empty tag");
    if (tag->n >= LONGEST_TAG || memchr(tag->text, '\0', tag->n))
        return SC_FAIL(SC_INVALID, "has a tag with a NUL, or of more than %d bytes", LONGEST_TAG - 1);
    self->word = *word;
    self->tag = *tag;
    return SC_OK;
}

/* The next line: *is_word is false for one that ends a sentence, and at the file's end, where *more is false, too. */
static sc_status next_line(reader *self, bool *is_word, bool *more)
{
    const sc_text *file = self->file;
    *is_word = false;
    *more = self->at < file->n_bytes;
    if (!*more)
        return SC_OK;
    const char *line = file->bytes + self->at, *end = memchr(line, '\n', file->n_bytes - self->at);
    size_t n = end ? (size_t)(end - line) : file->n_bytes - self->at;
    self->at += n + (end != NULL);
    self->line++;
    if (n > 0 && line[n - 1] == '\r')
        n--;
    if (self->n_columns == 0)
        self->tabs = memchr(line, '\t', n) != NULL;
    column all[MOST_COLUMNS];
    const int n_columns = split(line, n, self->tabs, all);
    static const char docstart[] = "-DOCSTART-";
    if (n_columns == 0 || (all[0].n == sizeof docstart - 1 && memcmp(all[0].text, docstart, all[0].n) == 0))
        return SC_OK;
    *is_word = true;
    const sc_status status = take_columns(self, all, n_columns);
    return status == SC_OK ? SC_OK : SC_FAIL(status, "%s:%" PRIu64 ": %s", file->name, self->line, sc_status_message());
}

/* Whether the tag, "B-PER" or "I-PER", is one of an entity, and of the same type as the one before. */
static bool is_entity(column tag)
{
    return tag.n > 2 && tag.text[1] == '-' && (tag.text[0] == 'B' || tag.text[0] == 'I');
}

static bool same_type(column before, column tag)
{
    return is_entity(before) && before.n == tag.n && memcmp(before.text + 2, tag.text + 2, tag.n - 2) == 0;
}

/* The rule of the header. */
static sc_status find_scheme(const sc_text *file, const sc_data_columns *columns, bool *iob1)
{
    reader r = {.file = file, .columns = columns};
    bool is_word, more = true, i_begins = false;
    column before = {0};
    *iob1 = false;
    while (more) {
        SC_TRY(next_line(&r, &is_word, &more));
        const column tag = is_word ? r.tag : (column){0};
        if (is_entity(tag) && !same_type(before, tag)) {
            if (tag.text[0] == 'B')
                return SC_OK;
            i_begins = true;
        }
        before = tag;
    }
    *iob1 = i_begins;
    return SC_OK;
}

static void *grow(void *items, size_t *capacity, size_t needed, size_t size)
{
    if (needed <= *capacity)
        return items;
    const size_t more = 2 * needed + 1024;
    void *grown = realloc(items, more * size);
    if (grown)
        *capacity = more;
    return grown;
}

static sc_status add_word(sc_tagged_words *self, column word, int32_t tag, bool begins, uint64_t line)
{
    void *words = grow(self->words, &self->words_capacity, self->n_words + 1, sizeof *self->words);
    self->words = words ? words : self->words;
    void *sentences = grow(self->sentences, &self->capacity, self->n + 1, sizeof *self->sentences);
    self->sentences = sentences ? sentences : self->sentences;
    void *bytes = grow(self->bytes, &self->bytes_capacity, self->n_bytes + word.n, 1);
    self->bytes = bytes ? bytes : self->bytes;
    if (!words || !sentences || !bytes)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu words", self->n_words + 1);
    if (begins)
        self->sentences[self->n++] = (sc_tagged_sentence){.first = self->n_words, .line = line};
    self->sentences[self->n - 1].n++;
    self->words[self->n_words++] = (sc_tagged_word){.text = self->n_bytes, .n_text = word.n, .tag = tag};
    if (word.n > 0)
        memcpy(self->bytes + self->n_bytes, word.text, word.n);
    self->n_bytes += word.n;
    return SC_OK;
}

static sc_status number_tag(column tag, bool as_b, sc_labels *labels, bool known, int32_t *id)
{
    char name[LONGEST_TAG];
    memcpy(name, tag.text, tag.n);
    if (as_b)
        name[0] = 'B';
    if (!known)
        return sc_labels_add(labels, name, tag.n, id);
    *id = sc_labels_find(labels, name, tag.n);
    return *id >= 0 ? SC_OK
                    : SC_FAIL(SC_INVALID, "has the tag '%.*s', which the training data lacks",
                              tag.n < SHOWN ? (int)tag.n : SHOWN, name);
}

static sc_status read_words(sc_tagged_words *self, reader *r, bool iob1, sc_labels *labels, bool known)
{
    bool is_word, more = true, begins = true;
    column before = {0};
    while (more) {
        SC_TRY(next_line(r, &is_word, &more));
        if (!is_word) {
            begins = true;
            before = (column){0};
            continue;
        }
        int32_t tag;
        const bool as_b = iob1 && is_entity(r->tag) && !same_type(before, r->tag);
        sc_status status = number_tag(r->tag, as_b, labels, known, &tag);
        if (status == SC_OK)
            status = add_word(self, r->word, tag, begins, r->line);
        if (status != SC_OK)
            return SC_FAIL(status, "%s:%" PRIu64 ": %s", r->file->name, r->line, sc_status_message());
        begins = false;
        before = r->tag;
    }
    return SC_OK;
}

sc_status sc_tagged_words_read(sc_tagged_words *self, const sc_text *file, const sc_data_columns *columns,
                               sc_labels *labels, bool known)
{
    size_t end;
    bool iob1;
    const size_t before = self->n;
    SC_TRY(sc_text_check_utf8(file, false, &end));
    SC_TRY(find_scheme(file, columns, &iob1));
    SC_TRY(read_words(self, &(reader){.file = file, .columns = columns}, iob1, labels, known));
    return self->n > before ? SC_OK : SC_FAIL(SC_INVALID, "%s: holds no word", file->name);
}

sc_status sc_tagged_words_sort(sc_tagged_words *self, sc_labels *labels)
{
    int32_t *renumber = calloc((size_t)labels->n + 1, sizeof *renumber);
    if (!renumber)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to sort %d labels", (int)labels->n);
    const sc_status status = sc_labels_sort(labels, renumber);
    for (size_t i = 0; status == SC_OK && i < self->n_words; i++)
        self->words[i].tag = renumber[self->words[i].tag];
    free(renumber);
    return status;
}

static sc_status copy_sentence(const sc_tagged_words *self, const sc_tagged_sentence *sentence, sc_tagged_words *out)
{
    for (size_t i = 0; i < sentence->n; i++) {
        const sc_tagged_word *word = &self->words[sentence->first + i];
        const column text = {self->bytes + word->text, word->n_text};
        SC_TRY(add_word(out, text, word->tag, i == 0, sentence->line));
    }
    return SC_OK;
}

sc_status sc_tagged_words_split(sc_tagged_words *self, uint64_t seed, double share, sc_tagged_words *out)
{
    sc_tagged_words rest = {0};
    sc_status status = SC_OK;
    for (size_t i = 0; i < self->n && status == SC_OK; i++)
        status = copy_sentence(self, &self->sentences[i], sc_data_split_takes(seed, self->n, share, i) ? out : &rest);
    if (status != SC_OK) {
        sc_tagged_words_clear(&rest);
        return status;
    }
    sc_tagged_words_clear(self);
    *self = rest;
    return SC_OK;
}
