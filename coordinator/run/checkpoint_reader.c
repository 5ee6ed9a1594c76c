#include "coordinator/run/checkpoint_internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct sc_checkpoint_reader {
    char *path;
    int n_shards;
    sc_safetensors **shards;
};

sc_status sc_checkpoint_reader_open(const char *path, const sc_manifest *manifest, sc_checkpoint_reader **out)
{
    char file[PATH_MAX];
    *out = NULL;
    sc_checkpoint_reader *self = calloc(1, sizeof *self);
    sc_status status = SC_OK;
    if (!self || !(self->path = strdup(path)) ||
        !(self->shards = calloc((size_t)manifest->n_shards, sizeof *self->shards))) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to read the checkpoint", path);
        goto failed;
    }
    self->n_shards = manifest->n_shards;
    for (int i = 0; i < self->n_shards; i++) {
        if (snprintf(file, sizeof file, "%s/%s", path, manifest->shards[i].file) >= (int)sizeof file) {
            status = SC_FAIL(SC_INVALID, "%s: the path is too long", path);
            goto failed;
        }
        SC_TRY_GOTO(status, sc_safetensors_open(file, &self->shards[i]), failed);
    }
    *out = self;
    return SC_OK;
failed:
    sc_checkpoint_reader_close(&self);
    return status;
}

void sc_checkpoint_reader_close(sc_checkpoint_reader **self_p)
{
    sc_checkpoint_reader *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    for (int i = 0; i < self->n_shards; i++)
        sc_safetensors_close(&self->shards[i]);
    free(self->shards);
    free(self->path);
    free(self);
}

sc_status sc_checkpoint_reader_read(const sc_checkpoint_reader *self, const char *name, const sc_shape *shape,
                                    uint64_t from, void *out, size_t n)
{
    char expected[96], found[96];
    sc_shape_text(shape, expected, sizeof expected);
    for (int i = 0; i < self->n_shards; i++) {
        const sc_safetensors_entry *entry = sc_safetensors_find(self->shards[i], name);
        if (!entry)
            continue;
        sc_shape_text(&entry->shape, found, sizeof found);
        if (entry->dtype != SC_F32 || strcmp(expected, found) != 0)
            return SC_FAIL(SC_DATA_LOSS, "%s: %s is %s %s; the model needs float32 %s", self->path, name,
                           sc_dtype_name(entry->dtype), found, expected);
        return sc_safetensors_read(self->shards[i], entry, from, out, n);
    }
    return SC_FAIL(SC_DATA_LOSS, "%s: no shard has the tensor %s, float32 %s", self->path, name, expected);
}
