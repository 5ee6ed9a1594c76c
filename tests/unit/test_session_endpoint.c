#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "worker/session_endpoint.h"

static void knows_an_endpoint_when_it_sees_one(void **state)
{
    (void)state;
    static const char *const good[] = {"tcp://127.0.0.1:1", "tcp://gpu-1.lan:65535", "tcp://[::1]:5555", "ipc://x",
                                       "ipc:///run/stagecoach"};
    static const char *const bad[] = {"",
                                      "tcp://",
                                      "tcp://host",
                                      "tcp://host:",
                                      "tcp://host:0",
                                      "tcp://host:65536",
                                      "tcp://host:12x",
                                      "tcp://host:+1",
                                      "tcp://:80",
                                      "tcp://::1:80",
                                      "host:80",
                                      "ipc://",
                                      "http://host:80",
                                      "tcp://host:*"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (sc_session_endpoint_check(good[i]) != SC_OK)
            fail_msg("%s", sc_status_message());
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (sc_session_endpoint_check(bad[i]) != SC_INVALID)
            fail_msg("'%s' was taken", bad[i]);
    char path[200] = "ipc://";
    memset(path + 6, 'p', 150); /* sun_path has 108 bytes */
    assert_int_equal(sc_session_endpoint_check(path), SC_INVALID);
}

static void expect_listen(const char *coordinator, const char *expected)
{
    char listen[SC_ENDPOINT_BYTES];
    assert_int_equal(sc_session_endpoint_listen(coordinator, listen), SC_OK);
    assert_string_equal(listen, expected);
}

static void listens_no_wider_than_the_coordinator(void **state)
{
    (void)state;
    char beside[64];
    snprintf(beside, sizeof beside, "ipc:///run/c.w%d", (int)getpid());
    expect_listen("tcp://127.0.0.1:5555", "tcp://127.0.0.1:*");
    expect_listen("tcp://127.8.0.1:5555", "tcp://127.0.0.1:*");
    expect_listen("tcp://localhost:5555", "tcp://127.0.0.1:*");
    expect_listen("tcp://[::ffff:127.0.0.1]:5555", "tcp://127.0.0.1:*");
    expect_listen("tcp://[::1]:5555", "tcp://[::1]:*");
    expect_listen("ipc:///run/c", beside);
    expect_listen("tcp://10.0.0.7:5555", "tcp://0.0.0.0:*");
    expect_listen("tcp://127.example.com:5555", "tcp://0.0.0.0:*"); /* a name, not an address */
    expect_listen("tcp://[fe80::1]:5555", "tcp://[::]:*");
    char listen[SC_ENDPOINT_BYTES];
    assert_int_equal(sc_session_endpoint_listen("tcp://nowhere", listen), SC_INVALID);
}

static void expect_advertise(const char *coordinator, const char *bound, const char *expected)
{
    char advertised[SC_ENDPOINT_BYTES];
    if (sc_session_endpoint_advertise(coordinator, bound, advertised) != SC_OK)
        fail_msg("%s", sc_status_message());
    assert_string_equal(advertised, expected);
}

static void tells_an_address_that_others_can_reach(void **state)
{
    (void)state;
    expect_advertise("tcp://127.0.0.1:5555", "tcp://127.0.0.1:40000", "tcp://127.0.0.1:40000");
    expect_advertise("tcp://127.0.0.1:5555", "tcp://10.1.2.3:40000", "tcp://10.1.2.3:40000");
    expect_advertise("ipc:///run/c", "ipc:///run/c.w7", "ipc:///run/c.w7");
    /* All interfaces: that of the route, which for loopback is loopback. */
    expect_advertise("tcp://127.0.0.1:5555", "tcp://0.0.0.0:40000", "tcp://127.0.0.1:40000");
    expect_advertise("tcp://127.0.0.1:5555", "tcp://[::]:40000", "tcp://127.0.0.1:40000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_an_endpoint_when_it_sees_one),
        cmocka_unit_test(listens_no_wider_than_the_coordinator),
        cmocka_unit_test(tells_an_address_that_others_can_reach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
