/* `stagecoach verify` on sets of checkpoints, with its own output read back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/cli/cli.h"
#include "tests/unit/checkpoint_fixture.h"
#include "tests/unit/scratch.h"

static int setup(void **state)
{
    sc_tokenizer *tokenizer;
    if (scratch_setup(state) != 0 || sc_tokenizer_new_byte(&tokenizer) != SC_OK)
        return -1;
    bool ok = true;
    for (int step = 1; step <= 3; step++)
        ok = ok && checkpoint_save(scratch_path, step, tokenizer, NULL) == SC_OK;
    sc_tokenizer_destroy(&tokenizer);
    return ok ? 0 : -1;
}

/* Runs the command; *text is what it printed, owned. */
static int verify(char **text)
{
    char *argv[] = {"stagecoach verify", scratch_path, NULL};
    fflush(stdout);
    FILE *file = fopen(scratch_file("out"), "we");
    int before = dup(STDOUT_FILENO);
    assert_true(file && before >= 0);
    dup2(fileno(file), STDOUT_FILENO);
    fclose(file);
    int code = sc_cli_verify(2, argv);
    dup2(before, STDOUT_FILENO);
    close(before);
    *text = scratch_read("out");
    return code;
}

static void every_set_has_its_line(void **state)
{
    (void)state;
    char *text;
    assert_int_equal(verify(&text), SC_EXIT_OK);
    assert_string_equal(text, "step-00000003  ok  2 shards, 0.0 MB\n"
                              "step-00000002  ok  2 shards, 0.0 MB\n"
                              "step-00000001  ok  2 shards, 0.0 MB\n");
    free(text);
}

static void the_damaged_file_is_named(void **state)
{
    (void)state;
    static const char newer[] = "{\"version\": 2}";
    char *text;
    assert_int_equal(unlink(scratch_file("checkpoints/step-00000002/stage-1.safetensors")), 0);
    assert_int_equal(unlink(scratch_file("checkpoints/step-00000001/manifest.json")), 0);
    scratch_write("checkpoints/step-00000003/manifest.json", newer, strlen(newer));
    assert_int_equal(verify(&text), SC_EXIT_FAILURE);
    assert_non_null(strstr(text, "step-00000003  NOT READABLE: manifest.json: a manifest of version 2;"));
    assert_non_null(strstr(text, "step-00000002  DAMAGED: stage-1.safetensors: is missing\n"));
    assert_null(strstr(text, "step-00000001")); /* never finished: nothing that anybody would read */
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_set_has_its_line, setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(the_damaged_file_is_named, setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
