/* What the status server shows of a run, and what operators ask of it. */
#include "coordinator/run/trainer_internal.h"

#include "coordinator/status/schedule_view.h"
#include "proto/base/files.h"
#include "proto/base/log.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SC_LOG_SUBSYSTEM "status"

enum { SHOW_EVERY_MS = 100 };

static uint64_t wall_ns(void *context)
{
    (void)context;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void on_event(void *context, const json_t *event, const char *line)
{
    sc_trainer *t = context;
    if (t->board)
        sc_board_event(t->board, event, line);
    if (t->tensorboard)
        sc_tensorboard_event(t->tensorboard, event);
}

static sc_status make_board(sc_trainer *t)
{
    char *config = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&config, &n);
    if (!out)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the status server");
    const int printed = sc_config_print_json(t->config, out);
    sc_status status = SC_OK;
    if (fclose(out) != 0 || printed != 0)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the status server");
    const sc_board_options options = {
        .clock = t->clock, .wall = {.now_ns = wall_ns}, .dir = t->config->run.dir, .config = config};
    if (status == SC_OK)
        status = sc_board_new(&options, &t->board);
    free(config);
    SC_TRY(status);
    t->shown = calloc(SC_BOARD_WORKERS, sizeof *t->shown);
    return t->shown ? SC_OK : SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the status server");
}

static sc_status start_server(sc_trainer *t, const char *token)
{
    const char *listen = t->config->status.listen;
    const bool automatic = strcmp(listen, "auto") == 0;
    const sc_status status = sc_http_server_start(automatic ? SC_STATUS_DEFAULT : listen, t->board, token, &t->http);
    if (status != SC_OK && automatic) { /* a run is not less for want of a page that nobody asked for */
        SC_WARN("the run goes on without a status page: %s", sc_status_message());
        return SC_OK;
    }
    SC_TRY(status);
    const char *url = sc_http_server_url(t->http);
    sc_progress_note(t->progress, "status page at %s", url);
    return sc_files_replace(sc_run_dir_path(t->dir, SC_RUN_DIR_URL), url, strlen(url));
}

static sc_status open_server(sc_trainer *t)
{
    char *token = NULL;
    if (t->config->status.token_file)
        SC_TRY(sc_api_token_load(t->config->status.token_file, &token));
    const sc_status status = start_server(t, token);
    if (token)
        explicit_bzero(token, strlen(token));
    free(token);
    return status;
}

sc_status sc_trainer_open_status(sc_trainer *t)
{
    const char *tensorboard = t->config->log.tensorboard;
    const bool serves = strcmp(t->config->status.listen, "off") != 0;
    sc_kubeflow_options kubeflow;
    const bool reports = sc_kubeflow_find(&kubeflow);
    unlink(sc_run_dir_path(t->dir, SC_RUN_DIR_URL)); /* of a coordinator that was killed */
    sc_event_log_listen(t->events, on_event, t);
    if (tensorboard)
        SC_TRY(sc_tensorboard_open(tensorboard, (sc_clock){.now_ns = wall_ns}, &t->tensorboard));
    if (serves || reports)
        SC_TRY(make_board(t));
    if (serves)
        SC_TRY(open_server(t));
    return reports ? sc_kubeflow_start(&kubeflow, t->board, &t->kubeflow) : SC_OK;
}

void sc_trainer_close_status(sc_trainer *t)
{
    sc_tensorboard_close(&t->tensorboard);
    sc_kubeflow_stop(&t->kubeflow);
    if (t->http)
        unlink(sc_run_dir_path(t->dir, SC_RUN_DIR_URL));
    sc_http_server_stop(&t->http);
    sc_board_destroy(&t->board);
    free(t->shown);
}

/* ---- what is shown ------------------------------------------------------------------------------------------------ */

static sc_board_state state_of(const sc_trainer *t)
{
    if (!t->state)
        return SC_BOARD_STARTING;
    const sc_run_phase phase = sc_run_state_phase(t->state);
    if (phase == SC_RUN_RUN)
        return sc_cluster_stop_requested(t->cluster) || t->finished ? SC_BOARD_STOPPING
               : t->holds                                           ? SC_BOARD_PAUSED
                                                                    : SC_BOARD_TRAINING;
    if (t->change.cause)
        return SC_BOARD_RECOVERING;
    return phase == SC_RUN_GATHER ? SC_BOARD_WAITING : SC_BOARD_LOADING;
}

static void show_worker(const sc_trainer *t, const sc_member *m, uint64_t now_ms, sc_board_worker *out)
{
    *out = (sc_board_worker){
        .rank = m->rank,
        .waiting = m->waiting,
        .draining = m->draining,
        .threads = m->threads,
        .heard_seconds = now_ms > m->heard_ms ? (double)(now_ms - m->heard_ms) * 1e-3 : 0,
    };
    memcpy(out->name, m->name, sizeof out->name);
    memcpy(out->device, m->device, sizeof out->device);
    memcpy(out->doing, m->doing, sizeof out->doing);
    if (m->rank < 0 || m->rank >= sc_run_state_n_ranks(t->state))
        return;
    out->first_block = sc_run_state_slices(t->state)[m->rank].first_block;
    out->n_blocks = sc_run_state_slices(t->state)[m->rank].n_blocks;
    out->messages = t->counts[m->rank].messages;
}

static int by_rank(const void *a, const void *b)
{
    const int left = ((const sc_board_worker *)a)->rank, right = ((const sc_board_worker *)b)->rank;
    if (left < 0 || right < 0) /* spares come last */
        return (left < 0) - (right < 0);
    return left - right;
}

static void show_schedule(sc_trainer *t)
{
    if (t->shown_generation == sc_cluster_generation(t->cluster))
        return;
    t->shown_generation = sc_cluster_generation(t->cluster);
    sc_board_set_schedule(t->board, sc_schedule_view(t->plans[SC_PLAN_OF_STEPS]));
}

static void show(sc_trainer *t, uint64_t now_ms)
{
    const sc_roster *roster = sc_cluster_roster(t->cluster);
    const sc_event_messages messages = sc_trainer_messages(t);
    const int n = sc_roster_count(roster);
    for (int i = 0; i < n; i++)
        show_worker(t, sc_roster_at(roster, i), now_ms, &t->shown[i]);
    qsort(t->shown, (size_t)n, sizeof *t->shown, by_rank);
    const sc_board_live live = {
        .state = state_of(t),
        .generation = sc_cluster_generation(t->cluster),
        .n_stages = sc_run_state_n_ranks(t->state),
        .stale = messages.stale,
        .duplicate = messages.duplicate,
        .resent = messages.resent,
        .replayed = messages.replayed,
        .rejected = messages.rejected,
        .n_workers = n,
        .workers = t->shown,
    };
    sc_board_show(t->board, &live);
    if (live.generation > 0)
        show_schedule(t);
}

/* ---- what is asked for -------------------------------------------------------------------------------------------- */

static void drain(sc_trainer *t, int stage)
{
    sc_roster *roster = sc_cluster_roster(t->cluster);
    const sc_member *m = sc_roster_ranked(roster, stage);
    if (!m || m->draining)
        return;
    sc_roster_drain(roster, m->id, "an operator asked for it");
    sc_trainer_on_drain(t, m);
}

static void heed(sc_trainer *t)
{
    sc_board_requests asked;
    sc_board_take_requests(t->board, &asked);
    t->wants_save = t->wants_save || asked.checkpoint;
    if (asked.pause != t->pauses)
        sc_progress_note(t->progress, asked.pause ? "an operator pauses the run at the end of the step"
                                                  : "an operator lets the run go on");
    t->pauses = asked.pause;
    for (int i = 0; i < asked.n_drains; i++)
        drain(t, asked.drains[i]);
    if (asked.stop && !sc_cluster_stop_requested(t->cluster) && !t->stop_sent) {
        sc_progress_note(t->progress, "an operator stops the run");
        t->stop_sent = true;
        kill(getpid(), SIGTERM); /* the one way to stop in order, whoever asks */
    }
}

void sc_trainer_show(sc_trainer *t)
{
    const uint64_t now_ms = sc_clock_ms(&t->clock);
    if (!t->board || !t->state || (t->shown_ms != 0 && now_ms - t->shown_ms < SHOW_EVERY_MS))
        return;
    t->shown_ms = now_ms;
    heed(t);
    show(t, now_ms);
}

sc_status sc_trainer_hold(sc_trainer *t)
{
    t->holds = t->pauses;
    while (t->pauses && !sc_cluster_stop_requested(t->cluster))
        SC_TRY(sc_cluster_poll(t->cluster)); /* which shows, and heeds */
    if (t->holds)
        t->commit_ns = sc_clock_ns(&t->clock); /* the pause is no part of the next step */
    t->holds = false;
    return SC_OK;
}
