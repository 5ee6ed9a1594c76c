/* Thousands of histories of a run, in one process: the coordinator's run state, roster and decisions of recovery are the real
 * ones; clock, network, chance, workers and disk are simulated, and checked after every event (sim_checks.h has the invariants).
 * A history is a function of its seed.
 *
 * SC_SEED=n runs one history, SC_HISTORIES=n so many, SC_LONG=1 the long form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/sim/sim_steps.h"

enum { HISTORIES = 3000, LONG_HISTORIES = 100000 };

/* --- a history ------------------------------------------------------------------------------------------------------------------ */

static sc_status cut(void *context, int n, sc_slice *slices)
{
    (void)context;
    for (int rank = 0, first = 0; rank < n; rank++) {
        slices[rank] = (sc_slice){first, h.s.n_blocks / n + (rank < h.s.n_blocks % n)};
        first += slices[rank].n_blocks;
    }
    return SC_OK;
}

static void close_coordinator(void)
{
    sc_run_state_destroy(&c.run);
    sc_roster_destroy(&c.roster);
}

static void open_coordinator(void)
{
    const sc_roster_options roster = {
        .lease_ms = SIM_LEASE_MS, .reconnect_ms = SIM_RECONNECT_MS, .hang_ms = SIM_HANG_MS, .hang_steps = 2.5};
    const sc_run_settings run = {.wanted = h.s.wanted,
                                 .n_blocks = h.s.n_blocks,
                                 .tied = world.tied,
                                 .lineage = LINEAGE,
                                 .wait_ms = h.s.wait_ms,
                                 .peer_every = h.s.peer_every,
                                 .resumes = true,
                                 .seed_start = h.s.seed_start,
                                 .cut = cut};
    memset(&c, 0, sizeof c);
    assert_int_equal(sc_roster_new(&roster, world.now_ms, &c.roster), SC_OK);
    assert_int_equal(sc_run_state_new(&run, c.roster, &c.run), SC_OK);
    if (h.n_disk > 0)
        sc_run_state_saved(c.run, h.disk[0]);
    world.coordinator = ++h.lives;
    world.begun = world.may_hang = false;
    sim_note("the coordinator starts, life %ld, checkpoint of step %ld", (long)h.lives, h.n_disk ? (long)h.disk[0] : -1,
             0);
    sim_later(world.now_ms, SIM_EV_TICK, 0, world.coordinator);
}

/* Until the end, or its death. */
static void live(void)
{
    while (!h.finished) {
        sc_run_order order;
        next(&order);
        if (carry_out(&order))
            continue;
        if (c.killed)
            return;
        c.save.is_active = c.failed = false; /* a recovery begins */
        c.point = 0;
        c.n_pending = 0;
        c.round++;
        expect(false);
    }
}

static void make_world(uint64_t seed)
{
    static const int64_t points[] = {0, 1, 2, 3, 5, 10}, saves[] = {0, 4, 7, 13};
    for (size_t i = 0; i < world.n_calls; i++)
        free(world.calls[i]);
    sim_event *heap = world.heap;
    sim_call **calls = world.calls;
    size_t room = world.room, calls_room = world.calls_room;
    memset(&world, 0, sizeof world);
    memset(&h, 0, sizeof h);
    world.heap = heap, world.room = room, world.calls = calls, world.calls_room = calls_room;
    world.random = sim_mix(seed);
    world.now_ms = 1000;
    world.hooks = (sim_hooks){on_reply, on_deadline, on_join,     on_report, on_exited, on_cut,
                              on_drain, on_tick,     on_streamed, on_death,  wrong};
    h.seed = seed;
    h.s.wanted = 1 + (int)sim_random(5);
    h.s.n_blocks = h.s.wanted + (int)sim_random((uint64_t)(SIM_BLOCKS - h.s.wanted + 1));
    h.s.peer_every = points[sim_random(6)];
    h.s.save_every = saves[sim_random(4)];
    h.s.steps = 30 + sim_random(SIM_STEPS - 30 + 1);
    h.s.wait_ms = sim_chance(20) ? 0 : 500 + sim_random(4000);
    h.s.seed_start = sim_chance(70);
    world.tied = sim_chance(50);
    world.local = sim_chance(40);
    world.n_workers = h.s.wanted + (int)sim_random(3);
    sim_truth_make(&world.truth, h.s.n_blocks);
    int log_steps = sim_chance(25) ? 0 : 1 + (int)sim_random(SIM_LOG);
    for (int i = 0; i < SIM_WORKERS; i++) {
        world.workers[i].index = i;
        world.workers[i].log_steps = log_steps;
        world.running[i] = -1;
    }
    for (int i = 0; i < world.n_workers; i++)
        sim_start_process(i, world.now_ms + sim_random(1000));
    int n_faults = 1 + (int)sim_random(14);
    uint64_t length = 1500 + sim_random(8000);
    for (int i = 0; i < n_faults; i++)
        sim_later(world.now_ms + 500 + sim_random(length), SIM_EV_FAULT, 0, 0);
    h.peace_ms = world.now_ms + 500 + length;
    sim_later(h.peace_ms, SIM_EV_PEACE, 0, 0);
}

static void run_history(uint64_t seed)
{
    make_world(seed);
    open_coordinator();
    for (;;) {
        live();
        if (h.finished)
            break;
        close_coordinator();
        uint64_t back_ms = world.now_ms + 100 + sim_random(3000);
        while (world.now_ms < back_ms)
            sim_step();
        open_coordinator();
    }
    must(h.committed == h.s.steps, "the run ended behind step %ld of %ld", (long)h.committed, (long)h.s.steps);
    close_coordinator();
}

static void histories_keep_the_invariants(void **state)
{
    (void)state;
    const char *seed = getenv("SC_SEED"), *count = getenv("SC_HISTORIES"), *is_long = getenv("SC_LONG");
    uint64_t first = seed ? strtoull(seed, NULL, 10) : 1, n = seed ? 1 : HISTORIES;
    if (!seed && is_long && strcmp(is_long, "1") == 0)
        n = LONG_HISTORIES;
    if (count)
        n = strtoull(count, NULL, 10);
    uint64_t n_events = 0, n_generations = 0, n_commits = 0, n_fenced = 0, n_faults = 0, levels[4] = {0};
    print_message("seeds %" PRIu64 " to %" PRIu64 "\n", first, first + n - 1);
    for (uint64_t i = 0; i < n; i++) {
        run_history(first + i);
        n_events += h.n_events;
        n_generations += h.n_generations;
        n_commits += h.n_commits;
        n_fenced += world.n_fenced;
        n_faults += world.n_faults;
        for (int k = 0; k < 4; k++)
            levels[k] += h.n_levels[k];
    }
    print_message("%" PRIu64 " events, %" PRIu64 " faults, %" PRIu64 " steps committed, %" PRIu64
                  " generations (replay %" PRIu64 ", memory %" PRIu64 ", disk %" PRIu64 ", start %" PRIu64 "), %" PRIu64
                  " messages fenced off\n",
                  n_events, n_faults, n_commits, n_generations, levels[SC_LEVEL_REPLAY], levels[SC_LEVEL_MEMORY],
                  levels[SC_LEVEL_DISK], levels[SC_LEVEL_START], n_fenced);
    for (size_t i = 0; i < world.n_calls; i++)
        free(world.calls[i]);
    free(world.calls);
    free(world.heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histories_keep_the_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
