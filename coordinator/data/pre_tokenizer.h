/* GPT-2's pre-tokenizer: cuts text into the words within which byte-level BPE merges. It is the expression
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * matched again and again from the left. The expression never looks behind and at most one character ahead, so it is
 * matched by hand in one pass, in linear time whatever the text; what is a letter, a digit or a space is asked of PCRE2,
 * once, for every character. tests/unit/test_pre_tokenizer.c compares with PCRE2's own matches of the expression.
 *
 * \s is Unicode's White_Space, as Hugging Face has it: PCRE2's own \s would add U+180E.
 *
 * Source: openai/gpt-2, encoder.py. Thread: any number may use one. */
#ifndef SC_PRE_TOKENIZER_H
#define SC_PRE_TOKENIZER_H

#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct sc_pre_tokenizer sc_pre_tokenizer;

/* Returns owned. Errors: SC_RESOURCE_EXHAUSTED, SC_INTERNAL (PCRE2 without Unicode). */
sc_status sc_pre_tokenizer_new(sc_pre_tokenizer **out);
void sc_pre_tokenizer_destroy(sc_pre_tokenizer **self_p);

/* Where the word that begins at `at` ends. text[at .. end) is valid UTF-8 of whole characters, at < end. If `more`, the
 * text goes on behind `end`, and 0 is returned where what follows could change the answer. */
size_t sc_pre_tokenizer_next(const sc_pre_tokenizer *self, const char *text, size_t at, size_t end, bool more);

#endif
