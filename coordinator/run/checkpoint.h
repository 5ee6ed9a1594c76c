/* Checkpoints on disk: sets of shards that appear complete or not at all.
 *
 *   DIR/checkpoints/step-00000100/        a set; a name is never used again: a second save of a step is step-00000100.2
 *       stage-0.safetensors               one shard a stage: parameters under the model's own names, and the optimizer's
 *                                         state as "optimizer.first_moment.<name>", "optimizer.second_moment.<name>"
 *       config.json, stagecoach_tokenizer.json     so that a set is also a directory of weights
 *       manifest.json                     written last, with every shard's size and hash: a set without one is not there
 *
 * Each file: temporary name -> write -> fsync -> hash -> rename; the directory is synced; the manifest comes last, the same
 * way. Any partition can read any other's shards, for a tensor is found by its name in whichever shard has it.
 *
 * Saving is a writer with a thread of its own, so that a slow disk delays neither a step nor the wire. Its memory is bounded
 * by the pieces that the caller hands it (sc_checkpoint_writer_queued). */
#ifndef SC_CHECKPOINT_H
#define SC_CHECKPOINT_H

#include "coordinator/data/tokenizer.h"
#include "proto/base/config.h"
#include "proto/base/safetensors.h"
#include "proto/wire/buffer.h"

enum { SC_MANIFEST_VERSION = 1 };

/* What a manifest says besides its shards. Texts are owned by the manifest that they came with. */
typedef struct sc_manifest {
    int64_t step;  /* optimizer steps done */
    uint64_t rows; /* data cursor: training sequences consumed = step * batch_size */
    sc_model model;
    uint64_t seed;
    uint64_t data_hash;      /* xxh3 of the training token stream */
    uint64_t tokenizer_hash; /* xxh3 of stagecoach_tokenizer.json */
    int64_t batch_size, sequence_length;
    int optimizer; /* sc_optimizer_kind */
    char *config;  /* the resolved configuration, YAML */
    char *plan;    /* the plan of a training step, text form */
    int n_shards;
    struct sc_manifest_shard {
        char file[64];
        uint64_t bytes;
        char hash[33]; /* xxh3-128 of the file, hexadecimal */
    } * shards;
} sc_manifest;

void sc_manifest_clear(sc_manifest *self);
/* JSON text <-> manifest. Strict: unknown version (named, with the one that this build knows), missing or surplus keys, a
 * file name with a slash, sizes out of range. Any bytes are safe. `path` is for messages. sc_manifest_text returns owned. */
sc_status sc_manifest_parse(const char *text, size_t text_bytes, const char *path, sc_manifest *out);
sc_status sc_manifest_text(const sc_manifest *self, char **out);

/* ---- saving ---- */
typedef struct sc_checkpoint_writer sc_checkpoint_writer;

/* Begins a set in DIR/checkpoints (made if need be). Copies `manifest` (n_shards and shards are the writer's to fill) and
 * writes config.json and the tokenizer. Starts the thread. Returns owned. Errors: as of the file system. */
sc_status sc_checkpoint_writer_new(const char *dir, const sc_manifest *manifest, int n_shards,
                                   const sc_tokenizer *tokenizer, sc_checkpoint_writer **out);
/* Declares a float32 tensor of a shard. All of a shard's come before its first piece. */
sc_status sc_checkpoint_writer_declare(sc_checkpoint_writer *self, int shard, const char *name, const sc_shape *shape);
/* Hands over bytes [from, from + n) of a tensor; takes a reference of its own to `data`. Never blocks. */
sc_status sc_checkpoint_writer_piece(sc_checkpoint_writer *self, int shard, const char *name, uint64_t from,
                                     sc_buffer *data);
/* Bytes handed over and not yet written. */
uint64_t sc_checkpoint_writer_queued(sc_checkpoint_writer *self);
/* All pieces are there: sync, hash, rename, manifest. Never blocks. */
sc_status sc_checkpoint_writer_finish(sc_checkpoint_writer *self);
/* Whether the thread has come to an end, good or bad; then *status (with its message set for this thread). */
bool sc_checkpoint_writer_done(sc_checkpoint_writer *self, sc_status *status);
const char *sc_checkpoint_writer_path(const sc_checkpoint_writer *self); /* of the set */
/* Waits for the thread. A set that did not become complete is removed. */
void sc_checkpoint_writer_destroy(sc_checkpoint_writer **self_p);

/* ---- finding and reading ---- */
/* The sets of DIR that have a manifest, newest step first (of one step, the latest save first). */
typedef struct sc_checkpoint_list {
    int n;
    char **paths;
    int64_t *steps;
} sc_checkpoint_list;
sc_status sc_checkpoint_list_of(const char *dir, sc_checkpoint_list *out); /* none: n == 0, SC_OK */
void sc_checkpoint_list_clear(sc_checkpoint_list *self);

/* Reads the manifest of the set at `path` and, if `verify`, every byte of its shards.
 * Errors: SC_DATA_LOSS naming file and what is wrong (missing, size, hash); SC_FAILED_PRECONDITION (newer version). */
sc_status sc_checkpoint_check(const char *path, bool verify, sc_manifest *out);
/* The newest set of DIR that checks out; damaged ones are told in the log and passed over. SC_NOT_FOUND if there is none.
 * *path is owned by the caller. */
sc_status sc_checkpoint_newest(const char *dir, char **path, sc_manifest *out);
/* Removes sets beyond the `keep` newest complete ones, and leftovers without a manifest that are older than the newest. */
void sc_checkpoint_prune(const char *dir, int keep);

/* An open set: tensors by name, whichever shard they are in. */
typedef struct sc_checkpoint_reader sc_checkpoint_reader;
sc_status sc_checkpoint_reader_open(const char *path, const sc_manifest *manifest, sc_checkpoint_reader **out);
void sc_checkpoint_reader_close(sc_checkpoint_reader **self_p);
/* Reads bytes [from, from + n) of a float32 tensor with this shape. Errors: SC_DATA_LOSS naming tensor, expected, found. */
sc_status sc_checkpoint_reader_read(const sc_checkpoint_reader *self, const char *name, const sc_shape *shape,
                                    uint64_t from, void *out, size_t n);

#endif
