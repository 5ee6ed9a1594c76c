#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/run/run_state.h"

#include <stdio.h>
#include <string.h>

enum { N_BLOCKS = 8, LINEAGE = 5, WAIT_MS = 5000 };

static sc_roster *roster;
static sc_run_state *run;
static uint64_t now;
static uint32_t last_pid;

static sc_status cut(void *context, int n_ranks, sc_slice *slices)
{
    (void)context;
    for (int rank = 0, first = 0; rank < n_ranks; rank++) {
        slices[rank] = (sc_slice){first, N_BLOCKS / n_ranks + (rank < N_BLOCKS % n_ranks)};
        first += slices[rank].n_blocks;
    }
    return SC_OK;
}

static void open_run_that(bool resumes, int wanted, int64_t peer_every)
{
    const sc_roster_options options = {.lease_ms = 10000, .reconnect_ms = 700, .hang_ms = 1000, .hang_steps = 2.5};
    const sc_run_settings settings = {.wanted = wanted,
                                      .n_blocks = N_BLOCKS,
                                      .tied = true,
                                      .lineage = LINEAGE,
                                      .wait_ms = WAIT_MS,
                                      .peer_every = peer_every,
                                      .resumes = resumes,
                                      .seed_start = true,
                                      .cut = cut};
    now = 1000;
    assert_int_equal(sc_roster_new(&options, now, &roster), SC_OK);
    assert_int_equal(sc_run_state_new(&settings, roster, &run), SC_OK);
}

static void open_run(int wanted, int64_t peer_every)
{
    open_run_that(false, wanted, peer_every);
}

static int close_run(void **state)
{
    (void)state;
    sc_run_state_destroy(&run);
    sc_roster_destroy(&roster);
    return 0;
}

static uint64_t join(const sc_part *parts, int n_parts)
{
    const sc_roster_join_request request = {.host = "h",
                                            .pid = ++last_pid,
                                            .device = "cpu",
                                            .endpoint = "x",
                                            .version = "",
                                            .local_index = -1,
                                            .parts = parts,
                                            .n_parts = n_parts};
    uint64_t id;
    assert_int_equal(sc_roster_join(roster, &request, now, &id), SC_OK);
    return id;
}

static sc_run_order next(sc_run_order_kind expected)
{
    sc_run_order order;
    assert_int_equal(sc_run_state_next(run, now, &order), SC_OK);
    assert_int_equal(order.kind, expected);
    return order;
}

static bool lose(uint64_t id)
{
    sc_loss loss;
    sc_roster_fail(roster, id, "lost", now);
    assert_true(sc_roster_next_loss(roster, &loss));
    return sc_run_state_lost(run, &loss, now);
}

/* Answers the ASSIGN of all ranks; who is in `keepers` kept the state after `applied`, with the log from 1 on. */
static void assign(const uint64_t *keepers, int n_keepers, uint64_t applied)
{
    for (int rank = 0; rank < sc_run_state_n_ranks(run); rank++) {
        sc_kept_state kept = {0};
        for (int i = 0; i < n_keepers; i++)
            if (sc_roster_ranked(roster, rank)->id == keepers[i])
                kept = (sc_kept_state){.kept = true, .applied_step = applied, .logged_from = 1};
        assert_int_equal(sc_run_state_assigned(run, rank, &kept), SC_OK);
    }
}

static void begin(void)
{
    assert_true(next(SC_ORDER_ASSIGN).fresh);
    assign(NULL, 0, 0);
    next(SC_ORDER_LOAD);
    sc_run_state_loaded(run);
    next(SC_ORDER_RUN);
}

static void step(uint64_t number)
{
    const sc_decided_step decided = {.step = number, .sequence = 100 + number};
    sc_run_state_decide(run, &decided);
    sc_run_state_commit(run, number);
}

static sc_run_snapshot snapshot(uint64_t saving, bool as_point)
{
    sc_run_snapshot s;
    sc_run_state_snapshot(run, saving, as_point, &s);
    for (int rank = 0; rank < sc_run_state_n_ranks(run); rank++)
        sc_run_state_snapshotted(run, rank, &s);
    return s;
}

static void complete_point(void)
{
    sc_run_snapshot s = snapshot(0, true);
    assert_true(s.is_point);
    for (int rank = 0; rank < sc_run_state_n_ranks(run); rank++)
        sc_run_state_deposited(run, rank, s.step, true);
    assert_int_equal(sc_run_state_newest_point(run), s.step);
}

static void a_run_begins_when_all_are_there(void **state)
{
    (void)state;
    open_run(2, 10);
    assert_true(next(SC_ORDER_WAIT).until_ms == UINT64_MAX);
    join(NULL, 0);
    next(SC_ORDER_WAIT);
    join(NULL, 0);
    sc_run_order order = next(SC_ORDER_ASSIGN);
    assert_true(order.fresh);
    assert_false(order.keep);
    assert_int_equal(sc_run_state_generation(run), 1);
    assert_true(next(SC_ORDER_ASSIGN).fresh); /* asked again: the same */
    assert_int_equal(sc_run_state_generation(run), 1);
    begin();
    assert_int_equal(sc_run_state_committed(run), 0);
    assert_int_equal(sc_run_state_slices(run)[1].first_block, 4);
}

static void a_run_with_a_checkpoint_loads_it(void **state)
{
    (void)state;
    open_run(1, 10);
    sc_run_state_saved(run, 40);
    join(NULL, 0);
    assert_false(next(SC_ORDER_ASSIGN).fresh);
    assign(NULL, 0, 0);
    next(SC_ORDER_LOAD);
    assert_int_equal(sc_run_state_choice(run)->level, SC_LEVEL_DISK);
    sc_run_state_loaded(run);
    assert_int_equal(sc_run_state_committed(run), 40);
    assert_int_equal(sc_run_state_decided(run), 40);
}

static void parts_that_workers_bring_along_win_over_an_older_checkpoint(void **state)
{
    (void)state;
    open_run(2, 10);
    sc_run_state_saved(run, 40);
    join((sc_part[]){{LINEAGE, 50, 0, 4}, {LINEAGE, 50, 4, 4}}, 2);
    join(NULL, 0);
    assert_false(next(SC_ORDER_ASSIGN).fresh);
    assign(NULL, 0, 0);
    next(SC_ORDER_LOAD);
    assert_int_equal(sc_run_state_choice(run)->level, SC_LEVEL_MEMORY);
    sc_run_state_loaded(run);
    assert_int_equal(sc_run_state_committed(run), 50);
    assert_int_equal(sc_run_state_newest_point(run), 50);
}

/* A coordinator that was started again: it has a checkpoint, or workers that know of the run. */
static void a_run_that_has_begun_goes_on_over_those_that_come(void **state)
{
    for (int with_disk = 0; with_disk < 2; with_disk++) {
        open_run_that(true, 3, 10);
        if (with_disk)
            sc_run_state_saved(run, 40);
        assert_int_equal(sc_run_state_has_begun(run), with_disk);
        now += 100 * WAIT_MS;
        assert_true(next(SC_ORDER_WAIT).until_ms == UINT64_MAX); /* for the first, however long */
        join((sc_part[]){{LINEAGE, 50, 0, 8}}, with_disk ? 0 : 1);
        assert_true(sc_run_state_has_begun(run));
        assert_int_equal(next(SC_ORDER_WAIT).until_ms, now + WAIT_MS);
        now += WAIT_MS - 1;
        join(NULL, 0);
        assert_int_equal(next(SC_ORDER_WAIT).until_ms, now + 1);
        now++;
        next(SC_ORDER_ASSIGN);
        assert_int_equal(sc_run_state_n_ranks(run), 2);
        assign(NULL, 0, 0);
        next(SC_ORDER_LOAD);
        sc_run_state_loaded(run);
        assert_int_equal(sc_run_state_committed(run), with_disk ? 40 : 50);
        assert_false(sc_run_state_should_rearrange(run, true));
        join(NULL, 0);
        assert_true(sc_run_state_should_rearrange(run, true)); /* it grows again */
        close_run(state);
    }
}

static void when_nobody_is_left_the_first_to_come_waits_for_others(void **state)
{
    (void)state;
    open_run(2, 10);
    uint64_t ids[] = {join(NULL, 0), join(NULL, 0)};
    begin();
    for (int i = 0; i < 2; i++)
        assert_true(lose(ids[i]));
    assert_true(next(SC_ORDER_WAIT).until_ms == UINT64_MAX);
    now += 100 * WAIT_MS;
    assert_true(next(SC_ORDER_WAIT).until_ms == UINT64_MAX);
    join(NULL, 0);
    assert_int_equal(next(SC_ORDER_WAIT).until_ms, now + WAIT_MS);
    join(NULL, 0);
    next(SC_ORDER_ASSIGN);
    assert_int_equal(sc_run_state_n_ranks(run), 2);
}

/* Nothing could be lost, and a worker that cannot find its coordinator is rather told of. */
static void a_run_that_has_not_begun_waits_for_all(void **state)
{
    (void)state;
    open_run_that(true, 2, 10);
    join((sc_part[]){{LINEAGE + 1, 50, 0, 8}}, 1); /* of another run */
    next(SC_ORDER_WAIT);
    now += 100 * WAIT_MS;
    assert_true(next(SC_ORDER_WAIT).until_ms == UINT64_MAX);
    join(NULL, 0);
    next(SC_ORDER_ASSIGN);
    assert_int_equal(sc_run_state_n_ranks(run), 2);
}

static void a_spare_replaces_and_replays(void **state)
{
    (void)state;
    open_run(3, 2);
    uint64_t a = join(NULL, 0), b = join(NULL, 0), c = join(NULL, 0);
    begin();
    assert_false(sc_run_state_point_due(run, 0)); /* the start is nothing to keep */
    step(1);
    assert_true(sc_run_state_point_due(run, 1)); /* the first as soon as there is one */
    complete_point();
    assert_false(sc_run_state_point_due(run, 1));
    step(2);
    assert_true(sc_run_state_point_due(run, 2));
    complete_point();
    assert_false(sc_run_state_point_due(run, 3));
    step(3);
    int n;
    assert_int_equal(sc_run_state_record(run, &n)->step, 3); /* steps before the point are not needed any more */
    assert_int_equal(n, 1);
    uint64_t spare = join(NULL, 0);
    assert_true(lose(b));
    sc_run_order order = next(SC_ORDER_ASSIGN);
    assert_true(order.keep);
    assert_false(order.fresh);
    assert_int_equal(sc_run_state_generation(run), 2);
    assert_int_equal(sc_roster_ranked(roster, 1)->id, spare);
    assign((uint64_t[]){a, c}, 2, 3);
    next(SC_ORDER_LOAD);
    const sc_recovery_choice *choice = sc_run_state_choice(run);
    assert_int_equal(choice->level, SC_LEVEL_REPLAY);
    assert_int_equal(choice->point, 2);
    assert_int_equal(choice->orders[1], SC_RANK_REPLAYS);
    assert_int_equal(choice->n_holders, 1);
    assert_int_equal(choice->holders[0].id, c); /* the buddy */
    sc_run_state_loaded(run);
    assert_int_equal(sc_run_state_committed(run), 3); /* no step is repeated by those that stayed */
    assert_true(sc_run_state_point_due(run, 3));      /* the spare has no copy of its neighbour's part yet */
    complete_point();
    assert_false(sc_run_state_point_due(run, 3));
    assert_true(lose(a)); /* so the neighbour can be lost as well, before another step */
    join(NULL, 0);
    next(SC_ORDER_ASSIGN);
    assign((uint64_t[]){spare, c}, 2, 3);
    next(SC_ORDER_LOAD);
    assert_int_equal(sc_run_state_choice(run)->level, SC_LEVEL_REPLAY);
    assert_int_equal(sc_run_state_choice(run)->point, 3);
    sc_run_state_loaded(run);
    step(4);
}

static void nobody_comes_and_the_others_share_the_model(void **state)
{
    (void)state;
    open_run(3, 2);
    join(NULL, 0);
    uint64_t b = join(NULL, 0);
    join(NULL, 0);
    begin();
    step(1);
    step(2);
    complete_point();
    step(3);
    now += 1000;
    assert_true(lose(b));
    assert_int_equal(next(SC_ORDER_WAIT).until_ms, now + WAIT_MS);
    now += WAIT_MS;
    assert_false(next(SC_ORDER_ASSIGN).keep);
    assert_int_equal(sc_run_state_n_ranks(run), 2);
    assign(NULL, 0, 0);
    next(SC_ORDER_LOAD);
    assert_int_equal(sc_run_state_choice(run)->level, SC_LEVEL_MEMORY);
    sc_run_state_loaded(run);
    assert_int_equal(sc_run_state_committed(run), 2);
    int n;
    sc_run_state_record(run, &n);
    assert_int_equal(n, 0); /* step 3 will be decided again */
    step(3);

    /* one more comes: the run grows, but only where it may, and repeats nothing */
    join(NULL, 0);
    assert_false(sc_run_state_rearrange(run, false, now));
    step(4);
    assert_true(sc_run_state_rearrange(run, true, now));
    next(SC_ORDER_SNAPSHOT);
    snapshot(0, false);
    next(SC_ORDER_ASSIGN);
    assert_int_equal(sc_run_state_n_ranks(run), 3);
    assign(NULL, 0, 0);
    next(SC_ORDER_LOAD);
    assert_int_equal(sc_run_state_choice(run)->level, SC_LEVEL_MEMORY);
    assert_int_equal(sc_run_state_choice(run)->step, 4);
    sc_run_state_loaded(run);
    step(5);
}

static void one_who_drains_hands_over_without_a_repeated_step(void **state)
{
    (void)state;
    open_run(2, 0);
    uint64_t a = join(NULL, 0), b = join(NULL, 0), spare = join(NULL, 0);
    begin();
    step(1);
    sc_roster_drain(roster, b, "SIGTERM");
    assert_true(sc_run_state_rearrange(run, false, now));
    next(SC_ORDER_SNAPSHOT);
    snapshot(0, false);
    assert_true(next(SC_ORDER_ASSIGN).keep);
    assign(&a, 1, 1);
    next(SC_ORDER_LOAD);
    const sc_recovery_choice *choice = sc_run_state_choice(run);
    assert_int_equal(choice->step, 1);
    assert_int_equal(choice->orders[0], SC_RANK_STAYS);
    assert_int_equal(choice->orders[1], SC_RANK_RESTORES);
    assert_int_equal(choice->holders[0].id, b); /* from the leaver's own vault */
    assert_int_equal(sc_roster_ranked(roster, 1)->id, spare);
    sc_run_state_loaded(run);
    sc_roster_release(roster, b);
    step(2);
}

static void the_last_one_hands_over_to_the_disk(void **state)
{
    (void)state;
    open_run(1, 10);
    uint64_t a = join(NULL, 0);
    begin();
    step(1);
    sc_roster_drain(roster, a, "SIGTERM");
    assert_true(sc_run_state_rearrange(run, false, now));
    next(SC_ORDER_HAND_OVER);
    sc_run_state_saved(run, 1);
    sc_roster_release(roster, a);
    sc_run_state_handed_over(run, now);
    assert_true(next(SC_ORDER_WAIT).until_ms == UINT64_MAX);
    join(NULL, 0);
    assert_true(next(SC_ORDER_ASSIGN).keep);
    assign(NULL, 0, 0);
    assert_false(next(SC_ORDER_ASSIGN).keep); /* nothing was kept that could be used */
    assign(NULL, 0, 0);
    next(SC_ORDER_LOAD);
    assert_int_equal(sc_run_state_choice(run)->step, 1);
}

static void a_spare_that_is_lost_costs_nothing(void **state)
{
    (void)state;
    open_run(1, 10);
    join(NULL, 0);
    uint64_t spare = join(NULL, 0);
    begin();
    step(1);
    assert_int_equal(sc_run_state_buddy(run, 0), spare);
    assert_false(lose(spare));
    assert_int_equal(sc_run_state_buddy(run, 0), 0);
    next(SC_ORDER_RUN);
    assert_int_equal(sc_run_state_generation(run), 1);
    assert_false(sc_run_state_point_due(run, 10));
    step(2);
}

/* Those that kept are drawn anew too: all from one seed. */
static void nothing_but_the_seed_is_left(void **state)
{
    (void)state;
    open_run(2, 0);
    uint64_t a = join(NULL, 0), b = join(NULL, 0);
    begin();
    step(1);
    assert_true(lose(b));
    join(NULL, 0);
    assert_true(next(SC_ORDER_ASSIGN).keep);
    assign(&a, 1, 1);
    sc_run_order order = next(SC_ORDER_ASSIGN);
    assert_true(order.fresh);
    assert_false(order.keep);
    assert_int_equal(sc_run_state_generation(run), 3);
    assign(NULL, 0, 0);
    next(SC_ORDER_LOAD);
    assert_int_equal(sc_run_state_choice(run)->level, SC_LEVEL_START);
    sc_run_state_loaded(run);
    assert_int_equal(sc_run_state_committed(run), 0);
}

static void losses_in_every_phase_go_back_to_gather(void **state)
{
    (void)state;
    open_run(2, 2);
    uint64_t a = join(NULL, 0), b = join(NULL, 0);
    begin();
    step(1);
    step(2);
    complete_point();
    assert_true(lose(b)); /* RUN */
    b = join(NULL, 0);
    next(SC_ORDER_ASSIGN);
    assert_true(lose(b)); /* ASSIGN */
    b = join(NULL, 0);
    next(SC_ORDER_ASSIGN);
    assign(&a, 1, 2);
    next(SC_ORDER_LOAD);
    assert_true(lose(b)); /* LOAD */
    assert_int_equal(next(SC_ORDER_WAIT).until_ms, now + WAIT_MS);
    now += 2000;
    assert_int_equal(next(SC_ORDER_WAIT).until_ms, now - 2000 + WAIT_MS); /* the wait counts from the first loss */
    assert_true(lose(a));                                                 /* GATHER */
    assert_true(next(SC_ORDER_WAIT).until_ms == UINT64_MAX);
    join(NULL, 0);
    assert_int_equal(next(SC_ORDER_WAIT).until_ms, now + WAIT_MS);
    join(NULL, 0);
    next(SC_ORDER_ASSIGN);
    assert_int_equal(sc_run_state_generation(run), 4);
    assign(NULL, 0, 0);
    assert_true(next(SC_ORDER_ASSIGN).fresh); /* the vaults went with a and b */
}

/* Invariant 4, and the log's reach. */
static void a_snapshot_keeps_the_complete_point_and_what_is_in_progress(void **state)
{
    (void)state;
    open_run(2, 2);
    join(NULL, 0);
    join(NULL, 0);
    begin();
    step(1);
    sc_run_snapshot s = snapshot(0, false);
    assert_false(s.is_point);
    assert_int_equal(s.n_keep_steps, 0);
    assert_int_equal(s.log_from, 101);
    step(2);
    complete_point();
    step(3);
    step(4);
    s = snapshot(0, true);
    assert_int_equal(s.n_keep_steps, 1);
    assert_int_equal(s.keep_steps[0], 2);
    assert_int_equal(s.log_from, 103);
    sc_run_state_deposited(run, 0, 4, true);
    step(5);
    assert_false(sc_run_state_point_due(run, 6)); /* step 4's is not complete */
    s = snapshot(3, true);
    assert_false(s.is_point);
    assert_int_equal(s.n_keep_steps, 3); /* 2: complete; 4: on its way; 3: of a checkpoint */
    sc_run_state_deposited(run, 1, 4, false);
    assert_int_equal(sc_run_state_newest_point(run), 2); /* given up */
    assert_true(sc_run_state_point_due(run, 6));
    sc_run_state_deposited(run, 1, 4, true); /* late: nobody's any more */
    assert_int_equal(sc_run_state_newest_point(run), 2);
}

static void behind_a_move_the_point_that_two_have_is_kept_too(void **state)
{
    (void)state;
    open_run(2, 2);
    uint64_t leaver = join(NULL, 0);
    join(NULL, 0);
    begin();
    step(1);
    step(2);
    complete_point();
    step(3);
    join(NULL, 0);
    sc_roster_drain(roster, leaver, "test");
    assert_true(sc_run_state_rearrange(run, false, now));
    next(SC_ORDER_SNAPSHOT);
    snapshot(0, false);
    next(SC_ORDER_ASSIGN);
    assign(NULL, 0, 0);
    next(SC_ORDER_LOAD);
    sc_run_state_loaded(run);
    assert_int_equal(sc_run_state_newest_point(run), 3);
    step(4);
    sc_run_snapshot s = snapshot(0, true);
    assert_int_equal(s.n_keep_steps, 2); /* step 3's parts have no copies, and step 4's none yet */
    assert_int_equal(s.keep_steps[0], 3);
    assert_int_equal(s.keep_steps[1], 2);
}

static void what_is_told_to_go_is_not_counted_on(void **state)
{
    (void)state;
    open_run(2, 2);
    join(NULL, 0);
    uint64_t b = join(NULL, 0);
    begin();
    step(1);
    step(2);
    snapshot(0, true);
    sc_run_state_deposited(run, 1, 2, true);
    sc_run_state_deposited(run, 0, 2, false); /* given up: the first has both parts, by chance */
    step(3);
    sc_run_snapshot s;
    sc_run_state_snapshot(run, 0, false, &s); /* and lets them go, whether or not its answer comes before the loss */
    assert_int_equal(s.n_keep_steps, 0);
    assert_true(lose(b));
    join(NULL, 0);
    next(SC_ORDER_ASSIGN);
    assign(NULL, 0, 0);
    assert_true(next(SC_ORDER_ASSIGN).fresh);
}

static void a_damaged_part_is_not_tried_twice(void **state)
{
    (void)state;
    open_run(2, 2);
    join(NULL, 0);
    uint64_t b = join(NULL, 0);
    sc_run_state_saved(run, 0);
    assert_false(next(SC_ORDER_ASSIGN).fresh);
    assign(NULL, 0, 0);
    sc_run_state_loaded(run);
    step(1);
    step(2);
    complete_point();
    assert_true(lose(b));
    join(NULL, 0);
    next(SC_ORDER_ASSIGN);
    assign(NULL, 0, 0);
    assert_int_equal(sc_run_state_choice(run)->level, SC_LEVEL_MEMORY);
    sc_run_state_spoiled(run, 2, now);
    assert_true(next(SC_ORDER_ASSIGN).keep);
    assign(NULL, 0, 0);
    assert_false(next(SC_ORDER_ASSIGN).keep); /* what is loaded goes to stages that have kept nothing */
    assign(NULL, 0, 0);
    next(SC_ORDER_LOAD);
    assert_int_equal(sc_run_state_choice(run)->level, SC_LEVEL_DISK);
}

#define TEST(f) cmocka_unit_test_teardown(f, close_run)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_run_begins_when_all_are_there),
        TEST(a_run_with_a_checkpoint_loads_it),
        TEST(parts_that_workers_bring_along_win_over_an_older_checkpoint),
        TEST(a_run_that_has_begun_goes_on_over_those_that_come),
        TEST(when_nobody_is_left_the_first_to_come_waits_for_others),
        TEST(a_run_that_has_not_begun_waits_for_all),
        TEST(a_spare_replaces_and_replays),
        TEST(nobody_comes_and_the_others_share_the_model),
        TEST(one_who_drains_hands_over_without_a_repeated_step),
        TEST(the_last_one_hands_over_to_the_disk),
        TEST(a_spare_that_is_lost_costs_nothing),
        TEST(nothing_but_the_seed_is_left),
        TEST(losses_in_every_phase_go_back_to_gather),
        TEST(a_snapshot_keeps_the_complete_point_and_what_is_in_progress),
        TEST(behind_a_move_the_point_that_two_have_is_kept_too),
        TEST(what_is_told_to_go_is_not_counted_on),
        TEST(a_damaged_part_is_not_tried_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
