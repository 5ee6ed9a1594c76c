#include "coordinator/run/hf_names.h"

#include <stdbool.h>
#include <string.h>

const char *sc_hf_names_bare(const char *name)
{
    static const char prefix[] = "transformer.";
    return strncmp(name, prefix, sizeof prefix - 1) == 0 ? name + sizeof prefix - 1 : name;
}

sc_hf_surplus sc_hf_names_surplus(const char *name)
{
    static const char optimizer[] = "optimizer.";
    if (strncmp(name, optimizer, sizeof optimizer - 1) == 0)
        return SC_HF_OPTIMIZER;
    const char *bare = sc_hf_names_bare(name);
    if (strncmp(bare, "h.", 2) != 0)
        return SC_HF_UNKNOWN;
    const char *rest = bare + 2 + strspn(bare + 2, "0123456789");
    bool is_mask = strcmp(rest, ".attn.bias") == 0 || strcmp(rest, ".attn.masked_bias") == 0;
    return rest > bare + 2 && is_mask ? SC_HF_MASK : SC_HF_UNKNOWN;
}
