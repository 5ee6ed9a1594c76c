/* Export: the weights of a run become a directory that Hugging Face's from_pretrained loads. From files to files, without
 * workers.
 *
 *   model.safetensors                GPT2LMHeadModel's names; metadata "format": "pt", and the step
 *   stagecoach_tokenizer.json        and for a BPE tokenizer vocab.json, merges.txt and tokenizer.json
 *   config.json                      last: a directory that has one is complete
 *
 * What a run saved with a hash is checked against it first. Each file appears complete or not at all; after an error none
 * is left. */
#ifndef SC_EXPORTER_H
#define SC_EXPORTER_H

#include "proto/base/tensor.h"

typedef struct sc_exporter_options {
    const char *dir; /* a run directory, or a directory of weights */
    const char *out; /* made if it is not there; never one that has something in it */
    int64_t step;    /* -1: the newest weights */
    sc_dtype dtype;  /* SC_F32, SC_BF16, SC_F16; 0: the type that each tensor has */
} sc_exporter_options;

typedef struct sc_export {
    uint64_t elements; /* parameters */
    int64_t step;      /* -1: not known */
    sc_dtype dtype;    /* of the token embedding */
} sc_export;

/* Errors: SC_NOT_FOUND (no weights; no such step, with those that there are), SC_ALREADY_EXISTS (out has something in it),
 * SC_DATA_LOSS (damaged weights), SC_OUT_OF_RANGE (values that float16 does not reach), those of the file system. */
sc_status sc_exporter_run(const sc_exporter_options *options, sc_export *out);

#endif
