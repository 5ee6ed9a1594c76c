/* A board with a run on it, whose clocks stand still. Failures end the test. */
#ifndef SC_TEST_BOARD_FIXTURE_H
#define SC_TEST_BOARD_FIXTURE_H

#include "coordinator/status/board.h"

#include <stdlib.h>
#include <string.h>

static uint64_t board_now_ns, board_wall_ns;

static inline sc_board *board_new(void)
{
    board_now_ns = UINT64_C(5000000000);
    board_wall_ns = UINT64_C(1800000000) * 1000000000;
    const sc_board_options options = {.clock = sc_clock_manual(&board_now_ns),
                                      .wall = sc_clock_manual(&board_wall_ns),
                                      .dir = "runs/demo",
                                      .config = "{\"run\":{\"dir\":\"runs/demo\"}}"};
    sc_board *board;
    if (sc_board_new(&options, &board) != SC_OK)
        abort();
    return board;
}

/* An event as a line of events.jsonl. */
static inline void board_tell(sc_board *board, const char *line)
{
    json_t *event = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    if (!event)
        abort();
    sc_board_event(board, event, line);
    json_decref(event);
}

static inline void board_start(sc_board *board)
{
    board_tell(board,
               "{\"event\":\"run_started\",\"time\":\"2026-01-31T12:00:00.000Z\",\"version\":\"0.1.0\",\"config\":"
               "\"demo.yaml\",\"seed\":7,\"workers\":2,\"schedule\":\"1f1b\",\"vocab\":65,\"parameters\":1000,"
               "\"train_tokens\":5000,\"validation_tokens\":500,\"first_step\":1,\"steps\":100,\"batch_size\":8,"
               "\"micro_batch_size\":2,\"sequence_length\":32}");
}

static inline void board_step(sc_board *board, int step, double loss, double seconds)
{
    char line[512];
    snprintf(
        line, sizeof line,
        "{\"event\":\"step\",\"time\":\"2026-01-31T12:00:01.000Z\",\"step\":%d,\"loss\":%g,\"grad_norm\":0.5,\"lr\":"
        "0.001,\"tokens\":256,\"step_seconds\":%g,\"stages\":[{\"stage\":0,\"forward_seconds\":%g,"
        "\"backward_seconds\":%g,\"wait_seconds\":%g,\"peak_resident_bytes\":1000000},{\"stage\":1,"
        "\"forward_seconds\":%g,\"backward_seconds\":%g,\"wait_seconds\":%g,\"peak_resident_bytes\":2000000}]}",
        step, loss, seconds, seconds / 4, seconds / 2, seconds / 4, seconds / 4, seconds / 4, seconds / 2);
    board_tell(board, line);
}

/* Two workers that serve, and a spare. */
static inline void board_show(sc_board *board, sc_board_state state)
{
    const sc_board_worker workers[] = {
        {.rank = 0,
         .name = "one:11",
         .device = "cpu",
         .doing = "0F1",
         .threads = 1,
         .n_blocks = 2,
         .heard_seconds = 0.5},
        {.rank = 1,
         .name = "two\xff:12",
         .device = "cpu",
         .doing = "1RECV_F2",
         .waiting = true,
         .threads = 1,
         .first_block = 2,
         .n_blocks = 3,
         .heard_seconds = 0.25,
         .messages = {10, 20, 3000, 4000, 3, 2, 1, 5}},
        {.rank = -1, .name = "three:13", .device = "cpu", .doing = "idle", .threads = 1, .heard_seconds = 0.125},
    };
    const sc_board_live live = {
        .state = state, .generation = 4, .n_stages = 2, .stale = 9, .replayed = 7, .n_workers = 3, .workers = workers};
    sc_board_show(board, &live);
}

#endif
