#include "kernels/cpu/gemm.h"

#include <immintrin.h>
#include <oneapi/dnnl/dnnl.h>
#include <string.h>

/* libgomp's, which oneDNN computes with; <omp.h> is not everywhere where the library is. Per calling thread. */
void omp_set_num_threads(int n);

/* Tiles. oneDNN's kernels work on 48 x 8 (AVX-512) and 24 x 4 (AVX2) blocks, so cuts fall on multiples of 48 columns.
 * It repacks its operands at each call: work M N K against copying (M + N) K, hence not smaller than SMALL unless there
 * would be too few tiles for the threads of one machine. */
enum {
    LARGE = 384,
    MEDIUM = 192,
    SMALL = 96,
    ALIGN = 48,
    MANY = 32,   /* tiles enough for 16 threads to end at about the same time */
    FEW = 16,    /* below this many, smaller tiles pay */
    DEPTH = 512, /* rows of K that are transposed at a time: 384 x 512 floats stay in the second-level cache */
};

static int divide_up(int n, int by)
{
    return (n + by - 1) / by;
}

static int count(const sc_gemm *g)
{
    return divide_up(g->M, g->tile_m) * divide_up(g->N, g->tile_n);
}

/* Halves the longer side until there are `wanted` tiles or the sides are down to `least`. */
static void shrink(sc_gemm *g, int wanted, int least)
{
    while (count(g) < wanted) {
        bool rows = g->tile_m >= g->tile_n;
        int *side = rows ? &g->tile_m : &g->tile_n;
        if (*side < 2 * least) {
            side = rows ? &g->tile_n : &g->tile_m;
            if (*side < 2 * least)
                return;
        }
        *side = divide_up(divide_up(*side, 2), ALIGN) * ALIGN;
    }
}

int sc_gemm_cut(sc_gemm *g)
{
    g->tile_m = g->M < LARGE ? g->M : LARGE;
    g->tile_n = g->N < LARGE ? g->N : LARGE;
    shrink(g, MANY, MEDIUM);
    shrink(g, FEW, SMALL);
    return count(g);
}

/* Below AVX-512, oneDNN 2.6 reads a transposed A with strides, at half speed; transposing it first costs a few percent. */
static bool transposes_first(const sc_gemm *g)
{
    return g->a_transposed && dnnl_get_effective_cpu_isa() < dnnl_cpu_isa_avx512_core;
}

size_t sc_gemm_scratch(const sc_gemm *g)
{
    int depth = g->K < DEPTH ? g->K : DEPTH;
    return transposes_first(g) ? (size_t)g->tile_m * (size_t)depth * sizeof(float) : 0;
}

/* to (columns,rows) = from (rows,columns)^T. */
static void transpose(float *to, size_t to_ld, const float *from, size_t from_ld, int rows, int columns)
{
    int whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
    for (int r = 0; r < whole_rows; r += 4)
        for (int c = 0; c < whole_columns; c += 4) {
            const float *f = from + (size_t)r * from_ld + c;
            float *t = to + (size_t)c * to_ld + r;
            __m128 r0 = _mm_loadu_ps(f), r1 = _mm_loadu_ps(f + from_ld);
            __m128 r2 = _mm_loadu_ps(f + 2 * from_ld), r3 = _mm_loadu_ps(f + 3 * from_ld);
            _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
            _mm_storeu_ps(t, r0), _mm_storeu_ps(t + to_ld, r1);
            _mm_storeu_ps(t + 2 * to_ld, r2), _mm_storeu_ps(t + 3 * to_ld, r3);
        }
    for (int r = 0; r < rows; r++)
        for (int c = r < whole_rows ? whole_columns : 0; c < columns; c++)
            to[(size_t)c * to_ld + (size_t)r] = from[(size_t)r * from_ld + (size_t)c];
}

static bool product(char ta, char tb, int M, int N, int K, const float *a, size_t lda, const float *b, size_t ldb,
                    bool add, float *c, size_t ldc)
{
    return dnnl_sgemm(ta, tb, M, N, K, 1.0f, a, (dnnl_dim_t)lda, b, (dnnl_dim_t)ldb, add ? 1.0f : 0.0f, c,
                      (dnnl_dim_t)ldc) == dnnl_success;
}

bool sc_gemm_tile(const sc_gemm *g, int task, float *scratch)
{
    int across = divide_up(g->N, g->tile_n);
    int row = task / across * g->tile_m, column = task % across * g->tile_n;
    int rows = g->M - row < g->tile_m ? g->M - row : g->tile_m;
    int columns = g->N - column < g->tile_n ? g->N - column : g->tile_n;
    const float *a = g->a + (g->a_transposed ? (size_t)row : (size_t)row * g->lda);
    const float *b = g->b + (g->b_transposed ? (size_t)column * g->ldb : (size_t)column);
    float *c = g->c + (size_t)row * g->ldc + column;
    char tb = g->b_transposed ? 'T' : 'N';
    bool ok = true;
    omp_set_num_threads(1); /* oneDNN must not fork inside a tile, whatever the caller has set */
    if (transposes_first(g)) {
        for (int k = 0; k < g->K && ok; k += DEPTH) {
            int depth = g->K - k < DEPTH ? g->K - k : DEPTH;
            transpose(scratch, (size_t)depth, a + (size_t)k * g->lda, g->lda, depth, rows);
            const float *bk = b + (g->b_transposed ? (size_t)k : (size_t)k * g->ldb);
            ok = product('N', tb, rows, columns, depth, scratch, (size_t)depth, bk, g->ldb, g->add || k > 0, c, g->ldc);
        }
    } else {
        ok = product(g->a_transposed ? 'T' : 'N', tb, rows, columns, g->K, a, g->lda, b, g->ldb, g->add, c, g->ldc);
    }
    if (ok && g->finish)
        g->finish(g->context, row, column, rows, columns);
    return ok;
}

void sc_gemm_limit_isa(const char *isa)
{
    dnnl_cpu_isa_t limit = dnnl_cpu_isa_all;
    if (strcmp(isa, "avx2") == 0)
        limit = dnnl_cpu_isa_avx2;
    else if (strcmp(isa, "base") == 0)
        limit = dnnl_cpu_isa_sse41;
    dnnl_set_max_cpu_isa(limit); /* refuses after the first product; the limit in force then stays */
}
