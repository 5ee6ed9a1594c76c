#include "kernels/cpu/cpu.h"

#include <string.h>

static int tasks_for(int rows, int per_task)
{
    return (rows + per_task - 1) / per_task;
}

static int rows_of(int rows, int per_task, int task)
{
    int left = rows - task * per_task;
    return left < per_task ? left : per_task;
}

/* --- embedding ------------------------------------------------------------------------------------------------------- */

typedef struct embedding_job {
    sc_stream *s;
    float *out, *dwte, *dwpe;
    const int32_t *tokens;
    const float *wte, *wpe, *dout;
    int B, T, C, rows_per_task;
    const sc_dropout *dropout;
} embedding_job;

static void embed_rows(void *context, int task, int thread)
{
    (void)thread;
    embedding_job *j = context;
    size_t C = (size_t)j->C;
    int first = task * j->rows_per_task, n = rows_of(j->B * j->T, j->rows_per_task, task);
    for (int row = first; row < first + n; row++) {
        int b = row / j->T, t = row % j->T;
        float *out = j->out + (size_t)row * C;
        j->s->loops->add(out, j->wte + (size_t)j->tokens[row] * C, j->wpe + (size_t)t * C, C);
        if (sc_dropout_on(j->dropout)) {
            sc_mask mask = sc_cpu_mask(j->dropout, b);
            j->s->loops->dropout(out, out, C, &mask, (uint64_t)t * C);
        }
    }
}

sc_status sc_cpu_embedding_forward(sc_stream *s, float *out, const int32_t *tokens, const float *wte, const float *wpe,
                                   int B, int T, int C, const sc_dropout *dropout)
{
    embedding_job j = {.s = s,
                       .out = out,
                       .tokens = tokens,
                       .wte = wte,
                       .wpe = wpe,
                       .B = B,
                       .T = T,
                       .C = C,
                       .rows_per_task = sc_cpu_rows_per_task(B * T, (size_t)C),
                       .dropout = dropout};
    sc_pool_run(s->pool, tasks_for(B * T, j.rows_per_task), embed_rows, &j);
    return SC_OK;
}

/* Two tokens may share a row of dwte, so a task owns some columns of all rows and walks the tokens in order. */
enum { COLUMNS = 32 };

static void scatter_columns(void *context, int task, int thread)
{
    (void)thread;
    embedding_job *j = context;
    size_t C = (size_t)j->C, column = (size_t)task * COLUMNS, n = C - column < COLUMNS ? C - column : COLUMNS;
    for (int row = 0; row < j->B * j->T; row++) {
        const float *d = j->dout + (size_t)row * C + column;
        float *token = j->dwte + (size_t)j->tokens[row] * C + column;
        float *position = j->dwpe + (size_t)(row % j->T) * C + column;
        j->s->loops->add(token, token, d, n);
        j->s->loops->add(position, position, d, n);
    }
}

sc_status sc_cpu_embedding_backward_weight(sc_stream *s, float *dwte, float *dwpe, float *dout, const int32_t *tokens,
                                           int B, int T, int C, const sc_dropout *dropout)
{
    if (sc_dropout_on(dropout))
        SC_TRY(sc_cpu_dropout_backward(s, dout, dout, B, (size_t)T * (size_t)C, dropout));
    embedding_job j = {.s = s, .dwte = dwte, .dwpe = dwpe, .dout = dout, .tokens = tokens, .B = B, .T = T, .C = C};
    sc_pool_run(s->pool, tasks_for(C, COLUMNS), scatter_columns, &j);
    return SC_OK;
}

/* --- rows of a table ---------------------------------------------------------------------------------------------------- */

typedef struct rows_job {
    sc_stream *s;
    float *out;
    const float *x;
    const int32_t *rows;
    int n, C, rows_per_task;
    bool add;
} rows_job;

static void gather_some(void *context, int task, int thread)
{
    (void)thread;
    rows_job *j = context;
    size_t C = (size_t)j->C;
    int first = task * j->rows_per_task, n = rows_of(j->n, j->rows_per_task, task);
    for (int i = first; i < first + n; i++) {
        float *out = j->out + (size_t)i * C;
        const float *from = j->x + (size_t)j->rows[i] * C;
        if (j->add)
            j->s->loops->add(out, out, from, C);
        else
            memcpy(out, from, C * sizeof *out);
    }
}

/* As of the embedding: a task owns some columns of all rows. */
static void scatter_some(void *context, int task, int thread)
{
    (void)thread;
    rows_job *j = context;
    size_t C = (size_t)j->C, column = (size_t)task * COLUMNS, n = C - column < COLUMNS ? C - column : COLUMNS;
    for (int i = 0; i < j->n; i++) {
        float *row = j->out + (size_t)j->rows[i] * C + column;
        j->s->loops->add(row, row, j->x + (size_t)i * C + column, n);
    }
}

sc_status sc_cpu_gather_rows(sc_stream *s, float *out, const float *table, const int32_t *rows, int n, int C, bool add)
{
    rows_job j = {.s = s, .out = out, .x = table, .rows = rows, .n = n, .C = C, .add = add};
    j.rows_per_task = sc_cpu_rows_per_task(n > 0 ? n : 1, (size_t)C);
    sc_pool_run(s->pool, tasks_for(n, j.rows_per_task), gather_some, &j);
    return SC_OK;
}

sc_status sc_cpu_scatter_rows(sc_stream *s, float *table, const float *d, const int32_t *rows, int n, int C)
{
    rows_job j = {.s = s, .out = table, .x = d, .rows = rows, .n = n, .C = C};
    sc_pool_run(s->pool, tasks_for(C, COLUMNS), scatter_some, &j);
    return SC_OK;
}

/* --- LayerNorm --------------------------------------------------------------------------------------------------------- */

typedef struct layernorm_job {
    sc_stream *s;
    float *y, *mean, *rstd, *dx, *parts;
    const float *x, *w, *b, *dy, *mean_in, *rstd_in;
    int N, C, rows_per_task;
    float epsilon;
    bool add;
} layernorm_job;

static void layernorm_rows(void *context, int task, int thread)
{
    (void)thread;
    layernorm_job *j = context;
    size_t row = (size_t)task * (size_t)j->rows_per_task, at = row * (size_t)j->C;
    int n = rows_of(j->N, j->rows_per_task, task);
    j->s->loops->layernorm_forward(j->y + at, j->mean + row, j->rstd + row, j->x + at, j->w, j->b, n, j->C, j->epsilon);
}

static void layernorm_input_rows(void *context, int task, int thread)
{
    (void)thread;
    layernorm_job *j = context;
    size_t row = (size_t)task * (size_t)j->rows_per_task, at = row * (size_t)j->C;
    int n = rows_of(j->N, j->rows_per_task, task);
    j->s->loops->layernorm_backward_input(j->dx + at, j->dy + at, j->x + at, j->w, j->mean_in + row, j->rstd_in + row,
                                          n, j->C, j->add);
}

static void layernorm_weight_rows(void *context, int task, int thread)
{
    (void)thread;
    layernorm_job *j = context;
    size_t C = (size_t)j->C, row = (size_t)task * (size_t)j->rows_per_task, at = row * C;
    int n = rows_of(j->N, j->rows_per_task, task);
    float *part = j->parts + (size_t)task * 2 * C;
    j->s->loops->layernorm_backward_weight(part, part + C, j->dy + at, j->x + at, j->mean_in + row, j->rstd_in + row, n,
                                           j->C);
}

sc_status sc_cpu_layernorm_forward(sc_stream *s, float *y, float *mean, float *rstd, const float *x, const float *w,
                                   const float *b, int N, int C, float epsilon)
{
    layernorm_job j = {.s = s,
                       .y = y,
                       .mean = mean,
                       .rstd = rstd,
                       .x = x,
                       .w = w,
                       .b = b,
                       .N = N,
                       .C = C,
                       .rows_per_task = sc_cpu_rows_per_task(N, (size_t)C),
                       .epsilon = epsilon};
    sc_pool_run(s->pool, tasks_for(N, j.rows_per_task), layernorm_rows, &j);
    return SC_OK;
}

sc_status sc_cpu_layernorm_backward_input(sc_stream *s, float *dx, const float *dy, const float *x, const float *w,
                                          const float *mean, const float *rstd, int N, int C, bool add)
{
    layernorm_job j = {.s = s,
                       .dx = dx,
                       .dy = dy,
                       .x = x,
                       .w = w,
                       .mean_in = mean,
                       .rstd_in = rstd,
                       .N = N,
                       .C = C,
                       .rows_per_task = sc_cpu_rows_per_task(N, (size_t)C),
                       .add = add};
    sc_pool_run(s->pool, tasks_for(N, j.rows_per_task), layernorm_input_rows, &j);
    return SC_OK;
}

sc_status sc_cpu_layernorm_backward_weight(sc_stream *s, float *dw, float *db, const float *dy, const float *x,
                                           const float *mean, const float *rstd, int N, int C)
{
    int most = (N + SC_CPU_PARTS - 1) / SC_CPU_PARTS, rows = sc_cpu_rows_per_task(N, (size_t)C);
    layernorm_job j = {.s = s,
                       .dy = dy,
                       .x = x,
                       .mean_in = mean,
                       .rstd_in = rstd,
                       .N = N,
                       .C = C,
                       .rows_per_task = rows > most ? rows : most};
    int parts = tasks_for(N, j.rows_per_task);
    SC_TRY(sc_cpu_reserve(s, 0, (size_t)parts * 2 * (size_t)C));
    j.parts = s->shared_scratch;
    sc_pool_run(s->pool, parts, layernorm_weight_rows, &j);
    for (int part = 0; part < parts; part++) {
        const float *sums = j.parts + (size_t)part * 2 * (size_t)C;
        s->loops->add(dw, dw, sums, (size_t)C);
        s->loops->add(db, db, sums + C, (size_t)C);
    }
    return SC_OK;
}

/* --- residual and dropout ------------------------------------------------------------------------------------------------ */

typedef struct dropout_job {
    sc_stream *s;
    float *out;
    const float *res, *x; /* res NULL: no sum */
    size_t n_per_row, tasks_per_row;
    const sc_dropout *dropout;
} dropout_job;

static void dropout_part(void *context, int task, int thread)
{
    (void)thread;
    dropout_job *j = context;
    const sc_loops *loops = j->s->loops;
    size_t row = (size_t)task / j->tasks_per_row, start = (size_t)task % j->tasks_per_row * SC_CPU_GRAIN;
    size_t at = row * j->n_per_row + start, left = j->n_per_row - start, n = left < SC_CPU_GRAIN ? left : SC_CPU_GRAIN;
    if (!sc_dropout_on(j->dropout)) {
        loops->add(j->out + at, j->res + at, j->x + at, n);
        return;
    }
    sc_mask mask = sc_cpu_mask(j->dropout, (int)row);
    if (j->res)
        loops->dropout_add(j->out + at, j->res + at, j->x + at, n, &mask, start);
    else
        loops->dropout(j->out + at, j->x + at, n, &mask, start);
}

static void run_dropout(sc_stream *s, dropout_job *j, int B)
{
    j->tasks_per_row = (j->n_per_row + SC_CPU_GRAIN - 1) / SC_CPU_GRAIN;
    sc_pool_run(s->pool, B * (int)j->tasks_per_row, dropout_part, j);
}

sc_status sc_cpu_residual_forward(sc_stream *s, float *out, const float *res, const float *x, int B, size_t n_per_row,
                                  const sc_dropout *dropout)
{
    dropout_job j = {.s = s, .out = out, .res = res, .x = x, .n_per_row = n_per_row, .dropout = dropout};
    run_dropout(s, &j, B);
    return SC_OK;
}

sc_status sc_cpu_dropout_backward(sc_stream *s, float *dx, const float *dout, int B, size_t n_per_row,
                                  const sc_dropout *dropout)
{
    if (!sc_dropout_on(dropout))
        return dx == dout ? SC_OK : sc_ops_cpu.copy(s, dx, dout, (size_t)B * n_per_row * sizeof *dx);
    dropout_job j = {.s = s, .out = dx, .x = dout, .n_per_row = n_per_row, .dropout = dropout};
    run_dropout(s, &j, B);
    return SC_OK;
}
