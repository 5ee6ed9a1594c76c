#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/run/event_log.h"
#include "tests/unit/scratch.h"

#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { MOST_LINES = 16 };
static json_t *lines[MOST_LINES];
static int n_lines;

/* Reads the log's lines; each must be a JSON object. */
static void read_lines(const char *name)
{
    char *text = scratch_read(name), *rest = NULL;
    n_lines = 0;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_t *value = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        assert_true(json_is_object(value));
        lines[n_lines++] = value;
        assert_true(n_lines < MOST_LINES);
    }
    free(text);
}

static int forget_lines(void **state)
{
    (void)state;
    while (n_lines > 0)
        json_decref(lines[--n_lines]);
    return remove(scratch_file("events.jsonl"));
}

static sc_event_log *open_log(void)
{
    sc_event_log *log;
    assert_int_equal(sc_event_log_open(scratch_file("events.jsonl"), &log), SC_OK);
    return log;
}

static double real(int line, const char *key)
{
    const json_t *value = json_object_get(lines[line], key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void a_step_has_the_documented_fields(void **state)
{
    (void)state;
    sc_event_log *log = open_log();
    const sc_event_stage stages[] = {{0.5, 1, 0.25, 1048576}, {0.125, 2, 0, 0}};
    const sc_event_step step = {.step = 12,
                                .loss = 2.0 / 3,
                                .grad_norm = 0.1,
                                .lr = 1e-3,
                                .tokens = 8192,
                                .step_seconds = 2,
                                .n_stages = 2,
                                .stages = stages};
    assert_int_equal(sc_event_log_step(log, &step), SC_OK);
    sc_event_log_close(&log);
    assert_null(log);
    char *text = scratch_read("events.jsonl");
    const char *fields = strstr(text, "\"step\":12");
    assert_non_null(fields);
    assert_string_equal(
        fields, "\"step\":12,\"loss\":0.666666687,\"grad_norm\":0.100000001,\"lr\":0.00100000005,\"tokens\":8192,"
                "\"step_seconds\":2.0,\"tokens_per_second\":4096.0,\"stages\":["
                "{\"stage\":0,\"forward_seconds\":0.5,\"backward_seconds\":1.0,\"wait_seconds\":0.25,\"peak_resident_"
                "bytes\":1048576},"
                "{\"stage\":1,\"forward_seconds\":0.125,\"backward_seconds\":2.0,\"wait_seconds\":0.0,\"peak_resident_"
                "bytes\":0}]}\n");
    free(text);
    read_lines("events.jsonl");
    assert_string_equal(json_string_value(json_object_get(lines[0], "event")), "step");
    const char *time = json_string_value(json_object_get(lines[0], "time"));
    assert_int_equal(strlen(time), strlen("2026-01-31T12:00:00.123Z"));
    assert_true(time[10] == 'T' && time[19] == '.' && time[23] == 'Z');
}

static sc_status eval(sc_event_log *log, int64_t step, double loss)
{
    const sc_score_list scores = {.n = 2, .items = {{"loss", loss}, {"perplexity", exp(loss)}}};
    return sc_event_log_eval(log, step, &scores);
}

static void losses_read_back_to_the_same_bits(void **state)
{
    (void)state;
    static const float values[] = {4.17438602f, 0x1.fffffep-1f, 1e-45f, 3.40282347e38f, 0x1.000002p+3f, -0.0f, 0};
    sc_event_log *log = open_log();
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        assert_int_equal(eval(log, (int64_t)i, (double)values[i]), SC_OK);
    sc_event_log_close(&log);
    read_lines("events.jsonl");
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        float back = (float)real((int)i, "loss");
        assert_memory_equal(&back, &values[i], sizeof back);
    }
    assert_true(fabs(real(0, "perplexity") - exp(4.17438602)) < 1e-4); /* float32 near 65 steps by 8e-6 */
    assert_true(json_is_null(json_object_get(lines[3], "perplexity")));
}

static void what_is_not_finite_is_null(void **state)
{
    (void)state;
    sc_event_log *log = open_log();
    const sc_event_step step = {.step = 1, .loss = NAN, .grad_norm = INFINITY, .lr = 1, .tokens = 0, .step_seconds = 0};
    assert_int_equal(sc_event_log_step(log, &step), SC_OK);
    sc_event_log_close(&log);
    read_lines("events.jsonl");
    assert_true(json_is_null(json_object_get(lines[0], "loss")));
    assert_true(json_is_null(json_object_get(lines[0], "grad_norm")));
    assert_true(json_is_null(json_object_get(lines[0], "tokens_per_second")));
    assert_int_equal(json_array_size(json_object_get(lines[0], "stages")), 0);
}

static void a_torn_line_is_cut_off(void **state)
{
    (void)state;
    const char torn[] = "{\"event\":\"step\",\"step\":1}\n{\"event\":\"st";
    scratch_write("events.jsonl", torn, sizeof torn - 1);
    sc_event_log *log = open_log();
    assert_int_equal(eval(log, 2, 1), SC_OK);
    assert_int_equal(eval(log, 3, 1), SC_OK);
    sc_event_log_close(&log);
    log = open_log();
    assert_int_equal(eval(log, 4, 1), SC_OK);
    sc_event_log_close(&log);
    read_lines("events.jsonl");
    assert_int_equal(n_lines, 4);
    for (int i = 0; i < 4; i++)
        assert_true(real(i, "step") == i + 1);
}

/* A full disk: the limit of a file's size cuts a write just like it. */
static void limit_file(off_t bytes)
{
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){(rlim_t)bytes, RLIM_INFINITY}), 0);
}

static void a_full_disk_leaves_whole_lines_and_is_told_once(void **state)
{
    (void)state;
    struct stat info;
    signal(SIGXFSZ, SIG_IGN);
    sc_event_log *log = open_log();
    assert_int_equal(eval(log, 1, 1), SC_OK);
    assert_int_equal(stat(scratch_file("events.jsonl"), &info), 0);
    limit_file(info.st_size + 20); /* within the next line */
    assert_int_equal(eval(log, 2, 1), SC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(sc_status_message(), "events.jsonl"));
    for (int i = 3; i < 6; i++)
        assert_int_equal(eval(log, i, 1), SC_OK); /* counted, not told */
    read_lines("events.jsonl");
    assert_int_equal(n_lines, 1);
    json_decref(lines[--n_lines]);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}), 0);
    assert_int_equal(eval(log, 6, 1), SC_OK);
    sc_event_log_close(&log);
    read_lines("events.jsonl");
    assert_int_equal(n_lines, 3);
    assert_string_equal(json_string_value(json_object_get(lines[1], "event")), "events_lost");
    assert_true(real(1, "count") == 4 && real(2, "step") == 6);
}

static void the_other_events_carry_their_fields(void **state)
{
    (void)state;
    static const char yaml[] = "model: {layers: 1, heads: 1, hidden: 8, context: 16}\n"
                               "data: {train: [a]}\n"
                               "train: {steps: 7, batch_size: 8, micro_batch_size: 2}\n";
    sc_config *config;
    assert_int_equal(sc_config_parse(yaml, sizeof yaml - 1, "run \"x\".yaml", NULL, 0, &config), SC_OK);
    sc_event_log *log = open_log();
    const sc_event_run run = {.config = config,
                              .workers = 3,
                              .vocab = 65,
                              .parameters = 12345,
                              .train_tokens = 1000,
                              .validation_tokens = 100,
                              .steps = 7,
                              .first_step = 1};
    assert_int_equal(sc_event_log_run_started(log, &run), SC_OK);
    assert_int_equal(sc_event_log_worker_joined(log, 2, "host:1", "cpu", 4, 9), SC_OK);
    assert_int_equal(sc_event_log_worker_lost(log, 2, "h\xFF\n", "killed by signal 9", 0.25, 10), SC_OK);
    assert_int_equal(
        sc_event_log_run_finished(log, 7, SC_UNAVAILABLE, "worker 2 is gone", 1.5, &(sc_event_messages){1, 2, 3, 4, 5}),
        SC_OK);
    assert_int_equal(sc_event_log_worker_spare(log, "host:2", "cpu", 1), SC_OK);
    assert_int_equal(sc_event_log_worker_lost(log, -1, "host:2", "left", 0, 10), SC_OK);
    assert_int_equal(sc_event_log_worker_drain(log, 1, "host:3", "SIGTERM"), SC_OK);
    const sc_event_recovery recovery = {.cause = "loss",
                                        .level = "replay",
                                        .step = 6,
                                        .steps_lost = 0,
                                        .steps_replayed = 4,
                                        .workers = 3,
                                        .generation = 11,
                                        .detect_seconds = 0.25,
                                        .replace_seconds = 0.5,
                                        .load_seconds = 1,
                                        .replay_seconds = 2};
    assert_int_equal(sc_event_log_recovery(log, &recovery), SC_OK);
    sc_event_log_close(&log);
    sc_config_destroy(&config);

    read_lines("events.jsonl");
    assert_int_equal(n_lines, 8);
    assert_string_equal(json_string_value(json_object_get(lines[0], "config")), "run \"x\".yaml");
    assert_string_equal(json_string_value(json_object_get(lines[0], "schedule")), "1f1b");
    assert_string_equal(json_string_value(json_object_get(lines[0], "version")), SC_VERSION);
    assert_true(real(0, "workers") == 3 && real(0, "steps") == 7 && real(0, "sequence_length") == 16);
    assert_true(real(0, "parameters") == 12345 && real(0, "validation_tokens") == 100);
    assert_true(real(1, "worker") == 2 && real(1, "threads") == 4 && real(1, "generation") == 9);
    assert_string_equal(json_string_value(json_object_get(lines[2], "name")), "h\xEF\xBF\xBD\n");
    assert_string_equal(json_string_value(json_object_get(lines[2], "reason")), "killed by signal 9");
    assert_string_equal(json_string_value(json_object_get(lines[3], "status")), "UNAVAILABLE");
    assert_true(real(3, "seconds") == 1.5 && real(2, "detect_seconds") == 0.25);
    const json_t *messages = json_object_get(lines[3], "messages");
    static const char *const kinds[] = {"stale", "duplicate", "resent", "replayed", "rejected"};
    for (int i = 0; i < 5; i++)
        assert_int_equal(json_integer_value(json_object_get(messages, kinds[i])), i + 1);
    assert_true(json_is_null(json_object_get(lines[5], "worker")) && real(6, "worker") == 1);
    assert_string_equal(json_string_value(json_object_get(lines[7], "level")), "replay");
    assert_true(real(7, "steps_replayed") == 4 && real(7, "replay_seconds") == 2 && real(7, "workers") == 3);
}

static void errors_are_told(void **state)
{
    (void)state;
    sc_event_log *log;
    assert_int_equal(sc_event_log_open(scratch_file("absent/events.jsonl"), &log), SC_NOT_FOUND);
    assert_null(log);
    assert_non_null(strstr(sc_status_message(), "absent/events.jsonl"));
    assert_int_equal(sc_event_log_open("/dev/full", &log), SC_OK);
    assert_int_equal(eval(log, 1, 1), SC_RESOURCE_EXHAUSTED);
    assert_int_equal(eval(log, 2, 1), SC_OK); /* still usable; told before */
    sc_event_log_close(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_step_has_the_documented_fields, forget_lines),
        cmocka_unit_test_teardown(losses_read_back_to_the_same_bits, forget_lines),
        cmocka_unit_test_teardown(what_is_not_finite_is_null, forget_lines),
        cmocka_unit_test_teardown(a_torn_line_is_cut_off, forget_lines),
        cmocka_unit_test_teardown(a_full_disk_leaves_whole_lines_and_is_told_once, forget_lines),
        cmocka_unit_test_teardown(the_other_events_carry_their_fields, forget_lines),
        cmocka_unit_test(errors_are_told),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
