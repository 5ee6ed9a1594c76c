#include "kernels/cpu/cpu.h"

#include "kernels/cpu/gemm.h"

#include <assert.h>
#include <stdatomic.h>

/* One operation on the pool: the tiles of its product, then, for a weight gradient, the parts of the bias gradient. */
typedef struct job {
    sc_stream *s;
    sc_gemm gemm;
    int n_tiles;
    atomic_bool failed;

    const float *bias; /* forward */
    float *act, *y;
    const float *input; /* backward: what the activation was applied to */
    sc_activation f;

    const float *dy; /* weight gradient: rows of Cout summed into parts */
    float *parts;
    int N, Cout, rows_per_part;
} job;

static void run_task(void *context, int task, int thread)
{
    job *j = context;
    if (task < j->n_tiles) {
        if (!sc_gemm_tile(&j->gemm, task, sc_cpu_scratch(j->s, thread)))
            atomic_store(&j->failed, true);
        return;
    }
    int part = task - j->n_tiles, row = part * j->rows_per_part;
    int rows = j->N - row < j->rows_per_part ? j->N - row : j->rows_per_part;
    size_t width = (size_t)j->Cout;
    j->s->loops->column_sums(j->parts + (size_t)part * width, j->dy + (size_t)row * width, rows, j->Cout);
}

static sc_status run_job(job *j, int n_parts)
{
    assert(j->gemm.M > 0 && j->gemm.N > 0 && j->gemm.K > 0);
    j->n_tiles = j->gemm.c ? sc_gemm_cut(&j->gemm) : 0;
    j->gemm.context = j;
    size_t scratch = j->gemm.c ? sc_gemm_scratch(&j->gemm) / sizeof(float) : 0;
    SC_TRY(sc_cpu_reserve(j->s, scratch, (size_t)n_parts * (size_t)j->Cout));
    j->parts = j->s->shared_scratch;
    sc_pool_run(j->s->pool, j->n_tiles + n_parts, run_task, j);
    if (atomic_load(&j->failed))
        return SC_FAIL(SC_INTERNAL, "oneDNN refused a product of %d x %d x %d; is there memory left?", j->gemm.M,
                       j->gemm.N, j->gemm.K);
    return SC_OK;
}

static size_t at(const job *j, int row, int column)
{
    return (size_t)row * j->gemm.ldc + (size_t)column;
}

static void finish_bias(void *context, int row, int column, int rows, int columns)
{
    job *j = context;
    j->s->loops->bias(j->y + at(j, row, column), j->gemm.ldc, rows, columns, j->bias + column);
}

static void finish_activation(void *context, int row, int column, int rows, int columns)
{
    job *j = context;
    j->s->loops->bias_activation(j->act + at(j, row, column), j->y + at(j, row, column), j->gemm.ldc, rows, columns,
                                 j->bias ? j->bias + column : NULL, j->f);
}

static void finish_backward(void *context, int row, int column, int rows, int columns)
{
    job *j = context;
    j->s->loops->activation_backward(j->gemm.c + at(j, row, column), j->input + at(j, row, column), j->gemm.ldc, rows,
                                     columns, j->f);
}

/* y = x W. */
static sc_gemm forward_product(float *y, const float *x, const float *w, int N, int Cin, int Cout, sc_layout layout)
{
    return (sc_gemm){.b_transposed = layout == SC_OUT_IN,
                     .M = N,
                     .N = Cout,
                     .K = Cin,
                     .a = x,
                     .lda = (size_t)Cin,
                     .b = w,
                     .ldb = (size_t)(layout == SC_OUT_IN ? Cin : Cout),
                     .c = y,
                     .ldc = (size_t)Cout};
}

sc_status sc_cpu_linear_forward(sc_stream *s, float *y, const float *x, const float *w, const float *b, int N, int Cin,
                                int Cout, sc_layout layout)
{
    job j = {.s = s, .gemm = forward_product(y, x, w, N, Cin, Cout, layout), .bias = b, .y = y};
    j.gemm.finish = b ? finish_bias : NULL;
    return run_job(&j, 0);
}

sc_status sc_cpu_linear_activation_forward(sc_stream *s, float *act, float *y, const float *x, const float *w,
                                           const float *b, int N, int Cin, int Cout, sc_layout layout, sc_activation f)
{
    job j = {.s = s, .gemm = forward_product(y, x, w, N, Cin, Cout, layout), .bias = b, .act = act, .y = y, .f = f};
    j.gemm.finish = finish_activation;
    return run_job(&j, 0);
}

/* dx = dy W^T. */
static sc_gemm backward_product(float *dx, const float *dy, const float *w, int N, int Cin, int Cout, sc_layout layout)
{
    return (sc_gemm){.b_transposed = layout == SC_IN_OUT,
                     .M = N,
                     .N = Cin,
                     .K = Cout,
                     .a = dy,
                     .lda = (size_t)Cout,
                     .b = w,
                     .ldb = (size_t)(layout == SC_OUT_IN ? Cin : Cout),
                     .c = dx,
                     .ldc = (size_t)Cin};
}

sc_status sc_cpu_linear_backward_input(sc_stream *s, float *dx, const float *dy, const float *w, int N, int Cin,
                                       int Cout, sc_layout layout)
{
    job j = {.s = s, .gemm = backward_product(dx, dy, w, N, Cin, Cout, layout)};
    return run_job(&j, 0);
}

sc_status sc_cpu_linear_activation_backward_input(sc_stream *s, float *dx, const float *y, const float *dy,
                                                  const float *w, int N, int Cin, int Cout, sc_layout layout,
                                                  sc_activation f)
{
    job j = {.s = s, .gemm = backward_product(dx, dy, w, N, Cin, Cout, layout), .input = y, .f = f};
    j.gemm.finish = finish_backward;
    return run_job(&j, 0);
}

/* --- an activation by itself ----------------------------------------------------------------------------------------- */

typedef struct activation_job {
    sc_stream *s;
    float *dx;
    const float *y;
    size_t n;
    sc_activation f;
} activation_job;

static void activation_block(void *context, int task, int thread)
{
    (void)thread;
    activation_job *j = context;
    size_t start = (size_t)task * SC_CPU_GRAIN, n = j->n - start < SC_CPU_GRAIN ? j->n - start : SC_CPU_GRAIN;
    j->s->loops->activation_backward(j->dx + start, j->y + start, n, 1, (int)n, j->f);
}

sc_status sc_cpu_activation_backward(sc_stream *s, float *dx, const float *y, size_t n, sc_activation f)
{
    activation_job j = {.s = s, .dx = dx, .y = y, .n = n, .f = f};
    sc_pool_run(s->pool, (int)((n + SC_CPU_GRAIN - 1) / SC_CPU_GRAIN), activation_block, &j);
    return SC_OK;
}

sc_status sc_cpu_linear_backward_weight(sc_stream *s, float *dw, float *db, const float *x, const float *dy, int N,
                                        int Cin, int Cout, sc_layout layout)
{
    bool in_out = layout == SC_IN_OUT;
    job j = {.s = s,
             .gemm = {.a_transposed = true,
                      .M = in_out ? Cin : Cout,
                      .N = in_out ? Cout : Cin,
                      .K = N,
                      .a = in_out ? x : dy,
                      .lda = (size_t)(in_out ? Cin : Cout),
                      .b = in_out ? dy : x,
                      .ldb = (size_t)(in_out ? Cout : Cin),
                      .c = dw,
                      .ldc = (size_t)(in_out ? Cout : Cin),
                      .add = true},
             .dy = dy,
             .N = N,
             .Cout = Cout};
    int n_parts = 0;
    if (db) {
        int most = (N + SC_CPU_PARTS - 1) / SC_CPU_PARTS, rows = sc_cpu_rows_per_task(N, (size_t)Cout);
        j.rows_per_part = rows > most ? rows : most;
        n_parts = (N + j.rows_per_part - 1) / j.rows_per_part;
    }
    SC_TRY(run_job(&j, n_parts));
    for (int part = 0; part < n_parts; part++)
        s->loops->add(db, db, j.parts + (size_t)part * (size_t)Cout, (size_t)Cout);
    return SC_OK;
}
