/* A process that saves and prunes without end is killed at random moments, thirty times. Whatever it was doing, every set
 * that has a manifest is sound, and nothing that was told to be saved is lost. The program is its own victim:
 *     test_checkpoint_kill DIRECTORY     saves steps from the newest on, each told by a byte on standard output */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/checkpoint_fixture.h"
#include "tests/unit/scratch.h"

enum { N_KILLS = 30, KEEP = 2 };

extern char **environ;

static int save_for_ever(const char *dir)
{
    sc_tokenizer *tokenizer;
    char *path;
    sc_manifest manifest;
    int64_t step = 0;
    if (sc_tokenizer_new_byte(&tokenizer) != SC_OK)
        return 1;
    if (sc_checkpoint_newest(dir, &path, &manifest) == SC_OK) {
        step = manifest.step;
        sc_manifest_clear(&manifest);
        free(path);
    }
    sc_checkpoint_prune(dir, KEEP, 0); /* what the one before was killed too early for */
    while (checkpoint_save(dir, ++step, tokenizer, NULL) == SC_OK && write(STDOUT_FILENO, "", 1) == 1)
        sc_checkpoint_prune(dir, KEEP, 0);
    fprintf(stderr, "step %ld: %s\n", (long)step, sc_status_message());
    return 1;
}

/* Runs the victim until it has saved once, lets it go on for a while, kills it. Returns how many sets it told to be saved. */
static int run_and_kill(unsigned *seed)
{
    int tell[2];
    pid_t pid;
    posix_spawn_file_actions_t actions;
    assert_int_equal(pipe(tell), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, tell[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, tell[0]);
    char *argv[] = {"test_checkpoint_kill", scratch_path, NULL};
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(tell[1]);
    char byte;
    ssize_t got = read(tell[0], &byte, 1);
    /* up to about ten saves more, ending anywhere in one */
    nanosleep(&(struct timespec){.tv_nsec = rand_r(seed) % 40000 * 1000}, NULL);
    kill(pid, SIGKILL);
    int status, n = got == 1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status)); /* it did not end by itself */
    while (read(tell[0], &byte, 1) == 1)
        n++;
    close(tell[0]);
    return n;
}

static void no_kill_leaves_a_set_that_lies(void **state)
{
    (void)state;
    unsigned seed = (unsigned)time(NULL), first_seed = seed;
    int64_t told = 0;
    for (int i = 0; i < N_KILLS; i++) {
        told += run_and_kill(&seed);
        sc_checkpoint_list list;
        sc_manifest manifest;
        char *path;
        assert_int_equal(sc_checkpoint_list_of(scratch_path, &list), SC_OK);
        for (int k = 0; k < list.n; k++) {
            if (sc_checkpoint_check(list.paths[k], true, &manifest) != SC_OK)
                fail_msg("seed %u, kill %d: %s", first_seed, i, sc_status_message());
            sc_manifest_clear(&manifest);
        }
        assert_in_range(list.n, 1, KEEP + 1); /* one more than it keeps, if the kill came before the pruning */
        sc_checkpoint_list_clear(&list);
        assert_int_equal(sc_checkpoint_newest(scratch_path, &path, &manifest), SC_OK);
        /* a set may be complete whose completion could no longer be told */
        if (manifest.step < told)
            fail_msg("seed %u, kill %d: step %ld was saved, %ld is the newest", first_seed, i, (long)told,
                     (long)manifest.step);
        told = manifest.step;
        sc_manifest_clear(&manifest);
        free(path);
    }
    print_message("%ld saves, %d kills, seed %u\n", (long)told, N_KILLS, first_seed);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return save_for_ever(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_kill_leaves_a_set_that_lies, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
