/* The ends of the coordinator's calls: what the executor made of their commands. */
#include "worker/session_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { STEPS_REMEMBERED = 8 }; /* no coordinator runs farther ahead with forward-only steps: older ones are over */

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

static void answer_assign(sc_session *self, const sc_pending *pending, const sc_executor_event *done)
{
    const sc_assignment *assignment = self->assignment;
    const sc_stage_memory *memory = &done->memory;
    self->state = SC_SESSION_READY;
    if (done->kept)
        sc_message_log_drop_from(&self->log, done->last_sequence + 1); /* a step that was broken off */
    else
        sc_message_log_clear(&self->log);
    self->kept_vote = done->voted_step;
    self->kept_vote_sequence = done->last_sequence;
    Stagecoach__V1__AssignReply reply = STAGECOACH__V1__ASSIGN_REPLY__INIT;
    reply.kept = done->kept;
    if (done->kept) {
        reply.applied_step = done->applied_step;
        reply.voted_step = done->voted_step;
        reply.voted_sequence = done->voted_step ? done->last_sequence : 0;
        reply.logged_from = sc_message_log_from(&self->log);
    }
    reply.param_bytes = memory->params + memory->gradients + memory->optimizer;
    reply.activation_bytes = memory->activations;
    const sc_slice *slice = &assignment->slices[assignment->worker];
    SC_INFO("generation %" PRIu64
            ": worker %d of %d, %d blocks from block %d%s%s; %.1f MiB of state, %.1f of activations",
            assignment->generation, assignment->worker, assignment->n_workers, slice->n_blocks, slice->first_block,
            assignment->n_chunks > 1 ? " and further chunks" : "", done->kept ? ", kept" : "",
            (double)reply.param_bytes / (1 << 20), (double)reply.activation_bytes / (1 << 20));
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
    message.repeated = counters.repeated;
    message.replayed = self->n_replayed;
    message.duplicates = counters.duplicates;
    message.messages_in = counters.messages_in;
    message.messages_out = counters.messages_out;
    message.bytes_in = counters.bytes_in;
    message.bytes_out = counters.bytes_out;
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
    reply.n_n_correct = done->n_correct ? reply.n_loss_sums : 0;
    reply.n_correct = done->n_correct;
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

static void answer_snapshot(sc_session *self, const sc_pending *pending, const sc_executor_event *done)
{
    Stagecoach__V1__SnapshotReply reply = STAGECOACH__V1__SNAPSHOT_REPLY__INIT;
    for (int k = 0; k < done->n_parts; k++) {
        sc_status status = sc_vault_add(self->vault, done->parts[k]);
        if (status != SC_OK) {
            sc_call_fail(sc_call_of(pending->closure_data), status, sc_status_message());
            return;
        }
        reply.bytes += done->parts[k]->bytes;
    }
    uint64_t now = sc_session_now_ms(self);
    self->snapshot_interval_ms = self->snapshot_ms ? now - self->snapshot_ms : 0;
    self->snapshot_ms = now;
    self->snapshot_step = pending->optimizer_step;
    pending->closure.snapshot(&reply, pending->closure_data);
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
        self->kept_vote = 0;
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
    case SC_PENDING_SNAPSHOT:
        answer_snapshot(self, pending, done);
        break;
    case SC_PENDING_RESTORE: {
        sc_message_log_clear(&self->log); /* of steps that will be done again */
        self->kept_vote = 0;
        Stagecoach__V1__RestoreReply reply = STAGECOACH__V1__RESTORE_REPLY__INIT;
        reply.bytes_own = pending->bytes_own;
        reply.bytes_fetched = pending->bytes_fetched;
        pending->closure.restore(&reply, pending->closure_data);
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
    bool was_snapshot = pending->kind == SC_PENDING_SNAPSHOT;
    free(pending);
    if (was_snapshot)
        sc_session_resume_deposit(self);
}
