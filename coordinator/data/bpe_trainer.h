/* Makes a byte-level BPE vocabulary from text, with the algorithm of Hugging Face's BpeTrainer.
 *
 * Words (pre_tokenizer.h) are counted. The vocabulary begins with <|endoftext|>, id 0, and the 256 bytes in the order of
 * their symbols; then the pair of neighbours that occurs most often in all words becomes a token, again and again. Of
 * pairs that occur equally often, the one with the lower left id, then the lower right id, comes first: the result depends on
 * the texts alone. A pair is joined only to a token of at most SC_TOKEN_MAX_BYTES.
 *
 * Counts are kept up to date: a merge looks only at words that may have the pair. Memory grows with the distinct words.
 * Source: Sennrich et al. 2016, sec. 3.2. Thread: one owns it. */
#ifndef SC_BPE_TRAINER_H
#define SC_BPE_TRAINER_H

#include "coordinator/data/tokenizer.h"

typedef struct sc_bpe_trainer sc_bpe_trainer;

enum { SC_BPE_TRAINER_FEWEST = 257, SC_BPE_TRAINER_MOST = 1 << 20 }; /* tokens in the vocabulary */

sc_status sc_bpe_trainer_new(sc_bpe_trainer **out);
void sc_bpe_trainer_destroy(sc_bpe_trainer **self_p);

/* Counts the words of a text; an sc_text_use. Errors: SC_INVALID (not UTF-8), SC_RESOURCE_EXHAUSTED. */
sc_status sc_bpe_trainer_add(void *self, const sc_text *text, bool more, size_t *used);

/* Makes the tokenizer, once, of `size` tokens, or fewer if no pair is left. *out is owned by the caller.
 * Errors: SC_INVALID (no text), SC_RESOURCE_EXHAUSTED. */
sc_status sc_bpe_trainer_train(sc_bpe_trainer *self, int size, sc_tokenizer **out);

#endif
