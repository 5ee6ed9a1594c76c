#include "kernels/cpu/gemm.h"

#include "kernels/cpu/transpose.h"

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
    FEWER = 8,   /* the same where a tile has to bring its operands into scratch */
    DEPTH = 512, /* rows of K that are transposed at a time: 192 x 512 floats stay in the second-level cache */
    SKEW = 16,   /* a row of the transposed block is longer by this, so that its rows fall into different cache sets */
};

/* Rows of A that oneDNN's kernels take at once. What is left of them it takes with other kernels, some of which sum in
 * another order (AVX2: one to three rows; a single row everywhere). A row's bits are to depend on itself alone, not on how
 * many others there are, so the last rows go through the same kernel as all others, filled up with zeros. Divides ALIGN, so
 * that only the last tile has such rows. */
enum { GROUP_AVX512 = 8, GROUP_AVX2 = 6, GROUP_BASE = 2, MOST_GROUP = GROUP_AVX512 };

static int divide_up(int n, int by)
{
    return (n + by - 1) / by;
}

static int count(const sc_gemm *g)
{
    return divide_up(g->M, g->tile_m) * divide_up(g->N, g->tile_n);
}

/* Below AVX-512, oneDNN 2.6 reads its operands where they are. A transposed A then costs half the speed, and a B whose rows
 * lie a multiple of 1 KiB apart up to half, since they share a few cache sets. Such operands go through scratch, DEPTH rows
 * of K at a time; that costs a few percent. With AVX-512 it packs both operands itself. */
static bool reads_in_place(void)
{
    return dnnl_get_effective_cpu_isa() < dnnl_cpu_isa_avx512_core;
}

static int group_rows(void)
{
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    if (isa >= dnnl_cpu_isa_avx512_core)
        return GROUP_AVX512;
    return isa >= dnnl_cpu_isa_avx2 ? GROUP_AVX2 : GROUP_BASE;
}

static bool transposes_a(const sc_gemm *g)
{
    return g->a_transposed && reads_in_place();
}

static bool copies_b(const sc_gemm *g)
{
    return !g->b_transposed && g->ldb % 256 == 0 && reads_in_place();
}

/* Halves a side until there are `wanted` tiles or the sides are down to `least`: the longer one, or the rows as long as
 * possible where each tile has to transpose them. */
static void shrink(sc_gemm *g, int wanted, int least)
{
    while (count(g) < wanted) {
        bool rows = g->tile_m >= g->tile_n || transposes_a(g);
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
    if (transposes_a(g)) {
        shrink(g, FEWER, SMALL);
    } else {
        shrink(g, MANY, MEDIUM);
        shrink(g, FEW, SMALL);
    }
    return count(g);
}

enum { A_STRIDE = DEPTH + SKEW, B_STRIDE = LARGE + SKEW };

size_t sc_gemm_scratch(const sc_gemm *g)
{
    size_t a = transposes_a(g) ? (size_t)g->tile_m * A_STRIDE : 0, b = copies_b(g) ? DEPTH * B_STRIDE : 0;
    size_t last = g->a_transposed ? 0 : MOST_GROUP * ((size_t)g->K + LARGE);
    return (a + b + last) * sizeof(float);
}

static bool product(char ta, char tb, int M, int N, int K, const float *a, size_t lda, const float *b, size_t ldb,
                    bool add, float *c, size_t ldc)
{
    return dnnl_sgemm(ta, tb, M, N, K, 1.0f, a, (dnnl_dim_t)lda, b, (dnnl_dim_t)ldb, add ? 1.0f : 0.0f, c,
                      (dnnl_dim_t)ldc) == dnnl_success;
}

/* The product of a tile, a slice of K after the other, with A or B or both brought into scratch. */
static bool product_through_scratch(const sc_gemm *g, int rows, int columns, const float *a, const float *b, float *c,
                                    float *scratch)
{
    float *a_block = scratch, *b_block = transposes_a(g) ? scratch + (size_t)g->tile_m * A_STRIDE : scratch;
    bool ok = true;
    for (int k = 0; k < g->K && ok; k += DEPTH) {
        int depth = g->K - k < DEPTH ? g->K - k : DEPTH;
        const float *ak = a + (g->a_transposed ? (size_t)k * g->lda : (size_t)k);
        const float *bk = b + (g->b_transposed ? (size_t)k : (size_t)k * g->ldb);
        size_t lda = g->lda, ldb = g->ldb;
        if (transposes_a(g)) {
            sc_transpose(a_block, A_STRIDE, ak, lda, depth, rows);
            ak = a_block, lda = A_STRIDE;
        }
        if (copies_b(g)) {
            for (int i = 0; i < depth; i++)
                memcpy(b_block + (size_t)i * B_STRIDE, bk + (size_t)i * ldb, (size_t)columns * sizeof *b);
            bk = b_block, ldb = B_STRIDE;
        }
        ok = product('N', g->b_transposed ? 'T' : 'N', rows, columns, depth, ak, lda, bk, ldb, g->add || k > 0, c,
                     g->ldc);
    }
    return ok;
}

static bool product_of_tile(const sc_gemm *g, int rows, int columns, const float *a, const float *b, float *c,
                            float *scratch)
{
    if (transposes_a(g) || copies_b(g))
        return product_through_scratch(g, rows, columns, a, b, c, scratch);
    return product(g->a_transposed ? 'T' : 'N', g->b_transposed ? 'T' : 'N', rows, columns, g->K, a, g->lda, b, g->ldb,
                   g->add, c, g->ldc);
}

/* The last rows, fewer than a group, as a whole group of which the result is taken in part. */
static bool product_of_last_rows(const sc_gemm *g, int rows, int columns, const float *a, const float *b, float *c,
                                 float *scratch)
{
    sc_gemm group = *g;
    size_t K = (size_t)g->K, width = (size_t)columns, all = (size_t)group_rows();
    float *a_rows = scratch, *c_rows = a_rows + all * K;
    group.lda = K, group.ldc = LARGE;
    for (size_t r = 0; r < all; r++) {
        bool is_there = r < (size_t)rows;
        if (is_there)
            memcpy(a_rows + r * K, a + r * g->lda, K * sizeof *a);
        else
            memset(a_rows + r * K, 0, K * sizeof *a);
        if (g->add && is_there)
            memcpy(c_rows + r * LARGE, c + r * g->ldc, width * sizeof *c);
        else
            memset(c_rows + r * LARGE, 0, width * sizeof *c);
    }
    if (!product_of_tile(&group, (int)all, columns, a_rows, b, c_rows, scratch + MOST_GROUP * (K + LARGE)))
        return false;
    for (size_t r = 0; r < (size_t)rows; r++)
        memcpy(c + r * g->ldc, c_rows + r * LARGE, width * sizeof *c);
    return true;
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
    omp_set_num_threads(1); /* oneDNN must not fork inside a tile, whatever the caller has set */
    int last = g->a_transposed ? 0 : rows % group_rows(), whole = rows - last;
    bool ok = whole == 0 || product_of_tile(g, whole, columns, a, b, c, scratch);
    if (ok && last > 0)
        ok = product_of_last_rows(g, last, columns, a + (size_t)whole * g->lda, b, c + (size_t)whole * g->ldc, scratch);
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
