#include "coordinator/status/board_internal.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_names[SC_BOARD_N_STATES] = {"starting",   "waiting",  "loading",  "training", "paused",
                                                           "recovering", "stopping", "finished", "failed"};
static const char *const level_names[SC_BOARD_LEVELS] = {"replay", "memory", "disk", "start"};
static const char *const phase_names[SC_BOARD_N_PHASES] = {"detect", "replace", "load", "replay"};
/* Steps last from milliseconds (a test's) to minutes (a large model's). */
static const double bucket_seconds[SC_BOARD_BUCKETS - 1] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                                            2.5,   5,    10,    25,   50,  100,  250};

const char *sc_board_state_name(sc_board_state state)
{
    return state_names[state];
}

const char *sc_board_level_name(int level)
{
    return level_names[level];
}

const char *sc_board_phase_name(sc_board_phase phase)
{
    return phase_names[phase];
}

double sc_board_bucket_seconds(int bucket)
{
    return bucket < SC_BOARD_BUCKETS - 1 ? bucket_seconds[bucket] : INFINITY;
}

sc_status sc_board_new(const sc_board_options *options, sc_board **out)
{
    *out = NULL;
    sc_board *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for what is shown of the run");
    pthread_mutex_init(&self->lock, NULL);
    self->clock = options->clock;
    self->wall = options->wall;
    self->config = strdup(options->config);
    sc_status status = sc_history_new(&self->history);
    if (status == SC_OK && !self->config)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for what is shown of the run");
    if (status != SC_OK) {
        sc_board_destroy(&self);
        return status;
    }
    sc_board_view *v = &self->view;
    sc_board_copy_text(v->version, sizeof v->version, SC_VERSION);
    sc_board_copy_text(v->dir, sizeof v->dir, options->dir);
    v->start_time = (double)sc_clock_ns(&self->wall) * 1e-9;
    v->loss = v->grad_norm = v->lr = v->step_seconds = v->mean_step_seconds = v->eval_loss = NAN;
    *out = self;
    return SC_OK;
}

void sc_board_destroy(sc_board **self_p)
{
    sc_board *self = *self_p;
    if (!self)
        return;
    for (int i = 0; i < SC_BOARD_EVENTS; i++)
        free(self->events[i]);
    sc_history_destroy(&self->history);
    pthread_mutex_destroy(&self->lock);
    free(self->config);
    free(self->schedule);
    free(self);
    *self_p = NULL;
}

/* ---- the run's thread ---- */

static bool is_over(const sc_board *self)
{
    return self->view.state == SC_BOARD_FINISHED || self->view.state == SC_BOARD_FAILED;
}

void sc_board_event(sc_board *self, const json_t *event, const char *line)
{
    const char *name = json_string_value(json_object_get(event, "event"));
    char *copy = name && strcmp(name, "step") != 0 ? strdup(line) : NULL, *old = NULL;
    if (!name)
        return;
    pthread_mutex_lock(&self->lock);
    sc_board_apply_event(self, event);
    if (copy) {
        char **slot = &self->events[++self->view.last_event % SC_BOARD_EVENTS];
        old = *slot;
        *slot = copy;
    }
    self->view.revision++;
    pthread_mutex_unlock(&self->lock);
    free(old);
}

/* What a worker says of itself may be any bytes, and documents must be text. */
static void clean(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7F)
            *text = '?';
}

void sc_board_show(sc_board *self, const sc_board_live *live)
{
    pthread_mutex_lock(&self->lock);
    sc_board_view *v = &self->view;
    if (!is_over(self)) {
        v->state = self->requests.stop ? SC_BOARD_STOPPING : live->state;
        v->generation = live->generation;
        v->n_stages = live->n_stages;
        v->stale = live->stale;
        v->duplicate = live->duplicate;
        v->resent = live->resent;
        v->replayed = live->replayed;
        v->rejected = live->rejected;
        v->n_workers = live->n_workers;
        memcpy(v->workers, live->workers, (size_t)live->n_workers * sizeof *live->workers);
        for (int i = 0; i < v->n_workers; i++) {
            clean(v->workers[i].name);
            clean(v->workers[i].device);
            clean(v->workers[i].doing);
        }
    }
    self->looked_ns = sc_clock_ns(&self->clock);
    v->revision++;
    pthread_mutex_unlock(&self->lock);
}

void sc_board_set_schedule(sc_board *self, char *json)
{
    if (!json)
        return;
    pthread_mutex_lock(&self->lock);
    char *old = self->schedule;
    self->schedule = json;
    self->view.revision++;
    pthread_mutex_unlock(&self->lock);
    free(old);
}

void sc_board_take_requests(sc_board *self, sc_board_requests *out)
{
    pthread_mutex_lock(&self->lock);
    *out = self->requests;
    self->requests.checkpoint = false;
    self->requests.n_drains = 0;
    pthread_mutex_unlock(&self->lock);
}

/* ---- those who look on ---- */

void sc_board_look(sc_board *self, sc_board_view *out)
{
    pthread_mutex_lock(&self->lock);
    const size_t head = offsetof(sc_board_view, stages);
    memcpy(out, &self->view, head);
    memcpy(out->stages, self->view.stages, (size_t)out->n_stages * sizeof *out->stages);
    memcpy(out->workers, self->view.workers, (size_t)out->n_workers * sizeof *out->workers);
    out->looked_seconds = self->looked_ns == 0 ? -1 : sc_clock_seconds_since(&self->clock, self->looked_ns);
    out->now = (double)sc_clock_ns(&self->wall) * 1e-9;
    pthread_mutex_unlock(&self->lock);
}

uint64_t sc_board_revision(sc_board *self)
{
    pthread_mutex_lock(&self->lock);
    const uint64_t revision = self->view.revision;
    pthread_mutex_unlock(&self->lock);
    return revision;
}

int sc_board_last_steps(sc_board *self, int64_t after, int most, sc_history_point *out)
{
    pthread_mutex_lock(&self->lock);
    const int n = sc_history_last(self->history, after, most, out);
    pthread_mutex_unlock(&self->lock);
    return n;
}

int sc_board_spread_steps(sc_board *self, int most, sc_history_point *out)
{
    pthread_mutex_lock(&self->lock);
    const int n = sc_history_spread(self->history, most, out);
    pthread_mutex_unlock(&self->lock);
    return n;
}

int sc_board_events(sc_board *self, uint64_t after, int most, char **lines, uint64_t *first_id)
{
    int n = 0;
    pthread_mutex_lock(&self->lock);
    const uint64_t last = self->view.last_event, oldest = last > SC_BOARD_EVENTS ? last - SC_BOARD_EVENTS + 1 : 1;
    uint64_t id = after >= oldest && after <= last ? after + 1 : oldest;
    *first_id = id;
    for (; id <= last && n < most; id++, n++)
        if (!(lines[n] = strdup(self->events[id % SC_BOARD_EVENTS])))
            break;
    pthread_mutex_unlock(&self->lock);
    return n;
}

static char *copy_text(sc_board *self, char *const *text)
{
    pthread_mutex_lock(&self->lock);
    char *copy = *text ? strdup(*text) : NULL;
    pthread_mutex_unlock(&self->lock);
    return copy;
}

char *sc_board_config(sc_board *self)
{
    return copy_text(self, &self->config);
}

char *sc_board_schedule(sc_board *self)
{
    return copy_text(self, &self->schedule);
}

static sc_status drain(sc_board *self, int stage)
{
    sc_board_requests *r = &self->requests;
    if (stage < 0 || stage >= self->view.n_stages)
        return SC_FAIL(SC_NOT_FOUND, "there is no stage %d; the run has %d", stage, self->view.n_stages);
    for (int i = 0; i < r->n_drains; i++)
        if (r->drains[i] == stage)
            return SC_OK;
    r->drains[r->n_drains++] = stage;
    return SC_OK;
}

static sc_status ask(sc_board *self, sc_board_verb verb, int stage)
{
    sc_board_requests *r = &self->requests;
    if (is_over(self))
        return SC_FAIL(SC_FAILED_PRECONDITION, "the run is over");
    if (r->stop && verb != SC_BOARD_ASK_STOP)
        return SC_FAIL(SC_FAILED_PRECONDITION, "the run is being stopped");
    switch (verb) {
    case SC_BOARD_ASK_CHECKPOINT:
        r->checkpoint = true;
        break;
    case SC_BOARD_ASK_DRAIN:
        return drain(self, stage);
    case SC_BOARD_ASK_PAUSE:
        r->pause = true;
        break;
    case SC_BOARD_ASK_RESUME:
        r->pause = false;
        break;
    case SC_BOARD_ASK_STOP:
        r->stop = true;
        r->pause = false;
        break;
    }
    return SC_OK;
}

sc_status sc_board_ask(sc_board *self, sc_board_verb verb, int stage)
{
    pthread_mutex_lock(&self->lock);
    const sc_status status = ask(self, verb, stage);
    self->view.revision++;
    pthread_mutex_unlock(&self->lock);
    return status;
}
