#include "kernels/reference/reference.h"

#include <stdlib.h>
#include <string.h>

struct sc_stream {
    int device; /* kept so that the object is not empty; there is one device */
};

static sc_status stream_new(int device, int threads, sc_stream **out)
{
    (void)threads;
    sc_stream *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a stream");
    self->device = device;
    *out = self;
    return SC_OK;
}

static void stream_destroy(sc_stream **self_p)
{
    free(*self_p);
    *self_p = NULL;
}

static sc_status stream_sync(sc_stream *s)
{
    (void)s;
    return SC_OK;
}

static sc_status memory_new(sc_stream *s, size_t bytes, void **out)
{
    (void)s;
    size_t rounded = (bytes + 63) / 64 * 64; /* aligned_alloc wants a multiple of the alignment */
    *out = aligned_alloc(64, rounded ? rounded : 64);
    if (!*out)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu bytes; take a smaller micro-batch or more stages",
                       bytes);
    memset(*out, 0, rounded ? rounded : 64);
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

const sc_ops sc_ops_reference = {
    .name = "reference",
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
    .embedding_forward = sc_reference_embedding_forward,
    .embedding_backward_weight = sc_reference_embedding_backward_weight,
    .gather_rows = sc_reference_gather_rows,
    .scatter_rows = sc_reference_scatter_rows,
    .layernorm_forward = sc_reference_layernorm_forward,
    .layernorm_backward_input = sc_reference_layernorm_backward_input,
    .layernorm_backward_weight = sc_reference_layernorm_backward_weight,
    .linear_forward = sc_reference_linear_forward,
    .linear_activation_forward = sc_reference_linear_activation_forward,
    .linear_backward_input = sc_reference_linear_backward_input,
    .linear_activation_backward_input = sc_reference_linear_activation_backward_input,
    .activation_backward = sc_reference_activation_backward,
    .linear_backward_weight = sc_reference_linear_backward_weight,
    .attention_forward = sc_reference_attention_forward,
    .attention_backward = sc_reference_attention_backward,
    .attention_decode = sc_reference_attention_decode,
    .residual_forward = sc_reference_residual_forward,
    .dropout_backward = sc_reference_dropout_backward,
    .add = sc_reference_add,
    .cross_entropy = sc_reference_cross_entropy,
    .binary_cross_entropy = sc_reference_binary_cross_entropy,
    .count_correct = sc_reference_count_correct,
    .count_correct_binary = sc_reference_count_correct_binary,
    .sum = sc_reference_sum,
    .sum_squares = sc_reference_sum_squares,
    .adamw = sc_reference_adamw,
    .sgd = sc_reference_sgd,
};
