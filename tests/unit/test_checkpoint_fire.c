/* Saves on a disk that fails, and in a process that dies, at each call to the disk in turn. Whatever happens, every set that has
 * a manifest is sound, what was told to be saved is there, the newest complete set is found, and no name is used twice.
 * The program is its own victim:
 *     test_checkpoint_fire DIRECTORY kill|power N     saves step 3 and prunes; dies at the N-th call */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <semaphore.h>
#include <spawn.h>
#include <sys/wait.h>

#include "tests/unit/checkpoint_fixture.h"
#include "tests/unit/disk_fixture.h"
#include "tests/unit/scratch.h"

#include "proto/base/log.h"

enum { MOST_CALLS = 1000 }; /* a save makes some dozens */

extern char **environ;

static sc_tokenizer *tokenizer;

static int setup(void **state)
{
    return scratch_setup(state) == 0 && sc_tokenizer_new_byte(&tokenizer) == SC_OK &&
                   sc_log_init("off", false, STDERR_FILENO) == SC_OK
               ? 0
               : -1;
}

static int teardown(void **state)
{
    sc_disk_set(NULL);
    sc_log_init(NULL, false, STDERR_FILENO);
    sc_tokenizer_destroy(&tokenizer);
    return scratch_teardown(state);
}

static void again(void **state)
{
    assert_int_equal(scratch_teardown(state), 0);
    assert_int_equal(scratch_setup(state), 0);
}

static void save(int64_t step)
{
    if (checkpoint_save(scratch_path, step, tokenizer, NULL) != SC_OK)
        fail_msg("step %ld: %s", (long)step, sc_status_message());
}

/* All sets that show are sound. Returns the step of the newest. */
static int64_t check_all(const char *what, int n)
{
    sc_checkpoint_list list;
    sc_manifest manifest;
    char *path;
    assert_int_equal(sc_checkpoint_list_of(scratch_path, &list), SC_OK);
    for (int i = 0; i < list.n; i++) {
        if (sc_checkpoint_check(list.paths[i], true, &manifest) != SC_OK)
            fail_msg("%s at call %d: %s", what, n, sc_status_message());
        sc_manifest_clear(&manifest);
    }
    assert_true(list.n >= 2); /* at least two stay */
    sc_checkpoint_list_clear(&list);
    assert_int_equal(sc_checkpoint_newest(scratch_path, &path, &manifest), SC_OK);
    int64_t step = manifest.step;
    sc_manifest_clear(&manifest);
    free(path);
    return step;
}

static void fail_each_call(void **state, disk_fault fault, int error)
{
    int n = 1;
    for (bool struck = true; struck; n++) {
        char *first = NULL, *second = NULL;
        assert_true(n < MOST_CALLS);
        again(state);
        disk_plan(DISK_SOUND, 0, 0);
        save(1);
        save(2);
        disk_plan(fault, n, error);
        sc_status status = checkpoint_save(scratch_path, 3, tokenizer, &first);
        struck = disk.struck;
        assert_int_equal(disk.n_trusted_again, 0);
        disk_plan(DISK_SOUND, 0, 0);
        if (!struck && status != SC_OK)
            fail_msg("call %d: %s", n, sc_status_message());
        /* a disk that fails for good may keep a whole set whose last sync has failed: it cannot be removed, either */
        int64_t newest = check_all(strerror(error), n);
        assert_true(newest == (status == SC_OK ? 3 : 2) || (newest == 3 && fault == DISK_FAILS_ON));
        /* the disk is well again */
        assert_int_equal(checkpoint_save(scratch_path, 3, tokenizer, &second), SC_OK);
        assert_true(!first || strcmp(first, second) != 0);
        sc_checkpoint_prune(scratch_path, 2, 0);
        assert_int_equal(check_all("a save after it", n), 3);
        free(first);
        free(second);
    }
    print_message("%s: %d calls\n", strerror(error), n - 2);
    assert_true(n > 40); /* directories, files, syncs: the table is in use */
}

static void each_call_may_fail_once(void **state)
{
    fail_each_call(state, DISK_FAILS_ONCE, EIO);
    fail_each_call(state, DISK_FAILS_ONCE, ENOSPC);
}

static void the_disk_may_fail_for_good_at_each_call(void **state)
{
    fail_each_call(state, DISK_FAILS_ON, ENOSPC);
}

/* --- death ---------------------------------------------------------------------------------------------------------------- */

static int victim(char **argv)
{
    int n = atoi(argv[3]);
    if (sc_tokenizer_new_byte(&tokenizer) != SC_OK)
        return 1;
    disk_plan(strcmp(argv[2], "kill") == 0 ? DISK_KILL : DISK_POWER_CUT, n, 0);
    sc_status status = checkpoint_save(argv[1], 3, tokenizer, NULL);
    if (status == SC_OK && write(STDOUT_FILENO, "", 1) == 1)
        sc_checkpoint_prune(argv[1], 2, 0);
    sc_tokenizer_destroy(&tokenizer);
    return status == SC_OK ? 0 : 1;
}

/* Returns whether it was killed; *told: it had told that the set is saved. */
static bool run_victim(const char *how, int n, bool *told)
{
    int tell[2], status;
    pid_t pid;
    char number[16], byte;
    posix_spawn_file_actions_t actions;
    assert_int_equal(pipe(tell), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, tell[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, tell[0]);
    snprintf(number, sizeof number, "%d", n);
    char *argv[] = {"test_checkpoint_fire", scratch_path, (char *)how, number, NULL};
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(tell[1]);
    *told = read(tell[0], &byte, 1) == 1;
    close(tell[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

static void die_at_each_call(void **state, const char *how)
{
    int n = 1;
    for (bool killed = true; killed; n++) {
        bool told;
        assert_true(n < MOST_CALLS);
        again(state);
        disk_plan(DISK_SOUND, 0, 0);
        save(1);
        save(2);
        killed = run_victim(how, n, &told);
        int64_t newest = check_all(how, n);
        if (newest != 3 && (newest != 2 || told))
            fail_msg("%s at call %d: step 3 was %ssaved, the newest is %ld", how, n, told ? "" : "not ", (long)newest);
        save(4);
        sc_checkpoint_prune(scratch_path, 2, 0);
        assert_int_equal(check_all("a save after it", n), 4);
    }
    print_message("%s: %d calls\n", how, n - 2);
    assert_true(n > 40);
}

static void the_process_may_be_killed_at_each_call(void **state)
{
    die_at_each_call(state, "kill");
}

static void the_power_may_fail_at_each_call(void **state)
{
    die_at_each_call(state, "power");
}

/* --- a disk that hangs ------------------------------------------------------------------------------------------------------ */

static sem_t may_go_on;

static int hanging_mkdir(const char *path, mode_t mode)
{
    sem_wait(&may_go_on);
    sem_post(&may_go_on);
    return mkdir(path, mode);
}

static void a_disk_that_hangs_holds_nobody_up(void **state)
{
    (void)state;
    sc_checkpoint_writer *writer, *second;
    sc_status status;
    sc_disk hanging = *sc_disk_get();
    hanging.mkdir = hanging_mkdir;
    assert_int_equal(sem_init(&may_go_on, 0, 0), 0);
    sc_disk_set(&hanging);
    assert_int_equal(checkpoint_begin(scratch_path, 3, tokenizer, &writer), SC_OK);
    assert_int_equal(checkpoint_pieces(writer, 3, 0, 0), SC_OK);
    assert_true(sc_checkpoint_writer_queued(writer) > 0);
    assert_null(sc_checkpoint_writer_path(writer));
    sc_checkpoint_writer_cancel(writer);
    assert_false(sc_checkpoint_writer_done(writer, &status));
    sem_post(&may_go_on);
    assert_int_equal(checkpoint_wait(writer), SC_CANCELLED);
    sc_disk_set(NULL);
    /* what failed, for whatever reason, can be begun again elsewhere with the same declarations */
    assert_int_equal(sc_checkpoint_writer_again(writer, &second), SC_OK);
    sc_checkpoint_writer_destroy(&writer);
    for (int s = 0; s < CHECKPOINT_SHARDS; s++)
        for (int t = 0; t < CHECKPOINT_TENSORS; t++)
            assert_int_equal(checkpoint_pieces(second, 3, s, t), SC_OK);
    assert_int_equal(sc_checkpoint_writer_finish(second), SC_OK);
    assert_int_equal(checkpoint_wait(second), SC_OK);
    assert_non_null(strstr(sc_checkpoint_writer_path(second), "step-00000003.2"));
    sc_checkpoint_writer_destroy(&second);
    sem_destroy(&may_go_on);
}

int main(int argc, char **argv)
{
    if (argc > 3)
        return victim(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_call_may_fail_once, setup, teardown),
        cmocka_unit_test_setup_teardown(the_disk_may_fail_for_good_at_each_call, setup, teardown),
        cmocka_unit_test_setup_teardown(the_process_may_be_killed_at_each_call, setup, teardown),
        cmocka_unit_test_setup_teardown(the_power_may_fail_at_each_call, setup, teardown),
        cmocka_unit_test_setup_teardown(a_disk_that_hangs_holds_nobody_up, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
