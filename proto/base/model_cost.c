/* What blocks keep and what they cost. */
#include "proto/base/model_internal.h"

/* --- slots --------------------------------------------------------------------------------------------------------- */

/* Elements of a slot: rows * (c * C + i * I + v * V + k * K + n), or B * NH * T where `heads`; rows are N, or B where
 * `per_sequence`. */
typedef struct slot_size {
    sc_slot_life life;
    unsigned char c, i, v, k, n;
    bool heads, per_sequence;
} slot_size;

#define SAVED(...)                                                                                                     \
    {                                                                                                                  \
        SC_LIFE_SAVED, __VA_ARGS__                                                                                     \
    }
#define WEIGHT(...)                                                                                                    \
    {                                                                                                                  \
        SC_LIFE_WEIGHT, __VA_ARGS__                                                                                    \
    }
#define SCRATCH(...)                                                                                                   \
    {                                                                                                                  \
        SC_LIFE_SCRATCH, __VA_ARGS__                                                                                   \
    }
static const slot_size slots[SC_N_SLOTS] = {
    [SC_SLOT_TOKENS] = SAVED(.n = 1),
    [SC_SLOT_DEMBED] = WEIGHT(.c = 1),
    [SC_SLOT_X] = SAVED(.c = 1),
    [SC_SLOT_LN1_MEAN] = SAVED(.n = 1),
    [SC_SLOT_LN1_RSTD] = SAVED(.n = 1),
    [SC_SLOT_LN1] = SAVED(.c = 1),
    [SC_SLOT_QKV] = SAVED(.c = 3),
    [SC_SLOT_LSE] = SAVED(.heads = true),
    [SC_SLOT_ATT] = SAVED(.c = 1),
    [SC_SLOT_RES] = SAVED(.c = 1),
    [SC_SLOT_LN2_MEAN] = SAVED(.n = 1),
    [SC_SLOT_LN2_RSTD] = SAVED(.n = 1),
    [SC_SLOT_LN2] = SAVED(.c = 1),
    [SC_SLOT_FC] = SAVED(.i = 1),
    [SC_SLOT_GELU] = SAVED(.i = 1),
    [SC_SLOT_DLN1] = WEIGHT(.c = 1),
    [SC_SLOT_DQKV] = WEIGHT(.c = 3),
    [SC_SLOT_DPROJ] = WEIGHT(.c = 1),
    [SC_SLOT_DLN2] = WEIGHT(.c = 1),
    [SC_SLOT_DFC] = WEIGHT(.i = 1),
    [SC_SLOT_DMLP] = WEIGHT(.c = 1),
    [SC_SLOT_DATT] = SCRATCH(.c = 1),
    [SC_SLOT_LNF_X] = SAVED(.c = 1),
    [SC_SLOT_LNF_MEAN] = SAVED(.n = 1),
    [SC_SLOT_LNF_RSTD] = SAVED(.n = 1),
    [SC_SLOT_LNF] = SAVED(.c = 1),
    [SC_SLOT_LOGITS] = SAVED(.v = 1),
    [SC_SLOT_TARGETS] = SAVED(.n = 1),
    [SC_SLOT_LOSS] = SAVED(.n = 1),
    [SC_SLOT_DLNF] = WEIGHT(.c = 1),
    [SC_SLOT_BERT_TOKENS] = SAVED(.n = 1),
    [SC_SLOT_BERT_SEGMENTS] = SAVED(.n = 1),
    [SC_SLOT_BERT_SUM] = SAVED(.c = 1),
    [SC_SLOT_BERT_SUM_MEAN] = SAVED(.n = 1),
    [SC_SLOT_BERT_SUM_RSTD] = SAVED(.n = 1),
    [SC_SLOT_BERT_DEMBED] = WEIGHT(.c = 1),
    [SC_SLOT_BERT_X] = SAVED(.c = 1),
    [SC_SLOT_BERT_QKV] = SAVED(.c = 3),
    [SC_SLOT_BERT_LSE] = SAVED(.heads = true),
    [SC_SLOT_BERT_ATT] = SAVED(.c = 1),
    [SC_SLOT_BERT_RES1] = SAVED(.c = 1),
    [SC_SLOT_BERT_LN1_MEAN] = SAVED(.n = 1),
    [SC_SLOT_BERT_LN1_RSTD] = SAVED(.n = 1),
    [SC_SLOT_BERT_LN1] = SAVED(.c = 1),
    [SC_SLOT_BERT_FC] = SAVED(.i = 1),
    [SC_SLOT_BERT_GELU] = SAVED(.i = 1),
    [SC_SLOT_BERT_RES2] = SAVED(.c = 1),
    [SC_SLOT_BERT_LN2_MEAN] = SAVED(.n = 1),
    [SC_SLOT_BERT_LN2_RSTD] = SAVED(.n = 1),
    [SC_SLOT_BERT_DOUT] = WEIGHT(.c = 1),
    [SC_SLOT_BERT_DMLP] = WEIGHT(.c = 1),
    [SC_SLOT_BERT_DFC] = WEIGHT(.i = 1),
    [SC_SLOT_BERT_DLN1] = WEIGHT(.c = 1),
    [SC_SLOT_BERT_DPROJ] = WEIGHT(.c = 1),
    [SC_SLOT_BERT_DQKV] = WEIGHT(.c = 3),
    [SC_SLOT_BERT_DATT] = SCRATCH(.c = 1),
    [SC_SLOT_WORDS_X] = SAVED(.c = 1),
    [SC_SLOT_WORDS_ROWS] = SAVED(.n = 1),
    [SC_SLOT_WORDS_TARGETS] = SAVED(.n = 1),
    [SC_SLOT_WORDS_MASKED] = SAVED(.c = 1),
    [SC_SLOT_WORDS_FC] = SAVED(.c = 1),
    [SC_SLOT_WORDS_GELU] = SAVED(.c = 1),
    [SC_SLOT_WORDS_MEAN] = SAVED(.n = 1),
    [SC_SLOT_WORDS_RSTD] = SAVED(.n = 1),
    [SC_SLOT_WORDS_LN] = SAVED(.c = 1),
    [SC_SLOT_WORDS_LOGITS] = SAVED(.v = 1),
    [SC_SLOT_WORDS_LOSS] = SAVED(.n = 1),
    [SC_SLOT_WORDS_DLN] = WEIGHT(.c = 1),
    [SC_SLOT_WORDS_DFC] = WEIGHT(.c = 1),
    [SC_SLOT_WORDS_DMASKED] = SCRATCH(.c = 1),
    [SC_SLOT_NEXT_FIRST] = SAVED(.c = 1, .per_sequence = true),
    [SC_SLOT_NEXT_PRE] = SAVED(.c = 1, .per_sequence = true),
    [SC_SLOT_NEXT_POOLED] = SAVED(.c = 1, .per_sequence = true),
    [SC_SLOT_NEXT_LOGITS] = SAVED(.n = 2, .per_sequence = true),
    [SC_SLOT_NEXT_TARGETS] = SAVED(.n = 1, .per_sequence = true),
    [SC_SLOT_NEXT_LOSS] = SAVED(.n = 1, .per_sequence = true),
    [SC_SLOT_NEXT_DPRE] = WEIGHT(.c = 1, .per_sequence = true),
    [SC_SLOT_NEXT_DFIRST] = SCRATCH(.c = 1, .per_sequence = true),
    [SC_SLOT_CLASS_X] = SAVED(.c = 1),
    [SC_SLOT_CLASS_FIRST] = SAVED(.c = 1, .per_sequence = true),
    [SC_SLOT_CLASS_PRE] = SAVED(.c = 1, .per_sequence = true),
    [SC_SLOT_CLASS_POOLED] = SAVED(.c = 1, .per_sequence = true),
    [SC_SLOT_CLASS_LOGITS] = SAVED(.k = 1, .per_sequence = true),
    [SC_SLOT_CLASS_TARGETS] = SAVED(.k = 1, .per_sequence = true),
    [SC_SLOT_CLASS_LOSS] = SAVED(.k = 1, .per_sequence = true),
    [SC_SLOT_CLASS_DPRE] = WEIGHT(.c = 1, .per_sequence = true),
    [SC_SLOT_CLASS_DFIRST] = SCRATCH(.c = 1, .per_sequence = true),
    [SC_SLOT_TAGS_X] = SAVED(.c = 1),
    [SC_SLOT_TAGS_LOGITS] = SAVED(.k = 1),
    [SC_SLOT_TAGS_TARGETS] = SAVED(.n = 1),
    [SC_SLOT_TAGS_LOSS] = SAVED(.n = 1),
};

void sc_model_slots(const sc_model *model, sc_block_kind kind, sc_slot *first, sc_slot *end)
{
    static const sc_slot gpt2[] = {SC_SLOT_TOKENS, SC_SLOT_X, SC_SLOT_LNF_X, SC_SLOT_BERT_TOKENS};
    static const sc_slot bert[] = {SC_SLOT_BERT_TOKENS, SC_SLOT_BERT_X, SC_SLOT_WORDS_X};
    static const sc_slot heads[][2] = {
        [SC_TASK_PRETRAINING] = {SC_SLOT_WORDS_X, SC_SLOT_CLASS_X},
        [SC_TASK_MASKED_WORDS] = {SC_SLOT_WORDS_X, SC_SLOT_NEXT_FIRST},
        [SC_TASK_CLASSIFICATION] = {SC_SLOT_CLASS_X, SC_SLOT_TAGS_X},
        [SC_TASK_TAGGING] = {SC_SLOT_TAGS_X, SC_N_SLOTS},
    };
    const sc_slot *bounds = model->family == SC_GPT2 ? &gpt2[kind]
                            : kind == SC_BLOCK_HEAD  ? heads[model->task]
                                                     : &bert[kind];
    *first = bounds[0];
    *end = bounds[1];
}

sc_slot_life sc_model_slot_life(sc_slot slot)
{
    return slots[slot].life;
}

uint64_t sc_model_slot_bytes(const sc_model *model, sc_slot slot, int B, int T)
{
    const slot_size *s = &slots[slot];
    uint64_t rows = (uint64_t)B * (s->per_sequence ? 1 : (uint64_t)T);
    uint64_t row = (uint64_t)s->c * (uint64_t)model->hidden + (uint64_t)s->i * (uint64_t)sc_model_intermediate(model) +
                   (uint64_t)s->v * (uint64_t)model->vocab + (uint64_t)s->k * (uint64_t)model->labels + s->n +
                   (s->heads ? (uint64_t)model->heads : 0);
    return (rows * row * 4 + 63) / 64 * 64;
}

/* --- costs --------------------------------------------------------------------------------------------------------- */

/* BERT masks this part of the words (Devlin et al. 2018); its head works on these alone. */
static const double masked_share = 0.15;

/* Multiplications of a forward through the head. */
static uint64_t head_products(const sc_model *model, int B, int T)
{
    uint64_t N = (uint64_t)B * (uint64_t)T, C = (uint64_t)model->hidden, V = (uint64_t)model->vocab;
    uint64_t K = (uint64_t)model->labels, masked = (uint64_t)((double)N * masked_share) + 1;
    switch (model->task) {
    case SC_TASK_NEXT_TOKEN:
        break;
    case SC_TASK_PRETRAINING:
        return masked * C * (C + V) + (uint64_t)B * C * (C + 2);
    case SC_TASK_MASKED_WORDS:
        return masked * C * (C + V);
    case SC_TASK_CLASSIFICATION:
        return (uint64_t)B * C * (C + K);
    case SC_TASK_TAGGING:
        return N * C * K;
    }
    return N * C * V;
}

sc_block_cost sc_model_block_cost(const sc_model *model, int block, int B, int T)
{
    sc_block_kind kind = sc_model_block_kind(model, block);
    uint64_t N = (uint64_t)B * (uint64_t)T, C = (uint64_t)model->hidden;
    sc_block_cost cost = {.output_bytes = kind == SC_BLOCK_HEAD ? 0 : N * C * 4};

    int ordinals[SC_MAX_BLOCK_PARAMS];
    int n = sc_model_block_params(model, block, ordinals);
    for (int i = 0; i < n; i++)
        cost.param_elements += sc_model_param_elements(model, ordinals[i]);

    switch (kind) {
    case SC_BLOCK_EMBEDDING: /* two additions an element; no product */
        cost.forward_flops = cost.backward_weight_flops = 2 * N * C;
        break;
    case SC_BLOCK_TRANSFORMER: {
        uint64_t products =
            2 * N * C * (4 * C + 2 * (uint64_t)sc_model_intermediate(model)); /* C 3C + C C + C I + I C */
        uint64_t attention = 4 * N * (uint64_t)T * C;                         /* q k^T and p v */
        if (model->task == SC_TASK_NEXT_TOKEN)
            attention /= 2; /* half of it masked */
        cost.forward_flops = products + attention;
        cost.backward_input_flops = products + 2 * attention + attention / 2; /* five products for two, recomputing p */
        cost.backward_weight_flops = products;
        break;
    }
    case SC_BLOCK_HEAD:
        cost.forward_flops = cost.backward_input_flops = cost.backward_weight_flops = 2 * head_products(model, B, T);
        break;
    }

    if (block < model->frozen)
        cost.backward_input_flops = cost.backward_weight_flops = 0;

    sc_slot slot, end;
    for (sc_model_slots(model, kind, &slot, &end); slot < end; slot++) {
        uint64_t bytes = sc_model_slot_bytes(model, slot, B, T);
        switch (slots[slot].life) {
        case SC_LIFE_SAVED:
            cost.saved_bytes += bytes;
            break;
        case SC_LIFE_WEIGHT:
            cost.weight_bytes += block < model->frozen ? 0 : bytes;
            break;
        case SC_LIFE_SCRATCH:
            cost.scratch_bytes += block < model->frozen ? 0 : bytes;
            break;
        }
    }
    return cost;
}

double sc_model_train_flops_per_token(const sc_model *model, int T)
{
    double C = model->hidden, L = model->layers, I = sc_model_intermediate(model);
    double head = (double)head_products(model, 1, T) / T;
    /* The convention of the published figures counts attention's masked half as well: 6 * 2 * T * C a layer. */
    return 6.0 * (L * C * (4 * C + 2 * I) + head) + 12.0 * L * T * C;
}
