/* What the walk takes from others and gives to them, the tied matrix's gradient among it. */
#include "worker/executor_walk.h"

#include <stdlib.h>

sc_stage *sc_walk_stage(const sc_walk *w, int v)
{
    return w->self->stages[v / w->assignment->n_workers];
}

sc_cell *sc_walk_cell(const sc_walk *w, int v, int m)
{
    return &w->self->cells[v / w->assignment->n_workers * w->assignment->max_microbatches + m];
}

sc_tensor_name sc_walk_name(const sc_walk *w, int stage, int microbatch, uint32_t kind, uint32_t part)
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

static sc_status post_tensor(const sc_walk *w, sc_executor_event_kind kind, int worker, sc_tensor_message *message)
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
static sc_status post_await(const sc_walk *w, sc_tensor_name name)
{
    sc_tensor_message awaited = {.name = name};
    return post_tensor(w, SC_EVENT_AWAIT, sc_assignment_sender(w->assignment, &name), &awaited);
}

/* The inputs lie in the other workers' message logs, and nobody sends them by himself: all are
 * asked for before the first is needed. The tied gradient's parts follow when their turn comes: they may be more than
 * the mailbox takes. */
sc_status sc_walk_ask_for_inputs(const sc_walk *w)
{
    const sc_action_list *list = &w->plan->workers[w->assignment->worker];
    for (int i = 0; i < list->n; i++) {
        sc_action action = list->actions[i];
        if (action.kind == SC_ACT_RECV_F)
            SC_TRY(post_await(w, sc_walk_name(w, action.stage, action.microbatch, SC_KIND(ACTIVATION), 0)));
        else if (action.kind == SC_ACT_RECV_B)
            SC_TRY(post_await(w, sc_walk_name(w, action.stage, action.microbatch, SC_KIND(GRADIENT), 0)));
    }
    return SC_OK;
}

/* A wait that outlasts half a resend is reported, so that the network thread asks for what may have been lost. */
sc_status sc_walk_await(const sc_walk *w, sc_tensor_name name, sc_tensor_message *out)
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

sc_status sc_walk_hand_over(const sc_walk *w, int stage, int microbatch, uint32_t kind, const sc_cell *cell,
                            sc_buffer **buffer_p)
{
    sc_tensor_message message = {
        .name = sc_walk_name(w, stage, microbatch, kind, 0),
        .dtype = SC_F32,
        .shape = SC_SHAPE(cell->B, cell->T, w->assignment->model.hidden),
        .payload = *buffer_p,
    };
    *buffer_p = NULL;
    return sc_mailbox_put(w->self->options.mailbox, w->epoch, &message);
}

sc_status sc_walk_send(const sc_walk *w, int stage, int microbatch, uint32_t kind, const sc_cell *cell,
                       sc_buffer **buffer_p)
{
    sc_tensor_message message = {
        .name = sc_walk_name(w, stage, microbatch, kind, 0),
        .dtype = SC_F32,
        .shape = SC_SHAPE(cell->B, cell->T, w->assignment->model.hidden),
        .payload = *buffer_p,
    };
    *buffer_p = NULL;
    return post_tensor(w, SC_EVENT_SEND, sc_assignment_worker_of(w->assignment, stage), &message);
}

/* ---- the tied matrix ---- */

static sc_status read_tied_part(const sc_walk *w, int v, uint32_t part, sc_buffer **out)
{
    uint64_t n = sc_assignment_tied_part_elements(w->assignment, part);
    SC_TRY(sc_buffer_get(w->self->pool, n * sizeof(float), out));
    sc_status status =
        sc_stage_read_tied(sc_walk_stage(w, v), (uint64_t)part * SC_TIED_PART_ELEMENTS, n, sc_buffer_data(*out));
    if (status != SC_OK)
        sc_buffer_unref(out);
    return status;
}

static sc_status add_tied_part(const sc_walk *w, int v, uint32_t part, sc_buffer *other)
{
    return sc_stage_add_tied(sc_walk_stage(w, v), (uint64_t)part * SC_TIED_PART_ELEMENTS,
                             sc_assignment_tied_part_elements(w->assignment, part), sc_buffer_data(other));
}

/* Two stages of this worker. Both sides are read before either is changed. */
static sc_status reduce_tied_here(const sc_walk *w, int v, int other)
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

static sc_status send_tied_part(const sc_walk *w, int v, int other, uint32_t part)
{
    sc_tensor_message message = {
        .name = sc_walk_name(w, other, 0, SC_KIND(TIED_GRADIENT), part),
        .dtype = SC_F32,
        .shape = SC_SHAPE((int64_t)sc_assignment_tied_part_elements(w->assignment, part)),
    };
    SC_TRY(read_tied_part(w, v, part, &message.payload));
    return post_tensor(w, SC_EVENT_SEND, sc_assignment_worker_of(w->assignment, other), &message);
}

/* A window of parts is on its way in each direction: the directions overlap, and neither side stages more than a window
 * or has more than two to take (the other may be a window ahead of what we have sent), however large the matrix is. */
static sc_status reduce_tied_with_peer(const sc_walk *w, int v, int other)
{
    uint32_t n_parts = sc_assignment_tied_parts(w->assignment), sent = 0;
    for (uint32_t part = 0; part < n_parts; part++) {
        for (; sent < n_parts && sent < part + SC_TIED_WINDOW; sent++) {
            if (w->step->replay)
                SC_TRY(post_await(w, sc_walk_name(w, v, 0, SC_KIND(TIED_GRADIENT), sent)));
            SC_TRY(send_tied_part(w, v, other, sent));
        }
        sc_tensor_message theirs = {0};
        SC_TRY(sc_walk_await(w, sc_walk_name(w, v, 0, SC_KIND(TIED_GRADIENT), part), &theirs));
        sc_status status = add_tied_part(w, v, part, theirs.payload);
        sc_tensor_message_clear(&theirs);
        SC_TRY(status);
    }
    return SC_OK;
}

sc_status sc_walk_reduce_tied(const sc_walk *w, int v)
{
    int last = w->assignment->n_stages - 1, other = last - v;
    if (last == 0)
        return sc_stage_reduce_tied_local(sc_walk_stage(w, v));
    if (sc_plan_sends(w->plan))
        return reduce_tied_with_peer(w, v, other);
    /* On one worker the last stage's action does the work for both: both have all their gradients by then. */
    return v == last ? reduce_tied_here(w, v, other) : SC_OK;
}
