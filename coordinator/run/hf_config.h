/* config.json of a Hugging Face directory, and the model description that it says the same as.
 *
 * Of transformers' GPT2Config and BertConfig the keys that say the shape are read (tie_word_embeddings among them), those that
 * would change the result without being supported are refused by name, and the others (dropout of heads, initialisation,
 * generation, versions) are passed over. Dropout is resid_pdrop, or BERT's hidden_dropout_prob;
 * attention's and the classifier's have their own keys.
 *
 * A BERT's task is that of the class that saved it; who fine-tunes it for another one sets task, labels and multi_label
 * afterwards. */
#ifndef SC_HF_CONFIG_H
#define SC_HF_CONFIG_H

#include "coordinator/data/labels.h"
#include "proto/base/model.h"

/* From text, any bytes; `path` is for messages. Errors: SC_INVALID naming file and key, what it says and what is allowed. */
sc_status sc_hf_config_parse(const char *text, size_t text_bytes, const char *path, sc_model *out);
/* The names of id2label, by number, added to `out`, which is empty: none where it has none. Errors: as above (a number without a
 * name, a name twice), with nothing in `out`; SC_RESOURCE_EXHAUSTED. */
sc_status sc_hf_config_parse_labels(const char *text, size_t text_bytes, const char *path, sc_labels *out);
/* The same of DIR/config.json. Errors: as above; SC_NOT_FOUND, SC_PERMISSION_DENIED. */
sc_status sc_hf_config_load(const char *dir, sc_model *out);
sc_status sc_hf_config_load_labels(const char *dir, sc_labels *out);
/* Writes `path`, wholly or not at all. `weights` is the type of the weights beside it. labels: model->labels names, or NULL for
 * those that transformers gives (LABEL_0 ...). Errors: as sc_files_replace. */
sc_status sc_hf_config_save(const sc_model *model, sc_dtype weights, const sc_labels *labels, const char *path);

/* The class of transformers that the model is: "GPT2LMHeadModel", "BertForTokenClassification". */
const char *sc_hf_config_class(const sc_model *model);

#endif
