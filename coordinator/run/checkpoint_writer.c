/* The writer of one set.
 *
 * The caller's thread makes the directory and the shards' files, declares tensors, and puts pieces into a queue. The
 * writer's thread does all that may take long:
 *
 *     config.json, tokenizer -> pieces as they come -> (finish) each shard: sync, rename -> read back, hash -> manifest
 *
 * A shard's sc_safetensors_writer is the caller's until its first piece is queued, the thread's from then on; the queue's
 * lock lies between. What failed once is not tried again: after an error of fsync nobody knows what is on the disk, so
 * the set is given up, and the next save begins with new files. */
#include "coordinator/run/checkpoint_internal.h"
#include "coordinator/run/checksums.h"

#include "coordinator/data/files.h"
#include "coordinator/run/hf_config.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct piece {
    struct piece *next;
    int shard;
    uint64_t from;
    sc_buffer *data;
    char name[]; /* of the tensor */
} piece;

typedef struct shard {
    sc_safetensors_writer *file;
    bool begun; /* a piece was queued: the thread's from then on */
} shard;

struct sc_checkpoint_writer {
    char *dir, *path;
    sc_manifest manifest; /* the thread's while it runs */
    const sc_tokenizer *tokenizer;
    int n_shards;
    shard *shards;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock; /* guards what follows; held for a few instructions */
    pthread_cond_t changed;
    piece *first, **last;
    uint64_t queued_bytes;
    bool finishing, cancelled;
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
    snprintf(path, PATH_MAX, "%s/%s", self->path, name); /* make_set saw to it that this fits */
}

/* --- the thread --------------------------------------------------------------------------------------------------------- */

/* The next piece, waiting for one. NULL: there will be none, or the set was given up. */
static piece *take(sc_checkpoint_writer *self)
{
    pthread_mutex_lock(&self->lock);
    while (!self->first && !self->finishing && !self->cancelled)
        pthread_cond_wait(&self->changed, &self->lock);
    piece *p = self->cancelled ? NULL : self->first;
    if (p && !(self->first = p->next))
        self->last = &self->first;
    pthread_mutex_unlock(&self->lock);
    return p;
}

static void release(sc_checkpoint_writer *self, piece *p)
{
    pthread_mutex_lock(&self->lock);
    self->queued_bytes -= sc_buffer_bytes(p->data);
    pthread_mutex_unlock(&self->lock);
    sc_buffer_unref(&p->data);
    free(p);
}

static sc_status write_companions(sc_checkpoint_writer *self)
{
    char path[PATH_MAX];
    file_in(self, SC_CHECKPOINT_MODEL, path);
    SC_TRY(sc_hf_config_save(&self->manifest.model, SC_F32, path));
    SC_TRY(sc_checkpoint_hash_file(path, &self->manifest.description_hash));
    file_in(self, SC_CHECKPOINT_TOKENIZER, path);
    SC_TRY(sc_tokenizer_save(self->tokenizer, path));
    return sc_checkpoint_hash_file(path, &self->manifest.tokenizer_hash);
}

static sc_status write_pieces(sc_checkpoint_writer *self)
{
    sc_status status = SC_OK;
    for (piece *p; status == SC_OK && (p = take(self));) {
        status = sc_safetensors_writer_write(self->shards[p->shard].file, p->name, p->from, sc_buffer_data(p->data),
                                             sc_buffer_bytes(p->data));
        release(self, p);
    }
    if (status != SC_OK)
        return status;
    pthread_mutex_lock(&self->lock);
    bool cancelled = self->cancelled;
    pthread_mutex_unlock(&self->lock);
    return cancelled ? SC_FAIL(SC_CANCELLED, "%s: the save was given up before its end", self->path) : SC_OK;
}

static sc_status commit_shards(sc_checkpoint_writer *self)
{
    char path[PATH_MAX];
    for (int i = 0; i < self->n_shards; i++)
        SC_TRY(sc_safetensors_writer_commit(self->shards[i].file));
    for (int i = 0; i < self->n_shards; i++) {
        struct sc_manifest_shard *entry = &self->manifest.shards[i];
        file_in(self, entry->file, path);
        SC_TRY(sc_checksum_of_file(path, &entry->bytes, entry->hash));
    }
    return SC_OK;
}

static sc_status write_manifest(sc_checkpoint_writer *self)
{
    char path[PATH_MAX], *text;
    /* The set's own name first: a manifest in a directory that a power cut takes away would be worth nothing. */
    snprintf(path, sizeof path, "%s/%s", self->dir, SC_CHECKPOINT_SETS);
    SC_TRY(sc_files_sync_directory(path));
    SC_TRY(sc_files_sync_directory(self->dir));
    SC_TRY(sc_checkpoint_next_save(self->dir, &self->manifest.save));
    SC_TRY(sc_manifest_text(&self->manifest, &text));
    file_in(self, SC_CHECKPOINT_MANIFEST, path);
    sc_status status = sc_files_replace(path, text, strlen(text));
    free(text);
    return status;
}

static sc_status write_set(sc_checkpoint_writer *self)
{
    SC_TRY(write_companions(self));
    SC_TRY(write_pieces(self));
    SC_TRY(commit_shards(self));
    return write_manifest(self);
}

static void *run(void *context)
{
    sc_checkpoint_writer *self = context;
    sc_status status = write_set(self);
    pthread_mutex_lock(&self->lock);
    self->ended = true;
    self->status = status;
    if (status != SC_OK)
        snprintf(self->message, sizeof self->message, "%s", sc_status_message());
    piece *rest = self->first; /* after an error; nothing is added any more */
    self->first = NULL;
    self->last = &self->first;
    pthread_mutex_unlock(&self->lock);
    while (rest) {
        piece *next = rest->next;
        release(self, rest);
        rest = next;
    }
    return NULL;
}

/* --- the caller's side --------------------------------------------------------------------------------------------------- */

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
        snprintf(to->shards[i].file, sizeof to->shards[i].file, "stage-%d.safetensors", i);
    return SC_OK;
}

/* Only directories that are not there yet: what is in a set stays as it is, complete or not. */
static sc_status make_directory(const char *path, bool *made)
{
    *made = mkdir(path, 0777) == 0;
    if (*made || errno == EEXIST)
        return SC_OK;
    int error = errno;
    return SC_FAIL(sc_files_status(error), "%s: cannot be made: %s", path, strerror(error));
}

static sc_status make_set(sc_checkpoint_writer *self)
{
    char path[PATH_MAX], name[SC_CHECKPOINT_NAME_BYTES];
    bool made = false;
    /* 128: the name of the set, and of a temporary file in it */
    int length = snprintf(path, sizeof path, "%s/%s", self->dir, SC_CHECKPOINT_SETS);
    if (length < 0 || (size_t)length + 128 > sizeof path)
        return SC_FAIL(SC_INVALID, "the path of the checkpoints' directory is too long");
    SC_TRY(make_directory(path, &made));
    made = false;
    for (int number = 1; !made; number++) {
        snprintf(path + length, sizeof path - (size_t)length, "/%s",
                 sc_checkpoint_name(self->manifest.step, number, name));
        SC_TRY(make_directory(path, &made));
    }
    self->path = strdup(path);
    return self->path ? SC_OK : out_of_memory(path);
}

static sc_status open_shards(sc_checkpoint_writer *self)
{
    char path[PATH_MAX], number[32];
    self->shards = calloc((size_t)self->n_shards, sizeof *self->shards);
    if (!self->shards)
        return out_of_memory(self->path);
    snprintf(number, sizeof number, "%lld", (long long)self->manifest.step);
    for (int i = 0; i < self->n_shards; i++) {
        file_in(self, self->manifest.shards[i].file, path);
        SC_TRY(sc_safetensors_writer_new(path, &self->shards[i].file));
        SC_TRY(sc_safetensors_writer_metadata(self->shards[i].file, "format", "pt"));
        SC_TRY(sc_safetensors_writer_metadata(self->shards[i].file, "step", number));
    }
    return SC_OK;
}

/* Signals are for the thread that waits for them. */
static sc_status start(sc_checkpoint_writer *self)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&self->thread, NULL, run, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no thread to save the checkpoint: %s", self->path, strerror(error));
    self->started = true;
    pthread_setname_np(self->thread, "checkpoint");
    return SC_OK;
}

sc_status sc_checkpoint_writer_new(const char *dir, const sc_manifest *manifest, int n_shards,
                                   const sc_tokenizer *tokenizer, sc_checkpoint_writer **out)
{
    *out = NULL;
    if (n_shards < 1 || n_shards > SC_MAX_STAGES)
        return SC_FAIL(SC_INVALID, "a checkpoint of %d shards; from 1 to %d are allowed", n_shards, SC_MAX_STAGES);
    sc_checkpoint_writer *self = calloc(1, sizeof *self);
    if (!self)
        return out_of_memory(dir);
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    self->last = &self->first;
    self->n_shards = n_shards;
    self->tokenizer = tokenizer;
    self->dir = strdup(dir);
    sc_status status = self->dir ? SC_OK : out_of_memory(dir);
    if (status != SC_OK)
        goto failed;
    SC_TRY_GOTO(status, copy_manifest(self, manifest), failed);
    SC_TRY_GOTO(status, make_set(self), failed);
    SC_TRY_GOTO(status, open_shards(self), failed);
    SC_TRY_GOTO(status, start(self), failed);
    *out = self;
    return SC_OK;
failed:
    sc_checkpoint_writer_destroy(&self);
    return status;
}

static sc_status check_shard(const sc_checkpoint_writer *self, int index)
{
    return index >= 0 && index < self->n_shards
               ? SC_OK
               : SC_FAIL(SC_INVALID, "%s: there is no shard %d of %d", self->path, index, self->n_shards);
}

sc_status sc_checkpoint_writer_declare(sc_checkpoint_writer *self, int index, const char *name, const sc_shape *shape)
{
    SC_TRY(check_shard(self, index));
    if (self->shards[index].begun)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s: shard %d has pieces already; declare '%s' before them", self->path,
                       index, name);
    return sc_safetensors_writer_add(self->shards[index].file, name, SC_F32, shape);
}

/* Under the lock: whether the thread still takes anything. */
static sc_status check_open(const sc_checkpoint_writer *self)
{
    if (self->ended && self->status != SC_OK)
        return SC_FAIL(self->status, "%s", self->message);
    if (self->finishing)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s: the set was finished already", self->path);
    return SC_OK;
}

sc_status sc_checkpoint_writer_piece(sc_checkpoint_writer *self, int index, const char *name, uint64_t from,
                                     sc_buffer *data)
{
    SC_TRY(check_shard(self, index));
    size_t name_bytes = strlen(name) + 1;
    piece *p = malloc(sizeof *p + name_bytes);
    if (!p)
        return out_of_memory(self->path);
    *p = (piece){.shard = index, .from = from, .data = sc_buffer_ref(data)};
    memcpy(p->name, name, name_bytes);
    pthread_mutex_lock(&self->lock);
    sc_status status = check_open(self);
    if (status == SC_OK) {
        *self->last = p;
        self->last = &p->next;
        self->queued_bytes += sc_buffer_bytes(data);
        self->shards[index].begun = true;
        pthread_cond_signal(&self->changed);
    }
    pthread_mutex_unlock(&self->lock);
    if (status != SC_OK) {
        sc_buffer_unref(&p->data);
        free(p);
    }
    return status;
}

uint64_t sc_checkpoint_writer_queued(sc_checkpoint_writer *self)
{
    pthread_mutex_lock(&self->lock);
    uint64_t bytes = self->queued_bytes;
    pthread_mutex_unlock(&self->lock);
    return bytes;
}

sc_status sc_checkpoint_writer_finish(sc_checkpoint_writer *self)
{
    pthread_mutex_lock(&self->lock);
    sc_status status = check_open(self);
    self->finishing = true;
    for (int i = 0; i < self->n_shards; i++)
        self->shards[i].begun = true;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
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

const char *sc_checkpoint_writer_path(const sc_checkpoint_writer *self)
{
    return self->path;
}

void sc_checkpoint_writer_destroy(sc_checkpoint_writer **self_p)
{
    sc_checkpoint_writer *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    if (self->started) {
        pthread_mutex_lock(&self->lock);
        self->cancelled = !self->finishing;
        pthread_cond_signal(&self->changed);
        pthread_mutex_unlock(&self->lock);
        pthread_join(self->thread, NULL);
    }
    for (int i = 0; self->shards && i < self->n_shards; i++)
        sc_safetensors_writer_destroy(&self->shards[i].file);
    if (self->path && (!self->started || self->status != SC_OK))
        sc_checkpoint_remove(self->path);
    sc_manifest_clear(&self->manifest);
    free(self->shards);
    free(self->path);
    free(self->dir);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}
