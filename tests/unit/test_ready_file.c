#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/scratch.h"
#include "worker/ready_file.h"

static void age(const char *path, int seconds)
{
    struct timespec now, times[2];
    clock_gettime(CLOCK_REALTIME, &now);
    times[0] = times[1] = (struct timespec){.tv_sec = now.tv_sec - seconds};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void it_is_there_while_a_worker_is_ready(void **state)
{
    (void)state;
    const char *path = scratch_file("ready");
    assert_int_equal(sc_ready_file_check(path), SC_NOT_FOUND);
    assert_int_equal(sc_ready_file_touch(path), SC_OK);
    assert_int_equal(sc_ready_file_check(path), SC_OK);
    age(path, SC_READY_FILE_FRESH_S + 5); /* its worker was killed, or hangs */
    assert_int_equal(sc_ready_file_check(path), SC_UNAVAILABLE);
    assert_int_equal(sc_ready_file_touch(path), SC_OK);
    assert_int_equal(sc_ready_file_check(path), SC_OK);
    sc_ready_file_remove(path);
    assert_int_equal(sc_ready_file_check(path), SC_NOT_FOUND);
}

static void a_new_worker_does_not_inherit_it(void **state)
{
    (void)state;
    const char *path = scratch_file("left");
    assert_int_equal(sc_ready_file_touch(path), SC_OK);
    assert_int_equal(sc_ready_file_begin(path), SC_OK);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(sc_ready_file_begin("/no/such/directory/ready"), SC_INVALID);
    assert_int_equal(sc_ready_file_begin(scratch_path), SC_INVALID);
}

static void a_link_is_not_followed(void **state)
{
    (void)state;
    const char *target = scratch_file("target"), *path = scratch_file("link");
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(sc_ready_file_touch(path), SC_UNAVAILABLE);
    assert_int_equal(access(target, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_there_while_a_worker_is_ready),
        cmocka_unit_test(a_new_worker_does_not_inherit_it),
        cmocka_unit_test(a_link_is_not_followed),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
