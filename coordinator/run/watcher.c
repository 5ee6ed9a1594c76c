#include "coordinator/run/watcher.h"

#include "coordinator/report/decode.h"
#include "coordinator/report/share_window.h"
#include "coordinator/run/alarm_command.h"
#include "coordinator/run/hf_config.h"
#include "coordinator/run/line_writer.h"
#include "coordinator/run/predict_stream.h"
#include "proto/base/clock.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GRACE_MS = 10000 }; /* for commands that still run when the stream has ended */

typedef struct watcher {
    const sc_watcher_options *options;
    sc_watcher_result *result;
    sc_predictor *predictor;
    int32_t label;
    sc_share_window window;
    sc_alarm_command command;
    sc_line_writer out;
} watcher;

static sc_status find_label(watcher *self)
{
    const sc_predict_model *m = sc_predictor_model(self->predictor);
    const char *label = self->options->label;
    if (m->model.task != SC_TASK_CLASSIFICATION)
        return SC_FAIL(SC_INVALID, "%s holds a %s, which gives a text no label; name a classifier", m->dir,
                       sc_hf_config_class(&m->model));
    self->label = sc_labels_find(&m->labels, label, strlen(label));
    if (self->label >= 0)
        return SC_OK;
    char known[400] = "";
    for (int32_t i = 0; i < m->labels.n; i++) {
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", m->labels.names[i]);
    }
    return SC_FAIL(SC_INVALID, "the model in %s has no label '%s'; it has %s", m->dir, label, known);
}

static bool has_label(const watcher *self, const sc_predict_item *item)
{
    const sc_model *model = &sc_predictor_model(self->predictor)->model;
    if (model->multi_label)
        return sc_decode_is_on(item->logits[self->label]);
    return sc_decode_class(item->logits, model->labels, NULL) == self->label;
}

/* Returns owned, to be freed with free (); NULL without memory. */
static char *describe_alarm(const watcher *self, const sc_predict_item *item)
{
    char now[32];
    struct tm calendar;
    const time_t seconds = time(NULL);
    gmtime_r(&seconds, &calendar);
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", &calendar);
    json_t *object = json_pack("{s:I, s:s, s:s, s:f, s:I, s:I, s:f, s:I, s:o}", "alarm",
                               (json_int_t)self->result->n_alarms, "time", now, "label", self->options->label, "share",
                               sc_share_window_share(&self->window), "count", (json_int_t)self->window.n_has, "window",
                               (json_int_t)self->window.size, "above", self->options->above, "line",
                               (json_int_t)item->line, "text", json_stringn(item->bytes, item->n_text));
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(object);
    return text;
}

static sc_status raise_alarm(watcher *self, const sc_predict_item *item)
{
    self->result->n_alarms++;
    char *text = describe_alarm(self, item);
    if (!text)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for an alarm");
    const size_t begin = self->out.n;
    sc_status status = sc_line_writer_put(&self->out, text, strlen(text));
    if (status == SC_OK)
        status = sc_line_writer_put(&self->out, "\n", 1);
    if (status == SC_OK)
        sc_alarm_command_start(&self->command, self->out.bytes + begin, self->out.n - begin);
    free(text);
    return status == SC_OK ? sc_line_writer_flush(&self->out) : status;
}

static sc_status watch(void *context, const sc_predict_item *item, bool last)
{
    watcher *self = context;
    (void)last;
    if (item->message) {
        fprintf(stderr, "%s: line %" PRIu64 ": %s\n", self->options->title, item->line, item->message);
        return SC_OK;
    }
    return sc_share_window_add(&self->window, has_label(self, item)) ? raise_alarm(self, item) : SC_OK;
}

static sc_status look_after_commands(void *context)
{
    watcher *self = context;
    sc_alarm_command_look(&self->command);
    return SC_OK;
}

static sc_status keep_going(void *context)
{
    watcher *self = context;
    sc_alarm_command_look(&self->command);
    return sc_predictor_wait(self->predictor, -1);
}

static sc_status run(watcher *self)
{
    const sc_watcher_options *o = self->options;
    sc_predict_stream_result counted;
    SC_TRY(sc_predictor_open(&o->predictor, &self->predictor));
    SC_TRY(find_label(self));
    if (o->pairs && sc_predictor_model(self->predictor)->model.token_types < 2)
        return SC_FAIL(SC_INVALID, "the model in %s takes no second text", o->predictor.dir);
    SC_TRY(sc_predict_stream_check(o->path));
    SC_TRY(sc_share_window_init(&self->window, o->window, o->above, o->below));
    SC_TRY(sc_predictor_start_workers(self->predictor));
    const sc_predict_stream_options stream = {
        .predictor = self->predictor,
        .input = o->pairs ? SC_PREDICT_PAIRS : SC_PREDICT_LINES,
        .path = o->path,
        .context = self,
        .each = watch,
        .turn = look_after_commands,
    };
    const sc_status status = sc_predict_stream_run(&stream, &counted);
    self->result->n_texts = counted.n_items;
    self->result->n_mistakes = counted.n_mistakes;
    return status == SC_CANCELLED ? SC_OK : status;
}

sc_status sc_watcher_run(const sc_watcher_options *options, sc_watcher_result *result)
{
    const sc_clock clock = sc_clock_system();
    *result = (sc_watcher_result){0};
    watcher self = {
        .options = options,
        .result = result,
        .command = {.command = options->command, .title = options->title},
        .out = {.fd = options->out, .context = &self, .wait = keep_going},
    };
    const sc_status status = run(&self);
    result->closed = self.out.closed;
    sc_predictor_close(&self.predictor);
    sc_alarm_command_finish(&self.command, &clock, GRACE_MS);
    sc_line_writer_clear(&self.out);
    sc_share_window_clear(&self.window);
    return status;
}
