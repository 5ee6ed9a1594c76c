#include "proto/base/model_internal.h"

#include "proto/base/rng.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- what is there -------------------------------------------------------------------------------------------------
 */

sc_status sc_model_check_size(const char *field, int value, int limit)
{
    if (value < 1 || value > limit)
        return SC_FAIL(SC_INVALID, "model.%s is %d; it must be between 1 and %d", field, value, limit);
    return SC_OK;
}

static sc_status check_dropout(const char *field, float value)
{
    if (!(value >= 0.0f && value < 1.0f))
        return SC_FAIL(SC_INVALID, "model.%s is %g; it must be at least 0 and below 1", field, (double)value);
    return SC_OK;
}

sc_status sc_model_check(const sc_model *model)
{
    /* The limits keep every product of two of them inside 63 bits. */
    if (model->family != SC_GPT2 && model->family != SC_BERT)
        return SC_FAIL(SC_INVALID, "model.family %d is not known; this build knows gpt2 and bert", (int)model->family);
    SC_TRY(sc_model_check_size("layers", model->layers, SC_MAX_LAYERS));
    SC_TRY(sc_model_check_size("heads", model->heads, 1024));
    SC_TRY(sc_model_check_size("hidden", model->hidden, 1 << 16));
    SC_TRY(sc_model_check_size("context", model->context,
                               1 << 16)); /* dropout's index: (heads * context^2) < 2^34 is checked below */
    SC_TRY(sc_model_check_size("vocab", model->vocab, 1 << 24));
    if (model->hidden % model->heads != 0)
        return SC_FAIL(SC_INVALID, "model.hidden %d is not divisible by model.heads %d", model->hidden, model->heads);
    if ((uint64_t)model->heads * (uint64_t)model->context * (uint64_t)model->context >= 1ull << 34)
        return SC_FAIL(SC_INVALID, "model.heads %d times the square of model.context %d must stay below 2^34",
                       model->heads, model->context);
    SC_TRY(check_dropout("dropout", model->dropout));
    SC_TRY(check_dropout("attention_dropout", model->attention_dropout));
    SC_TRY(check_dropout("classifier_dropout", model->classifier_dropout));
    if (model->frozen < 0 || model->frozen > model->layers + 1)
        return SC_FAIL(SC_INVALID, "%d of the model's blocks are frozen; 0 to %d can be, as the head always learns",
                       model->frozen, model->layers + 1);
    if (!(model->norm_epsilon > 0.0f))
        return SC_FAIL(SC_INVALID, "the LayerNorm epsilon is %g; it must be positive", (double)model->norm_epsilon);
    if (model->family == SC_BERT)
        return sc_model_check_bert(model);
    if (model->task != SC_TASK_NEXT_TOKEN || model->intermediate != 0 || model->token_types != 0 ||
        model->labels != 0 || model->multi_label)
        return SC_FAIL(SC_INVALID, "a gpt2 has no task, intermediate size, segments or labels of its own");
    return SC_OK;
}

/* --- in and out -------------------------------------------------------------------------------------------------------
 */

bool sc_model_takes_segments(const sc_model *model)
{
    return model->family == SC_BERT;
}

bool sc_model_predicts_next(const sc_model *model)
{
    return model->task == SC_TASK_PRETRAINING;
}

int sc_model_n_targets(const sc_model *model, int T)
{
    if (model->task != SC_TASK_CLASSIFICATION)
        return T;
    return model->multi_label ? model->labels : 1;
}

int sc_model_targets_below(const sc_model *model)
{
    if (model->multi_label)
        return 2;
    return model->labels > 0 ? model->labels : model->vocab;
}

uint64_t sc_model_n_logits(const sc_model *model, int T)
{
    switch (model->task) {
    case SC_TASK_NEXT_TOKEN:
        break;
    case SC_TASK_PRETRAINING:
    case SC_TASK_MASKED_WORDS:
        return (uint64_t)T * (uint64_t)model->vocab;
    case SC_TASK_CLASSIFICATION:
        return (uint64_t)model->labels;
    case SC_TASK_TAGGING:
        return (uint64_t)T * (uint64_t)model->labels;
    }
    return (uint64_t)model->vocab;
}

int sc_model_n_losses(const sc_model *model)
{
    return sc_model_predicts_next(model) ? 2 : 1;
}

bool sc_model_predicts_words(const sc_model *model)
{
    return model->task == SC_TASK_PRETRAINING || model->task == SC_TASK_MASKED_WORDS;
}

int sc_model_intermediate(const sc_model *model)
{
    return model->intermediate > 0 ? model->intermediate : 4 * model->hidden;
}

/* --- blocks -----------------------------------------------------------------------------------------------------------
 */

int sc_model_n_blocks(const sc_model *model)
{
    return model->layers + 2;
}

sc_block_kind sc_model_block_kind(const sc_model *model, int block)
{
    assert(block >= 0 && block < sc_model_n_blocks(model));
    return block == 0 ? SC_BLOCK_EMBEDDING : block <= model->layers ? SC_BLOCK_TRANSFORMER : SC_BLOCK_HEAD;
}

const char *sc_model_block_name(const sc_model *model, int block, char *text, size_t text_bytes)
{
    switch (sc_model_block_kind(model, block)) {
    case SC_BLOCK_EMBEDDING:
        snprintf(text, text_bytes, "embedding");
        break;
    case SC_BLOCK_TRANSFORMER:
        snprintf(text, text_bytes, model->family == SC_BERT ? "layer.%d" : "h.%d", block - 1);
        break;
    case SC_BLOCK_HEAD:
        snprintf(text, text_bytes, "head");
        break;
    }
    return text;
}

/* --- parameters ----------------------------------------------------------------------------------------------------
 */

enum { N_EMBEDDING_PARAMS = 2, N_LAYER_PARAMS = 12, N_NORM_PARAMS = 2 };

/* Sizes in units of C; 0 ends the shape. */
static const struct {
    const char *name;
    int rows, columns;
    sc_init init;
    bool residual; /* projects back onto the residual stream */
} layer_params[N_LAYER_PARAMS] = {
    {"ln_1.weight", 1, 0, SC_INIT_ONE, false},           {"ln_1.bias", 1, 0, SC_INIT_ZERO, false},
    {"attn.c_attn.weight", 1, 3, SC_INIT_NORMAL, false}, {"attn.c_attn.bias", 3, 0, SC_INIT_ZERO, false},
    {"attn.c_proj.weight", 1, 1, SC_INIT_NORMAL, true},  {"attn.c_proj.bias", 1, 0, SC_INIT_ZERO, false},
    {"ln_2.weight", 1, 0, SC_INIT_ONE, false},           {"ln_2.bias", 1, 0, SC_INIT_ZERO, false},
    {"mlp.c_fc.weight", 1, 4, SC_INIT_NORMAL, false},    {"mlp.c_fc.bias", 4, 0, SC_INIT_ZERO, false},
    {"mlp.c_proj.weight", 4, 1, SC_INIT_NORMAL, true},   {"mlp.c_proj.bias", 1, 0, SC_INIT_ZERO, false},
};

/* The final LayerNorm's two, behind all layers. */
static int first_norm_param(const sc_model *model)
{
    return N_EMBEDDING_PARAMS + N_LAYER_PARAMS * model->layers;
}

int sc_model_n_params(const sc_model *model)
{
    if (model->family == SC_BERT)
        return sc_model_bert_n_params(model);
    return first_norm_param(model) + N_NORM_PARAMS + (model->tied ? 0 : 1);
}

static void gpt2_param(const sc_model *model, int ordinal, sc_param *p)
{
    int C = model->hidden;
    if (ordinal < N_EMBEDDING_PARAMS) {
        snprintf(p->name, sizeof p->name, "transformer.%s.weight", ordinal == 0 ? "wte" : "wpe");
        p->shape = SC_SHAPE(ordinal == 0 ? model->vocab : model->context, C);
        p->init = SC_INIT_NORMAL;
    } else if (ordinal < first_norm_param(model)) {
        int layer = (ordinal - N_EMBEDDING_PARAMS) / N_LAYER_PARAMS,
            which = (ordinal - N_EMBEDDING_PARAMS) % N_LAYER_PARAMS;
        snprintf(p->name, sizeof p->name, "transformer.h.%d.%s", layer, layer_params[which].name);
        p->shape.n_dims = layer_params[which].columns ? 2 : 1;
        p->shape.dims[0] = (int64_t)layer_params[which].rows * C;
        if (layer_params[which].columns)
            p->shape.dims[1] = (int64_t)layer_params[which].columns * C;
        p->init = layer_params[which].init;
        if (layer_params[which].residual)
            p->init_std = (float)(0.02 / sqrt(2.0 * model->layers));
    } else if (ordinal == first_norm_param(model) + N_NORM_PARAMS) {
        snprintf(p->name, sizeof p->name, "lm_head.weight");
        p->shape = SC_SHAPE(model->vocab, C);
        p->init = SC_INIT_NORMAL;
    } else {
        bool weight = ordinal == first_norm_param(model);
        snprintf(p->name, sizeof p->name, "transformer.ln_f.%s", weight ? "weight" : "bias");
        p->shape = SC_SHAPE(C);
        p->init = weight ? SC_INIT_ONE : SC_INIT_ZERO;
    }
}

sc_param sc_model_param(const sc_model *model, int ordinal)
{
    assert(ordinal >= 0 && ordinal < sc_model_n_params(model));
    sc_param p = {.ordinal = ordinal,
                  .init_std = 0.02f}; /* Radford et al. 2019; Devlin et al. 2018; their released code */
    if (model->family == SC_BERT)
        sc_model_bert_param(model, ordinal, &p);
    else
        gpt2_param(model, ordinal, &p);
    p.decays = p.shape.n_dims >= 2;
    return p;
}

uint64_t sc_model_param_elements(const sc_model *model, int ordinal)
{
    sc_param p = sc_model_param(model, ordinal);
    return (uint64_t)p.shape.dims[0] * (p.shape.n_dims > 1 ? (uint64_t)p.shape.dims[1] : 1);
}

uint64_t sc_model_n_elements(const sc_model *model)
{
    uint64_t n = 0;
    for (int i = 0; i < sc_model_n_params(model); i++)
        n += sc_model_param_elements(model, i);
    return n;
}

int sc_model_find_param(const sc_model *model, const char *name)
{
    for (int i = 0; i < sc_model_n_params(model); i++) {
        sc_param p = sc_model_param(model, i);
        if (strcmp(p.name, name) == 0)
            return i;
    }
    return -1;
}

int sc_model_block_params(const sc_model *model, int block, int ordinals[SC_MAX_BLOCK_PARAMS])
{
    if (model->family == SC_BERT)
        return sc_model_bert_block_params(model, block, ordinals);
    int first = 0, n = 0;
    switch (sc_model_block_kind(model, block)) {
    case SC_BLOCK_EMBEDDING:
        n = N_EMBEDDING_PARAMS;
        break;
    case SC_BLOCK_TRANSFORMER:
        first = N_EMBEDDING_PARAMS + N_LAYER_PARAMS * (block - 1);
        n = N_LAYER_PARAMS;
        break;
    case SC_BLOCK_HEAD:
        first = first_norm_param(model);
        n = N_NORM_PARAMS;
        ordinals[n] = sc_model_decoder_param(model);
        break;
    }
    for (int i = 0; i < n; i++)
        ordinals[i] = first + i;
    return sc_model_block_kind(model, block) == SC_BLOCK_HEAD ? n + 1 : n;
}

int sc_model_embedding_param(const sc_model *model)
{
    (void)model; /* the first of every model's parameters */
    return 0;
}

static bool predicts_words(const sc_model *model)
{
    return model->task == SC_TASK_PRETRAINING || model->task == SC_TASK_MASKED_WORDS;
}

int sc_model_decoder_param(const sc_model *model)
{
    if (model->family == SC_BERT)
        return predicts_words(model) ? sc_model_embedding_param(model) : -1;
    return model->tied ? sc_model_embedding_param(model) : first_norm_param(model) + N_NORM_PARAMS;
}

int sc_model_tied_param(const sc_model *model)
{
    if (model->family == SC_BERT)
        return sc_model_decoder_param(model);
    return model->tied ? sc_model_embedding_param(model) : -1;
}

bool sc_model_param_learns(const sc_model *model, int ordinal)
{
    for (int block = 0; block < model->frozen; block++) {
        int ordinals[SC_MAX_BLOCK_PARAMS], n = sc_model_block_params(model, block, ordinals);
        if (ordinal >= ordinals[0] && ordinal < ordinals[0] + n) /* those of a block below the head are in a row */
            return false;
    }
    return true;
}

bool sc_model_exchanges_tied(const sc_model *model)
{
    return sc_model_tied_param(model) >= 0 && model->frozen == 0;
}

int sc_model_frozen_stages(const sc_model *model, const sc_slice *slices, int n_stages)
{
    int n = 0;
    while (n < n_stages && slices[n].first_block + slices[n].n_blocks <= model->frozen)
        n++;
    return n;
}

void sc_model_init_param(const sc_model *model, int ordinal, uint64_t seed, uint64_t first, uint64_t n, float *out)
{
    sc_param p = sc_model_param(model, ordinal);
    sc_rng rng = {.seed = seed, .site = SC_RNG_SITE(SC_RNG_INIT, ordinal)};
    for (uint64_t i = 0; i < n; i++)
        out[i] = p.init == SC_INIT_NORMAL ? p.init_std * sc_rng_normal(&rng, first + i)
                 : p.init == SC_INIT_ONE  ? 1.0f
                                          : 0.0f;
}
