#include "kernels/cpu/cpu.h"

#include <assert.h>
#include <string.h>

/* A task is one head of one sequence. */
typedef struct job {
    sc_stream *s;
    const sc_attention_shape *shape;
    const sc_dropout *dropout;
    sc_head head; /* what all heads have in common */
    void (*loop)(const sc_head *head);
} job;

static void run_head(void *context, int task, int thread)
{
    job *j = context;
    sc_head head = j->head;
    sc_mask mask;
    head.b = task / head.NH;
    head.h = task % head.NH;
    head.keys = j->shape->lengths && j->shape->lengths[head.b] < head.T ? j->shape->lengths[head.b] : head.T;
    if (sc_dropout_on(j->dropout)) {
        mask = sc_cpu_mask(j->dropout, head.b);
        head.mask = &mask;
        head.mask_stride = j->dropout->stride;
    }
    head.scratch = sc_cpu_scratch(j->s, thread);
    j->loop(&head);
}

static sc_status run_job(job *j, bool backward)
{
    const sc_attention_shape *a = j->shape;
    assert(a->B > 0 && a->T > 0 && a->NH > 0 && a->HS > 0);
    assert(!sc_dropout_on(j->dropout) || j->dropout->stride >= (uint32_t)a->T);
    j->head.T = a->T, j->head.NH = a->NH, j->head.HS = a->HS, j->head.causal = a->causal;
    SC_TRY(sc_cpu_reserve(j->s, j->s->loops->attention_scratch(a->T, a->HS, backward) / sizeof(float), 0));
    sc_pool_run(j->s->pool, a->B * a->NH, run_head, j);
    return SC_OK;
}

sc_status sc_cpu_attention_forward(sc_stream *s, float *out, float *lse, const float *qkv,
                                   const sc_attention_shape *shape, const sc_dropout *dropout)
{
    job j = {.s = s, .shape = shape, .dropout = dropout, .loop = s->loops->attention_forward};
    j.head.qkv = qkv, j.head.out = out, j.head.lse = lse;
    return run_job(&j, false);
}

sc_status sc_cpu_attention_backward(sc_stream *s, float *dqkv, const float *dout, const float *qkv, const float *out,
                                    const float *lse, const sc_attention_shape *shape, const sc_dropout *dropout)
{
    job j = {.s = s, .shape = shape, .dropout = dropout, .loop = s->loops->attention_backward};
    j.head.qkv = qkv, j.head.dout = dout, j.head.out_in = out, j.head.lse_in = lse, j.head.dqkv = dqkv;
    return run_job(&j, true);
}

/* --- generation ------------------------------------------------------------------------------------------------------ */

typedef struct decode_job {
    sc_stream *s;
    float *out, *k_cache, *v_cache;
    const float *qkv;
    int position, context, NH, HS;
} decode_job;

static void decode_head(void *context, int task, int thread)
{
    decode_job *j = context;
    size_t HS = (size_t)j->HS, C = (size_t)j->NH * HS, b = (size_t)(task / j->NH), column = (size_t)(task % j->NH) * HS;
    const float *q = j->qkv + b * 3 * C + column;
    float *k = j->k_cache + b * (size_t)j->context * C + column, *v = j->v_cache + b * (size_t)j->context * C + column;
    memcpy(k + (size_t)j->position * C, q + C, HS * sizeof *k);
    memcpy(v + (size_t)j->position * C, q + 2 * C, HS * sizeof *v);
    j->s->loops->attention_decode(j->out + b * C + column, q, k, v, C, j->position + 1, j->HS,
                                  sc_cpu_scratch(j->s, thread));
}

sc_status sc_cpu_attention_decode(sc_stream *s, float *out, float *k_cache, float *v_cache, const float *qkv, int B,
                                  int position, int context, int NH, int HS)
{
    decode_job j = {.s = s,
                    .out = out,
                    .k_cache = k_cache,
                    .v_cache = v_cache,
                    .qkv = qkv,
                    .position = position,
                    .context = context,
                    .NH = NH,
                    .HS = HS};
    SC_TRY(sc_cpu_reserve(s, (size_t)context, 0));
    sc_pool_run(s->pool, B * NH, decode_head, &j);
    return SC_OK;
}
