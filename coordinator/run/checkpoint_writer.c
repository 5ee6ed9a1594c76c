/* The writer of one set.
 *
 * The caller's thread declares tensors, and puts pieces into a queue. The writer's thread does all that touches the disk:
 *
 *     the directory, under a new name -> config.json, tokenizer -> pieces as they come
 *         -> (finish) each shard: sync, rename, read back, hash -> manifest
 *
 * A shard that a worker writes itself has no pieces; the worker's word of its size and hash takes their place. A shard's
 * declarations are the caller's until its first piece is queued, the thread's from then on; the queue's lock lies
 * between. What failed once is not tried again: after an error of fsync nobody knows what is on the disk, so the set is
 * given up, and whoever wants another goes on with sc_checkpoint_writer_again: new files in a new directory. */
#include "coordinator/run/checkpoint_internal.h"

#include "coordinator/run/hf_config.h"
#include "proto/base/disk.h"
#include "proto/base/files.h"
#include "proto/base/shard.h"
#include "proto/base/thread.h"
#include "proto/wire/piece_queue.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct shard {
    sc_shard *file;
    bool begun;    /* a piece was queued: the thread's from then on */
    bool reported; /* written by a worker, with this size and hash */
    uint64_t bytes;
    char hash[SC_CHECKSUM_BYTES];
} shard;

struct sc_checkpoint_writer {
    char *dir;
    sc_checkpoint_place place;
    sc_manifest manifest; /* the thread's while it runs */
    const sc_tokenizer *tokenizer;
    const sc_labels *labels; /* NULL: none */
    int n_shards;
    shard *shards;
    pthread_t thread;
    bool started;
    char path[PATH_MAX]; /* of the set; the thread writes it, before `placed` */
    sc_piece_queue *queue;
    bool finishing; /* the caller's */

    pthread_mutex_t lock; /* guards what follows; held for a few instructions */
    bool placed;          /* the set's directory and the files that describe it are there */
    bool ended;
    sc_status status; /* once ended */
    char message[1024];
};

static sc_status out_of_memory(const char *path)
{
    return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to save the checkpoint", path);
}

static void file_in(const sc_checkpoint_writer *self, const char *name, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%.*s/%s", PATH_MAX - 80, self->path, name); /* make_set saw to it that this fits */
}

/* --- the thread --------------------------------------------------------------------------------------------------------- */

/* Only directories that are not there yet: what is in a set stays as it is, complete or not. */
static sc_status make_directory(const char *path, bool *made)
{
    *made = sc_disk_get()->mkdir(path, 0777) == 0;
    if (*made || errno == EEXIST)
        return SC_OK;
    int error = errno;
    return SC_FAIL(sc_files_status(error), "%s: cannot be made: %s", path, strerror(error));
}

static sc_status make_set(sc_checkpoint_writer *self)
{
    char sets[PATH_MAX], name[SC_CHECKPOINT_NAME_BYTES];
    bool made = false;
    /* 128: the name of the set, and of a temporary file in it */
    int length = snprintf(sets, sizeof sets, "%s/%s", self->dir, sc_checkpoint_place_name(self->place));
    if (length < 0 || (size_t)length + 128 > sizeof sets)
        return SC_FAIL(SC_INVALID, "the path of the checkpoints' directory is too long");
    if (self->place == SC_CHECKPOINT_IN_RUN) /* a shared one is there, or its disk is not */
        SC_TRY(make_directory(sets, &made));
    uint64_t save = 0;
    for (made = false; !made;) {
        SC_TRY(sc_checkpoint_next(self->dir, save, self->manifest.step, &self->manifest.save, name));
        save = self->manifest.save;
        snprintf(self->path, sizeof self->path, "%.*s/%s", length, sets, name);
        SC_TRY(make_directory(self->path, &made));
    }
    return SC_OK;
}

static sc_status write_companions(sc_checkpoint_writer *self)
{
    char path[PATH_MAX];
    file_in(self, SC_CHECKPOINT_MODEL, path);
    SC_TRY(sc_hf_config_save(&self->manifest.model, SC_F32, self->labels, path));
    SC_TRY(sc_checksum64_of_file(path, &self->manifest.description_hash));
    file_in(self, SC_CHECKPOINT_TOKENIZER, path);
    SC_TRY(sc_tokenizer_save(self->tokenizer, path));
    SC_TRY(sc_checksum64_of_file(path, &self->manifest.tokenizer_hash));
    pthread_mutex_lock(&self->lock);
    self->placed = true;
    pthread_mutex_unlock(&self->lock);
    return SC_OK;
}

static sc_status open_shard(sc_checkpoint_writer *self, int index)
{
    char path[PATH_MAX];
    if (sc_shard_is_open(self->shards[index].file))
        return SC_OK;
    file_in(self, self->manifest.shards[index].file, path);
    return sc_shard_open(self->shards[index].file, path);
}

static sc_status write_piece(sc_checkpoint_writer *self, const sc_piece *p)
{
    SC_TRY(open_shard(self, p->shard));
    return sc_shard_write(self->shards[p->shard].file, p->name, p->from, sc_buffer_data(p->data),
                          sc_buffer_bytes(p->data));
}

static sc_status write_pieces(sc_checkpoint_writer *self)
{
    sc_status status = SC_OK;
    for (sc_piece *p; status == SC_OK && (p = sc_piece_queue_take(self->queue));) {
        status = write_piece(self, p);
        sc_piece_queue_done(self->queue, &p);
    }
    if (status == SC_OK && sc_piece_queue_is_shut(self->queue))
        status = SC_FAIL(SC_CANCELLED, "%s: the save was given up before its end", self->path);
    return status;
}

/* A worker's shard has to be seen from here, too. */
static sc_status check_reported(sc_checkpoint_writer *self, int index)
{
    char path[PATH_MAX];
    struct stat info;
    file_in(self, self->manifest.shards[index].file, path);
    if (stat(path, &info) != 0) {
        int error = errno;
        return SC_FAIL(sc_files_status(error), "%s: a worker has written it, but here it cannot be read: %s", path,
                       strerror(error));
    }
    if ((uint64_t)info.st_size != self->shards[index].bytes)
        return SC_FAIL(SC_DATA_LOSS, "%s: a worker has written %llu bytes, here it has %llu", path,
                       (unsigned long long)self->shards[index].bytes, (unsigned long long)info.st_size);
    return SC_OK;
}

static sc_status commit_shards(sc_checkpoint_writer *self)
{
    for (int i = 0; i < self->n_shards; i++) {
        shard *s = &self->shards[i];
        if (s->reported) {
            SC_TRY(check_reported(self, i));
        } else {
            SC_TRY(open_shard(self, i));
            SC_TRY(sc_shard_commit(s->file, &s->bytes, s->hash));
        }
        self->manifest.shards[i].bytes = s->bytes;
        memcpy(self->manifest.shards[i].hash, s->hash, sizeof s->hash);
    }
    return SC_OK;
}

static sc_status write_manifest(sc_checkpoint_writer *self)
{
    char path[PATH_MAX], *text;
    /* The set's own name first: a manifest in a directory that a power cut takes away would be worth nothing. */
    snprintf(path, sizeof path, "%s/%s", self->dir, sc_checkpoint_place_name(self->place));
    SC_TRY(sc_files_sync_directory(path));
    SC_TRY(sc_files_sync_directory(self->dir));
    SC_TRY(sc_manifest_text(&self->manifest, &text));
    file_in(self, SC_CHECKPOINT_MANIFEST, path);
    sc_status status = sc_files_replace(path, text, strlen(text));
    free(text);
    return status;
}

static sc_status write_set(sc_checkpoint_writer *self)
{
    SC_TRY(make_set(self));
    SC_TRY(write_companions(self));
    SC_TRY(write_pieces(self));
    SC_TRY(commit_shards(self));
    return write_manifest(self);
}

/* The files of a set that did not become complete go; its directory stays, for the name is used. */
static void give_up(sc_checkpoint_writer *self)
{
    for (int i = 0; i < self->n_shards; i++)
        if (sc_shard_is_open(self->shards[i].file))
            sc_shard_close(self->shards[i].file);
    if (self->path[0])
        sc_checkpoint_empty(self->path);
}

static void *run(void *context)
{
    sc_checkpoint_writer *self = context;
    sc_status status = write_set(self);
    char message[sizeof self->message] = "";
    if (status != SC_OK) {
        snprintf(message, sizeof message, "%s", sc_status_message());
        give_up(self);
    }
    pthread_mutex_lock(&self->lock);
    self->ended = true;
    self->status = status;
    memcpy(self->message, message, sizeof message);
    pthread_mutex_unlock(&self->lock);
    sc_piece_queue_shut(self->queue); /* after an error pieces may be there */
    return NULL;
}

/* --- the caller's side --------------------------------------------------------------------------------------------------- */

const char *sc_checkpoint_shard_name(int rank, char *name, size_t name_bytes)
{
    snprintf(name, name_bytes, "stage-%d.safetensors", rank);
    return name;
}

static sc_status copy_manifest(sc_checkpoint_writer *self, const sc_manifest *from)
{
    sc_manifest *to = &self->manifest;
    *to = *from;
    to->config = strdup(from->config ? from->config : "");
    to->plan = strdup(from->plan ? from->plan : "");
    to->n_shards = self->n_shards;
    to->shards = calloc((size_t)self->n_shards, sizeof *to->shards);
    if (!to->config || !to->plan || !to->shards)
        return out_of_memory(self->dir);
    for (int i = 0; i < self->n_shards; i++)
        sc_checkpoint_shard_name(i, to->shards[i].file, sizeof to->shards[i].file);
    return SC_OK;
}

static sc_status make_shards(sc_checkpoint_writer *self, const sc_checkpoint_writer *like)
{
    self->shards = calloc((size_t)self->n_shards, sizeof *self->shards);
    if (!self->shards)
        return out_of_memory(self->dir);
    for (int i = 0; i < self->n_shards; i++)
        SC_TRY(like ? sc_shard_again(like->shards[i].file, &self->shards[i].file)
                    : sc_shard_new(self->manifest.step, &self->shards[i].file));
    return SC_OK;
}

/* `like`: NULL, or a writer whose declarations are taken over. */
static sc_status make(const char *dir, sc_checkpoint_place place, const sc_manifest *manifest, int n_shards,
                      const sc_tokenizer *tokenizer, const sc_labels *labels, const sc_checkpoint_writer *like,
                      sc_checkpoint_writer **out)
{
    *out = NULL;
    sc_checkpoint_writer *self = calloc(1, sizeof *self);
    if (!self)
        return out_of_memory(dir);
    pthread_mutex_init(&self->lock, NULL);
    self->place = place;
    self->n_shards = n_shards;
    self->tokenizer = tokenizer;
    self->labels = labels;
    self->dir = strdup(dir);
    sc_status status = self->dir ? SC_OK : out_of_memory(dir);
    if (status != SC_OK)
        goto failed;
    SC_TRY_GOTO(status, copy_manifest(self, manifest), failed);
    SC_TRY_GOTO(status, make_shards(self, like), failed);
    SC_TRY_GOTO(status, sc_piece_queue_new(&self->queue), failed);
    sc_piece_queue_open(self->queue);
    SC_TRY_GOTO(status, sc_thread_start(&self->thread, "checkpoint", run, self), failed);
    self->started = true;
    *out = self;
    return SC_OK;
failed:
    sc_checkpoint_writer_destroy(&self);
    return status;
}

sc_status sc_checkpoint_writer_new(const char *dir, sc_checkpoint_place place, const sc_manifest *manifest,
                                   int n_shards, const sc_tokenizer *tokenizer, const sc_labels *labels,
                                   sc_checkpoint_writer **out)
{
    *out = NULL;
    if (n_shards < 1 || n_shards > SC_MAX_STAGES)
        return SC_FAIL(SC_INVALID, "a checkpoint of %d shards; from 1 to %d are allowed", n_shards, SC_MAX_STAGES);
    return make(dir, place, manifest, n_shards, tokenizer, labels, NULL, out);
}

sc_status sc_checkpoint_writer_again(sc_checkpoint_writer *ended, sc_checkpoint_writer **out)
{
    return make(ended->dir, ended->place, &ended->manifest, ended->n_shards, ended->tokenizer, ended->labels, ended,
                out);
}

static sc_status check_shard(const sc_checkpoint_writer *self, int index)
{
    return index >= 0 && index < self->n_shards
               ? SC_OK
               : SC_FAIL(SC_INVALID, "%s: there is no shard %d of %d", self->dir, index, self->n_shards);
}

sc_status sc_checkpoint_writer_declare(sc_checkpoint_writer *self, int index, const char *name, const sc_shape *shape)
{
    SC_TRY(check_shard(self, index));
    if (self->shards[index].begun)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s: shard %d has pieces already; declare '%s' before them", self->dir,
                       index, name);
    return sc_shard_add(self->shards[index].file, name, shape);
}

/* Whether the thread still takes anything. */
static sc_status check_open(sc_checkpoint_writer *self)
{
    sc_status status;
    if (sc_checkpoint_writer_done(self, &status) && status != SC_OK)
        return status;
    if (self->finishing)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s: the set was finished already", self->dir);
    return SC_OK;
}

sc_status sc_checkpoint_writer_piece(sc_checkpoint_writer *self, int index, const char *name, uint64_t from,
                                     sc_buffer *data)
{
    SC_TRY(check_shard(self, index));
    SC_TRY(check_open(self));
    self->shards[index].begun = true;
    return sc_piece_queue_put(self->queue, index, name, from, sc_buffer_ref(data));
}

sc_status sc_checkpoint_writer_reported(sc_checkpoint_writer *self, int index, uint64_t bytes, const char *hash)
{
    SC_TRY(check_shard(self, index));
    if (strlen(hash) != SC_CHECKSUM_BYTES - 1)
        return SC_FAIL(SC_INVALID, "shard %d: \"%.64s\" is no hash", index, hash);
    SC_TRY(check_open(self));
    shard *s = &self->shards[index];
    if (s->begun)
        return SC_FAIL(SC_FAILED_PRECONDITION, "shard %d comes in pieces; a worker cannot have written it", index);
    s->begun = s->reported = true;
    s->bytes = bytes;
    memcpy(s->hash, hash, sizeof s->hash);
    return SC_OK;
}

uint64_t sc_checkpoint_writer_queued(sc_checkpoint_writer *self)
{
    return sc_piece_queue_bytes(self->queue);
}

sc_status sc_checkpoint_writer_finish(sc_checkpoint_writer *self)
{
    sc_status status = check_open(self);
    self->finishing = true;
    for (int i = 0; i < self->n_shards; i++)
        self->shards[i].begun = true;
    sc_piece_queue_close(self->queue);
    return status;
}

bool sc_checkpoint_writer_done(sc_checkpoint_writer *self, sc_status *status)
{
    pthread_mutex_lock(&self->lock);
    bool ended = self->ended;
    pthread_mutex_unlock(&self->lock);
    if (ended) /* nobody writes to these any more */
        *status = self->status == SC_OK ? SC_OK : SC_FAIL(self->status, "%s", self->message);
    return ended;
}

const char *sc_checkpoint_writer_path(sc_checkpoint_writer *self)
{
    pthread_mutex_lock(&self->lock);
    bool placed = self->placed;
    pthread_mutex_unlock(&self->lock);
    return placed ? self->path : NULL;
}

void sc_checkpoint_writer_cancel(sc_checkpoint_writer *self)
{
    if (!self->finishing)
        sc_piece_queue_shut(self->queue);
}

void sc_checkpoint_writer_destroy(sc_checkpoint_writer **self_p)
{
    sc_checkpoint_writer *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    if (self->started) {
        sc_checkpoint_writer_cancel(self);
        pthread_join(self->thread, NULL);
    }
    for (int i = 0; self->shards && i < self->n_shards; i++)
        sc_shard_destroy(&self->shards[i].file);
    sc_manifest_clear(&self->manifest);
    free(self->shards);
    free(self->dir);
    sc_piece_queue_destroy(&self->queue);
    pthread_mutex_destroy(&self->lock);
    free(self);
}
