#include "proto/base/shard.h"

#include "proto/base/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tensor {
    char name[SC_SHARD_NAME_BYTES];
    sc_shape shape;
} tensor;

struct sc_shard {
    int64_t step;
    tensor *tensors;
    size_t n, capacity;
    char *path;
    sc_safetensors_writer *file; /* NULL: not open */
};

static sc_status out_of_memory(void)
{
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a checkpoint's shard");
}

const char *sc_shard_tensor_name(const char *parameter, int moment, char text[SC_SHARD_NAME_BYTES])
{
    static const char *const prefixes[] = {"", "optimizer.first_moment.", "optimizer.second_moment."};
    snprintf(text, SC_SHARD_NAME_BYTES, "%s%s", prefixes[moment], parameter);
    return text;
}

sc_status sc_shard_new(int64_t step, sc_shard **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return out_of_memory();
    (*out)->step = step;
    return SC_OK;
}

sc_status sc_shard_add(sc_shard *self, const char *name, const sc_shape *shape)
{
    if (self->file)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s: '%s' is declared after the shard was opened", self->path, name);
    if (strlen(name) >= SC_SHARD_NAME_BYTES)
        return SC_FAIL(SC_INVALID, "the name of a tensor has %zu bytes; at most %d are allowed", strlen(name),
                       SC_SHARD_NAME_BYTES - 1);
    for (size_t i = 0; i < self->n; i++)
        if (strcmp(self->tensors[i].name, name) == 0)
            return SC_FAIL(SC_INVALID, "a shard has the tensor '%s' already", name);
    if (self->n == self->capacity) {
        size_t capacity = self->capacity ? 2 * self->capacity : 64;
        tensor *tensors = realloc(self->tensors, capacity * sizeof *tensors);
        if (!tensors)
            return out_of_memory();
        self->tensors = tensors;
        self->capacity = capacity;
    }
    tensor *t = &self->tensors[self->n++];
    *t = (tensor){.shape = *shape};
    strcpy(t->name, name);
    return SC_OK;
}

sc_status sc_shard_open(sc_shard *self, const char *path)
{
    char step[32];
    snprintf(step, sizeof step, "%" PRId64, self->step);
    self->path = strdup(path);
    if (!self->path)
        return out_of_memory();
    SC_TRY(sc_safetensors_writer_new(path, &self->file));
    SC_TRY(sc_safetensors_writer_metadata(self->file, "format", "pt"));
    SC_TRY(sc_safetensors_writer_metadata(self->file, "step", step));
    for (size_t i = 0; i < self->n; i++)
        SC_TRY(sc_safetensors_writer_add(self->file, self->tensors[i].name, SC_F32, &self->tensors[i].shape));
    return SC_OK;
}

void sc_shard_close(sc_shard *self)
{
    sc_safetensors_writer_destroy(&self->file);
}

bool sc_shard_is_open(const sc_shard *self)
{
    return self->file != NULL;
}

sc_status sc_shard_write(sc_shard *self, const char *name, uint64_t from, const void *data, size_t n)
{
    return sc_safetensors_writer_write(self->file, name, from, data, n);
}

sc_status sc_shard_commit(sc_shard *self, uint64_t *bytes, char hash[SC_CHECKSUM_BYTES])
{
    SC_TRY(sc_safetensors_writer_commit(self->file));
    return sc_checksum_of_file(self->path, bytes, hash);
}

void sc_shard_destroy(sc_shard **self_p)
{
    sc_shard *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    sc_safetensors_writer_destroy(&self->file);
    free(self->tensors);
    free(self->path);
    free(self);
}

sc_status sc_shard_again(const sc_shard *self, sc_shard **out)
{
    SC_TRY(sc_shard_new(self->step, out));
    sc_status status = SC_OK;
    for (size_t i = 0; status == SC_OK && i < self->n; i++)
        status = sc_shard_add(*out, self->tensors[i].name, &self->tensors[i].shape);
    if (status != SC_OK)
        sc_shard_destroy(out);
    return status;
}
