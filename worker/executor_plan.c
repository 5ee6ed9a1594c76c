/* The walk down a plan's action list. Names of tensors: see TensorName in stagecoach.proto. */
#include "worker/executor_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIND(name) STAGECOACH__V1__TENSOR_KIND__##name

typedef struct walk {
    sc_executor *self;
    const sc_assignment *assignment;
    const sc_plan *plan;
    const sc_run_step *step;
    uint64_t epoch;
    sc_executor_event *done; /* where the results go */
    sc_stage_step stage_step;
} walk;

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

static sc_stage *stage_of(const walk *w, int v)
{
    return w->self->stages[v / w->assignment->n_workers];
}

static sc_cell *cell_of(const walk *w, int v, int m)
{
    return &w->self->cells[v / w->assignment->n_workers * w->assignment->max_microbatches + m];
}

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

static sc_tensor_name name_of(const walk *w, int stage, int microbatch, uint32_t kind, uint32_t part)
{
    return (sc_tensor_name){
        .generation = w->assignment->generation,
        .step = w->step->step,
        .microbatch = (uint32_t)microbatch,
        .stage = (uint32_t)stage,
        .kind = kind,
        .part = part,
    };
}

/* ---- to and from others ---- */

static sc_status post_tensor(const walk *w, sc_executor_event_kind kind, int worker, sc_tensor_message *message)
{
    sc_executor_event *event = calloc(1, sizeof *event);
    if (!event) {
        sc_tensor_message_clear(message);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for an event");
    }
    event->kind = kind;
    event->epoch = w->epoch;
    event->worker = worker;
    event->tensor = *message;
    event->logged = w->stage_step.train;
    event->unsent = event->at_once = w->step->replay;
    sc_executor_post(w->self, event);
    return SC_OK;
}

/* Reports that `name` is awaited. */
static sc_status post_await(const walk *w, sc_tensor_name name)
{
    sc_tensor_message awaited = {.name = name};
    return post_tensor(w, SC_EVENT_AWAIT, sc_assignment_sender(w->assignment, &name), &awaited);
}

/* A replayed step's inputs from other stages lie in their workers' message logs, and nobody sends them by himself: all are
 * asked for before the first is needed. The tied gradient's parts follow when their turn comes: they may be more than
 * the mailbox takes. */
static sc_status ask_for_inputs(const walk *w)
{
    const sc_action_list *list = &w->plan->workers[w->assignment->worker];
    for (int i = 0; i < list->n; i++) {
        sc_action action = list->actions[i];
        if (action.kind == SC_ACT_RECV_F)
            SC_TRY(post_await(w, name_of(w, action.stage, action.microbatch, KIND(ACTIVATION), 0)));
        else if (action.kind == SC_ACT_RECV_B)
            SC_TRY(post_await(w, name_of(w, action.stage, action.microbatch, KIND(GRADIENT), 0)));
    }
    return SC_OK;
}

/* Takes a tensor from the mailbox. A wait that outlasts half a resend is reported, so that the network thread asks for
 * what may have been lost. */
static sc_status await(const walk *w, sc_tensor_name name, sc_tensor_message *out)
{
    sc_mailbox *mailbox = w->self->options.mailbox;
    uint64_t start = sc_clock_ns(&w->self->options.clock);
    atomic_store(&w->self->waiting, true);
    sc_status status = sc_mailbox_wait(mailbox, w->epoch, &name, (int)(w->assignment->resend_ms / 2), out);
    if (status == SC_DEADLINE_EXCEEDED) {
        status = post_await(w, name);
        if (status == SC_OK)
            status = sc_mailbox_wait(mailbox, w->epoch, &name, -1, out);
    }
    atomic_store(&w->self->waiting, false);
    w->done->times.wait += sc_clock_seconds_since(&w->self->options.clock, start);
    return status;
}

/* Takes the buffer, a (B,T,C) tensor for `stage` on this worker. */
static sc_status hand_over(const walk *w, int stage, int microbatch, uint32_t kind, const sc_cell *cell,
                           sc_buffer **buffer_p)
{
    sc_tensor_message message = {
        .name = name_of(w, stage, microbatch, kind, 0),
        .dtype = SC_F32,
        .shape = SC_SHAPE(cell->B, cell->T, w->assignment->model.hidden),
        .payload = *buffer_p,
    };
    *buffer_p = NULL;
    return sc_mailbox_put(w->self->options.mailbox, w->epoch, &message);
}

/* Takes the buffer, a (B,T,C) tensor for `stage` on another worker. */
static sc_status send_to(const walk *w, int stage, int microbatch, uint32_t kind, const sc_cell *cell,
                         sc_buffer **buffer_p)
{
    sc_tensor_message message = {
        .name = name_of(w, stage, microbatch, kind, 0),
        .dtype = SC_F32,
        .shape = SC_SHAPE(cell->B, cell->T, w->assignment->model.hidden),
        .payload = *buffer_p,
    };
    *buffer_p = NULL;
    return post_tensor(w, SC_EVENT_SEND, sc_assignment_worker_of(w->assignment, stage), &message);
}

/* ---- forward ---- */

/* What F needs; NULL payloads are of what it does not. */
typedef struct inputs {
    sc_tensor_message input; /* the tokens, or the stage before's output */
    sc_tensor_message lengths, segments;
    sc_tensor_message targets, next;
} inputs;

static void clear_inputs(inputs *in)
{
    sc_tensor_message_clear(&in->input);
    sc_tensor_message_clear(&in->lengths);
    sc_tensor_message_clear(&in->segments);
    sc_tensor_message_clear(&in->targets);
    sc_tensor_message_clear(&in->next);
}

/* Waits for a tensor of ids with B rows of n, or n == 0: B of them. */
static sc_status await_ids(const walk *w, int v, int m, uint32_t kind, const char *what, int n, sc_tensor_message *out)
{
    int B = cell_of(w, v, m)->B;
    SC_TRY(await(w, name_of(w, v, m, kind, 0), out));
    const int64_t *dims = out->shape.dims;
    if (dims[0] == B && (n == 0 || dims[1] == n))
        return SC_OK;
    char text[64];
    return SC_FAIL(SC_INVALID, "the %s are %s; the stage's input has %d sequences of %d tokens", what,
                   sc_shape_text(&out->shape, text, sizeof text), B, cell_of(w, v, m)->T);
}

static sc_status gather_inputs(const walk *w, int v, int m, inputs *in)
{
    const sc_model *model = &w->assignment->model;
    sc_cell *cell = cell_of(w, v, m);
    if (v == 0) {
        SC_TRY(await(w, name_of(w, 0, m, KIND(TOKENS), 0), &in->input));
    } else if (sc_plan_sends(w->plan)) {
        in->input = cell->activation_in;
        cell->activation_in = (sc_tensor_message){0};
    } else {
        SC_TRY(await(w, name_of(w, v, m, KIND(ACTIVATION), 0), &in->input));
    }
    cell->B = (int)in->input.shape.dims[0];
    cell->T = (int)in->input.shape.dims[1];
    if (sc_model_takes_segments(model))
        SC_TRY(await_ids(w, v, m, KIND(LENGTHS), "lengths", 0, &in->lengths));
    if (sc_model_takes_segments(model) && v == 0)
        SC_TRY(await_ids(w, v, m, KIND(SEGMENTS), "segments", cell->T, &in->segments));
    if (v < w->assignment->n_stages - 1 || w->step->want_logits)
        return SC_OK;
    SC_TRY(await_ids(w, v, m, KIND(TARGETS), "targets", sc_model_n_targets(model, cell->T), &in->targets));
    if (sc_model_predicts_next(model))
        SC_TRY(await_ids(w, v, m, KIND(NEXT_SENTENCE), "next sentences", 0, &in->next));
    return SC_OK;
}

/* The logits of a micro-batch whose sequences have fewer than they may: dense rows of `n` become rows of `room`. */
static void spread_rows(float *rows, int B, size_t n, size_t room)
{
    for (size_t b = (size_t)B; b-- > 0;) {
        memmove(rows + b * room, rows + b * n, n * sizeof *rows);
        memset(rows + b * room + n, 0, (room - n) * sizeof *rows);
    }
}

/* What the last stage makes of a micro-batch: losses, or rows of logits. */
static sc_status take_result(const walk *w, int v, int m)
{
    sc_stage *stage = stage_of(w, v);
    const sc_cell *cell = cell_of(w, v, m);
    const sc_model *model = &w->assignment->model;
    if (!w->step->want_logits) {
        uint64_t n_targets;
        return sc_stage_take_loss(stage, m, &w->done->loss_sums[m * sc_model_n_losses(model)], &n_targets);
    }
    size_t room = (size_t)sc_model_n_logits(model, w->assignment->T), n = (size_t)sc_model_n_logits(model, cell->T);
    float *logits = sc_buffer_data(w->done->payload);
    logits += (size_t)m * (size_t)w->assignment->B * room;
    SC_TRY(sc_stage_take_logits(stage, m, logits));
    spread_rows(logits, cell->B, n, room);
    return SC_OK;
}

static sc_status put_inputs(const walk *w, int v, int m, const inputs *in)
{
    sc_stage *stage = stage_of(w, v);
    int B = cell_of(w, v, m)->B, T = cell_of(w, v, m)->T;
    if (v == 0)
        SC_TRY(sc_stage_put_tokens(stage, m, sc_buffer_data(in->input.payload), B, T));
    else
        SC_TRY(sc_stage_put_activation(stage, m, sc_buffer_data(in->input.payload), B, T));
    if (in->lengths.payload)
        SC_TRY(sc_stage_put_lengths(stage, m, sc_buffer_data(in->lengths.payload), B, T));
    if (in->segments.payload)
        SC_TRY(sc_stage_put_segments(stage, m, sc_buffer_data(in->segments.payload), B, T));
    if (in->targets.payload)
        SC_TRY(sc_stage_put_targets(stage, m, sc_buffer_data(in->targets.payload), B, T));
    if (in->next.payload)
        SC_TRY(sc_stage_put_next(stage, m, sc_buffer_data(in->next.payload), B, T));
    return SC_OK;
}

static sc_status compute_forward(const walk *w, int v, int m, const inputs *in)
{
    sc_stage *stage = stage_of(w, v);
    sc_cell *cell = cell_of(w, v, m);
    SC_TRY(put_inputs(w, v, m, in));
    uint32_t first_row = (uint32_t)m * (uint32_t)w->assignment->B;
    SC_TRY(sc_stage_forward(stage, m, first_row, &w->stage_step));
    if (v == w->assignment->n_stages - 1) {
        SC_TRY(take_result(w, v, m));
    } else {
        /* Now and not at SEND_F: the stage keeps its output only until its next forward, which may come first. */
        size_t bytes = (size_t)cell->B * (size_t)cell->T * (size_t)w->assignment->model.hidden * sizeof(float);
        SC_TRY(sc_buffer_get(w->self->pool, bytes, &cell->activation_out));
        SC_TRY(sc_stage_take_activation(stage, m, sc_buffer_data(cell->activation_out)));
    }
    if (w->plan->mode == SC_PLAN_FORWARD)
        sc_stage_finish(stage, m);
    return w->self->options.ops->stream_sync(w->self->stream);
}

static sc_status act_forward(const walk *w, int v, int m)
{
    inputs in = {0};
    sc_status status = gather_inputs(w, v, m, &in);
    if (status == SC_OK) {
        uint64_t start = sc_clock_ns(&w->self->options.clock);
        status = compute_forward(w, v, m, &in);
        w->done->times.forward += sc_clock_seconds_since(&w->self->options.clock, start);
    }
    clear_inputs(&in);
    sc_cell *cell = cell_of(w, v, m);
    if (status == SC_OK && cell->activation_out && !sc_plan_sends(w->plan))
        status = hand_over(w, v + 1, m, KIND(ACTIVATION), cell, &cell->activation_out);
    return status;
}

/* ---- backward ---- */

static sc_status compute_backward(const walk *w, sc_action action, const sc_tensor_message *gradient)
{
    int v = action.stage, m = action.microbatch;
    sc_stage *stage = stage_of(w, v);
    sc_cell *cell = cell_of(w, v, m);
    if (gradient->payload)
        SC_TRY(sc_stage_put_gradient(stage, m, sc_buffer_data(gradient->payload)));
    if (action.kind == SC_ACT_BACKWARD)
        SC_TRY(sc_stage_backward(stage, m));
    else
        SC_TRY(sc_stage_backward_input(stage, m));
    if (v > 0) {
        size_t bytes = (size_t)cell->B * (size_t)cell->T * (size_t)w->assignment->model.hidden * sizeof(float);
        SC_TRY(sc_buffer_get(w->self->pool, bytes, &cell->gradient_out));
        SC_TRY(sc_stage_take_gradient(stage, m, sc_buffer_data(cell->gradient_out)));
    }
    return w->self->options.ops->stream_sync(w->self->stream);
}

/* B and I. */
static sc_status act_backward(const walk *w, sc_action action)
{
    int v = action.stage, m = action.microbatch;
    sc_cell *cell = cell_of(w, v, m);
    sc_tensor_message gradient = {0};
    if (v < w->assignment->n_stages - 1) {
        if (sc_plan_sends(w->plan)) {
            gradient = cell->gradient_in;
            cell->gradient_in = (sc_tensor_message){0};
        } else {
            SC_TRY(await(w, name_of(w, v, m, KIND(GRADIENT), 0), &gradient));
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
        status = hand_over(w, v - 1, m, KIND(GRADIENT), cell, &cell->gradient_out);
    return status;
}

static sc_status act_backward_weight(const walk *w, int v, int m)
{
    uint64_t start = sc_clock_ns(&w->self->options.clock);
    SC_TRY(sc_stage_backward_weight(stage_of(w, v), m));
    SC_TRY(w->self->options.ops->stream_sync(w->self->stream));
    w->done->times.backward += sc_clock_seconds_since(&w->self->options.clock, start);
    return SC_OK;
}

/* ---- the tied matrix ---- */

static sc_status read_tied_part(const walk *w, int v, uint32_t part, sc_buffer **out)
{
    uint64_t n = sc_assignment_tied_part_elements(w->assignment, part);
    SC_TRY(sc_buffer_get(w->self->pool, n * sizeof(float), out));
    sc_status status =
        sc_stage_read_tied(stage_of(w, v), (uint64_t)part * SC_TIED_PART_ELEMENTS, n, sc_buffer_data(*out));
    if (status != SC_OK)
        sc_buffer_unref(out);
    return status;
}

static sc_status add_tied_part(const walk *w, int v, uint32_t part, sc_buffer *other)
{
    return sc_stage_add_tied(stage_of(w, v), (uint64_t)part * SC_TIED_PART_ELEMENTS,
                             sc_assignment_tied_part_elements(w->assignment, part), sc_buffer_data(other));
}

/* Two stages of this worker. Both sides are read before either is changed. */
static sc_status reduce_tied_here(const walk *w, int v, int other)
{
    for (uint32_t part = 0; part < sc_assignment_tied_parts(w->assignment); part++) {
        sc_buffer *a = NULL, *b = NULL;
        sc_status status = read_tied_part(w, v, part, &a);
        if (status == SC_OK)
            status = read_tied_part(w, other, part, &b);
        if (status == SC_OK)
            status = add_tied_part(w, v, part, b);
        if (status == SC_OK)
            status = add_tied_part(w, other, part, a);
        sc_buffer_unref(&a);
        sc_buffer_unref(&b);
        SC_TRY(status);
    }
    return SC_OK;
}

static sc_status send_tied_part(const walk *w, int v, int other, uint32_t part)
{
    sc_tensor_message message = {
        .name = name_of(w, other, 0, KIND(TIED_GRADIENT), part),
        .dtype = SC_F32,
        .shape = SC_SHAPE((int64_t)sc_assignment_tied_part_elements(w->assignment, part)),
    };
    SC_TRY(read_tied_part(w, v, part, &message.payload));
    return post_tensor(w, SC_EVENT_SEND, sc_assignment_worker_of(w->assignment, other), &message);
}

/* A window of parts is on its way in each direction: the directions overlap, and neither side stages more than a window
 * or has more than two to take (the other may be a window ahead of what we have sent), however large the matrix is. */
static sc_status reduce_tied_with_peer(const walk *w, int v, int other)
{
    uint32_t n_parts = sc_assignment_tied_parts(w->assignment), sent = 0;
    for (uint32_t part = 0; part < n_parts; part++) {
        for (; sent < n_parts && sent < part + SC_TIED_WINDOW; sent++) {
            if (w->step->replay)
                SC_TRY(post_await(w, name_of(w, v, 0, KIND(TIED_GRADIENT), sent)));
            SC_TRY(send_tied_part(w, v, other, sent));
        }
        sc_tensor_message theirs = {0};
        SC_TRY(await(w, name_of(w, v, 0, KIND(TIED_GRADIENT), part), &theirs));
        sc_status status = add_tied_part(w, v, part, theirs.payload);
        sc_tensor_message_clear(&theirs);
        SC_TRY(status);
    }
    return SC_OK;
}

static sc_status act_reduce_tied(const walk *w, int v)
{
    int last = w->assignment->n_stages - 1, other = last - v;
    if (last == 0)
        return sc_stage_reduce_tied_local(stage_of(w, v));
    if (sc_plan_sends(w->plan))
        return reduce_tied_with_peer(w, v, other);
    /* On one worker the last stage's action does the work for both: both have all their gradients by then. */
    return v == last ? reduce_tied_here(w, v, other) : SC_OK;
}

/* ---- the vote ---- */

static sc_status act_step(const walk *w)
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

static sc_status act(const walk *w, sc_action action)
{
    int v = action.stage, m = action.microbatch;
    sc_cell *cell = m >= 0 ? cell_of(w, v, m) : NULL;
    switch (action.kind) {
    case SC_ACT_FORWARD:
        return act_forward(w, v, m);
    case SC_ACT_BACKWARD:
    case SC_ACT_BACKWARD_INPUT:
        return act_backward(w, action);
    case SC_ACT_BACKWARD_WEIGHT:
        return act_backward_weight(w, v, m);
    case SC_ACT_SEND_F:
        return send_to(w, v + 1, m, KIND(ACTIVATION), cell, &cell->activation_out);
    case SC_ACT_SEND_B:
        return send_to(w, v - 1, m, KIND(GRADIENT), cell, &cell->gradient_out);
    case SC_ACT_RECV_F:
        return await(w, name_of(w, v, m, KIND(ACTIVATION), 0), &cell->activation_in);
    case SC_ACT_RECV_B:
        return await(w, name_of(w, v, m, KIND(GRADIENT), 0), &cell->gradient_in);
    case SC_ACT_REDUCE_TIED:
        return act_reduce_tied(w, v);
    case SC_ACT_STEP:
        return act_step(w);
    case SC_ACT_REDUCE_GRAD:
        break;
    }
    return SC_FAIL(SC_INTERNAL, "the assignment should have been refused: it reduces over replicas");
}

/* Where the results go, before the first action needs the place. */
static sc_status prepare_results(const walk *w)
{
    const sc_assignment *assignment = w->assignment;
    if (sc_assignment_worker_of(assignment, assignment->n_stages - 1) != assignment->worker)
        return SC_OK;
    if (w->step->want_logits) {
        size_t rows = (size_t)w->plan->n_microbatches * (size_t)assignment->B;
        size_t bytes = rows * (size_t)sc_model_n_logits(&assignment->model, assignment->T) * sizeof(float);
        SC_TRY(sc_buffer_get(w->self->pool, bytes, &w->done->payload));
        memset(sc_buffer_data(w->done->payload), 0, bytes);
        return SC_OK;
    }
    int n_losses = w->plan->n_microbatches * sc_model_n_losses(&assignment->model);
    w->done->loss_sums = calloc((size_t)n_losses, sizeof(double));
    if (!w->done->loss_sums)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %d losses", n_losses);
    w->done->n_loss_sums = n_losses;
    return SC_OK;
}

sc_status sc_executor_run_plan(sc_executor *self, const sc_command *command)
{
    const sc_assignment *assignment = self->assignment;
    const sc_plan *plan = assignment->plans[command->run.plan];
    bool trains = plan->mode == SC_PLAN_TRAIN;
    walk w = {
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
                .loss_scale = trains ? 1.0f / (float)command->run.n_targets : 1.0f,
                .next_scale = trains && command->run.n_sequences > 0 ? 1.0f / (float)command->run.n_sequences : 1.0f,
                .cache = command->run.cache,
                .position = command->run.position,
            },
    };
    uint64_t start = sc_clock_ns(&self->options.clock);
    atomic_store(&self->step, command->run.step);
    sc_status status = prepare_results(&w);
    if (status == SC_OK && command->run.replay)
        status = ask_for_inputs(&w);
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
