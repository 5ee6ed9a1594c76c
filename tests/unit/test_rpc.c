/* The call tables, with a number for a clock. */
#include "node_fixture.h"

#include "proto/wire/rpc.h"

enum { RESEND = 1000 };
#define MS UINT64_C(1000000)

static sc_made_call *call(sc_made_calls *calls, uint64_t id, uint32_t deadline_ms, uint64_t now_ns)
{
    Stagecoach__V1__JoinRequest request = STAGECOACH__V1__JOIN_REQUEST__INIT;
    sc_made_call *made = NULL;
    assert_int_equal(sc_made_calls_add(calls, id, &stagecoach__v1__coordinator__descriptor, "Join", &request.base, NULL,
                                       deadline_ms, now_ns, &made),
                     SC_OK);
    return made;
}

static void end(sc_made_calls *calls, sc_made_call *made)
{
    sc_made_calls_unlink(calls, made);
    sc_made_call_destroy(&made);
}

static void a_call_is_repeated_ever_more_rarely(void **state)
{
    (void)state;
    sc_made_calls calls = {0};
    uint64_t now_ns = 7;
    sc_made_call *made = call(&calls, 1, 60000, now_ns);
    assert_ptr_equal(sc_made_calls_due(&calls, now_ns), made);
    const uint64_t waits[] = {1, 2, 4, 8, 8};
    for (int i = 0; i < 5; i++) {
        sc_made_call_sent(made, now_ns, RESEND);
        now_ns += waits[i] * RESEND;
        assert_null(sc_made_calls_due(&calls, now_ns - 1));
        assert_int_equal(sc_made_calls_next_ns(&calls), now_ns);
        assert_ptr_equal(sc_made_calls_due(&calls, now_ns), made);
    }
    sc_made_call_sent(made, now_ns, RESEND);
    sc_made_calls_reconnected(&calls, now_ns + 1);
    assert_ptr_equal(sc_made_calls_due(&calls, now_ns + 1), made);
    sc_made_call_sent(made, now_ns + 1, RESEND);
    assert_int_equal(sc_made_calls_next_ns(&calls), now_ns + 1 + RESEND);
    end(&calls, made);
    assert_true(sc_made_calls_next_ns(&calls) == UINT64_MAX);
}

static void deadlines_pass_one_by_one(void **state)
{
    (void)state;
    sc_made_calls calls = {0};
    sc_made_call *late = call(&calls, 1, 30, 0), *soon = call(&calls, 2, 10, 0), *last = call(&calls, 3, 40, 0);
    assert_null(sc_made_calls_expired(&calls, 10 * MS - 1));
    assert_ptr_equal(sc_made_calls_expired(&calls, 10 * MS), soon);
    end(&calls, soon);
    assert_null(sc_made_calls_expired(&calls, 30 * MS - 1));
    assert_ptr_equal(sc_made_calls_find(&calls, 1), late);
    assert_null(sc_made_calls_find(&calls, 2));
    end(&calls, last); /* the tail goes, and another takes its place */
    last = call(&calls, 4, 50, 0);
    assert_ptr_equal(calls.last, last);
    assert_ptr_equal(sc_made_calls_expired(&calls, 30 * MS), late);
    end(&calls, late);
    end(&calls, last);
    assert_null(calls.first);
    assert_null(calls.last);
}

static const ProtobufCMessage *reply(uint32_t lease_ms)
{
    static Stagecoach__V1__JoinReply message;
    stagecoach__v1__join_reply__init(&message);
    message.lease_ms = lease_ms;
    return &message.base;
}

static void an_answer_is_kept_until_its_caller_is_done(void **state)
{
    (void)state;
    sc_served_calls calls = {0};
    for (uint64_t id = 10; id < 14; id++)
        assert_int_equal(sc_served_calls_add(&calls, id), SC_OK);
    sc_served_call *served = sc_served_calls_answer(&calls, 11, SC_OK, "", reply(5), floats(25, 1));
    assert_true(served->answered);
    assert_int_equal(served->status, SC_OK);
    assert_non_null(served->payload);
    assert_int_equal(calls.reply_bytes, served->reply_bytes + 100);
    assert_null(sc_served_calls_answer(&calls, 11, SC_OK, "", reply(6), NULL)); /* once */
    assert_null(sc_served_calls_answer(&calls, 99, SC_OK, "", reply(6), floats(1, 1)));
    served = sc_served_calls_answer(&calls, 12, SC_NOT_FOUND, "nobody", NULL, floats(25, 1));
    assert_int_equal(served->status, SC_NOT_FOUND);
    assert_string_equal(served->message, "nobody");
    assert_null(served->payload); /* an error carries none */
    served = sc_served_calls_answer(&calls, 13, SC_OK, "", NULL, NULL);
    assert_int_equal(served->status, SC_INTERNAL);                        /* a closure that was given nothing */
    sc_served_calls_learn(&calls, 13, (const uint64_t[]){10, 12, 13}, 3); /* 11 has ended, though 10 goes on */
    assert_non_null(sc_served_calls_find(&calls, 10));
    assert_null(sc_served_calls_find(&calls, 11));
    assert_non_null(sc_served_calls_find(&calls, 12));
    assert_int_equal(calls.reply_bytes, 0);
    assert_true(sc_served_calls_has_ended(&calls, 11));
    assert_true(sc_served_calls_has_ended(&calls, 1));
    assert_false(sc_served_calls_has_ended(&calls, 10));
    assert_false(sc_served_calls_has_ended(&calls, 14));
    /* older words, and a list without end */
    static uint64_t many[SC_RPC_MAX_OPEN + 1];
    sc_served_calls_learn(&calls, 12, (const uint64_t[]){12}, 1);
    sc_served_calls_learn(&calls, 13, (const uint64_t[]){10, 11, 12, 13}, 4);
    sc_served_calls_learn(&calls, 99, many, SC_RPC_MAX_OPEN + 1);
    assert_non_null(sc_served_calls_find(&calls, 10));
    assert_true(sc_served_calls_has_ended(&calls, 11));
    assert_false(sc_served_calls_has_ended(&calls, 14));
    sc_served_calls_learn(&calls, 13, (const uint64_t[]){13}, 1);
    assert_null(sc_served_calls_find(&calls, 10));
    sc_served_calls_clear(&calls);
}

static void kept_replies_are_bounded(void **state)
{
    (void)state;
    sc_served_calls calls = {0};
    const size_t quarter = SC_RPC_REPLY_BYTES / 4;
    for (uint64_t id = 1; id <= 6; id++) {
        sc_buffer *payload = NULL;
        assert_int_equal(sc_served_calls_add(&calls, id), SC_OK);
        assert_int_equal(sc_buffer_new(quarter, &payload), SC_OK);
        memset(sc_buffer_data(payload), 1, quarter);
        assert_non_null(sc_served_calls_answer(&calls, id, SC_OK, "", reply(1), payload)->payload);
        assert_true(calls.reply_bytes <= SC_RPC_REPLY_BYTES);
    }
    assert_true(sc_served_calls_find(&calls, 1)->let_go); /* still known, so it is not executed again */
    assert_false(sc_served_calls_find(&calls, 6)->let_go);
    for (uint64_t id = 7; id <= SC_RPC_MAX_OPEN; id++)
        assert_int_equal(sc_served_calls_add(&calls, id), SC_OK);
    assert_int_equal(sc_served_calls_add(&calls, SC_RPC_MAX_OPEN + 1), SC_RESOURCE_EXHAUSTED);
    static uint64_t open[SC_RPC_MAX_OPEN];
    for (uint64_t i = 0; i < SC_RPC_MAX_OPEN; i++)
        open[i] = i + 2;
    sc_served_calls_learn(&calls, SC_RPC_MAX_OPEN + 1, open, SC_RPC_MAX_OPEN);
    assert_int_equal(sc_served_calls_add(&calls, SC_RPC_MAX_OPEN + 1), SC_OK);
    sc_served_calls_clear(&calls);
}

/* A call that takes as long as hundreds of others, as the writing of a shard does, keeps none of their replies. */
static void a_long_call_keeps_nothing_of_those_behind_it(void **state)
{
    (void)state;
    sc_served_calls calls = {0};
    assert_int_equal(sc_served_calls_add(&calls, 1), SC_OK);
    for (uint64_t id = 2; id < 5 * SC_RPC_MAX_OPEN; id++) {
        sc_served_calls_learn(&calls, id, (const uint64_t[]){1, id}, 2);
        assert_int_equal(sc_served_calls_add(&calls, id), SC_OK);
        assert_non_null(sc_served_calls_answer(&calls, id, SC_OK, "", reply(1), floats(25, 1)));
        assert_int_equal(calls.n, 2);
    }
    assert_non_null(sc_served_calls_answer(&calls, 1, SC_OK, "", reply(1), NULL));
    sc_served_calls_clear(&calls);
}

static void methods_are_found_by_their_whole_name(void **state)
{
    (void)state;
    ProtobufCService coordinator = {.descriptor = &stagecoach__v1__coordinator__descriptor};
    const sc_offer offers[] = {{.service = &coordinator}};
    const sc_offer *offer = NULL;
    unsigned index = 99;
    assert_int_equal(sc_rpc_find(offers, 1, "stagecoach.v1.Coordinator/Progress", &offer, &index), SC_OK);
    assert_int_equal(index, 1);
    static const char *const wrong[] = {
        "",
        "/",
        "Progress",
        "stagecoach.v1.Coordinator",
        "stagecoach.v1.Coordinator/",
        "stagecoach.v1.Coordinator/progress",
        "stagecoach.v1.Coordinato/Progress",
        "stagecoach.v1.StageWorker/RunStep",
        "stagecoach.v1.Coordinator/Progress/Progress",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(sc_rpc_find(offers, 1, wrong[i], &offer, &index), SC_UNIMPLEMENTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_repeated_ever_more_rarely),
        cmocka_unit_test(deadlines_pass_one_by_one),
        cmocka_unit_test(an_answer_is_kept_until_its_caller_is_done),
        cmocka_unit_test(kept_replies_are_bounded),
        cmocka_unit_test(a_long_call_keeps_nothing_of_those_behind_it),
        cmocka_unit_test(methods_are_found_by_their_whole_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
