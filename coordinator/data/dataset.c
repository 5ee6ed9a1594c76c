#include "coordinator/data/dataset.h"

#include "coordinator/data/text_file.h"
#include "proto/base/files.h"

#include <stdlib.h>

const char *sc_data_split_name(sc_data_split split)
{
    static const char *const names[] = {"training", "validation", "test"};
    return names[split];
}

void sc_dataset_clear(sc_dataset *self)
{
    for (int i = 0; i < SC_N_SPLITS; i++) {
        sc_labelled_texts_clear(&self->texts[i]);
        sc_tagged_words_clear(&self->words[i]);
        sc_documents_clear(&self->documents[i]);
    }
    sc_labels_clear(&self->labels);
}

size_t sc_dataset_n(const sc_dataset *self, sc_data_split split)
{
    switch (self->task) {
    case SC_TASK_CLASSIFICATION:
        return self->texts[split].n;
    case SC_TASK_TAGGING:
        return self->words[split].n;
    default:
        return self->documents[split].n;
    }
}

/* --- reading ----------------------------------------------------------------------------------------------------------- */

static sc_status read_table(sc_dataset *self, const sc_config *config, const char *path, sc_data_split split)
{
    const bool known = split != SC_SPLIT_TRAIN;
    const sc_data_columns columns = {
        .text = config->data.text_column,
        .pair = config->data.pair_column,
        .label = config->data.label_column,
        .word = (int)config->data.word_column,
        .tag = (int)config->data.tag_column,
        .label_separator = config->model.multi_label ? config->data.label_separator : NULL,
    };
    sc_data_format format = SC_DATA_CONLL;
    (void)sc_data_format_parse(sc_config_word("data.format", config->data.format), &format);
    char *bytes;
    size_t n_bytes;
    SC_TRY(sc_files_read(path, INT64_MAX, &bytes, &n_bytes));
    const sc_text file = {.name = path, .bytes = bytes, .n_bytes = n_bytes};
    const sc_status status =
        self->task == SC_TASK_TAGGING
            ? sc_tagged_words_read(&self->words[split], &file, &columns, &self->labels, known)
            : sc_labelled_texts_read(&self->texts[split], &file, format, &columns, &self->labels, known);
    free(bytes);
    return status;
}

static sc_status read_documents(sc_dataset *self, const sc_config *config, const char *path, sc_data_split split,
                                const sc_tokenizer *tokenizer)
{
    sc_documents_reader reader = {&self->documents[split], tokenizer, config->data.split_sentences};
    const size_t before = self->documents[split].n;
    SC_TRY(sc_text_file_each(path, SC_TEXT_FILE_PIECE, sc_documents_add, &reader));
    return self->documents[split].n > before ? SC_OK
                                             : SC_FAIL(SC_INVALID, "%s: is empty; name a file with text in it", path);
}

static sc_status read_files(sc_dataset *self, const sc_config *config, char *const *paths, int n, sc_data_split split,
                            const sc_tokenizer *tokenizer)
{
    for (int i = 0; i < n; i++)
        SC_TRY(self->task == SC_TASK_CLASSIFICATION || self->task == SC_TASK_TAGGING
                   ? read_table(self, config, paths[i], split)
                   : read_documents(self, config, paths[i], split, tokenizer));
    return SC_OK;
}

/* --- dividing ---------------------------------------------------------------------------------------------------------- */

static sc_status sort_labels(sc_dataset *self)
{
    switch (self->task) {
    case SC_TASK_CLASSIFICATION:
        return sc_labelled_texts_sort(&self->texts[SC_SPLIT_TRAIN], &self->labels);
    case SC_TASK_TAGGING:
        return sc_tagged_words_sort(&self->words[SC_SPLIT_TRAIN], &self->labels);
    default:
        return SC_OK;
    }
}

/* Draws `share` of what the training data have for another split. */
static sc_status divide(sc_dataset *self, const sc_config *config, double share, sc_data_split split, const char *key)
{
    const uint64_t seed = (uint64_t)config->run.seed;
    const size_t n = sc_dataset_n(self, SC_SPLIT_TRAIN);
    if (share == 0)
        return SC_OK;
    switch (self->task) {
    case SC_TASK_CLASSIFICATION:
        SC_TRY(sc_labelled_texts_split(&self->texts[SC_SPLIT_TRAIN], seed, share, &self->texts[split]));
        break;
    case SC_TASK_TAGGING:
        SC_TRY(sc_tagged_words_split(&self->words[SC_SPLIT_TRAIN], seed, share, &self->words[split]));
        break;
    default:
        SC_TRY(sc_documents_split(&self->documents[SC_SPLIT_TRAIN], seed, share, &self->documents[split]));
        break;
    }
    const bool none = sc_dataset_n(self, split) == 0;
    if (!none && sc_dataset_n(self, SC_SPLIT_TRAIN) > 0)
        return SC_OK;
    return SC_FAIL(SC_INVALID, "%s: %s: of %zu %s none is left for %s; give more data, or another share", config->path,
                   key, n,
                   self->task == SC_TASK_CLASSIFICATION ? "texts"
                   : self->task == SC_TASK_TAGGING      ? "sentences"
                                                        : "documents",
                   none ? sc_data_split_name(split) : "training");
}

sc_status sc_dataset_read(const sc_config *config, const sc_tokenizer *tokenizer, sc_dataset *out)
{
    *out = (sc_dataset){.task = (sc_task)config->model.task};
    SC_TRY(read_files(out, config, config->data.train, config->data.n_train, SC_SPLIT_TRAIN, tokenizer));
    SC_TRY(sort_labels(out));
    SC_TRY(read_files(out, config, config->data.validation, config->data.n_validation, SC_SPLIT_VALIDATION, tokenizer));
    SC_TRY(read_files(out, config, config->data.test, config->data.n_test, SC_SPLIT_TEST, tokenizer));
    const double validation = config->data.validation_share, test = config->data.test_share;
    SC_TRY(divide(out, config, validation, SC_SPLIT_VALIDATION, "data.validation_share"));
    SC_TRY(divide(out, config, test / (1 - validation), SC_SPLIT_TEST, "data.test_share")); /* of what is left */
    if (out->task != SC_TASK_CLASSIFICATION)
        return SC_OK;
    char name[512];
    snprintf(name, sizeof name, "%s: data.train", config->path);
    return sc_labelled_texts_check(&out->texts[SC_SPLIT_TRAIN], &out->labels, name);
}
