#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <semaphore.h>

#include "tests/unit/disk_fixture.h"
#include "tests/unit/scratch.h"
#include "worker/shard_saver.h"

enum { ROWS = 64, COLUMNS = 4096, BYTES = ROWS * COLUMNS * 4 }; /* 1 MiB a tensor */

static sem_t notified;
static sc_shard_saver *saver;

static void notify(void *context)
{
    sem_post(context);
}

static int setup(void **state)
{
    return scratch_setup(state) == 0 && sem_init(&notified, 0, 0) == 0 &&
                   sc_shard_saver_new(notify, &notified, &saver) == SC_OK
               ? 0
               : -1;
}

static int teardown(void **state)
{
    sc_shard_saver_destroy(&saver);
    sc_disk_set(NULL);
    sem_destroy(&notified);
    return scratch_teardown(state);
}

static sc_shard_result wait_result(void)
{
    sc_shard_result result;
    while (!sc_shard_saver_take_result(saver, &result))
        sem_wait(&notified);
    return result;
}

static void wait_free(void)
{
    while (!sc_shard_saver_is_free(saver))
        sem_wait(&notified);
}

static sc_shard *new_shard(int n_tensors)
{
    sc_shard *shard;
    assert_int_equal(sc_shard_new(7, &shard), SC_OK);
    for (int i = 0; i < n_tensors; i++) {
        char name[32];
        snprintf(name, sizeof name, "tensor.%d", i);
        assert_int_equal(sc_shard_add(shard, name, &SC_SHAPE(ROWS, COLUMNS)), SC_OK);
    }
    return shard;
}

static sc_buffer *tensor(int i)
{
    sc_buffer *data;
    assert_int_equal(sc_buffer_new(BYTES, &data), SC_OK);
    memset(sc_buffer_data(data), i + 1, BYTES);
    return data;
}

static void a_directory_is_known_by_its_token(void **state)
{
    (void)state;
    assert_int_equal(sc_shard_saver_check(saver, scratch_path, "abc"), SC_OK);
    sc_shard_result result = wait_result();
    assert_int_equal(result.status, SC_FAILED_PRECONDITION); /* no token there: another directory of that name */
    assert_non_null(strstr(result.message, scratch_path));
    assert_non_null(strstr(result.message, "mount"));

    scratch_write(SC_SHARED_TOKEN_FILE, "abd", 3);
    assert_int_equal(sc_shard_saver_check(saver, scratch_path, "abc"), SC_OK);
    assert_int_equal(wait_result().status, SC_FAILED_PRECONDITION);

    scratch_write(SC_SHARED_TOKEN_FILE, "abc", 3);
    assert_int_equal(sc_shard_saver_check(saver, scratch_path, "abc"), SC_OK);
    assert_int_equal(wait_result().status, SC_OK);

    disk_plan(DISK_FAILS_ON, 1, EROFS); /* it is the right one, and closed to this worker */
    assert_int_equal(sc_shard_saver_check(saver, scratch_path, "abc"), SC_OK);
    result = wait_result();
    assert_int_equal(result.status, SC_FAILED_PRECONDITION);
    assert_non_null(strstr(result.message, "cannot be written to"));
}

static void a_shard_is_what_the_coordinator_would_have_written(void **state)
{
    (void)state;
    enum { N = 3 };
    uint64_t bytes;
    char hash[SC_CHECKSUM_BYTES], path[256];
    sc_shard *shard = new_shard(N);
    assert_int_equal(sc_shard_open(shard, scratch_file("expected")), SC_OK);
    for (int i = 0; i < N; i++) {
        char name[32];
        sc_buffer *data = tensor(i);
        snprintf(name, sizeof name, "tensor.%d", i);
        assert_int_equal(sc_shard_write(shard, name, 0, sc_buffer_data(data), BYTES), SC_OK);
        sc_buffer_unref(&data);
    }
    assert_int_equal(sc_shard_commit(shard, &bytes, hash), SC_OK);
    sc_shard_destroy(&shard);

    shard = new_shard(N);
    snprintf(path, sizeof path, "%s", scratch_file("shard"));
    assert_int_equal(sc_shard_saver_begin(saver, path, &shard), SC_OK);
    assert_null(shard);
    for (int i = N - 1; i >= 0; i--) {
        char name[32];
        snprintf(name, sizeof name, "tensor.%d", i);
        assert_int_equal(sc_shard_saver_piece(saver, name, 0, tensor(i)), SC_OK);
    }
    sc_shard_saver_finish(saver);
    sc_shard_result result = wait_result();
    assert_int_equal(result.status, SC_OK);
    assert_true(result.bytes == bytes);
    assert_string_equal(result.hash, hash);
}

static void a_disk_that_fails_is_told_and_leaves_nothing(void **state)
{
    (void)state;
    sc_shard *shard = new_shard(1);
    disk_plan(DISK_FAILS_ONCE, 2, ENOSPC); /* the header is the first that is written to the new file */
    assert_int_equal(sc_shard_saver_begin(saver, scratch_file("shard"), &shard), SC_OK);
    assert_int_equal(sc_shard_saver_piece(saver, "tensor.0", 0, tensor(0)), SC_OK);
    sc_shard_saver_finish(saver);
    sc_shard_result result = wait_result();
    assert_int_equal(result.status, SC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(result.message, "/shard"));
    assert_int_equal(rmdir(scratch_path), 0);
    assert_int_equal(mkdir(scratch_path, 0700), 0);
}

static sem_t may_go_on;

static ssize_t hanging_pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    sem_wait(&may_go_on);
    sem_post(&may_go_on);
    return pwrite(fd, bytes, n, offset);
}

/* Neither does memory grow while the disk hangs, nor does what was given up come back as a result. */
static void a_slow_disk_bounds_what_waits_and_holds_nobody_up(void **state)
{
    (void)state;
    sc_shard *shard = new_shard(16);
    sc_shard_result result;
    sc_disk hanging = *sc_disk_get();
    hanging.pwrite = hanging_pwrite;
    assert_int_equal(sem_init(&may_go_on, 0, 0), 0);
    sc_disk_set(&hanging);
    assert_int_equal(sc_shard_saver_begin(saver, scratch_file("shard"), &shard), SC_OK);
    int n = 0;
    while (sc_shard_saver_has_room(saver)) {
        char name[32];
        assert_true(n < 8);
        snprintf(name, sizeof name, "tensor.%d", n);
        assert_int_equal(sc_shard_saver_piece(saver, name, 0, tensor(n)), SC_OK);
        n++;
    }
    sc_shard_saver_cancel(saver);
    assert_false(sc_shard_saver_is_free(saver));
    assert_int_equal(sc_shard_saver_check(saver, scratch_path, "abc"), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_shard_saver_piece(saver, "tensor.0", 0, tensor(0)), SC_OK); /* let go */
    sem_post(&may_go_on);
    wait_free();
    assert_false(sc_shard_saver_take_result(saver, &result));
    assert_int_equal(rmdir(scratch_path), 0); /* the temporary file went */
    assert_int_equal(mkdir(scratch_path, 0700), 0);
    sem_destroy(&may_go_on);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_directory_is_known_by_its_token, setup, teardown),
        cmocka_unit_test_setup_teardown(a_shard_is_what_the_coordinator_would_have_written, setup, teardown),
        cmocka_unit_test_setup_teardown(a_disk_that_fails_is_told_and_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slow_disk_bounds_what_waits_and_holds_nobody_up, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
