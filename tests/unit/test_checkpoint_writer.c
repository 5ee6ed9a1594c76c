#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "coordinator/run/checkpoint_internal.h"
#include "proto/base/checksums.h"
#include "tests/unit/checkpoint_fixture.h"
#include "tests/unit/scratch.h"

static sc_tokenizer *tokenizer;

static int setup(void **state)
{
    return scratch_setup(state) == 0 && sc_tokenizer_new_byte(&tokenizer) == SC_OK ? 0 : -1;
}

static int teardown(void **state)
{
    sc_tokenizer_destroy(&tokenizer);
    return scratch_teardown(state);
}

static void assert_message(const char *piece)
{
    if (!strstr(sc_status_message(), piece))
        fail_msg("message \"%s\" lacks \"%s\"", sc_status_message(), piece);
}

/* Nothing is there but directories whose names are used, empty. */
static void assert_no_sets(void)
{
    struct dirent **entries;
    int n = scandir(scratch_file("checkpoints"), &entries, NULL, alphasort);
    assert_true(n >= 2);
    for (int i = 0; i < n; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", scratch_file("checkpoints"), entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            assert_int_equal(rmdir(path), 0);
        free(entries[i]);
    }
    free(entries);
    assert_int_equal(rmdir(scratch_file("checkpoints")), 0);
}

static void a_set_is_written_found_and_read(void **state)
{
    (void)state;
    char *path = NULL, *found = NULL;
    sc_manifest manifest;
    assert_int_equal(checkpoint_save(scratch_path, 12, tokenizer, &path), SC_OK);
    assert_string_equal(path, scratch_file("checkpoints/step-00000012"));
    assert_int_equal(sc_checkpoint_newest(scratch_path, &found, &manifest), SC_OK);
    assert_string_equal(found, path);
    assert_int_equal(manifest.step, 12);
    assert_int_equal(manifest.save, 1);
    assert_int_equal(manifest.n_shards, CHECKPOINT_SHARDS);
    uint64_t hash;
    assert_int_equal(sc_checksum64_of_file(scratch_file("checkpoints/step-00000012/config.json"), &hash), SC_OK);
    assert_true(manifest.description_hash == hash);
    char *text = scratch_read("checkpoints/step-00000012/stagecoach_tokenizer.json");
    assert_true(manifest.tokenizer_hash == sc_checksum64_of(text, strlen(text)));
    free(text);

    sc_checkpoint_reader *reader;
    const sc_shape shape = SC_SHAPE(CHECKPOINT_ROWS, CHECKPOINT_COLUMNS);
    float values[CHECKPOINT_ROWS * CHECKPOINT_COLUMNS];
    assert_int_equal(sc_checkpoint_reader_open(path, &manifest, &reader), SC_OK);
    for (int s = 0; s < CHECKPOINT_SHARDS; s++)
        for (int t = 0; t < CHECKPOINT_TENSORS; t++) {
            const char *name = checkpoint_tensors[s][t];
            assert_int_equal(sc_checkpoint_reader_read(reader, name, &shape, 0, values, sizeof values), SC_OK);
            for (int i = 0; i < CHECKPOINT_ROWS * CHECKPOINT_COLUMNS; i++)
                assert_true(values[i] == checkpoint_value(12, s, t, i));
            assert_int_equal(sc_checkpoint_reader_read(reader, name, &shape, 400, values, 8), SC_OK);
            assert_true(values[1] == checkpoint_value(12, s, t, 101));
            assert_int_equal(sc_checkpoint_reader_read(reader, name, &shape, sizeof values - 4, values, 8),
                             SC_OUT_OF_RANGE);
        }
    const char *name = checkpoint_tensors[0][0];
    assert_int_equal(sc_checkpoint_reader_read(reader, name, &SC_SHAPE(64, 32), 0, values, 8), SC_DATA_LOSS);
    assert_message("(32,64)");
    assert_message("(64,32)");
    assert_message(name);
    assert_int_equal(sc_checkpoint_reader_read(reader, "missing.weight", &shape, 0, values, 8), SC_DATA_LOSS);
    assert_message("missing.weight");
    sc_checkpoint_reader_close(&reader);
    sc_checkpoint_reader_close(&reader);
    sc_manifest_clear(&manifest);
    free(found);
    free(path);
}

static void a_second_save_of_a_step_has_a_name_of_its_own(void **state)
{
    (void)state;
    char *path = NULL, *found = NULL;
    sc_manifest manifest;
    assert_int_equal(checkpoint_save(scratch_path, 5, tokenizer, NULL), SC_OK);
    for (int n = 2; n <= 11; n++) { /* ".10" comes after ".9" */
        char name[64];
        assert_int_equal(checkpoint_save(scratch_path, 5, tokenizer, &path), SC_OK);
        snprintf(name, sizeof name, "checkpoints/step-00000005.%d", n);
        assert_string_equal(path, scratch_file(name));
        assert_int_equal(sc_checkpoint_newest(scratch_path, &found, &manifest), SC_OK);
        assert_string_equal(found, path);
        assert_int_equal(manifest.save, n);
        sc_manifest_clear(&manifest);
        free(found);
        free(path);
    }
}

static void a_set_is_invisible_until_it_is_finished(void **state)
{
    (void)state;
    sc_checkpoint_writer *writer;
    sc_checkpoint_list list;
    sc_manifest manifest;
    char *found;
    assert_int_equal(checkpoint_begin(scratch_path, 3, tokenizer, &writer), SC_OK);
    for (int s = 0; s < CHECKPOINT_SHARDS; s++)
        for (int t = 0; t < CHECKPOINT_TENSORS; t++)
            assert_int_equal(checkpoint_pieces(writer, 3, s, t), SC_OK);
    for (int i = 0; sc_checkpoint_writer_queued(writer) > 0; i++) {
        assert_true(i < 10000);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    sc_status status;
    assert_false(sc_checkpoint_writer_done(writer, &status));
    assert_int_equal(sc_checkpoint_list_of(scratch_path, &list), SC_OK);
    assert_int_equal(list.n, 0);
    sc_checkpoint_list_clear(&list);
    assert_int_equal(sc_checkpoint_newest(scratch_path, &found, &manifest), SC_NOT_FOUND);
    assert_null(found);
    sc_checkpoint_writer_destroy(&writer); /* given up: nothing of it is left */
    assert_null(writer);
    assert_no_sets();
    sc_checkpoint_writer_destroy(&writer);
}

static void destroying_a_finished_writer_waits_for_the_manifest(void **state)
{
    (void)state;
    sc_checkpoint_writer *writer;
    sc_manifest manifest;
    char *found;
    assert_int_equal(checkpoint_begin(scratch_path, 3, tokenizer, &writer), SC_OK);
    for (int s = 0; s < CHECKPOINT_SHARDS; s++)
        for (int t = 0; t < CHECKPOINT_TENSORS; t++)
            assert_int_equal(checkpoint_pieces(writer, 3, s, t), SC_OK);
    assert_int_equal(sc_checkpoint_writer_finish(writer), SC_OK);
    sc_checkpoint_writer_destroy(&writer);
    assert_int_equal(sc_checkpoint_newest(scratch_path, &found, &manifest), SC_OK);
    sc_manifest_clear(&manifest);
    free(found);
}

static void mistakes_of_the_caller_are_named(void **state)
{
    (void)state;
    sc_checkpoint_writer *writer;
    sc_buffer *buffer;
    const sc_manifest manifest = checkpoint_manifest(1);
    const sc_shape shape = SC_SHAPE(CHECKPOINT_ROWS, CHECKPOINT_COLUMNS);
    assert_int_equal(sc_checkpoint_writer_new(scratch_path, SC_CHECKPOINT_IN_RUN, &manifest, 0, tokenizer, NULL, &writer),
                     SC_INVALID);
    assert_int_equal(sc_buffer_new(16, &buffer), SC_OK);

    assert_int_equal(checkpoint_begin(scratch_path, 1, tokenizer, &writer), SC_OK);
    assert_int_equal(sc_checkpoint_writer_declare(writer, CHECKPOINT_SHARDS, "a", &shape), SC_INVALID);
    assert_int_equal(sc_checkpoint_writer_piece(writer, -1, "a", 0, buffer), SC_INVALID);
    assert_int_equal(sc_checkpoint_writer_declare(writer, 0, checkpoint_tensors[0][0], &shape), SC_INVALID);
    assert_int_equal(checkpoint_pieces(writer, 1, 0, 0), SC_OK);
    assert_int_equal(sc_checkpoint_writer_declare(writer, 0, "late", &shape), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_checkpoint_writer_declare(writer, 1, "early enough", &SC_SHAPE(1)), SC_OK);
    /* tensors without their bytes */
    assert_int_equal(sc_checkpoint_writer_finish(writer), SC_OK);
    assert_int_equal(sc_checkpoint_writer_piece(writer, 0, checkpoint_tensors[0][0], 0, buffer),
                     SC_FAILED_PRECONDITION);
    assert_int_equal(checkpoint_wait(writer), SC_FAILED_PRECONDITION);
    assert_message("optimizer.first_moment.transformer.wte.weight");
    sc_checkpoint_writer_destroy(&writer);
    assert_no_sets();

    /* a tensor that was not declared, and then more pieces that nobody wants */
    assert_int_equal(checkpoint_begin(scratch_path, 1, tokenizer, &writer), SC_OK);
    assert_int_equal(sc_checkpoint_writer_piece(writer, 0, "unknown.weight", 0, buffer), SC_OK);
    assert_int_equal(checkpoint_wait(writer), SC_NOT_FOUND);
    assert_message("unknown.weight");
    assert_int_equal(checkpoint_pieces(writer, 1, 0, 0), SC_NOT_FOUND);
    assert_int_equal(sc_checkpoint_writer_finish(writer), SC_NOT_FOUND);
    assert_message("unknown.weight");
    assert_int_equal(sc_checkpoint_writer_queued(writer), 0);
    sc_checkpoint_writer_destroy(&writer);
    assert_no_sets();
    sc_buffer_unref(&buffer);
}

/* A limit on the size of files stands for the full disk: the same place, with EFBIG. The bytes of a shard's two tensors do
 * not fit below it, the small files of the set do. */
static void a_full_disk_fails_the_save_and_no_more(void **state)
{
    (void)state;
    struct rlimit before, small;
    char *path = NULL, *found = NULL;
    sc_manifest manifest;
    assert_int_equal(checkpoint_save(scratch_path, 1, tokenizer, NULL), SC_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = CHECKPOINT_ROWS * CHECKPOINT_COLUMNS * sizeof(float);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    sc_status status = checkpoint_save(scratch_path, 2, tokenizer, &path);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, SC_RESOURCE_EXHAUSTED);
    assert_message("stage-0.safetensors");
    assert_null(path);
    assert_int_equal(rmdir(scratch_file("checkpoints/step-00000002")), 0); /* nothing of it is left but its name */
    assert_int_equal(mkdir(scratch_file("checkpoints/step-00000002"), 0777), 0);
    assert_int_equal(sc_checkpoint_newest(scratch_path, &found, &manifest), SC_OK);
    assert_int_equal(manifest.step, 1);
    sc_manifest_clear(&manifest);
    free(found);
    assert_int_equal(checkpoint_save(scratch_path, 2, tokenizer, &path), SC_OK); /* the disk has room again */
    assert_string_equal(strrchr(path, '/'), "/step-00000002.2");
    free(path);
}

static void a_directory_that_cannot_be_is_named(void **state)
{
    (void)state;
    sc_checkpoint_writer *writer;
    assert_int_equal(checkpoint_begin(scratch_file("missing"), 1, tokenizer, &writer), SC_OK);
    assert_int_equal(checkpoint_wait(writer), SC_NOT_FOUND);
    assert_message("missing/checkpoints");
    assert_null(sc_checkpoint_writer_path(writer));
    sc_checkpoint_writer_destroy(&writer);
    scratch_write("checkpoints", "", 0);
    assert_int_equal(checkpoint_begin(scratch_path, 1, tokenizer, &writer), SC_OK);
    assert_int_equal(checkpoint_wait(writer), SC_NOT_FOUND);
    assert_message("checkpoints");
    sc_checkpoint_writer_destroy(&writer);
}

static void the_thread_takes_no_signals(void **state)
{
    (void)state;
    sc_checkpoint_writer *writer;
    sigset_t usr1, before;
    assert_int_equal(checkpoint_begin(scratch_path, 1, tokenizer, &writer), SC_OK);
    /* Blocked here too, a signal to the process stays pending: with a thread that took it, it would end the process. */
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, &before);
    kill(getpid(), SIGUSR1);
    assert_int_equal(sigtimedwait(&usr1, NULL, &(struct timespec){.tv_sec = 5}), SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    sc_checkpoint_writer_destroy(&writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_set_is_written_found_and_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_save_of_a_step_has_a_name_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(a_set_is_invisible_until_it_is_finished, setup, teardown),
        cmocka_unit_test_setup_teardown(destroying_a_finished_writer_waits_for_the_manifest, setup, teardown),
        cmocka_unit_test_setup_teardown(mistakes_of_the_caller_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_fails_the_save_and_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_that_cannot_be_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(the_thread_takes_no_signals, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
