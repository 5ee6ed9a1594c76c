#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/board_fixture.h"

#include <malloc.h>
#include <math.h>
#include <pthread.h>

static sc_board *board;
static sc_board_view view;

static int setup(void **state)
{
    (void)state;
    board = board_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sc_board_destroy(&board);
    sc_board_destroy(&board);
    return 0;
}

static void near(double value, double wanted)
{
    assert_true(fabs(value - wanted) <=
                1e-6 * fabs(wanted)); /* sums of a few doubles; floats where history keeps them */
}

static void events_become_the_run(void **state)
{
    (void)state;
    sc_board_look(board, &view);
    assert_int_equal(view.state, SC_BOARD_STARTING);
    assert_true(isnan(view.loss) && view.looked_seconds < 0);
    board_start(board);
    board_show(board, SC_BOARD_TRAINING);
    board_step(board, 1, 4.5, 0.2);
    board_step(board, 2, 4.25, 0.4);
    board_now_ns += 2000000000;
    sc_board_look(board, &view);
    assert_int_equal(view.state, SC_BOARD_TRAINING);
    assert_string_equal(view.config, "demo.yaml");
    assert_int_equal(view.step, 2);
    assert_int_equal(view.steps, 100);
    near(view.loss, 4.25);
    near(view.looked_seconds, 2);
    near(view.mean_step_seconds, 0.2 + 0.2 / 20);
    assert_int_equal(view.tokens_total, 512);
    near(view.stages[0].forward_total, 0.15);
    near(view.stages[1].wait_total, 0.3);
    assert_int_equal(view.stages[1].peak_resident_bytes, 2000000);
    assert_int_equal(view.generation, 4);
    assert_int_equal(view.n_workers, 3);
    assert_string_equal(view.workers[1].name, "two?:12");
}

static void recoveries_and_checkpoints_are_counted(void **state)
{
    (void)state;
    board_start(board);
    board_show(board, SC_BOARD_TRAINING);
    board_tell(board,
               "{\"event\":\"checkpoint\",\"time\":\"t\",\"step\":10,\"status\":\"OK\",\"message\":\"\",\"path\":\"p\","
               "\"bytes\":77,\"seconds\":0.5}");
    board_tell(board,
               "{\"event\":\"checkpoint\",\"time\":\"t\",\"step\":20,\"status\":\"RESOURCE_EXHAUSTED\",\"message\":"
               "\"full\",\"path\":\"p\",\"bytes\":0,\"seconds\":0.1}");
    board_tell(board, "{\"event\":\"worker_lost\",\"time\":\"t\",\"worker\":1,\"name\":\"two\",\"reason\":\"gone\"}");
    board_tell(board,
               "{\"event\":\"worker_lost\",\"time\":\"t\",\"worker\":null,\"name\":\"three\",\"reason\":\"gone\"}");
    board_tell(board, "{\"event\":\"recovery\",\"time\":\"t\",\"level\":\"disk\",\"step\":10,\"steps_lost\":3,"
                      "\"steps_replayed\":0,\"detect_seconds\":0.5,\"replace_seconds\":1,\"load_seconds\":0.25,"
                      "\"replay_seconds\":null}");
    sc_board_look(board, &view);
    assert_int_equal(view.n_checkpoints, 2);
    assert_true(view.checkpoints[0].complete && !view.checkpoints[1].complete);
    assert_string_equal(view.checkpoints[1].message, "full");
    near(view.checkpoint_time, 1800000000);
    assert_int_equal(view.n_losses, 2);
    assert_int_equal(view.stages[1].n_losses, 1);
    assert_int_equal(view.recoveries[2], 1);
    assert_int_equal(view.steps_lost, 3);
    assert_int_equal(view.step, 10);
    near(view.recovery_seconds[SC_BOARD_REPLACE], 1);
    for (int i = 0; i < 2 * SC_BOARD_CHECKPOINTS; i++)
        board_tell(board,
                   "{\"event\":\"checkpoint\",\"time\":\"t\",\"step\":30,\"status\":\"OK\",\"bytes\":1,\"seconds\":1}");
    sc_board_look(board, &view);
    assert_int_equal(view.n_checkpoints, SC_BOARD_CHECKPOINTS);
}

static void a_run_that_is_over_stays_so(void **state)
{
    (void)state;
    board_tell(board,
               "{\"event\":\"run_finished\",\"time\":\"t\",\"step\":3,\"status\":\"UNAVAILABLE\",\"message\":\"why\"}");
    board_show(board, SC_BOARD_TRAINING);
    sc_board_look(board, &view);
    assert_int_equal(view.state, SC_BOARD_FAILED);
    assert_string_equal(view.message, "why");
    assert_int_equal(sc_board_ask(board, SC_BOARD_ASK_PAUSE, 0), SC_FAILED_PRECONDITION);
}

static void ids_of_events_rise_and_the_newest_are_kept(void **state)
{
    (void)state;
    char *lines[SC_BOARD_EVENTS];
    uint64_t first;
    assert_int_equal(sc_board_events(board, 0, 10, lines, &first), 0);
    for (int i = 1; i <= SC_BOARD_EVENTS + 5; i++) {
        char line[64];
        snprintf(line, sizeof line, "{\"event\":\"eval\",\"step\":%d,\"loss\":1}", i);
        board_tell(board, line);
        board_step(board, i, 1, 0.1); /* no event here */
    }
    int n = sc_board_events(board, 0, SC_BOARD_EVENTS, lines, &first);
    assert_int_equal(n, SC_BOARD_EVENTS);
    assert_int_equal(first, 6);
    assert_string_equal(lines[0], "{\"event\":\"eval\",\"step\":6,\"loss\":1}");
    while (n > 0)
        free(lines[--n]);
    n = sc_board_events(board, SC_BOARD_EVENTS + 3, 10, lines, &first);
    assert_int_equal(n, 2);
    assert_int_equal(first, SC_BOARD_EVENTS + 4);
    while (n > 0)
        free(lines[--n]);
    n = sc_board_events(board, 1000000, 1, lines, &first); /* of another coordinator */
    assert_int_equal(n, 1);
    free(lines[0]);
}

static void requests_are_handed_out_once(void **state)
{
    (void)state;
    sc_board_requests r;
    board_show(board, SC_BOARD_TRAINING);
    assert_int_equal(sc_board_ask(board, SC_BOARD_ASK_CHECKPOINT, 0), SC_OK);
    assert_int_equal(sc_board_ask(board, SC_BOARD_ASK_PAUSE, 0), SC_OK);
    assert_int_equal(sc_board_ask(board, SC_BOARD_ASK_DRAIN, 1), SC_OK);
    assert_int_equal(sc_board_ask(board, SC_BOARD_ASK_DRAIN, 1), SC_OK);
    assert_int_equal(sc_board_ask(board, SC_BOARD_ASK_DRAIN, 2), SC_NOT_FOUND);
    sc_board_take_requests(board, &r);
    assert_true(r.checkpoint && r.pause && !r.stop);
    assert_int_equal(r.n_drains, 1);
    assert_int_equal(r.drains[0], 1);
    sc_board_take_requests(board, &r);
    assert_true(!r.checkpoint && r.pause && r.n_drains == 0);
    assert_int_equal(sc_board_ask(board, SC_BOARD_ASK_STOP, 0), SC_OK);
    sc_board_take_requests(board, &r);
    assert_true(r.stop && !r.pause); /* who stops a run that is paused wants it to end */
    assert_int_equal(sc_board_ask(board, SC_BOARD_ASK_PAUSE, 0), SC_FAILED_PRECONDITION);
    board_show(board, SC_BOARD_TRAINING);
    sc_board_look(board, &view);
    assert_int_equal(view.state, SC_BOARD_STOPPING);
}

static void a_million_steps_take_no_more_memory_than_some(void **state)
{
    (void)state;
    for (int step = 1; step <= 20000; step++)
        board_step(board, step, 1, 0.1);
    const size_t before = mallinfo2().uordblks;
    json_t *event = json_pack("{s:s, s:i, s:f, s:i, s:f, s:[]}", "event", "step", "step", 0, "loss", 1.0, "tokens", 1,
                              "step_seconds", 0.1, "stages");
    assert_non_null(event);
    for (int step = 20001; step <= 1000000; step++) {
        json_integer_set(json_object_get(event, "step"), step);
        sc_board_event(board, event, "");
    }
    json_decref(event);
    assert_true(mallinfo2().uordblks <= before + 4096);
    assert_true(before < 16 << 20); /* the coordinator as a whole is to stay below 200 MB */
    sc_history_point newest[100];
    assert_int_equal(sc_board_last_steps(board, 0, 100, newest), 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(newest[i].step, 1000000 - 99 + i);
}

/* For tsan: one thread tells while another looks. Counts the copies that are between two states. */
static void *look_on(void *context)
{
    static sc_board_view copy;
    static sc_history_point points[100];
    int *n_torn = context;
    for (int i = 0; i < 2000; i++) {
        sc_board_look(board, &copy);
        *n_torn += copy.tokens_total != copy.steps_total * 256;
        const int n = sc_board_spread_steps(board, 100, points);
        for (int k = 1; k < n; k++)
            *n_torn += points[k - 1].step >= points[k].step;
    }
    return NULL;
}

static void copies_are_whole(void **state)
{
    (void)state;
    pthread_t thread;
    int n_torn = 0;
    assert_int_equal(pthread_create(&thread, NULL, look_on, &n_torn), 0);
    for (int step = 1; step <= 2000; step++) {
        board_step(board, step, 1, 0.1);
        board_show(board, SC_BOARD_TRAINING);
    }
    pthread_join(thread, NULL);
    assert_int_equal(n_torn, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(events_become_the_run, setup, teardown),
        cmocka_unit_test_setup_teardown(recoveries_and_checkpoints_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_that_is_over_stays_so, setup, teardown),
        cmocka_unit_test_setup_teardown(ids_of_events_rise_and_the_newest_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(requests_are_handed_out_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_million_steps_take_no_more_memory_than_some, setup, teardown),
        cmocka_unit_test_setup_teardown(copies_are_whole, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
