/* A text file of any size, read piece by piece in bounded memory.
 *
 * `use` is given the text from where it stopped, and whether `more` follows; it says in *used how much it took, all of it
 * at the end. What it left is given again with what follows, in a longer piece if it took nothing. */
#ifndef SC_TEXT_FILE_H
#define SC_TEXT_FILE_H

#include "coordinator/data/tokenizer.h"

enum { SC_TEXT_FILE_PIECE = 8 << 20 }; /* bytes: much beside what encoding a piece costs to begin with */

typedef sc_status (*sc_text_use)(void *context, const sc_text *text, bool more, size_t *used);

/* piece_bytes: > 0, as SC_TEXT_FILE_PIECE. Errors: those of sc_files_open and of `use`; SC_RESOURCE_EXHAUSTED. */
sc_status sc_text_file_each(const char *path, size_t piece_bytes, sc_text_use use, void *context);

#endif
