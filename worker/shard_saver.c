#include "worker/shard_saver.h"

#include "proto/base/disk.h"
#include "proto/base/files.h"
#include "proto/base/thread.h"
#include "proto/wire/piece_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MAX_QUEUED = 4 << 20, /* bytes that wait for the disk: a few pieces, so that memory grows by no more */
    MAX_TOKEN_BYTES = 256,
};

typedef enum job { NO_JOB, CHECK, WRITE } job;

struct sc_shard_saver {
    void (*notify)(void *context);
    void *context;
    pthread_t thread;
    bool started;
    char *path, *token; /* of the job; the thread's while one runs */
    sc_shard *shard;
    sc_piece_queue *queue; /* open while a shard is written and more is to come */

    pthread_mutex_t lock; /* guards what follows; held for a few instructions */
    pthread_cond_t changed;
    job job; /* queued or running */
    bool cancelled, stopping;
    bool have_result;
    sc_shard_result result;
};

/* --- the thread --------------------------------------------------------------------------------------------------------- */

static sc_status write_shard(sc_shard_saver *self, sc_shard_result *result)
{
    SC_TRY(sc_shard_open(self->shard, self->path));
    sc_status status = SC_OK;
    for (sc_piece *p; status == SC_OK && (p = sc_piece_queue_take(self->queue));) {
        status = sc_shard_write(self->shard, p->name, p->from, sc_buffer_data(p->data), sc_buffer_bytes(p->data));
        sc_piece_queue_done(self->queue, &p);
        self->notify(self->context); /* there is room */
    }
    if (status == SC_OK && sc_piece_queue_is_shut(self->queue))
        status = SC_FAIL(SC_CANCELLED, "%s: the shard is not wanted any more", self->path);
    if (status == SC_OK)
        status = sc_shard_commit(self->shard, &result->bytes, result->hash);
    return status;
}

static sc_status check_token(const sc_shard_saver *self)
{
    char file[PATH_MAX], *text = NULL;
    size_t n;
    if (snprintf(file, sizeof file, "%s/%s", self->path, SC_SHARED_TOKEN_FILE) >= (int)sizeof file)
        return SC_FAIL(SC_INVALID, "the path is too long");
    sc_status status = sc_files_read(file, MAX_TOKEN_BYTES, &text, &n);
    if (status == SC_OK && strcmp(text, self->token) != 0)
        status = SC_FAIL(SC_DATA_LOSS, "%s is of another run or an earlier start", file);
    free(text);
    return status;
}

static sc_status check_writing(const sc_shard_saver *self)
{
    char host[64] = "", file[PATH_MAX];
    gethostname(host, sizeof host - 1);
    if (snprintf(file, sizeof file, "%s/.stagecoach-probe-%s-%d", self->path, host, (int)getpid()) >= (int)sizeof file)
        return SC_FAIL(SC_INVALID, "the path is too long");
    SC_TRY(sc_files_replace(file, "", 0));
    sc_disk_get()->unlinkat(AT_FDCWD, file, 0);
    return SC_OK;
}

static sc_status check(sc_shard_saver *self)
{
    sc_status status = check_token(self);
    if (status != SC_OK)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "checkpoint.dir %s is not the directory that the coordinator sees (%s): mount the shared file "
                       "system at the same path on this host, or leave out checkpoint.dir",
                       self->path, sc_status_message());
    status = check_writing(self);
    if (status != SC_OK)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "checkpoint.dir %s cannot be written to on this host (%s): give this worker's user the right "
                       "to, or leave out checkpoint.dir",
                       self->path, sc_status_message());
    return SC_OK;
}

static void end_job(sc_shard_saver *self, const sc_shard_result *result)
{
    sc_piece_queue_shut(self->queue); /* before another job can open it */
    sc_shard_destroy(&self->shard);
    free(self->path);
    free(self->token);
    self->path = self->token = NULL;
    pthread_mutex_lock(&self->lock);
    self->have_result = !self->cancelled;
    self->result = *result;
    self->cancelled = false;
    self->job = NO_JOB;
    pthread_mutex_unlock(&self->lock);
    self->notify(self->context);
}

static void *run(void *context)
{
    sc_shard_saver *self = context;
    for (;;) {
        pthread_mutex_lock(&self->lock);
        while (self->job == NO_JOB && !self->stopping)
            pthread_cond_wait(&self->changed, &self->lock);
        job kind = self->job;
        pthread_mutex_unlock(&self->lock);
        if (kind == NO_JOB)
            return NULL;
        sc_shard_result result = {0};
        result.status = kind == CHECK ? check(self) : write_shard(self, &result);
        if (result.status != SC_OK)
            snprintf(result.message, sizeof result.message, "%s", sc_status_message());
        end_job(self, &result);
    }
}

/* --- the network thread's side --------------------------------------------------------------------------------------------- */

sc_status sc_shard_saver_new(void (*notify)(void *context), void *context, sc_shard_saver **out)
{
    *out = NULL;
    sc_shard_saver *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the shard saver");
    self->notify = notify;
    self->context = context;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    sc_status status;
    SC_TRY_GOTO(status, sc_piece_queue_new(&self->queue), failed);
    SC_TRY_GOTO(status, sc_thread_start(&self->thread, "shard saver", run, self), failed);
    self->started = true;
    *out = self;
    return SC_OK;
failed:
    sc_shard_saver_destroy(&self);
    return status;
}

void sc_shard_saver_destroy(sc_shard_saver **self_p)
{
    sc_shard_saver *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    if (self->started) {
        pthread_mutex_lock(&self->lock);
        self->stopping = true;
        self->cancelled = self->job != NO_JOB;
        pthread_cond_signal(&self->changed);
        pthread_mutex_unlock(&self->lock);
        sc_piece_queue_shut(self->queue);
        pthread_join(self->thread, NULL);
    }
    sc_piece_queue_destroy(&self->queue);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

bool sc_shard_saver_is_free(sc_shard_saver *self)
{
    pthread_mutex_lock(&self->lock);
    bool is_free = self->job == NO_JOB;
    pthread_mutex_unlock(&self->lock);
    return is_free;
}

/* Takes `path` and `token`. */
static sc_status queue(sc_shard_saver *self, job kind, char *path, char *token, sc_shard **shard)
{
    sc_status status = path && token ? SC_OK : SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a job of the disk");
    if (status == SC_OK && !sc_shard_saver_is_free(self))
        status = SC_FAIL(SC_FAILED_PRECONDITION, "the disk still holds up what this worker wrote before");
    if (status != SC_OK) {
        free(path);
        free(token);
        return status;
    }
    self->path = path;
    self->token = token;
    self->shard = *shard;
    *shard = NULL;
    if (kind == WRITE)
        sc_piece_queue_open(self->queue);
    pthread_mutex_lock(&self->lock);
    self->job = kind;
    self->have_result = self->cancelled = false;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
    return SC_OK;
}

sc_status sc_shard_saver_check(sc_shard_saver *self, const char *dir, const char *token)
{
    sc_shard *none = NULL;
    return queue(self, CHECK, strdup(dir), strdup(token), &none);
}

sc_status sc_shard_saver_begin(sc_shard_saver *self, const char *path, sc_shard **shard)
{
    return queue(self, WRITE, strdup(path), strdup(""), shard);
}

bool sc_shard_saver_has_room(sc_shard_saver *self)
{
    return sc_piece_queue_bytes(self->queue) < MAX_QUEUED;
}

sc_status sc_shard_saver_piece(sc_shard_saver *self, const char *name, uint64_t from, sc_buffer *data)
{
    return sc_piece_queue_put(self->queue, 0, name, from, data);
}

void sc_shard_saver_finish(sc_shard_saver *self)
{
    sc_piece_queue_close(self->queue);
}

void sc_shard_saver_cancel(sc_shard_saver *self)
{
    pthread_mutex_lock(&self->lock);
    self->cancelled = self->job != NO_JOB;
    self->have_result = false;
    pthread_mutex_unlock(&self->lock);
    sc_piece_queue_shut(self->queue);
}

bool sc_shard_saver_take_result(sc_shard_saver *self, sc_shard_result *out)
{
    pthread_mutex_lock(&self->lock);
    bool have = self->have_result;
    if (have)
        *out = self->result;
    self->have_result = false;
    pthread_mutex_unlock(&self->lock);
    return have;
}
