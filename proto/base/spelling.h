/* How far a typed word is from one that exists: for "did you mean". */
#ifndef SC_SPELLING_H
#define SC_SPELLING_H

#include <stddef.h>

/* Letters to insert, delete or replace (Levenshtein) to come from `typed`, in which capitals count as small letters, to
 * `word`. SIZE_MAX for words of more than 48 bytes: nobody mistypes so much. Pure; thread: any. */
size_t sc_spelling_distance(const char *typed, const char *word);

#endif
