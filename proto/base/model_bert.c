/* BERT's parameters (Devlin et al. 2018), under the names that Hugging Face's classes give them. */
#include "proto/base/model_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

typedef enum side { NONE, CHANNELS, VOCAB, CONTEXT, TYPES, INNER, LABELS, TWO } side;

/* columns NONE: a vector. */
typedef struct row {
    const char *name;
    side rows, columns;
} row;

static const row embedding[] = {
    {"bert.embeddings.word_embeddings.weight", VOCAB, CHANNELS},
    {"bert.embeddings.position_embeddings.weight", CONTEXT, CHANNELS},
    {"bert.embeddings.token_type_embeddings.weight", TYPES, CHANNELS},
    {"bert.embeddings.LayerNorm.weight", CHANNELS, NONE},
    {"bert.embeddings.LayerNorm.bias", CHANNELS, NONE},
};

static const row layer[] = {
    {"attention.self.query.weight", CHANNELS, CHANNELS},
    {"attention.self.key.weight", CHANNELS, CHANNELS},
    {"attention.self.value.weight", CHANNELS, CHANNELS},
    {"attention.self.query.bias", CHANNELS, NONE},
    {"attention.self.key.bias", CHANNELS, NONE},
    {"attention.self.value.bias", CHANNELS, NONE},
    {"attention.output.dense.weight", CHANNELS, CHANNELS},
    {"attention.output.dense.bias", CHANNELS, NONE},
    {"attention.output.LayerNorm.weight", CHANNELS, NONE},
    {"attention.output.LayerNorm.bias", CHANNELS, NONE},
    {"intermediate.dense.weight", INNER, CHANNELS},
    {"intermediate.dense.bias", INNER, NONE},
    {"output.dense.weight", CHANNELS, INNER},
    {"output.dense.bias", CHANNELS, NONE},
    {"output.LayerNorm.weight", CHANNELS, NONE},
    {"output.LayerNorm.bias", CHANNELS, NONE},
};

static const row words[] = {
    {"cls.predictions.transform.dense.weight", CHANNELS, CHANNELS},
    {"cls.predictions.transform.dense.bias", CHANNELS, NONE},
    {"cls.predictions.transform.LayerNorm.weight", CHANNELS, NONE},
    {"cls.predictions.transform.LayerNorm.bias", CHANNELS, NONE},
    {"cls.predictions.bias", VOCAB, NONE},
};

static const row pooler[] = {
    {"bert.pooler.dense.weight", CHANNELS, CHANNELS},
    {"bert.pooler.dense.bias", CHANNELS, NONE},
};

static const row next_sentence[] = {
    {"cls.seq_relationship.weight", TWO, CHANNELS},
    {"cls.seq_relationship.bias", TWO, NONE},
};

static const row classifier[] = {
    {"classifier.weight", LABELS, CHANNELS},
    {"classifier.bias", LABELS, NONE},
};

enum { N_EMBEDDING = sizeof embedding / sizeof *embedding, N_LAYER = sizeof layer / sizeof *layer, MAX_PARTS = 3 };
static_assert((int)N_LAYER <= (int)SC_MAX_BLOCK_PARAMS, "a layer's parameters fit into a block's");

/* A head is up to three of the lists above, one behind the other. */
typedef struct part {
    const row *rows;
    int n;
} part;
#define PART(list)                                                                                                     \
    {                                                                                                                  \
        list, sizeof(list) / sizeof *(list)                                                                            \
    }
static const part heads[][MAX_PARTS] = {
    [SC_TASK_NEXT_TOKEN] = {{NULL, 0}},     [SC_TASK_PRETRAINING] = {PART(words), PART(pooler), PART(next_sentence)},
    [SC_TASK_MASKED_WORDS] = {PART(words)}, [SC_TASK_CLASSIFICATION] = {PART(pooler), PART(classifier)},
    [SC_TASK_TAGGING] = {PART(classifier)},
};

static int n_head_params(const sc_model *model)
{
    int n = 0;
    for (int i = 0; i < MAX_PARTS; i++)
        n += heads[model->task][i].n;
    return n;
}

static const row *head_row(const sc_model *model, int which)
{
    const part *p = heads[model->task];
    while (which >= p->n)
        which -= (p++)->n;
    return &p->rows[which];
}

static int64_t length_of(const sc_model *model, side of)
{
    const int64_t lengths[] = {
        [NONE] = 0,
        [CHANNELS] = model->hidden,
        [VOCAB] = model->vocab,
        [CONTEXT] = model->context,
        [TYPES] = model->token_types,
        [INNER] = sc_model_intermediate(model),
        [LABELS] = model->labels,
        [TWO] = 2,
    };
    return lengths[of];
}

static int first_head_param(const sc_model *model)
{
    return N_EMBEDDING + N_LAYER * model->layers;
}

int sc_model_bert_n_params(const sc_model *model)
{
    return first_head_param(model) + n_head_params(model);
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

void sc_model_bert_param(const sc_model *model, int ordinal, sc_param *param)
{
    const row *r = NULL;
    if (ordinal < N_EMBEDDING) {
        r = &embedding[ordinal];
        snprintf(param->name, sizeof param->name, "%s", r->name);
    } else if (ordinal < first_head_param(model)) {
        r = &layer[(ordinal - N_EMBEDDING) % N_LAYER];
        snprintf(param->name, sizeof param->name, "bert.encoder.layer.%d.%s", (ordinal - N_EMBEDDING) / N_LAYER,
                 r->name);
    } else {
        r = head_row(model, ordinal - first_head_param(model));
        snprintf(param->name, sizeof param->name, "%s", r->name);
    }
    param->shape.n_dims = r->columns == NONE ? 1 : 2;
    param->shape.dims[0] = length_of(model, r->rows);
    if (r->columns != NONE)
        param->shape.dims[1] = length_of(model, r->columns);
    param->init = r->columns != NONE                       ? SC_INIT_NORMAL
                  : ends_with(r->name, "LayerNorm.weight") ? SC_INIT_ONE
                                                           : SC_INIT_ZERO;
}

int sc_model_bert_block_params(const sc_model *model, int block, int ordinals[SC_MAX_BLOCK_PARAMS])
{
    int first = 0, n = N_EMBEDDING;
    sc_block_kind kind = sc_model_block_kind(model, block);
    if (kind == SC_BLOCK_TRANSFORMER) {
        first = N_EMBEDDING + N_LAYER * (block - 1);
        n = N_LAYER;
    } else if (kind == SC_BLOCK_HEAD) {
        first = first_head_param(model);
        n = n_head_params(model);
    }
    for (int i = 0; i < n; i++)
        ordinals[i] = first + i;
    if (kind == SC_BLOCK_HEAD && sc_model_decoder_param(model) >= 0)
        ordinals[n++] = sc_model_decoder_param(model);
    return n;
}

sc_status sc_model_check_bert(const sc_model *model)
{
    if (model->task < SC_TASK_PRETRAINING || model->task > SC_TASK_TAGGING)
        return SC_FAIL(SC_INVALID,
                       "a BERT for task %d; it has heads for pre-training, masked words, classification "
                       "and tagging (%d to %d)",
                       (int)model->task, SC_TASK_PRETRAINING, SC_TASK_TAGGING);
    if (model->hidden % 16 != 0) /* 64 bytes, on which each parameter starts */
        return SC_FAIL(SC_INVALID,
                       "model.hidden is %d; a BERT's must be divisible by 16, so that q, k and v are one product",
                       model->hidden);
    if (model->intermediate < 0 || model->intermediate > 1 << 18)
        return SC_FAIL(SC_INVALID, "model.intermediate is %d; it must be between 1 and %d, or 0 for 4 x model.hidden",
                       model->intermediate, 1 << 18);
    SC_TRY(sc_model_check_size("token_types", model->token_types, 1 << 10));
    bool labelled = model->task == SC_TASK_CLASSIFICATION || model->task == SC_TASK_TAGGING;
    if (labelled)
        SC_TRY(sc_model_check_size("labels", model->labels, 1 << 20));
    else if (model->labels != 0)
        return SC_FAIL(SC_INVALID, "the model has %d labels and a head that has none", model->labels);
    if (model->multi_label && model->task != SC_TASK_CLASSIFICATION)
        return SC_FAIL(SC_INVALID, "several labels at once are for the classification of sequences alone");
    return SC_OK;
}
