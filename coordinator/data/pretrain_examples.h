/* Pre-training examples: masked words and next sentences.
 *
 * A document's sentences are put together, in order, to stretches that fill a row; some, by short_share, get a shorter row. Long
 * sentences are cut in two or more. For each stretch and epoch it is drawn afresh
 *   - after which of its sentences a ends,
 *   - whether b is what follows in the stretch (next = 0) or begins at a sentence of another document (next = 1; of the same
 *     one where there is no other), one in two each; a stretch of one sentence has always the latter;
 *   - which tokens are targets: mask_share of them, at least one, never [CLS] or [SEP]; with whole_words all pieces of a word or
 *     none;
 *   - what stands in the place of each target: [MASK] (80 %), any token of the vocabulary (10 %), the token itself (10 %).
 * Source: Devlin et al. 2018, sec. 3.1 and appendix A.1. */
#ifndef SC_PRETRAIN_EXAMPLES_H
#define SC_PRETRAIN_EXAMPLES_H

#include "coordinator/data/documents.h"
#include "coordinator/data/examples.h"

typedef struct sc_pretrain_options {
    int longest;        /* tokens of a row, at least 8 */
    uint64_t seed;      /* of the lengths of short rows */
    double mask_share;  /* 0.15 */
    double short_share; /* 0.1 */
    bool whole_words;
} sc_pretrain_options;

sc_pretrain_options sc_pretrain_defaults(int longest, uint64_t seed);

/* Borrows the documents while it works. Returns owned.
 * Errors: SC_INVALID (no sentence at all; the tokenizer lacks [CLS], [SEP], [PAD] or [MASK]), SC_RESOURCE_EXHAUSTED. */
sc_status sc_examples_of_documents(const sc_documents *documents, const sc_tokenizer *tokenizer,
                                   const sc_pretrain_options *options, sc_examples **out);

#endif
