/* What the files of the model description share: model.c (blocks, GPT-2's parameters), model_bert.c (BERT's) and model_cost.c
 * (slots and costs). */
#ifndef SC_MODEL_INTERNAL_H
#define SC_MODEL_INTERNAL_H

#include "proto/base/model.h"

/* The errors of sc_model_check for one field. */
sc_status sc_model_check_size(const char *field, int value, int limit);
sc_status sc_model_check_bert(const sc_model *model);

int sc_model_bert_n_params(const sc_model *model);
/* Name, shape and initialisation. */
void sc_model_bert_param(const sc_model *model, int ordinal, sc_param *param);
int sc_model_bert_block_params(const sc_model *model, int block, int ordinals[SC_MAX_BLOCK_PARAMS]);

uint64_t sc_model_param_elements(const sc_model *model, int ordinal);

#endif
