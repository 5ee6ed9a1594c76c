/* BERT's pooler:  first (B,C) = x at position 0;  pre = first W^T + b;  pooled (B,C) = tanh (pre). What two heads share. */
#ifndef SC_BERT_POOLER_H
#define SC_BERT_POOLER_H

#include "worker/model/block.h"

typedef struct sc_bert_pooler {
    const float *w, *b; /* (C,C), (C) */
    float *dw, *db;     /* backward_weight */
    float *first, *pre, *pooled;
    float *dpre;   /* backward: the gradient of pre */
    float *dfirst; /* backward_input: scratch */
} sc_bert_pooler;

/* From x (N,C) to pooled. */
sc_status sc_bert_pooler_forward(const sc_block_call *c, const sc_bert_pooler *p, const float *x);
/* d (N,C) += what dpre makes of x's gradient. */
sc_status sc_bert_pooler_backward_input(const sc_block_call *c, const sc_bert_pooler *p, float *d);
sc_status sc_bert_pooler_backward_weight(const sc_block_call *c, const sc_bert_pooler *p);

#endif
