/* What the tensors of a GPT-2 are called in Hugging Face's files. Pure; thread: any. */
#ifndef SC_HF_NAMES_H
#define SC_HF_NAMES_H

typedef enum sc_hf_surplus {
    SC_HF_MASK,      /* h.3.attn.bias, h.3.attn.masked_bias: the causal mask, which older versions saved */
    SC_HF_OPTIMIZER, /* optimizer.*: what a checkpoint keeps beside the weights */
    SC_HF_UNKNOWN
} sc_hf_surplus;

#define SC_HF_HEAD "lm_head.weight"

/* The second name of a parameter: "h.0.ln_1.weight" for "transformer.h.0.ln_1.weight"; itself where it has only one. */
const char *sc_hf_names_bare(const char *name);
/* What a tensor is that is neither a parameter nor the head. */
sc_hf_surplus sc_hf_names_surplus(const char *name);

#endif
