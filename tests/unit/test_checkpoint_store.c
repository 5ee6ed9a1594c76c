#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <sys/stat.h>

#include "proto/base/checksums.h"
#include "proto/base/log.h"
#include "tests/unit/checkpoint_fixture.h"
#include "tests/unit/scratch.h"

static sc_tokenizer *tokenizer;

static int setup(void **state)
{
    return scratch_setup(state) == 0 && sc_tokenizer_new_byte(&tokenizer) == SC_OK ? 0 : -1;
}

static int teardown(void **state)
{
    sc_log_init(NULL, false, STDERR_FILENO);
    sc_tokenizer_destroy(&tokenizer);
    return scratch_teardown(state);
}

static void assert_contains(const char *text, const char *piece)
{
    if (!strstr(text, piece))
        fail_msg("\"%s\" lacks \"%s\"", text, piece);
}

static void save(int64_t step)
{
    sc_status status = checkpoint_save(scratch_path, step, tokenizer, NULL);
    if (status != SC_OK)
        fail_msg("step %ld is not saved: %s", (long)step, sc_status_message());
}

/* The log goes to the scratch directory from here to the end of the test. */
static void log_to_file(void)
{
    FILE *file = fopen(scratch_file("log"), "ae");
    assert_non_null(file);
    assert_int_equal(sc_log_init("warn", false, fileno(file)), SC_OK); /* open to the end of the program */
}

static void flip(const char *name, long offset)
{
    FILE *file = fopen(scratch_file(name), "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, offset < 0 ? SEEK_END : SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
    fputc(byte ^ 0x10, file);
    assert_int_equal(fclose(file), 0);
}

/* The sets that are there, complete or not, as "step-00000001 step-00000002". */
static const char *sets(void)
{
    static char text[512];
    struct dirent **entries;
    int n = scandir(scratch_file("checkpoints"), &entries, NULL, alphasort);
    text[0] = '\0';
    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        if (entries[i]->d_name[0] != '.')
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", text[0] ? " " : "", entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return text;
}

/* The step that a run would resume from. */
static void assert_newest(int64_t step)
{
    char *path;
    sc_manifest manifest;
    sc_status status = sc_checkpoint_newest(scratch_path, &path, &manifest);
    if (status != SC_OK)
        fail_msg("nothing found: %s", sc_status_message());
    assert_int_equal(manifest.step, step);
    sc_manifest_clear(&manifest);
    free(path);
}

static void without_sets_there_is_nothing(void **state)
{
    (void)state;
    sc_checkpoint_list list;
    sc_manifest manifest;
    char *path;
    assert_int_equal(sc_checkpoint_list_of(scratch_path, &list), SC_OK);
    assert_int_equal(list.n, 0);
    sc_checkpoint_list_clear(&list);
    assert_int_equal(sc_checkpoint_newest(scratch_path, &path, &manifest), SC_NOT_FOUND);
    sc_checkpoint_prune(scratch_path, 2, 0);
    assert_int_equal(sc_checkpoint_check(scratch_file("nowhere"), true, &manifest), SC_NOT_FOUND);
}

static void only_sets_with_a_manifest_are_listed_newest_first(void **state)
{
    (void)state;
    sc_checkpoint_list list;
    save(7);
    save(100000000); /* more digits than the name has room for */
    save(20);
    save(20);
    save(30);
    assert_int_equal(unlink(scratch_file("checkpoints/step-00000030.5/manifest.json")), 0);
    static const char *const strangers[] = {"step-7", "step-00000007.1", "step-00000008~", "steps", "step-00000009x"};
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", scratch_file("checkpoints"), strangers[i]);
        assert_int_equal(mkdir(path, 0777), 0);
        snprintf(path + strlen(path), sizeof path - strlen(path), "/manifest.json");
        assert_int_equal(fclose(fopen(path, "w")), 0);
    }
    assert_int_equal(symlink("step-00000007", scratch_file("checkpoints/step-00000099")), 0);
    assert_int_equal(sc_checkpoint_list_of(scratch_path, &list), SC_OK);
    static const char *const expected[] = {"step-100000000", "step-00000020.4", "step-00000020.3", "step-00000007"};
    static const int64_t steps[] = {100000000, 20, 20, 7};
    assert_int_equal(list.n, 4);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(strrchr(list.paths[i], '/') + 1, expected[i]);
        assert_int_equal(list.steps[i], steps[i]);
    }
    sc_checkpoint_list_clear(&list);
    assert_newest(100000000);
}

/* What may happen to a set. Each names the file that check must name, and what it must say of it. */
static const struct {
    const char *name, *file, *message;
    long flip; /* at this byte, from the end if negative; 0: the file is removed; 1: cut by a byte; 2: a byte more */
} damages[] = {
    {"a bit of a tensor", "stage-1.safetensors", "content has changed", -5},
    {"a bit of a header", "stage-0.safetensors", "content has changed", 20},
    {"a shard that is missing", "stage-1.safetensors", "missing", 0},
    {"a shard that is cut", "stage-0.safetensors", "bytes", 1},
    {"a shard that has grown", "stage-0.safetensors", "bytes", 2},
    {"a bit of the description", "config.json", "content has changed", 10},
    {"a description that is missing", "config.json", "missing", 0},
    {"a bit of the tokenizer", "stagecoach_tokenizer.json", "content has changed", 10},
    {"a tokenizer that is missing", "stagecoach_tokenizer.json", "missing", 0},
    {"a bit of the manifest", "manifest.json", "manifest.json", 60},
    {"a manifest that is cut", "manifest.json", "manifest.json", 1},
    {"a manifest with something behind it", "manifest.json", "manifest.json", 2},
};

static void damage(const char *path, long how)
{
    struct stat info;
    if (how == 0)
        assert_int_equal(unlink(scratch_file(path)), 0);
    else if (how == 1 || how == 2) {
        assert_int_equal(stat(scratch_file(path), &info), 0);
        assert_int_equal(truncate(scratch_file(path), info.st_size + (how == 1 ? -2 : 2)), 0);
    } else
        flip(path, how);
}

static void each_kind_of_damage_is_found_and_named(void **state)
{
    (void)state;
    log_to_file();
    save(1);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        char set[64], file[128];
        sc_manifest manifest;
        int64_t step = 10 + (int64_t)i;
        save(step);
        snprintf(set, sizeof set, "checkpoints/step-%08ld", (long)step);
        snprintf(file, sizeof file, "%s/%s", set, damages[i].file);
        assert_int_equal(sc_checkpoint_check(scratch_file(set), true, &manifest), SC_OK);
        sc_manifest_clear(&manifest);
        damage(file, damages[i].flip);
        if (sc_checkpoint_check(scratch_file(set), true, &manifest) != SC_DATA_LOSS)
            fail_msg("%s is not found", damages[i].name);
        assert_null(manifest.shards);
        assert_contains(sc_status_message(), scratch_file(file));
        assert_contains(sc_status_message(), damages[i].message);

        /* the older set is used, and the log says so */
        assert_int_equal(truncate(scratch_file("log"), 0), 0);
        assert_newest(1);
        char *text = scratch_read("log");
        assert_contains(text, scratch_file(file));
        assert_contains(text, "passed over");
        free(text);
        assert_int_equal(rename(scratch_file(set), scratch_file(damages[i].name)), 0); /* out of the way of the next */
    }
}

static void sets_that_are_all_damaged_are_not_none(void **state)
{
    (void)state;
    char *path;
    sc_manifest manifest;
    log_to_file();
    save(1);
    save(2);
    flip("checkpoints/step-00000001/stage-0.safetensors", -1);
    flip("checkpoints/step-00000002/stage-0.safetensors", -1);
    assert_int_equal(sc_checkpoint_newest(scratch_path, &path, &manifest), SC_DATA_LOSS);
    assert_null(path);
    assert_contains(sc_status_message(), "none of the 2");
    assert_contains(sc_status_message(), "stage-0.safetensors");
}

static void a_newer_version_is_not_passed_over(void **state)
{
    (void)state;
    static const char newer[] = "{\"version\": 2}";
    char *path;
    sc_manifest manifest;
    save(1);
    save(2);
    save(3);
    save(4);
    scratch_write("checkpoints/step-00000002/manifest.json", newer, strlen(newer));
    assert_newest(4);
    sc_checkpoint_prune(scratch_path, 2, 0); /* nor is it taken for a leftover */
    assert_string_equal(sets(), "step-00000002 step-00000003 step-00000004");
    scratch_write("checkpoints/step-00000004/manifest.json", newer, strlen(newer));
    assert_int_equal(sc_checkpoint_newest(scratch_path, &path, &manifest), SC_FAILED_PRECONDITION);
    assert_contains(sc_status_message(), "version 2");
    assert_contains(sc_status_message(), "step-00000004");
}

static void without_hashing_sizes_are_still_checked(void **state)
{
    (void)state;
    sc_manifest manifest;
    save(1);
    flip("checkpoints/step-00000001/stage-0.safetensors", -1);
    assert_int_equal(sc_checkpoint_check(scratch_file("checkpoints/step-00000001"), false, &manifest), SC_OK);
    sc_manifest_clear(&manifest);
    damage("checkpoints/step-00000001/stage-0.safetensors", 1);
    assert_int_equal(sc_checkpoint_check(scratch_file("checkpoints/step-00000001"), false, &manifest), SC_DATA_LOSS);
}

static void pruning_keeps_the_newest_and_removes_leftovers(void **state)
{
    (void)state;
    for (int step = 1; step <= 5; step++)
        save(step);
    save(5);
    assert_int_equal(unlink(scratch_file("checkpoints/step-00000002/manifest.json")), 0); /* begun, never finished */
    assert_int_equal(mkdir(scratch_file("checkpoints/step-00000006"), 0777), 0);          /* just begun */
    assert_int_equal(mkdir(scratch_file("checkpoints/mine"), 0777), 0);
    sc_checkpoint_prune(scratch_path, 3, 0);
    assert_string_equal(sets(), "mine step-00000004 step-00000005 step-00000005.6 step-00000006");
    sc_checkpoint_prune(scratch_path, 3, 0);
    assert_string_equal(sets(), "mine step-00000004 step-00000005 step-00000005.6 step-00000006");
    sc_checkpoint_prune(scratch_path, 0, 0); /* two are always kept */
    assert_string_equal(sets(), "mine step-00000005 step-00000005.6 step-00000006");
    assert_newest(5);
}

static void pruning_goes_by_the_order_of_saving(void **state)
{
    (void)state;
    log_to_file();
    save(50);
    save(90);
    save(100);
    /* two bad disk blocks later the run resumes from 50 */
    flip("checkpoints/step-00000090/stage-0.safetensors", -1);
    flip("checkpoints/step-00000100/stage-0.safetensors", -1);
    assert_newest(50);
    save(60);
    sc_checkpoint_prune(scratch_path, 2, 0);
    assert_string_equal(sets(), "step-00000060.4 step-00000100");
    assert_newest(60);
    save(70);
    sc_checkpoint_prune(scratch_path, 2, 0);
    assert_string_equal(sets(),
                        "step-00000060.4 step-00000070.5 step-00000100"); /* the newest step stays in any case */
    save(100);
    sc_checkpoint_prune(scratch_path, 2, 0);
    assert_string_equal(sets(), "step-00000070.5 step-00000100.6");
}

static void what_is_pinned_stays(void **state)
{
    (void)state;
    for (int64_t step = 10; step <= 40; step += 10)
        save(step);
    sc_checkpoint_prune(scratch_path, 2, 10);
    assert_string_equal(sets(), "step-00000010 step-00000030 step-00000040");
    save(50);
    sc_checkpoint_prune(scratch_path, 2, 40); /* another one is */
    assert_string_equal(sets(), "step-00000040 step-00000050");
}

static void a_damaged_set_neither_counts_nor_stays(void **state)
{
    (void)state;
    save(1);
    save(2);
    save(3);
    damage("checkpoints/step-00000002/stage-0.safetensors", 1);
    sc_checkpoint_prune(scratch_path, 2, 0);
    assert_string_equal(sets(), "step-00000001 step-00000003");
    damage("checkpoints/step-00000003/manifest.json", 1);
    sc_checkpoint_prune(scratch_path, 2, 0); /* newer than all that is sound: left for a person to look at */
    assert_string_equal(sets(), "step-00000001 step-00000003");
    damage("checkpoints/step-00000001/manifest.json", 1);
    sc_checkpoint_prune(scratch_path, 2, 0);
    assert_string_equal(sets(), "step-00000001 step-00000003");
}

/* Steps are saved, fail, are gone back to; a set whose name was there before is a mistake. */
static void no_name_is_ever_used_again(void **state)
{
    (void)state;
    char used[64][32];
    int n_used = 0;
    log_to_file();
    for (int round = 0; round < 48; round++) {
        char *path = NULL, name[64];
        /* three steps forth, then one that is given up, after that one that goes back by two */
        int step = 10 + 10 * (round / 5) + 10 * (round % 5 < 3 ? round % 5 : 3 - round % 5);
        if (round % 5 == 3) {
            sc_checkpoint_writer *writer;
            assert_int_equal(checkpoint_begin(scratch_path, step, tokenizer, &writer), SC_OK);
            while (!sc_checkpoint_writer_path(writer))
                nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
            path = strdup(sc_checkpoint_writer_path(writer));
            sc_checkpoint_writer_destroy(&writer);
        } else {
            assert_int_equal(checkpoint_save(scratch_path, step, tokenizer, &path), SC_OK);
        }
        snprintf(name, sizeof name, "%s", strrchr(path, '/') + 1);
        for (int i = 0; i < n_used; i++)
            if (strcmp(used[i], name) == 0)
                fail_msg("round %d uses %s of round %d again", round, name, i);
        snprintf(used[n_used++], sizeof used[0], "%.31s", name);
        if (round % 7 == 6) {
            strcat(name, "/stage-0.safetensors"); /* damage: the run will go back behind it */
            char file[128];
            snprintf(file, sizeof file, "checkpoints/%s", name);
            if (access(scratch_file(file), F_OK) == 0)
                damage(file, 1);
        }
        sc_checkpoint_prune(scratch_path, 2, 0);
        free(path);
    }
}

static void a_list_of_checksums_finds_what_changed(void **state)
{
    (void)state;
    static const char *const names[] = {"a.bin", "b.json"};
    int n;
    uint64_t bytes;
    scratch_write("a.bin", "12345", 5);
    scratch_write("b.json", "", 0);
    assert_int_equal(sc_checksums_check(scratch_path, &n, &bytes), SC_NOT_FOUND);
    assert_int_equal(sc_checksums_write(scratch_path, names, 2), SC_OK);
    char *text = scratch_read("checksums.xxh128");
    /* of `printf 12345 | xxh128sum` and `xxh128sum /dev/null`, xxhsum 0.8.1 */
    assert_string_equal(text, "4af3da69f61e14cf26f4c14b6b6bfdb4  a.bin\n99aa06d3014798d86001c324468d497f  b.json\n");
    free(text);
    assert_int_equal(sc_checksums_check(scratch_path, &n, &bytes), SC_OK);
    assert_int_equal(n, 2);
    assert_int_equal(bytes, 5);
    flip("a.bin", 2);
    assert_int_equal(sc_checksums_check(scratch_path, &n, &bytes), SC_DATA_LOSS);
    assert_contains(sc_status_message(), scratch_file("a.bin"));
    assert_int_equal(unlink(scratch_file("a.bin")), 0);
    assert_int_equal(sc_checksums_check(scratch_path, &n, &bytes), SC_DATA_LOSS);
    assert_contains(sc_status_message(), "missing");
    static const char *const bad[] = {"", "x", "x\n", "99aa06d3014798d86001c324468d497f  ../b.json\n",
                                      "99aa06d3014798d86001c324468d497f  b.json"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        scratch_write("checksums.xxh128", bad[i], strlen(bad[i]));
        assert_int_equal(sc_checksums_check(scratch_path, &n, &bytes), SC_DATA_LOSS);
        assert_contains(sc_status_message(), "checksums.xxh128");
    }
    assert_int_equal(sc_checksums_remove(scratch_path), SC_OK);
    assert_int_equal(sc_checksums_remove(scratch_path), SC_OK);
    assert_int_equal(sc_checksums_check(scratch_path, &n, &bytes), SC_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_sets_there_is_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(only_sets_with_a_manifest_are_listed_newest_first, setup, teardown),
        cmocka_unit_test_setup_teardown(each_kind_of_damage_is_found_and_named, setup, teardown),
        cmocka_unit_test_setup_teardown(sets_that_are_all_damaged_are_not_none, setup, teardown),
        cmocka_unit_test_setup_teardown(a_newer_version_is_not_passed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(without_hashing_sizes_are_still_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(pruning_keeps_the_newest_and_removes_leftovers, setup, teardown),
        cmocka_unit_test_setup_teardown(pruning_goes_by_the_order_of_saving, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_pinned_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_set_neither_counts_nor_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(no_name_is_ever_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_list_of_checksums_finds_what_changed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
