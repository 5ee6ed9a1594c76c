/* Checkpoints on disk: sets of shards that appear complete or not at all.
 *
 *   DIR/checkpoints/step-00000100/        a set
 *       stage-0.safetensors               one shard a stage (shard.h)
 *       config.json, stagecoach_tokenizer.json     so that a set is also a directory of weights
 *       manifest.json                     written last, with every shard's size and hash: a set without one is not there
 *   DIR/shared-checkpoints -> checkpoint.dir       sets in a directory that the hosts of all workers share: there each
 *                                         worker writes its own shard, and the coordinator the rest
 *
 * A name is never used again, not after a save that failed (its directory stays, empty), a return to an older step, or a
 * new start: a save of a step that is not higher than any that a set was ever named after has the number of the save
 * behind it, step-00000100.7, and the sets with the highest step and the highest number stay.
 *
 * Each file: temporary name -> write -> fsync -> rename; the directory is synced; what is in the files is read back and
 * hashed; the manifest comes last, the same way. Any partition can read any other's shards, for a tensor is found by its name in whichever shard has it.
 *
 * Saving is a writer with a thread of its own, so that a slow disk delays neither a step nor the wire: no function here but
 * those that find and read sets waits for the disk. Its memory is bounded by the pieces that the caller hands it
 * (sc_checkpoint_writer_queued). */
#ifndef SC_CHECKPOINT_H
#define SC_CHECKPOINT_H

#include "coordinator/data/labels.h"
#include "coordinator/data/tokenizer.h"
#include "coordinator/run/best.h"
#include "proto/base/config.h"
#include "proto/base/safetensors.h"
#include "proto/wire/buffer.h"

enum { SC_MANIFEST_VERSION = 1 };

/* What a manifest says besides its shards. Texts are owned by the manifest that they came with. */
typedef struct sc_manifest {
    uint64_t save; /* a number that grows with each save of a run; the writer's to fill */
    int64_t step;  /* optimizer steps done */
    uint64_t rows; /* data cursor: training sequences consumed = step * batch_size */
    sc_model model;
    uint64_t seed;
    uint64_t data_hash;        /* xxh3 of the training token stream */
    uint64_t tokenizer_hash;   /* xxh3 of stagecoach_tokenizer.json; the writer's to fill */
    uint64_t description_hash; /* xxh3 of config.json; the writer's to fill */
    int64_t batch_size, sequence_length;
    int optimizer; /* sc_optimizer_kind */
    sc_best best;  /* as it was known when the save began; metric SC_METRIC_NONE: nothing is */
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
/* JSON text <-> manifest. The text ends in a hash of the rest. Strict: unknown version (named, with the one that this
 * build knows), missing or surplus keys, a file name with a slash, sizes out of range, another hash. Any bytes are safe.
 * `path` is for messages. sc_manifest_text returns owned; it refuses what parsing would refuse.
 * Errors: SC_DATA_LOSS; SC_FAILED_PRECONDITION (newer version); SC_INVALID (text: the manifest itself). */
sc_status sc_manifest_parse(const char *text, size_t text_bytes, const char *path, sc_manifest *out);
sc_status sc_manifest_text(const sc_manifest *self, char **out);

/* The file of a worker's shard in a set. Returns `name`. */
const char *sc_checkpoint_shard_name(int rank, char *name, size_t name_bytes);

/* ---- saving ---- */
typedef struct sc_checkpoint_writer sc_checkpoint_writer;

typedef enum sc_checkpoint_place {
    SC_CHECKPOINT_IN_RUN, /* DIR/checkpoints, made if need be */
    SC_CHECKPOINT_SHARED, /* DIR/shared-checkpoints, which is there */
} sc_checkpoint_place;

/* Begins a set of DIR. Copies `manifest` (save, n_shards and shards too are the writer's to fill); borrows the tokenizer
 * and the labels (NULL: none) until it is destroyed. Starts the thread, which makes the directory and writes config.json and the tokenizer first.
 * Returns owned. One thread calls a writer. Errors: SC_INVALID, SC_RESOURCE_EXHAUSTED; those of the disk are told by
 * sc_checkpoint_writer_done. */
sc_status sc_checkpoint_writer_new(const char *dir, sc_checkpoint_place place, const sc_manifest *manifest,
                                   int n_shards, const sc_tokenizer *tokenizer, const sc_labels *labels,
                                   sc_checkpoint_writer **out);
/* A new writer for what a writer that has failed should have written: the same manifest and declarations, another
 * directory. The old one is still the caller's to destroy. */
sc_status sc_checkpoint_writer_again(sc_checkpoint_writer *ended, sc_checkpoint_writer **out);
/* Declares a float32 tensor of a shard. All of a shard's come before its first piece. */
sc_status sc_checkpoint_writer_declare(sc_checkpoint_writer *self, int shard, const char *name, const sc_shape *shape);
/* Hands over the bytes of a tensor that begin at byte `from`; takes a reference of its own to `data`. Never blocks on the
 * disk. Errors: the thread's, if it has failed already: the set is lost, and the rest need not be sent. */
sc_status sc_checkpoint_writer_piece(sc_checkpoint_writer *self, int shard, const char *name, uint64_t from,
                                     sc_buffer *data);
/* A worker has written this shard into the set's directory: its size and hash. It has no pieces then. */
sc_status sc_checkpoint_writer_reported(sc_checkpoint_writer *self, int shard, uint64_t bytes, const char *hash);
/* Bytes handed over and not yet written. */
uint64_t sc_checkpoint_writer_queued(sc_checkpoint_writer *self);
/* All pieces and reports are there: sync, rename, hash, manifest. Never blocks on the disk. */
sc_status sc_checkpoint_writer_finish(sc_checkpoint_writer *self);
/* Whether the thread has come to an end, good or bad; then *status (with its message set for this thread). */
bool sc_checkpoint_writer_done(sc_checkpoint_writer *self, sc_status *status);
/* Of the set; NULL until its directory, config.json and tokenizer are there. */
const char *sc_checkpoint_writer_path(sc_checkpoint_writer *self);
/* Unless it is finished, the set is given up: the thread comes to its end after the write in hand. */
void sc_checkpoint_writer_cancel(sc_checkpoint_writer *self);
/* Waits for the thread: for the manifest after sc_checkpoint_writer_finish, else only for the write in hand. The files of a
 * set that did not become complete are removed. */
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

/* Reads the manifest of the set at `path`, looks for its files and, if `verify`, reads every byte of them.
 * Errors: SC_DATA_LOSS naming file and what is wrong (missing, size, hash); SC_FAILED_PRECONDITION (newer version);
 * SC_NOT_FOUND (no manifest); what else the file system says. After an error *out holds nothing. */
sc_status sc_checkpoint_check(const char *path, bool verify, sc_manifest *out);
/* The newest set of DIR that checks out; damaged ones are told in the log and passed over. *path is owned by the caller.
 * Errors: SC_NOT_FOUND if there is no set; SC_DATA_LOSS if there are some and all are damaged; another if a set may be
 * good but cannot be read here (SC_FAILED_PRECONDITION: by a newer version): an older one is then not what was meant. */
sc_status sc_checkpoint_newest(const char *dir, char **path, sc_manifest *out);
/* Removes sets beyond the `keep` (at least 2) that were saved last, and leftovers, without a manifest or damaged, that are
 * older than the newest of these and were begun before the last. The order of saving counts here, not the step: after a
 * return to an older step the sets of the road not taken must not push out the new ones. The newest step is kept in any
 * case, and so is step `pinned` (0: none is). Not while a set is being written. */
void sc_checkpoint_prune(const char *dir, int keep, int64_t pinned);

/* An open set: tensors by name, whichever shard they are in. Several threads may read at once. */
typedef struct sc_checkpoint_reader sc_checkpoint_reader;
sc_status sc_checkpoint_reader_open(const char *path, const sc_manifest *manifest, sc_checkpoint_reader **out);
void sc_checkpoint_reader_close(sc_checkpoint_reader **self_p);
/* Reads bytes [from, from + n) of a float32 tensor with this shape. Errors: SC_DATA_LOSS naming tensor, expected, found. */
sc_status sc_checkpoint_reader_read(const sc_checkpoint_reader *self, const char *name, const sc_shape *shape,
                                    uint64_t from, void *out, size_t n);

#endif
