/* Tensors of the golden files, for the tests that compare with them. */
#ifndef SC_GOLDEN_TENSOR_H
#define SC_GOLDEN_TENSOR_H

#include "proto/base/safetensors.h"
#include "tests/stage_chain.h"

/* Returns owned: free(). `shape`, `elements`: NULL, not asked. */
static inline void *read_tensor(const sc_safetensors *file, const char *name, sc_dtype dtype, sc_shape *shape,
                                uint64_t *elements)
{
    const sc_safetensors_entry *entry = sc_safetensors_find(file, name);
    if (!entry)
        fail_msg("the golden file has no tensor '%s'", name);
    assert_int_equal(entry->dtype, dtype);
    void *out = malloc(entry->bytes);
    assert_non_null(out);
    CHECK(sc_safetensors_read(file, entry, 0, out, entry->bytes));
    if (shape)
        *shape = entry->shape;
    if (elements)
        CHECK(sc_shape_elements(&entry->shape, elements));
    return out;
}

#endif
