/* The weights of a directory, by the model's own parameters, whatever file, name and float type they have there.
 *
 * A directory of weights is Hugging Face's (model.safetensors, or several files with an index), a run's final/, or a set of
 * shards. A parameter is there as "transformer.h.0.ln_1.weight" or, as the bare GPT2Model saves it, "h.0.ln_1.weight", and so are
 * BERT's with and without "bert.", its LayerNorms also with gamma and beta; in float32, float16 or bfloat16. lm_head.weight is an
 * untied model's own; a tied one's files may have it, too, with the bits of wte.weight.
 *
 * What BERT's head lacks is told at warn and drawn anew: a model that was pre-trained begins to be fine-tuned so.
 * Other tensors are passed over: those that the model makes itself (causal masks, position_ids) are told at level info, those that
 * it does not have at warn, the optimizer's state in silence.
 *
 * Calls after open change nothing; thread: any. */
#ifndef SC_HF_WEIGHTS_H
#define SC_HF_WEIGHTS_H

#include "coordinator/run/hf_config.h"

typedef struct sc_hf_weights sc_hf_weights;

/* Opens and checks all: no parameter but of a BERT's head is missing, none is there twice, shapes are those of the model, a tied head is no other matrix.
 * Returns owned. Errors: SC_NOT_FOUND (no files; only pytorch_model.bin), SC_DATA_LOSS naming the tensor, what was expected and
 * what the file has. */
sc_status sc_hf_weights_open(const char *dir, const sc_model *model, sc_hf_weights **out);
void sc_hf_weights_close(sc_hf_weights **self_p);

/* Parameters that are missing; they are read as a fresh run with `seed` starts them (0 until it is said). */
int sc_hf_weights_n_missing(const sc_hf_weights *self);
void sc_hf_weights_draw(sc_hf_weights *self, uint64_t seed);

/* The type in which a parameter lies in its file. */
sc_dtype sc_hf_weights_dtype(const sc_hf_weights *self, int ordinal);
/* Elements [first, first + n) of a parameter as float32. Errors: SC_DATA_LOSS (the file has shrunk), SC_OUT_OF_RANGE. */
sc_status sc_hf_weights_read(const sc_hf_weights *self, int ordinal, uint64_t first, float *out, size_t n);
/* Metadata of the files, such as "step"; NULL if there is none. */
const char *sc_hf_weights_metadata(const sc_hf_weights *self, const char *key);

#endif
