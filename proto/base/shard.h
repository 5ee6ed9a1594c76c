/* A shard: the file in which the state of one stage lies in a checkpoint. It is a safetensors file with the parameters under
 * the model's own names, and the optimizer's state as "optimizer.first_moment.<name>", "optimizer.second_moment.<name>".
 * The coordinator writes it from pieces that come over the wire, or the worker from its own memory: the bytes are the same.
 *
 * Declaring touches no disk; opening makes a temporary file, committing syncs, renames and hashes it (safetensors.h).
 * Thread: one at a time. */
#ifndef SC_SHARD_H
#define SC_SHARD_H

#include "proto/base/checksums.h"
#include "proto/base/tensor.h"

#include <stdbool.h>

enum { SC_SHARD_NAME_BYTES = 160 }; /* of a tensor: a parameter's name behind the prefix of a moment */

typedef struct sc_shard sc_shard;

/* The name of a tensor of the state: moment 0 is the parameter itself. Returns `text`. */
const char *sc_shard_tensor_name(const char *parameter, int moment, char text[SC_SHARD_NAME_BYTES]);

/* Of the state after optimizer step `step`. Returns owned. */
sc_status sc_shard_new(int64_t step, sc_shard **out);
/* Declares a float32 tensor; the order is that of the file. Errors: SC_FAILED_PRECONDITION once it is open; SC_INVALID. */
sc_status sc_shard_add(sc_shard *self, const char *name, const sc_shape *shape);
/* Once. Errors: as of the file system; of the declared tensors. */
sc_status sc_shard_open(sc_shard *self, const char *path);
bool sc_shard_is_open(const sc_shard *self);
/* Bytes [from, from + n) of a tensor. Errors: as sc_safetensors_writer_write. */
sc_status sc_shard_write(sc_shard *self, const char *name, uint64_t from, const void *data, size_t n);
/* All is there: it goes to the disk under its name; *bytes and hash are those of what lies there, read back. */
sc_status sc_shard_commit(sc_shard *self, uint64_t *bytes, char hash[SC_CHECKSUM_BYTES]);
/* Removes what was not committed; the declarations stay. */
void sc_shard_close(sc_shard *self);
/* Closes, too. */
void sc_shard_destroy(sc_shard **self_p);

/* A copy of what is declared, not open. */
sc_status sc_shard_again(const sc_shard *self, sc_shard **out);

#endif
