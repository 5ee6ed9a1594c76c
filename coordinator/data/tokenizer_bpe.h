/* GPT-2's byte-level BPE, and how one is put together.
 *
 * Mental model. A text is cut at its added tokens (<|endoftext|>), what lies between into words (pre_tokenizer.h), and
 * each word's bytes are merged (bpe_merges.h). Every byte is a token, so any UTF-8 can be encoded. Words repeat: each call
 * of encode keeps a table of the last ones, of fixed size.
 *
 * Kept in a run's file as
 *   {"type":"bpe","vocab":["!",...],"merges":["\u0120 t",...],"added":[50256]}
 * vocab: the tokens by id, in the alphabet of bytes (byte_alphabet.h), an added token as it stands in text; merges: by
 * rank, two tokens with a space between; added: the ids that are found in text before anything else, the longest first.
 *
 * Making one: new, then each merge in the order of rank. Messages of these two say what is wrong with the content; the
 * caller, who knows where it stands, adds file and line. */
#ifndef SC_TOKENIZER_BPE_H
#define SC_TOKENIZER_BPE_H

#include "coordinator/data/tokenizer.h"

#include <jansson.h>

/* vocab: {"token": id, ...}; added: the same for added tokens, which may be in vocab too, with the same id, or NULL. Their
 * ids are together 0, 1, 2, ... without a hole. Borrows both. Returns owned.
 * Errors: SC_INVALID (id that is none, twice or left out; a token longer than SC_TOKEN_MAX_BYTES; a character that is no
 * byte's symbol; a byte without a token), SC_RESOURCE_EXHAUSTED. */
sc_status sc_tokenizer_bpe_new(const json_t *vocab, const json_t *added, size_t most_merges, sc_tokenizer **out);

/* The merge of the next rank, "left right"; vocab as above.
 * Errors: SC_INVALID (not two tokens of the vocabulary, whose join is one too; a pair that was there before). */
sc_status sc_tokenizer_bpe_merge(sc_tokenizer *self, const json_t *vocab, const char *line, size_t n_bytes);

/* Reads the files of others (tokenizer_bpe_files.c). `path`: one of vocab.json, merges.txt, encoder.json, vocab.bpe, whose
 * partner is looked for beside it. In vocabularies of two files <|endoftext|> is an added token.
 * Errors: as above, naming file and line; SC_NOT_FOUND. */
sc_status sc_tokenizer_bpe_load_pair(const char *path, sc_tokenizer **out);
/* Whether the path's last component is one of the four names. */
bool sc_tokenizer_bpe_is_pair(const char *path);
/* Hugging Face's tokenizer.json: whatever in it would give other ids than this implementation's is refused by name.
 * The message lacks the path. */
sc_status sc_tokenizer_bpe_load_hf(const json_t *object, sc_tokenizer **out);

/* Writes the tokenizer for Hugging Face: vocab.json, merges.txt and tokenizer.json into a directory that exists. */
sc_status sc_tokenizer_bpe_export(const sc_tokenizer *self, const char *dir);

#endif
