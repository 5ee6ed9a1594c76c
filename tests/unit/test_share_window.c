/* The sliding window: when it raises an alarm, and that it does so once a crossing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>

#include "coordinator/report/share_window.h"

/* Adds x (with the label) and . (without); the places, from 1, at which there was an alarm, in a text such as "4 9". */
static const char *alarms_of(sc_share_window *self, const char *stream, char *text)
{
    char *end = text;
    *end = '\0';
    for (int i = 0; stream[i]; i++)
        if (sc_share_window_add(self, stream[i] == 'x'))
            end += sprintf(end, "%s%d", end > text ? " " : "", i + 1);
    return text;
}

static void assert_alarms(size_t size, double above, double below, const char *stream, const char *wanted)
{
    sc_share_window window;
    char text[256];
    assert_int_equal(sc_share_window_init(&window, size, above, below), SC_OK);
    assert_string_equal(alarms_of(&window, stream, text), wanted);
    sc_share_window_clear(&window);
}

static void test_crossings(void **state)
{
    (void)state;
    assert_alarms(4, 0.5, 0.5, "....xx....", "");             /* as much as the threshold is not more */
    assert_alarms(4, 0.5, 0.5, "xxx", "");                    /* the window is not full yet */
    assert_alarms(4, 0.5, 0.5, "xxxx", "4");                  /* it is, and begins above */
    assert_alarms(4, 0.5, 0.5, "....xxxxxxxx", "7");          /* once, however long it stays */
    assert_alarms(4, 0.5, 0.5, "..xxx.x.xx..xxx", "5 10 15"); /* each crossing: 3/4, 2/4, 3/4, 2/4, 3/4 */
    assert_alarms(4, 0.5, 0.25, "..xxx.x.xx..xxx", "5");      /* it never falls to a quarter: one alarm */
    assert_alarms(4, 0.5, 0.25, "xxxx....xxx", "4 11");
    assert_alarms(1, 0, 0, "x.xx.x", "1 3 6");
    assert_alarms(2, 0.99, 0.9, "xxx.xx", "2 6");
}

static void test_share(void **state)
{
    (void)state;
    sc_share_window window;
    assert_int_equal(sc_share_window_init(&window, 3, 0.5, 0.5), SC_OK);
    assert_true(sc_share_window_share(&window) == 0);
    for (int i = 0; i < 100; i++)
        sc_share_window_add(&window, i % 3 == 0);
    assert_true(fabs(sc_share_window_share(&window) - 1.0 / 3) < 1e-15);
    assert_int_equal(window.n, 3);
    sc_share_window_clear(&window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_crossings), cmocka_unit_test(test_share)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
