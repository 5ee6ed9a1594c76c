/* The CPU backend: operations cut into tasks by shape, run by a pool, each task one vectorised loop or one product tile.
 *
 * Work is done when an operation returns, so stream_sync has nothing to wait for. For the contracts see kernels/ops.h.
 * Scratch grows to the largest need of any operation so far and stays: a steady-state step allocates nothing. */
#ifndef SC_CPU_H
#define SC_CPU_H

#include "kernels/cpu/loops.h"
#include "kernels/cpu/pool.h"
#include "kernels/dropout.h"
#include "kernels/ops.h"

enum {
    SC_CPU_GRAIN = 16384, /* floats that a task of a simple loop covers: some microseconds of work */
    SC_CPU_PARTS = 64,    /* at most so many partial sums of rows */
    SC_CPU_BLOCKS = 1024, /* at most so many blocks of a sum */
};

struct sc_stream {
    sc_pool *pool;
    const sc_loops *loops;
    float *thread_scratch, *shared_scratch;
    size_t thread_floats, shared_floats; /* per thread; in all */
    double blocks[SC_CPU_BLOCKS];
};

/* Scratch for each thread, and one that the tasks of an operation share; contents undefined.
 * Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_cpu_reserve(sc_stream *s, size_t floats_per_thread, size_t shared_floats);
float *sc_cpu_scratch(const sc_stream *s, int thread);
/* Rows in a task, when each has `row_floats`: about SC_CPU_GRAIN floats. */
int sc_cpu_rows_per_task(int rows, size_t row_floats);
sc_mask sc_cpu_mask(const sc_dropout *dropout, int b);

/* cpu_layers.c */
sc_status sc_cpu_embedding_forward(sc_stream *s, float *out, const int32_t *tokens, const float *wte, const float *wpe,
                                   int B, int T, int C, const sc_dropout *dropout);
sc_status sc_cpu_embedding_backward_weight(sc_stream *s, float *dwte, float *dwpe, float *dout, const int32_t *tokens,
                                           int B, int T, int C, const sc_dropout *dropout);
sc_status sc_cpu_gather_rows(sc_stream *s, float *out, const float *table, const int32_t *rows, int n, int C, bool add);
sc_status sc_cpu_scatter_rows(sc_stream *s, float *table, const float *d, const int32_t *rows, int n, int C);
sc_status sc_cpu_layernorm_forward(sc_stream *s, float *y, float *mean, float *rstd, const float *x, const float *w,
                                   const float *b, int N, int C, float epsilon);
sc_status sc_cpu_layernorm_backward_input(sc_stream *s, float *dx, const float *dy, const float *x, const float *w,
                                          const float *mean, const float *rstd, int N, int C, bool add);
sc_status sc_cpu_layernorm_backward_weight(sc_stream *s, float *dw, float *db, const float *dy, const float *x,
                                           const float *mean, const float *rstd, int N, int C);
sc_status sc_cpu_residual_forward(sc_stream *s, float *out, const float *res, const float *x, int B, size_t n_per_row,
                                  const sc_dropout *dropout);
sc_status sc_cpu_dropout_backward(sc_stream *s, float *dx, const float *dout, int B, size_t n_per_row,
                                  const sc_dropout *dropout);

/* cpu_linear.c */
sc_status sc_cpu_linear_forward(sc_stream *s, float *y, const float *x, const float *w, const float *b, int N, int Cin,
                                int Cout, sc_layout layout);
sc_status sc_cpu_linear_activation_forward(sc_stream *s, float *act, float *y, const float *x, const float *w,
                                           const float *b, int N, int Cin, int Cout, sc_layout layout, sc_activation f);
sc_status sc_cpu_linear_backward_input(sc_stream *s, float *dx, const float *dy, const float *w, int N, int Cin,
                                       int Cout, sc_layout layout);
sc_status sc_cpu_linear_activation_backward_input(sc_stream *s, float *dx, const float *y, const float *dy,
                                                  const float *w, int N, int Cin, int Cout, sc_layout layout,
                                                  sc_activation f);
sc_status sc_cpu_activation_backward(sc_stream *s, float *dx, const float *y, size_t n, sc_activation f);
sc_status sc_cpu_linear_backward_weight(sc_stream *s, float *dw, float *db, const float *x, const float *dy, int N,
                                        int Cin, int Cout, sc_layout layout);

/* cpu_attention.c */
sc_status sc_cpu_attention_forward(sc_stream *s, float *out, float *lse, const float *qkv,
                                   const sc_attention_shape *shape, const sc_dropout *dropout);
sc_status sc_cpu_attention_backward(sc_stream *s, float *dqkv, const float *dout, const float *qkv, const float *out,
                                    const float *lse, const sc_attention_shape *shape, const sc_dropout *dropout);
sc_status sc_cpu_attention_decode(sc_stream *s, float *out, float *k_cache, float *v_cache, const float *qkv, int B,
                                  int position, int context, int NH, int HS);

/* cpu_update.c */
sc_status sc_cpu_add(sc_stream *s, float *y, const float *x, size_t n);
sc_status sc_cpu_cross_entropy(sc_stream *s, float *loss, float *dlogits, const float *logits, const int32_t *targets,
                               const float *weights, int N, int V, float scale);
sc_status sc_cpu_binary_cross_entropy(sc_stream *s, float *loss, float *dlogits, const float *logits,
                                      const int32_t *targets, size_t n, float scale);
sc_status sc_cpu_count_correct(sc_stream *s, double *out, const float *logits, const int32_t *targets, int N, int V);
sc_status sc_cpu_count_correct_binary(sc_stream *s, double *out, const float *logits, const int32_t *targets, size_t n);
sc_status sc_cpu_sum(sc_stream *s, double *out, const float *x, size_t n);
sc_status sc_cpu_sum_squares(sc_stream *s, double *out, const float *x, size_t n);
sc_status sc_cpu_adamw(sc_stream *s, float *w, float *m, float *v, const float *grad, size_t n, const sc_adamw *h);
sc_status sc_cpu_sgd(sc_stream *s, float *w, float *velocity, const float *grad, size_t n, const sc_sgd *h);

#endif
