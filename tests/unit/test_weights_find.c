/* Which weights of a run are meant: final ones, a checkpoint, by step or the newest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <limits.h>
#include <sys/stat.h>

#include "coordinator/run/weights.h"
#include "proto/base/safetensors.h"
#include "tests/unit/scratch.h"

static void write_final(const char *dir, const char *step)
{
    char path[128];
    sc_safetensors_writer *out;
    mkdir(scratch_file(dir), 0777);
    snprintf(path, sizeof path, "%s/config.json", dir);
    scratch_write(path, "{}", 2);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    assert_int_equal(sc_safetensors_writer_new(scratch_file(path), &out), SC_OK);
    if (step)
        assert_int_equal(sc_safetensors_writer_metadata(out, "step", step), SC_OK);
    assert_int_equal(sc_safetensors_writer_commit(out), SC_OK);
    sc_safetensors_writer_destroy(&out);
}

static void write_set(const char *name, bool complete)
{
    char path[128];
    mkdir(scratch_file("checkpoints"), 0777);
    snprintf(path, sizeof path, "checkpoints/%s", name);
    mkdir(scratch_file(path), 0777);
    snprintf(path, sizeof path, "checkpoints/%s/manifest.json", name);
    if (complete)
        scratch_write(path, "{}", 2);
}

/* The end of the directory that is found; "" for none. */
static const char *found(int64_t wanted, int64_t expected_step)
{
    static char dir[PATH_MAX];
    int64_t step;
    sc_status status = sc_weights_find(scratch_path, wanted, dir, &step);
    if (status == SC_NOT_FOUND)
        return "";
    assert_int_equal(status, SC_OK);
    assert_int_equal(step, expected_step);
    assert_int_equal(strncmp(dir, scratch_path, strlen(scratch_path)), 0);
    return dir + strlen(scratch_path);
}

static void a_runs_weights_are_found_by_step(void **state)
{
    (void)state;
    assert_string_equal(found(-1, 0), "");
    assert_non_null(strstr(sc_status_message(), "neither config.json nor final/config.json nor checkpoints"));
    write_set("step-00000002", true);
    write_set("step-00000010", true);
    write_set("step-00000011", false); /* was being written */
    assert_string_equal(found(-1, 10), "/checkpoints/step-00000010");
    assert_string_equal(found(2, 2), "/checkpoints/step-00000002");
    assert_string_equal(found(11, 0), "");
    assert_non_null(strstr(sc_status_message(), "no weights of step 11; it has those of 2, 10"));

    write_final("final", "10");
    assert_string_equal(found(-1, 10), "/final"); /* before a checkpoint of the same step */
    assert_string_equal(found(10, 10), "/final");
    assert_string_equal(found(2, 2), "/checkpoints/step-00000002");
    write_set("step-00000020", true); /* the run has gone on since */
    assert_string_equal(found(-1, 20), "/checkpoints/step-00000020");
    assert_string_equal(found(10, 10), "/final");
    assert_string_equal(found(3, 0), "");
    assert_non_null(strstr(sc_status_message(), "it has those of 2, 10, 20"));
}

static void a_directory_of_weights_is_itself(void **state)
{
    (void)state;
    write_final(".", NULL);
    char dir[PATH_MAX];
    int64_t step;
    assert_int_equal(sc_weights_find(scratch_path, -1, dir, &step), SC_OK);
    assert_string_equal(dir, scratch_path);
    assert_int_equal(step, -1);
    assert_int_equal(sc_weights_find(scratch_path, 0, dir, &step), SC_NOT_FOUND);
    assert_non_null(strstr(sc_status_message(), "none of a known step"));
    write_final(".", "x5");
    assert_int_equal(sc_weights_find(scratch_path, -1, dir, &step), SC_OK);
    assert_int_equal(step, -1);
    scratch_write("model.safetensors", "broken", 6);
    assert_int_equal(sc_weights_find(scratch_path, -1, dir, &step), SC_DATA_LOSS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_runs_weights_are_found_by_step, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(a_directory_of_weights_is_itself, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
