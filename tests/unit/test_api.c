#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/status/api.h"
#include "coordinator/status/metrics.h"
#include "tests/unit/board_fixture.h"
#include "tests/unit/scratch.h"

static const char token[] = "0123456789abcdef0123456789abcdef";
static sc_board *board;
static sc_api *api, *silent; /* with a token, and without */
static sc_api_response response;
static json_t *document;

static int setup(void **state)
{
    board = board_new();
    board_start(board);
    board_show(board, SC_BOARD_TRAINING);
    return sc_api_new(board, token, &api) == SC_OK && sc_api_new(board, NULL, &silent) == SC_OK ? scratch_setup(state)
                                                                                                : -1;
}

static int teardown(void **state)
{
    sc_api_response_clear(&response);
    json_decref(document);
    document = NULL;
    sc_api_destroy(&api);
    sc_api_destroy(&silent);
    sc_board_destroy(&board);
    return scratch_teardown(state);
}

/* The answer to a request; `document` is its body where that is JSON. */
static unsigned asked(sc_api *of, const sc_api_request *request)
{
    sc_api_response_clear(&response);
    json_decref(document);
    document = NULL;
    sc_api_answer(of, request, &response);
    if (response.body && response.content_type && strstr(response.content_type, "json")) {
        document = json_loadb(response.body, response.n_bytes, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(document);
    }
    return response.status;
}

static unsigned got(const char *path)
{
    return asked(api, &(sc_api_request){.method = "GET", .path = path});
}

static unsigned got_with(const char *path, const char *name, const char *value)
{
    return asked(api,
                 &(sc_api_request){.method = "GET", .path = path, .parameters = {{name, value}}, .n_parameters = 1});
}

static unsigned posted(sc_api *of, const char *path, const char *authorization)
{
    return asked(of, &(sc_api_request){.method = "POST", .path = path, .authorization = authorization});
}

/* A member of the document, by names and, in brackets of its own, an index: "stages/0/worker". */
static const json_t *at(const char *path)
{
    char copy[128], *rest = NULL;
    const json_t *value = document;
    snprintf(copy, sizeof copy, "%s", path);
    for (char *part = strtok_r(copy, "/", &rest); part; part = strtok_r(NULL, "/", &rest))
        value = json_is_array(value) ? json_array_get(value, (size_t)atoi(part)) : json_object_get(value, part);
    assert_non_null(value);
    return value;
}

static void assert_problem(unsigned status, const char *detail)
{
    assert_int_equal(response.status, status);
    assert_string_equal(response.content_type, "application/problem+json");
    assert_int_equal(json_integer_value(at("status")), status);
    assert_true(json_string_length(at("title")) > 0);
    assert_non_null(strstr(json_string_value(at("detail")), detail));
}

static void the_run_at_a_glance(void **state)
{
    (void)state;
    board_step(board, 1, 4.5, 0.5);
    assert_int_equal(got("/api/v1/status"), 200);
    assert_string_equal(json_string_value(at("state")), "training");
    assert_int_equal(json_integer_value(at("step")), 1);
    assert_true(json_real_value(at("loss")) == 4.5);
    assert_true(json_real_value(at("tokens_per_second")) == 512);
    assert_true(json_real_value(at("eta_seconds")) == 49.5);
    assert_true(json_real_value(at("bubble")) == 1 - (0.75 + 0.5) / 2);
    assert_true(json_is_null(at("validation")));
}

static void stages_and_spares(void **state)
{
    (void)state;
    assert_int_equal(got("/api/v1/stages"), 200);
    assert_int_equal(json_array_size(at("stages")), 2);
    assert_string_equal(json_string_value(at("stages/1/worker/doing")), "1RECV_F2");
    assert_string_equal(json_string_value(at("stages/1/worker/name")), "two?:12");
    assert_int_equal(json_integer_value(at("stages/1/first_block")), 2);
    assert_int_equal(json_array_size(at("spares")), 1);
}

static void numbers_that_are_none_are_null(void **state)
{
    (void)state;
    board_tell(board, "{\"event\":\"step\",\"step\":1,\"loss\":null,\"grad_norm\":null,\"lr\":0.1,\"tokens\":1,"
                      "\"step_seconds\":0.1,\"stages\":[]}");
    assert_int_equal(got("/api/v1/status"), 200);
    assert_true(json_is_null(at("loss")));
    assert_int_equal(got("/api/v1/steps"), 200);
    assert_true(json_is_null(at("steps/0/loss")));
}

static void steps_by_number(void **state)
{
    (void)state;
    for (int step = 1; step <= 1000; step++)
        board_step(board, step, step, 0.1);
    assert_int_equal(got("/api/v1/steps"), 200);
    assert_int_equal(json_array_size(at("steps")), 500);
    assert_int_equal(got_with("/api/v1/steps", "last", "3"), 200);
    assert_int_equal(json_integer_value(at("steps/0/step")), 998);
    assert_int_equal(got_with("/api/v1/steps", "points", "10"), 200);
    assert_int_equal(json_array_size(at("steps")), 10);
    assert_int_equal(json_integer_value(at("steps/9/step")), 1000);
}

static void bad_parameters_are_named(void **state)
{
    (void)state;
    static const char *const wrong[] = {"0", "-1", "x", "", "10001", "1x", "99999999999999999999", " 1", NULL};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(got_with("/api/v1/steps", "last", wrong[i]), 400);
        assert_problem(400, "'last'");
    }
    got_with("/api/v1/steps", "lst", "1");
    assert_problem(400, "'lst'");
    got_with("/api/v1/status", "last", "1");
    assert_problem(400, "'last'");
    got_with("/api/v1/events", "after", "\xff<");
    assert_problem(400, "'?<'");
    asked(api, &(sc_api_request){.method = "GET", .path = "/api/v1/status", .n_parameters = 100});
    assert_problem(400, "100 parameters");
}

static void unknown_paths_and_methods(void **state)
{
    (void)state;
    static const char *const paths[] = {"/x", "/api/v1/", "/api/v1/status/", "/api/v2/status",
                                        "",   "*",        "/api/v1/drain"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        got(paths[i]);
        assert_problem(404, "/openapi.json");
    }
    posted(api, "/api/v1/status", NULL);
    assert_problem(405, "'POST'");
    assert_string_equal(response.allow, "GET, HEAD");
    got("/api/v1/stop");
    assert_problem(405, "'GET'");
    assert_string_equal(response.allow, "POST");
}

static void what_is_known_is_not_sent_again(void **state)
{
    (void)state;
    char etag[32];
    assert_int_equal(got("/api/v1/checkpoints"), 200);
    snprintf(etag, sizeof etag, "%s", response.etag);
    assert_int_equal(strlen(etag), 18);
    sc_api_request request = {.method = "GET", .path = "/api/v1/checkpoints", .if_none_match = etag};
    assert_int_equal(asked(api, &request), 304);
    assert_null(response.body);
    assert_string_equal(response.etag, etag);
    board_tell(board,
               "{\"event\":\"checkpoint\",\"time\":\"t\",\"step\":30,\"status\":\"OK\",\"bytes\":1,\"seconds\":1}");
    assert_int_equal(asked(api, &request), 200);
}

static void events_come_with_ids(void **state)
{
    (void)state;
    board_tell(board, "{\"event\":\"eval\",\"time\":\"t\",\"step\":5,\"loss\":2.5}");
    assert_int_equal(got("/api/v1/events"), 200);
    assert_int_equal(json_array_size(at("events")), 2);
    assert_string_equal(json_string_value(at("events/1/event")), "eval");
    assert_int_equal(json_integer_value(at("last")), 2);
    assert_int_equal(got_with("/api/v1/events", "after", "2"), 200);
    assert_int_equal(json_array_size(at("events")), 0);
    assert_int_equal(json_integer_value(at("last")), 2);
}

static void a_stream_sends_what_is_new(void **state)
{
    (void)state;
    char *text;
    sc_api_request request = {
        .method = "GET", .path = "/api/v1/events", .accept = "text/event-stream", .last_event_id = "1"};
    assert_int_equal(asked(api, &request), 200);
    assert_true(response.stream && response.after == 1);
    sc_api_stream stream = {.after = 0};
    assert_int_equal(sc_api_stream_next(api, &stream, &text), SC_OK);
    assert_non_null(strstr(text, "event: status\ndata: {"));
    assert_non_null(strstr(text, "id: 1\nevent: event\ndata: {\"event\":\"run_started\""));
    assert_null(strstr(text, "event: steps"));
    free(text);
    assert_int_equal(sc_api_stream_next(api, &stream, &text), SC_OK);
    assert_null(text); /* nothing is new */
    board_step(board, 1, 4.5, 0.5);
    assert_int_equal(sc_api_stream_next(api, &stream, &text), SC_OK);
    assert_non_null(strstr(text, "event: steps\ndata: {\"steps\":[{\"step\":1,"));
    assert_null(strstr(text, "id: 1\n"));
    free(text);
}

static void health_and_readiness(void **state)
{
    (void)state;
    assert_int_equal(got("/livez"), 200);
    assert_int_equal(got("/readyz"), 200);
    assert_int_equal(got("/healthz"), 200);
    board_show(board, SC_BOARD_RECOVERING);
    got("/readyz");
    assert_problem(503, "recovering");
    assert_int_equal(got("/healthz"), 200);
    board_now_ns += UINT64_C(61000000000); /* the run's thread does not come by any more */
    assert_int_equal(got("/healthz"), 503);
    assert_int_equal(got("/livez"), 200);
}

static void verbs_need_a_token(void **state)
{
    (void)state;
    sc_board_requests r;
    posted(silent, "/api/v1/stop", "Bearer 0123456789abcdef0123456789abcdef");
    assert_problem(403, "status.token_file");
    static const char *const wrong[] = {NULL,
                                        "",
                                        "Bearer ",
                                        "Bearer 0123456789abcdef0123456789abcde",
                                        "Bearer 0123456789abcdef0123456789abcdeF",
                                        "Bearer 0123456789abcdef0123456789abcdef0",
                                        "Basic 0123456789abcdef0123456789abcdef",
                                        "0123456789abcdef0123456789abcdef"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        posted(api, "/api/v1/stop", wrong[i]);
        assert_problem(401, "Bearer");
        assert_non_null(response.authenticate);
    }
    sc_board_take_requests(board, &r);
    assert_false(r.stop);
}

static void verbs_leave_requests(void **state)
{
    (void)state;
    static const char right[] = "Bearer 0123456789abcdef0123456789abcdef";
    sc_board_requests r;
    assert_int_equal(posted(api, "/api/v1/checkpoint", right), 202);
    assert_int_equal(posted(api, "/api/v1/pause", right), 202);
    assert_int_equal(posted(api, "/api/v1/drain/1", right), 202);
    posted(api, "/api/v1/drain/2", right);
    assert_problem(404, "there is no stage 2");
    posted(api, "/api/v1/drain/x", right);
    assert_problem(400, "'stage'");
    posted(api, "/api/v1/drain/", right);
    assert_problem(400, "'stage'");
    sc_board_take_requests(board, &r);
    assert_true(r.checkpoint && r.pause && r.n_drains == 1 && r.drains[0] == 1);
    assert_int_equal(posted(api, "/api/v1/resume", right), 202);
    assert_int_equal(posted(api, "/api/v1/stop", right), 202);
    posted(api, "/api/v1/pause", right);
    assert_problem(409, "being stopped");
}

static void tokens_come_from_files(void **state)
{
    (void)state;
    char *read;
    static const struct {
        const char *text;
        sc_status status;
    } files[] = {{"0123456789abcdef\n", SC_OK},
                 {"0123456789abcdef\r\nmore", SC_OK},
                 {"short\n", SC_INVALID},
                 {"0123456789 abcdef\n", SC_INVALID},
                 {"", SC_INVALID},
                 {"0123456789\xc3\xa9"
                  "bcdef",
                  SC_INVALID}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        scratch_write("token", files[i].text, strlen(files[i].text));
        assert_int_equal(sc_api_token_load(scratch_file("token"), &read), files[i].status);
        if (files[i].status == SC_OK) {
            assert_string_equal(read, "0123456789abcdef");
            free(read);
        }
    }
    assert_int_equal(sc_api_token_load(scratch_file("none"), &read), SC_NOT_FOUND);
}

static void metrics_are_there(void **state)
{
    (void)state;
    board_step(board, 1, 4.5, 0.5);
    board_step(board, 2, 4.25, 300);
    board_tell(board, "{\"event\":\"worker_spare\",\"name\":\"one:11\",\"device\":\"cpu\",\"threads\":1}");
    board_tell(board, "{\"event\":\"eval\",\"step\":2,\"loss\":2.5,\"f\\n1\\\"\":0.75}");
    assert_int_equal(got("/metrics"), 200);
    static const char *const lines[] = {
        "\nstagecoach_run_state{state=\"training\"} 1\n",
        "\nstagecoach_loss 4.25\n",
        "\nstagecoach_steps_total 2\n",
        "\nstagecoach_step_duration_seconds_bucket{le=\"0.25\"} 0\n",
        "\nstagecoach_step_duration_seconds_bucket{le=\"0.5\"} 1\n",
        "\nstagecoach_step_duration_seconds_bucket{le=\"+Inf\"} 2\n",
        "\nstagecoach_step_duration_seconds_count 2\n",
        "\nstagecoach_stage_heartbeat_age_seconds{stage=\"0\"} 0.5\n",
        "\nstagecoach_stage_time_seconds_total{stage=\"0\",activity=\"forward\"} 75.125\n",
        "\nstagecoach_stage_time_seconds_total{stage=\"1\",activity=\"other\"} 0\n",
        "\nstagecoach_messages_total{reason=\"stale\"} 9\n",
        "\nstagecoach_messages_total{reason=\"replayed\"} 7\n",
        "\nstagecoach_stage_messages_total{stage=\"1\",direction=\"sent\"} 20\n",
        "\nstagecoach_stage_message_bytes_total{stage=\"1\",direction=\"received\"} 3000\n",
        "\nstagecoach_stage_odd_messages_total{stage=\"1\",reason=\"replayed\"} 5\n",
        "\nstagecoach_stage_odd_messages_total{stage=\"0\",reason=\"stale\"} 0\n",
        "\nstagecoach_worker_joins_total 1\n",
        "\nstagecoach_validation_score{score=\"f_1_\"} 0.75\n",
        "\nstagecoach_spare_workers 1\n",
        "\nstagecoach_validation_loss 2.5\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_non_null(strstr(response.body, lines[i]));
}

/* Each path that is described is there, under its method and no other. */
static void the_description_fits(void **state)
{
    (void)state;
    const char *path;
    json_t *item;
    assert_int_equal(got("/openapi.json"), 200);
    json_t *paths = json_deep_copy(at("paths"));
    assert_int_equal(json_object_size(paths), 18);
    json_object_foreach(paths, path, item)
    {
        char plain[64];
        snprintf(plain, sizeof plain, "%s", path);
        if (strchr(plain, '{'))
            strcpy(strchr(plain, '{'), "0");
        const bool reads = json_object_get(item, "get") != NULL;
        assert_int_equal(json_object_size(item), 1);
        if (!reads)
            assert_int_equal(posted(silent, plain, NULL), 403);
        else
            assert_true(got(plain) == 200 || strcmp(plain, "/api/v1/schedule") == 0);
    }
    json_decref(paths);
}

/* The documents of a run say what the description says of them, and nothing else. */
static void the_documents_are_described(void **state)
{
    (void)state;
    static const char *const documents[][2] = {
        {"/api/v1/status", "Status"}, {"/api/v1/stages", "Stages"}, {"/healthz", "Health"}};
    assert_int_equal(got("/openapi.json"), 200);
    json_t *schemas = json_deep_copy(at("components/schemas"));
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        const json_t *properties = json_object_get(json_object_get(schemas, documents[i][1]), "properties");
        const char *key;
        json_t *value;
        assert_int_equal(got(documents[i][0]), 200);
        assert_int_equal(json_object_size(document), json_object_size(properties));
        json_object_foreach(document, key, value) assert_non_null(json_object_get(properties, key));
    }
    json_decref(schemas);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_run_at_a_glance, setup, teardown),
        cmocka_unit_test_setup_teardown(stages_and_spares, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_that_are_none_are_null, setup, teardown),
        cmocka_unit_test_setup_teardown(steps_by_number, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_parameters_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_paths_and_methods, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_known_is_not_sent_again, setup, teardown),
        cmocka_unit_test_setup_teardown(events_come_with_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stream_sends_what_is_new, setup, teardown),
        cmocka_unit_test_setup_teardown(health_and_readiness, setup, teardown),
        cmocka_unit_test_setup_teardown(verbs_need_a_token, setup, teardown),
        cmocka_unit_test_setup_teardown(verbs_leave_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(tokens_come_from_files, setup, teardown),
        cmocka_unit_test_setup_teardown(metrics_are_there, setup, teardown),
        cmocka_unit_test_setup_teardown(the_description_fits, setup, teardown),
        cmocka_unit_test_setup_teardown(the_documents_are_described, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
