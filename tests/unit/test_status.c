#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "proto/base/log.h"
#include "proto/base/status.h"

static void names_are_those_of_grpc(void **state)
{
    (void)state;
    assert_string_equal(sc_status_name(SC_INVALID), "INVALID_ARGUMENT");
    assert_string_equal(sc_status_name(SC_UNAUTHENTICATED), "UNAUTHENTICATED");
    assert_int_equal(sc_status_from_number(14), SC_UNAVAILABLE);
    assert_int_equal(sc_status_from_number(17), SC_UNKNOWN);
}

static sc_status inner(void)
{
    return SC_FAIL(SC_NOT_FOUND, "no file '%s'", "x");
}

static sc_status outer(void)
{
    SC_TRY(inner());
    return SC_OK;
}

static void message_survives_forwarding_and_can_be_extended(void **state)
{
    (void)state;
    assert_int_equal(outer(), SC_NOT_FOUND);
    assert_string_equal(sc_status_message(), "no file 'x'");
    assert_int_equal(SC_FAIL(SC_INVALID, "line 3: %s", sc_status_message()), SC_INVALID);
    assert_string_equal(sc_status_message(), "line 3: no file 'x'");
}

static void a_long_message_is_cut_between_characters(void **state)
{
    (void)state;
    char text[2001];
    for (size_t i = 0; i < 2000; i += 2)
        text[i] = '\xC3', text[i + 1] = '\xA9'; /* e acute */
    text[2000] = '\0';
    (void)SC_FAIL(SC_INVALID, "%s", text);
    size_t length = strlen(sc_status_message());
    assert_true(length >= 1020 && length % 2 == 0);
}

static void log_specification_is_checked(void **state)
{
    (void)state;
    assert_int_equal(sc_log_init("warn,rpc=debug", false, 2), SC_OK);
    assert_true(sc_log_enabled(SC_LOG_DEBUG, "rpc"));
    assert_false(sc_log_enabled(SC_LOG_INFO, "other"));
    assert_int_equal(sc_log_init("loud", false, 2), SC_INVALID);
    assert_int_equal(sc_log_init("", false, 2), SC_OK);
}

static void a_limited_line_comes_once_in_a_period(void **state)
{
    (void)state;
    sc_log_limit limit = {0};
    char more[64] = "?";
    assert_true(sc_log_limit_pass(&limit, 0, more, sizeof more)); /* also at a clock's very beginning */
    assert_string_equal(more, "");
    for (uint64_t ms = 0; ms < SC_LOG_PERIOD_MS; ms += SC_LOG_PERIOD_MS / 10)
        assert_false(sc_log_limit_pass(&limit, ms, more, sizeof more));
    assert_true(sc_log_limit_pass(&limit, SC_LOG_PERIOD_MS, more, sizeof more));
    assert_string_equal(more, " (and 10 more since the last line)");
    assert_true(sc_log_limit_pass(&limit, 3 * SC_LOG_PERIOD_MS, more, sizeof more));
    assert_string_equal(more, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_those_of_grpc),
        cmocka_unit_test(message_survives_forwarding_and_can_be_extended),
        cmocka_unit_test(a_long_message_is_cut_between_characters),
        cmocka_unit_test(log_specification_is_checked),
        cmocka_unit_test(a_limited_line_comes_once_in_a_period),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
