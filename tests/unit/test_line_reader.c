/* Lines of files and pipes: however they come, the same lines; nothing waits; memory is bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/run/line_reader.h"
#include "tests/unit/scratch.h"

enum { LONGEST = 20 };

static sc_line next(sc_line_reader *reader)
{
    sc_line line;
    assert_int_equal(sc_line_reader_next(reader, &line), SC_OK);
    return line;
}

static void assert_line(sc_line_reader *reader, uint64_t number, const char *wanted)
{
    const sc_line line = next(reader);
    assert_int_equal(line.state, SC_LINE_READY);
    assert_int_equal(line.number, number);
    assert_int_equal(line.n, strlen(wanted));
    assert_memory_equal(line.text, wanted, line.n);
    assert_false(line.too_long);
}

static void open_text(sc_line_reader *reader, const char *text, size_t n)
{
    scratch_write("lines", text, n);
    assert_int_equal(sc_line_reader_open(scratch_file("lines"), LONGEST, reader), SC_OK);
}

static void test_files(void **state)
{
    (void)state;
    static const char text[] = "\xEF\xBB\xBFone\n\ntwo\r\n\r\n\xEF\xBB\xBF|a\rb\nlast";
    sc_line_reader reader;
    open_text(&reader, text, sizeof text - 1);
    assert_line(&reader, 1, "one"); /* without the byte order mark */
    assert_line(&reader, 2, "");
    assert_line(&reader, 3, "two");
    assert_line(&reader, 4, "");
    assert_line(&reader, 5, "\xEF\xBB\xBF|a\rb"); /* elsewhere it is a character */
    assert_line(&reader, 6, "last");
    assert_int_equal(next(&reader).state, SC_LINE_END);
    assert_int_equal(next(&reader).state, SC_LINE_END);
    sc_line_reader_close(&reader);
    open_text(&reader, "", 0);
    assert_int_equal(next(&reader).state, SC_LINE_END);
    sc_line_reader_close(&reader);
}

static void test_long_lines(void **state)
{
    (void)state;
    const size_t n = 300000; /* several pieces */
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, 'x', n);
    memcpy(text + n - 5, "\nabc\n", 5);
    sc_line_reader reader;
    open_text(&reader, text, n);
    const sc_line line = next(&reader);
    assert_true(line.state == SC_LINE_READY && line.too_long);
    assert_int_equal(line.n, LONGEST);
    assert_line(&reader, 2, "abc");
    assert_int_equal(next(&reader).state, SC_LINE_END);
    sc_line_reader_close(&reader);

    open_text(&reader, "12345678901234567890\r\n123456789012345678901\n12345678901234567890", 64);
    assert_line(&reader, 1, "12345678901234567890"); /* as long as may be */
    assert_true(next(&reader).too_long);
    assert_line(&reader, 3, "12345678901234567890");
    assert_int_equal(next(&reader).state, SC_LINE_END);
    sc_line_reader_close(&reader);
    free(text);
}

/* A pipe that gives byte after byte: no call waits, and a line is there with its end. */
static void test_pipes(void **state)
{
    (void)state;
    static const char text[] = "one\ntwo\r\nthree";
    static const char *const lines[] = {"one", "two"};
    assert_int_equal(mkfifo(scratch_file("fifo"), 0600), 0);
    const int writer = open(scratch_file("fifo"), O_RDWR);
    assert_true(writer >= 0);
    sc_line_reader reader;
    assert_int_equal(sc_line_reader_open(scratch_file("fifo"), LONGEST, &reader), SC_OK);
    int n = 0;
    for (size_t i = 0; i < sizeof text - 1; i++) {
        assert_int_equal(next(&reader).state, SC_LINE_NONE_YET);
        assert_int_equal(write(writer, text + i, 1), 1);
        if (text[i] == '\n') {
            assert_line(&reader, (uint64_t)n + 1, lines[n]);
            n++;
        }
    }
    assert_int_equal(n, 2);
    assert_int_equal(next(&reader).state, SC_LINE_NONE_YET);
    assert_int_equal(close(writer), 0);
    assert_line(&reader, 3, "three");
    assert_int_equal(next(&reader).state, SC_LINE_END);
    sc_line_reader_close(&reader);
}

static void test_what_cannot_be_read(void **state)
{
    (void)state;
    sc_line_reader reader;
    assert_int_equal(sc_line_reader_open(scratch_file("absent"), LONGEST, &reader), SC_NOT_FOUND);
    sc_line_reader_close(&reader);
    assert_int_equal(sc_line_reader_open("/", LONGEST, &reader), SC_INVALID);
    assert_non_null(strstr(sc_status_message(), "directory"));
    sc_line_reader_close(&reader);
    sc_line_reader_close(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_pipes),
        cmocka_unit_test(test_what_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
