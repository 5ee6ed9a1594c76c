#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/message_log.h"

enum { BYTES = 100 };

static void put(sc_message_log *log, uint64_t sequence, uint32_t microbatch)
{
    sc_tensor_message message = {
        .name = {.generation = 4, .step = sequence, .microbatch = microbatch, .stage = 1, .kind = 3},
        .dtype = SC_U8,
        .shape = SC_SHAPE(BYTES),
    };
    assert_int_equal(sc_buffer_new(BYTES, &message.payload), SC_OK);
    sc_message_log_put(log, &message);
    sc_tensor_message_clear(&message);
}

static bool has(const sc_message_log *log, uint64_t sequence, uint32_t microbatch)
{
    sc_tensor_name name = {.generation = 9, .step = sequence, .microbatch = microbatch, .stage = 1, .kind = 3};
    const sc_tensor_message *message = sc_message_log_find(log, &name);
    assert_true(!message || (sc_buffer_bytes(message->payload) == BYTES && message->dtype == SC_U8));
    return message != NULL;
}

static void it_answers_a_later_generation(void **state)
{
    (void)state;
    sc_message_log log;
    sc_message_log_init(&log);
    put(&log, 1, 0);
    assert_false(has(&log, 1, 0)); /* no budget, no log */
    assert_int_equal(sc_message_log_from(&log), 0);
    sc_message_log_set_budget(&log, 100 * BYTES);
    for (uint64_t sequence = 3; sequence <= 6; sequence++)
        for (uint32_t m = 0; m < 4; m++)
            put(&log, sequence, m);
    assert_int_equal(sc_message_log_from(&log), 3);
    assert_true(has(&log, 3, 0) && has(&log, 6, 3) && !has(&log, 2, 0) && !has(&log, 3, 4));
    put(&log, 6, 3); /* the same once more */
    assert_int_equal(log.bytes, 16 * BYTES);
    sc_message_log_release_before(&log, 5);
    assert_true(!has(&log, 4, 3) && has(&log, 5, 0));
    assert_int_equal(sc_message_log_from(&log), 5);
    sc_message_log_drop_from(&log, 6); /* it was never decided */
    assert_true(has(&log, 5, 3) && !has(&log, 6, 0));
    assert_int_equal(sc_message_log_from(&log), 5);
    put(&log, 7, 0); /* done again, under another number */
    assert_true(has(&log, 7, 0));
    sc_message_log_clear(&log);
    assert_int_equal(sc_message_log_from(&log), 0);
    assert_int_equal(log.bytes, 0);
    put(&log, 2, 0);
    assert_int_equal(sc_message_log_from(&log), 2);
    sc_message_log_clear(&log);
}

static void whole_steps_leave_when_the_budget_is_used_up(void **state)
{
    (void)state;
    sc_message_log log;
    sc_message_log_init(&log);
    sc_message_log_set_budget(&log, 10 * BYTES);
    for (uint64_t sequence = 1; sequence <= 3; sequence++)
        for (uint32_t m = 0; m < 4; m++)
            put(&log, sequence, m);
    assert_int_equal(log.bytes, 8 * BYTES);
    assert_true(!has(&log, 1, 3) && has(&log, 2, 0));
    assert_int_equal(sc_message_log_from(&log), 2);
    for (uint32_t m = 0; m < 12; m++) /* one step is too much: it is of no use in part */
        put(&log, 4, m);
    assert_false(has(&log, 4, 11));
    assert_int_equal(log.bytes, 0);
    assert_int_equal(sc_message_log_from(&log), 5);
    put(&log, 5, 0);
    assert_true(has(&log, 5, 0));
    sc_message_log_set_budget(&log, 0);
    assert_int_equal(log.bytes, 0);
    assert_int_equal(sc_message_log_from(&log), 0);
    sc_message_log_clear(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_answers_a_later_generation),
        cmocka_unit_test(whole_steps_leave_when_the_budget_is_used_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
