#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/run/run_dir.h"

static char dir[] = "/tmp/test_run_dir-XXXXXX";

static sc_config *config_in(const char *run_dir)
{
    char set[256];
    snprintf(set, sizeof set, "run.dir=%s", run_dir);
    const char *sets[] = {set};
    static const char text[] = "data: {train: [x.txt]}\n";
    sc_config *config = NULL;
    assert_int_equal(sc_config_parse(text, strlen(text), "c.yaml", sets, 1, &config), SC_OK);
    return config;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void a_second_coordinator_is_refused_and_named_the_first(void **state)
{
    (void)state;
    char path[128], pid[32];
    snprintf(path, sizeof path, "%s/a/b", dir);
    sc_config *config = config_in(path);
    sc_run_dir *first = NULL, *second = NULL;
    assert_int_equal(sc_run_dir_open(config, SC_RUN_DIR_RESUME, &first, NULL), SC_OK);
    assert_int_equal(sc_run_dir_open(config, SC_RUN_DIR_RESUME, &second, NULL), SC_FAILED_PRECONDITION);
    snprintf(pid, sizeof pid, ":%d, since 20", (int)getpid());
    assert_non_null(strstr(sc_status_message(), pid));
    sc_run_dir_close(&first);
    assert_int_equal(sc_run_dir_open(config, SC_RUN_DIR_RESUME, &second, NULL), SC_OK);
    sc_run_dir_close(&second);
    sc_config_destroy(&config);
}

static void an_earlier_run_is_moved_aside_never_overwritten(void **state)
{
    (void)state;
    char path[128], file[256], text[16] = "";
    snprintf(path, sizeof path, "%s/again", dir);
    sc_config *config = config_in(path);
    sc_run_dir *run = NULL;
    const char *moved_to = NULL;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sc_run_dir_open(config, SC_RUN_DIR_RESUME, &run, &moved_to), SC_OK);
        assert_int_equal(i == 0, moved_to[0] == '\0');
        snprintf(text, sizeof text, "run %d\n", i);
        write_file(sc_run_dir_path(run, "events.jsonl"), text);
        sc_run_dir_close(&run);
    }
    for (int i = 0; i < 2; i++) {
        snprintf(file, sizeof file, "%s/earlier/%d/events.jsonl", path, i + 1);
        FILE *f = fopen(file, "r");
        assert_non_null(f);
        assert_non_null(fgets(text, sizeof text, f));
        fclose(f);
        assert_int_equal(text[4], '0' + i);
    }
    sc_config_destroy(&config);
}

static void a_place_that_cannot_be_is_an_error(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/file", dir);
    write_file(path, "x");
    sc_config *config = config_in(path);
    sc_run_dir *run = NULL;
    assert_int_equal(sc_run_dir_open(config, SC_RUN_DIR_RESUME, &run, NULL), SC_INVALID);
    assert_non_null(strstr(sc_status_message(), path));
    sc_config_destroy(&config);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_coordinator_is_refused_and_named_the_first),
        cmocka_unit_test(an_earlier_run_is_moved_aside_never_overwritten),
        cmocka_unit_test(a_place_that_cannot_be_is_an_error),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
