/* config.json of a Hugging Face directory, and the model description that it says the same as.
 *
 * Of transformers' GPT2Config the keys that say the shape are read (tie_word_embeddings among them), those that would change
 * the result without being supported are refused by name, and the others (dropout of heads, initialisation, generation,
 * versions) are passed over. Dropout is resid_pdrop. */
#ifndef SC_HF_CONFIG_H
#define SC_HF_CONFIG_H

#include "proto/base/model.h"

/* From text, any bytes; `path` is for messages. Errors: SC_INVALID naming file and key, what it says and what is allowed. */
sc_status sc_hf_config_parse(const char *text, size_t text_bytes, const char *path, sc_model *out);
/* DIR/config.json. Errors: as above; SC_NOT_FOUND, SC_PERMISSION_DENIED. */
sc_status sc_hf_config_load(const char *dir, sc_model *out);
/* Writes `path`, wholly or not at all. `weights` is the type of the weights beside it. Errors: as sc_files_replace. */
sc_status sc_hf_config_save(const sc_model *model, sc_dtype weights, const char *path);

#endif
