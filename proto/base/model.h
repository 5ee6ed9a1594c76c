/* What a model is made of: a list of blocks, and for each block its parameters and its costs.
 *
 * One source for everybody: the partition and the simulator weigh blocks with these costs, the worker sizes its arenas
 * from them and its layers fill exactly these bytes, names are those under which parameters are initialised, saved and
 * exported (Hugging Face's own). Pure; thread: any.
 *
 * A model with L layers has L + 2 blocks:  0 embedding, 1..L transformer, L + 1 head.
 *
 * GPT-2's head is the final LayerNorm and the decoder, whose matrix is the token embedding itself in a tied model, and a
 * parameter of its own in an untied one: the last in the model's order, so that all others have the same ordinals, and the
 * same initial bits, either way.
 *
 * BERT's head is that of its task; the decoder of masked words is always the token embedding. All other parameters come
 * first and in the same order, so that they have the same ordinals, and the same initial bits, whatever the task. q, k and
 * v are parameters of their own, as Hugging Face has them, one behind the other: laid out so, each on 64 bytes, they are one
 * (3C,C) matrix and one (3C) bias.
 */
#ifndef SC_MODEL_H
#define SC_MODEL_H

#include "proto/base/tensor.h"

#include <stdbool.h>

typedef enum sc_family { SC_GPT2 = 1, SC_BERT } sc_family;
typedef enum sc_block_kind { SC_BLOCK_EMBEDDING, SC_BLOCK_TRANSFORMER, SC_BLOCK_HEAD } sc_block_kind;

/* What the head is for. */
typedef enum sc_task {
    SC_TASK_NEXT_TOKEN,     /* GPT-2 */
    SC_TASK_PRETRAINING,    /* BERT: masked words, and whether the second sentence follows the first */
    SC_TASK_MASKED_WORDS,   /* BERT: masked words alone */
    SC_TASK_CLASSIFICATION, /* BERT: a label a sequence or, with multi_label, each label yes or no */
    SC_TASK_TAGGING         /* BERT: a label a token */
} sc_task;

typedef struct sc_model {
    sc_family family;
    int layers;    /* L */
    int heads;     /* NH, divides hidden */
    int hidden;    /* C */
    int context;   /* the longest T, rows of the position table */
    int vocab;     /* V */
    float dropout; /* embedding and residual; 0 <= dropout < 1, as the following */
    float attention_dropout,
        classifier_dropout; /* of attention's probabilities; of BERT's input to a classifier or tagger */
    float norm_epsilon;     /* inside LayerNorm's root: 1e-5, BERT 1e-12 */
    bool tied;              /* GPT-2: the head's decoder is the token embedding */
    /* BERT: all others leave them 0 */
    sc_task task;
    int intermediate; /* I, inner width of the MLP; 0: 4 C */
    int token_types;  /* kinds of segments */
    int labels;       /* K, of classification and tagging; 0 otherwise */
    bool multi_label; /* classification: any number of labels is right */
    /* Of a run that trains it, not of the model: so many blocks, the embedding first, do not learn. 0: all do; the head always. */
    int frozen;
} sc_model;

typedef enum sc_init { SC_INIT_ZERO, SC_INIT_ONE, SC_INIT_NORMAL } sc_init;

/* How a matrix lies: GPT-2's Conv1D keeps (in, out), y = x W; torch.nn.Linear and embeddings keep (out, in), y = x W^T.
 */
typedef struct sc_param {
    char name[SC_NAME_BYTES]; /* "transformer.h.0.attn.c_attn.weight" */
    int ordinal;              /* place in the model's own order: of norms, of files, of random initialisation */
    sc_shape shape;
    bool decays; /* weight decay applies: matrices and embeddings, not biases and norms */
    sc_init init;
    float init_std; /* 0.02; GPT-2's residual projections 0.02 / sqrt(2 L) */
} sc_param;

/* The tensors that a block's layers keep or need for one micro-batch, in memory order; each starts on 64 bytes.
 * Letters in legend.h; N = B * T, I the MLP's inner width, K labels. What holds int32 or float32 is 4 bytes an element either way. */
typedef enum sc_slot {
    /* GPT-2's embedding */
    SC_SLOT_TOKENS, /* saved   (N) int32 */
    SC_SLOT_DEMBED, /* weight  (N,C) */
    /* GPT-2's transformer */
    SC_SLOT_X,        /* saved   (N,C)   the block's input */
    SC_SLOT_LN1_MEAN, /* saved   (N) */
    SC_SLOT_LN1_RSTD, /* saved   (N) */
    SC_SLOT_LN1,      /* saved   (N,C) */
    SC_SLOT_QKV,      /* saved   (N,3C) */
    SC_SLOT_LSE,      /* saved   (B,NH,T) */
    SC_SLOT_ATT,      /* saved   (N,C) */
    SC_SLOT_RES,      /* saved   (N,C)   x + dropout (attention's projection) */
    SC_SLOT_LN2_MEAN, /* saved   (N) */
    SC_SLOT_LN2_RSTD, /* saved   (N) */
    SC_SLOT_LN2,      /* saved   (N,C) */
    SC_SLOT_FC,       /* saved   (N,4C)  before GELU */
    SC_SLOT_GELU,     /* saved   (N,4C) */
    SC_SLOT_DLN1,     /* weight  (N,C) */
    SC_SLOT_DQKV,     /* weight  (N,3C) */
    SC_SLOT_DPROJ,    /* weight  (N,C)   gradient of attention's projection */
    SC_SLOT_DLN2,     /* weight  (N,C) */
    SC_SLOT_DFC,      /* weight  (N,4C) */
    SC_SLOT_DMLP,     /* weight  (N,C)   gradient of the second MLP matrix's output */
    SC_SLOT_DATT,     /* scratch (N,C) */
    /* GPT-2's head */
    SC_SLOT_LNF_X,    /* saved   (N,C) */
    SC_SLOT_LNF_MEAN, /* saved   (N) */
    SC_SLOT_LNF_RSTD, /* saved   (N) */
    SC_SLOT_LNF,      /* saved   (N,C) */
    SC_SLOT_LOGITS,   /* saved   (N,V)   overwritten by dlogits */
    SC_SLOT_TARGETS,  /* saved   (N) int32 */
    SC_SLOT_LOSS,     /* saved   (N) */
    SC_SLOT_DLNF,     /* weight  (N,C) */
    /* BERT's embedding */
    SC_SLOT_BERT_TOKENS,   /* saved   (N) int32 */
    SC_SLOT_BERT_SEGMENTS, /* saved   (N) int32 */
    SC_SLOT_BERT_SUM,      /* saved   (N,C)   of the three embeddings */
    SC_SLOT_BERT_SUM_MEAN, /* saved   (N) */
    SC_SLOT_BERT_SUM_RSTD, /* saved   (N) */
    SC_SLOT_BERT_DEMBED,   /* weight  (N,C)   gradient of LayerNorm's output, then of its input */
    /* BERT's transformer */
    SC_SLOT_BERT_X,        /* saved   (N,C)   the block's input */
    SC_SLOT_BERT_QKV,      /* saved   (N,3C) */
    SC_SLOT_BERT_LSE,      /* saved   (B,NH,T) */
    SC_SLOT_BERT_ATT,      /* saved   (N,C) */
    SC_SLOT_BERT_RES1,     /* saved   (N,C)   x + dropout (attention's projection) */
    SC_SLOT_BERT_LN1_MEAN, /* saved   (N) */
    SC_SLOT_BERT_LN1_RSTD, /* saved   (N) */
    SC_SLOT_BERT_LN1,      /* saved   (N,C) */
    SC_SLOT_BERT_FC,       /* saved   (N,I)   before GELU */
    SC_SLOT_BERT_GELU,     /* saved   (N,I) */
    SC_SLOT_BERT_RES2,     /* saved   (N,C)   ln1 + dropout (the MLP's output) */
    SC_SLOT_BERT_LN2_MEAN, /* saved   (N) */
    SC_SLOT_BERT_LN2_RSTD, /* saved   (N) */
    SC_SLOT_BERT_DOUT,     /* weight  (N,C) */
    SC_SLOT_BERT_DMLP,     /* weight  (N,C)   gradient of the second MLP matrix's output */
    SC_SLOT_BERT_DFC,      /* weight  (N,I) */
    SC_SLOT_BERT_DLN1,     /* weight  (N,C) */
    SC_SLOT_BERT_DPROJ,    /* weight  (N,C)   gradient of attention's projection */
    SC_SLOT_BERT_DQKV,     /* weight  (N,3C) */
    SC_SLOT_BERT_DATT,     /* scratch (N,C) */
    /* BERT's head for masked words; of N rows as many are used as words are masked */
    SC_SLOT_WORDS_X,       /* saved   (N,C) */
    SC_SLOT_WORDS_ROWS,    /* saved   (N) int32, where in x the masked words are */
    SC_SLOT_WORDS_TARGETS, /* saved   (N) int32, of those rows */
    SC_SLOT_WORDS_MASKED,  /* saved   (N,C)   those rows of x */
    SC_SLOT_WORDS_FC,      /* saved   (N,C)   before GELU */
    SC_SLOT_WORDS_GELU,    /* saved   (N,C) */
    SC_SLOT_WORDS_MEAN,    /* saved   (N) */
    SC_SLOT_WORDS_RSTD,    /* saved   (N) */
    SC_SLOT_WORDS_LN,      /* saved   (N,C) */
    SC_SLOT_WORDS_LOGITS,  /* saved   (N,V)   overwritten by dlogits */
    SC_SLOT_WORDS_LOSS,    /* saved   (N) */
    SC_SLOT_WORDS_DLN,     /* weight  (N,C) */
    SC_SLOT_WORDS_DFC,     /* weight  (N,C)   gradient of GELU's output, then of its input */
    SC_SLOT_WORDS_DMASKED, /* scratch (N,C) */
    /* and, in pre-training, for the next sentence */
    SC_SLOT_NEXT_FIRST,   /* saved   (B,C)   x at position 0 */
    SC_SLOT_NEXT_PRE,     /* saved   (B,C)   before tanh */
    SC_SLOT_NEXT_POOLED,  /* saved   (B,C) */
    SC_SLOT_NEXT_LOGITS,  /* saved   (B,2)   overwritten by dlogits */
    SC_SLOT_NEXT_TARGETS, /* saved   (B) int32 */
    SC_SLOT_NEXT_LOSS,    /* saved   (B) */
    SC_SLOT_NEXT_DPRE,    /* weight  (B,C) */
    SC_SLOT_NEXT_DFIRST,  /* scratch (B,C) */
    /* BERT's head for the classification of sequences */
    SC_SLOT_CLASS_X,       /* saved   (N,C) */
    SC_SLOT_CLASS_FIRST,   /* saved   (B,C)   x at position 0 */
    SC_SLOT_CLASS_PRE,     /* saved   (B,C)   before tanh */
    SC_SLOT_CLASS_POOLED,  /* saved   (B,C)   after dropout */
    SC_SLOT_CLASS_LOGITS,  /* saved   (B,K)   overwritten by dlogits */
    SC_SLOT_CLASS_TARGETS, /* saved   (B,K) int32; B are used unless multi_label */
    SC_SLOT_CLASS_LOSS,    /* saved   (B,K)   the same */
    SC_SLOT_CLASS_DPRE,    /* weight  (B,C) */
    SC_SLOT_CLASS_DFIRST,  /* scratch (B,C) */
    /* BERT's head for the classification of tokens */
    SC_SLOT_TAGS_X,       /* saved   (N,C)   dropout in place */
    SC_SLOT_TAGS_LOGITS,  /* saved   (N,K)   overwritten by dlogits */
    SC_SLOT_TAGS_TARGETS, /* saved   (N) int32 */
    SC_SLOT_TAGS_LOSS,    /* saved   (N) */
    SC_N_SLOTS
} sc_slot;

/* How long a slot lives: from forward to the end of backward; from backward_input to backward_weight; inside one call.
 */
typedef enum sc_slot_life { SC_LIFE_SAVED, SC_LIFE_WEIGHT, SC_LIFE_SCRATCH } sc_slot_life;

/* The first slot of a kind of block and the one behind its last. */
void sc_model_slots(const sc_model *model, sc_block_kind kind, sc_slot *first, sc_slot *end);
sc_slot_life sc_model_slot_life(sc_slot slot);
/* Bytes, rounded up to 64. */
uint64_t sc_model_slot_bytes(const sc_model *model, sc_slot slot, int B, int T);

/* Costs of one block for a micro-batch of B sequences of T tokens. Floating-point operations count a multiply-add as 2. A
 * frozen block has no backward; what its saved slots then take is needed only inside its forward.
 */
typedef struct sc_block_cost {
    uint64_t param_elements; /* a tied matrix counts in each block that holds it */
    uint64_t forward_flops, backward_input_flops, backward_weight_flops;
    uint64_t saved_bytes;   /* kept from forward to the end of backward, per micro-batch in flight */
    uint64_t weight_bytes;  /* more that is kept from backward_input to backward_weight */
    uint64_t scratch_bytes; /* needed only inside one call; a stage needs the largest of its blocks */
    uint64_t output_bytes;  /* what crosses to the next stage if a boundary lies behind this block */
} sc_block_cost;

/* A stage's share of the model: blocks first_block .. first_block + n_blocks - 1. */
typedef struct sc_slice {
    int first_block, n_blocks;
} sc_slice;

/* Errors: SC_INVALID naming the field: sizes that are not positive, heads that do not divide, dropout out of range. */
sc_status sc_model_check(const sc_model *model);

/* ---- what comes into the model and out of it, beside the tokens ---- */
/* The first stage takes segments, and every stage the lengths of the sequences. */
bool sc_model_takes_segments(const sc_model *model);
/* The last stage takes, and gives a loss for, whether the second sentence is from elsewhere. */
bool sc_model_predicts_next(const sc_model *model);
/* The head is for masked words: it takes targets even where logits are wanted, and gives those of their positions alone. */
bool sc_model_predicts_words(const sc_model *model);
/* Targets of a sequence of T tokens: T; 1 or, with multi_label, K for classification. Each lies in [0, below); a negative
 * one does not count. */
int sc_model_n_targets(const sc_model *model, int T);
int sc_model_targets_below(const sc_model *model);
/* Logits of a sequence of T tokens in a forward without targets: GPT-2 V, of the last position; classification K; tagging
 * T K; masked words T V. */
uint64_t sc_model_n_logits(const sc_model *model, int T);

enum { SC_MAX_LOSSES = 2 };
/* Sums of losses in a micro-batch: 2 in pre-training (masked words; next sentence), else 1. */
int sc_model_n_losses(const sc_model *model);

/* I. */
int sc_model_intermediate(const sc_model *model);

int sc_model_n_blocks(const sc_model *model);
sc_block_kind sc_model_block_kind(const sc_model *model, int block);
/* "embedding", "h.0" or BERT's "layer.0", "head". */
const char *sc_model_block_name(const sc_model *model, int block, char *text, size_t text_bytes);

/* Distinct parameters (a tied matrix counts once), and their number of elements together. */
int sc_model_n_params(const sc_model *model);
uint64_t sc_model_n_elements(const sc_model *model);
sc_param sc_model_param(const sc_model *model, int ordinal);
/* -1 if there is no such parameter. */
int sc_model_find_param(const sc_model *model, const char *name);

enum { SC_MAX_BLOCK_PARAMS = 16 };
/* The ordinals of the parameters that `block` holds, in the order in which its layers take them. GPT-2:
 *   embedding    wte.weight (V,C), wpe.weight (context,C)
 *   transformer  ln_1.weight, ln_1.bias, attn.c_attn.weight (C,3C), .bias, attn.c_proj.weight (C,C), .bias,
 *                ln_2.weight, ln_2.bias, mlp.c_fc.weight (C,4C), .bias, mlp.c_proj.weight (4C,C), .bias
 *   head         ln_f.weight, ln_f.bias, the decoder (V,C): tied wte.weight, ordinal 0; untied lm_head.weight
 * BERT (behind bert.embeddings, bert.encoder.layer.N):
 *   embedding    word_embeddings.weight (V,C), position_embeddings.weight (context,C), token_type_embeddings.weight,
 *                LayerNorm.weight, LayerNorm.bias
 *   transformer  attention.self.{query,key,value}.weight (C,C), their .bias, attention.output.dense.weight (C,C), .bias,
 *                attention.output.LayerNorm.weight, .bias, intermediate.dense.weight (I,C), .bias,
 *                output.dense.weight (C,I), .bias, output.LayerNorm.weight, .bias
 *   head         masked words    cls.predictions.transform.dense.weight (C,C), .bias, .transform.LayerNorm.weight, .bias,
 *                                cls.predictions.bias (V), then in pre-training the pooler and cls.seq_relationship.weight
 *                                (2,C), .bias; last the decoder, ordinal 0
 *                classification  bert.pooler.dense.weight (C,C), .bias, classifier.weight (K,C), .bias
 *                tagging         classifier.weight (K,C), .bias
 * Returns their number. */
int sc_model_block_params(const sc_model *model, int block, int ordinals[SC_MAX_BLOCK_PARAMS]);

/* The token embedding (V,C), and the matrix of the same shape that makes logits: in a tied model one parameter. -1: there is
 * none, as in a classifier. */
int sc_model_embedding_param(const sc_model *model);
int sc_model_decoder_param(const sc_model *model);
/* The parameter that the first and the last block share; -1 in an untied model. */
int sc_model_tied_param(const sc_model *model);

/* ---- what learns ---- */
/* Whether any block below the frozen ones has this parameter: a tied matrix is the embedding's, so the head's copy is frozen
 * with it. */
bool sc_model_param_learns(const sc_model *model, int ordinal);
/* Whether the two sides of a tied matrix have gradients to exchange. */
bool sc_model_exchanges_tied(const sc_model *model);
/* How many of the first stages have frozen blocks alone: they run forward and no more. */
int sc_model_frozen_stages(const sc_model *model, const sc_slice *slices, int n_stages);

sc_block_cost sc_model_block_cost(const sc_model *model, int block, int B, int T);
/* A token's work in training: 6 x parameters that multiply, plus attention; for tokens/s -> share of the peak. */
double sc_model_train_flops_per_token(const sc_model *model, int T);

/* Elements first .. first + n - 1 of parameter `ordinal` as a fresh run with `seed` starts them. */
void sc_model_init_param(const sc_model *model, int ordinal, uint64_t seed, uint64_t first, uint64_t n, float *out);

#endif
