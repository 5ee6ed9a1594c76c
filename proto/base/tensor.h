/* A tensor view: where the elements are, of what type, in what shape. A view owns nothing.
 * Row-major and dense; `data` may be memory of a device, which only its backend may touch. */
#ifndef SC_TENSOR_H
#define SC_TENSOR_H

#include "proto/base/legend.h"
#include "proto/base/status.h"

#include <stddef.h>
#include <stdint.h>

/* The numbers cross the wire: never reuse one. */
typedef enum sc_dtype { SC_F32 = 1, SC_F16 = 2, SC_BF16 = 3, SC_I32 = 4, SC_U16 = 5, SC_U8 = 6, SC_F64 = 7, SC_I64 = 8 } sc_dtype;

typedef struct sc_shape {
    int n_dims;
    int64_t dims[SC_MAX_DIMS];
} sc_shape;

typedef struct sc_tensor {
    void *data;
    sc_dtype dtype;
    sc_shape shape;
} sc_tensor;

/* Bytes of an element; 0 for a number that is no type. */
size_t sc_dtype_bytes(sc_dtype dtype);
/* "float32", "int32", ...; "?" for a number that is no type. Static storage. */
const char *sc_dtype_name(sc_dtype dtype);

/* Elements and bytes. Errors: SC_INVALID for more than SC_MAX_DIMS axes, a negative axis, an unknown type, or a product
 * that does not fit: safe on shapes that come from outside. */
sc_status sc_shape_elements(const sc_shape *shape, uint64_t *elements);
sc_status sc_shape_bytes(const sc_shape *shape, sc_dtype dtype, uint64_t *bytes);

/* Writes "(2,3,4)" to `text`, cut to fit, and returns `text`. */
const char *sc_shape_text(const sc_shape *shape, char *text, size_t text_bytes);

#define SC_SHAPE(...)                                                                                                  \
    ((sc_shape){.n_dims = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dims = {__VA_ARGS__}})

#endif
