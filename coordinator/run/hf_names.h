/* What the tensors of a model are called in Hugging Face's files. Pure; thread: any. */
#ifndef SC_HF_NAMES_H
#define SC_HF_NAMES_H

#include "proto/base/model.h"

typedef enum sc_hf_surplus {
    SC_HF_MADE, /* what the model makes itself and older versions saved: causal masks (h.3.attn.bias, .attn.masked_bias),
                        BERT's position_ids and the decoder's copy of its bias */
    SC_HF_OPTIMIZER, /* optimizer.*: what a checkpoint keeps beside the weights */
    SC_HF_UNKNOWN
} sc_hf_surplus;

/* The matrix that makes logits, of a model that has it by that name beside the token embedding or instead of it. */
const char *sc_hf_names_decoder(const sc_model *model);

/* The second name of a parameter: "h.0.ln_1.weight" for "transformer.h.0.ln_1.weight", "encoder..." for "bert.encoder..."; itself
 * where it has only one. */
const char *sc_hf_names_bare(const char *name);

enum { SC_HF_MAX_NAMES = 4 };
typedef struct sc_hf_name_list {
    int n;
    char names[SC_HF_MAX_NAMES][SC_NAME_BYTES];
} sc_hf_name_list;
/* All names that a parameter may have in files, its own first: with and without the prefix, and BERT's LayerNorm as
 * TensorFlow calls it, with gamma and beta. */
void sc_hf_names_of(const char *name, sc_hf_name_list *out);

/* What a tensor is that is neither a parameter nor the decoder. */
sc_hf_surplus sc_hf_names_surplus(const char *name);

#endif
