/* What the reader and the writer of safetensors share: the format's limits and names. */
#ifndef SC_SAFETENSORS_INTERNAL_H
#define SC_SAFETENSORS_INTERNAL_H

#include "proto/base/safetensors.h"

enum {
    SC_SAFETENSORS_PREFIX_BYTES = 8,             /* the header's length, little-endian */
    SC_SAFETENSORS_MAX_HEADER_BYTES = 100000000, /* the format's own cap */
    SC_SAFETENSORS_ALIGN = 8,                    /* the header is padded so that the data begin at a multiple */
};

/* "F32"; NULL for a number that is no type. */
const char *sc_safetensors_dtype_word(sc_dtype dtype);
/* 0 for a word that is no type of ours. */
sc_dtype sc_safetensors_dtype_parse(const char *word);

/* Fails with errno's cause: "PATH: cannot VERB: No space left on device". */
sc_status sc_safetensors_io_error(const char *path, const char *verb, int error);

#endif
