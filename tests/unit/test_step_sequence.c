#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/run/step_sequence.h"

/* "1 2 e2.0 e2.1 3": the whole sequence as text. */
static void expect(const sc_step_sequence *sequence, const char *expected)
{
    char text[512] = "";
    sc_step_item item;
    uint64_t number = 7;
    for (bool more = sc_step_sequence_first(sequence, &item); more; more = sc_step_sequence_next(sequence, &item)) {
        assert_int_equal(item.sequence, number++);
        size_t used = strlen(text);
        if (item.eval)
            snprintf(text + used, sizeof text - used, "%se%d.%d", used ? " " : "", (int)item.step, item.run);
        else
            snprintf(text + used, sizeof text - used, "%s%d", used ? " " : "", (int)item.step);
    }
    assert_string_equal(text, expected);
}

static void evaluations_come_after_their_steps_and_at_the_end(void **state)
{
    (void)state;
    expect(&(sc_step_sequence){1, 3, 0, 0, 4, 0, 7}, "1 2 3");
    expect(&(sc_step_sequence){1, 3, 5, 0, 0, 0, 7}, "1 2 3");
    expect(&(sc_step_sequence){1, 5, 2, 0, 2, 0, 7}, "1 2 e2.0 e2.1 3 4 e4.0 e4.1 5 e5.0 e5.1");
    expect(&(sc_step_sequence){1, 7, 0, 3, 1, 0, 7}, "1 2 3 e3.0 4 5 6 e6.0 7 e7.0"); /* by epochs */
    expect(&(sc_step_sequence){1, 4, 2, 3, 1, 0, 7}, "1 2 e2.0 3 e3.0 4 e4.0");       /* and steps, too */
    expect(&(sc_step_sequence){1, 4, 2, 0, 1, 0, 7}, "1 2 e2.0 3 4 e4.0");
    expect(&(sc_step_sequence){4, 5, 10, 0, 1, 0, 7}, "4 5 e5.0");
    expect(&(sc_step_sequence){5, 6, 4, 0, 2, 0, 7}, "e4.0 e4.1 5 6 e6.0 e6.1");
    expect(&(sc_step_sequence){6, 5, 5, 0, 1, 0, 7}, "e5.0");
    expect(&(sc_step_sequence){6, 5, 0, 0, 1, 0, 7}, "");
    expect(&(sc_step_sequence){5, 6, 4, 0, 2, 4, 7}, "5 6 e6.0 e6.1"); /* what is done is not done again */
    expect(&(sc_step_sequence){5, 5, 4, 0, 1, 2, 7}, "e4.0 5 e5.0");
    expect(&(sc_step_sequence){6, 5, 5, 0, 1, 5, 7}, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(evaluations_come_after_their_steps_and_at_the_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
