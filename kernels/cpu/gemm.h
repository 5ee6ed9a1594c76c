/* Matrix products: the one file that knows oneDNN.
 *
 * Mental model. C (M,N) = or += op (A) op (B), row-major, is cut into tiles of rows and columns by its shape alone, and
 * never over K; each tile is computed by one thread. So the bits do not depend on the number of threads. Unless A is
 * transposed, those of a row of C depend on that row of A and on B alone, not on how many rows there are. After its product
 * a tile, still in the cache, passes through `finish` (bias, activation, ...).
 *
 * Thread: any; sc_gemm_tile keeps oneDNN's own threads off the calling thread (it sets OpenMP's thread count there to 1). */
#ifndef SC_GEMM_H
#define SC_GEMM_H

#include <stdbool.h>
#include <stddef.h>

typedef struct sc_gemm {
    bool a_transposed, b_transposed; /* A is stored (K,M) instead of (M,K); B is stored (N,K) instead of (K,N) */
    int M, N, K;
    const float *a, *b;
    float *c;
    size_t lda, ldb, ldc; /* floats from one stored row to the next */
    bool add;             /* += instead of = */
    void (*finish)(void *context, int row, int column, int rows, int columns); /* may be NULL */
    void *context;
    int tile_m, tile_n; /* filled by sc_gemm_cut */
} sc_gemm;

/* Chooses the tiles and returns their number. */
int sc_gemm_cut(sc_gemm *g);
/* Bytes of scratch that a thread needs for a tile. */
size_t sc_gemm_scratch(const sc_gemm *g);
/* Computes tile `task` of those that sc_gemm_cut counted. Returns false if the library refuses. */
bool sc_gemm_tile(const sc_gemm *g, int task, float *scratch);

/* Holds oneDNN to an instruction set: "avx512", "avx2" or "base". Only the first call of the process, before any product,
 * has an effect. */
void sc_gemm_limit_isa(const char *isa);

#endif
