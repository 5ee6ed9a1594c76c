#include "coordinator/run/saver.h"

#include "coordinator/run/cluster_internal.h"
#include "proto/base/log.h"
#include "proto/base/shard.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SC_LOG_SUBSYSTEM "saver"

enum {
    PIECE_BYTES = 1 << 20, /* as a parameter's stream */
    WINDOW = 2,            /* calls in flight to each worker: training's messages share the connection */
    MAX_QUEUED = 64 << 20, /* bytes that may wait for a slow disk before no more are asked for */
    MAX_ATTEMPTS = 2,      /* a second one writes to other files: what an fsync has failed for is lost */
};

/* One tensor of a worker's shard. */
typedef struct item {
    char parameter[SC_NAME_BYTES];
    int moment;
    uint64_t bytes;
} item;

typedef struct shard shard;

typedef struct piece {
    shard *of;
    bool busy;
    size_t item;
    uint64_t offset;
    size_t n;
} piece;

struct shard {
    sc_saver *saver;
    int rank;
    item *items;
    size_t n_items;
    size_t next_item; /* to be asked for */
    uint64_t next_offset;
    bool is_asked; /* the worker writes it itself, and has been told so */
    piece window[WINDOW];
};

typedef enum phase { IDLE, SNAPSHOT, STREAM, WRITE } phase;

struct sc_saver {
    sc_saver_options options;
    int64_t pinned; /* a step whose sets stay; 0: none */
    phase phase;
    int S;
    int n_snapshots; /* workers that have made theirs */
    int n_in_flight;
    shard *shards; /* [SC_MAX_STAGES], S of them in use */
    sc_checkpoint_writer *writer;
    sc_checkpoint_writer
        *leaving; /* of a save that was given up, while its thread is in a call that a slow disk holds */
    int attempt;
    sc_status worker_status; /* of the first worker that could not write its shard, with its message */
    char worker_message[1024];
    int n_unchecked;        /* answers to CheckShared still to come */
    sc_status last_failure; /* of the last save; SC_OK: it is complete */
    uint64_t n_failures;    /* in a row */
    uint64_t n_left_out;    /* saves that were due while one was in progress */
    int64_t step;
    uint64_t bytes, start_ns;
    uint64_t asked_bytes;
    double spread_seconds;
};

sc_status sc_saver_new(const sc_saver_options *options, sc_saver **out)
{
    sc_saver *self = calloc(1, sizeof *self);
    shard *shards = calloc(SC_MAX_STAGES, sizeof *shards);
    if (!self || !shards) {
        free(self);
        free(shards);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the saver");
    }
    *self = (sc_saver){.options = *options, .shards = shards};
    *out = self;
    return SC_OK;
}

/* Without waiting for a disk that may be slow, unless two saves are given up before the first could notice. */
static void let_writer_go(sc_saver *self)
{
    if (!self->writer)
        return;
    sc_checkpoint_writer_destroy(&self->leaving);
    sc_checkpoint_writer_cancel(self->writer);
    self->leaving = self->writer;
    self->writer = NULL;
}

static void reap_writer(sc_saver *self)
{
    sc_status status;
    if (self->leaving && sc_checkpoint_writer_done(self->leaving, &status))
        sc_checkpoint_writer_destroy(&self->leaving);
}

static void clear(sc_saver *self)
{
    let_writer_go(self);
    reap_writer(self);
    for (int i = 0; i < self->S; i++) {
        free(self->shards[i].items);
        self->shards[i] = (shard){0};
    }
    self->phase = IDLE;
    self->n_in_flight = self->n_snapshots = 0;
}

void sc_saver_destroy(sc_saver **self_p)
{
    sc_saver *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    clear(self);
    sc_checkpoint_writer_destroy(&self->leaving);
    free(self->shards);
    free(self);
}

void sc_saver_abort(sc_saver *self)
{
    if (self->phase != IDLE)
        SC_WARN("the checkpoint of step %" PRId64 " is given up", self->step);
    clear(self);
}

void sc_saver_pin(sc_saver *self, int64_t step)
{
    self->pinned = step;
}

bool sc_saver_is_busy(const sc_saver *self)
{
    return self->phase != IDLE;
}

/* Tells how it ended and is idle again. */
static void report(sc_saver *self, sc_status status)
{
    char message[1024], path[4096] = "";
    snprintf(message, sizeof message, "%s", status == SC_OK ? "" : sc_status_message());
    if (self->writer && sc_checkpoint_writer_path(self->writer))
        snprintf(path, sizeof path, "%s", sc_checkpoint_writer_path(self->writer));
    sc_saved saved = {
        .status = status,
        .message = message,
        .path = path,
        .step = self->step,
        .bytes = self->bytes,
        .seconds = sc_clock_seconds_since(&self->options.clock, self->start_ns),
        .n_failures = self->n_failures,
        .is_news = status != self->last_failure,
    };
    self->n_failures = status == SC_OK ? 0 : self->n_failures + 1;
    self->last_failure = status;
    clear(self);
    if (status == SC_OK)
        sc_checkpoint_prune(self->options.dir, self->options.keep, self->pinned);
    self->options.on_saved(self->options.context, &saved);
}

/* Whether another attempt, with other files, may succeed: not where the disk is full or closed to us. */
static bool is_worth_another(sc_status status)
{
    return status == SC_DATA_LOSS || status == SC_UNAVAILABLE || status == SC_UNKNOWN;
}

/* The writer has failed: the same once more from the snapshots, which are there still, or the end of the save. */
static void try_again(sc_saver *self, sc_status status)
{
    sc_checkpoint_writer *again = NULL;
    char message[1024];
    snprintf(message, sizeof message, "%s", sc_status_message());
    if (self->attempt >= MAX_ATTEMPTS || !is_worth_another(status) ||
        sc_checkpoint_writer_again(self->writer, &again) != SC_OK) {
        report(self, SC_FAIL(status, "%s", message));
        return;
    }
    SC_WARN("the checkpoint of step %" PRId64 " is written again, to another directory: %s", self->step, message);
    sc_checkpoint_writer_destroy(&self->writer);
    self->writer = again;
    self->attempt++;
    self->asked_bytes = 0;
    self->worker_status = SC_OK;
    for (int i = 0; i < self->S; i++) {
        self->shards[i].next_item = self->shards[i].next_offset = 0;
        self->shards[i].is_asked = false;
    }
    self->phase = STREAM;
}

/* --- what a shard holds -------------------------------------------------------------------------------------------- */

/* The tensors of the blocks of worker `rank`, each parameter once in the whole set: the tied matrix with the first that
 * has it. */
static sc_status list_items(sc_saver *self, const sc_assignment *a, int rank, int n_moments, bool *taken)
{
    shard *s = &self->shards[rank];
    *s = (shard){.saver = self, .rank = rank};
    s->items = calloc((size_t)sc_model_n_params(&a->model) * (size_t)(1 + n_moments), sizeof *s->items);
    if (!s->items)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a shard's list");
    for (int i = 0; i < WINDOW; i++)
        s->window[i].of = s;
    for (int v = rank; v < a->n_slices; v += self->S)
        for (int b = a->slices[v].first_block; b < a->slices[v].first_block + a->slices[v].n_blocks; b++) {
            int ordinals[SC_MAX_BLOCK_PARAMS], n = sc_model_block_params(&a->model, b, ordinals);
            for (int i = 0; i < n; i++) {
                sc_param param = sc_model_param(&a->model, ordinals[i]);
                if (taken[ordinals[i]])
                    continue;
                taken[ordinals[i]] = true;
                for (int moment = 0; moment <= n_moments; moment++) {
                    char name[SC_SHARD_NAME_BYTES];
                    item *it = &s->items[s->n_items++];
                    memcpy(it->parameter, param.name, sizeof it->parameter);
                    it->moment = moment;
                    SC_TRY(sc_shape_bytes(&param.shape, SC_F32, &it->bytes));
                    sc_shard_tensor_name(param.name, moment, name);
                    SC_TRY(sc_checkpoint_writer_declare(self->writer, rank, name, &param.shape));
                    self->bytes += it->bytes;
                }
            }
        }
    return SC_OK;
}

static sc_status prepare(sc_saver *self, const sc_assignment *a, const sc_manifest *manifest)
{
    int n_moments = manifest->optimizer == SC_ADAMW ? 2 : 1;
    SC_TRY(sc_checkpoint_writer_new(self->options.dir,
                                    self->options.shared ? SC_CHECKPOINT_SHARED : SC_CHECKPOINT_IN_RUN, manifest,
                                    self->S, self->options.tokenizer, self->options.labels, &self->writer));
    bool *taken = calloc((size_t)sc_model_n_params(&a->model), sizeof *taken);
    sc_status status = taken ? SC_OK : SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a checkpoint");
    for (int rank = 0; status == SC_OK && rank < self->S; rank++)
        status = list_items(self, a, rank, n_moments, taken);
    free(taken);
    return status;
}

sc_status sc_saver_begin(sc_saver *self, const sc_assignment *assignment, const sc_manifest *manifest,
                         double spread_seconds)
{
    reap_writer(self);
    if (self->phase != IDLE || self->leaving) {
        self->n_left_out++;
        if ((self->n_left_out & (self->n_left_out - 1)) == 0) /* the 1st, 2nd, 4th, 8th, ... */
            SC_WARN("the checkpoint of step %" PRId64 " is left out, the %" PRIu64 ". so far: that of step %" PRId64
                    " is still being written; a larger checkpoint.every or a faster disk helps",
                    manifest->step, self->n_left_out, self->step);
        return SC_OK;
    }
    self->S = assignment->n_slices;
    self->step = manifest->step;
    self->attempt = 1;
    self->worker_status = SC_OK;
    self->bytes = self->asked_bytes = 0;
    self->spread_seconds = spread_seconds;
    self->start_ns = sc_clock_ns(&self->options.clock);
    sc_status status = prepare(self, assignment, manifest);
    if (status != SC_OK) {
        report(self, status);
        return SC_OK;
    }
    self->phase = SNAPSHOT;
    return SC_OK;
}

void sc_saver_snapshotted(sc_saver *self, uint64_t step)
{
    if (self->phase == SNAPSHOT && step == (uint64_t)self->step && ++self->n_snapshots == self->S)
        self->phase = STREAM;
}

uint64_t sc_saver_step(const sc_saver *self)
{
    return self->phase == IDLE ? 0 : (uint64_t)self->step;
}

/* --- the stream ---------------------------------------------------------------------------------------------------- */

static void on_piece(void *context, int rank, const sc_result *result)
{
    piece *p = context;
    sc_saver *self = p->of->saver;
    const item *it = &p->of->items[p->item];
    char name[SC_SHARD_NAME_BYTES];
    p->busy = false;
    self->n_in_flight--;
    if (self->phase != STREAM)
        return;
    if (!result->payload || sc_buffer_bytes(result->payload) != p->n) {
        sc_cluster_fail(self->options.cluster, SC_DATA_LOSS, "worker %d sent another piece of %s than it was asked for",
                        rank, it->parameter);
        return;
    }
    sc_shard_tensor_name(it->parameter, it->moment, name);
    /* An error is the thread's own, which sc_saver_turn finds. */
    (void)sc_checkpoint_writer_piece(self->writer, p->of->rank, name, p->offset, result->payload);
}

static sc_status ask(sc_saver *self, shard *s, piece *p)
{
    const item *it = &s->items[s->next_item];
    uint64_t left = it->bytes - s->next_offset;
    p->item = s->next_item;
    p->offset = s->next_offset;
    p->n = (size_t)(left < PIECE_BYTES ? left : PIECE_BYTES);
    s->next_offset += p->n;
    if (s->next_offset == it->bytes) {
        s->next_item++;
        s->next_offset = 0;
    }
    Stagecoach__V1__ReadStateRequest request = STAGECOACH__V1__READ_STATE_REQUEST__INIT;
    request.generation = self->options.cluster->generation;
    request.name = (char *)it->parameter;
    request.kind = (Stagecoach__V1__StateKind)it->moment;
    request.offset = p->offset;
    request.bytes = p->n;
    request.snapshot = true;
    request.optimizer_step = (uint64_t)self->step;
    p->busy = true;
    self->asked_bytes += p->n;
    self->n_in_flight++;
    return sc_cluster_call(self->options.cluster, s->rank, "ReadState", &request.base, NULL,
                           sc_cluster_call_deadline(self->options.cluster), on_piece, p);
}

/* Whether one more piece may be asked for: the disk keeps up, and the stream is not ahead of its time. */
static bool may_ask(sc_saver *self)
{
    double part = self->spread_seconds > 0
                      ? sc_clock_seconds_since(&self->options.clock, self->start_ns) / self->spread_seconds
                      : 1;
    return sc_checkpoint_writer_queued(self->writer) < MAX_QUEUED &&
           (part >= 1 || (double)self->asked_bytes <= part * (double)self->bytes);
}

/* --- shards that the workers write themselves ------------------------------------------------------------------------------ */

static void on_shard(void *context, int rank, const sc_result *result)
{
    sc_saver *self = ((shard *)context)->saver;
    const Stagecoach__V1__WriteShardReply *reply = (const Stagecoach__V1__WriteShardReply *)result->reply;
    self->n_in_flight--;
    if (self->phase != STREAM)
        return;
    sc_status status = (sc_status)reply->status;
    if (status == SC_OK) /* an error is the thread's own, which sc_saver_turn finds, or a lie of the worker's */
        status = sc_checkpoint_writer_reported(self->writer, rank, reply->bytes, reply->xxh3_128);
    if (status == SC_OK || self->worker_status != SC_OK)
        return;
    self->worker_status = status;
    snprintf(self->worker_message, sizeof self->worker_message, "worker %d (%s): %s", rank,
             sc_roster_ranked(self->options.cluster->roster, rank)->name,
             reply->status != SC_OK ? reply->message : sc_status_message());
    sc_checkpoint_writer_cancel(self->writer);
}

/* The parameters of a shard, each once: their moments follow them in the list. */
static sc_status tell_to_write(sc_saver *self, shard *s, const char *set)
{
    char file[64];
    char **names = calloc(s->n_items + 1, sizeof(char *));
    if (!names)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a call");
    Stagecoach__V1__WriteShardRequest request = STAGECOACH__V1__WRITE_SHARD_REQUEST__INIT;
    request.generation = self->options.cluster->generation;
    request.optimizer_step = (uint64_t)self->step;
    request.set = (char *)set;
    request.file = (char *)sc_checkpoint_shard_name(s->rank, file, sizeof file);
    for (size_t i = 0; i < s->n_items; i++) {
        if (s->items[i].moment == 0)
            names[request.n_names++] = s->items[i].parameter;
        else if ((uint32_t)s->items[i].moment > request.n_moments)
            request.n_moments = (uint32_t)s->items[i].moment;
    }
    request.names = names;
    request.spread_ms = (uint32_t)(self->spread_seconds < 4e6 ? self->spread_seconds * 1000 : 4e9);
    s->is_asked = true;
    self->n_in_flight++;
    sc_status status =
        sc_cluster_call(self->options.cluster, s->rank, "WriteShard", &request.base, NULL, UINT32_MAX, on_shard, s);
    free(names);
    return status;
}

/* Once the set's directory is there. */
static sc_status tell_workers(sc_saver *self)
{
    const char *path = sc_checkpoint_writer_path(self->writer), *slash = path ? strrchr(path, '/') : NULL;
    for (int rank = 0; slash && rank < self->S; rank++)
        if (!self->shards[rank].is_asked)
            SC_TRY(tell_to_write(self, &self->shards[rank], slash + 1));
    if (!slash || self->n_in_flight > 0 || self->worker_status != SC_OK)
        return SC_OK;
    self->phase = WRITE;
    (void)sc_checkpoint_writer_finish(self->writer);
    return SC_OK;
}

static void on_checked(void *context, int rank, const sc_result *result)
{
    (void)rank, (void)result;
    ((sc_saver *)context)->n_unchecked--;
}

sc_status sc_saver_check_shared(sc_saver *self)
{
    sc_cluster *cluster = self->options.cluster;
    if (!self->options.shared)
        return SC_OK;
    Stagecoach__V1__CheckSharedRequest request = STAGECOACH__V1__CHECK_SHARED_REQUEST__INIT;
    request.path = (char *)self->options.shared;
    request.token = (char *)self->options.token;
    self->n_unchecked = 0;
    for (int rank = 0; rank < cluster->n_ranks; rank++) {
        self->n_unchecked++;
        SC_TRY(sc_cluster_call(cluster, rank, "CheckShared", &request.base, NULL, sc_cluster_call_deadline(cluster),
                               on_checked, self));
    }
    while (self->n_unchecked > 0)
        SC_TRY(sc_cluster_poll(cluster));
    return SC_OK;
}

/* --- turns ------------------------------------------------------------------------------------------------------------------ */

static sc_status stream(sc_saver *self)
{
    bool all_asked = true;
    if (self->options.shared)
        return tell_workers(self);
    for (int rank = 0; rank < self->S; rank++) {
        shard *s = &self->shards[rank];
        for (int i = 0; i < WINDOW && s->next_item < s->n_items; i++)
            if (!s->window[i].busy && may_ask(self))
                SC_TRY(ask(self, s, &s->window[i]));
        all_asked = all_asked && s->next_item == s->n_items;
    }
    if (!all_asked || self->n_in_flight > 0)
        return SC_OK;
    self->phase = WRITE;
    (void)sc_checkpoint_writer_finish(self->writer); /* an error is the thread's own, which sc_saver_turn finds */
    return SC_OK;
}

sc_status sc_saver_turn(sc_saver *self)
{
    sc_status status;
    bool ended = self->writer && self->phase >= STREAM && sc_checkpoint_writer_done(self->writer, &status);
    if (ended && self->n_in_flight > 0)
        return SC_OK;                          /* the answers under way would find their pieces gone */
    if (ended && self->worker_status != SC_OK) /* for its sake the writer was given up */
        status = SC_FAIL(self->worker_status, "%s", self->worker_message);
    if (ended && status != SC_OK)
        try_again(self, status);
    else if (ended)
        report(self, status);
    else if (self->phase == STREAM && !ended)
        SC_TRY(stream(self));
    return SC_OK;
}

sc_status sc_saver_wait(sc_saver *self)
{
    self->spread_seconds = 0;
    while (self->phase != IDLE || self->leaving) {
        SC_TRY(sc_saver_turn(self));
        reap_writer(self);
        if (self->phase != IDLE || self->leaving)
            SC_TRY(sc_cluster_poll(self->options.cluster));
    }
    return SC_OK;
}
