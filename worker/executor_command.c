/* The executor's commands other than the plan itself: stages built and dropped, the optimizer, state in and out. */
#include "worker/executor_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void sc_executor_forget_stages(sc_executor *self)
{
    sc_executor_clear_cells(self);
    for (int k = 0; k < SC_MAX_CHUNKS; k++)
        sc_stage_destroy(&self->stages[k]);
    free(self->cells);
    self->cells = NULL;
    self->voted = self->broken = self->step_is_known = false;
    self->optimizer_step = 0;
    self->voted_step = 0;
    sc_assignment_unref(&self->assignment);
}

static sc_stage_options stage_options(const sc_executor *self, const sc_assignment *assignment, int chunk)
{
    int v = chunk * assignment->n_workers + assignment->worker;
    sc_stage_options options = {
        .ops = self->options.ops,
        .stream = self->stream,
        .model = assignment->model,
        .slice = assignment->slices[v],
        .B = assignment->B,
        .T = assignment->T,
        .train = assignment->train,
        .cached_rows = assignment->cache ? assignment->max_microbatches * assignment->B : 0,
        .optimizer = assignment->optimizer,
        .class_weights = assignment->class_weights,
    };
    sc_assignment_in_flight(assignment, v, &options.max_alive, &options.max_split);
    return options;
}

/* A backend touches every page it allocates, so on a host a stage that does not fit would end in the kernel's
 * out-of-memory killer: say it before. */
static sc_status check_memory(const sc_executor *self, const sc_stage_memory *memory)
{
    if (strcmp(self->options.ops->name, "cuda") == 0)
        return SC_OK; /* the device's own allocator says so */
    double need =
        (double)memory->params + (double)memory->gradients + (double)memory->optimizer + (double)memory->activations;
    double have = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    if (need > have)
        return SC_FAIL(
            SC_RESOURCE_EXHAUSTED,
            "the stage needs %.1f GiB and this host has %.1f: use more workers or a smaller micro_batch_size",
            need / (1 << 30), have / (1 << 30));
    return SC_OK;
}

static sc_stage_memory plan_memory(const sc_executor *self, const sc_assignment *assignment)
{
    sc_stage_memory sum = {0};
    for (int k = 0; k < assignment->n_chunks; k++) {
        sc_stage_options options = stage_options(self, assignment, k);
        sc_stage_memory memory = sc_stage_plan_memory(&options);
        sum.params += memory.params;
        sum.gradients += memory.gradients;
        sum.optimizer += memory.optimizer;
        sum.activations += memory.activations;
    }
    return sum;
}

static sc_status build_stages(sc_executor *self, sc_assignment *assignment)
{
    sc_stage_memory memory = plan_memory(self, assignment);
    SC_TRY(check_memory(self, &memory));
    size_t n_cells = (size_t)assignment->n_chunks * (size_t)assignment->max_microbatches;
    self->cells = calloc(n_cells, sizeof *self->cells);
    if (!self->cells)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu micro-batches", n_cells);
    self->assignment = sc_assignment_ref(assignment);
    for (int k = 0; k < assignment->n_chunks; k++) {
        sc_stage_options options = stage_options(self, assignment, k);
        SC_TRY(sc_stage_new(&options, &self->stages[k]));
        if (assignment->fresh)
            SC_TRY(sc_stage_init(self->stages[k], assignment->seed));
        atomic_fetch_add(&self->actions_done, 1);
    }
    self->step_is_known = assignment->fresh;
    return self->options.ops->stream_sync(self->stream);
}

/* The same stages as before: as new ones, in memory that is there. A page that is touched for the first time costs many
 * times what setting it does. */
static sc_status renew_stages(sc_executor *self, const sc_assignment *assignment)
{
    for (int k = 0; k < assignment->n_chunks; k++) {
        if (assignment->fresh)
            SC_TRY(sc_stage_init(self->stages[k], assignment->seed));
        else
            SC_TRY(sc_stage_clear(self->stages[k]));
        atomic_fetch_add(&self->actions_done, 1);
    }
    self->voted = self->broken = false;
    self->optimizer_step = 0;
    self->voted_step = 0;
    self->step_is_known = assignment->fresh;
    return self->options.ops->stream_sync(self->stream);
}

/* Rule 5. */
static bool keeps_state(const sc_executor *self, const sc_assignment *next)
{
    return next->keep && !next->fresh && next->lineage == self->assignment->lineage && self->step_is_known &&
           !self->broken;
}

static sc_status assign(sc_executor *self, sc_command *command)
{
    sc_assignment *next = command->assignment;
    sc_executor_event *done = command->done;
    if (!sc_mailbox_is_current(self->options.mailbox, command->epoch))
        return SC_FAIL(SC_CANCELLED, "the assignment of generation %" PRIu64 " ended before its stages were built",
                       next->generation);
    bool same = self->assignment && sc_assignment_same_stages(next, self->assignment);
    done->kept = same && keeps_state(self, next);
    sc_status status = SC_OK;
    if (same) {
        sc_executor_clear_cells(self);
        if (!done->kept)
            status = renew_stages(self, next);
        sc_assignment_unref(&self->assignment);
        self->assignment = sc_assignment_ref(next);
    } else {
        sc_executor_forget_stages(self); /* first: old and new may not fit side by side */
        status = build_stages(self, next);
    }
    if (status != SC_OK) {
        sc_executor_forget_stages(self);
        return status;
    }
    done->memory = plan_memory(self, next);
    done->applied_step = (uint64_t)(self->optimizer_step - self->voted);
    done->last_sequence = self->voted_step;
    done->voted_step = self->voted ? (uint64_t)self->optimizer_step : 0;
    return SC_OK;
}

/* After a step that was broken off: whatever it left in the stages goes. */
static void undo_step(sc_executor *self)
{
    sc_executor_clear_cells(self);
    for (int k = 0; k < self->assignment->n_chunks; k++)
        if (sc_stage_reset(self->stages[k]) != SC_OK)
            self->broken = true;
}

/* Of an earlier assignment's step that is to be run again. */
static void drop_vote(sc_executor *self)
{
    undo_step(self);
    self->voted = false;
    self->optimizer_step--;
}

static sc_status run(sc_executor *self, sc_command *command)
{
    const sc_run_step *step = &command->run;
    if (step->plan < 0 || step->plan >= self->assignment->n_plans)
        return SC_FAIL(SC_INVALID, "step %" PRIu64 " names plan %d of %d", step->step, step->plan,
                       self->assignment->n_plans);
    bool trains = self->assignment->plans[step->plan]->mode == SC_PLAN_TRAIN;
    if (step->replay && !trains)
        return SC_FAIL(SC_INVALID, "step %" PRIu64 " trains nothing: it cannot be replayed", step->step);
    if (trains && (step->n_targets == 0 || step->want_logits))
        return SC_FAIL(SC_INVALID, "step %" PRIu64 " trains; it must have targets and cannot have logits", step->step);
    if (trains &&
        (self->assignment->class_weights != NULL) != (step->target_weight > 0 && isfinite(step->target_weight)))
        return SC_FAIL(SC_INVALID,
                       "step %" PRIu64
                       " has targets of weight %g; with class weights, and only then, it must be positive",
                       step->step, step->target_weight);
    if (trains && sc_model_predicts_next(&self->assignment->model) && step->n_sequences == 0)
        return SC_FAIL(SC_INVALID, "step %" PRIu64 " is of pre-training; it must say how many sequences it has",
                       step->step);
    if (trains && step->optimizer_step < 1)
        return SC_FAIL(SC_INVALID, "step %" PRIu64 " trains as optimizer step %" PRId64 "; the first is 1", step->step,
                       step->optimizer_step);
    if (self->voted)
        drop_vote(self);
    if (trains && self->optimizer_step && step->optimizer_step != self->optimizer_step + 1)
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "step %" PRIu64 " is optimizer step %" PRId64 ", but %" PRId64 " was the last applied here",
                       step->step, step->optimizer_step, self->optimizer_step);
    command->done->step = step->step;
    sc_status status = sc_executor_run_plan(self, command);
    if (status != SC_OK) {
        undo_step(self);
        return status;
    }
    if (trains) {
        self->voted = command->done->voted = true;
        self->voted_step = step->step;
        self->voted_epoch = command->epoch;
        self->optimizer_step = step->optimizer_step;
        self->step_is_known = true;
    }
    return SC_OK;
}

static sc_status apply(sc_executor *self, const sc_command *command)
{
    const sc_apply_step *step = &command->apply;
    if (!self->voted || self->voted_step != step->step)
        return SC_FAIL(SC_FAILED_PRECONDITION, "step %" PRIu64 " cannot be applied: it has not voted here", step->step);
    uint64_t start = sc_clock_ns(&self->options.clock);
    self->voted = false;
    self->broken = true; /* until every stage has applied */
    for (int k = 0; k < self->assignment->n_chunks; k++)
        SC_TRY(sc_stage_apply(self->stages[k], self->optimizer_step, step->grad_scale, step->learning_rate));
    SC_TRY(self->options.ops->stream_sync(self->stream));
    self->broken = false;
    command->done->step = step->step;
    command->done->optimizer_seconds = sc_clock_seconds_since(&self->options.clock, start);
    return SC_OK;
}

/* Calls on the stage that holds the tensor. With several chunks more than one may hold the tied matrix, and then the
 * two are the same: a read takes the first, a write goes to all. */
static sc_status read_state(sc_executor *self, sc_command *command)
{
    const sc_state_piece *piece = &command->piece;
    SC_TRY(sc_buffer_get(self->pool, piece->n, &command->done->payload));
    void *data = sc_buffer_data(command->done->payload);
    sc_status status = SC_NOT_FOUND;
    for (int k = 0; status == SC_NOT_FOUND && k < self->assignment->n_chunks; k++)
        status = sc_stage_read_state(self->stages[k], piece->name, piece->kind, piece->from, piece->n, data);
    if (status != SC_OK)
        sc_buffer_unref(&command->done->payload);
    return status;
}

static sc_status write_state(sc_executor *self, const sc_command *command)
{
    const sc_state_piece *piece = &command->piece;
    bool found = false;
    sc_status status = SC_OK;
    self->step_is_known = false;
    for (int k = 0; k < self->assignment->n_chunks; k++) {
        status = sc_stage_write_state(self->stages[k], piece->name, piece->kind, piece->from, piece->n,
                                      sc_buffer_data(command->data));
        if (status == SC_OK)
            found = true;
        else if (status != SC_NOT_FOUND)
            return sc_status_forward(status, __FILE__, __LINE__);
    }
    return found ? SC_OK : status;
}

static sc_status take_snapshot(sc_executor *self, sc_command *command)
{
    int64_t step = command->n_parts > 0 ? (int64_t)command->parts[0]->key.optimizer_step : 0;
    if (self->voted && self->voted_epoch != command->epoch && self->optimizer_step == step + 1)
        drop_vote(self); /* no verdict came: a loss did, and the step is run again behind the snapshot, or never */
    if (self->voted || (self->step_is_known && self->optimizer_step != step))
        return SC_FAIL(SC_FAILED_PRECONDITION,
                       "a snapshot after optimizer step %" PRId64 " is asked for; the stage is %s %" PRId64, step,
                       self->voted ? "waiting to apply" : "after", self->optimizer_step);
    for (int k = 0; k < command->n_parts; k++)
        SC_TRY(sc_part_take(command->parts[k], command->pool, self->stages[k], &self->actions_done));
    self->optimizer_step = step;
    self->step_is_known = true;
    memcpy(command->done->parts, command->parts, sizeof command->parts);
    command->done->n_parts = command->n_parts;
    command->n_parts = 0;
    return SC_OK;
}

static sc_status restore(sc_executor *self, const sc_command *command)
{
    int n_chunks = self->assignment->n_chunks;
    self->broken = true; /* until all is there */
    self->voted = false;
    SC_TRY(sc_restore_apply(command->restore, self->stages, n_chunks, &self->actions_done));
    sc_executor_clear_cells(self);
    for (int k = 0; k < n_chunks; k++)
        SC_TRY(sc_stage_reset(self->stages[k]));
    self->optimizer_step = (int64_t)sc_restore_step(command->restore);
    self->voted_step = 0;
    self->step_is_known = true;
    self->broken = false;
    return SC_OK;
}

sc_status sc_executor_perform(sc_executor *self, sc_command *command)
{
    if (command->kind == SC_COMMAND_ASSIGN)
        return assign(self, command);
    if (command->kind == SC_COMMAND_FORGET) {
        sc_executor_forget_stages(self);
        return SC_OK;
    }
    if (!self->assignment || !sc_mailbox_is_current(self->options.mailbox, command->epoch))
        return SC_FAIL(SC_CANCELLED, "the assignment that this call belongs to has ended");
    if (command->kind == SC_COMMAND_RESTORE)
        return restore(self, command); /* it mends */
    if (self->broken)
        return SC_FAIL(SC_FAILED_PRECONDITION, "an earlier failure spoilt the stage; it needs a new assignment");
    switch (command->kind) {
    case SC_COMMAND_RUN:
        return run(self, command);
    case SC_COMMAND_APPLY:
        return apply(self, command);
    case SC_COMMAND_READ:
        return read_state(self, command);
    case SC_COMMAND_SNAPSHOT:
        return take_snapshot(self, command);
    default:
        return write_state(self, command);
    }
}
