/* The shard saver: a thread for the disk that a worker shares with its coordinator, so that neither training nor the wire waits
 * for it. It does one job at a time: it looks whether a directory is the one that is meant, or writes a shard from pieces
 * that the network thread hands over as room becomes free.
 *
 *      check ------------------------------------------------> result
 *      begin -> piece, piece, ... -> finish -----------------> result
 *                    cancel: the pieces there are go, the rest is not wanted; the thread comes free after the call to the
 *                    disk that it is in, which may be long on a slow one
 *
 * Thread: the network thread's, all functions; `notify` is called on the saver's when room or a result is there. */
#ifndef SC_SHARD_SAVER_H
#define SC_SHARD_SAVER_H

#include "proto/base/shard.h"
#include "proto/wire/buffer.h"

typedef struct sc_shard_saver sc_shard_saver;

typedef struct sc_shard_result {
    sc_status status;
    char message[512]; /* "" with SC_OK */
    uint64_t bytes;    /* of the shard, with its hash */
    char hash[SC_CHECKSUM_BYTES];
} sc_shard_result;

/* Returns owned, its thread running. */
sc_status sc_shard_saver_new(void (*notify)(void *context), void *context, sc_shard_saver **out);
/* Waits for the call to the disk that the thread is in. */
void sc_shard_saver_destroy(sc_shard_saver **self_p);

/* Whether the thread is free for a job: none is running, queued, or cancelled and still held up by the disk. */
bool sc_shard_saver_is_free(sc_shard_saver *self);
/* Whether `dir` holds the file SC_SHARED_TOKEN_FILE with `token`, and files can be made there. */
#define SC_SHARED_TOKEN_FILE ".stagecoach-token"
sc_status sc_shard_saver_check(sc_shard_saver *self, const char *dir, const char *token);
/* Takes `shard`, which is not open. Errors of both: SC_FAILED_PRECONDITION (not free), SC_RESOURCE_EXHAUSTED. */
sc_status sc_shard_saver_begin(sc_shard_saver *self, const char *path, sc_shard **shard);
/* Whether less than a few megabytes wait for the disk. */
bool sc_shard_saver_has_room(sc_shard_saver *self);
/* Takes `data`. Once the job has failed it is only let go. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_shard_saver_piece(sc_shard_saver *self, const char *name, uint64_t from, sc_buffer *data);
void sc_shard_saver_finish(sc_shard_saver *self);
/* No result comes of the job. Fine if there is none. */
void sc_shard_saver_cancel(sc_shard_saver *self);
/* The result of the job, once. */
bool sc_shard_saver_take_result(sc_shard_saver *self, sc_shard_result *out);

#endif
