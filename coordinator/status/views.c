#include "coordinator/status/views.h"

#include <math.h>
#include <time.h>

enum {
    STALL_SECONDS = 60
}; /* the run's thread comes by many times a second; a disk that is slow may hold it for a while */

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *count(uint64_t value)
{
    return json_integer((json_int_t)value);
}

double sc_views_busy(const sc_board_view *view, int stage)
{
    const sc_board_stage *s = &view->stages[stage];
    return view->step_seconds > 0 ? (s->forward_seconds + s->backward_seconds) / view->step_seconds : NAN;
}

double sc_views_bubble(const sc_board_view *view)
{
    double busy = 0;
    for (int i = 0; i < view->n_stages; i++)
        busy += sc_views_busy(view, i);
    return view->n_stages > 0 ? 1 - busy / view->n_stages : NAN;
}

double sc_views_eta(const sc_board_view *view)
{
    const bool over = view->state == SC_BOARD_FINISHED || view->state == SC_BOARD_FAILED;
    return over ? 0 : (double)(view->steps - view->step) * view->mean_step_seconds;
}

static json_t *data_of(const sc_board_view *v)
{
    return json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "parameters", count(v->parameters), "train_tokens",
                     count(v->train_tokens), "validation_tokens", count(v->validation_tokens), "vocab", v->vocab,
                     "batch_size", v->batch_size, "micro_batch_size", v->micro_batch_size, "sequence_length",
                     v->sequence_length, "seed", v->seed);
}

static json_t *totals_of(const sc_board_view *v)
{
    uint64_t recoveries = 0;
    for (int i = 0; i < SC_BOARD_LEVELS; i++)
        recoveries += v->recoveries[i];
    json_t *messages =
        json_pack("{s:o, s:o, s:o, s:o, s:o}", "stale", count(v->stale), "duplicate", count(v->duplicate), "resent",
                  count(v->resent), "replayed", count(v->replayed), "rejected", count(v->rejected));
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "steps", count(v->steps_total), "tokens",
                     count(v->tokens_total), "joins", count(v->n_joins), "losses", count(v->n_losses), "recoveries",
                     count(recoveries), "steps_repeated", count(v->steps_lost), "steps_replayed",
                     count(v->steps_replayed), "checkpoints", count(v->checkpoints_complete), "checkpoints_failed",
                     count(v->checkpoints_failed), "messages", messages);
}

const char *sc_views_time(double seconds, char out[32])
{
    const time_t whole = (time_t)seconds;
    struct tm parts;
    gmtime_r(&whole, &parts);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return out;
}

static json_t *validation_of(const sc_board_view *v)
{
    json_t *scores = json_object();
    for (int i = 0; i < v->n_scores; i++)
        json_object_set_new(scores, v->scores[i].name, number(v->scores[i].value));
    return json_pack("{s:I, s:o, s:o}", "step", v->eval_step, "loss", number(v->eval_loss), "scores", scores);
}

json_t *sc_views_status(const sc_board_view *v)
{
    char started[32];
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, "
        "s:i, "
        "s:i, s:s, s:o, s:o, s:o}",
        "version", v->version, "run", v->dir, "config", v->config, "state", sc_board_state_name(v->state), "message",
        v->message, "schedule", v->schedule, "started", sc_views_time(v->start_time, started), "uptime_seconds",
        number(v->now - v->start_time), "first_step", v->first_step, "step", v->step, "steps", v->steps, "loss",
        number(v->loss), "grad_norm", number(v->grad_norm), "lr", number(v->lr), "step_seconds",
        number(v->step_seconds), "tokens_per_second", number((double)v->step_tokens / v->mean_step_seconds),
        "eta_seconds", number(sc_views_eta(v)), "bubble", number(sc_views_bubble(v)), "validation",
        v->eval_step > 0 ? validation_of(v) : json_null(), "generation", count(v->generation), "stages", v->n_stages,
        "workers", v->n_workers, "workers_wanted", v->wanted, "api", "v1", "last_event", count(v->last_event), "data",
        data_of(v), "totals", totals_of(v));
}

static json_t *worker_of(const sc_board_worker *w)
{
    return json_pack("{s:s, s:s, s:i, s:s, s:b, s:b, s:o}", "name", w->name, "device", w->device, "threads", w->threads,
                     "doing", w->doing, "waiting", w->waiting, "draining", w->draining, "heard_seconds",
                     number(w->heard_seconds));
}

static json_t *messages_of(const sc_message_counts *m)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "received", count(m->received), "sent", count(m->sent),
                     "bytes_received", count(m->bytes_received), "bytes_sent", count(m->bytes_sent), "stale",
                     count(m->stale), "duplicate", count(m->duplicate), "resent", count(m->resent), "replayed",
                     count(m->replayed));
}

static json_t *stage_of(const sc_board_view *v, int rank, const sc_board_worker *w)
{
    const sc_board_stage *s = &v->stages[rank];
    return json_pack("{s:i, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "stage", rank, "state",
                     !w            ? "lost"
                     : w->draining ? "draining"
                                   : "serving",
                     "worker", w ? worker_of(w) : json_null(), "first_block",
                     w ? json_integer(w->first_block) : json_null(), "n_blocks",
                     w ? json_integer(w->n_blocks) : json_null(), "forward_seconds", number(s->forward_seconds),
                     "backward_seconds", number(s->backward_seconds), "wait_seconds", number(s->wait_seconds), "busy",
                     number(sc_views_busy(v, rank)), "peak_resident_bytes", count(s->peak_resident_bytes), "losses",
                     count(s->n_losses), "messages", w ? messages_of(&w->messages) : json_null());
}

static const sc_board_worker *worker_at(const sc_board_view *v, int rank)
{
    for (int i = 0; i < v->n_workers; i++)
        if (v->workers[i].rank == rank)
            return &v->workers[i];
    return NULL;
}

/* Appends, or lets the list go if memory ran out. */
static json_t *append(json_t *list, json_t *item)
{
    if (json_array_append_new(list, item) == 0)
        return list;
    json_decref(list);
    return NULL;
}

json_t *sc_views_stages(const sc_board_view *v)
{
    json_t *stages = json_array(), *spares = json_array();
    for (int rank = 0; rank < v->n_stages; rank++)
        stages = append(stages, stage_of(v, rank, worker_at(v, rank)));
    for (int i = 0; i < v->n_workers; i++)
        if (v->workers[i].rank < 0)
            spares = append(spares, worker_of(&v->workers[i]));
    return json_pack("{s:o, s:o, s:o}", "generation", count(v->generation), "stages", stages, "spares", spares);
}

json_t *sc_views_checkpoints(const sc_board_view *v)
{
    json_t *list = json_array();
    for (int i = v->n_checkpoints - 1; i >= 0; i--) {
        const sc_board_checkpoint *c = &v->checkpoints[i];
        list = append(list, json_pack("{s:I, s:b, s:s, s:s, s:s, s:o, s:o}", "step", c->step, "complete", c->complete,
                                      "time", c->time, "path", c->path, "message", c->message, "bytes", count(c->bytes),
                                      "seconds", number(c->seconds)));
    }
    return json_pack("{s:o}", "checkpoints", list);
}

json_t *sc_views_steps(const sc_history_point *points, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        const sc_history_point *p = &points[i];
        list = append(list, json_pack("{s:I, s:o, s:o, s:o, s:o, s:I}", "step", p->step, "loss", number(p->loss),
                                      "grad_norm", number(p->grad_norm), "lr", number(p->lr), "step_seconds",
                                      number(p->seconds), "tokens", p->tokens));
    }
    return json_pack("{s:o}", "steps", list);
}

json_t *sc_views_events(char *const *lines, int n, uint64_t first_id, uint64_t last)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        json_t *event = json_loads(lines[i], 0, NULL);
        if (event)
            json_object_set_new(event, "id", count(first_id + (uint64_t)i));
        list = append(list, event);
    }
    return json_pack("{s:o, s:o}", "events", list, "last", count(n > 0 ? first_id + (uint64_t)n - 1 : last));
}

bool sc_views_is_alive(const sc_board_view *v)
{
    return v->state != SC_BOARD_FAILED && v->looked_seconds < STALL_SECONDS;
}

json_t *sc_views_health(const sc_board_view *v)
{
    return json_pack("{s:s, s:s, s:o}", "status", sc_views_is_alive(v) ? "ok" : "failing", "state",
                     sc_board_state_name(v->state), "looked_seconds",
                     v->looked_seconds < 0 ? json_null() : json_real(v->looked_seconds));
}

json_t *sc_views_problem(unsigned status, const char *title, const char *detail)
{
    return json_pack("{s:s, s:s, s:i, s:s}", "type", "about:blank", "title", title, "status", (int)status, "detail",
                     detail);
}
