/* The text of a run as tokens: a training stream and a validation stream.
 *
 * The files of data.train are read in the order of the config and their tokens joined to one stream. Without validation
 * files, the stream's tail is the validation stream: of n tokens the first floor (n * (1 - validation_share)) train.
 * A file is a text, or a token file (token_file.h), known by how it begins, that was made with the run's tokenizer.
 * The vocabulary of the char tokenizer is that of all of data.train, which are then texts.
 *
 * Memory: of texts two bytes a token (four if the vocabulary is larger than 65536), and while loading the largest of
 * them; of token files none. */
#ifndef SC_CORPUS_H
#define SC_CORPUS_H

#include "coordinator/data/tokenizer.h"
#include "coordinator/data/tokens.h"
#include "proto/base/config.h"

typedef struct sc_corpus sc_corpus;

/* Reads the files and makes the tokenizer that the config names. Returns owned.
 * Errors: SC_NOT_FOUND (a file is missing), SC_PERMISSION_DENIED, SC_INVALID (a directory, an empty file, broken UTF-8,
 * a character of a validation file that no training file has, a stream that does not fill one window of T + 1 tokens:
 * the training stream, or the validation stream when train.eval_every is not 0), SC_RESOURCE_EXHAUSTED; those of
 * sc_tokenizer_open and sc_token_file_open. */
sc_status sc_corpus_load(const sc_config *config, sc_corpus **out);
/* One file, all of it training tokens, with a tokenizer that is there already; borrows both while it works. Returns owned.
 * Errors: as above, but for the windows: any file that is not empty will do. */
sc_status sc_corpus_load_file(const char *path, const sc_tokenizer *tokenizer, sc_corpus **out);
void sc_corpus_destroy(sc_corpus **self_p);

/* Borrowed from the corpus; the tokenizer not after sc_corpus_load_file. */
const sc_tokenizer *sc_corpus_tokenizer(const sc_corpus *self);
sc_tokens sc_corpus_train(const sc_corpus *self);
sc_tokens sc_corpus_validation(const sc_corpus *self); /* n == 0: there is none */

#endif
