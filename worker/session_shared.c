/* Checkpoints into a directory that the hosts share: the check that it is the same everywhere, and the writing of this worker's
 * shard from its snapshot. The network thread hands pieces to the shard saver as room and time allow. */
#include "worker/session_internal.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIECE_BYTES = 1 << 20,
    PAUSE_MS = 5, /* between looks while the stream is ahead of its time */
};

typedef struct tensor {
    char parameter[SC_NAME_BYTES];
    sc_state_kind kind;
    uint64_t bytes;
} tensor;

/* A call in progress: CheckShared, or WriteShard with what is still to be handed over. */
struct sc_session_shared {
    bool checking;
    bool waiting; /* for the saver to come free: what was cancelled may be in a long call still */
    Stagecoach__V1__CheckSharedReply_Closure check;
    Stagecoach__V1__WriteShardReply_Closure write;
    void *closure_data;
    char *candidate, *token; /* of the check in progress */
    tensor *tensors;
    size_t n, next;
    uint64_t next_offset;
    uint64_t optimizer_step; /* of the snapshot */
    uint64_t bytes, handed_over;
    uint64_t start_ms, spread_ms;
};

static void free_call(sc_session_shared *call)
{
    free(call->tensors);
    free(call->candidate);
    free(call->token);
    free(call);
}

void sc_session_forget_shared(sc_session *self)
{
    if (!self->shared)
        return;
    sc_shard_saver_cancel(self->shard_saver);
    free_call(self->shared);
    self->shared = NULL;
}

static void cancel_shared(sc_session *self)
{
    if (!self->shared)
        return;
    sc_call_fail(sc_call_of(self->shared->closure_data), SC_CANCELLED, "another call took the place of this one");
    sc_session_forget_shared(self);
}

/* ---- CheckShared ---- */

void sc_session_serve_check_shared(sc_session *self, const Stagecoach__V1__CheckSharedRequest *input,
                                   Stagecoach__V1__CheckSharedReply_Closure closure, void *closure_data)
{
    cancel_shared(self);
    sc_session_shared *call = calloc(1, sizeof *call);
    sc_status status = SC_OK;
    if (!call || !(call->candidate = strdup(input->path)) || !(call->token = strdup(input->token)))
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a call");
    else if (input->path[0] != '/')
        status = SC_FAIL(SC_INVALID, "the shared directory '%s' is no absolute path", input->path);
    if (status != SC_OK) {
        if (call)
            free_call(call);
        sc_call_fail(sc_call_of(closure_data), status, sc_status_message());
        return;
    }
    call->checking = call->waiting = true;
    call->check = closure;
    call->closure_data = closure_data;
    self->shared = call;
    (void)sc_session_turn_shared(self, sc_session_now_ms(self));
}

static void start_check(sc_session *self)
{
    sc_session_shared *call = self->shared;
    if (!sc_shard_saver_is_free(self->shard_saver))
        return; /* it wakes us when it is */
    call->waiting = false;
    if (sc_shard_saver_check(self->shard_saver, call->candidate, call->token) == SC_OK)
        return;
    sc_call_fail(sc_call_of(call->closure_data), SC_RESOURCE_EXHAUSTED, sc_status_message());
    free_call(call);
    self->shared = NULL;
}

/* ---- WriteShard ---- */

static bool is_file_name(const char *name)
{
    return name[0] && name[0] != '.' && !strchr(name, '/') && strlen(name) < 64;
}

static sc_status add_tensors(sc_session *self, const Stagecoach__V1__WriteShardRequest *input, sc_session_shared *call,
                             sc_shard *shard)
{
    const sc_model *model = &self->assignment->model;
    call->tensors = calloc(input->n_names * (1 + (size_t)input->n_moments) + 1, sizeof *call->tensors);
    if (!call->tensors)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a shard's list");
    for (size_t i = 0; i < input->n_names; i++) {
        int ordinal = 0, n = sc_model_n_params(model);
        while (ordinal < n && strcmp(sc_model_param(model, ordinal).name, input->names[i]) != 0)
            ordinal++;
        if (ordinal == n)
            return SC_FAIL(SC_INVALID, "the model has no parameter '%.100s'", input->names[i]);
        sc_param param = sc_model_param(model, ordinal);
        for (int moment = 0; moment <= (int)input->n_moments; moment++) {
            char name[SC_SHARD_NAME_BYTES];
            tensor *t = &call->tensors[call->n++];
            memcpy(t->parameter, param.name, sizeof t->parameter);
            t->kind = (sc_state_kind)(SC_STATE_PARAMETER + moment);
            SC_TRY(sc_shape_bytes(&param.shape, SC_F32, &t->bytes));
            SC_TRY(sc_shard_add(shard, sc_shard_tensor_name(param.name, moment, name), &param.shape));
            call->bytes += t->bytes;
        }
    }
    return SC_OK;
}

static sc_status begin_shard(sc_session *self, const Stagecoach__V1__WriteShardRequest *input, sc_session_shared *call)
{
    char path[PATH_MAX];
    sc_shard *shard = NULL;
    if (!self->shared_dir)
        return SC_FAIL(SC_FAILED_PRECONDITION, "this worker has not been told of a shared directory");
    if (!is_file_name(input->set) || !is_file_name(input->file) || input->n_moments > 2)
        return SC_FAIL(SC_INVALID, "'%.64s' and '%.64s' are no names of a set and its shard", input->set, input->file);
    if (snprintf(path, sizeof path, "%s/%s/%s", self->shared_dir, input->set, input->file) >= (int)sizeof path)
        return SC_FAIL(SC_INVALID, "%s: the path is too long", self->shared_dir);
    SC_TRY(sc_session_check_snapshot(self, input->optimizer_step));
    call->optimizer_step = input->optimizer_step;
    SC_TRY(sc_shard_new((int64_t)input->optimizer_step, &shard));
    sc_status status = add_tensors(self, input, call, shard);
    if (status == SC_OK)
        status = sc_shard_saver_begin(self->shard_saver, path, &shard);
    sc_shard_destroy(&shard);
    return status;
}

static void answer_write(const sc_session_shared *call, const sc_shard_result *result)
{
    Stagecoach__V1__WriteShardReply reply = STAGECOACH__V1__WRITE_SHARD_REPLY__INIT;
    reply.status = (uint32_t)result->status;
    reply.message = (char *)result->message;
    reply.bytes = result->bytes;
    reply.xxh3_128 = (char *)result->hash;
    call->write(&reply, call->closure_data);
}

void sc_session_serve_write_shard(sc_session *self, const Stagecoach__V1__WriteShardRequest *input,
                                  Stagecoach__V1__WriteShardReply_Closure closure, void *closure_data)
{
    cancel_shared(self);
    sc_session_shared *call = calloc(1, sizeof *call);
    if (!call) {
        sc_call_fail(sc_call_of(closure_data), SC_RESOURCE_EXHAUSTED, "no memory for a call");
        return;
    }
    call->write = closure;
    call->closure_data = closure_data;
    call->start_ms = sc_session_now_ms(self);
    call->spread_ms = input->spread_ms;
    sc_status status = begin_shard(self, input, call);
    if (status == SC_OK) {
        self->shared = call;
        return;
    }
    sc_shard_result failed = {.status = status};
    snprintf(failed.message, sizeof failed.message, "%s", sc_status_message());
    answer_write(call, &failed);
    free_call(call);
}

/* ---- pieces and results ---- */

static sc_status hand_over(sc_session *self, sc_session_shared *call)
{
    const tensor *t = &call->tensors[call->next];
    uint64_t left = t->bytes - call->next_offset;
    sc_state_piece piece = {.kind = t->kind, .from = call->next_offset, .n = left < PIECE_BYTES ? left : PIECE_BYTES};
    char name[SC_SHARD_NAME_BYTES];
    sc_buffer *data = NULL;
    memcpy(piece.name, t->parameter, sizeof piece.name);
    SC_TRY(sc_session_snapshot_piece(self, call->optimizer_step, &piece, &data));
    SC_TRY(sc_shard_saver_piece(self->shard_saver, sc_shard_tensor_name(t->parameter, (int)t->kind, name), piece.from,
                                data));
    call->handed_over += piece.n;
    call->next_offset += piece.n;
    if (call->next_offset == t->bytes) {
        call->next_offset = 0;
        if (++call->next == call->n)
            sc_shard_saver_finish(self->shard_saver);
    }
    return SC_OK;
}

static void take_result(sc_session *self)
{
    sc_shard_result result;
    if (!sc_shard_saver_take_result(self->shard_saver, &result) || !self->shared)
        return;
    sc_session_shared *call = self->shared;
    self->shared = NULL;
    if (!call->checking) {
        answer_write(call, &result);
    } else if (result.status != SC_OK) {
        sc_call_fail(sc_call_of(call->closure_data), result.status, result.message);
    } else {
        free(self->shared_dir);
        self->shared_dir = call->candidate;
        call->candidate = NULL;
        Stagecoach__V1__CheckSharedReply reply = STAGECOACH__V1__CHECK_SHARED_REPLY__INIT;
        call->check(&reply, call->closure_data);
    }
    free_call(call);
}

/* A piece that cannot be had: the job goes, and the call is answered with the reason. */
static void fail_write(sc_session *self, sc_status status)
{
    sc_shard_result failed = {.status = status};
    snprintf(failed.message, sizeof failed.message, "%s", sc_status_message());
    answer_write(self->shared, &failed);
    sc_session_forget_shared(self);
}

uint64_t sc_session_turn_shared(sc_session *self, uint64_t now)
{
    take_result(self);
    sc_session_shared *call = self->shared;
    if (call && call->waiting)
        start_check(self);
    if (!call || !self->shared || call->checking)
        return UINT64_MAX;
    while (call->next < call->n) {
        double part = call->spread_ms > 0 ? (double)(now - call->start_ms) / (double)call->spread_ms : 1;
        if (part < 1 && (double)call->handed_over > part * (double)call->bytes)
            return now + PAUSE_MS;
        if (!sc_shard_saver_has_room(self->shard_saver))
            break; /* the saver wakes us when there is */
        sc_status status = hand_over(self, call);
        if (status != SC_OK) {
            fail_write(self, status);
            break;
        }
    }
    return UINT64_MAX;
}
