#include "kernels/cpu/cpu.h"

#include "kernels/cpu/gemm.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* --- scratch --------------------------------------------------------------------------------------------------------- */

static sc_status grow(float **memory, size_t *have, size_t want, size_t times)
{
    if (want <= *have)
        return SC_OK;
    want = (want + 1023) / 1024 * 1024; /* pages, so that no two threads share a line */
    float *grown = aligned_alloc(4096, want * times * sizeof *grown);
    if (!grown)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu bytes of scratch; take a smaller micro-batch",
                       want * times * sizeof *grown);
    free(*memory);
    *memory = grown;
    *have = want;
    return SC_OK;
}

sc_status sc_cpu_reserve(sc_stream *s, size_t floats_per_thread, size_t shared_floats)
{
    SC_TRY(grow(&s->thread_scratch, &s->thread_floats, floats_per_thread, (size_t)sc_pool_threads(s->pool)));
    return grow(&s->shared_scratch, &s->shared_floats, shared_floats, 1);
}

float *sc_cpu_scratch(const sc_stream *s, int thread)
{
    return s->thread_scratch + (size_t)thread * s->thread_floats;
}

int sc_cpu_rows_per_task(int rows, size_t row_floats)
{
    size_t n = SC_CPU_GRAIN / (row_floats ? row_floats : 1);
    n = n ? n : 1;
    return n < (size_t)rows ? (int)n : rows;
}

sc_mask sc_cpu_mask(const sc_dropout *dropout, int b)
{
    return (sc_mask){.rng = sc_dropout_rng(dropout, b),
                     .threshold = sc_dropout_threshold(dropout),
                     .scale = sc_dropout_scale(dropout)};
}

/* --- the device ------------------------------------------------------------------------------------------------------ */

/* oneDNN allocates its packing buffers at each product. Kept in the heap they cost nothing; handed back to the system each
 * time, they cost a page fault every 4 KiB. 32 MiB is the largest threshold that glibc takes. */
static void keep_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_TOP_PAD, 1 << 20);
}

static void stream_destroy(sc_stream **self_p)
{
    sc_stream *self = *self_p;
    if (!self)
        return;
    sc_pool_destroy(&self->pool);
    free(self->thread_scratch);
    free(self->shared_scratch);
    free(self);
    *self_p = NULL;
}

static sc_status stream_new(int device, int threads, sc_stream **out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)device; /* there is one */
    *out = NULL;
    sc_status status = SC_OK;
    const sc_loops *loops = NULL;
    SC_TRY(sc_loops_choose(&loops));
    pthread_once(&once, keep_memory);
    sc_gemm_limit_isa(loops->isa);
    sc_stream *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a stream");
    self->loops = loops;
    SC_TRY_GOTO(status, sc_pool_new(threads, &self->pool), done);
    *out = self;
done:
    if (status != SC_OK)
        stream_destroy(&self);
    return status;
}

static sc_status stream_sync(sc_stream *s)
{
    (void)s;
    return SC_OK;
}

static sc_status memory_new(sc_stream *s, size_t bytes, void **out)
{
    (void)s;
    enum { HUGE_PAGE = 2 << 20 };
    size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : 64;
    size_t rounded = bytes ? (bytes + alignment - 1) / alignment * alignment : alignment;
    *out = aligned_alloc(alignment, rounded);
    if (!*out)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu bytes; take a smaller micro-batch or more stages",
                       bytes);
    if (alignment == HUGE_PAGE)
        madvise(*out, rounded, MADV_HUGEPAGE); /* a wish: without it the pages are small */
    memset(*out, 0, bytes);
    return SC_OK;
}

static void memory_destroy(sc_stream *s, void **memory_p)
{
    (void)s;
    free(*memory_p);
    *memory_p = NULL;
}

static sc_status copy(sc_stream *s, void *to, const void *from, size_t bytes)
{
    (void)s;
    memcpy(to, from, bytes);
    return SC_OK;
}

static sc_status zero(sc_stream *s, void *device, size_t bytes)
{
    (void)s;
    memset(device, 0, bytes);
    return SC_OK;
}

const sc_ops sc_ops_cpu = {
    .name = "cpu",
    .stream_new = stream_new,
    .stream_destroy = stream_destroy,
    .stream_sync = stream_sync,
    .memory_new = memory_new,
    .memory_destroy = memory_destroy,
    .host_new = memory_new,
    .host_destroy = memory_destroy,
    .copy_in = copy,
    .copy_out = copy,
    .copy = copy,
    .zero = zero,
    .embedding_forward = sc_cpu_embedding_forward,
    .embedding_backward_weight = sc_cpu_embedding_backward_weight,
    .gather_rows = sc_cpu_gather_rows,
    .scatter_rows = sc_cpu_scatter_rows,
    .layernorm_forward = sc_cpu_layernorm_forward,
    .layernorm_backward_input = sc_cpu_layernorm_backward_input,
    .layernorm_backward_weight = sc_cpu_layernorm_backward_weight,
    .linear_forward = sc_cpu_linear_forward,
    .linear_activation_forward = sc_cpu_linear_activation_forward,
    .linear_backward_input = sc_cpu_linear_backward_input,
    .linear_activation_backward_input = sc_cpu_linear_activation_backward_input,
    .activation_backward = sc_cpu_activation_backward,
    .linear_backward_weight = sc_cpu_linear_backward_weight,
    .attention_forward = sc_cpu_attention_forward,
    .attention_backward = sc_cpu_attention_backward,
    .attention_decode = sc_cpu_attention_decode,
    .residual_forward = sc_cpu_residual_forward,
    .dropout_backward = sc_cpu_dropout_backward,
    .add = sc_cpu_add,
    .cross_entropy = sc_cpu_cross_entropy,
    .binary_cross_entropy = sc_cpu_binary_cross_entropy,
    .count_correct = sc_cpu_count_correct,
    .count_correct_binary = sc_cpu_count_correct_binary,
    .sum = sc_cpu_sum,
    .sum_squares = sc_cpu_sum_squares,
    .adamw = sc_cpu_adamw,
    .sgd = sc_cpu_sgd,
};
