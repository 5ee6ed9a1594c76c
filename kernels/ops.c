#include "kernels/ops.h"

#include <string.h>

sc_status sc_ops_find(const char *name, const sc_ops **out)
{
    *out = NULL;
    if (strcmp(name, "cpu") == 0)
        *out = &sc_ops_cpu;
    else if (strcmp(name, "reference") == 0)
        *out = &sc_ops_reference;
    else if (strcmp(name, "cuda") == 0)
        return SC_FAIL(SC_UNIMPLEMENTED,
                       "this build has no CUDA backend yet (kernels/cuda/README.md says what it takes); "
                       "use --device cpu");
    else
        return SC_FAIL(SC_INVALID, "no compute device is called '%s'; use cpu (or reference, which is slow)", name);
    return SC_OK;
}
