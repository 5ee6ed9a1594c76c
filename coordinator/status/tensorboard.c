#include "coordinator/status/tensorboard.h"

#include "coordinator/status/tensorboard.pb-c.h"
#include "coordinator/status/tfrecord.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/base/thread.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SC_LOG_SUBSYSTEM "tensorboard"

enum {
    WRITE_EVERY_MS = 200,
    RECORD_BYTES = 256, /* an event with its longest tag, framed */
    BLOCK_BYTES = 64 << 10,
};

typedef Stagecoach__Tensorboard__Event tb_event;
typedef Stagecoach__Tensorboard__Summary tb_summary;
typedef Stagecoach__Tensorboard__Summary__Value tb_value;
typedef Stagecoach__Tensorboard__SessionLog tb_session;

typedef struct item {
    double time;
    int64_t step;
    char tag[SC_TENSORBOARD_TAG_BYTES]; /* "": a restart */
    float value;
} item;

struct sc_tensorboard {
    char *dir;
    sc_clock wall;
    pthread_t thread;
    /* Between the two threads: */
    pthread_mutex_t lock;
    pthread_cond_t news;
    bool closing;
    item *waiting;
    int n_waiting;
    uint64_t n_dropped; /* for want of room */
    /* The writer's own: */
    item *writing;
    char *path; /* of the file, NULL: there is none yet */
    int fd;
    uint64_t end; /* of the last whole record */
    bool failing;
    uint64_t n_lost; /* scalars that could not be written, until that is told */
    bool owes;       /* a restart was among them, which has to be told all the same */
    item owed;
    uint8_t block[BLOCK_BYTES];
};

/* ---- the writer: records ------------------------------------------------------------------------------------------ */

static size_t put_event(uint8_t *out, const tb_event *event)
{
    return sc_tfrecord_frame(out, stagecoach__tensorboard__event__pack(event, out + SC_TFRECORD_HEAD));
}

static size_t put_version(uint8_t *out, double time)
{
    tb_event event = STAGECOACH__TENSORBOARD__EVENT__INIT;
    event.wall_time = time;
    event.what_case = STAGECOACH__TENSORBOARD__EVENT__WHAT_FILE_VERSION;
    event.file_version = (char *)(uintptr_t) "brain.Event:2";
    return put_event(out, &event);
}

static size_t put_item(uint8_t *out, item *i)
{
    tb_event event = STAGECOACH__TENSORBOARD__EVENT__INIT;
    tb_session session = STAGECOACH__TENSORBOARD__SESSION_LOG__INIT;
    tb_value value = STAGECOACH__TENSORBOARD__SUMMARY__VALUE__INIT, *values[] = {&value};
    tb_summary summary = STAGECOACH__TENSORBOARD__SUMMARY__INIT;
    event.wall_time = i->time;
    event.step = i->step;
    if (!i->tag[0]) {
        session.status = STAGECOACH__TENSORBOARD__SESSION_LOG__SESSION_STATUS__START;
        event.what_case = STAGECOACH__TENSORBOARD__EVENT__WHAT_SESSION_LOG;
        event.session_log = &session;
        return put_event(out, &event);
    }
    value.tag = i->tag;
    value.value_case = STAGECOACH__TENSORBOARD__SUMMARY__VALUE__VALUE_SIMPLE_VALUE;
    value.simple_value = i->value;
    summary.n_value = 1;
    summary.value = values;
    event.what_case = STAGECOACH__TENSORBOARD__EVENT__WHAT_SUMMARY;
    event.summary = &summary;
    return put_event(out, &event);
}

/* ---- the writer: the file ----------------------------------------------------------------------------------------- */

/* The bytes whole, or nothing of them. */
static sc_status append(sc_tensorboard *self, const uint8_t *bytes, size_t n_bytes)
{
    for (size_t done = 0; done < n_bytes;) {
        const ssize_t n = pwrite(self->fd, bytes + done, n_bytes - done, (off_t)(self->end + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            const int error = n < 0 ? errno : EIO;
            /* What stays behind `end` if this fails too is overwritten by the next record that fits. */
            const int cut = ftruncate(self->fd, (off_t)self->end);
            return SC_FAIL(sc_files_status(error), "%s: cannot be written: %s%s; the run goes on without it",
                           self->path, strerror(error), cut != 0 ? ", and a torn record lies at its end" : "");
        }
        done += (size_t)n;
    }
    self->end += n_bytes;
    return SC_OK;
}

/* Above the seconds in the names of all files that there are. */
static uint64_t seconds_of_name(const sc_tensorboard *self)
{
    uint64_t seconds = sc_clock_ns(&self->wall) / 1000000000u;
    DIR *dir = opendir(self->dir);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        unsigned long long other;
        if (sscanf(entry->d_name, "events.out.tfevents.%llu.", &other) == 1 && other >= seconds && other < UINT32_MAX)
            seconds = other + 1;
    }
    if (dir)
        closedir(dir);
    return seconds;
}

static sc_status open_file(sc_tensorboard *self)
{
    char host[65] = "";
    SC_TRY(sc_files_make_directories(self->dir));
    gethostname(host, sizeof host - 1);
    free(self->path);
    if (asprintf(&self->path, "%s/events.out.tfevents.%010" PRIu64 ".%s.%d", self->dir, seconds_of_name(self), host,
                 (int)getpid()) < 0)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for an event file", self->dir);
    self->fd = open(self->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (self->fd < 0) {
        const int error = errno;
        return SC_FAIL(sc_files_status(error), "%s: cannot be made: %s; the run goes on without it", self->path,
                       strerror(error));
    }
    return SC_OK;
}

/* Writes items to the file, which is made first if there is none. *n_done: those that are in it. */
static sc_status write_items(sc_tensorboard *self, int n, int *n_done)
{
    *n_done = 0;
    if (self->fd < 0)
        SC_TRY(open_file(self));
    while (*n_done < n) {
        int until = *n_done;
        size_t used = self->end == 0 ? put_version(self->block, self->writing[until].time) : 0;
        if (self->owes)
            used += put_item(self->block + used, &self->owed);
        while (until < n && used + RECORD_BYTES <= BLOCK_BYTES)
            used += put_item(self->block + used, &self->writing[until++]);
        SC_TRY(append(self, self->block, used));
        self->owes = false;
        *n_done = until;
    }
    return SC_OK;
}

static void remember_restart(sc_tensorboard *self, const item *lost)
{
    if (lost->tag[0] || (self->owes && self->owed.step <= lost->step))
        return;
    self->owes = true;
    self->owed = *lost;
}

/* The first of failures in a row is said, and at their end what they cost. */
static void write_batch(sc_tensorboard *self, int n, uint64_t n_dropped)
{
    int n_done;
    const sc_status status = write_items(self, n, &n_done);
    if (status != SC_OK && !self->failing)
        SC_WARN("%s", sc_status_message());
    self->failing = status != SC_OK;
    self->n_lost += n_dropped;
    for (int i = n_done; i < n; i++) {
        self->n_lost += self->writing[i].tag[0] != '\0';
        remember_restart(self, &self->writing[i]);
    }
    if (status == SC_OK && self->n_lost > 0) {
        SC_WARN("%s: is written; before, %" PRIu64 " values were lost", self->path, self->n_lost);
        self->n_lost = 0;
    }
}

static void *write_all(void *context)
{
    sc_tensorboard *self = context;
    pthread_mutex_lock(&self->lock);
    for (;;) {
        while (self->n_waiting == 0 && !self->closing)
            pthread_cond_wait(&self->news, &self->lock);
        if (self->n_waiting == 0)
            break;
        item *batch = self->waiting;
        const int n = self->n_waiting;
        const uint64_t n_dropped = self->n_dropped;
        self->waiting = self->writing;
        self->writing = batch;
        self->n_waiting = 0;
        self->n_dropped = 0;
        pthread_mutex_unlock(&self->lock);
        write_batch(self, n, n_dropped);
        pthread_mutex_lock(&self->lock);
        sc_thread_rest(&self->news, &self->lock, &self->closing, WRITE_EVERY_MS);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

/* ---- the run's thread --------------------------------------------------------------------------------------------- */

static void release(sc_tensorboard *self)
{
    if (self->fd >= 0)
        close(self->fd);
    pthread_mutex_destroy(&self->lock);
    pthread_cond_destroy(&self->news);
    free(self->waiting);
    free(self->writing);
    free(self->path);
    free(self->dir);
    free(self);
}

sc_status sc_tensorboard_open(const char *dir, sc_clock wall, sc_tensorboard **out)
{
    *out = NULL;
    const sc_status made = sc_files_make_directories(dir);
    if (made == SC_RESOURCE_EXHAUSTED) /* the disk is full; it may not stay so */
        SC_WARN("%s", sc_status_message());
    else
        SC_TRY(made);
    sc_tensorboard *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for TensorBoard's events", dir);
    sc_thread_condition_init(&self->news);
    pthread_mutex_init(&self->lock, NULL);
    self->fd = -1;
    self->wall = wall;
    self->dir = strdup(dir);
    self->waiting = calloc(SC_TENSORBOARD_QUEUE, sizeof *self->waiting);
    self->writing = calloc(SC_TENSORBOARD_QUEUE, sizeof *self->writing);
    sc_status status = SC_OK;
    if (!self->dir || !self->waiting || !self->writing)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for TensorBoard's events", dir);
    if (status == SC_OK)
        status = sc_thread_start(&self->thread, "tensorboard", write_all, self);
    if (status != SC_OK) {
        release(self);
        return status;
    }
    *out = self;
    return SC_OK;
}

void sc_tensorboard_close(sc_tensorboard **self_p)
{
    sc_tensorboard *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    pthread_mutex_lock(&self->lock);
    self->closing = true;
    pthread_cond_signal(&self->news);
    pthread_mutex_unlock(&self->lock);
    if (sc_thread_end(self->thread, SC_TENSORBOARD_CLOSE_MS)) {
        release(self);
        return;
    }
    SC_WARN("%s: the disk does not answer; TensorBoard's last values are lost", self->dir);
}

static void put(sc_tensorboard *self, const item *new)
{
    pthread_mutex_lock(&self->lock);
    if (self->n_waiting == SC_TENSORBOARD_QUEUE)
        self->n_dropped++;
    else
        self->waiting[self->n_waiting++] = *new;
    if (self->n_waiting == 1)
        pthread_cond_signal(&self->news);
    pthread_mutex_unlock(&self->lock);
}

static double now(const sc_tensorboard *self)
{
    return (double)sc_clock_ns(&self->wall) * 1e-9;
}

void sc_tensorboard_scalar(sc_tensorboard *self, const char *tag, int64_t step, double value)
{
    item new = {.time = now(self), .step = step, .value = (float)value};
    snprintf(new.tag, sizeof new.tag, "%s", tag);
    put(self, &new);
}

void sc_tensorboard_restart(sc_tensorboard *self, int64_t step)
{
    put(self, &(item){.time = now(self), .step = step});
}

/* ---- events of the run -------------------------------------------------------------------------------------------- */

/* null stands for what is not finite. */
static bool is_number(const json_t *value)
{
    return json_is_number(value) || json_is_null(value);
}

static void scalar(sc_tensorboard *self, const char *tag, int64_t step, const json_t *value)
{
    if (is_number(value))
        sc_tensorboard_scalar(self, tag, step, json_is_null(value) ? NAN : json_number_value(value));
}

/* Every number of the event is a point of a curve. */
static void take_scores(sc_tensorboard *self, const char *name, int64_t step, const json_t *event)
{
    const char *key;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)event, key, value)
    {
        char tag[SC_TENSORBOARD_TAG_BYTES];
        snprintf(tag, sizeof tag, "%s/%s", name, key);
        if (strcmp(key, "step") != 0)
            scalar(self, tag, step, value);
    }
}

void sc_tensorboard_event(sc_tensorboard *self, const json_t *event)
{
    const char *name = json_string_value(json_object_get(event, "event"));
    const int64_t step = json_integer_value(json_object_get(event, "step"));
    if (!name)
        return;
    if (strcmp(name, "step") == 0) {
        scalar(self, "train/loss", step, json_object_get(event, "loss"));
        scalar(self, "train/grad_norm", step, json_object_get(event, "grad_norm"));
        scalar(self, "train/learning_rate", step, json_object_get(event, "lr"));
        scalar(self, "train/tokens_per_second", step, json_object_get(event, "tokens_per_second"));
    } else if (strcmp(name, "eval") == 0 || strcmp(name, "test") == 0) {
        take_scores(self, name, step, event);
    } else if (strcmp(name, "run_started") == 0) {
        sc_tensorboard_restart(self, json_integer_value(json_object_get(event, "first_step")));
    } else if (strcmp(name, "recovery") == 0 && json_integer_value(json_object_get(event, "steps_lost")) > 0) {
        sc_tensorboard_restart(self, step + 1);
    }
}
