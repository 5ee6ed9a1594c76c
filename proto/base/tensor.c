#include "proto/base/tensor.h"

#include <inttypes.h>
#include <stdio.h>

static const struct {
    size_t bytes;
    const char *name;
} dtypes[] = {
    [SC_F32] = {4, "float32"}, [SC_F16] = {2, "float16"}, [SC_BF16] = {2, "bfloat16"}, [SC_I32] = {4, "int32"},
    [SC_U16] = {2, "uint16"},  [SC_U8] = {1, "uint8"},    [SC_F64] = {8, "float64"},   [SC_I64] = {8, "int64"},
};
enum { N_DTYPES = sizeof dtypes / sizeof dtypes[0] };

size_t sc_dtype_bytes(sc_dtype dtype)
{
    return (unsigned)dtype < N_DTYPES ? dtypes[dtype].bytes : 0;
}

const char *sc_dtype_name(sc_dtype dtype)
{
    return sc_dtype_bytes(dtype) ? dtypes[dtype].name : "?";
}

sc_status sc_shape_elements(const sc_shape *shape, uint64_t *elements)
{
    if (shape->n_dims < 0 || shape->n_dims > SC_MAX_DIMS)
        return SC_FAIL(SC_INVALID, "a tensor has %d axes; at most %d are allowed", shape->n_dims, SC_MAX_DIMS);
    uint64_t product = 1;
    for (int i = 0; i < shape->n_dims; i++) {
        if (shape->dims[i] < 0)
            return SC_FAIL(SC_INVALID, "axis %d of a tensor is %" PRId64 "; it may not be negative", i, shape->dims[i]);
        if (__builtin_mul_overflow(product, (uint64_t)shape->dims[i], &product))
            return SC_FAIL(SC_INVALID, "a tensor's element count does not fit into 64 bits");
    }
    *elements = product;
    return SC_OK;
}

sc_status sc_shape_bytes(const sc_shape *shape, sc_dtype dtype, uint64_t *bytes)
{
    uint64_t elements, size = sc_dtype_bytes(dtype);
    if (size == 0)
        return SC_FAIL(SC_INVALID, "element type %d is not known", (int)dtype);
    SC_TRY(sc_shape_elements(shape, &elements));
    if (__builtin_mul_overflow(elements, size, bytes))
        return SC_FAIL(SC_INVALID, "a tensor's size in bytes does not fit into 64 bits");
    return SC_OK;
}

const char *sc_shape_text(const sc_shape *shape, char *text, size_t text_bytes)
{
    size_t used = 0;
    int n = shape->n_dims < 0 ? 0 : shape->n_dims > SC_MAX_DIMS ? SC_MAX_DIMS : shape->n_dims;
    for (int i = 0; i < n && used < text_bytes; i++)
        used += (size_t)snprintf(text + used, text_bytes - used, "%s%" PRId64, i ? "," : "(", shape->dims[i]);
    if (used < text_bytes)
        snprintf(text + used, text_bytes - used, "%s", n ? ")" : "()");
    return text;
}
