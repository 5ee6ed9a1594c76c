/* The calls that the coordinator makes: each is checked, becomes a command to the executor, and is answered when the
 * command has ended. */
#include "worker/session_internal.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_PIECE_BYTES = 256 << 20, /* of state in one call: the caller sets the pace, but within reason */
};

sc_session *sc_session_of(void *closure_data)
{
    return sc_call_context(sc_call_of(closure_data));
}

/* ---- pending calls ---- */

sc_status sc_session_pend(sc_session *self, sc_pending_kind kind, void *closure_data, sc_pending **out)
{
    sc_pending *pending = calloc(1, sizeof *pending);
    if (!pending)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a call");
    pending->kind = kind;
    pending->closure_data = closure_data;
    pending->ticket = ++self->last_ticket;
    *out = pending;
    return SC_OK;
}

void sc_session_settle(sc_session *self, sc_pending *pending, void *closure_data, sc_status status)
{
    if (status == SC_OK) {
        pending->next = self->pending;
        self->pending = pending;
        return;
    }
    free(pending);
    SC_WARN("call refused: %s", sc_status_message());
    sc_call_fail(sc_call_of(closure_data), status, sc_status_message());
}

void sc_session_forget_pending(sc_session *self)
{
    for (sc_pending *pending; (pending = self->pending);) {
        self->pending = pending->next;
        free(pending);
    }
    self->n_running = 0;
}

/* ---- requests ---- */

static sc_status check_generation(const sc_session *self, uint64_t generation)
{
    if (!self->assignment)
        return SC_FAIL(SC_FAILED_PRECONDITION, "this worker has no assignment");
    if (generation != self->assignment->generation)
        return SC_FAIL(SC_FAILED_PRECONDITION, "the call is of generation %" PRIu64 ", this worker is in %" PRIu64,
                       generation, self->assignment->generation);
    return SC_OK;
}

sc_status sc_session_check_stages(const sc_session *self, uint64_t generation)
{
    SC_TRY(check_generation(self, generation));
    if (!sc_assignment_has_stages(self->assignment))
        return SC_FAIL(SC_FAILED_PRECONDITION, "worker %d of generation %" PRIu64 " has no stage",
                       self->assignment->worker, generation);
    return SC_OK;
}

static sc_status check_assign(const sc_session *self, const Stagecoach__V1__AssignRequest *input)
{
    if (self->state < SC_SESSION_IDLE || self->state > SC_SESSION_RUNNING)
        return SC_FAIL(SC_UNAVAILABLE, "this worker is not a member of the run");
    if (input->run != self->run)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "the assignment is of run %016" PRIx64 ", this worker joined %016" PRIx64, input->run,
                       self->run);
    if (input->generation <= sc_node_generation(self->node))
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "the assignment is of generation %" PRIu64 ", this worker has reached %" PRIu64,
                       input->generation, sc_node_generation(self->node));
    return SC_OK;
}

/* A member without a stage has nothing to build. */
static void answer_member(sc_session *self, const sc_pending *pending)
{
    sc_executor_forget(self->executor, ++self->last_ticket);
    self->state = SC_SESSION_READY;
    Stagecoach__V1__AssignReply reply = STAGECOACH__V1__ASSIGN_REPLY__INIT;
    SC_INFO("generation %" PRIu64 ": a member without a stage", self->assignment->generation);
    pending->closure.assign(&reply, pending->closure_data);
}

static void serve_assign(Stagecoach__V1__StageWorker_Service *service, const Stagecoach__V1__AssignRequest *input,
                         Stagecoach__V1__AssignReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = sc_session_of(closure_data);
    sc_pending *pending = NULL;
    sc_assignment *assignment = NULL;
    sc_status status;
    SC_TRY_GOTO(status, check_assign(self, input), settled);
    SC_TRY_GOTO(status, sc_assignment_parse(input, &assignment), settled);
    SC_TRY_GOTO(status, sc_session_pend(self, SC_PENDING_ASSIGN, closure_data, &pending), unused);
    pending->closure.assign = closure;
    SC_TRY_GOTO(status, sc_session_begin_assignment(self, assignment), settled);
    if (!sc_assignment_has_stages(assignment)) {
        answer_member(self, pending);
        free(pending);
        return;
    }
    status = sc_executor_assign(self->executor, pending->ticket, self->epoch, self->assignment);
    if (status != SC_OK)
        sc_session_end_assignment(self);
    goto settled;
unused:
    sc_assignment_unref(&assignment);
settled:
    sc_session_settle(self, pending, closure_data, status);
}

static void serve_run_step(Stagecoach__V1__StageWorker_Service *service, const Stagecoach__V1__RunStepRequest *input,
                           Stagecoach__V1__RunStepReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = sc_session_of(closure_data);
    sc_pending *pending = NULL;
    sc_status status;
    sc_run_step step = {
        .step = input->step,
        .plan = input->plan > INT_MAX ? INT_MAX : (int)input->plan,
        .optimizer_step = (int64_t)input->optimizer_step,
        .n_targets = input->n_targets,
        .target_weight = input->target_weight,
        .n_sequences = input->n_sequences,
        .want_logits = input->want_logits,
        .cache = input->cache,
        .position = input->position > INT_MAX ? INT_MAX : (int)input->position, /* a stage's check refuses it */
        .replay = input->replay,
    };
    SC_TRY_GOTO(status, sc_session_check_stages(self, input->generation), settled);
    if (input->optimizer_step > UINT32_MAX) { /* a counter word of the random numbers has 32 bits */
        status = SC_FAIL(SC_INVALID, "optimizer step %" PRIu64 " does not fit 32 bits", input->optimizer_step);
        goto settled;
    }
    SC_TRY_GOTO(status, sc_session_pend(self, SC_PENDING_RUN, closure_data, &pending), settled);
    pending->closure.run_step = closure;
    SC_TRY_GOTO(status, sc_executor_run(self->executor, pending->ticket, self->epoch, &step), settled);
    if (self->kept_vote != 0 && input->optimizer_step == self->kept_vote) { /* the executor drops the vote */
        sc_message_log_drop_from(&self->log, self->kept_vote_sequence);
        self->kept_vote = 0;
    }
    self->n_running++;
    if (self->state == SC_SESSION_READY)
        self->state = SC_SESSION_RUNNING;
settled:
    sc_session_settle(self, pending, closure_data, status);
}

static void serve_apply_step(Stagecoach__V1__StageWorker_Service *service,
                             const Stagecoach__V1__ApplyStepRequest *input,
                             Stagecoach__V1__ApplyStepReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = sc_session_of(closure_data);
    sc_pending *pending = NULL;
    sc_status status;
    sc_apply_step step = {input->step, input->grad_scale, input->learning_rate};
    SC_TRY_GOTO(status, sc_session_check_stages(self, input->generation), settled);
    SC_TRY_GOTO(status, sc_session_pend(self, SC_PENDING_APPLY, closure_data, &pending), settled);
    pending->closure.apply_step = closure;
    status = sc_executor_apply(self->executor, pending->ticket, self->epoch, &step);
settled:
    sc_session_settle(self, pending, closure_data, status);
}

static sc_status parse_piece(const char *name, Stagecoach__V1__StateKind kind, uint64_t from, uint64_t n,
                             sc_state_piece *out)
{
    size_t length = strlen(name);
    if (length == 0 || length >= SC_NAME_BYTES)
        return SC_FAIL(SC_INVALID, "a parameter's name has 1 to %d bytes, not %zu", SC_NAME_BYTES - 1, length);
    if (n == 0 || n > MAX_PIECE_BYTES)
        return SC_FAIL(SC_INVALID, "a piece of '%s' has %" PRIu64 " bytes; 1 to %d are allowed", name, n,
                       MAX_PIECE_BYTES);
    *out = (sc_state_piece){.from = from, .n = n};
    memcpy(out->name, name, length + 1);
    switch (kind) {
    case STAGECOACH__V1__STATE_KIND__STATE_PARAMETER:
        out->kind = SC_STATE_PARAMETER;
        return SC_OK;
    case STAGECOACH__V1__STATE_KIND__STATE_FIRST_MOMENT:
        out->kind = SC_STATE_FIRST_MOMENT;
        return SC_OK;
    case STAGECOACH__V1__STATE_KIND__STATE_SECOND_MOMENT:
        out->kind = SC_STATE_SECOND_MOMENT;
        return SC_OK;
    default:
        return SC_FAIL(SC_INVALID, "state of kind %d of '%s' is not known", (int)kind, name);
    }
}

sc_status sc_session_check_snapshot(const sc_session *self, uint64_t optimizer_step)
{
    for (int k = 0; k < self->assignment->n_chunks; k++)
        if (!sc_session_own_part(self, optimizer_step, k))
            return SC_FAIL(SC_FAILED_PRECONDITION, "this worker has no snapshot of optimizer step %" PRIu64,
                           optimizer_step);
    return SC_OK;
}

/* Of what never changes there are no moments, which a checkpoint has as zeros. */
static bool is_frozen_moment(const sc_model *model, const sc_state_piece *piece)
{
    if (model->frozen == 0 || piece->kind == SC_STATE_PARAMETER)
        return false;
    const int ordinal = sc_model_find_param(model, piece->name);
    return ordinal >= 0 && !sc_model_param_learns(model, ordinal);
}

sc_status sc_session_snapshot_piece(const sc_session *self, uint64_t optimizer_step, const sc_state_piece *piece,
                                    sc_buffer **out)
{
    sc_status status = SC_NOT_FOUND;
    const sc_part *part = NULL;
    sc_state_piece wanted = *piece;
    uint64_t from = 0;
    const bool zero = is_frozen_moment(&self->assignment->model, piece);
    if (zero)
        wanted.kind = SC_STATE_PARAMETER; /* as large */
    for (int k = 0; status == SC_NOT_FOUND && k < self->assignment->n_chunks; k++) {
        SC_TRY(sc_session_check_snapshot(self, optimizer_step));
        part = sc_session_own_part(self, optimizer_step, k);
        status = sc_part_find(part, &wanted, &from);
    }
    SC_TRY(status);
    SC_TRY(sc_buffer_new((size_t)piece->n, out));
    if (zero)
        memset(sc_buffer_data(*out), 0, (size_t)piece->n);
    else
        sc_part_read(part, from, piece->n, sc_buffer_data(*out));
    return SC_OK;
}

static void serve_read_state(Stagecoach__V1__StageWorker_Service *service,
                             const Stagecoach__V1__ReadStateRequest *input,
                             Stagecoach__V1__ReadStateReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = sc_session_of(closure_data);
    sc_pending *pending = NULL;
    sc_status status;
    sc_state_piece piece;
    SC_TRY_GOTO(status, sc_session_check_stages(self, input->generation), settled);
    SC_TRY_GOTO(status, parse_piece(input->name, input->kind, input->offset, input->bytes, &piece), settled);
    if (input->snapshot) {
        uint64_t step = input->optimizer_step ? input->optimizer_step : self->snapshot_step;
        sc_buffer *payload = NULL;
        SC_TRY_GOTO(status, sc_session_snapshot_piece(self, step, &piece, &payload), settled);
        sc_call_set_payload(sc_call_of(closure_data), payload);
        Stagecoach__V1__ReadStateReply reply = STAGECOACH__V1__READ_STATE_REPLY__INIT;
        closure(&reply, closure_data);
        return;
    }
    SC_TRY_GOTO(status, sc_session_pend(self, SC_PENDING_READ, closure_data, &pending), settled);
    pending->closure.read_state = closure;
    status = sc_executor_read(self->executor, pending->ticket, self->epoch, &piece);
settled:
    sc_session_settle(self, pending, closure_data, status);
}

static void serve_write_state(Stagecoach__V1__StageWorker_Service *service,
                              const Stagecoach__V1__WriteStateRequest *input,
                              Stagecoach__V1__WriteStateReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = sc_session_of(closure_data);
    sc_pending *pending = NULL;
    sc_status status;
    sc_state_piece piece;
    sc_buffer *payload = sc_call_payload(sc_call_of(closure_data));
    SC_TRY_GOTO(status, sc_session_check_stages(self, input->generation), settled);
    SC_TRY_GOTO(status,
                parse_piece(input->name, input->kind, input->offset, payload ? sc_buffer_bytes(payload) : 0, &piece),
                settled);
    SC_TRY_GOTO(status, sc_session_pend(self, SC_PENDING_WRITE, closure_data, &pending), settled);
    pending->closure.write_state = closure;
    status = sc_executor_write(self->executor, pending->ticket, self->epoch, &piece, payload);
settled:
    sc_session_settle(self, pending, closure_data, status);
}

/* The parts that the executor is to fill, one a chunk; owned. */
static sc_status make_parts(const sc_session *self, uint64_t optimizer_step, sc_part **parts)
{
    const sc_assignment *assignment = self->assignment;
    for (int k = 0; k < assignment->n_chunks; k++) {
        sc_slice slice = sc_assignment_slice(assignment, k);
        sc_part_key key = {assignment->lineage, optimizer_step, slice.first_block, slice.n_blocks};
        SC_TRY(sc_part_new_own(&key, &assignment->model, sc_assignment_n_moments(assignment), &parts[k]));
    }
    return SC_OK;
}

/* Other points go now, so that the new one is written into their memory. */
static sc_status let_go(sc_session *self, const Stagecoach__V1__SnapshotRequest *input)
{
    if (input->n_keep_steps > SC_VAULT_MAX_KEEP)
        return SC_FAIL(SC_INVALID, "a snapshot is to keep %zu others; %d are the most", input->n_keep_steps,
                       SC_VAULT_MAX_KEEP);
    uint64_t steps[1 + SC_VAULT_MAX_KEEP] = {input->optimizer_step};
    self->n_keep_steps = input->n_keep_steps;
    for (size_t i = 0; i < input->n_keep_steps; i++)
        steps[1 + i] = self->keep_steps[i] = input->keep_steps[i];
    sc_vault_keep(self->vault, steps, 1 + input->n_keep_steps);
    sc_message_log_release_before(&self->log, input->log_from);
    return SC_OK;
}

static void serve_snapshot(Stagecoach__V1__StageWorker_Service *service, const Stagecoach__V1__SnapshotRequest *input,
                           Stagecoach__V1__SnapshotReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = sc_session_of(closure_data);
    sc_pending *pending = NULL;
    sc_part *parts[SC_MAX_CHUNKS] = {0};
    sc_status status;
    SC_TRY_GOTO(status, sc_session_check_stages(self, input->generation), settled);
    SC_TRY_GOTO(status, let_go(self, input), settled);
    SC_TRY_GOTO(status, make_parts(self, input->optimizer_step, parts), settled);
    SC_TRY_GOTO(status, sc_session_pend(self, SC_PENDING_SNAPSHOT, closure_data, &pending), settled);
    pending->closure.snapshot = closure;
    pending->optimizer_step = input->optimizer_step;
    status = sc_executor_snapshot(self->executor, pending->ticket, self->epoch, parts, self->assignment->n_chunks,
                                  sc_vault_pool(self->vault));
settled:
    for (int k = 0; k < SC_MAX_CHUNKS; k++)
        sc_part_unref(&parts[k]);
    sc_session_settle(self, pending, closure_data, status);
}

static void serve_deposit(Stagecoach__V1__StageWorker_Service *service, const Stagecoach__V1__DepositRequest *input,
                          Stagecoach__V1__DepositReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = sc_session_of(closure_data);
    sc_status status = sc_session_check_stages(self, input->generation);
    if (status == SC_OK)
        sc_session_begin_deposit(self, input->optimizer_step, closure, closure_data);
    else
        sc_session_settle(self, NULL, closure_data, status);
}

static void serve_restore(Stagecoach__V1__StageWorker_Service *service, const Stagecoach__V1__RestoreRequest *input,
                          Stagecoach__V1__RestoreReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = sc_session_of(closure_data);
    sc_status status = sc_session_check_stages(self, input->generation);
    if (status == SC_OK)
        sc_session_begin_restore(self, input, closure, closure_data);
    else
        sc_session_settle(self, NULL, closure_data, status);
}

static void serve_check_shared(Stagecoach__V1__StageWorker_Service *service,
                               const Stagecoach__V1__CheckSharedRequest *input,
                               Stagecoach__V1__CheckSharedReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session_serve_check_shared(sc_session_of(closure_data), input, closure, closure_data);
}

static void serve_write_shard(Stagecoach__V1__StageWorker_Service *service,
                              const Stagecoach__V1__WriteShardRequest *input,
                              Stagecoach__V1__WriteShardReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = sc_session_of(closure_data);
    sc_status status = sc_session_check_stages(self, input->generation);
    if (status == SC_OK)
        sc_session_serve_write_shard(self, input, closure, closure_data);
    else
        sc_session_settle(self, NULL, closure_data, status);
}

static void serve_release(Stagecoach__V1__StageWorker_Service *service, const Stagecoach__V1__ReleaseRequest *input,
                          Stagecoach__V1__ReleaseReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = sc_session_of(closure_data);
    Stagecoach__V1__ReleaseReply reply = STAGECOACH__V1__RELEASE_REPLY__INIT;
    closure(&reply, closure_data);
    SC_INFO("released by the coordinator%s%s", input->reason[0] ? ": " : "", input->reason);
    sc_session_end(self);
}

void sc_session_serve(sc_session *self)
{
    self->service = (Stagecoach__V1__StageWorker_Service)STAGECOACH__V1__STAGE_WORKER__INIT(serve_);
    sc_session_serve_store(self);
}
