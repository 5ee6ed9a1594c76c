/* The vectorised loops, one table per instruction set, chosen once when a stream is made.
 *
 * Each loop is written once, in loops_*.inc.h, over the vector type of simd.h; loops_avx512.c, loops_avx2.c and
 * loops_base.c compile it for their instruction set. A loop runs on one thread over what one task owns; cutting the work
 * into tasks is the business of the cpu_*.c files. Every sum has one order, which depends on the shape and the table. */
#ifndef SC_LOOPS_H
#define SC_LOOPS_H

#include "kernels/ops.h"

/* Dropout of one sequence: the random stream of its row, the threshold and the scale. */
typedef struct sc_mask {
    sc_rng rng;
    uint32_t threshold;
    float scale;
} sc_mask;

typedef struct sc_adamw_factors {
    float grad_scale, decay, beta1_rest, beta2, beta2_rest, step_size, root2, epsilon;
} sc_adamw_factors;

/* One head of one sequence. `mask` is NULL without dropout; `keys` is the length of the sequence. */
typedef struct sc_head {
    int T, NH, HS, b, h, keys;
    bool causal;
    const sc_mask *mask;
    uint32_t mask_stride;
    const float *qkv, *dout, *out_in, *lse_in; /* the last three for backward */
    float *out, *lse, *dqkv;
    float *scratch; /* attention_scratch bytes, aligned to 64 */
} sc_head;

typedef struct sc_loops {
    const char *isa; /* "avx512", "avx2", "base" */

    /* On a tile of rows x columns, `ld` floats from row to row. b may be NULL. */
    void (*bias)(float *y, size_t ld, int rows, int columns, const float *b);
    void (*bias_activation)(float *act, float *y, size_t ld, int rows, int columns, const float *b, sc_activation f);
    void (*activation_backward)(float *dx, const float *y, size_t ld, int rows, int columns, sc_activation f);
    /* sums (columns) = over the rows of a dense x. */
    void (*column_sums)(float *sums, const float *x, int rows, int columns);

    void (*layernorm_forward)(float *y, float *mean, float *rstd, const float *x, const float *w, const float *b,
                              int rows, int C, float epsilon);
    void (*layernorm_backward_input)(float *dx, const float *dy, const float *x, const float *w, const float *mean,
                                     const float *rstd, int rows, int C, bool add);
    /* dw, db = the sums over these rows. */
    void (*layernorm_backward_weight)(float *dw, float *db, const float *dy, const float *x, const float *mean,
                                      const float *rstd, int rows, int C);

    /* out = a + b; out may be either. */
    void (*add)(float *out, const float *a, const float *b, size_t n);
    /* out = res + mask * x, out = mask * x: elements index .. index + n - 1 of the row. out may be an input. */
    void (*dropout_add)(float *out, const float *res, const float *x, size_t n, const sc_mask *mask, uint64_t index);
    void (*dropout)(float *out, const float *x, size_t n, const sc_mask *mask, uint64_t index);

    /* One row; target >= 0. dx may be NULL or x. */
    void (*cross_entropy)(float *loss, float *dx, const float *x, int target, int V, float scale);
    /* One row; target >= 0: whether it is the first of the largest. */
    bool (*is_largest)(const float *x, int target, int V);
    double (*sum)(const float *x, size_t n);
    double (*sum_squares)(const float *x, size_t n);
    void (*adamw)(float *w, float *m, float *v, const float *grad, size_t n, const sc_adamw_factors *f);
    void (*sgd)(float *w, float *velocity, const float *grad, size_t n, const sc_sgd *h);

    size_t (*attention_scratch)(int T, int HS, bool backward); /* bytes */
    void (*attention_forward)(const sc_head *head);
    void (*attention_backward)(const sc_head *head);
    /* One query (HS) against rows 0 .. n-1 of k and v, `stride` floats apart; scores: scratch of n floats. */
    void (*attention_decode)(float *out, const float *q, const float *k, const float *v, size_t stride, int n, int HS,
                             float *scores);
} sc_loops;

extern const sc_loops sc_loops_avx512, sc_loops_avx2, sc_loops_base;

/* The best table for this machine; the environment's SC_CPU_ISA (avx512, avx2, base) asks for another.
 * Errors: SC_INVALID if it names none, SC_FAILED_PRECONDITION if the machine cannot run it. */
sc_status sc_loops_choose(const sc_loops **out);

#endif
