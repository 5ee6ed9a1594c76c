/* How fast the operations are, as a share of what this machine can do, and what each costs in a step.
 *
 *     bench_kernels [THREADS [SHAPE]]        SHAPE: char, char4, gpt2; default: all, with 2 threads
 *
 * The float32 peak is measured with the widest fused multiply-adds that the processor has: the best of the run, and again
 * beside each timing. A time is scaled by the second over the first, and the median of several rounds is taken, so that a
 * machine whose other tenants take some of it shows the same ratios. "flop" counts products as 2 M N K and attention in full, though causal attention does half. */
#include "kernels/cpu/loops.h"
#include "kernels/cpu/pool.h"
#include "kernels/ops.h"

#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 5 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* --- the peak -------------------------------------------------------------------------------------------------------- */

enum { CHAINS = 10, FMAS = 1000000 }; /* independent chains: more than latency times ports; fewer than registers */

__attribute__((target("avx512f"))) static double fma_avx512(void)
{
    __m512 x[CHAINS], a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
    for (int i = 0; i < CHAINS; i++)
        x[i] = _mm512_set1_ps((float)i);
    for (int n = 0; n < FMAS; n++)
#pragma GCC unroll 10
        for (int i = 0; i < CHAINS; i++)
            x[i] = _mm512_fmadd_ps(x[i], a, b);
    for (int i = 1; i < CHAINS; i++)
        x[0] = _mm512_add_ps(x[0], x[i]);
    volatile float sink = _mm512_cvtss_f32(x[0]);
    (void)sink;
    return 2.0 * 16 * CHAINS * FMAS;
}

__attribute__((target("avx2,fma"))) static double fma_avx2(void)
{
    __m256 x[CHAINS], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
    for (int i = 0; i < CHAINS; i++)
        x[i] = _mm256_set1_ps((float)i);
    for (int n = 0; n < FMAS; n++)
#pragma GCC unroll 10
        for (int i = 0; i < CHAINS; i++)
            x[i] = _mm256_fmadd_ps(x[i], a, b);
    for (int i = 1; i < CHAINS; i++)
        x[0] = _mm256_add_ps(x[0], x[i]);
    volatile float sink = _mm256_cvtss_f32(x[0]);
    (void)sink;
    return 2.0 * 8 * CHAINS * FMAS;
}

static double fma_base(void)
{
    __m128 x[CHAINS], a = _mm_set1_ps(0.999f), b = _mm_set1_ps(0.001f);
    for (int i = 0; i < CHAINS; i++)
        x[i] = _mm_set1_ps((float)i);
    for (int n = 0; n < FMAS; n++)
#pragma GCC unroll 10
        for (int i = 0; i < CHAINS; i++)
            x[i] = _mm_add_ps(_mm_mul_ps(x[i], a), b);
    for (int i = 1; i < CHAINS; i++)
        x[0] = _mm_add_ps(x[0], x[i]);
    volatile float sink = _mm_cvtss_f32(x[0]);
    (void)sink;
    return 2.0 * 4 * CHAINS * FMAS;
}

static void peak_task(void *context, int task, int thread)
{
    (void)task, (void)thread;
    double (**loop)(void) = context;
    (*loop)();
}

typedef struct meter {
    double (*loop)(void);
    double flop; /* of one loop */
    sc_pool *pool;
    double best; /* flop/s: the highest seen */
} meter;

static sc_status meter_open(meter *m, const char *isa, int threads)
{
    *m = (meter){.loop = strcmp(isa, "avx512") == 0 ? fma_avx512 : strcmp(isa, "avx2") == 0 ? fma_avx2 : fma_base};
    m->flop = m->loop();
    return sc_pool_new(threads, &m->pool);
}

/* flop/s of all threads together, now. */
static double measure_peak(meter *m)
{
    int tasks = 4 * sc_pool_threads(m->pool);
    double start = now();
    sc_pool_run(m->pool, tasks, peak_task, &m->loop);
    double rate = tasks * m->flop / (now() - start);
    m->best = rate > m->best ? rate : m->best;
    return rate;
}

/* --- a training step, operation by operation ------------------------------------------------------------------------------ */

typedef struct shape {
    const char *name;
    int L, C, NH, T, V, B;
    float dropout;
} shape;

static const shape shapes[] = {
    {"char", 6, 384, 6, 256, 256, 12, 0.2f},
    {"char4", 6, 384, 6, 256, 256, 4, 0.2f},
    {"gpt2", 12, 768, 12, 256, 50257, 4, 0},
};

typedef struct bench {
    const shape *p;
    const sc_ops *ops;
    sc_stream *stream;
    int N;
    float *x, *y, *wide, *wide2, *qkv, *dqkv, *lse, *mean, *rstd,
        *logits;                        /* activations: C, C, 4C, 4C, 3C, 3C, ..., V */
    float *w, *dw, *wte, *dwte, *m, *v; /* a matrix C x 4C, its gradient, V x C ... */
    int32_t *tokens;
    sc_dropout dropout;
    sc_attention_shape attention;
} bench;

/* What is timed: one call, how often a step has it, its flop and the bytes that it must move. */
typedef struct line {
    const char *name;
    void (*call)(bench *b);
    double times, flop, bytes;
} line;

#define S  b->stream
#define C_ b->p->C

static void embedding_forward(bench *b)
{
    b->ops->embedding_forward(S, b->x, b->tokens, b->wte, b->w, b->p->B, b->p->T, C_, &b->dropout);
}
static void embedding_backward(bench *b)
{
    b->ops->embedding_backward_weight(S, b->dwte, b->dw, b->x, b->tokens, b->p->B, b->p->T, C_, &b->dropout);
}
static void layernorm_forward(bench *b)
{
    b->ops->layernorm_forward(S, b->y, b->mean, b->rstd, b->x, b->w, b->w, b->N, C_, 1e-5f);
}
static void layernorm_backward_input(bench *b)
{
    b->ops->layernorm_backward_input(S, b->y, b->y, b->x, b->w, b->mean, b->rstd, b->N, C_, false);
}
static void layernorm_backward_weight(bench *b)
{
    b->ops->layernorm_backward_weight(S, b->dw, b->dw + C_, b->y, b->x, b->mean, b->rstd, b->N, C_);
}
static void qkv_forward(bench *b)
{
    b->ops->linear_forward(S, b->qkv, b->x, b->w, b->w, b->N, C_, 3 * C_, SC_IN_OUT);
}
static void qkv_input(bench *b)
{
    b->ops->linear_backward_input(S, b->x, b->qkv, b->w, b->N, C_, 3 * C_, SC_IN_OUT);
}
static void qkv_weight(bench *b)
{
    b->ops->linear_backward_weight(S, b->dw, b->m, b->x, b->qkv, b->N, C_, 3 * C_, SC_IN_OUT);
}
static void attention_forward(bench *b)
{
    b->ops->attention_forward(S, b->y, b->lse, b->qkv, &b->attention, &b->dropout);
}
static void attention_backward(bench *b)
{
    b->ops->attention_backward(S, b->dqkv, b->x, b->qkv, b->y, b->lse, &b->attention, &b->dropout);
}
static void projection_forward(bench *b)
{
    b->ops->linear_forward(S, b->y, b->x, b->w, b->w, b->N, C_, C_, SC_IN_OUT);
}
static void projection_input(bench *b)
{
    b->ops->linear_backward_input(S, b->x, b->y, b->w, b->N, C_, C_, SC_IN_OUT);
}
static void projection_weight(bench *b)
{
    b->ops->linear_backward_weight(S, b->dw, b->m, b->x, b->y, b->N, C_, C_, SC_IN_OUT);
}
static void up_forward(bench *b)
{
    b->ops->linear_activation_forward(S, b->wide2, b->wide, b->x, b->w, b->w, b->N, C_, 4 * C_, SC_IN_OUT,
                                      SC_GELU_TANH);
}
static void up_input(bench *b)
{
    b->ops->linear_backward_input(S, b->x, b->wide2, b->w, b->N, C_, 4 * C_, SC_IN_OUT);
}
static void up_weight(bench *b)
{
    b->ops->linear_backward_weight(S, b->dw, b->m, b->x, b->wide2, b->N, C_, 4 * C_, SC_IN_OUT);
}
static void down_forward(bench *b)
{
    b->ops->linear_forward(S, b->y, b->wide, b->w, b->w, b->N, 4 * C_, C_, SC_IN_OUT);
}
static void down_input(bench *b)
{
    b->ops->linear_activation_backward_input(S, b->wide2, b->wide, b->x, b->w, b->N, 4 * C_, C_, SC_IN_OUT,
                                             SC_GELU_TANH);
}
static void down_weight(bench *b)
{
    b->ops->linear_backward_weight(S, b->dw, b->m, b->wide, b->y, b->N, 4 * C_, C_, SC_IN_OUT);
}
static void residual_forward(bench *b)
{
    b->ops->residual_forward(S, b->y, b->y, b->x, b->p->B, (size_t)b->p->T * (size_t)C_, &b->dropout);
}
static void dropout_backward(bench *b)
{
    b->ops->dropout_backward(S, b->y, b->x, b->p->B, (size_t)b->p->T * (size_t)C_, &b->dropout);
}
static void residual_backward(bench *b)
{
    b->ops->add(S, b->y, b->x, (size_t)b->N * (size_t)C_);
}
static void head_forward(bench *b)
{
    b->ops->linear_forward(S, b->logits, b->x, b->wte, NULL, b->N, C_, b->p->V, SC_OUT_IN);
}
static void head_input(bench *b)
{
    b->ops->linear_backward_input(S, b->x, b->logits, b->wte, b->N, C_, b->p->V, SC_OUT_IN);
}
static void head_weight(bench *b)
{
    b->ops->linear_backward_weight(S, b->dwte, NULL, b->x, b->logits, b->N, C_, b->p->V, SC_OUT_IN);
}
static void cross_entropy(bench *b)
{
    b->ops->cross_entropy(S, b->mean, b->logits, b->logits, b->tokens, NULL, b->N, b->p->V, 1e-4f);
}
static void adamw(bench *b)
{
    sc_adamw h = {1e-9f, 0.9f, 0.99f, 1e-8f, 0.1f, 1, 10};
    b->ops->adamw(S, b->w, b->m, b->v, b->dw, (size_t)C_ * 4 * (size_t)C_, &h);
}
static void sum_squares(bench *b)
{
    double out;
    b->ops->sum_squares(S, &out, b->dw, (size_t)C_ * 4 * (size_t)C_);
}

/* Small numbers, so that repeated calls stay finite. */
static float *tensor(bench *b, size_t n)
{
    void *memory = NULL;
    if (b->ops->memory_new(b->stream, n * sizeof(float), &memory) != SC_OK) {
        fprintf(stderr, "bench_kernels: %s\n", sc_status_message());
        exit(1);
    }
    float *x = memory;
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((i * 2654435761u) % 2048) * 1e-5f - 1e-2f;
    return x;
}

static void print_line(const line *l, double seconds, double peak, double step)
{
    printf("  %-28s %9.3f ms x %3.0f  %5.1f %% of the step", l->name, seconds * 1e3, l->times,
           100 * seconds * l->times / step);
    if (l->flop > 0)
        printf("  %8.1f GFLOP/s  %5.1f %% of peak\n", l->flop / seconds * 1e-9, 100 * l->flop / seconds / peak);
    else
        printf("  %8.1f GB/s\n", l->bytes / seconds * 1e-9);
}

/* What the machine could have computed in the time of one call, in flop: seconds times the rate beside it. */
static double time_call(const line *l, bench *b, meter *m)
{
    double took[ROUNDS];
    l->call(b);
    for (int round = 0; round < ROUNDS; round++) {
        double before = measure_peak(m), start = now();
        int calls = 0;
        do
            l->call(b), calls++;
        while (now() - start < 0.02);
        took[round] = (now() - start) / calls;
        took[round] *= (before + measure_peak(m)) / 2;
    }
    qsort(took, ROUNDS, sizeof took[0], by_value);
    return took[ROUNDS / 2];
}

static void run_shape(const shape *p, meter *m)
{
    bench bench_ = {.p = p, .N = p->B * p->T}, *b = &bench_;
    int threads = sc_pool_threads(m->pool);
    if (sc_ops_find("cpu", &b->ops) != SC_OK || b->ops->stream_new(0, threads, &b->stream) != SC_OK) {
        fprintf(stderr, "bench_kernels: %s\n", sc_status_message());
        exit(1);
    }
    size_t N = (size_t)b->N, C = (size_t)p->C, V = (size_t)p->V;
    b->x = tensor(b, N * C), b->y = tensor(b, N * C), b->wide = tensor(b, N * 4 * C), b->wide2 = tensor(b, N * 4 * C);
    b->qkv = tensor(b, N * 3 * C), b->dqkv = tensor(b, N * 3 * C), b->lse = tensor(b, N * C), b->mean = tensor(b, N);
    b->rstd = tensor(b, N), b->logits = tensor(b, N * V), b->w = tensor(b, 4 * C * C), b->dw = tensor(b, 4 * C * C);
    b->wte = tensor(b, V * C), b->dwte = tensor(b, V * C), b->m = tensor(b, 4 * C * C), b->v = tensor(b, 4 * C * C);
    b->tokens = (int32_t *)tensor(b, N);
    for (size_t i = 0; i < N; i++)
        b->tokens[i] = (int32_t)(i * 2654435761u % V);
    memset(b->m, 0, 4 * C * C * sizeof *b->m), memset(b->v, 0, 4 * C * C * sizeof *b->v);
    b->dropout = (sc_dropout){.p = p->dropout, .seed = 1, .site = 2, .stride = (uint32_t)p->T};
    b->attention = (sc_attention_shape){.B = p->B, .T = p->T, .NH = p->NH, .HS = p->C / p->NH, .causal = true};

    double L = p->L, n = b->N, c = p->C, v = p->V, row = 4 * n * c, square = 2 * n * c * c, pairs = 4 * n * p->T * c;
    double matrix = 4 * c * c, matrices = (12 * L * c * c + v * c) / matrix;
    const line lines[] = {
        {"embedding forward", embedding_forward, 1, 0, 2 * row},
        {"layernorm forward", layernorm_forward, 2 * L + 1, 0, 2 * row},
        {"qkv forward", qkv_forward, L, 3 * square, 0},
        {"attention forward", attention_forward, L, pairs, 0},
        {"projection forward", projection_forward, L, square, 0},
        {"residual forward", residual_forward, 2 * L, 0, 3 * row},
        {"up + GELU forward", up_forward, L, 4 * square, 0},
        {"down forward", down_forward, L, 4 * square, 0},
        {"head forward", head_forward, 1, 2 * n * c * v, 0},
        {"cross-entropy", cross_entropy, 1, 0, 8 * n * v},
        {"head input", head_input, 1, 2 * n * c * v, 0},
        {"head weight", head_weight, 1, 2 * n * c * v, 0},
        {"dropout backward", dropout_backward, 2 * L, 0, 2 * row},
        {"down input + GELU'", down_input, L, 4 * square, 0},
        {"down weight", down_weight, L, 4 * square, 0},
        {"up input", up_input, L, 4 * square, 0},
        {"up weight", up_weight, L, 4 * square, 0},
        {"layernorm input", layernorm_backward_input, 2 * L + 1, 0, 3 * row},
        {"layernorm weight", layernorm_backward_weight, 2 * L + 1, 0, 2 * row},
        {"residual backward (add)", residual_backward, 2 * L, 0, 3 * row},
        {"projection input", projection_input, L, square, 0},
        {"projection weight", projection_weight, L, square, 0},
        {"attention backward", attention_backward, L, 2 * pairs, 0},
        {"qkv input", qkv_input, L, 3 * square, 0},
        {"qkv weight", qkv_weight, L, 3 * square, 0},
        {"embedding backward", embedding_backward, 1, 0, 3 * row},
        {"sum of squares", sum_squares, matrices, 0, 4 * matrix},
        {"AdamW", adamw, matrices, 0, 7 * 4 * matrix},
    };
    enum { LINES = sizeof lines / sizeof lines[0] };
    double seconds[LINES], step = 0, products = 0, flop = 0, update = 0;
    for (int i = 0; i < LINES; i++)
        seconds[i] = time_call(&lines[i], b, m);
    double peak = m->best;
    for (int i = 0; i < LINES; i++) {
        seconds[i] /= peak; /* as on the machine at its best */
        step += seconds[i] * lines[i].times;
        flop += lines[i].flop * lines[i].times;
        products += lines[i].flop > 0 && lines[i].call != attention_forward && lines[i].call != attention_backward
                        ? seconds[i] * lines[i].times
                        : 0;
        update += i >= LINES - 2 ? seconds[i] * lines[i].times : 0;
    }
    printf("%s: L %d, C %d, NH %d, T %d, V %d, B %d, dropout %g, %d threads\n", p->name, p->L, p->C, p->NH, p->T, p->V,
           p->B, (double)p->dropout, threads);
    for (int i = 0; i < LINES; i++)
        print_line(&lines[i], seconds[i], peak, step);
    printf(
        "  step %.1f ms: products %.1f %%; forward + backward %.1f GFLOP/s, %.1f %% of peak; with the update %.1f %%, "
        "%.0f tokens/s\n\n",
        step * 1e3, 100 * products / step, flop / (step - update) * 1e-9, 100 * flop / (step - update) / peak,
        100 * flop / step / peak, n / step);
    float *all[] = {b->x,      b->y, b->wide, b->wide2, b->qkv,  b->dqkv, b->lse, b->mean,           b->rstd,
                    b->logits, b->w, b->dw,   b->wte,   b->dwte, b->m,    b->v,   (float *)b->tokens};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        void *memory = all[i];
        b->ops->memory_destroy(b->stream, &memory);
    }
    b->ops->stream_destroy(&b->stream);
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 2;
    const sc_loops *loops = NULL;
    if (threads < 1 || sc_loops_choose(&loops) != SC_OK) {
        fprintf(stderr, "usage: bench_kernels [THREADS [SHAPE]]\n");
        return 2;
    }
    meter m;
    if (meter_open(&m, loops->isa, threads) != SC_OK) {
        fprintf(stderr, "bench_kernels: %s\n", sc_status_message());
        return 1;
    }
    for (int round = 0; round < ROUNDS; round++)
        measure_peak(&m);
    printf("float32 peak (%s): %.1f GFLOP/s with %d threads\n\n", loops->isa, m.best * 1e-9, threads);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (argc < 3 || strcmp(argv[2], shapes[i].name) == 0)
            run_shape(&shapes[i], &m);
    sc_pool_destroy(&m.pool);
    return 0;
}
