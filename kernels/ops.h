/* The table of operations that a backend fills: `reference` (plain loops, the definition), `cpu`, and `cuda`.
 *
 * Mental model. A backend is a device. Its memory is its own: only copy_in / copy_out cross to the host (on a CPU they are
 * memcpy). Work is queued on a stream, in order, and is done when stream_sync returns. A worker's executor has one stream
 * per device; nobody else calls operations.
 *
 * Rules every backend keeps:
 *  - The result's bits depend on the arguments alone: not on the number of threads, the address or the time. Work is cut by
 *    shape, never by threads; each sum has one order.
 *  - What comes of one sequence, but for weight gradients, does not depend on the others in the micro-batch, nor on how
 *    far it was padded, if lengths say where it ends: the bits of a row depend on that row, however many there are.
 *  - "=" overwrites the output, "+=" adds to it; each comment says which. Inputs and outputs do not overlap unless stated.
 *  - Forward, input gradient and weight gradient are separate operations; weight gradients accumulate (+=).
 *  - Pointers are device memory, float32 unless stated, dense row-major, aligned to 64 bytes at the start of a tensor.
 *  - Errors: SC_INTERNAL for a device failure. Shapes are the caller's duty (asserted).
 * Letters: proto/base/legend.h. N is a number of rows. */
#ifndef SC_OPS_H
#define SC_OPS_H

#include "proto/base/rng.h"
#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sc_stream sc_stream;

/* Dropout: an element is kept if its 32 random bits are >= p * 2^32, and then scaled by 1 / (1 - p). p == 0, or NULL
 * where a sc_dropout is asked for: none.
 * Element (b, i) of a tensor with B rows of n elements: row = first_row + b, index = i.
 * Attention probabilities (b, h, i, j): row = first_row + b, index = (h * stride + i) * stride + j, stride = the model's
 * context, so a mask does not depend on how far a sequence was padded. */
typedef struct sc_dropout {
    float p;
    uint64_t seed;
    uint32_t site, step, first_row;
    uint32_t stride;
} sc_dropout;

/* How a weight matrix lies: (in, out) as GPT-2's Conv1D, or (out, in) as nn.Linear and tied embeddings. */
typedef enum sc_layout { SC_IN_OUT, SC_OUT_IN } sc_layout;
typedef enum sc_activation { SC_GELU_TANH, SC_GELU_ERF, SC_TANH } sc_activation;

/* Which keys a query may see: causal (j <= i), and j < lengths[b] where `lengths` (device, int32 (B)) is not NULL. */
typedef struct sc_attention_shape {
    int B, T, NH, HS;
    bool causal;
    const int32_t *lengths;
} sc_attention_shape;

typedef struct sc_adamw {
    float learning_rate, beta1, beta2, epsilon, weight_decay;
    float grad_scale; /* the clip scale: g = grad_scale * grad */
    int64_t step;     /* 1 for the first: bias corrections 1 - beta^step, computed in double */
} sc_adamw;

typedef struct sc_sgd {
    float learning_rate, momentum, weight_decay,
        grad_scale; /* torch.optim.SGD: v = momentum v + (g + wd w); w -= lr v */
    int64_t step;   /* 1 for the first: v = g then */
} sc_sgd;

typedef struct sc_ops {
    const char *name; /* "reference", "cpu", "cuda" */

    /* --- the device ------------------------------------------------------------------------------------------------ */
    /* threads: > 0. Returns owned. The stream owns the backend's threads (or the CUDA stream and handles). */
    sc_status (*stream_new)(int device, int threads, sc_stream **out);
    void (*stream_destroy)(sc_stream **self_p);
    sc_status (*stream_sync)(sc_stream *s);
    /* Aligned to 64 bytes, zeroed, its pages touched. For arenas before step 0, not for the steady state. */
    sc_status (*memory_new)(sc_stream *s, size_t bytes, void **out);
    void (*memory_destroy)(sc_stream *s, void **memory_p);
    /* Host memory that copies fast (pinned, on a GPU). */
    sc_status (*host_new)(sc_stream *s, size_t bytes, void **out);
    void (*host_destroy)(sc_stream *s, void **memory_p);
    /* Queued; the host side must stay until stream_sync. */
    sc_status (*copy_in)(sc_stream *s, void *device, const void *host, size_t bytes);
    sc_status (*copy_out)(sc_stream *s, void *host, const void *device, size_t bytes);
    sc_status (*copy)(sc_stream *s, void *to, const void *from, size_t bytes);
    sc_status (*zero)(sc_stream *s, void *device, size_t bytes);

    /* --- embedding --------------------------------------------------------------------------------------------------
     * out (B,T,C) = dropout (wte[token] + wpe[t]);  tokens int32 (B,T), each in [0, V) (the caller has checked);
     * wte (V,C), wpe (context,C). */
    sc_status (*embedding_forward)(sc_stream *s, float *out, const int32_t *tokens, const float *wte, const float *wpe,
                                   int B, int T, int C, const sc_dropout *dropout);
    /* dwte += scatter of d, dwpe += sum over B of d, where d = dropout'(dout), rows in order of (b, t).
     * dout is overwritten by d. */
    sc_status (*embedding_backward_weight)(sc_stream *s, float *dwte, float *dwpe, float *dout, const int32_t *tokens,
                                           int B, int T, int C, const sc_dropout *dropout);

    /* --- rows of a table: out (n,C) = or, if `add`, += table[rows[i]]; and table[rows[i]] += d (n,C), in order of i.
     * rows int32 (n) on the device, each a row that the table has (the caller has checked). n may be 0. */
    sc_status (*gather_rows)(sc_stream *s, float *out, const float *table, const int32_t *rows, int n, int C, bool add);
    sc_status (*scatter_rows)(sc_stream *s, float *table, const float *d, const int32_t *rows, int n, int C);

    /* --- LayerNorm over C: y = (x - mean) * rstd * w + b; eps inside the root (Ba et al. 2016) --------------------------
     * x, y (N,C); w, b (C); mean, rstd (N) are kept for backward. */
    sc_status (*layernorm_forward)(sc_stream *s, float *y, float *mean, float *rstd, const float *x, const float *w,
                                   const float *b, int N, int C, float epsilon);
    /* dx (N,C) (= or, if `add`, +=). dx may be dy. */
    sc_status (*layernorm_backward_input)(sc_stream *s, float *dx, const float *dy, const float *x, const float *w,
                                          const float *mean, const float *rstd, int N, int C, bool add);
    /* dw, db (C) +=. */
    sc_status (*layernorm_backward_weight)(sc_stream *s, float *dw, float *db, const float *dy, const float *x,
                                           const float *mean, const float *rstd, int N, int C);

    /* --- linear: y (N,Cout) = x (N,Cin) W + b; b may be NULL ------------------------------------------------------------ */
    sc_status (*linear_forward)(sc_stream *s, float *y, const float *x, const float *w, const float *b, int N, int Cin,
                                int Cout, sc_layout layout);
    /* The same, then act = f (y): y is kept for backward. Bias and activation are fused into the product's tiles. */
    sc_status (*linear_activation_forward)(sc_stream *s, float *act, float *y, const float *x, const float *w,
                                           const float *b, int N, int Cin, int Cout, sc_layout layout, sc_activation f);
    /* dx (N,Cin) = dy W^T. */
    sc_status (*linear_backward_input)(sc_stream *s, float *dx, const float *dy, const float *w, int N, int Cin,
                                       int Cout, sc_layout layout);
    /* dx, then dx *= f'(y): y (N,Cin) is the input of the activation that fed this layer. */
    sc_status (*linear_activation_backward_input)(sc_stream *s, float *dx, const float *y, const float *dy,
                                                  const float *w, int N, int Cin, int Cout, sc_layout layout,
                                                  sc_activation f);
    /* dx *= f'(y), n elements: where another operation lies between the activation and the next layer. */
    sc_status (*activation_backward)(sc_stream *s, float *dx, const float *y, size_t n, sc_activation f);
    /* dw += x^T dy (in w's layout), db += column sums of dy; either may be NULL, the other's bits do not depend on it. */
    sc_status (*linear_backward_weight)(sc_stream *s, float *dw, float *db, const float *x, const float *dy, int N,
                                        int Cin, int Cout, sc_layout layout);

    /* --- attention: softmax (q k^T / sqrt (HS) + mask), dropout, times v; in blocks, no T x T matrix in memory -----------
     * qkv (B,T,3C) holds q, k, v side by side, each (NH,HS); out (B,T,C); lse (B,NH,T): log of the sum of exponentials.
     * Source: Dao 2023 (FlashAttention-2), the CPU's blocking our own. */
    sc_status (*attention_forward)(sc_stream *s, float *out, float *lse, const float *qkv,
                                   const sc_attention_shape *shape, const sc_dropout *dropout);
    /* dqkv (B,T,3C) =. */
    sc_status (*attention_backward)(sc_stream *s, float *dqkv, const float *dout, const float *qkv, const float *out,
                                    const float *lse, const sc_attention_shape *shape, const sc_dropout *dropout);
    /* One new token per sequence against a cache (generation): qkv (B,3C) of position `position` (0-based);
     * k_cache, v_cache (B,context,C) get its k and v at `position`, out (B,C) attends to 0..position. */
    sc_status (*attention_decode)(sc_stream *s, float *out, float *k_cache, float *v_cache, const float *qkv, int B,
                                  int position, int context, int NH, int HS);

    /* --- residual: out = res + dropout (x), all (B, n per row); out may be res or x -------------------------------------- */
    sc_status (*residual_forward)(sc_stream *s, float *out, const float *res, const float *x, int B, size_t n_per_row,
                                  const sc_dropout *dropout);
    /* dx = dropout'(dout): for the branch; the residual's own gradient is dout itself. dx may be dout. As the mask is a
     * factor, this is dropout's forward, too. */
    sc_status (*dropout_backward)(sc_stream *s, float *dx, const float *dout, int B, size_t n_per_row,
                                  const sc_dropout *dropout);
    /* y += x. */
    sc_status (*add)(sc_stream *s, float *y, const float *x, size_t n);

    /* --- loss: softmax and cross-entropy in one pass --------------------------------------------------------------------
     * loss (N) = lse (logits) - logits[target]; a row with target < 0 has loss 0 and gradient 0 (ignored).
     * dlogits (N,V), unless NULL, = (softmax - onehot) * scale; dlogits may be logits. targets int32 (N). With weights (V),
     * unless NULL, a row's loss and gradient are times that of its target. */
    sc_status (*cross_entropy)(sc_stream *s, float *loss, float *dlogits, const float *logits, const int32_t *targets,
                               const float *weights, int N, int V, float scale);

    /* For each of n logits by itself: loss = -log of the probability that sigmoid (logit) gives to the target, 0 or 1; a
     * target < 0 has loss 0 and gradient 0. dlogits, unless NULL, = (sigmoid - target) * scale; it may be logits. */
    sc_status (*binary_cross_entropy)(sc_stream *s, float *loss, float *dlogits, const float *logits,
                                      const int32_t *targets, size_t n, float scale);

    /* *out (device, double) = how many of N targets >= 0 are right (N may be 0): the first of the largest of the row's V logits is the
     * target's. A NaN where the order depends on it makes the row wrong. */
    sc_status (*count_correct)(sc_stream *s, double *out, const float *logits, const int32_t *targets, int N, int V);
    /* The same for n logits by themselves: right is a logit > 0, a probability above a half, for 1, and any other for 0. */
    sc_status (*count_correct_binary)(sc_stream *s, double *out, const float *logits, const int32_t *targets, size_t n);

    /* --- sums and optimizers ----------------------------------------------------------------------------------------
     * *out (device, double) = sum of x[i] in double: fixed blocks, fixed order. And the sum of squares. */
    sc_status (*sum)(sc_stream *s, double *out, const float *x, size_t n);
    sc_status (*sum_squares)(sc_stream *s, double *out, const float *x, size_t n);
    /* Decoupled weight decay (Loshchilov & Hutter 2019), in torch.optim.AdamW's order of operations. w, m, v updated. */
    sc_status (*adamw)(sc_stream *s, float *w, float *m, float *v, const float *grad, size_t n, const sc_adamw *h);
    sc_status (*sgd)(sc_stream *s, float *w, float *velocity, const float *grad, size_t n, const sc_sgd *h);
} sc_ops;

extern const sc_ops sc_ops_reference;
extern const sc_ops sc_ops_cpu;

/* The table called `name`: "cpu", "reference", "cuda" (SC_UNIMPLEMENTED, saying how to get it, in a build without). */
sc_status sc_ops_find(const char *name, const sc_ops **out);

#endif
