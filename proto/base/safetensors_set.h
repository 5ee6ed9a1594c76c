/* The tensors of a directory, in one safetensors file or in several. It is, in this order,
 *
 *   model.safetensors                that file
 *   model.safetensors.index.json     {"weight_map": {TENSOR: FILE, ...}}: those tensors, each in the file beside it that
 *                                    the index names (Hugging Face's sharded files)
 *   any *.safetensors                all of them, in the order of their names; of a tensor that several have, the first
 *
 * All files are opened, and with that checked, at once. Calls after open change nothing; thread: any. */
#ifndef SC_SAFETENSORS_SET_H
#define SC_SAFETENSORS_SET_H

#include "proto/base/safetensors.h"

typedef struct sc_safetensors_set sc_safetensors_set;

/* A tensor and the file that holds it; both borrowed from the set. */
typedef struct sc_safetensors_place {
    const sc_safetensors *file;
    const sc_safetensors_entry *entry;
} sc_safetensors_place;

/* Returns owned. Errors: SC_NOT_FOUND (no such file in the directory; a file that the index names is missing),
 * SC_DATA_LOSS (the index is no index; a tensor is not in the file that it names; as sc_safetensors_open),
 * SC_PERMISSION_DENIED. */
sc_status sc_safetensors_set_open(const char *dir, sc_safetensors_set **out);
void sc_safetensors_set_close(sc_safetensors_set **self_p);

/* Tensors, each once; 0 <= index < n. With an index in its order, else in the order of files and bytes. */
int sc_safetensors_set_n(const sc_safetensors_set *self);
sc_safetensors_place sc_safetensors_set_at(const sc_safetensors_set *self, int index);
/* Its index, -1 if there is no such tensor. */
int sc_safetensors_set_find(const sc_safetensors_set *self, const char *name);
/* A value of "__metadata__", from the first file that has it; NULL if none has. */
const char *sc_safetensors_set_metadata(const sc_safetensors_set *self, const char *key);

#endif
