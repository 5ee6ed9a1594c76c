/* `stagecoach plan` as a user calls it: what it prints, and its exit codes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/cli/cli.h"

static char output[1 << 16]; /* both streams of the last call */

/* Runs the command with standard output and standard error in a file; returns the exit code. */
static int plan(const char *const *arguments)
{
    char *argv[16] = {(char *)"stagecoach plan"};
    int argc = 1;
    for (; arguments[argc - 1]; argc++)
        argv[argc] = (char *)arguments[argc - 1];
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stdout);
    fflush(stderr);
    int saved_out = dup(STDOUT_FILENO), saved_err = dup(STDERR_FILENO);
    dup2(fileno(file), STDOUT_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    int code = sc_cli_plan(argc, argv);
    fflush(stdout);
    fflush(stderr);
    dup2(saved_out, STDOUT_FILENO);
    dup2(saved_err, STDERR_FILENO);
    close(saved_out);
    close(saved_err);
    rewind(file);
    output[fread(output, 1, sizeof output - 1, file)] = '\0';
    fclose(file);
    return code;
}
#define PLAN(...) plan((const char *const[]){__VA_ARGS__, NULL})

static void expect_in_output(const char *text)
{
    if (!strstr(output, text))
        fail_msg("expected \"%s\" in:\n%s", text, output);
}

static void sizes_alone_give_grid_bubble_and_peaks(void **state)
{
    (void)state;
    assert_int_equal(PLAN("--stages", "3", "--microbatches", "4", "--schedule", "1f1b"), 0);
    expect_in_output("plan      1f1b, 3 workers, 4 micro-batches, a training step\n");
    expect_in_output("worker 1     . F0 F1  . B0 F2 B1 F3 B2  . B3  .\n");
    expect_in_output("bubble    33.3 % simulated; theory for equal stages and free messages (S-1)/(M+S-1): 33.3 %\n");
    expect_in_output("step      18, where a stage's forward takes 1 and its backward 2\n");
    expect_in_output("\n     0   67 %      3\n     1   67 %      2\n     2   67 %      1\n");
}

static void the_actions_are_the_plan_s_text(void **state)
{
    (void)state;
    assert_int_equal(PLAN("--stages=2", "--microbatches=1", "--schedule=gpipe", "--mode=forward", "--actions"), 0);
    assert_string_equal(output,
                        "plan gpipe stages=2 chunks=1 microbatches=1 mode=forward\n0F0 0SEND_F0\n1RECV_F0 1F0\n");
}

static void wrong_usage_is_2_and_names_the_option(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[5], *message;
    } wrong[] = {
        {{NULL}, "--stages is missing"},
        {{"--stages", "2", "--schedule", "gpipe"}, "--microbatches is missing"},
        {{"--stages", "0"}, "--stages"},
        {{"--stages", "257"}, "--stages"},
        {{"--microbatches", "4097"}, "--microbatches"},
        {{"--mode", "backward"}, "--mode is train or forward, not 'backward'"},
        {{"--workers", "2"}, "--workers needs a CONFIG"},
        {{"a.yaml", "--schedule", "gpipe"}, "--schedule does not go with CONFIG"},
        {{"a.yaml", "b.yaml"}, "'b.yaml'"},
        {{"--gflops", "0", "a.yaml"}, "--gflops"},
        {{"--loud"}, "--loud"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(plan(wrong[i].arguments), 2);
        expect_in_output(wrong[i].message);
    }
    assert_int_equal(PLAN("--stages=2", "--microbatches=2", "--schedule=none"), 2);
    expect_in_output("--schedule: there is no schedule 'none'");
    assert_int_equal(PLAN("--help"), 0);
    expect_in_output("Usage: stagecoach plan CONFIG");
}

static char *write_config(void)
{
    static const char pattern[] = SC_BINARY_DIR "/test_cli_plan_XXXXXX";
    static char path[sizeof pattern];
    memcpy(path, pattern, sizeof pattern);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    fputs("model: {family: gpt2, layers: 6, heads: 6, hidden: 384, context: 256, vocab: 65}\n"
          "data: {train: [absent.txt], tokenizer: char}\n"
          "train: {steps: 1, batch_size: 32, micro_batch_size: 4, learning_rate: 1.0e-3}\n"
          "pipeline: {schedule: 1f1b}\n",
          file);
    assert_int_equal(fclose(file), 0);
    return path;
}

static double step_seconds(void)
{
    const char *line = strstr(output, "\nstep ");
    assert_non_null(line);
    return strtod(line + 6, NULL);
}

static void a_config_gives_blocks_memory_and_time(void **state)
{
    (void)state;
    char *path = write_config();
    assert_int_equal(PLAN(path, "--workers", "4", "--link-gbits", "1e6", "--link-us", "0"), 0);
    expect_in_output("1f1b, 4 workers, 8 micro-batches");
    expect_in_output("vocab     65, from model.vocab\n");
    expect_in_output("assumed   100 GFLOP/s");
    expect_in_output("2  embedding - h.0 ");
    expect_in_output("2  h.5 - head ");
    double seconds = step_seconds();
    assert_int_equal(PLAN(path, "--workers", "4", "--link-gbits", "1e6", "--link-us", "0", "--gflops", "50"), 0);
    /* Half the rate, twice the time: all but the optimizer's and the links' share, which is under 3 % here. */
    assert_true(step_seconds() > 1.97 * seconds && step_seconds() <= 2.001 * seconds);
    assert_int_equal(PLAN(path, "--workers", "4", "--set", "pipeline.schedule=gpipe", "--actions"), 0);
    expect_in_output("plan gpipe stages=4 ");
    expect_in_output("0REDUCE_TIED 0STEP\n");
    assert_int_equal(PLAN(path, "--workers", "9"), 1);
    expect_in_output("9 stages are more than the model's 8 blocks");
    assert_int_equal(PLAN(path, "--set", "model.vocab=0"), 1);
    expect_in_output("absent.txt");
    unlink(path);
    assert_int_equal(PLAN(path), 1);
    expect_in_output(path);
}

/* Of the table's line of this worker, counted from the last column. */
static double column_from_the_end(int worker, int from_the_end)
{
    char head[16];
    snprintf(head, sizeof head, "\n%6d  ", worker);
    const char *line = strstr(strstr(output, "\nworker   busy"), head);
    assert_non_null(line);
    const char *at = line + 1 + strcspn(line + 1, "\n");
    for (int i = 0; i <= from_the_end; i++) {
        while (at[-1] == ' ')
            at--;
        while (at[-1] != ' ')
            at--;
    }
    return strtod(at, NULL);
}

static void expect_near(double value, double expected, double tolerance)
{
    if (fabs(value - expected) > tolerance)
        fail_msg("%g is not %g in:\n%s", value, expected, output);
}

enum { ALL, LOG, COPIES, SCRATCH, ACTIVATIONS, PARAMETERS };

/* Points: two copies of the own state, and two of the state of the worker before, which is the last one's for the first. */
static void memory_counts_what_recovery_keeps(void **state)
{
    (void)state;
    const double MiB = 1024 * 1024, rounding = 0.051 * 5; /* each column is rounded to a tenth */
    char *path = write_config();
    assert_int_equal(PLAN(path, "--workers", "4", "--set", "recovery.peer_every=5"), 0);
    for (int w = 0; w < 4; w++) {
        double own = column_from_the_end(w, PARAMETERS), before = column_from_the_end((w + 3) % 4, PARAMETERS);
        expect_near(column_from_the_end(w, COPIES), 24 * (own + before) / MiB, 0.051);
        double sum = 16 * own / MiB;
        for (int column = LOG; column <= ACTIVATIONS; column++)
            sum += column_from_the_end(w, column);
        expect_near(column_from_the_end(w, ALL), sum, rounding);
    }
    /* An inner worker sends (B,T,C) = 4 x 256 x 384 floats each way, for 8 micro-batches, in 10 steps. */
    expect_near(column_from_the_end(1, LOG), 2 * 8 * 10 * (4 * 256 * 384 * 4) / MiB, 0.051);
    /* The first one way, and the gradient of the tied (65,384) matrix. */
    expect_near(column_from_the_end(0, LOG), 10 * (8 * 4 * 256 * 384 * 4 + 65 * 384 * 4) / MiB, 0.051);
    expect_in_output("\ncopies: two of the state");
    expect_in_output("in 10 steps (two times recovery.peer_every)");
    assert_int_equal(PLAN(path, "--workers", "4", "--set", "recovery.log_mb=7"), 0);
    expect_near(column_from_the_end(1, LOG), 7, 0);
    assert_int_equal(PLAN(path, "--workers", "4", "--set", "recovery.log_messages=false"), 0);
    expect_near(column_from_the_end(1, LOG), 0, 0);

    assert_int_equal(PLAN(path, "--workers", "4", "--set", "recovery.peer_every=0"), 0);
    expect_near(column_from_the_end(1, COPIES), 12 * column_from_the_end(1, PARAMETERS) / MiB, 0.051);
    expect_near(column_from_the_end(1, LOG), 0, 0);
    expect_in_output("\ncopies: one of the state");
    assert_int_equal(PLAN(path, "--workers", "4", "--set", "recovery.peer_every=0", "--set", "checkpoint.every=0",
                          "--set", "checkpoint.at_end=false"),
                     0);
    expect_near(column_from_the_end(1, COPIES), 0, 0);
    assert_int_equal(PLAN(path, "--workers", "1"), 0); /* nobody to leave a copy with */
    expect_near(column_from_the_end(0, COPIES), 12 * column_from_the_end(0, PARAMETERS) / MiB, 0.051);
    expect_near(column_from_the_end(0, LOG), 0, 0);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_alone_give_grid_bubble_and_peaks),
        cmocka_unit_test(the_actions_are_the_plan_s_text),
        cmocka_unit_test(wrong_usage_is_2_and_names_the_option),
        cmocka_unit_test(a_config_gives_blocks_memory_and_time),
        cmocka_unit_test(memory_counts_what_recovery_keeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
