/* Documents of sentences as ids, for pre-training: read from text with an empty line between documents, piece by piece.
 *
 * A line is a sentence or, with `split`, a paragraph that is cut at sentence ends: behind . ! ? and what closes quotes and
 * brackets, where white space and no small letter follows and the period does not stand behind a single letter; behind the
 * full-width forms of these always. A sentence without tokens is left out, a document without sentences, too.
 *
 * Zero-initialise; clear frees. Memory: four bytes a token. Thread: one owns it. */
#ifndef SC_DOCUMENTS_H
#define SC_DOCUMENTS_H

#include "coordinator/data/tokenizer.h"

typedef struct sc_documents {
    int32_t *ids; /* [n_ids]: of all sentences, one behind the other */
    size_t n_ids, ids_capacity;
    size_t *sentences; /* [n_sentences + 1]: where each begins in ids; the last is n_ids. NULL without sentences */
    size_t n_sentences, sentences_capacity;
    size_t *firsts; /* [n]: each document's first sentence */
    size_t n, firsts_capacity;
    bool open; /* the last document may go on */
} sc_documents;

void sc_documents_clear(sc_documents *self);

/* What sc_documents_add adds to, and how. Borrows all. */
typedef struct sc_documents_reader {
    sc_documents *documents;
    const sc_tokenizer *tokenizer;
    bool split;
} sc_documents_reader;

/* An sc_text_use (text_file.h); self: an sc_documents_reader. The end of a file ends its document. Errors: those of
 * sc_tokenizer_encode; SC_INVALID for a line of more than 64 MiB; SC_RESOURCE_EXHAUSTED. */
sc_status sc_documents_add(void *self, const sc_text *text, bool more, size_t *used);

/* Moves a share of the documents to `out`, which is empty, by seed (sc_data_split_takes); the order stays. Errors:
 * SC_RESOURCE_EXHAUSTED. */
sc_status sc_documents_split(sc_documents *self, uint64_t seed, double share, sc_documents *out);

/* How many of n bytes, more than none, the first sentence has, with the white space behind it. */
size_t sc_documents_first_sentence(const char *text, size_t n);

#endif
