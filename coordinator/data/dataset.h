/* The data of a task that BERT learns, read from the files that the config names and divided: training, validation, test.
 *
 *   classification             texts with a label (labelled_texts.h)
 *   tagging                    sentences of words with a tag (tagged_words.h)
 *   pretraining, masked_words  documents of sentences (documents.h)
 *
 * Labels are those of the training files, in the order of their names. A split without files of its own is drawn by run.seed from
 * the training data: whole texts, sentences or documents, the validation's first.
 *
 * Zero-initialise; clear frees. Thread: one owns it. */
#ifndef SC_DATASET_H
#define SC_DATASET_H

#include "coordinator/data/documents.h"
#include "coordinator/data/labelled_texts.h"
#include "coordinator/data/tagged_words.h"
#include "proto/base/config.h"

typedef enum sc_data_split { SC_SPLIT_TRAIN, SC_SPLIT_VALIDATION, SC_SPLIT_TEST, SC_N_SPLITS } sc_data_split;

/* "training", "validation", "test". */
const char *sc_data_split_name(sc_data_split split);

typedef struct sc_dataset {
    sc_task task;
    sc_labels labels;
    sc_labelled_texts texts[SC_N_SPLITS];
    sc_tagged_words words[SC_N_SPLITS];
    sc_documents documents[SC_N_SPLITS];
} sc_dataset;

/* Reads and checks all. Borrows both while it works; *out is to be cleared even after an error.
 * Errors, before which no file is left unnamed: those of the readers; SC_INVALID for a label of the training data that only what was
 * drawn for another split has, and for a split of which nothing is left. */
sc_status sc_dataset_read(const sc_config *config, const sc_tokenizer *tokenizer, sc_dataset *out);
void sc_dataset_clear(sc_dataset *self);

/* Texts, sentences or documents of a split. */
size_t sc_dataset_n(const sc_dataset *self, sc_data_split split);

#endif
