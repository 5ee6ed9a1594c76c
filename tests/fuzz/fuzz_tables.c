/* Any bytes as a file of texts with labels, of words with tags or of documents; the first byte's last bits say the format. What
 * is refused has a message; what is read lies within the table; documents in pieces are those of the whole. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/data/documents.h"
#include "coordinator/data/labelled_texts.h"
#include "coordinator/data/tagged_words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_texts(const sc_text *file, sc_data_format format, const sc_data_columns *columns)
{
    sc_labelled_texts texts = {0};
    sc_labels labels = {0};
    const sc_status status = sc_labelled_texts_read(&texts, file, format, columns, &labels, false);
    if (status != SC_OK && !sc_status_message()[0])
        abort();
    if (status == SC_OK && sc_labelled_texts_sort(&texts, &labels) != SC_OK)
        abort();
    for (size_t i = 0; i < texts.n; i++) {
        const sc_labelled_text *t = &texts.items[i];
        if (t->n_text == 0 || t->text + t->n_text > texts.n_bytes || t->pair + t->n_pair > texts.n_bytes)
            abort();
        size_t n;
        const int32_t *ids = sc_labelled_texts_labels(&texts, t, &n);
        for (size_t k = 0; k < n; k++)
            if (ids[k] < 0 || ids[k] >= labels.n)
                abort();
    }
    sc_labelled_texts_clear(&texts);
    sc_labels_clear(&labels);
}

static void check_words(const sc_text *file, const sc_data_columns *columns)
{
    sc_tagged_words words = {0};
    sc_labels labels = {0};
    const sc_status status = sc_tagged_words_read(&words, file, columns, &labels, false);
    if (status != SC_OK && !sc_status_message()[0])
        abort();
    if (status == SC_OK && sc_tagged_words_sort(&words, &labels) != SC_OK)
        abort();
    for (size_t i = 0; i < words.n_words; i++)
        if (words.words[i].text + words.words[i].n_text > words.n_bytes || words.words[i].tag < 0 ||
            words.words[i].tag >= labels.n)
            abort();
    sc_tagged_words_clear(&words);
    sc_labels_clear(&labels);
}

/* Reads the file in pieces of at least `piece` bytes. */
static sc_status read_documents(const sc_text *file, const sc_tokenizer *tokenizer, size_t piece, sc_documents *out)
{
    sc_documents_reader reader = {.documents = out, .tokenizer = tokenizer, .split = true};
    size_t at = 0, used, window = piece;
    do {
        const size_t here = window < file->n_bytes - at ? window : file->n_bytes - at;
        const sc_text part = {.name = file->name, .bytes = file->bytes + at, .n_bytes = here};
        const sc_status status = sc_documents_add(&reader, &part, at + here < file->n_bytes, &used);
        if (status != SC_OK)
            return status;
        at += used;
        window = used ? piece : 2 * window;
    } while (at < file->n_bytes);
    return SC_OK;
}

static void check_documents(const sc_text *file)
{
    static sc_tokenizer *bytes;
    if (!bytes && sc_tokenizer_new_byte(&bytes) != SC_OK)
        abort();
    sc_documents whole = {0}, pieces = {0};
    const sc_status status = read_documents(file, bytes, file->n_bytes + 1, &whole);
    if (read_documents(file, bytes, 3, &pieces) != status)
        abort();
    if (status == SC_OK && whole.n_sentences &&
        (whole.n != pieces.n || whole.n_ids != pieces.n_ids || whole.n_sentences != pieces.n_sentences ||
         memcmp(whole.ids, pieces.ids, whole.n_ids * sizeof *whole.ids) != 0 ||
         memcmp(whole.sentences, pieces.sentences, whole.n_sentences * sizeof *whole.sentences) != 0 ||
         memcmp(whole.firsts, pieces.firsts, whole.n * sizeof *whole.firsts) != 0))
        abort();
    sc_documents_clear(&whole);
    sc_documents_clear(&pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const unsigned format = size ? data[0] % 8u : 0;
    const sc_text file = {.name = "file", .bytes = (const char *)data + (size > 0), .n_bytes = size - (size > 0)};
    sc_data_columns columns = sc_data_columns_defaults();
    if (format == 5)
        columns.pair = "pair";
    if (format == 4)
        check_documents(&file);
    else if (format >= 6)
        check_words(&file, &columns);
    else
        for (int many = 0; many < 2; many++) {
            columns.label_separator = many ? "," : NULL;
            check_texts(&file, format == 5 ? SC_DATA_CSV : (sc_data_format)format, &columns);
        }
    return 0;
}
