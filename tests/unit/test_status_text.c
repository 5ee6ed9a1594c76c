#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/status/status_text.h"
#include "coordinator/status/views.h"
#include "tests/unit/board_fixture.h"

static char *text;

static int teardown(void **state)
{
    (void)state;
    free(text);
    text = NULL;
    return 0;
}

static void print(json_t *status, json_t *stages, int width)
{
    size_t n = 0;
    free(text);
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    sc_status_text_print(status, stages, width, out);
    fclose(out);
    json_decref(status);
    json_decref(stages);
}

static void a_run_is_shown_with_its_stages(void **state)
{
    (void)state;
    static sc_board_view view;
    sc_board *board = board_new();
    board_start(board);
    board_show(board, SC_BOARD_TRAINING);
    board_step(board, 25, 4.5, 0.5);
    sc_board_look(board, &view);
    sc_board_destroy(&board);
    print(sc_views_status(&view), sc_views_stages(&view), 0);
    static const char *const pieces[] = {
        "runs/demo  training  step 25/100 (25%)  loss 4.5000  validation -  512 tok/s  38s left\n",
        "generation 4, 3 workers, 2 wanted, bubble 38%",
        "\n    0  one:11",
        "0F1",
        "0-1",
        "\n    1  two?:12",
        "1RECV_F2",
        "2-4",
        "\nspare  three:13"};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        if (!strstr(text, pieces[i]))
            fail_msg("\"%s\" is not in:\n%s", pieces[i], text);
}

/* Whatever answers at the address: nothing of it is obeyed by the terminal, and nothing that lacks is read. */
static void what_is_strange_is_shown_harmlessly(void **state)
{
    (void)state;
    print(json_pack("{s:s, s:s, s:f}", "state", "\x1b[2J", "message", "a\nb", "step", 1.5),
          json_pack("{s:[i, n, {s:i}]}", "stages", 1, "worker", 7), 0);
    assert_null(strchr(text, 0x1b));
    assert_non_null(strstr(text, "?[2J"));
    assert_non_null(strstr(text, "a?b\n"));
    print(json_array(), json_null(), 20);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        assert_true(strlen(line) <= 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_run_is_shown_with_its_stages, teardown),
        cmocka_unit_test_teardown(what_is_strange_is_shown_harmlessly, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
