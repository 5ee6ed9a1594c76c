#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/run/roster.h"

#include <stdio.h>
#include <string.h>

static sc_roster *roster;
static sc_loss loss;

static int open_roster(void **state)
{
    (void)state;
    const sc_roster_options options = {.lease_ms = 10000, .reconnect_ms = 700, .hang_ms = 1000, .hang_steps = 2.5};
    return sc_roster_new(&options, 1000, &roster) == SC_OK ? 0 : -1;
}

static int close_roster(void **state)
{
    (void)state;
    sc_roster_destroy(&roster);
    return 0;
}

static uint64_t join(uint32_t pid, int local_index, uint64_t now_ms)
{
    const sc_roster_join_request request = {.incarnation = pid,
                                            .host = "host",
                                            .pid = pid,
                                            .device = "cpu",
                                            .threads = 1,
                                            .endpoint = "ipc://x",
                                            .version = "1",
                                            .local_index = local_index};
    uint64_t id = 0;
    assert_int_equal(sc_roster_join(roster, &request, now_ms, &id), SC_OK);
    return id;
}

/* Looks often enough to count as listening, up to `until_ms`; whoever is in `alive` is heard at each look. */
static void listen_until(uint64_t from_ms, uint64_t until_ms, const uint64_t *alive, int n_alive)
{
    for (uint64_t now = from_ms; now <= until_ms; now += 100) {
        for (int i = 0; i < n_alive; i++)
            sc_roster_heard(roster, alive[i], now);
        sc_roster_look(roster, now);
    }
}

static void expect_loss(uint64_t id, const char *reason)
{
    assert_true(sc_roster_next_loss(roster, &loss));
    assert_int_equal(loss.member.id, id);
    if (!strstr(loss.reason, reason))
        fail_msg("'%s' does not say '%s'", loss.reason, reason);
    assert_null(sc_roster_find(roster, id));
}

static void expect_no_loss(void)
{
    if (sc_roster_next_loss(roster, &loss))
        fail_msg("unexpected: %s", loss.reason);
}

static void a_member_is_a_spare_until_it_is_seated(void **state)
{
    (void)state;
    uint64_t a = join(1, -1, 1000), b = join(2, -1, 1000);
    assert_int_not_equal(a, b);
    assert_int_equal(sc_roster_find(roster, a)->rank, -1);
    assert_string_equal(sc_roster_find(roster, b)->name, "host:2");
    sc_roster_seat(roster, &b, 1);
    assert_int_equal(sc_roster_n_ranks(roster), 1);
    assert_int_equal(sc_roster_ranked(roster, 0)->id, b);
    assert_int_equal(sc_roster_find(roster, a)->rank, -1);
    sc_roster_seat(roster, &a, 1);
    assert_int_equal(sc_roster_find(roster, b)->rank, -1);
    sc_roster_release(roster, b);
    assert_int_equal(sc_roster_count(roster), 1);
    expect_no_loss();
}

static void a_join_without_an_endpoint_is_refused(void **state)
{
    (void)state;
    uint64_t id;
    const sc_roster_join_request request = {
        .host = "h", .device = "", .endpoint = "", .version = "", .local_index = -1};
    assert_int_equal(sc_roster_join(roster, &request, 1000, &id), SC_INVALID);
}

static void a_process_that_joins_again_is_another_member(void **state)
{
    (void)state;
    uint64_t a = join(1, -1, 1000), local = join(2, 0, 1000);
    uint64_t again = join(1, -1, 1200), restarted = join(7, 0, 1300);
    expect_loss(a, "joined again");
    expect_loss(local, "joined again");
    expect_no_loss();
    assert_non_null(sc_roster_find(roster, again));
    assert_int_equal(sc_roster_find(roster, restarted)->local_index, 0);
    sc_roster_leave(roster, a, "is gone already", 1400); /* of who is lost, nothing counts any more */
    sc_roster_fail(roster, a, "x", 1400);
    sc_roster_report(roster, a, 1, false, "", 1400);
    expect_no_loss();
}

static void the_roster_is_bounded(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SC_ROSTER_MAX; i++)
        join(i + 1, -1, 1000);
    const sc_roster_join_request request = {
        .host = "h", .pid = 99999, .device = "", .endpoint = "x", .version = "", .local_index = -1};
    uint64_t id;
    assert_int_equal(sc_roster_join(roster, &request, 1000, &id), SC_RESOURCE_EXHAUSTED);
}

static void silence_beyond_the_lease_is_a_loss_and_traffic_renews_it(void **state)
{
    (void)state;
    uint64_t silent = join(1, -1, 1000), alive = join(2, -1, 1000);
    listen_until(1000, 11000, &alive, 1);
    expect_no_loss();
    listen_until(11100, 11200, &alive, 1);
    expect_loss(silent, "lease");
    assert_int_equal(loss.since_ms, 1000);
    expect_no_loss();
    assert_non_null(sc_roster_find(roster, alive));
}

static void a_coordinator_that_was_away_counts_anew(void **state)
{
    (void)state;
    uint64_t a = join(1, -1, 1000), b = join(2, -1, 1000);
    listen_until(1000, 5000, NULL, 0);
    sc_roster_cut(roster, b, 5000);
    sc_roster_look(roster, 100000); /* stopped for 95 s */
    expect_no_loss();
    sc_roster_look(roster, 100600);
    expect_no_loss();
    sc_roster_look(roster, 100800); /* the cut counts from the return on, too */
    expect_loss(b, "wire.reconnect_ms");
    listen_until(100900, 110000, NULL, 0);
    expect_no_loss();
    listen_until(110100, 110200, NULL, 0);
    expect_loss(a, "lease");
}

static void a_cut_is_a_loss_only_if_it_does_not_heal(void **state)
{
    (void)state;
    uint64_t heals = join(1, -1, 1000), gone = join(2, -1, 1000);
    sc_roster_cut(roster, heals, 2000);
    sc_roster_cut(roster, gone, 2000);
    sc_roster_cut(roster, gone, 2500); /* said again: it counts from the first */
    sc_roster_look(roster, 2600);
    sc_roster_heard(roster, gone, 1990); /* from before the cut */
    sc_roster_heard(roster, heals, 2650);
    sc_roster_look(roster, 2700);
    expect_no_loss();
    sc_roster_look(roster, 2701);
    expect_loss(gone, "did not come back within 700 ms");
    assert_int_equal(loss.since_ms, 2000);
    listen_until(2800, 4000, NULL, 0);
    expect_no_loss();
    assert_non_null(sc_roster_find(roster, heals));
}

/* The hang's deadline, and reports each 250 ms that say the same. */
static void report_for(uint64_t id, uint64_t from_ms, uint64_t until_ms, uint64_t actions, bool waiting)
{
    for (uint64_t now = from_ms; now <= until_ms; now += 250) {
        sc_roster_report(roster, id, actions, waiting, "2F0", now);
        sc_roster_look(roster, now);
    }
}

static void a_member_that_lives_and_does_not_move_is_hung(void **state)
{
    (void)state;
    uint64_t id = join(1, -1, 1000);
    sc_roster_seat(roster, &id, 1);
    sc_roster_expect(roster, true, 1000);
    report_for(id, 1000, 9000, 5, false); /* nothing was measured yet: no deadline */
    expect_no_loss();
    assert_true(sc_roster_hang_ms(roster) == UINT64_MAX);
    for (int i = 0; i < 3; i++)
        sc_roster_measure(roster, 0.01);
    assert_int_equal(sc_roster_hang_ms(roster), 1000); /* recovery.hang_ms is the least */
    for (int i = 0; i < 5; i++)
        sc_roster_measure(roster, 2.0);
    assert_int_equal(sc_roster_hang_ms(roster), 5000); /* 2.5 medians */
    sc_roster_measure(roster, 6.0);
    assert_int_equal(sc_roster_hang_ms(roster), 9000); /* 1.5 of the slowest */
    for (int i = 0; i < SC_ROSTER_STEPS; i++)
        sc_roster_measure(roster, 2.0);
    assert_int_equal(sc_roster_hang_ms(roster), 5000); /* which is forgotten */
    report_for(id, 9000, 9000, 6, false);
    report_for(id, 9250, 14000, 6, false);
    expect_no_loss();
    report_for(id, 14250, 14250, 6, false);
    expect_loss(id, "has not moved for 5250 ms in '2F0'");
    assert_int_equal(loss.since_ms, 9000);
}

static void who_waits_or_is_idle_is_not_hung(void **state)
{
    (void)state;
    uint64_t id = join(1, -1, 1000), spare = join(2, -1, 1000);
    sc_roster_seat(roster, &id, 1);
    sc_roster_measure(roster, 0.01);
    sc_roster_report(roster, spare, 0, false, "", 1000);
    sc_roster_expect(roster, true, 1000);
    report_for(id, 1000, 8000, 5, true); /* waits */
    expect_no_loss();
    report_for(id, 8000, 8750, 5, false); /* what it waited for has come: it counts from here */
    expect_no_loss();
    sc_roster_expect(roster, false, 8800);
    sc_roster_report(roster, spare, 0, false, "", 9000);
    report_for(id, 9000, 13000, 5, false); /* no step is out */
    sc_roster_expect(roster, true, 13000);
    report_for(id, 13250, 14000, 5, false); /* counts from the step's start */
    sc_roster_report(roster, spare, 0, false, "", 14000);
    expect_no_loss();
    report_for(id, 14250, 14250, 5, false);
    expect_loss(id, "has not moved");
    expect_no_loss();
}

/* Silence says nothing of the executor: it may be the network. That is the lease's business. */
static void a_hang_needs_reports(void **state)
{
    (void)state;
    uint64_t id = join(1, -1, 1000);
    sc_roster_seat(roster, &id, 1);
    sc_roster_measure(roster, 0.01);
    sc_roster_expect(roster, true, 1000);
    sc_roster_report(roster, id, 5, false, "2F0", 1100);
    listen_until(1200, 9000, &id, 1);
    expect_no_loss();
}

static void each_way_out_gives_one_loss_with_its_reason(void **state)
{
    (void)state;
    uint64_t leaves = join(1, -1, 1000), fails = join(2, -1, 1000), exits = join(3, 4, 1000);
    sc_roster_seat(roster, (uint64_t[]){fails, leaves}, 2);
    sc_roster_leave(roster, leaves, "asked to stop", 1000);
    sc_roster_leave(roster, leaves, "asked to stop", 1000);
    sc_roster_fail(roster, fails, "RunStep: UNAVAILABLE", 1000);
    assert_false(sc_roster_exited(roster, 3, "no such child", 1000));
    assert_true(sc_roster_exited(roster, 4, "worker 4 was killed by signal 9", 1000));
    assert_false(sc_roster_exited(roster, 4, "worker 4 was killed by signal 9", 1000));
    expect_loss(leaves, "worker 1 (host:1) left the run: asked to stop");
    assert_int_equal(loss.member.rank, 1);
    expect_loss(fails, "RunStep: UNAVAILABLE");
    expect_loss(exits, "killed by signal 9");
    expect_no_loss();
    assert_int_equal(sc_roster_count(roster), 0);
}

static void draining_is_no_loss(void **state)
{
    (void)state;
    uint64_t id = join(1, -1, 1000);
    sc_roster_seat(roster, &id, 1);
    sc_roster_drain(roster, id, "SIGTERM");
    sc_roster_drain(roster, id, "again");
    assert_true(sc_roster_find(roster, id)->draining);
    assert_string_equal(sc_roster_find(roster, id)->drain_reason, "SIGTERM");
    assert_int_equal(sc_roster_find(roster, id)->rank, 0);
    expect_no_loss();
}

static void parts_are_remembered_newest_first(void **state)
{
    (void)state;
    uint64_t id = join(1, -1, 1000);
    for (uint64_t step = 1; step <= SC_ROSTER_PARTS + 3; step++) {
        const sc_part part = {7, step, 0, 2};
        sc_roster_hold(roster, id, &part);
        sc_roster_hold(roster, id, &part);
    }
    const sc_member *m = sc_roster_find(roster, id);
    assert_int_equal(m->n_parts, SC_ROSTER_PARTS);
    for (int i = 0; i < m->n_parts; i++)
        assert_true(m->parts[i].step > 3);
    sc_roster_hold(roster, id, &(sc_part){8, 20, 0, 2});
    sc_roster_keep_parts(roster, id, 7, (uint64_t[]){20, 33}, 2);
    assert_int_equal(m->n_parts, 2);
    sc_roster_keep_parts(roster, id, 8, (uint64_t[]){20}, 1);
    assert_int_equal(m->n_parts, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_roster, close_roster)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_member_is_a_spare_until_it_is_seated),
        TEST(a_join_without_an_endpoint_is_refused),
        TEST(a_process_that_joins_again_is_another_member),
        TEST(the_roster_is_bounded),
        TEST(silence_beyond_the_lease_is_a_loss_and_traffic_renews_it),
        TEST(a_coordinator_that_was_away_counts_anew),
        TEST(a_cut_is_a_loss_only_if_it_does_not_heal),
        TEST(a_member_that_lives_and_does_not_move_is_hung),
        TEST(who_waits_or_is_idle_is_not_hung),
        TEST(a_hang_needs_reports),
        TEST(each_way_out_gives_one_loss_with_its_reason),
        TEST(draining_is_no_loss),
        TEST(parts_are_remembered_newest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
