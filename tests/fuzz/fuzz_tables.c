/* Any bytes as a file of texts with labels or of words with tags; the first byte's last bits say the format. What is refused has
 * a message; what is read lies within the table. */
#include <stdint.h>
#include <stdlib.h>

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
        if (t->n_text == 0 || t->text + t->n_text > texts.n_bytes || t->pair + t->n_pair > texts.n_bytes ||
            t->label < 0 || t->label >= labels.n)
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const unsigned format = size ? data[0] % 8u : 0;
    const sc_text file = {.name = "file", .bytes = (const char *)data + (size > 0), .n_bytes = size - (size > 0)};
    sc_data_columns columns = sc_data_columns_defaults();
    if (format == 5)
        columns.pair = "pair";
    if (format >= 6)
        check_words(&file, &columns);
    else
        check_texts(&file, format == 5 ? SC_DATA_CSV : (sc_data_format)(format % 4), &columns);
    return 0;
}
