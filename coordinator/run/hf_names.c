#include "coordinator/run/hf_names.h"

#include <stdio.h>
#include <string.h>

const char *sc_hf_names_decoder(const sc_model *model)
{
    return model->family == SC_BERT ? "cls.predictions.decoder.weight" : "lm_head.weight";
}

static bool begins(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static const char *end_of(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0 ? name + n - m : NULL;
}

const char *sc_hf_names_bare(const char *name)
{
    static const char *const prefixes[] = {"transformer.", "bert."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (begins(name, prefixes[i]))
            return name + strlen(prefixes[i]);
    return name;
}

static void add(sc_hf_name_list *list, const char *name, size_t n, const char *rest)
{
    char text[SC_NAME_BYTES]; /* a name of the list may be the beginning of the next */
    snprintf(text, sizeof text, "%.*s%s", (int)n, name, rest);
    memcpy(list->names[list->n++], text, sizeof text);
}

void sc_hf_names_of(const char *name, sc_hf_name_list *out)
{
    static const char *const ends[][2] = {{".LayerNorm.weight", ".LayerNorm.gamma"},
                                          {".LayerNorm.bias", ".LayerNorm.beta"}};
    const char *bare = sc_hf_names_bare(name);
    out->n = 0;
    add(out, name, strlen(name), "");
    if (bare != name)
        add(out, bare, strlen(bare), "");
    for (int i = 0, n = out->n; i < n; i++)
        for (size_t e = 0; e < sizeof ends / sizeof *ends; e++) {
            const char *end = end_of(out->names[i], ends[e][0]);
            if (end)
                add(out, out->names[i], (size_t)(end - out->names[i]), ends[e][1]);
        }
}

static bool is_mask(const char *bare)
{
    if (!begins(bare, "h."))
        return false;
    const char *rest = bare + 2 + strspn(bare + 2, "0123456789");
    return rest > bare + 2 && (strcmp(rest, ".attn.bias") == 0 || strcmp(rest, ".attn.masked_bias") == 0);
}

sc_hf_surplus sc_hf_names_surplus(const char *name)
{
    if (begins(name, "optimizer."))
        return SC_HF_OPTIMIZER;
    const char *bare = sc_hf_names_bare(name);
    bool made = is_mask(bare) || strcmp(bare, "embeddings.position_ids") == 0 ||
                strcmp(name, "cls.predictions.decoder.bias") == 0;
    return made ? SC_HF_MADE : SC_HF_UNKNOWN;
}
