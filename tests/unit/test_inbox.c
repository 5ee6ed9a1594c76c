/* The pure halves of the tensors' exchange: the table of names, the inbox, the outbox. */
#include "node_fixture.h"

#include "proto/base/rng.h"
#include "proto/wire/inbox.h"
#include "proto/wire/outbox.h"

enum { RESEND = 1000 }; /* nanoseconds: the clock is a number here */

/* ---- names --------------------------------------------------------------------------------------------------------- */

typedef struct entry {
    sc_tensor_name name;
    uint64_t value;
} entry;

static bool is_even(const void *at, uint64_t argument)
{
    (void)argument;
    return ((const entry *)at)->value % 2 == 0;
}

static void the_table_agrees_with_a_list(void **state)
{
    (void)state;
    enum { N = 500 };
    sc_name_table table;
    sc_name_table_init(&table, sizeof(entry));
    bool there[N] = {false};
    sc_rng rng = {.seed = 3};
    for (uint64_t turn = 0; turn < 20000; turn++) {
        uint32_t i = (uint32_t)sc_rng_below(&rng, 2 * turn, N);
        sc_tensor_name name = name_of(i / 50, i % 7, i);
        if (sc_rng_below(&rng, 2 * turn + 1, 2) == 0) {
            entry *put = sc_name_table_put(&table, &name);
            assert_true(put->value == (there[i] ? i : 0));
            put->value = i;
            there[i] = true;
        } else {
            sc_name_table_remove(&table, &name);
            there[i] = false;
        }
        if (turn % 1000 == 999) {
            sc_name_table_filter(&table, is_even, 0);
            size_t n = 0;
            for (i = 0; i < N; i++) {
                there[i] &= i % 2 == 0;
                name = name_of(i / 50, i % 7, i);
                entry *found = sc_name_table_find(&table, &name);
                assert_true((found != NULL) == there[i]);
                n += there[i];
            }
            assert_int_equal(table.n, n);
        }
    }
    sc_name_table_clear(&table);
    sc_tensor_name name = name_of(0, 0, 0);
    assert_null(sc_name_table_find(&table, &name));
}

/* ---- inbox --------------------------------------------------------------------------------------------------------- */

static size_t due(sc_inbox *inbox, uint64_t now_ns)
{
    sc_tensor_name names[8];
    return sc_inbox_due(inbox, now_ns, RESEND, names, 8);
}

static void what_is_awaited_is_asked_for_ever_more_rarely(void **state)
{
    (void)state;
    sc_inbox inbox;
    sc_inbox_init(&inbox);
    sc_tensor_name name = name_of(1, 1, 0);
    sc_inbox_expect(&inbox, &name, 0, RESEND);
    sc_inbox_expect(&inbox, &name, 500, RESEND); /* a second time changes nothing */
    uint64_t now_ns = 0;
    const uint64_t waits[] = {1, 2, 4, 8, 8, 8};
    for (int i = 0; i < 6; i++) {
        now_ns += waits[i] * RESEND;
        assert_int_equal(inbox.next_ns, now_ns);
        assert_int_equal(due(&inbox, now_ns - 1), 0);
        assert_int_equal(due(&inbox, now_ns), 1);
        assert_int_equal(due(&inbox, now_ns), 0);
    }
    sc_inbox_reconnected(&inbox, now_ns + 5, RESEND);
    assert_int_equal(due(&inbox, now_ns + 5), 1);         /* at once, */
    assert_int_equal(inbox.next_ns, now_ns + 5 + RESEND); /* and then at the first pace */
    assert_int_equal(sc_inbox_arrive(&inbox, &name), SC_ARRIVAL_NEW);
    assert_int_equal(due(&inbox, now_ns + 100 * RESEND), 0);
    assert_true(inbox.next_ns == UINT64_MAX);
    assert_int_equal(sc_inbox_arrive(&inbox, &name), SC_ARRIVAL_DUPLICATE);
    sc_inbox_expect(&inbox, &name, now_ns, RESEND); /* it is here */
    assert_int_equal(due(&inbox, UINT64_MAX - 1), 0);
    sc_inbox_clear(&inbox);
}

static void what_nobody_sends_by_himself_is_asked_for_at_once(void **state)
{
    (void)state;
    sc_inbox inbox;
    sc_inbox_init(&inbox);
    sc_tensor_name first = name_of(1, 1, 0), second = name_of(1, 1, 1);
    sc_inbox_ask(&inbox, &first, 100, RESEND);
    sc_inbox_expect(&inbox, &second, 100, RESEND);
    assert_int_equal(due(&inbox, 100), 1);
    assert_int_equal(inbox.next_ns, 100 + RESEND); /* and again at the common pace */
    sc_inbox_ask(&inbox, &second, 200, RESEND);    /* expected so far: now it is urgent */
    assert_int_equal(due(&inbox, 200), 1);
    assert_int_equal(sc_inbox_arrive(&inbox, &first), SC_ARRIVAL_NEW);
    sc_inbox_ask(&inbox, &first, 300, RESEND); /* it is here */
    assert_int_equal(due(&inbox, 300), 0);
    sc_inbox_clear(&inbox);
}

static void due_names_come_in_portions(void **state)
{
    (void)state;
    sc_inbox inbox;
    sc_inbox_init(&inbox);
    for (uint32_t m = 0; m < 20; m++) {
        sc_tensor_name name = name_of(1, 1, m);
        sc_inbox_expect(&inbox, &name, 0, RESEND);
    }
    assert_int_equal(due(&inbox, RESEND), 8);
    assert_int_equal(due(&inbox, RESEND), 8);
    assert_int_equal(due(&inbox, RESEND), 4);
    assert_int_equal(due(&inbox, RESEND), 0);
    sc_inbox_clear(&inbox);
}

static void steps_and_generations_are_forgotten(void **state)
{
    (void)state;
    sc_inbox inbox;
    sc_inbox_init(&inbox);
    sc_tensor_name old = name_of(1, 4, 0), now = name_of(1, 5, 0), next = name_of(2, 1, 0);
    assert_int_equal(sc_inbox_arrive(&inbox, &old), SC_ARRIVAL_NEW);
    sc_inbox_expect(&inbox, &now, 0, RESEND);
    sc_inbox_release_before(&inbox, 5);
    assert_int_equal(inbox.names.n, 1);
    assert_int_equal(sc_inbox_arrive(&inbox, &old), SC_ARRIVAL_DUPLICATE); /* its step is over */
    sc_inbox_release_before(&inbox, 3);                                    /* never backwards */
    assert_int_equal(sc_inbox_arrive(&inbox, &old), SC_ARRIVAL_DUPLICATE);
    assert_int_equal(sc_inbox_arrive(&inbox, &now), SC_ARRIVAL_NEW);
    sc_inbox_keep_generation(&inbox, 2);
    assert_int_equal(inbox.names.n, 0);
    assert_int_equal(sc_inbox_arrive(&inbox, &next), SC_ARRIVAL_NEW); /* a new generation may go back some steps */
    sc_inbox_clear(&inbox);
}

static void a_full_inbox_takes_no_new_names(void **state)
{
    (void)state;
    sc_inbox inbox;
    sc_inbox_init(&inbox);
    for (uint64_t i = 0; i < SC_INBOX_MAX_NAMES; i++) {
        sc_tensor_name name = name_of(1, i, 0);
        assert_int_equal(sc_inbox_arrive(&inbox, &name), SC_ARRIVAL_NEW);
    }
    sc_tensor_name one_more = name_of(1, SC_INBOX_MAX_NAMES, 0), known = name_of(1, 7, 0);
    assert_int_equal(sc_inbox_arrive(&inbox, &one_more), SC_ARRIVAL_FULL);
    assert_int_equal(sc_inbox_arrive(&inbox, &known), SC_ARRIVAL_DUPLICATE);
    sc_inbox_release_before(&inbox, 10);
    assert_int_equal(sc_inbox_arrive(&inbox, &one_more), SC_ARRIVAL_NEW);
    sc_inbox_clear(&inbox);
}

/* ---- outbox -------------------------------------------------------------------------------------------------------- */

static sc_kept_tensor *put(sc_outbox *outbox, uint64_t generation, uint64_t step, uint32_t microbatch)
{
    sc_kept_tensor *tensor = NULL;
    sc_buffer *payload = floats(25, 1);
    sc_tensor_name name = name_of(generation, step, microbatch);
    assert_int_equal(sc_outbox_put(outbox, &name, SC_F32, &SC_SHAPE(25), payload, &tensor), SC_OK);
    sc_buffer_unref(&payload);
    return tensor;
}

static void what_is_sent_is_kept_until_it_is_acknowledged(void **state)
{
    (void)state;
    sc_outbox outbox;
    sc_outbox_init(&outbox);
    sc_kept_tensor *first = put(&outbox, 1, 1, 0), *second = put(&outbox, 1, 1, 1);
    assert_int_equal(outbox.n_pending, 2);
    assert_int_equal(outbox.bytes, 200);
    sc_outbox_sent(&outbox, first, 5000);
    sc_outbox_sent(&outbox, second, 5000);
    assert_int_equal(outbox.n_pending, 0);
    sc_tensor_name name = first->name, unknown = name_of(1, 1, 9);
    sc_outbox_ask(&outbox, &name, 5000 + RESEND - 1, RESEND); /* it is on its way */
    sc_outbox_ask(&outbox, &unknown, 9000, RESEND);
    assert_true(sc_outbox_has(&outbox, &name));
    assert_false(sc_outbox_has(&outbox, &unknown));
    assert_int_equal(outbox.n_pending, 0);
    sc_outbox_ask(&outbox, &name, 5000 + RESEND, RESEND);
    assert_true(first->pending);
    assert_int_equal(outbox.n_pending, 1);
    sc_outbox_acknowledge(&outbox, &name);
    sc_outbox_acknowledge(&outbox, &name);
    sc_outbox_acknowledge(&outbox, &unknown);
    assert_int_equal(outbox.n_pending, 0);
    assert_int_equal(outbox.bytes, 100);
    assert_ptr_equal(outbox.first, second);
    sc_outbox_reconnected(&outbox);
    assert_true(second->pending);
    put(&outbox, 1, 1, 1); /* the same name: replaced */
    assert_int_equal(outbox.bytes, 100);
    assert_int_equal(outbox.n_pending, 1);
    sc_outbox_clear(&outbox);
    assert_int_equal(outbox.bytes, 0);
}

static void the_outbox_keeps_the_order_of_sending(void **state)
{
    (void)state;
    sc_outbox outbox;
    sc_outbox_init(&outbox);
    for (uint32_t m = 0; m < 100; m++)
        put(&outbox, 1 + m % 2, m / 10, m);
    sc_outbox_release_before(&outbox, 5);
    sc_outbox_keep_generation(&outbox, 2);
    uint32_t wanted = 51;
    for (const sc_kept_tensor *tensor = outbox.first; tensor; tensor = tensor->next, wanted += 2)
        assert_int_equal(tensor->name.microbatch, wanted);
    assert_int_equal(wanted, 101);
    assert_int_equal(outbox.names.n, 25);
    assert_int_equal(outbox.bytes, 2500);
    assert_int_equal(outbox.n_pending, 25);
    sc_outbox_clear(&outbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_agrees_with_a_list),
        cmocka_unit_test(what_is_awaited_is_asked_for_ever_more_rarely),
        cmocka_unit_test(what_nobody_sends_by_himself_is_asked_for_at_once),
        cmocka_unit_test(due_names_come_in_portions),
        cmocka_unit_test(steps_and_generations_are_forgotten),
        cmocka_unit_test(a_full_inbox_takes_no_new_names),
        cmocka_unit_test(what_is_sent_is_kept_until_it_is_acknowledged),
        cmocka_unit_test(the_outbox_keeps_the_order_of_sending),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
