#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/run/progress.h"
#include "coordinator/run/progress_text.h"

static uint64_t now_ns;
static FILE *file;
static char output[8192];
static off_t from; /* the part of the file before it has been seen */

static int setup(void **state)
{
    (void)state;
    now_ns = 0;
    from = 0;
    file = tmpfile();
    return file ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return fclose(file);
}

static sc_progress *open_progress(sc_progress_mode mode, int width)
{
    const sc_progress_options options = {.fd = fileno(file),
                                         .mode = mode,
                                         .width = width,
                                         .clock = sc_clock_manual(&now_ns),
                                         .steps = 500,
                                         .n_stages = 4};
    sc_progress *self;
    assert_int_equal(sc_progress_new(&options, &self), SC_OK);
    return self;
}

/* What has been written since the last call. */
static const char *written(void)
{
    off_t end = lseek(fileno(file), 0, SEEK_END);
    ssize_t n = pread(fileno(file), output, sizeof output - 1, from);
    assert_true(n >= 0);
    output[n] = '\0';
    from = end;
    return output;
}

static void step_done(sc_progress *self, int64_t step, double seconds)
{
    static const double busy[] = {0.91, 0.876, 0.9, 0.854};
    const sc_progress_step done = {.step = step,
                                   .loss = 1.84214,
                                   .lr = 9.4e-4,
                                   .grad_norm = 0.6234,
                                   .step_seconds = seconds,
                                   .tokens = 8192,
                                   .busy = busy};
    sc_progress_step_done(self, &done);
}

static void numbers_read_well(void **state)
{
    (void)state;
    char text[32];
    static const struct {
        double value;
        const char *text;
    } durations[] = {{0, "0s"},           {59.4, "59s"},     {59.6, "1:00"},    {151, "2:31"},
                     {3599.6, "1:00:00"}, {3723, "1:02:03"}, {86400, "1d 00h"}, {273600, "3d 04h"},
                     {-1, "-"},           {NAN, "-"},        {INFINITY, "-"}},
      counts[] = {{0, "0"},       {999.4, "999"}, {999.6, "1.0k"},  {1000, "1.0k"},  {5104, "5.1k"},
                  {9949, "9.9k"}, {9951, "10k"},  {999499, "999k"}, {1.2e6, "1.2M"}, {3e12, "3.0T"}};
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++)
        assert_string_equal(sc_progress_duration(durations[i].value, text, sizeof text), durations[i].text);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        assert_string_equal(sc_progress_count(counts[i].value, text, sizeof text), counts[i].text);
}

static void actions_have_letters(void **state)
{
    (void)state;
    static const char *const actions[] = {"2F0",  "12B31",    "0I3",       "0W3", "0STEP",   "3REDUCE_TIED",
                                          "idle", "1RECV_F0", "1SEND_B12", "",    "FORWARD", "7"};
    static const char letters[] = "FBBBSS------";
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        assert_int_equal(sc_progress_text_letter(actions[i]), letters[i]);
}

static void a_line_takes_the_fields_that_fit(void **state)
{
    (void)state;
    static const char full[] = "step 120/500  loss 1.8421  lr 0.00094  norm 0.623  5.1k tok/s  ETA 2:31  "
                               "[1F 2B 3S 4-]  busy 91 88 90 85%";
    const double busy[] = {0.91, 0.876, 0.9, 0.854};
    const sc_progress_view view = {.step = 120,
                                   .steps = 500,
                                   .loss = 1.84214,
                                   .lr = 9.4e-4,
                                   .grad_norm = 0.6234,
                                   .tokens_per_second = 5104,
                                   .eta_seconds = 151,
                                   .n_stages = 4,
                                   .doing = "FBS-",
                                   .busy = busy};
    char text[256];
    for (int width = 0; width < 130; width++) {
        sc_progress_text_line(&view, width, text, sizeof text);
        size_t length = strlen(text);
        assert_true(length <= (size_t)width);
        assert_memory_equal(text, full, length);
        /* A field more would not have fitted: the next one ends behind the width. */
        if (full[length]) {
            const char *next = strstr(full + length + 2, "  ");
            assert_true((next ? (size_t)(next - full) : strlen(full)) > (size_t)width);
        }
    }
    assert_string_equal(text, full);
    sc_progress_text_line(&view, 200, text, 30);
    assert_string_equal(text, "step 120/500  loss 1.8421");
}

static void a_terminal_line_is_redrawn_ten_times_a_second(void **state)
{
    (void)state;
    sc_progress *self = open_progress(SC_PROGRESS_TERMINAL, 27);
    step_done(self, 1, 2);
    assert_string_equal(written(), "\rstep 1/500  loss 1.8421\x1B[K\r");
    now_ns += 99000000;
    step_done(self, 2, 2);
    assert_string_equal(written(), "");
    now_ns += 1000000;
    sc_progress_doing(self, 0, "0F3");
    assert_string_equal(written(), "\rstep 2/500  loss 1.8421\x1B[K\r");
    step_done(self, 500, 2); /* the last one is always shown */
    assert_string_equal(written(), "\rstep 500/500  loss 1.8421\x1B[K\r");
    sc_progress_destroy(&self);
    assert_null(self);
    assert_string_equal(written(), "\rstep 500/500  loss 1.8421\x1B[K\r\n");
}

static void other_output_does_not_land_in_the_line(void **state)
{
    (void)state;
    sc_progress *self = open_progress(SC_PROGRESS_TERMINAL, 14);
    sc_progress_note(self, "%s", "before");
    assert_string_equal(written(), "before\n");
    step_done(self, 1, 2);
    assert_string_equal(written(), "\rstep 1/500\x1B[K\r");
    sc_progress_note(self, "worker %d is gone", 3);
    assert_string_equal(written(), "\r\x1B[Kworker 3 is gone\n\rstep 1/500\x1B[K\r");
    sc_progress_suspend(self);
    assert_string_equal(written(), "\r\x1B[K");
    sc_progress_suspend(self);
    now_ns += 1000000000;
    step_done(self, 2, 2);
    sc_progress_resume(self);
    assert_string_equal(written(), "");
    sc_progress_resume(self);
    assert_string_equal(written(), "\rstep 2/500\x1B[K\r");
    sc_progress_destroy(&self);
    assert_string_equal(written(), "\rstep 2/500\x1B[K\r\n");
}

static void elsewhere_a_line_a_second_will_do(void **state)
{
    (void)state;
    sc_progress *self = open_progress(SC_PROGRESS_PLAIN, 0);
    step_done(self, 1, 2);
    assert_string_equal(written(), "step 1/500 loss 1.8421 lr 0.00094 norm 0.623 tok/s 4096 step 2.000s ETA 16:38 "
                                   "busy 91 88 90 85%\n");
    sc_progress_doing(self, 0, "0F3");
    now_ns += 999999999;
    step_done(self, 2, 2);
    assert_string_equal(written(), "");
    now_ns += 1;
    step_done(self, 3, 2);
    assert_memory_equal(written(), "step 3/500 ", 11);
    const sc_score_list scores = {.n = 2, .items = {{"loss", 2}, {"perplexity", 7.389056}}};
    sc_progress_eval(self, 3, "validation", &scores);
    assert_string_equal(written(), "step 3 validation loss 2.0000 perplexity 7.389\n");
    step_done(self, 500, 2);
    assert_non_null(strstr(written(), "step 500/500 "));
    sc_progress_destroy(&self);
    assert_string_equal(written(), "");
}

/* A stage outside the run, as a confused worker might report it, changes nothing. */
static void unknown_stages_are_ignored(void **state)
{
    (void)state;
    sc_progress *self = open_progress(SC_PROGRESS_TERMINAL, 80);
    sc_progress_doing(self, 4, "4F0");
    sc_progress_doing(self, -1, "4F0");
    assert_string_equal(written(), "");
    sc_progress_doing(self, 3, "3F0");
    assert_string_equal(written(), "\rstep 0/500  [1- 2- 3- 4F]\x1B[K\r");
    sc_progress_destroy(&self);
}

static void a_file_is_no_terminal(void **state)
{
    (void)state;
    sc_progress *self = open_progress(SC_PROGRESS_AUTO, 0);
    step_done(self, 1, 2);
    assert_null(strchr(written(), '\x1B'));
    sc_progress_destroy(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_read_well),
        cmocka_unit_test(actions_have_letters),
        cmocka_unit_test(a_line_takes_the_fields_that_fit),
        cmocka_unit_test_setup_teardown(a_terminal_line_is_redrawn_ten_times_a_second, setup, teardown),
        cmocka_unit_test_setup_teardown(other_output_does_not_land_in_the_line, setup, teardown),
        cmocka_unit_test_setup_teardown(elsewhere_a_line_a_second_will_do, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_stages_are_ignored, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_is_no_terminal, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
