/* A directory of weights: safetensors under Hugging Face's names, config.json, and the tokenizer. What hf_config.h and
 * hf_weights.h know of its files, this brings to and from the workers. */
#ifndef SC_WEIGHTS_H
#define SC_WEIGHTS_H

#include "coordinator/data/tokenizer.h"
#include "coordinator/run/cluster.h"
#include "coordinator/run/hf_weights.h"

/* The directory that `dir` means, in `out` (PATH_MAX bytes): itself, if it has a config.json; else of a run's directory its
 * final/ or one of its checkpoints, whichever has `wanted` steps, or most where that is -1. *step: its steps, -1 if the
 * weights do not say. Errors: SC_NOT_FOUND, with the steps that there are; SC_DATA_LOSS. */
sc_status sc_weights_find(const char *dir, int64_t wanted, char *out, int64_t *step);

/* Fetches every parameter of the assigned model from the workers and writes DIR (which exists), with the tokenizer in both forms,
 * so that transformers loads it as it is. Each file appears under its
 * name only when it is complete, config.json last, and their checksums behind it (checksums.h). `step` goes into the weights' metadata.
 * labels: as for sc_hf_config_save. */
sc_status sc_weights_save(sc_cluster *cluster, const sc_model *model, const sc_tokenizer *tokenizer,
                          const sc_labels *labels, int64_t step, const char *dir);

/* Reads the model description and the tokenizer. *tokenizer is owned by the caller.
 * Errors: SC_NOT_FOUND, SC_INVALID naming file and key. */
sc_status sc_weights_describe(const char *dir, sc_model *model, sc_tokenizer **tokenizer);

/* That the model continues texts, as a GPT-2 does. Errors: SC_INVALID naming the directory and the class. */
sc_status sc_weights_expect_generative(const char *dir, const sc_model *model);

/* Sends every parameter of an open directory to the workers that hold it. They were assigned with `fresh` false: their
 * optimizer state is zero, and they wait for all parameters. Errors: as sc_hf_weights_read; what stops a worker. */
sc_status sc_weights_send(sc_cluster *cluster, const sc_model *model, const sc_hf_weights *weights);
/* Opens DIR for this model, sends and closes. Errors: also those of sc_hf_weights_open. */
sc_status sc_weights_load(sc_cluster *cluster, const sc_model *model, const char *dir);

#endif
