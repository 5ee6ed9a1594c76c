/* The walk's way forward: what F needs is gathered, computed with and handed on. */
#include "worker/executor_walk.h"

#include <string.h>

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
static sc_status await_ids(const sc_walk *w, int v, int m, uint32_t kind, const char *what, int n,
                           sc_tensor_message *out)
{
    int B = sc_walk_cell(w, v, m)->B;
    SC_TRY(sc_walk_await(w, sc_walk_name(w, v, m, kind, 0), out));
    const int64_t *dims = out->shape.dims;
    if (dims[0] == B && (n == 0 || dims[1] == n))
        return SC_OK;
    char text[64];
    return SC_FAIL(SC_INVALID, "the %s are %s; the stage's input has %d sequences of %d tokens", what,
                   sc_shape_text(&out->shape, text, sizeof text), B, sc_walk_cell(w, v, m)->T);
}

static sc_status gather_inputs(const sc_walk *w, int v, int m, inputs *in)
{
    const sc_model *model = &w->assignment->model;
    sc_cell *cell = sc_walk_cell(w, v, m);
    if (v == 0) {
        SC_TRY(sc_walk_await(w, sc_walk_name(w, 0, m, SC_KIND(TOKENS), 0), &in->input));
    } else if (sc_plan_sends(w->plan)) {
        in->input = cell->activation_in;
        cell->activation_in = (sc_tensor_message){0};
    } else {
        SC_TRY(sc_walk_await(w, sc_walk_name(w, v, m, SC_KIND(ACTIVATION), 0), &in->input));
    }
    cell->B = (int)in->input.shape.dims[0];
    cell->T = (int)in->input.shape.dims[1];
    if (sc_model_takes_segments(model))
        SC_TRY(await_ids(w, v, m, SC_KIND(LENGTHS), "lengths", 0, &in->lengths));
    if (sc_model_takes_segments(model) && v == 0)
        SC_TRY(await_ids(w, v, m, SC_KIND(SEGMENTS), "segments", cell->T, &in->segments));
    if (v < w->assignment->n_stages - 1 || (w->step->want_logits && !sc_model_predicts_words(model)))
        return SC_OK;
    SC_TRY(await_ids(w, v, m, SC_KIND(TARGETS), "targets", sc_model_n_targets(model, cell->T), &in->targets));
    if (sc_model_predicts_next(model))
        SC_TRY(await_ids(w, v, m, SC_KIND(NEXT_SENTENCE), "next sentences", 0, &in->next));
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

/* Of a head for masked words: the logits of the positions whose targets count, behind those of earlier micro-batches. */
static sc_status append_logits(const sc_walk *w, sc_stage *stage, int m)
{
    const size_t n = sc_stage_n_logits(stage, m) * sizeof(float);
    const size_t before = w->done->payload ? sc_buffer_bytes(w->done->payload) : 0;
    sc_buffer *logits = NULL;
    if (n == 0)
        return SC_OK;
    SC_TRY(sc_buffer_get(w->self->pool, before + n, &logits));
    if (before > 0)
        memcpy(sc_buffer_data(logits), sc_buffer_data(w->done->payload), before);
    sc_buffer_unref(&w->done->payload);
    w->done->payload = logits;
    return sc_stage_take_logits(stage, m, (float *)sc_buffer_data(logits) + before / sizeof(float));
}

/* What the last stage makes of a micro-batch: losses and, where nothing is learned from them, what is right; or rows of logits. */
static sc_status take_result(const sc_walk *w, int v, int m)
{
    sc_stage *stage = sc_walk_stage(w, v);
    const sc_cell *cell = sc_walk_cell(w, v, m);
    const sc_model *model = &w->assignment->model;
    if (!w->step->want_logits) {
        uint64_t n_targets;
        int first = m * sc_model_n_losses(model);
        SC_TRY(sc_stage_take_loss(stage, m, w->done->loss_sums + first, &n_targets));
        return w->done->n_correct ? sc_stage_take_correct(stage, m, w->done->n_correct + first) : SC_OK;
    }
    if (sc_model_predicts_words(model))
        return append_logits(w, stage, m);
    size_t room = (size_t)sc_model_n_logits(model, w->assignment->T), n = (size_t)sc_model_n_logits(model, cell->T);
    float *logits = sc_buffer_data(w->done->payload);
    logits += (size_t)m * (size_t)w->assignment->B * room;
    SC_TRY(sc_stage_take_logits(stage, m, logits));
    spread_rows(logits, cell->B, n, room);
    return SC_OK;
}

static sc_status put_inputs(const sc_walk *w, int v, int m, const inputs *in)
{
    sc_stage *stage = sc_walk_stage(w, v);
    int B = sc_walk_cell(w, v, m)->B, T = sc_walk_cell(w, v, m)->T;
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

static sc_status compute_forward(const sc_walk *w, int v, int m, const inputs *in)
{
    sc_stage *stage = sc_walk_stage(w, v);
    sc_cell *cell = sc_walk_cell(w, v, m);
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
    if (w->plan->mode == SC_PLAN_FORWARD || v < w->plan->n_frozen) /* no backward comes */
        sc_stage_finish(stage, m);
    return w->self->options.ops->stream_sync(w->self->stream);
}

sc_status sc_walk_forward(const sc_walk *w, int v, int m)
{
    inputs in = {0};
    sc_status status = gather_inputs(w, v, m, &in);
    if (status == SC_OK) {
        uint64_t start = sc_clock_ns(&w->self->options.clock);
        status = compute_forward(w, v, m, &in);
        w->done->times.forward += sc_clock_seconds_since(&w->self->options.clock, start);
    }
    clear_inputs(&in);
    sc_cell *cell = sc_walk_cell(w, v, m);
    if (status == SC_OK && cell->activation_out && !sc_plan_sends(w->plan))
        status = sc_walk_hand_over(w, v + 1, m, SC_KIND(ACTIVATION), cell, &cell->activation_out);
    return status;
}
