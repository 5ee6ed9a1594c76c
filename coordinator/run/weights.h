/* A directory of weights: model.safetensors, Hugging Face's config.json, and the tokenizer. */
#ifndef SC_WEIGHTS_H
#define SC_WEIGHTS_H

#include "coordinator/data/tokenizer.h"
#include "coordinator/run/cluster.h"

/* Fetches every parameter of the assigned model from the workers and writes DIR (which exists). The file of weights
 * appears under its name only when it is complete. `step` goes into its metadata. */
sc_status sc_weights_save(sc_cluster *cluster, const sc_model *model, const sc_tokenizer *tokenizer, int64_t step,
                          const char *dir);

/* Writes Hugging Face's config.json of the model, at once and for good. */
sc_status sc_weights_save_config(const sc_model *model, const char *path);

/* Reads the model description and the tokenizer. *tokenizer is owned by the caller.
 * Errors: SC_NOT_FOUND, SC_INVALID naming file and key. */
sc_status sc_weights_describe(const char *dir, sc_model *model, sc_tokenizer **tokenizer);
/* Sends every parameter to the workers that hold it. Errors: SC_DATA_LOSS naming the tensor, what was expected and what
 * the file has. */
sc_status sc_weights_load(sc_cluster *cluster, const sc_model *model, const char *dir);

#endif
