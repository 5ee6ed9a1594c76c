/* Reading and writing safetensors files: 8 bytes little-endian header length, a JSON header, the tensors' bytes.
 * One thread owns a reader or a writer; a reader's calls after open change nothing, so several may share it.
 * Reading checks every rule of the format: header cap (100 MB), no duplicate keys, known dtypes, shape x dtype = span,
 * spans in the file, no holes, no overlaps. A BOOL tensor is read as uint8.
 * Source: https://github.com/huggingface/safetensors, format section of the README. */
#ifndef SC_SAFETENSORS_H
#define SC_SAFETENSORS_H

#include "proto/base/tensor.h"

typedef struct sc_safetensors sc_safetensors; /* an open file, read-only */

typedef struct sc_safetensors_entry {
    char *name;
    sc_dtype dtype;
    sc_shape shape;
    uint64_t offset, bytes; /* from the start of the file */
} sc_safetensors_entry;

/* Returns owned. Errors: SC_NOT_FOUND, SC_PERMISSION_DENIED, SC_DATA_LOSS (breaks a rule, or has a dtype or more axes
 * than a tensor of ours can have; names file, tensor and rule). */
sc_status sc_safetensors_open(const char *path, sc_safetensors **out);
void sc_safetensors_close(sc_safetensors **self_p);
/* As it was given to open. */
const char *sc_safetensors_path(const sc_safetensors *self);
int sc_safetensors_n(const sc_safetensors *self);
/* In the order of their bytes; 0 <= index < n. */
const sc_safetensors_entry *sc_safetensors_at(const sc_safetensors *self, int index);
/* NULL if there is no such tensor. */
const sc_safetensors_entry *sc_safetensors_find(const sc_safetensors *self, const char *name);
/* Reads bytes [from, from + n) of a tensor by pread: a file that shrank is an error, no signal. */
sc_status sc_safetensors_read(const sc_safetensors *self, const sc_safetensors_entry *entry, uint64_t from, void *out,
                              size_t n);
/* A value of "__metadata__", NULL if absent. */
const char *sc_safetensors_metadata(const sc_safetensors *self, const char *key);

/* A file being written: declare all tensors, then write each piece in any order, then commit (fsync, rename over `path`,
 * fsync of the directory). Destroying without commit removes the temporary file. */
typedef struct sc_safetensors_writer sc_safetensors_writer;
sc_status sc_safetensors_writer_new(const char *path, sc_safetensors_writer **out);
sc_status sc_safetensors_writer_metadata(sc_safetensors_writer *self, const char *key, const char *value);
/* Before the first write. */
sc_status sc_safetensors_writer_add(sc_safetensors_writer *self, const char *name, sc_dtype dtype,
                                    const sc_shape *shape);
/* Bytes [from, from + n) of the tensor. Errors: SC_RESOURCE_EXHAUSTED (disk full), SC_OUT_OF_RANGE. */
sc_status sc_safetensors_writer_write(sc_safetensors_writer *self, const char *name, uint64_t from, const void *data,
                                      size_t n);
/* Errors: SC_FAILED_PRECONDITION if bytes of a tensor are missing. */
sc_status sc_safetensors_writer_commit(sc_safetensors_writer *self);
void sc_safetensors_writer_destroy(sc_safetensors_writer **self_p);

#endif
