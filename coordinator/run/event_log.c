#include "coordinator/run/event_log.h"

#include "proto/base/files.h"
#include "coordinator/data/utf8.h"
#include "proto/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SC_LOG_SUBSYSTEM "events"

struct sc_event_log {
    char *path;
    int fd;
    off_t end; /* of the last whole line */
    bool torn; /* bytes of a line that could not be cut off again lie behind it */
    sc_event_listener listener;
    void *context;
    uint64_t n_lost; /* events that could not be written since the last that could */
};

/* What a kill or a full disk left of a line goes: the file ends with a whole one. */
static void cut_torn_line(sc_event_log *self)
{
    char block[4096];
    off_t size = lseek(self->fd, 0, SEEK_END), end = size > 0 ? size : 0;
    while (end > 0) {
        size_t n = end < (off_t)sizeof block ? (size_t)end : sizeof block;
        if (pread(self->fd, block, n, end - (off_t)n) != (ssize_t)n)
            break;
        const char *newline = memrchr(block, '\n', n);
        if (newline) {
            end -= (off_t)n - (newline + 1 - block);
            break;
        }
        end -= (off_t)n;
    }
    self->end = end;
    self->torn = end < size && ftruncate(self->fd, end) != 0;
}

sc_status sc_event_log_open(const char *path, sc_event_log **out)
{
    *out = NULL;
    sc_event_log *self = calloc(1, sizeof *self);
    char *copy = strdup(path);
    if (!self || !copy) {
        free(self);
        free(copy);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory for the event log", path);
    }
    *self = (sc_event_log){.path = copy, .fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644)};
    if (self->fd < 0) {
        int error = errno;
        sc_event_log_close(&self);
        return SC_FAIL(sc_files_status(error), "%s: cannot be opened: %s", path, strerror(error));
    }
    cut_torn_line(self);
    *out = self;
    return SC_OK;
}

void sc_event_log_close(sc_event_log **self_p)
{
    sc_event_log *self = *self_p;
    if (!self)
        return;
    if (self->fd >= 0)
        close(self->fd);
    free(self->path);
    free(self);
    *self_p = NULL;
}

void sc_event_log_listen(sc_event_log *self, sc_event_listener listener, void *context)
{
    self->listener = listener;
    self->context = context;
}

/* ---- values: each is a new reference, or NULL if memory ran out --------------------------------------------------- */

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* As float32, whose every value nine digits tell apart. */
static json_t *number32(double value)
{
    return number((float)value);
}

static json_t *count(uint64_t value)
{
    return json_integer((json_int_t)value);
}

/* Text from outside may be no UTF-8, which JSON must be: a byte that is none becomes U+FFFD. */
static json_t *text(const char *bytes)
{
    const size_t n = strlen(bytes);
    char *clean = malloc(3 * n + 1);
    if (!clean)
        return NULL;
    size_t used = 0;
    for (size_t at = 0; at < n;) {
        uint32_t code_point;
        size_t length = sc_utf8_decode(bytes + at, n - at, &code_point);
        used += sc_utf8_encode(length ? code_point : 0xFFFD, clean + used);
        at += length ? length : 1;
    }
    json_t *value = json_stringn(clean, used);
    free(clean);
    return value;
}

static json_t *time_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm parts;
    gmtime_r(&now.tv_sec, &parts);
    char stamp[48];
    size_t length = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(stamp + length, sizeof stamp - length, ".%03dZ", (int)(now.tv_nsec / 1000000));
    return json_string(stamp);
}

/* ---- a line -------------------------------------------------------------------------------------------------------- */

/* An event as it is put together. `object` is NULL once memory ran out. */
typedef struct event {
    json_t *object;
} event;

static void add(event *self, const char *key, json_t *value)
{
    if (!self->object) {
        json_decref(value);
    } else if (json_object_set_new(self->object, key, value) != 0) { /* value NULL: an error too */
        json_decref(self->object);
        self->object = NULL;
    }
}

static event event_new(const char *name)
{
    event self = {json_object()};
    add(&self, "event", json_string(name));
    add(&self, "time", time_now());
    return self;
}

/* The line whole, or nothing of it. */
static sc_status write_line(sc_event_log *self, const char *line, size_t n_bytes)
{
    size_t done = 0;
    while (done < n_bytes) { /* more than once only when a signal or a full disk cuts the line */
        ssize_t n = write(self->fd, line + done, n_bytes - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int error = errno;
            self->torn = (done > 0 || self->torn) && ftruncate(self->fd, self->end) != 0;
            return SC_FAIL(sc_files_status(error), "%s: events cannot be written: %s; the run goes on without them",
                           self->path, strerror(error));
        }
        done += (size_t)n;
    }
    self->torn = false;
    self->end = lseek(self->fd, 0, SEEK_END);
    return SC_OK;
}

/* The event as text, owned, after the listener has had it; NULL if memory ran out. Takes its object. */
static char *event_text(sc_event_log *self, event *e)
{
    char *text = e->object ? json_dumps(e->object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    if (text && self->listener)
        self->listener(self->context, e->object, text);
    json_decref(e->object);
    return text;
}

/* Takes the text. */
static sc_status put(sc_event_log *self, char *text)
{
    const size_t n = text ? strlen(text) : 0;
    char *line = text ? malloc(n + 2) : NULL;
    if (!line) {
        free(text);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "%s: no memory to write an event", self->path);
    }
    size_t used = 0;
    if (self->torn)
        line[used++] = '\n';
    memcpy(line + used, text, n);
    used += n;
    line[used++] = '\n';
    sc_status status = write_line(self, line, used);
    free(line);
    free(text);
    return status;
}

/* Says in the file, and to whoever looks on, that there is a gap. */
static sc_status tell_loss(sc_event_log *self)
{
    event e = event_new("events_lost");
    add(&e, "count", count(self->n_lost));
    SC_TRY(put(self, event_text(self, &e)));
    SC_WARN("%s: events are written again; %" PRIu64 " %s lost", self->path, self->n_lost,
            self->n_lost == 1 ? "was" : "were");
    self->n_lost = 0;
    return SC_OK;
}

/* Writes the event and lets it go. Of failures in a row the first is told. */
static sc_status event_write(sc_event_log *self, event *e)
{
    char *text = event_text(self, e);
    sc_status status = self->n_lost > 0 ? tell_loss(self) : SC_OK;
    if (status == SC_OK)
        status = put(self, text);
    else
        free(text);
    if (status == SC_OK)
        return SC_OK;
    return self->n_lost++ == 0 ? status : SC_OK;
}

/* ---- the events ---------------------------------------------------------------------------------------------------- */

sc_status sc_event_log_run_started(sc_event_log *self, const sc_event_run *run)
{
    const sc_config *config = run->config;
    event e = event_new("run_started");
    add(&e, "version", json_string(SC_VERSION));
    add(&e, "config", text(config->path));
    add(&e, "seed", json_integer(config->run.seed));
    add(&e, "workers", json_integer(run->workers));
    add(&e, "schedule", json_string(sc_config_word("pipeline.schedule", config->pipeline.schedule)));
    add(&e, "vocab", json_integer(run->vocab));
    add(&e, "parameters", count(run->parameters));
    add(&e, "train_tokens", count(run->train_tokens));
    add(&e, "validation_tokens", count(run->validation_tokens));
    add(&e, "first_step", json_integer(run->first_step));
    add(&e, "steps", json_integer(run->steps));
    add(&e, "batch_size", json_integer(config->train.batch_size));
    add(&e, "micro_batch_size", json_integer(config->train.micro_batch_size));
    add(&e, "sequence_length", json_integer(sc_config_sequence_length(config)));
    return event_write(self, &e);
}

sc_status sc_event_log_worker_joined(sc_event_log *self, int worker, const char *name, const char *device, int threads,
                                     uint64_t generation)
{
    event e = event_new("worker_joined");
    add(&e, "worker", json_integer(worker));
    add(&e, "name", text(name));
    add(&e, "device", text(device));
    add(&e, "threads", json_integer(threads));
    add(&e, "generation", count(generation));
    return event_write(self, &e);
}

sc_status sc_event_log_worker_spare(sc_event_log *self, const char *name, const char *device, int threads)
{
    event e = event_new("worker_spare");
    add(&e, "name", text(name));
    add(&e, "device", text(device));
    add(&e, "threads", json_integer(threads));
    return event_write(self, &e);
}

static json_t *rank_or_null(int worker)
{
    return worker >= 0 ? json_integer(worker) : json_null();
}

sc_status sc_event_log_worker_lost(sc_event_log *self, int worker, const char *name, const char *reason,
                                   double detect_seconds, uint64_t generation)
{
    event e = event_new("worker_lost");
    add(&e, "worker", rank_or_null(worker));
    add(&e, "name", text(name));
    add(&e, "reason", text(reason));
    add(&e, "detect_seconds", number(detect_seconds));
    add(&e, "generation", count(generation));
    return event_write(self, &e);
}

sc_status sc_event_log_worker_drain(sc_event_log *self, int worker, const char *name, const char *reason)
{
    event e = event_new("worker_drain");
    add(&e, "worker", rank_or_null(worker));
    add(&e, "name", text(name));
    add(&e, "reason", text(reason));
    return event_write(self, &e);
}

static json_t *stages_of(const sc_event_step *step)
{
    json_t *list = json_array();
    for (int i = 0; i < step->n_stages; i++) {
        event stage = {json_object()};
        add(&stage, "stage", json_integer(i));
        add(&stage, "forward_seconds", number(step->stages[i].forward_seconds));
        add(&stage, "backward_seconds", number(step->stages[i].backward_seconds));
        add(&stage, "wait_seconds", number(step->stages[i].wait_seconds));
        add(&stage, "peak_resident_bytes", json_integer((json_int_t)step->stages[i].peak_resident_bytes));
        if (json_array_append_new(list, stage.object) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

sc_status sc_event_log_step(sc_event_log *self, const sc_event_step *step)
{
    event e = event_new("step");
    add(&e, "step", json_integer(step->step));
    add(&e, "loss", number32(step->loss));
    add(&e, "grad_norm", number32(step->grad_norm));
    add(&e, "lr", number32(step->lr));
    add(&e, "tokens", json_integer(step->tokens));
    add(&e, "step_seconds", number(step->step_seconds));
    add(&e, "tokens_per_second", number((double)step->tokens / step->step_seconds));
    add(&e, "stages", stages_of(step));
    return event_write(self, &e);
}

static sc_status write_scores(sc_event_log *self, const char *name, int64_t step, const sc_score_list *scores)
{
    event e = event_new(name);
    add(&e, "step", json_integer(step));
    for (int i = 0; i < scores->n; i++)
        add(&e, scores->items[i].name, number32(scores->items[i].value));
    return event_write(self, &e);
}

sc_status sc_event_log_eval(sc_event_log *self, int64_t step, const sc_score_list *scores)
{
    return write_scores(self, "eval", step, scores);
}

sc_status sc_event_log_test(sc_event_log *self, int64_t step, const sc_score_list *scores)
{
    return write_scores(self, "test", step, scores);
}

sc_status sc_event_log_best(sc_event_log *self, int64_t step, const char *metric, double value)
{
    event e = event_new("best");
    add(&e, "step", json_integer(step));
    add(&e, "metric", json_string(metric));
    add(&e, "value", number32(value));
    return event_write(self, &e);
}

sc_status sc_event_log_checkpoint(sc_event_log *self, const sc_event_checkpoint *checkpoint)
{
    event e = event_new("checkpoint");
    add(&e, "step", json_integer(checkpoint->step));
    add(&e, "status", json_string(sc_status_name(checkpoint->status)));
    add(&e, "message", text(checkpoint->message));
    add(&e, "path", text(checkpoint->path));
    add(&e, "bytes", count(checkpoint->bytes));
    add(&e, "seconds", number(checkpoint->seconds));
    return event_write(self, &e);
}

sc_status sc_event_log_recovery(sc_event_log *self, const sc_event_recovery *recovery)
{
    event e = event_new("recovery");
    add(&e, "cause", json_string(recovery->cause));
    add(&e, "level", json_string(recovery->level));
    add(&e, "step", json_integer(recovery->step));
    add(&e, "steps_lost", json_integer(recovery->steps_lost));
    add(&e, "steps_replayed", json_integer(recovery->steps_replayed));
    add(&e, "workers", json_integer(recovery->workers));
    add(&e, "generation", count(recovery->generation));
    add(&e, "detect_seconds", number(recovery->detect_seconds));
    add(&e, "replace_seconds", number(recovery->replace_seconds));
    add(&e, "load_seconds", number(recovery->load_seconds));
    add(&e, "replay_seconds", number(recovery->replay_seconds));
    return event_write(self, &e);
}

sc_status sc_event_log_run_finished(sc_event_log *self, int64_t step, sc_status status, const char *message,
                                    double seconds, const sc_event_messages *messages)
{
    event e = event_new("run_finished");
    add(&e, "step", json_integer(step));
    add(&e, "status", json_string(sc_status_name(status)));
    add(&e, "message", text(message));
    add(&e, "seconds", number(seconds));
    event counts = {json_object()};
    add(&counts, "stale", count(messages->stale));
    add(&counts, "duplicate", count(messages->duplicate));
    add(&counts, "resent", count(messages->resent));
    add(&counts, "replayed", count(messages->replayed));
    add(&counts, "rejected", count(messages->rejected));
    add(&e, "messages", counts.object);
    return event_write(self, &e);
}
