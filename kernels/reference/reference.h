/* The reference backend: each operation as the plain loop that defines it.
 *
 * No attention to speed. Sums are taken in double, in index order, and rounded once, wherever that is the clearer
 * definition. Everything runs on the calling thread; `threads` is ignored. For the contracts see kernels/ops.h. */
#ifndef SC_REFERENCE_H
#define SC_REFERENCE_H

#include "kernels/ops.h"

/* reference_layers.c: embedding, LayerNorm, residual */
sc_status sc_reference_embedding_forward(sc_stream *s, float *out, const int32_t *tokens, const float *wte,
                                         const float *wpe, int B, int T, int C, const sc_dropout *dropout);
sc_status sc_reference_embedding_backward_weight(sc_stream *s, float *dwte, float *dwpe, float *dout,
                                                 const int32_t *tokens, int B, int T, int C, const sc_dropout *dropout);
sc_status sc_reference_gather_rows(sc_stream *s, float *out, const float *table, const int32_t *rows, int n, int C,
                                   bool add);
sc_status sc_reference_scatter_rows(sc_stream *s, float *table, const float *d, const int32_t *rows, int n, int C);
sc_status sc_reference_layernorm_forward(sc_stream *s, float *y, float *mean, float *rstd, const float *x,
                                         const float *w, const float *b, int N, int C, float epsilon);
sc_status sc_reference_layernorm_backward_input(sc_stream *s, float *dx, const float *dy, const float *x,
                                                const float *w, const float *mean, const float *rstd, int N, int C,
                                                bool add);
sc_status sc_reference_layernorm_backward_weight(sc_stream *s, float *dw, float *db, const float *dy, const float *x,
                                                 const float *mean, const float *rstd, int N, int C);
sc_status sc_reference_residual_forward(sc_stream *s, float *out, const float *res, const float *x, int B,
                                        size_t n_per_row, const sc_dropout *dropout);
sc_status sc_reference_dropout_backward(sc_stream *s, float *dx, const float *dout, int B, size_t n_per_row,
                                        const sc_dropout *dropout);
sc_status sc_reference_add(sc_stream *s, float *y, const float *x, size_t n);

/* reference_linear.c */
sc_status sc_reference_linear_forward(sc_stream *s, float *y, const float *x, const float *w, const float *b, int N,
                                      int Cin, int Cout, sc_layout layout);
sc_status sc_reference_linear_activation_forward(sc_stream *s, float *act, float *y, const float *x, const float *w,
                                                 const float *b, int N, int Cin, int Cout, sc_layout layout,
                                                 sc_activation f);
sc_status sc_reference_linear_backward_input(sc_stream *s, float *dx, const float *dy, const float *w, int N, int Cin,
                                             int Cout, sc_layout layout);
sc_status sc_reference_linear_activation_backward_input(sc_stream *s, float *dx, const float *y, const float *dy,
                                                        const float *w, int N, int Cin, int Cout, sc_layout layout,
                                                        sc_activation f);
sc_status sc_reference_activation_backward(sc_stream *s, float *dx, const float *y, size_t n, sc_activation f);
sc_status sc_reference_linear_backward_weight(sc_stream *s, float *dw, float *db, const float *x, const float *dy,
                                              int N, int Cin, int Cout, sc_layout layout);

/* reference_attention.c */
sc_status sc_reference_attention_forward(sc_stream *s, float *out, float *lse, const float *qkv,
                                         const sc_attention_shape *shape, const sc_dropout *dropout);
sc_status sc_reference_attention_backward(sc_stream *s, float *dqkv, const float *dout, const float *qkv,
                                          const float *out, const float *lse, const sc_attention_shape *shape,
                                          const sc_dropout *dropout);
sc_status sc_reference_attention_decode(sc_stream *s, float *out, float *k_cache, float *v_cache, const float *qkv,
                                        int B, int position, int context, int NH, int HS);

/* reference_update.c: loss, sums, optimizers */
sc_status sc_reference_cross_entropy(sc_stream *s, float *loss, float *dlogits, const float *logits,
                                     const int32_t *targets, const float *weights, int N, int V, float scale);
sc_status sc_reference_binary_cross_entropy(sc_stream *s, float *loss, float *dlogits, const float *logits,
                                            const int32_t *targets, size_t n, float scale);
sc_status sc_reference_count_correct(sc_stream *s, double *out, const float *logits, const int32_t *targets, int N,
                                     int V);
sc_status sc_reference_count_correct_binary(sc_stream *s, double *out, const float *logits, const int32_t *targets,
                                            size_t n);
sc_status sc_reference_sum(sc_stream *s, double *out, const float *x, size_t n);
sc_status sc_reference_sum_squares(sc_stream *s, double *out, const float *x, size_t n);
sc_status sc_reference_adamw(sc_stream *s, float *w, float *m, float *v, const float *grad, size_t n,
                             const sc_adamw *h);
sc_status sc_reference_sgd(sc_stream *s, float *w, float *velocity, const float *grad, size_t n, const sc_sgd *h);

#endif
