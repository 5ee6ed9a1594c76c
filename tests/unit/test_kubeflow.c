#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/status/http_client.h"
#include "coordinator/status/kubeflow.h"
#include "tests/unit/board_fixture.h"

static sc_board_view view;

static void assert_document(sc_board *board, const char *expected)
{
    sc_board_look(board, &view);
    char *text = sc_kubeflow_document(&view);
    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
}

static void what_is_known_is_in_the_document(void **state)
{
    (void)state;
    sc_board *board = board_new();
    board_start(board);
    assert_document(board,
                    "{\"trainerStatus\":{\"progressPercentage\":0,\"metrics\":[{\"name\":\"step\",\"value\":\"0\"},"
                    "{\"name\":\"steps\",\"value\":\"100\"}],\"lastUpdatedTime\":\"2027-01-15T08:00:00Z\"}}");
    board_step(board, 29, 2.5, 0.5);
    board_tell(board, "{\"event\":\"eval\",\"step\":29,\"loss\":2.25,\"perplexity\":null,\"f1\":0.75}");
    assert_document(board,
                    "{\"trainerStatus\":{\"progressPercentage\":29,\"metrics\":[{\"name\":\"step\",\"value\":\"29\"},"
                    "{\"name\":\"steps\",\"value\":\"100\"},{\"name\":\"loss\",\"value\":\"2.5\"},"
                    "{\"name\":\"grad_norm\",\"value\":\"0.5\"},{\"name\":\"learning_rate\",\"value\":\"0.001\"},"
                    "{\"name\":\"tokens_per_second\",\"value\":\"512\"},{\"name\":\"eval_loss\",\"value\":\"2.25\"},"
                    "{\"name\":\"eval_f1\",\"value\":\"0.75\"}],\"lastUpdatedTime\":\"2027-01-15T08:00:00Z\","
                    "\"estimatedRemainingSeconds\":35}}");
    sc_board_destroy(&board);
}

static int percentage(sc_board *board)
{
    int value = -1;
    sc_board_look(board, &view);
    char *text = sc_kubeflow_document(&view);
    json_t *document = json_loads(text, 0, NULL);
    assert_int_equal(json_unpack(document, "{s:{s:i}}", "trainerStatus", "progressPercentage", &value), 0);
    json_decref(document);
    free(text);
    return value;
}

static void a_hundred_is_for_a_run_that_is_done(void **state)
{
    (void)state;
    sc_board *board = board_new();
    board_start(board);
    board_step(board, 100, 2, 1);
    assert_int_equal(percentage(board), 99); /* the weights are being written */
    board_tell(board, "{\"event\":\"run_finished\",\"step\":100,\"status\":\"OK\",\"message\":\"\"}");
    assert_int_equal(percentage(board), 100);
    sc_board_destroy(&board);

    board = board_new(); /* one that was stopped half-way */
    board_start(board);
    board_step(board, 50, 2, 1);
    board_tell(board, "{\"event\":\"run_finished\",\"step\":50,\"status\":\"OK\",\"message\":\"\"}");
    assert_int_equal(percentage(board), 50);
    sc_board_destroy(&board);
}

static void the_environment_says_whether_to_report(void **state)
{
    (void)state;
    sc_kubeflow_options found;
    unsetenv("KUBEFLOW_TRAINER_SERVER_URL");
    assert_false(sc_kubeflow_find(&found));
    setenv("KUBEFLOW_TRAINER_SERVER_URL", "https://trainer:10443/status", 1);
    setenv("KUBEFLOW_TRAINER_SERVER_TOKEN", "/token", 1);
    assert_true(sc_kubeflow_find(&found));
    assert_string_equal(found.url, "https://trainer:10443/status");
    assert_string_equal(found.token_file, "/token");
    assert_null(found.ca_file);
}

static void a_post_needs_tls_and_a_server(void **state)
{
    (void)state;
    sc_http_reply reply;
    sc_http_post post = {.url = "http://127.0.0.1:1/", .body = "{}", .seconds = 5};
    assert_int_equal(sc_https_post(&post, &reply), SC_INVALID); /* a token would be there for all to read */
    post.url = "https://127.0.0.1:1/";
    assert_int_equal(sc_https_post(&post, &reply), SC_UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_known_is_in_the_document),
        cmocka_unit_test(a_hundred_is_for_a_run_that_is_done),
        cmocka_unit_test(the_environment_says_whether_to_report),
        cmocka_unit_test(a_post_needs_tls_and_a_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
