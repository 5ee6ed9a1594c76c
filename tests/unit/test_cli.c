#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/cli/cli.h"
#include "proto/base/spelling.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>

static int saved_out, saved_err;

/* Sends standard output to `out` (opened by the caller, closed here) and standard error to a file, until release. */
static void capture(int out)
{
    fflush(stdout);
    fflush(stderr);
    saved_out = dup(STDOUT_FILENO);
    saved_err = dup(STDERR_FILENO);
    int err = open(scratch_file("stderr"), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(out >= 0 && err >= 0);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close(out);
    close(err);
}

static void release(void)
{
    fflush(stdout);
    fflush(stderr);
    clearerr(stdout);
    dup2(saved_out, STDOUT_FILENO);
    dup2(saved_err, STDERR_FILENO);
    close(saved_out);
    close(saved_err);
}

static int open_output(void)
{
    return open(scratch_file("stdout"), O_WRONLY | O_CREAT | O_TRUNC, 0644);
}

static void assert_said(const char *name, const char *piece)
{
    char *text = scratch_read(name);
    if (!strstr(text, piece))
        fail_msg("%s is \"%s\", which lacks \"%s\"", name, text, piece);
    free(text);
}

/* Runs `batches` with arguments that end with NULL. */
static int batches(int out, ...)
{
    char *argv[16] = {(char *)"stagecoach batches"};
    int argc = 1;
    va_list args;
    va_start(args, out);
    while ((argv[argc] = va_arg(args, char *)))
        argc++;
    va_end(args);
    optind = 0; /* glibc: start anew */
    capture(out);
    int code = sc_cli_batches(argc, argv);
    release();
    return code;
}

static char *write_config(void)
{
    static const char yaml[] = "model: {layers: 1, heads: 1, hidden: 8, context: 4}\n"
                               "data: {train: [text], validation_share: 0.5}\n"
                               "train: {batch_size: 4, micro_batch_size: 2, eval_every: 0}\n";
    static char text[2000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i % 26);
    scratch_write("text", text, sizeof text);
    static char path[256]; /* scratch_file's own does not last */
    snprintf(path, sizeof path, "%s", scratch_write("run.yaml", yaml, sizeof yaml - 1));
    return path;
}

static int integer_of(const json_t *object, const char *key)
{
    return (int)json_integer_value(json_object_get(object, key));
}

static void batches_are_printed_a_line_each(void **state)
{
    (void)state;
    char *config = write_config();
    assert_int_equal(batches(open_output(), config, "--steps", "3", "--from", "7", NULL), SC_EXIT_OK);
    char *text = scratch_read("stdout"), *rest = NULL;
    int n = 0;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), n++) {
        json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(object);
        assert_int_equal(integer_of(object, "step"), 7 + n / 2);
        assert_int_equal(integer_of(object, "microbatch"), n % 2);
        const json_t *tokens = json_object_get(object, "tokens"), *targets = json_object_get(object, "targets");
        assert_int_equal(json_array_size(tokens), 2);
        assert_int_equal(json_array_size(targets), 2);
        for (size_t b = 0; b < 2; b++) {
            assert_int_equal(json_array_size(json_array_get(tokens, b)), 4);
            assert_int_equal(json_array_size(json_array_get(targets, b)), 4);
            for (size_t t = 0; t < 4; t++) {
                json_int_t token = json_integer_value(json_array_get(json_array_get(tokens, b), t));
                json_int_t target = json_integer_value(json_array_get(json_array_get(targets, b), t));
                assert_int_equal(target, (token + 1) % 26);
            }
        }
        json_decref(object);
    }
    free(text);
    assert_int_equal(n, 6);
}

/* What --from prints is what a longer run prints from there on. */
static void any_step_can_be_asked_for(void **state)
{
    (void)state;
    char *config = write_config();
    assert_int_equal(batches(open_output(), config, "--steps", "9", NULL), SC_EXIT_OK);
    char *all = scratch_read("stdout");
    assert_int_equal(batches(open_output(), config, "--steps", "2", "--from", "8", NULL), SC_EXIT_OK);
    char *tail = scratch_read("stdout");
    const char *from = strstr(all, "{\"step\":8,");
    assert_non_null(from);
    assert_string_equal(from, tail);
    free(all);
    free(tail);
}

static void sets_reach_the_config(void **state)
{
    (void)state;
    char *config = write_config();
    assert_int_equal(batches(open_output(), config, "--set", "train.batch_size=1", "--set", "train.micro_batch_size=1",
                             "--set=model.context=2", "--steps", "1", NULL),
                     SC_EXIT_OK);
    char *text = scratch_read("stdout");
    json_t *object = json_loads(text, 0, NULL);
    assert_int_equal(json_array_size(json_array_get(json_object_get(object, "tokens"), 0)), 2);
    json_decref(object);
    free(text);
}

static void wrong_usage_ends_with_2(void **state)
{
    (void)state;
    char *config = write_config();
    assert_int_equal(batches(open_output(), config, NULL), SC_EXIT_USAGE);
    assert_said("stderr", "stagecoach batches: option '--steps' is missing\nTry 'stagecoach batches --help'.\n");
    assert_int_equal(batches(open_output(), config, "--steps", "0", NULL), SC_EXIT_USAGE);
    assert_said("stderr", "option '--steps' wants an integer from 1 to 1000000000, not '0'");
    assert_int_equal(batches(open_output(), "--steps", "1", NULL), SC_EXIT_USAGE);
    assert_said("stderr", "a CONFIG is missing");
    assert_int_equal(batches(open_output(), config, config, "--steps", "1", NULL), SC_EXIT_USAGE);
    assert_said("stderr", "more than one CONFIG");
    assert_int_equal(batches(open_output(), config, "--stepz", "1", NULL), SC_EXIT_USAGE);
    assert_said("stderr", "--stepz");
    assert_said("stderr", "Try 'stagecoach batches --help'.");
    assert_int_equal(batches(open_output(), config, "--steps", "1", "--set", "steps", NULL), SC_EXIT_USAGE);
    assert_said("stderr", "KEY=VALUE");
}

static void failures_end_with_1(void **state)
{
    (void)state;
    char *config = write_config();
    assert_int_equal(batches(open_output(), scratch_file("absent.yaml"), "--steps", "1", NULL), SC_EXIT_FAILURE);
    assert_said("stderr", "absent.yaml");
    assert_int_equal(batches(open_output(), config, "--steps", "1", "--set", "model.context=5000", NULL),
                     SC_EXIT_FAILURE);
    assert_said("stderr", "one window takes 5001");
    assert_int_equal(batches(open("/dev/full", O_WRONLY), config, "--steps", "1", NULL), SC_EXIT_FAILURE);
    assert_said("stderr", "standard output cannot be written");
}

static void a_reader_that_goes_ends_it_quietly(void **state)
{
    (void)state;
    char *config = write_config();
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    assert_int_equal(batches(ends[1], config, "--steps", "1000000000", NULL), SC_EXIT_FAILURE);
    char *text = scratch_read("stderr");
    assert_string_equal(text, "");
    free(text);
}

static void help_is_help(void **state)
{
    (void)state;
    assert_int_equal(batches(open_output(), "--help", NULL), SC_EXIT_OK);
    assert_said("stdout", "Usage: stagecoach batches CONFIG");
}

static void numbers_are_whole_and_in_range(void **state)
{
    (void)state;
    static const char *const bad_integers[] = {"",  " 1", "+1", "1 ", "1.0", "0x1", "99999999999999999999",
                                               "-", "9",  "-4"};
    static const char *const bad_numbers[] = {"",    " 1",    "+1",   "1 ",  "nan", "inf",
                                              "0x1", "1e999", "-0.5", "2.5", "1e",  "."};
    int64_t integer = 77;
    double number = 77;
    capture(open_output());
    int taken = 0;
    for (size_t i = 0; i < sizeof bad_integers / sizeof *bad_integers; i++)
        taken += sc_cli_integer("x", "--n", bad_integers[i], -3, 8, &integer);
    for (size_t i = 0; i < sizeof bad_numbers / sizeof *bad_numbers; i++)
        taken += sc_cli_number("x", "--p", bad_numbers[i], 0, 2, &number);
    release();
    assert_int_equal(taken, 0);
    assert_true(integer == 77 && number == 77);
    assert_said("stderr", "x: option '--n' wants an integer from -3 to 8, not '-4'\n");
    assert_said("stderr", "x: option '--p' wants a number from 0 to 2, not '2.5'\n");
    assert_true(sc_cli_integer("x", "--n", "-3", -3, 8, &integer) && integer == -3);
    assert_true(sc_cli_integer("x", "--n", "08", -3, 8, &integer) && integer == 8);
    assert_true(sc_cli_number("x", "--p", "1.5e-1", 0, 2, &number) && number == 0.15);
    assert_true(sc_cli_number("x", "--p", ".5", 0, INFINITY, &number) && number == 0.5);
}

static void spelling_counts_letters(void **state)
{
    (void)state;
    assert_int_equal(sc_spelling_distance("train", "train"), 0);
    assert_int_equal(sc_spelling_distance("TRAIN", "train"), 0);
    assert_int_equal(sc_spelling_distance("trian", "train"), 2);
    assert_int_equal(sc_spelling_distance("generat", "generate"), 1);
    assert_int_equal(sc_spelling_distance("", "plan"), 4);
    assert_int_equal(sc_spelling_distance("kitten", "sitting"), 3);
    char lengthy[64];
    memset(lengthy, 'a', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = '\0';
    assert_true(sc_spelling_distance(lengthy, "a") == SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_are_printed_a_line_each),
        cmocka_unit_test(any_step_can_be_asked_for),
        cmocka_unit_test(sets_reach_the_config),
        cmocka_unit_test(wrong_usage_ends_with_2),
        cmocka_unit_test(failures_end_with_1),
        cmocka_unit_test(a_reader_that_goes_ends_it_quietly),
        cmocka_unit_test(help_is_help),
        cmocka_unit_test(numbers_are_whole_and_in_range),
        cmocka_unit_test(spelling_counts_letters),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
