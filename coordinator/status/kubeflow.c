#include "coordinator/status/kubeflow.h"

#include "coordinator/status/http_client.h"
#include "coordinator/status/views.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/base/thread.h"

#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SC_LOG_SUBSYSTEM "kubeflow"

enum { LOOK_EVERY_MS = 200, TOKEN_BYTES = 64 << 10 };

struct sc_kubeflow {
    char *url, *ca_file, *token_file;
    sc_clock clock;
    pthread_t thread;
    pthread_mutex_t lock; /* of these: */
    pthread_cond_t news;
    bool closing;
    sc_board *board;     /* not to be looked at once `closing` is set; */
    sc_board_view *last; /* how it stood then */
    /* The thread's own: */
    sc_board_view *view;
    uint64_t told_revision, told_ms;
    bool told, failing;
};

bool sc_kubeflow_find(sc_kubeflow_options *out)
{
    *out = (sc_kubeflow_options){
        .url = getenv("KUBEFLOW_TRAINER_SERVER_URL"),
        .ca_file = getenv("KUBEFLOW_TRAINER_SERVER_CA_CERT"),
        .token_file = getenv("KUBEFLOW_TRAINER_SERVER_TOKEN"),
    };
    return out->url && out->url[0];
}

/* ---- the document ------------------------------------------------------------------------------------------------- */

static void add_metric(json_t *metrics, const char *name, double value)
{
    char text[32];
    if (!isfinite(value))
        return;
    snprintf(text, sizeof text, "%.9g", value);
    json_array_append_new(metrics, json_pack("{s:s, s:s}", "name", name, "value", text));
}

static json_t *metrics_of(const sc_board_view *v)
{
    json_t *metrics = json_array();
    add_metric(metrics, "step", (double)v->step);
    add_metric(metrics, "steps", (double)v->steps);
    add_metric(metrics, "loss", v->loss);
    add_metric(metrics, "grad_norm", v->grad_norm);
    add_metric(metrics, "learning_rate", v->lr);
    add_metric(metrics, "tokens_per_second", (double)v->step_tokens / v->mean_step_seconds);
    for (int i = 0; i < v->n_scores; i++) {
        char name[64]; /* the most that a name may have */
        snprintf(name, sizeof name, "eval_%s", v->scores[i].name);
        add_metric(metrics, name, v->scores[i].value);
    }
    return metrics;
}

static int percentage(const sc_board_view *v)
{
    const double share = v->steps > 0 ? 100.0 * (double)v->step / (double)v->steps : 0;
    const int most = v->state == SC_BOARD_FINISHED ? 100 : 99;
    return share < most ? (int)share : most;
}

char *sc_kubeflow_document(const sc_board_view *v)
{
    char time[32];
    json_t *status = json_pack("{s:i, s:o, s:s}", "progressPercentage", percentage(v), "metrics", metrics_of(v),
                               "lastUpdatedTime", sc_views_time(v->now, time));
    const double eta = sc_views_eta(v);
    if (status && isfinite(eta) && eta >= 0)
        json_object_set_new(status, "estimatedRemainingSeconds", json_integer(eta < INT32_MAX ? (int)eta : INT32_MAX));
    json_t *document = json_pack("{s:o}", "trainerStatus", status);
    char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    return text;
}

/* ---- a report ----------------------------------------------------------------------------------------------------- */

/* The token as the file has it now, without the newline that may end it. */
static sc_status load_token(const char *path, char **out)
{
    size_t n;
    SC_TRY(sc_files_read(path, TOKEN_BYTES, out, &n));
    (*out)[strcspn(*out, "\r\n")] = '\0';
    return SC_OK;
}

static sc_status post(const sc_kubeflow *self, const char *document)
{
    char *token = NULL;
    sc_http_reply reply = {0};
    if (self->token_file)
        SC_TRY(load_token(self->token_file, &token));
    const sc_http_post request = {.url = self->url,
                                  .ca_file = self->ca_file,
                                  .bearer = token,
                                  .body = document,
                                  .seconds = SC_KUBEFLOW_POST_MS * 1e-3};
    sc_status status = sc_https_post(&request, &reply);
    if (token)
        explicit_bzero(token, strlen(token));
    free(token);
    if (status == SC_OK && (reply.status < 200 || reply.status > 299))
        status = SC_FAIL(SC_UNAVAILABLE, "the answer is %d: %.200s", reply.status, reply.body);
    sc_http_reply_clear(&reply);
    return status;
}

static void report(sc_kubeflow *self, const sc_board_view *view)
{
    char *document = sc_kubeflow_document(view);
    if (!document)
        return;
    const sc_status status = post(self, document);
    free(document);
    if (status != SC_OK && !self->failing)
        SC_WARN("progress cannot be reported to %s: %s; the run goes on", self->url, sc_status_message());
    else if (status == SC_OK && self->failing)
        SC_WARN("progress is reported to %s again", self->url);
    self->failing = status != SC_OK;
}

/* ---- the thread --------------------------------------------------------------------------------------------------- */

/* Whether the copy that was just taken is to be told now. Before a run knows its steps there is nothing to tell. */
static bool is_due(sc_kubeflow *self, const sc_board_view *view, bool last)
{
    const uint64_t now_ms = sc_clock_ms(&self->clock);
    if (view->steps == 0 || (self->told && view->revision == self->told_revision))
        return false;
    if (self->told && !last && now_ms - self->told_ms < SC_KUBEFLOW_EVERY_MS)
        return false;
    self->told = true;
    self->told_ms = now_ms;
    self->told_revision = view->revision;
    return true;
}

static void *watch(void *context)
{
    sc_kubeflow *self = context;
    pthread_mutex_lock(&self->lock);
    for (bool last = false; !last;) {
        sc_thread_rest(&self->news, &self->lock, &self->closing, LOOK_EVERY_MS);
        last = self->closing;
        sc_board_view *view = self->view;
        if (last)
            view = self->last;
        else
            sc_board_look(self->board, view);
        pthread_mutex_unlock(&self->lock);
        if (view && is_due(self, view, last))
            report(self, view);
        pthread_mutex_lock(&self->lock);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

static void release(sc_kubeflow *self)
{
    pthread_mutex_destroy(&self->lock);
    pthread_cond_destroy(&self->news);
    free(self->url);
    free(self->ca_file);
    free(self->token_file);
    free(self->view);
    free(self->last);
    free(self);
}

static char *copy(const char *text, bool *failed)
{
    char *copied = text && text[0] ? strdup(text) : NULL;
    *failed |= text && text[0] && !copied;
    return copied;
}

sc_status sc_kubeflow_start(const sc_kubeflow_options *options, sc_board *board, sc_kubeflow **out)
{
    *out = NULL;
    sc_kubeflow *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for Kubeflow's reports");
    sc_thread_condition_init(&self->news);
    pthread_mutex_init(&self->lock, NULL);
    bool failed = false;
    self->url = copy(options->url, &failed);
    self->ca_file = copy(options->ca_file, &failed);
    self->token_file = copy(options->token_file, &failed);
    self->clock = sc_clock_system();
    self->board = board;
    self->view = calloc(1, sizeof *self->view);
    sc_status status =
        failed || !self->view ? SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for Kubeflow's reports") : SC_OK;
    if (status == SC_OK)
        status = sc_thread_start(&self->thread, "kubeflow", watch, self);
    if (status == SC_OK)
        *out = self;
    else
        release(self);
    return status;
}

void sc_kubeflow_stop(sc_kubeflow **self_p)
{
    sc_kubeflow *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    sc_board_view *last = calloc(1, sizeof *last);
    if (last)
        sc_board_look(self->board, last);
    pthread_mutex_lock(&self->lock);
    self->closing = true;
    self->last = last;
    pthread_cond_signal(&self->news);
    pthread_mutex_unlock(&self->lock);
    if (sc_thread_end(self->thread, SC_KUBEFLOW_LAST_MS)) {
        release(self);
        return;
    }
    SC_WARN("%s does not answer; how the run ended is not reported", self->url);
}
