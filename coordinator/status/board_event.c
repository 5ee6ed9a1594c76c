/* What an event of the run changes on the board. */
#include "coordinator/status/board_internal.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MEAN_OVER_STEPS = 20 }; /* a mean that forgets: a step's weight is 1/20, and fades */

/* null stands for what is not finite. */
static double number(const json_t *event, const char *key)
{
    const json_t *value = json_object_get(event, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static double seconds(const json_t *event, const char *key)
{
    const double value = number(event, key);
    return isfinite(value) && value > 0 ? value : 0;
}

static int64_t integer(const json_t *event, const char *key)
{
    return json_integer_value(json_object_get(event, key)); /* 0 if it is none */
}

static uint64_t count(const json_t *event, const char *key)
{
    const int64_t value = integer(event, key);
    return value > 0 ? (uint64_t)value : 0;
}

void sc_board_copy_text(char *out, size_t out_bytes, const char *text)
{
    size_t n = strlen(text);
    if (n >= out_bytes) {
        n = out_bytes - 1;
        while (n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80)
            n--;
    }
    memcpy(out, text, n);
    out[n] = '\0';
}

static void text(char *out, size_t out_bytes, const json_t *event, const char *key)
{
    const char *value = json_string_value(json_object_get(event, key));
    sc_board_copy_text(out, out_bytes, value ? value : "");
}

static void run_started(sc_board *self, const json_t *event)
{
    sc_board_view *v = &self->view;
    text(v->config, sizeof v->config, event, "config");
    text(v->schedule, sizeof v->schedule, event, "schedule");
    v->wanted = (int)integer(event, "workers");
    v->parameters = count(event, "parameters");
    v->train_tokens = count(event, "train_tokens");
    v->validation_tokens = count(event, "validation_tokens");
    v->first_step = integer(event, "first_step");
    v->step = v->first_step - 1;
    v->steps = integer(event, "steps");
    v->vocab = integer(event, "vocab");
    v->batch_size = integer(event, "batch_size");
    v->micro_batch_size = integer(event, "micro_batch_size");
    v->sequence_length = integer(event, "sequence_length");
    v->seed = integer(event, "seed");
}

static void add_stage_times(sc_board_view *v, double length, const json_t *stages)
{
    size_t i;
    const json_t *item;
    json_array_foreach(stages, i, item)
    {
        if (i >= SC_MAX_STAGES)
            break;
        sc_board_stage *stage = &v->stages[i];
        stage->forward_seconds = seconds(item, "forward_seconds");
        stage->backward_seconds = seconds(item, "backward_seconds");
        stage->wait_seconds = seconds(item, "wait_seconds");
        stage->forward_total += stage->forward_seconds;
        stage->backward_total += stage->backward_seconds;
        stage->wait_total += stage->wait_seconds;
        stage->other_total += fmax(0, length - stage->forward_seconds - stage->backward_seconds - stage->wait_seconds);
        stage->peak_resident_bytes = count(item, "peak_resident_bytes");
    }
}

static void step_done(sc_board *self, const json_t *event)
{
    sc_board_view *v = &self->view;
    const double length = seconds(event, "step_seconds");
    const bool first = !isfinite(v->mean_step_seconds);
    v->step = integer(event, "step");
    v->loss = number(event, "loss");
    v->grad_norm = number(event, "grad_norm");
    v->lr = number(event, "lr");
    v->step_tokens = integer(event, "tokens");
    v->step_seconds = length;
    v->mean_step_seconds = first ? length : v->mean_step_seconds + (length - v->mean_step_seconds) / MEAN_OVER_STEPS;
    v->steps_total++;
    v->tokens_total += count(event, "tokens");
    v->steps_seconds += length;
    int bucket = 0;
    while (length > sc_board_bucket_seconds(bucket))
        bucket++;
    v->buckets[bucket]++;
    add_stage_times(v, length, json_object_get(event, "stages"));
    const sc_history_point point = {.step = v->step,
                                    .tokens = v->step_tokens,
                                    .loss = (float)v->loss,
                                    .grad_norm = (float)v->grad_norm,
                                    .lr = (float)v->lr,
                                    .seconds = (float)length};
    sc_history_add(self->history, &point);
}

static void checkpoint(sc_board *self, const json_t *event)
{
    sc_board_view *v = &self->view;
    if (v->n_checkpoints == SC_BOARD_CHECKPOINTS)
        memmove(v->checkpoints, v->checkpoints + 1, (size_t)(--v->n_checkpoints) * sizeof *v->checkpoints);
    sc_board_checkpoint *c = &v->checkpoints[v->n_checkpoints++];
    const char *status = json_string_value(json_object_get(event, "status"));
    *c = (sc_board_checkpoint){.step = integer(event, "step"),
                               .complete = status && strcmp(status, "OK") == 0,
                               .bytes = count(event, "bytes"),
                               .seconds = seconds(event, "seconds")};
    text(c->time, sizeof c->time, event, "time");
    text(c->path, sizeof c->path, event, "path");
    text(c->message, sizeof c->message, event, "message");
    if (!c->complete) {
        v->checkpoints_failed++;
        return;
    }
    v->checkpoints_complete++;
    v->checkpoints_seconds += c->seconds;
    v->checkpoint_time = (double)sc_clock_ns(&self->wall) * 1e-9;
}

static void worker_spare(sc_board *self, const json_t *event)
{
    (void)event;
    self->view.n_joins++;
}

static void worker_lost(sc_board *self, const json_t *event)
{
    const json_t *worker = json_object_get(event, "worker");
    const json_int_t rank = json_integer_value(worker);
    self->view.n_losses++;
    if (json_is_integer(worker) && rank >= 0 && rank < SC_MAX_STAGES)
        self->view.stages[rank].n_losses++;
}

static void recovery(sc_board *self, const json_t *event)
{
    sc_board_view *v = &self->view;
    const char *level = json_string_value(json_object_get(event, "level"));
    for (int i = 0; level && i < SC_BOARD_LEVELS; i++)
        if (strcmp(level, sc_board_level_name(i)) == 0)
            v->recoveries[i]++;
    v->steps_lost += count(event, "steps_lost");
    v->steps_replayed += count(event, "steps_replayed");
    v->step = integer(event, "step");
    for (int i = 0; i < SC_BOARD_N_PHASES; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s_seconds", sc_board_phase_name((sc_board_phase)i));
        v->recovery_seconds[i] += seconds(event, key);
    }
}

static void run_finished(sc_board *self, const json_t *event)
{
    sc_board_view *v = &self->view;
    const char *status = json_string_value(json_object_get(event, "status"));
    v->state = status && strcmp(status, "OK") == 0 ? SC_BOARD_FINISHED : SC_BOARD_FAILED;
    text(v->message, sizeof v->message, event, "message");
}

/* Every number that it has, besides the step, is a score. */
static void eval(sc_board *self, const json_t *event)
{
    sc_board_view *v = &self->view;
    const char *key;
    const json_t *value;
    v->eval_step = integer(event, "step");
    v->eval_loss = number(event, "loss");
    v->n_scores = 0;
    json_object_foreach((json_t *)(uintptr_t)event, key, value)
    {
        const bool is_score = (json_is_number(value) || json_is_null(value)) && strcmp(key, "step") != 0;
        if (!is_score || v->n_scores == SC_BOARD_SCORES)
            continue;
        sc_board_score *score = &v->scores[v->n_scores++];
        sc_board_copy_text(score->name, sizeof score->name, key);
        for (char *c = score->name; *c; c++) /* it becomes a label of metrics */
            if (!isalnum((unsigned char)*c) && !strchr("_-./@", *c))
                *c = '_';
        score->value = number(event, key);
    }
}

void sc_board_apply_event(sc_board *self, const json_t *event)
{
    static const struct {
        const char *name;
        void (*apply)(sc_board *self, const json_t *event);
    } kinds[] = {
        {"step", step_done},          {"eval", eval},
        {"checkpoint", checkpoint},   {"worker_spare", worker_spare},
        {"worker_lost", worker_lost}, {"recovery", recovery},
        {"run_started", run_started}, {"run_finished", run_finished},
    };
    const char *name = json_string_value(json_object_get(event, "event"));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(name, kinds[i].name) == 0)
            kinds[i].apply(self, event);
}
