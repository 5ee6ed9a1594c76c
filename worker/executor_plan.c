/* The walk down a plan's action list. */
#include "worker/executor_walk.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what it is doing, as one word for the network thread ---- */

static uint64_t pack_action(sc_action action)
{
    return (uint64_t)(action.kind + 1) << 48 | (uint64_t)action.stage << 24 | (uint64_t)(action.microbatch + 1);
}

/* Told from actions by the highest bit. */
uint64_t sc_executor_pack_command(sc_command_kind kind)
{
    return UINT64_C(1) << 63 | (uint64_t)kind;
}

const char *sc_executor_doing_text(uint64_t doing, char *text, size_t text_bytes)
{
    static const char *const commands[] = {
        [SC_COMMAND_ASSIGN] = "assign",     [SC_COMMAND_FORGET] = "forget",   [SC_COMMAND_RUN] = "run",
        [SC_COMMAND_APPLY] = "apply",       [SC_COMMAND_READ] = "read",       [SC_COMMAND_WRITE] = "write",
        [SC_COMMAND_SNAPSHOT] = "snapshot", [SC_COMMAND_RESTORE] = "restore",
    };
    if (doing == 0 || doing >> 63) {
        snprintf(text, text_bytes, "%s", doing == 0 ? "idle" : commands[doing & 0xFF]);
        return text;
    }
    sc_action action = {
        .kind = (sc_action_kind)((doing >> 48) - 1),
        .stage = (int)(doing >> 24 & 0xFFFFFF),
        .microbatch = (int)(doing & 0xFFFFFF) - 1,
    };
    return sc_action_text(action, text, text_bytes);
}

/* ---- micro-batches in hand ---- */

void sc_executor_clear_cells(sc_executor *self)
{
    if (!self->cells)
        return;
    for (int i = 0; i < self->assignment->n_chunks * self->assignment->max_microbatches; i++) {
        sc_cell *cell = &self->cells[i];
        sc_tensor_message_clear(&cell->activation_in);
        sc_tensor_message_clear(&cell->gradient_in);
        sc_buffer_unref(&cell->activation_out);
        sc_buffer_unref(&cell->gradient_out);
    }
}

/* ---- backward ---- */

static sc_status compute_backward(const sc_walk *w, sc_action action, const sc_tensor_message *gradient)
{
    int v = action.stage, m = action.microbatch;
    sc_stage *stage = sc_walk_stage(w, v);
    sc_cell *cell = sc_walk_cell(w, v, m);
    if (gradient->payload)
        SC_TRY(sc_stage_put_gradient(stage, m, sc_buffer_data(gradient->payload)));
    if (action.kind == SC_ACT_BACKWARD)
        SC_TRY(sc_stage_backward(stage, m));
    else
        SC_TRY(sc_stage_backward_input(stage, m));
    if (v > w->plan->n_frozen) {
        size_t bytes = (size_t)cell->B * (size_t)cell->T * (size_t)w->assignment->model.hidden * sizeof(float);
        SC_TRY(sc_buffer_get(w->self->pool, bytes, &cell->gradient_out));
        SC_TRY(sc_stage_take_gradient(stage, m, sc_buffer_data(cell->gradient_out)));
    }
    return w->self->options.ops->stream_sync(w->self->stream);
}

/* B and I. */
static sc_status act_backward(const sc_walk *w, sc_action action)
{
    int v = action.stage, m = action.microbatch;
    sc_cell *cell = sc_walk_cell(w, v, m);
    sc_tensor_message gradient = {0};
    if (v < w->assignment->n_stages - 1) {
        if (sc_plan_sends(w->plan)) {
            gradient = cell->gradient_in;
            cell->gradient_in = (sc_tensor_message){0};
        } else {
            SC_TRY(sc_walk_await(w, sc_walk_name(w, v, m, SC_KIND(GRADIENT), 0), &gradient));
        }
        if (gradient.shape.dims[0] != cell->B || gradient.shape.dims[1] != cell->T) {
            sc_tensor_message_clear(&gradient);
            return SC_FAIL(SC_INVALID, "the gradient's shape is not the activation's, (%d,%d,%d)", cell->B, cell->T,
                           w->assignment->model.hidden);
        }
    }
    uint64_t start = sc_clock_ns(&w->self->options.clock);
    sc_status status = compute_backward(w, action, &gradient);
    w->done->times.backward += sc_clock_seconds_since(&w->self->options.clock, start);
    sc_tensor_message_clear(&gradient);
    if (status == SC_OK && cell->gradient_out && !sc_plan_sends(w->plan))
        status = sc_walk_hand_over(w, v - 1, m, SC_KIND(GRADIENT), cell, &cell->gradient_out);
    return status;
}

static sc_status act_backward_weight(const sc_walk *w, int v, int m)
{
    uint64_t start = sc_clock_ns(&w->self->options.clock);
    SC_TRY(sc_stage_backward_weight(sc_walk_stage(w, v), m));
    SC_TRY(w->self->options.ops->stream_sync(w->self->stream));
    w->done->times.backward += sc_clock_seconds_since(&w->self->options.clock, start);
    return SC_OK;
}

/* ---- the vote ---- */

static sc_status act_step(const sc_walk *w)
{
    int n = 0;
    for (int k = 0; k < w->assignment->n_chunks; k++)
        n += sc_stage_n_norms(w->self->stages[k]);
    w->done->ordinals = calloc((size_t)n + 1, sizeof(int));
    w->done->sum_squares = calloc((size_t)n + 1, sizeof(double));
    if (!w->done->ordinals || !w->done->sum_squares)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %d norms", n);
    for (int k = 0; k < w->assignment->n_chunks; k++) {
        int at = w->done->n_norms;
        SC_TRY(sc_stage_norms(w->self->stages[k], w->done->ordinals + at, w->done->sum_squares + at));
        w->done->n_norms += sc_stage_n_norms(w->self->stages[k]);
    }
    return SC_OK;
}

/* ---- the walk ---- */

static sc_status act(const sc_walk *w, sc_action action)
{
    int v = action.stage, m = action.microbatch;
    sc_cell *cell = m >= 0 ? sc_walk_cell(w, v, m) : NULL;
    switch (action.kind) {
    case SC_ACT_FORWARD:
        return sc_walk_forward(w, v, m);
    case SC_ACT_BACKWARD:
    case SC_ACT_BACKWARD_INPUT:
        return act_backward(w, action);
    case SC_ACT_BACKWARD_WEIGHT:
        return act_backward_weight(w, v, m);
    case SC_ACT_SEND_F:
        return sc_walk_send(w, v + 1, m, SC_KIND(ACTIVATION), cell, &cell->activation_out);
    case SC_ACT_SEND_B:
        return sc_walk_send(w, v - 1, m, SC_KIND(GRADIENT), cell, &cell->gradient_out);
    case SC_ACT_RECV_F:
        return sc_walk_await(w, sc_walk_name(w, v, m, SC_KIND(ACTIVATION), 0), &cell->activation_in);
    case SC_ACT_RECV_B:
        return sc_walk_await(w, sc_walk_name(w, v, m, SC_KIND(GRADIENT), 0), &cell->gradient_in);
    case SC_ACT_REDUCE_TIED:
        return sc_walk_reduce_tied(w, v);
    case SC_ACT_STEP:
        return act_step(w);
    case SC_ACT_REDUCE_GRAD:
        break;
    }
    return SC_FAIL(SC_INTERNAL, "the assignment should have been refused: it reduces over replicas");
}

/* Where the results go, before the first action needs the place. */
static sc_status prepare_results(const sc_walk *w)
{
    const sc_assignment *assignment = w->assignment;
    if (sc_assignment_worker_of(assignment, assignment->n_stages - 1) != assignment->worker)
        return SC_OK;
    if (w->step->want_logits && sc_model_predicts_words(&assignment->model))
        return SC_OK; /* as many as the targets will say */
    if (w->step->want_logits) {
        size_t rows = (size_t)w->plan->n_microbatches * (size_t)assignment->B;
        size_t bytes = rows * (size_t)sc_model_n_logits(&assignment->model, assignment->T) * sizeof(float);
        SC_TRY(sc_buffer_get(w->self->pool, bytes, &w->done->payload));
        memset(sc_buffer_data(w->done->payload), 0, bytes);
        return SC_OK;
    }
    int n_losses = w->plan->n_microbatches * sc_model_n_losses(&assignment->model);
    w->done->loss_sums = calloc((size_t)n_losses, sizeof(double));
    if (w->plan->mode == SC_PLAN_FORWARD)
        w->done->n_correct = calloc((size_t)n_losses, sizeof(uint64_t));
    if (!w->done->loss_sums || (w->plan->mode == SC_PLAN_FORWARD && !w->done->n_correct))
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %d losses", n_losses);
    w->done->n_loss_sums = n_losses;
    return SC_OK;
}

sc_status sc_executor_run_plan(sc_executor *self, const sc_command *command)
{
    const sc_assignment *assignment = self->assignment;
    const sc_plan *plan = assignment->plans[command->run.plan];
    bool trains = plan->mode == SC_PLAN_TRAIN;
    double targets = command->run.target_weight > 0 ? command->run.target_weight : (double)command->run.n_targets;
    sc_walk w = {
        .self = self,
        .assignment = assignment,
        .plan = plan,
        .step = &command->run,
        .epoch = command->epoch,
        .done = command->done,
        .stage_step =
            {
                .train = trains,
                .seed = assignment->seed,
                .optimizer_step = command->run.optimizer_step,
                .loss_scale = trains ? 1.0f / (float)targets : 1.0f,
                .next_scale = trains && command->run.n_sequences > 0 ? 1.0f / (float)command->run.n_sequences : 1.0f,
                .cache = command->run.cache,
                .position = command->run.position,
            },
    };
    uint64_t start = sc_clock_ns(&self->options.clock);
    atomic_store(&self->step, command->run.step);
    sc_status status = prepare_results(&w);
    if (status == SC_OK && command->run.replay)
        status = sc_walk_ask_for_inputs(&w);
    const sc_action_list *list = &plan->workers[assignment->worker];
    for (int i = 0; status == SC_OK && i < list->n; i++) {
        char text[32];
        atomic_store(&self->doing, pack_action(list->actions[i]));
        if (sc_mailbox_is_current(self->options.mailbox, command->epoch))
            status = act(&w, list->actions[i]);
        else
            status = SC_FAIL(SC_CANCELLED, "the assignment has ended");
        if (status != SC_OK)
            status = SC_FAIL(status, "step %" PRIu64 ", %s: %s", command->run.step,
                             sc_action_text(list->actions[i], text, sizeof text), sc_status_message());
        else
            atomic_fetch_add(&self->actions_done, 1);
    }
    atomic_store(&self->doing, 0);
    command->done->times.step = sc_clock_seconds_since(&self->options.clock, start);
    return status;
}
