#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <string.h>

#include "worker/mailbox.h"

static const sc_mailbox_limits room = {.max_messages = 8, .max_bytes = 1024};

static sc_tensor_message make(uint64_t generation, uint64_t step, uint32_t microbatch, char fill)
{
    sc_tensor_message message = {
        .name = {.generation = generation, .step = step, .microbatch = microbatch, .stage = 1, .kind = 3},
        .dtype = SC_U8,
        .shape = SC_SHAPE(64),
    };
    assert_int_equal(sc_buffer_new(64, &message.payload), SC_OK);
    memset(sc_buffer_data(message.payload), fill, 64);
    return message;
}

static sc_mailbox *open_box(uint64_t generation, sc_mailbox_limits limits, uint64_t *epoch)
{
    sc_mailbox *box;
    assert_int_equal(sc_mailbox_new(&box), SC_OK);
    assert_int_equal(sc_mailbox_open(box, generation, limits, epoch), SC_OK);
    return box;
}

static void gives_out_by_name_whatever_the_order(void **state)
{
    (void)state;
    uint64_t epoch;
    sc_mailbox *box = open_box(7, room, &epoch);
    for (uint32_t m = 0; m < 4; m++) {
        sc_tensor_message message = make(7, 1, m, (char)('a' + m));
        assert_int_equal(sc_mailbox_put(box, epoch, &message), SC_OK);
        assert_null(message.payload); /* taken */
    }
    static const uint32_t order[] = {2, 0, 3, 1};
    for (int i = 0; i < 4; i++) {
        sc_tensor_message expected = make(7, 1, order[i], 0), got;
        assert_int_equal(sc_mailbox_wait(box, epoch, &expected.name, 0, &got), SC_OK);
        assert_int_equal(*(char *)sc_buffer_data(got.payload), 'a' + (int)order[i]);
        assert_int_equal(sc_mailbox_wait(box, epoch, &expected.name, 0, &expected), SC_DEADLINE_EXCEEDED);
        sc_tensor_message_clear(&got);
        sc_tensor_message_clear(&expected);
    }
    assert_int_equal(sc_mailbox_messages(box), 0);
    assert_int_equal(sc_mailbox_bytes(box), 0);
    sc_mailbox_destroy(&box);
    assert_null(box);
}

static void refuses_what_does_not_belong(void **state)
{
    (void)state;
    uint64_t epoch;
    sc_mailbox *box = open_box(7, room, &epoch);
    sc_tensor_message first = make(7, 5, 0, 'x'), twice = make(7, 5, 0, 'y'), foreign = make(6, 5, 1, 'z');
    assert_int_equal(sc_mailbox_put(box, epoch, &first), SC_OK);
    assert_int_equal(sc_mailbox_put(box, epoch, &twice), SC_ALREADY_EXISTS);
    assert_null(twice.payload);
    assert_int_equal(sc_mailbox_put(box, epoch, &foreign), SC_FAILED_PRECONDITION);
    sc_tensor_message early = make(7, 5, 2, 'e');
    assert_int_equal(sc_mailbox_put(box, epoch + 1, &early), SC_CANCELLED);
    assert_int_equal(sc_mailbox_messages(box), 1);

    sc_mailbox_release_before(box, 6);
    assert_int_equal(sc_mailbox_messages(box), 0);
    sc_tensor_message late = make(7, 5, 3, 'l');
    assert_int_equal(sc_mailbox_put(box, epoch, &late), SC_OUT_OF_RANGE);
    sc_mailbox_release_before(box, 2); /* never back */
    late = make(7, 5, 3, 'l');
    assert_int_equal(sc_mailbox_put(box, epoch, &late), SC_OUT_OF_RANGE);
    sc_mailbox_destroy(&box);
}

static void holds_no_more_than_its_limits(void **state)
{
    (void)state;
    uint64_t epoch;
    sc_mailbox *box = open_box(1, (sc_mailbox_limits){.max_messages = 3, .max_bytes = 1024}, &epoch);
    for (uint32_t m = 0; m < 5; m++) {
        sc_tensor_message message = make(1, 1, m, 'c');
        assert_int_equal(sc_mailbox_put(box, epoch, &message), m < 3 ? SC_OK : SC_RESOURCE_EXHAUSTED);
    }
    uint64_t second;
    assert_int_equal(sc_mailbox_open(box, 1, (sc_mailbox_limits){.max_messages = 8, .max_bytes = 130}, &second), SC_OK);
    assert_int_not_equal(second, epoch);
    assert_int_equal(sc_mailbox_messages(box), 0);
    for (uint32_t m = 0; m < 4; m++) { /* of 64 bytes each */
        sc_tensor_message message = make(1, 1, m, 'b');
        assert_int_equal(sc_mailbox_put(box, second, &message), m < 2 ? SC_OK : SC_RESOURCE_EXHAUSTED);
    }
    sc_mailbox_destroy(&box);
}

typedef struct waiter {
    sc_mailbox *box;
    uint64_t epoch;
    sc_tensor_name name;
    sc_status status;
    sc_tensor_message got;
} waiter;

static void *wait_for_ever(void *context)
{
    waiter *self = context;
    self->status = sc_mailbox_wait(self->box, self->epoch, &self->name, -1, &self->got);
    return NULL;
}

static void a_wait_ends_with_its_tensor(void **state)
{
    (void)state;
    uint64_t epoch;
    sc_mailbox *box = open_box(1, room, &epoch);
    sc_tensor_message other = make(1, 1, 1, 'o'), awaited = make(1, 1, 0, 'w');
    waiter self = {.box = box, .epoch = epoch, .name = awaited.name};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, &self), 0);
    assert_int_equal(sc_mailbox_put(box, epoch, &other), SC_OK);
    assert_int_equal(sc_mailbox_put(box, epoch, &awaited), SC_OK);
    pthread_join(thread, NULL);
    assert_int_equal(self.status, SC_OK);
    assert_int_equal(*(char *)sc_buffer_data(self.got.payload), 'w');
    sc_tensor_message_clear(&self.got);
    sc_mailbox_destroy(&box);
}

static void closing_and_opening_cancel_a_wait(void **state)
{
    (void)state;
    for (int open_again = 0; open_again < 2; open_again++) {
        uint64_t epoch, next;
        sc_mailbox *box = open_box(1, room, &epoch);
        waiter self = {.box = box, .epoch = epoch, .name = {.generation = 1, .step = 1}};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, &self), 0);
        if (open_again)
            assert_int_equal(sc_mailbox_open(box, 1, room, &next), SC_OK); /* the same generation, another epoch */
        else
            sc_mailbox_close(box);
        pthread_join(thread, NULL);
        assert_int_equal(self.status, SC_CANCELLED);
        assert_false(sc_mailbox_is_current(box, epoch));
        sc_mailbox_destroy(&box);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_out_by_name_whatever_the_order), cmocka_unit_test(refuses_what_does_not_belong),
        cmocka_unit_test(holds_no_more_than_its_limits),        cmocka_unit_test(a_wait_ends_with_its_tensor),
        cmocka_unit_test(closing_and_opening_cancel_a_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
