/* Options as a table: each kind, defaults that stay, and how a mistake is told. */
#include "coordinator/cli/cli.h"
#include "coordinator/cli/cli_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct values {
    bool flag;
    const char *text;
    int integer, word;
    int64_t wide;
    double number;
} values;

/* Reads the arguments behind the command's name; what is said on standard error comes back in `said`. */
static int read_all(values *v, char said[512], int n, const char *const *arguments)
{
    static const char *const words[] = {"red", "green", "blue", NULL};
    const sc_cli_option options[] = {
        {.name = "flag", .flag = &v->flag},
        {.name = "text", .text = &v->text},
        {.name = "integer", .integer = &v->integer, .low = 1, .high = 9},
        {.name = "wide", .wide = &v->wide, .low = 0, .high = INT64_MAX},
        {.name = "number", .number = &v->number, .least = 0, .most = 1},
        {.name = "word", .word = &v->word, .words = words},
        {0},
    };
    char *argv[16] = {"stagecoach test"};
    for (int i = 0; i < n; i++)
        argv[i + 1] = (char *)(uintptr_t)arguments[i];
    FILE *capture = tmpfile();
    assert_non_null(capture);
    fflush(stderr);
    int kept = dup(STDERR_FILENO);
    dup2(fileno(capture), STDERR_FILENO);
    optind = 0;
    const int code = sc_cli_read_options(n + 1, argv, options, "help\n");
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    rewind(capture);
    said[fread(said, 1, 511, capture)] = '\0';
    fclose(capture);
    return code;
}

#define READ(v, said, ...)                                                                                             \
    read_all(v, said, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *[]){__VA_ARGS__})

static void each_kind_goes_to_its_place(void **state)
{
    (void)state;
    values v = {.integer = 5};
    char said[512];
    assert_int_equal(READ(&v, said, "--flag", "--text", "a b", "--integer=9", "here", "--wide", "9223372036854775807",
                          "--number", "0.25", "--word", "blue"),
                     -1);
    assert_string_equal(said, "");
    assert_true(v.flag);
    assert_string_equal(v.text, "a b");
    assert_int_equal(v.integer, 9);
    assert_true(v.wide == INT64_MAX);
    assert_true(v.number == 0.25);
    assert_int_equal(v.word, 2);
    assert_int_equal(optind, 11); /* "here" stands behind the options now */
}

static void what_is_not_given_stays(void **state)
{
    (void)state;
    values v = {.integer = 5, .word = 1, .number = 0.5};
    char said[512];
    assert_int_equal(READ(&v, said, "--flag"), -1);
    assert_int_equal(v.integer, 5);
    assert_int_equal(v.word, 1);
    assert_true(v.number == 0.5);
    assert_null(v.text);
}

static void mistakes_name_option_value_and_range(void **state)
{
    (void)state;
    values v = {0};
    char said[512];
    assert_int_equal(READ(&v, said, "--integer", "10"), SC_EXIT_USAGE);
    assert_string_equal(said, "stagecoach test: option '--integer' wants an integer from 1 to 9, not '10'\n"
                              "Try 'stagecoach test --help'.\n");
    assert_int_equal(READ(&v, said, "--number", "nan"), SC_EXIT_USAGE);
    assert_non_null(strstr(said, "option '--number' wants a number from 0 to 1, not 'nan'"));
    assert_int_equal(READ(&v, said, "--word", "grey"), SC_EXIT_USAGE);
    assert_non_null(strstr(said, "option '--word' wants red, green or blue, not 'grey'"));
    assert_int_equal(READ(&v, said, "--nothing"), SC_EXIT_USAGE);
    assert_non_null(strstr(said, "Try 'stagecoach test --help'."));
    assert_int_equal(READ(&v, said, "--text"), SC_EXIT_USAGE);
}

static void help_is_always_there(void **state)
{
    (void)state;
    values v = {0};
    char said[512];
    assert_int_equal(READ(&v, said, "-h"), SC_EXIT_OK);
    assert_int_equal(READ(&v, said, "--help"), SC_EXIT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_goes_to_its_place),
        cmocka_unit_test(what_is_not_given_stays),
        cmocka_unit_test(mistakes_name_option_value_and_range),
        cmocka_unit_test(help_is_always_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
