/* The calls that the coordinator makes: each is checked, becomes a command to the executor, and is answered when the
 * command has ended. */
#include "worker/session_internal.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum {
    MAX_PIECE_BYTES = 256 << 20, /* of state in one call: the caller sets the pace, but within reason */
    STEPS_REMEMBERED = 8,        /* no coordinator runs farther ahead with forward-only steps: older ones are over */
};

static sc_session *session_of(void *closure_data)
{
    return sc_call_context(sc_call_of(closure_data));
}

/* ---- pending calls ---- */

static sc_status pend(sc_session *self, sc_pending_kind kind, void *closure_data, sc_pending **out)
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

/* The end of a handler: the call waits for its command's end, or was refused and is answered so. Takes `pending`. */
static void settle(sc_session *self, sc_pending *pending, void *closure_data, sc_status status)
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

static sc_pending *take_pending(sc_session *self, uint64_t ticket)
{
    sc_pending **link = &self->pending;
    while (*link && (*link)->ticket != ticket)
        link = &(*link)->next;
    sc_pending *found = *link;
    if (found)
        *link = found->next;
    return found;
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

/* For what needs stages. */
static sc_status check_stages(const sc_session *self, uint64_t generation)
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
    sc_session *self = session_of(closure_data);
    sc_pending *pending = NULL;
    sc_assignment *assignment = NULL;
    sc_status status;
    SC_TRY_GOTO(status, check_assign(self, input), settled);
    SC_TRY_GOTO(status, sc_assignment_parse(input, &assignment), settled);
    SC_TRY_GOTO(status, pend(self, SC_PENDING_ASSIGN, closure_data, &pending), unused);
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
    settle(self, pending, closure_data, status);
}

static void serve_run_step(Stagecoach__V1__StageWorker_Service *service, const Stagecoach__V1__RunStepRequest *input,
                           Stagecoach__V1__RunStepReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = session_of(closure_data);
    sc_pending *pending = NULL;
    sc_status status;
    sc_run_step step = {
        .step = input->step,
        .plan = input->plan > INT_MAX ? INT_MAX : (int)input->plan,
        .optimizer_step = (int64_t)input->optimizer_step,
        .n_targets = input->n_targets,
        .want_logits = input->want_logits,
        .cache = input->cache,
        .position = input->position > INT_MAX ? INT_MAX : (int)input->position, /* a stage's check refuses it */
    };
    SC_TRY_GOTO(status, check_stages(self, input->generation), settled);
    if (input->optimizer_step > UINT32_MAX) { /* a counter word of the random numbers has 32 bits */
        status = SC_FAIL(SC_INVALID, "optimizer step %" PRIu64 " does not fit 32 bits", input->optimizer_step);
        goto settled;
    }
    SC_TRY_GOTO(status, pend(self, SC_PENDING_RUN, closure_data, &pending), settled);
    pending->closure.run_step = closure;
    SC_TRY_GOTO(status, sc_executor_run(self->executor, pending->ticket, self->epoch, &step), settled);
    self->n_running++;
    if (self->state == SC_SESSION_READY)
        self->state = SC_SESSION_RUNNING;
settled:
    settle(self, pending, closure_data, status);
}

static void serve_apply_step(Stagecoach__V1__StageWorker_Service *service,
                             const Stagecoach__V1__ApplyStepRequest *input,
                             Stagecoach__V1__ApplyStepReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = session_of(closure_data);
    sc_pending *pending = NULL;
    sc_status status;
    sc_apply_step step = {input->step, input->grad_scale, input->learning_rate};
    SC_TRY_GOTO(status, check_stages(self, input->generation), settled);
    SC_TRY_GOTO(status, pend(self, SC_PENDING_APPLY, closure_data, &pending), settled);
    pending->closure.apply_step = closure;
    status = sc_executor_apply(self->executor, pending->ticket, self->epoch, &step);
settled:
    settle(self, pending, closure_data, status);
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

sc_status sc_session_check_snapshot(const sc_session *self, int64_t optimizer_step)
{
    if (!self->snapshot || sc_snapshot_step(self->snapshot) != optimizer_step)
        return SC_FAIL(SC_FAILED_PRECONDITION, "this worker has no snapshot of optimizer step %" PRId64,
                       optimizer_step);
    return SC_OK;
}

/* Copied: the next snapshot may be written into the same memory. */
sc_status sc_session_snapshot_piece(const sc_session *self, const sc_state_piece *piece, sc_buffer **out)
{
    if (!self->snapshot)
        return SC_FAIL(SC_FAILED_PRECONDITION, "this worker has no snapshot to read '%s' from", piece->name);
    const void *data = NULL;
    SC_TRY(sc_snapshot_find(self->snapshot, piece, &data));
    SC_TRY(sc_buffer_new((size_t)piece->n, out));
    memcpy(sc_buffer_data(*out), data, (size_t)piece->n);
    return SC_OK;
}

static void serve_read_state(Stagecoach__V1__StageWorker_Service *service,
                             const Stagecoach__V1__ReadStateRequest *input,
                             Stagecoach__V1__ReadStateReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = session_of(closure_data);
    sc_pending *pending = NULL;
    sc_status status;
    sc_state_piece piece;
    SC_TRY_GOTO(status, check_stages(self, input->generation), settled);
    SC_TRY_GOTO(status, parse_piece(input->name, input->kind, input->offset, input->bytes, &piece), settled);
    if (input->snapshot) {
        sc_buffer *payload = NULL;
        SC_TRY_GOTO(status, sc_session_snapshot_piece(self, &piece, &payload), settled);
        sc_call_set_payload(sc_call_of(closure_data), payload);
        Stagecoach__V1__ReadStateReply reply = STAGECOACH__V1__READ_STATE_REPLY__INIT;
        closure(&reply, closure_data);
        return;
    }
    SC_TRY_GOTO(status, pend(self, SC_PENDING_READ, closure_data, &pending), settled);
    pending->closure.read_state = closure;
    status = sc_executor_read(self->executor, pending->ticket, self->epoch, &piece);
settled:
    settle(self, pending, closure_data, status);
}

static void serve_write_state(Stagecoach__V1__StageWorker_Service *service,
                              const Stagecoach__V1__WriteStateRequest *input,
                              Stagecoach__V1__WriteStateReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = session_of(closure_data);
    sc_pending *pending = NULL;
    sc_status status;
    sc_state_piece piece;
    sc_buffer *payload = sc_call_payload(sc_call_of(closure_data));
    SC_TRY_GOTO(status, check_stages(self, input->generation), settled);
    SC_TRY_GOTO(status,
                parse_piece(input->name, input->kind, input->offset, payload ? sc_buffer_bytes(payload) : 0, &piece),
                settled);
    SC_TRY_GOTO(status, pend(self, SC_PENDING_WRITE, closure_data, &pending), settled);
    pending->closure.write_state = closure;
    status = sc_executor_write(self->executor, pending->ticket, self->epoch, &piece, payload);
settled:
    settle(self, pending, closure_data, status);
}

static void serve_snapshot(Stagecoach__V1__StageWorker_Service *service, const Stagecoach__V1__SnapshotRequest *input,
                           Stagecoach__V1__SnapshotReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = session_of(closure_data);
    sc_pending *pending = NULL;
    sc_status status;
    SC_TRY_GOTO(status, check_stages(self, input->generation), settled);
    SC_TRY_GOTO(status, pend(self, SC_PENDING_SNAPSHOT, closure_data, &pending), settled);
    pending->closure.snapshot = closure;
    status = sc_executor_snapshot(self->executor, pending->ticket, self->epoch, (int64_t)input->optimizer_step,
                                  &self->snapshot);
settled:
    settle(self, pending, closure_data, status);
}

static void serve_deposit(Stagecoach__V1__StageWorker_Service *service, const Stagecoach__V1__DepositRequest *input,
                          Stagecoach__V1__DepositReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)closure;
    sc_session *self = session_of(closure_data);
    sc_status status = check_stages(self, input->generation);
    if (status == SC_OK)
        status = SC_FAIL(SC_FAILED_PRECONDITION, "this worker has no point of optimizer step %" PRIu64,
                         input->optimizer_step);
    settle(self, NULL, closure_data, status);
}

static void serve_restore(Stagecoach__V1__StageWorker_Service *service, const Stagecoach__V1__RestoreRequest *input,
                          Stagecoach__V1__RestoreReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)closure;
    sc_session *self = session_of(closure_data);
    sc_status status = check_stages(self, input->generation);
    if (status == SC_OK)
        status = SC_FAIL(SC_NOT_FOUND, "nobody has the point of optimizer step %" PRIu64, input->optimizer_step);
    settle(self, NULL, closure_data, status);
}

static void serve_check_shared(Stagecoach__V1__StageWorker_Service *service,
                               const Stagecoach__V1__CheckSharedRequest *input,
                               Stagecoach__V1__CheckSharedReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session_serve_check_shared(session_of(closure_data), input, closure, closure_data);
}

static void serve_write_shard(Stagecoach__V1__StageWorker_Service *service,
                              const Stagecoach__V1__WriteShardRequest *input,
                              Stagecoach__V1__WriteShardReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = session_of(closure_data);
    sc_status status = check_stages(self, input->generation);
    if (status == SC_OK)
        sc_session_serve_write_shard(self, input, closure, closure_data);
    else
        settle(self, NULL, closure_data, status);
}

static void serve_release(Stagecoach__V1__StageWorker_Service *service, const Stagecoach__V1__ReleaseRequest *input,
                          Stagecoach__V1__ReleaseReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = session_of(closure_data);
    Stagecoach__V1__ReleaseReply reply = STAGECOACH__V1__RELEASE_REPLY__INIT;
    closure(&reply, closure_data);
    SC_INFO("released by the coordinator%s%s", input->reason[0] ? ": " : "", input->reason);
    sc_session_end(self);
}

void sc_session_serve(sc_session *self)
{
    self->service = (Stagecoach__V1__StageWorker_Service)STAGECOACH__V1__STAGE_WORKER__INIT(serve_);
}

/* ---- replies ---- */

static void answer_assign(sc_session *self, const sc_pending *pending, const sc_executor_event *done)
{
    const sc_assignment *assignment = self->assignment;
    const sc_stage_memory *memory = &done->memory;
    self->state = SC_SESSION_READY;
    Stagecoach__V1__AssignReply reply = STAGECOACH__V1__ASSIGN_REPLY__INIT;
    reply.param_bytes = memory->params + memory->gradients + memory->optimizer;
    reply.activation_bytes = memory->activations;
    const sc_slice *slice = &assignment->slices[assignment->worker];
    SC_INFO("generation %" PRIu64
            ": worker %d of %d, %d blocks from block %d%s; %.1f MiB of state, %.1f of activations",
            assignment->generation, assignment->worker, assignment->n_workers, slice->n_blocks, slice->first_block,
            assignment->n_chunks > 1 ? " and further chunks" : "", (double)reply.param_bytes / (1 << 20),
            (double)reply.activation_bytes / (1 << 20));
    pending->closure.assign(&reply, pending->closure_data);
}

static Stagecoach__V1__StageTimes times_of(const sc_session *self, const sc_step_times *times)
{
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    sc_node_counters counters = sc_node_count(self->node);
    Stagecoach__V1__StageTimes message = STAGECOACH__V1__STAGE_TIMES__INIT;
    message.forward_seconds = times->forward;
    message.backward_seconds = times->backward;
    message.wait_seconds = times->wait;
    message.step_seconds = times->step;
    message.peak_resident_bytes = (uint64_t)usage.ru_maxrss * 1024; /* Linux counts in KiB */
    message.dropped = counters.fenced;
    message.resends = counters.resends;
    return message;
}

static void answer_run_step(sc_session *self, const sc_pending *pending, const sc_executor_event *done)
{
    size_t n = (size_t)done->n_norms;
    Stagecoach__V1__ParamNorm *norms = calloc(n + 1, sizeof *norms);
    Stagecoach__V1__ParamNorm **pointers = calloc(n + 1, sizeof(Stagecoach__V1__ParamNorm *));
    if (!norms || !pointers) {
        sc_call_fail(sc_call_of(pending->closure_data), SC_RESOURCE_EXHAUSTED, "no memory for the step's norms");
        goto cleanup;
    }
    for (size_t i = 0; i < n; i++) {
        norms[i] = (Stagecoach__V1__ParamNorm)STAGECOACH__V1__PARAM_NORM__INIT;
        norms[i].ordinal = (uint32_t)done->ordinals[i];
        norms[i].sum_squares = done->sum_squares[i];
        pointers[i] = &norms[i];
    }
    Stagecoach__V1__StageTimes times = times_of(self, &done->times);
    Stagecoach__V1__RunStepReply reply = STAGECOACH__V1__RUN_STEP_REPLY__INIT;
    reply.step = done->step;
    reply.n_loss_sums = (size_t)done->n_loss_sums;
    reply.loss_sums = done->loss_sums;
    reply.n_norms = n;
    reply.norms = pointers;
    reply.times = &times;
    if (done->payload)
        sc_call_set_payload(sc_call_of(pending->closure_data), sc_buffer_ref(done->payload));
    pending->closure.run_step(&reply, pending->closure_data);
cleanup:
    free(norms);
    free(pointers);
}

/* Everything of the steps before `step` has been consumed, here and by whom this worker sent it to. */
static void release_before(sc_session *self, uint64_t step)
{
    sc_node_release_before(self->node, step);
    sc_mailbox_release_before(self->mailbox, step);
}

static void step_done(sc_session *self, const sc_executor_event *done)
{
    self->n_running--;
    if (self->n_running == 0 && self->state == SC_SESSION_RUNNING)
        self->state = SC_SESSION_READY;
    /* That a forward-only step has ended here says nothing of the stages behind; its age does. */
    if (done->status == SC_OK && done->epoch == self->epoch && !done->voted && done->step > STEPS_REMEMBERED)
        release_before(self, done->step - STEPS_REMEMBERED);
}

static void answer_ok(sc_session *self, const sc_pending *pending, sc_executor_event *done)
{
    switch (pending->kind) {
    case SC_PENDING_ASSIGN:
        answer_assign(self, pending, done);
        break;
    case SC_PENDING_RUN:
        answer_run_step(self, pending, done);
        break;
    case SC_PENDING_APPLY: {
        /* Every stage had voted before the coordinator could send this: the step has no tensor under way. */
        release_before(self, done->step + 1);
        Stagecoach__V1__ApplyStepReply reply = STAGECOACH__V1__APPLY_STEP_REPLY__INIT;
        reply.step = done->step;
        reply.optimizer_seconds = done->optimizer_seconds;
        pending->closure.apply_step(&reply, pending->closure_data);
        break;
    }
    case SC_PENDING_READ: {
        Stagecoach__V1__ReadStateReply reply = STAGECOACH__V1__READ_STATE_REPLY__INIT;
        sc_call_set_payload(sc_call_of(pending->closure_data), sc_buffer_ref(done->payload));
        pending->closure.read_state(&reply, pending->closure_data);
        break;
    }
    case SC_PENDING_SNAPSHOT: {
        Stagecoach__V1__SnapshotReply reply = STAGECOACH__V1__SNAPSHOT_REPLY__INIT;
        sc_snapshot_destroy(&self->snapshot);
        self->snapshot = done->snapshot;
        done->snapshot = NULL;
        reply.bytes = sc_snapshot_bytes(self->snapshot);
        pending->closure.snapshot(&reply, pending->closure_data);
        break;
    }
    case SC_PENDING_WRITE: {
        Stagecoach__V1__WriteStateReply reply = STAGECOACH__V1__WRITE_STATE_REPLY__INIT;
        pending->closure.write_state(&reply, pending->closure_data);
        break;
    }
    }
}

void sc_session_answer(sc_session *self, sc_executor_event *done)
{
    sc_pending *pending = take_pending(self, done->ticket);
    if (!pending)
        return;
    bool current = self->assignment && done->epoch == self->epoch;
    if (pending->kind == SC_PENDING_RUN)
        step_done(self, done);
    if (done->status == SC_OK && current) {
        answer_ok(self, pending, done);
    } else if (done->status == SC_OK) {
        sc_call_fail(sc_call_of(pending->closure_data), SC_CANCELLED, "the assignment has ended");
    } else {
        const char *message = done->message ? done->message : "";
        if (done->status != SC_CANCELLED)
            SC_ERROR("%s", message);
        if (pending->kind == SC_PENDING_ASSIGN && current)
            sc_session_end_assignment(self);
        sc_call_fail(sc_call_of(pending->closure_data), done->status, message);
    }
    free(pending);
}
