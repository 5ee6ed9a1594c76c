#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/unit/scratch.h"
#include "worker/preempt.h"

static void make(const char *path)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
}

static void a_file_that_appears_is_seen(void **state)
{
    (void)state;
    const char *path = scratch_file("notice"), *other = scratch_file("notice2");
    int fd;
    make(path); /* it is there already: that says nothing */
    assert_int_equal(sc_preempt_open(path, &fd), SC_OK);
    assert_false(sc_preempt_take(fd, path));
    make(other);
    unlink(path);
    assert_false(sc_preempt_take(fd, path));
    make(path);
    assert_true(sc_preempt_take(fd, path));
    assert_false(sc_preempt_take(fd, path)); /* once */
    assert_int_equal(rename(other, path), 0);
    assert_true(sc_preempt_take(fd, path));
    close(fd);
}

static void a_path_that_cannot_be_watched_is_an_error(void **state)
{
    (void)state;
    int fd;
    assert_int_equal(sc_preempt_open("/no/such/directory/file", &fd), SC_INVALID);
    assert_int_equal(sc_preempt_open("/tmp/", &fd), SC_INVALID);
    assert_int_equal(sc_preempt_open("", &fd), SC_INVALID);
    assert_int_equal(sc_preempt_open("/no-such-file-in-the-root", &fd), SC_OK);
    close(fd);
    assert_int_equal(sc_preempt_open("no-such-file-here", &fd), SC_OK);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_appears_is_seen),
        cmocka_unit_test(a_path_that_cannot_be_watched_is_an_error),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
