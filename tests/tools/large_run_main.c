/* Shows a run that nobody has: large-run STAGES STEPS. A status server, at a free port whose URL it prints, with so many stages and
 * a history of so many steps; ten more come each second, and stages do one thing after the other, until standard input ends. */
#include "coordinator/schedule/schedule.h"
#include "coordinator/status/http_server.h"
#include "coordinator/status/schedule_view.h"

#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TICK_MS = 100, MICROBATCHES = 8 };

static uint64_t wall_ns(void *context)
{
    (void)context;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void tell(sc_board *board, json_t *event)
{
    char *line = event ? json_dumps(event, JSON_COMPACT) : NULL;
    if (!line)
        abort();
    sc_board_event(board, event, line);
    free(line);
}

static json_t *step_event(int n_stages)
{
    json_t *stages = json_array();
    for (int i = 0; i < n_stages; i++)
        json_array_append_new(stages, json_pack("{s:i, s:f, s:f, s:f, s:i}", "stage", i, "forward_seconds", 0.02,
                                                "backward_seconds", 0.04, "wait_seconds", 0.03, "peak_resident_bytes",
                                                1 << 30));
    return json_pack("{s:s, s:i, s:f, s:f, s:f, s:i, s:f, s:o}", "event", "step", "step", 0, "loss", 0.0, "grad_norm",
                     1.0, "lr", 1e-3, "tokens", 8192, "step_seconds", 0.1, "stages", stages);
}

static void step(sc_board *board, json_t *event, int i)
{
    json_integer_set(json_object_get(event, "step"), i);
    json_real_set(json_object_get(event, "loss"), 2 + 4 * exp(-i / 2e4) + 0.1 * sin(i * 12.9898));
    sc_board_event(board, event, "");
}

static void show(sc_board *board, const sc_plan *plan, int tick)
{
    static sc_board_worker workers[SC_MAX_STAGES];
    for (int i = 0; i < plan->n_workers; i++) {
        workers[i] = (sc_board_worker){.rank = i, .device = "cpu", .threads = 8, .first_block = i, .n_blocks = 1};
        snprintf(workers[i].name, sizeof workers[i].name, "host-%d:%d", i, 1000 + i);
        snprintf(workers[i].doing, sizeof workers[i].doing, "%d%c%d", i, tick % 3 ? 'B' : 'F',
                 (tick + i) % MICROBATCHES);
    }
    const sc_board_live live = {.state = SC_BOARD_TRAINING,
                                .generation = 1,
                                .n_stages = plan->n_workers,
                                .n_workers = plan->n_workers,
                                .workers = workers};
    sc_board_show(board, &live);
}

int main(int argc, char **argv)
{
    const int n_stages = argc == 3 ? atoi(argv[1]) : 0, n_steps = argc == 3 ? atoi(argv[2]) : 0;
    const sc_board_options options = {
        .clock = sc_clock_system(), .wall = {.now_ns = wall_ns}, .dir = "runs/large", .config = "{}"};
    sc_board *board = NULL;
    sc_http_server *server = NULL;
    sc_plan *plan = NULL;
    if (n_stages < 1 || n_stages > SC_MAX_STAGES || n_steps < 1) {
        fprintf(stderr, "Usage: large-run STAGES STEPS\n");
        return 2;
    }
    if (sc_board_new(&options, &board) != SC_OK ||
        sc_schedule_make(SC_SCHEDULE_1F1B, n_stages, 1, MICROBATCHES, SC_PLAN_TRAIN, true, &plan) != SC_OK ||
        sc_http_server_start("127.0.0.1:0", board, NULL, &server) != SC_OK) {
        fprintf(stderr, "large-run: %s\n", sc_status_message());
        return 1;
    }
    json_t *started = json_pack("{s:s, s:s, s:s, s:i, s:i, s:i}", "event", "run_started", "config", "large.yaml",
                                "schedule", "1f1b", "workers", n_stages, "first_step", 1, "steps", 2 * n_steps);
    json_t *event = step_event(n_stages);
    tell(board, started);
    int i = 1;
    for (; i <= n_steps; i++)
        step(board, event, i);
    sc_board_set_schedule(board, sc_schedule_view(plan));
    show(board, plan, 0);
    printf("%s\n", sc_http_server_url(server));
    fflush(stdout);
    for (struct pollfd input = {.fd = 0, .events = POLLIN}; poll(&input, 1, TICK_MS) == 0; i++) {
        step(board, event, i);
        show(board, plan, i);
    }
    sc_http_server_stop(&server);
    sc_board_destroy(&board);
    sc_plan_destroy(&plan);
    json_decref(started);
    json_decref(event);
    return 0;
}
