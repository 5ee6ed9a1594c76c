#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/status/tensorboard.h"
#include "coordinator/status/tfrecord.h"
#include "tests/unit/scratch.h"

#include "proto/base/log.h"
#include "coordinator/status/tensorboard.pb-c.h"

#include <glob.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t now_ns;
static glob_t files;

static sc_tensorboard *open_one(void)
{
    sc_tensorboard *board;
    assert_int_equal(sc_tensorboard_open(scratch_file("deep/er"), sc_clock_manual(&now_ns), &board), SC_OK);
    return board;
}

/* The event files that there are, in order of their names; returns how many. */
static size_t find(void)
{
    char pattern[4200];
    globfree(&files);
    snprintf(pattern, sizeof pattern, "%s/events.out.tfevents.*", scratch_file("deep/er"));
    return glob(pattern, 0, NULL, &files) == 0 ? files.gl_pathc : 0;
}

static size_t read_one(const char *path, uint8_t **out)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    *out = calloc(1, 4 << 20);
    assert_non_null(*out);
    const size_t n = fread(*out, 1, 4 << 20, file);
    fclose(file);
    return n;
}

/* The events of a file as text: "v" (version), "r5" (restart), "train/loss@5=2.5". Each record's checksums are verified. */
static void describe(const char *path, char *out, size_t out_bytes)
{
    uint8_t *bytes, copy[512];
    const size_t n = read_one(path, &bytes);
    out[0] = '\0';
    for (size_t at = 0; at < n;) {
        const size_t length = bytes[at] + 256u * bytes[at + 1];
        assert_true(at + SC_TFRECORD_HEAD + length + SC_TFRECORD_TAIL <= n);
        memcpy(copy + SC_TFRECORD_HEAD, bytes + at + SC_TFRECORD_HEAD, length);
        const size_t whole = sc_tfrecord_frame(copy, length);
        assert_memory_equal(copy, bytes + at, whole);
        Stagecoach__Tensorboard__Event *e =
            stagecoach__tensorboard__event__unpack(NULL, length, bytes + at + SC_TFRECORD_HEAD);
        assert_non_null(e);
        const size_t used = strlen(out);
        if (e->what_case == STAGECOACH__TENSORBOARD__EVENT__WHAT_FILE_VERSION)
            snprintf(out + used, out_bytes - used, "v ");
        else if (e->what_case == STAGECOACH__TENSORBOARD__EVENT__WHAT_SESSION_LOG)
            snprintf(out + used, out_bytes - used, "r%d ", (int)e->step);
        else
            snprintf(out + used, out_bytes - used, "%s@%d=%g ", e->summary->value[0]->tag, (int)e->step,
                     (double)e->summary->value[0]->simple_value);
        stagecoach__tensorboard__event__free_unpacked(e, NULL);
        at += whole;
    }
    free(bytes);
}

static void assert_events(size_t file, const char *expected)
{
    char text[4096];
    assert_true(find() > file);
    describe(files.gl_pathv[file], text, sizeof text);
    assert_string_equal(text, expected);
}

static void tell(sc_tensorboard *board, const char *event)
{
    json_t *object = json_loads(event, 0, NULL);
    assert_non_null(object);
    sc_tensorboard_event(board, object);
    json_decref(object);
}

static int setup(void **state)
{
    (void)state;
    now_ns = UINT64_C(1700000000) * 1000000000u;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0, n = find(); i < n; i++)
        remove(files.gl_pathv[i]);
    globfree(&files);
    memset(&files, 0, sizeof files);
    return 0;
}

/* RFC 3720, appendix B.4. */
static void checksums_are_those_of_the_rfc(void **state)
{
    (void)state;
    uint8_t bytes[32] = {0};
    assert_int_equal(sc_tfrecord_crc32c(bytes, 32), 0x8A9136AAu);
    memset(bytes, 0xFF, 32);
    assert_int_equal(sc_tfrecord_crc32c(bytes, 32), 0x62A8AB43u);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(sc_tfrecord_crc32c(bytes, 32), 0x46DD794Eu);
    assert_int_equal(sc_tfrecord_crc32c("123456789", 9), 0xE3069283u);
}

/* What tests/tools/read_tensorboard.py --golden prints: TensorBoard's own messages and its own writer of records. */
static const char golden[] =
    "1800000000000000a37f4b220900000040fc54d9411a0d627261696e2e4576656e743a32eced8f9d0f00000000000000"
    "6d532b090900000040fc54d94110053a020801f96efb7c200000000000000029eda9500900000040fc54d94110052a13"
    "0a110a0a747261696e2f6c6f73731500002040f8e98b541e00000000000000d9dc12320900000040fc54d94110ac022a"
    "100a0e0a076576616c2f6631150000000080717bc9";

static void a_file_has_the_bytes_of_tensorboards_own_writer(void **state)
{
    (void)state;
    sc_tensorboard *board = open_one();
    sc_tensorboard_restart(board, 5);
    sc_tensorboard_scalar(board, "train/loss", 5, 2.5);
    sc_tensorboard_scalar(board, "eval/f1", 300, 0);
    sc_tensorboard_close(&board);
    assert_null(board);
    sc_tensorboard_close(&board);
    assert_int_equal(find(), 1);
    uint8_t *bytes;
    const size_t n = read_one(files.gl_pathv[0], &bytes);
    char *hex = calloc(2, n + 1);
    assert_non_null(hex);
    for (size_t i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    assert_string_equal(hex, golden);
    free(hex);
    free(bytes);
}

static void events_of_the_run_become_curves(void **state)
{
    (void)state;
    sc_tensorboard *board = open_one();
    tell(board, "{\"event\":\"run_started\",\"first_step\":1}");
    tell(board, "{\"event\":\"worker_lost\",\"step\":1,\"loss\":3}");
    tell(board, "{\"event\":\"step\",\"step\":1,\"loss\":4.5,\"grad_norm\":null,\"lr\":0.25,\"tokens\":8,"
                "\"step_seconds\":2.0,\"tokens_per_second\":4.0,\"stages\":[]}");
    tell(board, "{\"event\":\"eval\",\"time\":\"x\",\"step\":1,\"loss\":2,\"perplexity\":8.5,\"f1\":0.75}");
    tell(board, "{\"event\":\"test\",\"step\":1,\"accuracy\":0.5}");
    tell(board, "{\"event\":\"recovery\",\"step\":0,\"steps_lost\":1}");
    tell(board, "{\"event\":\"recovery\",\"step\":1,\"steps_lost\":0}");
    sc_tensorboard_close(&board);
    assert_events(0,
                  "v r1 train/loss@1=4.5 train/grad_norm@1=nan train/learning_rate@1=0.25 train/tokens_per_second@1=4 "
                  "eval/loss@1=2 eval/perplexity@1=8.5 eval/f1@1=0.75 test/accuracy@1=0.5 r1 ");
}

static void each_start_has_a_file_behind_the_others(void **state)
{
    (void)state;
    for (int start = 0; start < 3; start++) {
        sc_tensorboard *board = open_one();
        sc_tensorboard_restart(board, 10 * start);
        sc_tensorboard_close(&board);
        now_ns -= UINT64_C(3600) * 1000000000u; /* the clock is set back meanwhile */
    }
    assert_int_equal(find(), 3);
    assert_events(0, "v r0 ");
    assert_events(1, "v r10 ");
    assert_events(2, "v r20 ");
}

static void what_does_not_fit_is_cut(void **state)
{
    (void)state;
    char tag[300], expected[SC_TENSORBOARD_TAG_BYTES + 16];
    memset(tag, 'x', sizeof tag - 1);
    tag[sizeof tag - 1] = '\0';
    sc_tensorboard *board = open_one();
    sc_tensorboard_scalar(board, tag, 1, 1);
    sc_tensorboard_close(&board);
    snprintf(expected, sizeof expected, "v %.*s@1=1 ", SC_TENSORBOARD_TAG_BYTES - 1, tag);
    assert_events(0, expected);
}

static void many_values_are_all_there(void **state)
{
    (void)state;
    sc_tensorboard *board = open_one();
    for (int i = 0; i < SC_TENSORBOARD_QUEUE; i++) /* so many fit, even if nothing is written meanwhile */
        sc_tensorboard_scalar(board, "train/loss", i, i);
    sc_tensorboard_close(&board);
    assert_int_equal(find(), 1);
    uint8_t *bytes;
    const size_t n = read_one(files.gl_pathv[0], &bytes);
    size_t n_records = 0;
    for (size_t at = 0; at < n; n_records++)
        at += (size_t)SC_TFRECORD_HEAD + bytes[at] + SC_TFRECORD_TAIL;
    assert_int_equal((int)n_records, SC_TENSORBOARD_QUEUE + 1);
    free(bytes);
}

/* A line of the log, which comes when the writer has tried. */
static void read_line(FILE *log, char *line, int line_bytes)
{
    assert_non_null(fgets(line, line_bytes, log));
}

/* Nothing but the version has room. */
static void fill_disk(bool full)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = full ? 60 : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_is_said_once_and_a_restart_is_not_forgotten(void **state)
{
    (void)state;
    int ends[2];
    char line[1024];
    assert_int_equal(pipe(ends), 0);
    FILE *log = fdopen(ends[0], "r");
    assert_non_null(log);
    assert_int_equal(sc_log_init("warn", false, ends[1]), SC_OK);
    signal(SIGXFSZ, SIG_IGN);

    fill_disk(true);
    sc_tensorboard *board = open_one();
    sc_tensorboard_restart(board, 7);
    read_line(log, line, sizeof line);
    assert_non_null(strstr(line, "cannot be written: File too large; the run goes on without it"));
    fill_disk(false);
    sc_tensorboard_scalar(board, "train/loss", 8, 2);
    sc_tensorboard_close(&board);
    assert_events(0, "v r7 train/loss@8=2 ");

    fill_disk(true);
    board = open_one();
    sc_tensorboard_scalar(board, "train/loss", 9, 1);
    read_line(log, line, sizeof line);
    assert_non_null(strstr(line, "cannot be written"));
    fill_disk(false);
    sc_tensorboard_scalar(board, "train/loss", 10, 1);
    read_line(log, line, sizeof line);
    assert_non_null(strstr(line, "is written; before, 1 values were lost"));
    sc_tensorboard_close(&board);
    assert_events(1, "v train/loss@10=1 ");

    sc_log_init("warn", false, STDERR_FILENO);
    close(ends[1]);
    assert_null(fgets(line, sizeof line, log)); /* nothing more was said */
    fclose(log);
}

static void where_no_directory_can_be_made_is_told(void **state)
{
    (void)state;
    sc_tensorboard *board;
    assert_int_not_equal(sc_tensorboard_open("/proc/nowhere", sc_clock_manual(&now_ns), &board), SC_OK);
    assert_null(board);
    assert_non_null(strstr(sc_status_message(), "/proc/nowhere"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksums_are_those_of_the_rfc),
        cmocka_unit_test_setup_teardown(a_file_has_the_bytes_of_tensorboards_own_writer, setup, teardown),
        cmocka_unit_test_setup_teardown(events_of_the_run_become_curves, setup, teardown),
        cmocka_unit_test_setup_teardown(each_start_has_a_file_behind_the_others, setup, teardown),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(many_values_are_all_there, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_is_said_once_and_a_restart_is_not_forgotten, setup, teardown),
        cmocka_unit_test(where_no_directory_can_be_made_is_told),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
