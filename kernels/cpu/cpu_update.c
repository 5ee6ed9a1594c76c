#include "kernels/cpu/cpu.h"

#include <assert.h>
#include <string.h>

/* --- cross-entropy ----------------------------------------------------------------------------------------------------- */

typedef struct loss_job {
    sc_stream *s;
    float *loss, *dlogits;
    const float *logits;
    const int32_t *targets;
    const float *weights; /* of targets; NULL: all 1 */
    int N, V, rows_per_task;
    float scale;
} loss_job;

static void loss_rows(void *context, int task, int thread)
{
    (void)thread;
    loss_job *j = context;
    size_t V = (size_t)j->V;
    int first = task * j->rows_per_task, end = first + j->rows_per_task < j->N ? first + j->rows_per_task : j->N;
    for (int n = first; n < end; n++) {
        float *dx = j->dlogits ? j->dlogits + (size_t)n * V : NULL;
        assert(j->targets[n] < j->V);
        if (j->targets[n] >= 0) {
            float weight = j->weights ? j->weights[j->targets[n]] : 1;
            j->s->loops->cross_entropy(j->loss + n, dx, j->logits + (size_t)n * V, j->targets[n], j->V,
                                       weight * j->scale);
            j->loss[n] *= weight;
            continue;
        }
        j->loss[n] = 0;
        if (dx)
            memset(dx, 0, V * sizeof *dx);
    }
}

sc_status sc_cpu_cross_entropy(sc_stream *s, float *loss, float *dlogits, const float *logits, const int32_t *targets,
                               const float *weights, int N, int V, float scale)
{
    loss_job j = {.s = s,
                  .loss = loss,
                  .dlogits = dlogits,
                  .logits = logits,
                  .targets = targets,
                  .weights = weights,
                  .N = N,
                  .V = V,
                  .rows_per_task = sc_cpu_rows_per_task(N, (size_t)V),
                  .scale = scale};
    sc_pool_run(s->pool, (N + j.rows_per_task - 1) / j.rows_per_task, loss_rows, &j);
    return SC_OK;
}

/* A few labels for each sequence: not worth vectors. */
sc_status sc_cpu_binary_cross_entropy(sc_stream *s, float *loss, float *dlogits, const float *logits,
                                      const int32_t *targets, size_t n, float scale)
{
    return sc_ops_reference.binary_cross_entropy(s, loss, dlogits, logits, targets, n, scale);
}

static void count_rows(void *context, int task, int thread)
{
    (void)thread;
    loss_job *j = context;
    int first = task * j->rows_per_task, end = first + j->rows_per_task < j->N ? first + j->rows_per_task : j->N;
    int correct = 0;
    for (int n = first; n < end; n++)
        correct +=
            j->targets[n] >= 0 && j->s->loops->is_largest(j->logits + (size_t)n * (size_t)j->V, j->targets[n], j->V);
    j->s->blocks[task] = correct;
}

sc_status sc_cpu_count_correct(sc_stream *s, double *out, const float *logits, const int32_t *targets, int N, int V)
{
    *out = 0;
    if (N == 0)
        return SC_OK;
    int rows = sc_cpu_rows_per_task(N, (size_t)V), least = (N + SC_CPU_BLOCKS - 1) / SC_CPU_BLOCKS;
    loss_job j = {
        .s = s, .logits = logits, .targets = targets, .N = N, .V = V, .rows_per_task = rows < least ? least : rows};
    int n_tasks = (N + j.rows_per_task - 1) / j.rows_per_task;
    sc_pool_run(s->pool, n_tasks, count_rows, &j);
    for (int i = 0; i < n_tasks; i++)
        *out += s->blocks[i];
    return SC_OK;
}

sc_status sc_cpu_count_correct_binary(sc_stream *s, double *out, const float *logits, const int32_t *targets, size_t n)
{
    return sc_ops_reference.count_correct_binary(s, out, logits, targets, n);
}

/* --- over all elements ----------------------------------------------------------------------------------------------------
 * The blocks depend on n alone; sums are combined in block order. */

typedef struct flat_job {
    sc_stream *s;
    size_t n, block;
    const float *x;
    float *y, *m, *v;
    double (*sum)(const float *x, size_t n);
    sc_adamw_factors adamw;
    const sc_sgd *sgd;
} flat_job;

static size_t block_of(const flat_job *j, int task, size_t *start)
{
    *start = (size_t)task * j->block;
    return j->n - *start < j->block ? j->n - *start : j->block;
}

static int cut(flat_job *j)
{
    size_t least = (j->n + SC_CPU_BLOCKS - 1) / SC_CPU_BLOCKS;
    j->block = least > SC_CPU_GRAIN ? (least + 63) / 64 * 64 : SC_CPU_GRAIN;
    return (int)((j->n + j->block - 1) / j->block);
}

static void add_block(void *context, int task, int thread)
{
    (void)thread;
    flat_job *j = context;
    size_t start, n = block_of(j, task, &start);
    j->s->loops->add(j->y + start, j->y + start, j->x + start, n);
}

static void sum_block(void *context, int task, int thread)
{
    (void)thread;
    flat_job *j = context;
    size_t start, n = block_of(j, task, &start);
    j->s->blocks[task] = j->sum(j->x + start, n);
}

static void adamw_block(void *context, int task, int thread)
{
    (void)thread;
    flat_job *j = context;
    size_t start, n = block_of(j, task, &start);
    j->s->loops->adamw(j->y + start, j->m + start, j->v + start, j->x + start, n, &j->adamw);
}

static void sgd_block(void *context, int task, int thread)
{
    (void)thread;
    flat_job *j = context;
    size_t start, n = block_of(j, task, &start);
    j->s->loops->sgd(j->y + start, j->v + start, j->x + start, n, j->sgd);
}

sc_status sc_cpu_add(sc_stream *s, float *y, const float *x, size_t n)
{
    flat_job j = {.s = s, .n = n, .x = x, .y = y};
    sc_pool_run(s->pool, cut(&j), add_block, &j);
    return SC_OK;
}

static sc_status sum_with(sc_stream *s, double *out, const float *x, size_t n, double (*loop)(const float *, size_t))
{
    flat_job j = {.s = s, .n = n, .x = x, .sum = loop};
    int blocks = cut(&j);
    sc_pool_run(s->pool, blocks, sum_block, &j);
    double total = 0;
    for (int i = 0; i < blocks; i++)
        total += s->blocks[i];
    *out = total;
    return SC_OK;
}

sc_status sc_cpu_sum(sc_stream *s, double *out, const float *x, size_t n)
{
    return sum_with(s, out, x, n, s->loops->sum);
}

sc_status sc_cpu_sum_squares(sc_stream *s, double *out, const float *x, size_t n)
{
    return sum_with(s, out, x, n, s->loops->sum_squares);
}

sc_status sc_cpu_adamw(sc_stream *s, float *w, float *m, float *v, const float *grad, size_t n, const sc_adamw *h)
{
    flat_job j = {.s = s, .n = n, .x = grad, .y = w, .m = m, .v = v};
    j.adamw = (sc_adamw_factors){
        .grad_scale = h->grad_scale,
        .decay = (float)(1 - (double)h->learning_rate * (double)h->weight_decay),
        .beta1_rest = 1 - h->beta1,
        .beta2 = h->beta2,
        .beta2_rest = 1 - h->beta2,
        .step_size = (float)((double)h->learning_rate / (1 - pow((double)h->beta1, (double)h->step))),
        .root2 = (float)sqrt(1 - pow((double)h->beta2, (double)h->step)),
        .epsilon = h->epsilon,
    };
    sc_pool_run(s->pool, cut(&j), adamw_block, &j);
    return SC_OK;
}

sc_status sc_cpu_sgd(sc_stream *s, float *w, float *velocity, const float *grad, size_t n, const sc_sgd *h)
{
    flat_job j = {.s = s, .n = n, .x = grad, .y = w, .v = velocity, .sgd = h};
    sc_pool_run(s->pool, cut(&j), sgd_block, &j);
    return SC_OK;
}
