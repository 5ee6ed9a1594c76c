/* What is checked in a simulated run, after every event: the invariants, in numbers that the code refers to.
 *
 *  1. A step is committed once, in order, without a gap; again only behind a rollback that was chosen, with the same scale and
 *     learning rate.
 *  2. `committed` is never below the newest checkpoint on the disk.
 *  3. Two workers never hold one stage in one generation (sim_executor.h); each rank has one member.
 *  4. What is run behind a recovery starts from the state of one step, which every rank really has, and so does every step.
 *  5. The newest point that all can reach wins; brute force finds it.
 *  6. The parts of the newest complete point (each block with two members), and of the one in progress, are never told to be
 *     let go; what is restored from, replayed from, or saved to a checkpoint is there (sim_executor.h).
 *  7. A spare is used before the partition changes; it changes only when wait_ms has passed, or at a step's end. A coordinator
 *     that was started again waits as long for all.
 *  8. The run grows again as soon as it may, and draining workers are replaced at a step's end.
 *  9. Nobody is lost without a reason: cuts that heal in time, slow steps, late and repeated messages cost time alone.
 * 10. When faults stop, the run comes to its end, in bounded time.
 * 11. Behind a recovery no step is started before a point is, where all ranks have buddies. */
#ifndef SC_SIM_CHECKS_H
#define SC_SIM_CHECKS_H

#include "tests/sim/sim_faults.h"

#include <inttypes.h>

enum {
    LINEAGE = 7,
    SNAPSHOTS = 8,
    HANG_FOUND_MS = 4000, /* 2.5 of the slowest steps, and reports */
    PEACE_MS = 120000,    /* virtual: all steps once more, and a few leases, take a fraction */
};

typedef struct settings {
    int wanted, n_blocks;
    int64_t peer_every, save_every;
    uint64_t steps, wait_ms;
    bool seed_start;
} settings;

static struct history {
    uint64_t seed;
    settings s;
    uint64_t disk[2]; /* checkpoints, the newest first */
    int n_disk;
    uint64_t lives, peace_ms, committed, n_levels[4], n_events, n_generations, n_commits, n_saves;
    bool finished;
} h;

static struct coordinator {
    sc_roster *roster;
    sc_run_state *run;
    bool killed, failed, missing;
    char reason[1024];                  /* of the last loss */
    uint64_t round, sequence, since_ms; /* round: answers to what was asked in another one are nobody's */
    int n_pending, n_votes, n_applied, n_made, n_losses;
    uint64_t gradients, applying;
    sc_kept_state kept[SIM_WORKERS];
    bool loaded; /* and no step was started behind it */
    sc_run_snapshot snapshots[SNAPSHOTS];
    uint64_t n_snapshots, last_generation;
    bool expects;
    uint64_t slowest_ms;           /* of the steps that were measured in this life */
    uint64_t expects_ms;           /* since when workers are expected to move */
    uint64_t leavers[SIM_WORKERS]; /* members that drained when a change was decided */
    int n_leavers;
    uint64_t point; /* whose deposits are on their way; 0: none */
    int n_deposited;
    struct {
        uint64_t number, step;
        bool is_active;
        int n_made;
    } save;
} c;

/* --- failure --------------------------------------------------------------------------------------------------------- */

static void wrong(const char *what, long a, long b)
{
    print_error("history of seed %" PRIu64 ", at %" PRIu64 " ms: ", h.seed, world.now_ms);
    print_error(what, a, b);
    print_error("\nagain: SC_SEED=%" PRIu64 " test_histories; the last loss: %s\n", h.seed, c.reason);
    uint64_t first = world.n_lines > SIM_LINES ? world.n_lines - SIM_LINES : 0;
    for (uint64_t i = first; i < world.n_lines; i++) {
        const sim_line *line = &world.lines[i % SIM_LINES];
        print_error("%8" PRIu64 " ms  ", line->at_ms);
        print_error(line->text, line->a, line->b, line->c);
        print_error("\n");
    }
    fail();
}

static void must(bool holds, const char *what, long a, long b)
{
    if (!holds)
        wrong(what, a, b);
}

/* --- members ----------------------------------------------------------------------------------------------------------- */

static sim_worker *worker_of(const sc_member *m)
{
    return m->context;
}

/* The worker that serves the rank, NULL if it is gone or another process by now. */
static sim_worker *worker_at(int rank)
{
    const sc_member *m = sc_roster_ranked(c.roster, rank);
    sim_worker *w = m ? worker_of(m) : NULL;
    return w && w->alive && w->id == m->id && w->coordinator == world.coordinator ? w : NULL;
}

static int n_ranks(void)
{
    return sc_run_state_n_ranks(c.run);
}

static int count_members(bool draining_too)
{
    int n = 0;
    for (int i = 0; i < sc_roster_count(c.roster); i++) {
        const sc_member *m = sc_roster_at(c.roster, i);
        n += !m->draining || (draining_too && m->rank >= 0);
    }
    return n;
}

static int at_most(int n, int limit)
{
    return n < limit ? n : limit;
}

/* --- the oracle ---------------------------------------------------------------------------------------------------------- */

/* How many members hold a part with this block. */
static int count_holders(uint64_t step, int block)
{
    int n = 0;
    for (int i = 0; i < sc_roster_count(c.roster); i++) {
        const sc_member *m = sc_roster_at(c.roster, i);
        bool holds = false;
        for (int k = 0; k < m->n_parts; k++)
            holds = holds || (m->parts[k].step == step && block >= m->parts[k].first_block &&
                              block < m->parts[k].first_block + m->parts[k].n_blocks);
        n += holds;
    }
    return n;
}

static bool are_held(uint64_t step, sc_slice slice, int copies)
{
    for (int b = slice.first_block; b < slice.first_block + slice.n_blocks; b++)
        if (count_holders(step, b) < copies)
            return false;
    return true;
}

static bool is_there(int rank)
{
    const sc_kept_state *k = &c.kept[rank];
    uint64_t decided = sc_run_state_decided(c.run);
    return k->kept && (k->applied_step == decided || (k->voted_step == decided && k->applied_step + 1 == decided));
}

/* Whether a rank's neighbour can send once more what it sent in the steps from this sequence on. */
static bool can_send_again(int rank, uint64_t sequence)
{
    return rank < 0 || rank >= n_ranks() ||
           (is_there(rank) && c.kept[rank].logged_from > 0 && c.kept[rank].logged_from <= sequence);
}

static bool can_replay_from(uint64_t point)
{
    int n, last = n_ranks() - 1;
    uint64_t decided = sc_run_state_decided(c.run), sequence = 0;
    const sc_decided_step *record = sc_run_state_record(c.run, &n);
    for (int i = 0; i < n; i++)
        if (record[i].step == point + 1)
            sequence = record[i].sequence;
    for (int rank = 0; rank <= last; rank++) {
        if (is_there(rank))
            continue;
        if (!are_held(point, sc_run_state_slices(c.run)[rank], 1))
            return false;
        if (point < decided &&
            (sequence == 0 || !can_send_again(rank - 1, sequence) || !can_send_again(rank + 1, sequence)))
            return false;
        if (point < decided && world.tied && last > 0 && (rank == 0 || rank == last) &&
            !can_send_again(last - rank, sequence))
            return false;
    }
    return true;
}

/* The newest step to which all ranks can come by replay. */
static uint64_t replay_reaches(void)
{
    uint64_t decided = sc_run_state_decided(c.run);
    int n_there = 0;
    for (int rank = 0; rank < n_ranks(); rank++)
        n_there += is_there(rank);
    if (n_there == 0)
        return 0;
    for (uint64_t point = decided; point > 0; point--)
        if (can_replay_from(point))
            return decided;
    return 0;
}

static uint64_t newest_held(int copies, uint64_t at_most_step)
{
    for (uint64_t step = at_most_step; step > 0; step--)
        if (are_held(step, (sc_slice){0, h.s.n_blocks}, copies))
            return step;
    return 0;
}

/* Invariant 5. */
static void check_choice(void)
{
    const sc_recovery_choice *choice = sc_run_state_choice(c.run);
    uint64_t disk = h.n_disk > 0 ? h.disk[0] : 0, memory = newest_held(1, SIM_STEPS), replay = replay_reaches();
    uint64_t best = memory > replay ? memory : replay;
    best = best > disk ? best : disk;
    must(choice->step == best, "step %ld was chosen, and %ld can be reached", (long)choice->step, (long)best);
    must(best == 0 || choice->level != SC_LEVEL_START, "the start was chosen, and %ld can be reached", (long)best, 0);
    must(choice->level != SC_LEVEL_DISK || (memory < best && replay < best),
         "step %ld was chosen from the disk, and is in memory", (long)best, 0);
    must(choice->level != SC_LEVEL_MEMORY || replay < best, "step %ld was chosen from memory, and replay reaches it",
         (long)best, 0);
    h.n_levels[choice->level]++;
}

/* --- checks of states and orders -------------------------------------------------------------------------------------------- */

/* Invariant 4: every rank that still is there has the state after the step. */
static void check_states(uint64_t step)
{
    for (int rank = 0; rank < n_ranks(); rank++) {
        const sim_worker *w = worker_at(rank);
        if (!w || !w->has_stage || w->generation != sc_run_state_generation(c.run))
            continue;
        must(w->step == 0 || w->step - w->voted == step, "worker %ld is not at step %ld", w->index, (long)step);
        must(memcmp(w->state, &world.truth.state[step][w->slice.first_block],
                    (size_t)w->slice.n_blocks * sizeof *w->state) == 0,
             "worker %ld has not the state of step %ld", w->index, (long)step);
    }
}

/* Invariants 2 and 3, after every event. */
static void check_always(void)
{
    uint64_t decided = sc_run_state_decided(c.run), committed = sc_run_state_committed(c.run);
    must(decided == committed || decided == committed + 1, "step %ld is decided, and %ld committed", (long)decided,
         (long)committed);
    must(sc_run_state_phase(c.run) != SC_RUN_RUN || h.n_disk == 0 || committed >= h.disk[0],
         "step %ld is committed, below the checkpoint of %ld", (long)committed, (long)h.disk[0]);
    must(!world.peace || world.now_ms < h.peace_ms + PEACE_MS, "the run does not come to its end, in phase %ld at %ld",
         sc_run_state_phase(c.run), (long)committed);
}

/* Invariant 10 in short: a hang, in a step or elsewhere, is found by the worker's own reports. */
static void check_hangs(void)
{
    for (int rank = 0; c.expects && rank < n_ranks(); rank++) {
        const sim_worker *w = worker_at(rank);
        if (!w || !w->hung || !world.may_hang || sim_is_frozen(w) || !sim_can_reach(w))
            continue;
        uint64_t from_ms = c.expects_ms > w->hung_ms ? c.expects_ms : w->hung_ms;
        from_ms = w->cut_until_ms > from_ms ? w->cut_until_ms : from_ms;
        from_ms = w->frozen_until_ms > from_ms ? w->frozen_until_ms : from_ms;
        from_ms = world.away_until_ms > from_ms ? world.away_until_ms : from_ms;
        /* What a cut has slowed down counts in the median that the deadline comes from. */
        uint64_t slow_ms = c.slowest_ms * 5 / 2 + SIM_HANG_MS;
        uint64_t within_ms = slow_ms > HANG_FOUND_MS ? slow_ms : HANG_FOUND_MS;
        must(world.now_ms < from_ms + within_ms, "worker %ld hangs since %ld ms", w->index, (long)w->hung_ms);
    }
}

/* Invariant 7. */
static void check_wait(const sc_run_order *order, int n_before)
{
    int there = count_members(true);
    if (n_before == 0)
        must(there < h.s.wanted, "%ld members wait for each other", there, 0);
    if (there > 0 && sc_run_state_has_begun(c.run))
        must((n_before == 0 || there < n_before) && world.now_ms < c.since_ms + h.s.wait_ms &&
                 order->until_ms == c.since_ms + h.s.wait_ms,
             "%ld members of %ld wait for too long", there, n_before);
}

static void check_placement(sc_run_phase before, int n_before, const uint64_t *ids_before, int there, int staying)
{
    int n = n_ranks();
    uint64_t generation = sc_run_state_generation(c.run);
    must(generation > c.last_generation, "generation %ld is assigned behind %ld", (long)generation,
         (long)c.last_generation);
    c.last_generation = generation;
    h.n_generations++;
    must(n >= 1 && n <= h.s.wanted, "%ld ranks of %ld", n, h.s.wanted);
    for (int rank = 0, first = 0; rank < n; rank++) {
        const sc_slice *slice = &sc_run_state_slices(c.run)[rank];
        must(sc_roster_ranked(c.roster, rank) != NULL, "rank %ld is nobody's", rank, 0);
        must(slice->first_block == first && slice->n_blocks > 0, "rank %ld has no blocks of its own", rank, 0);
        first += slice->n_blocks;
        must(rank + 1 < n || first == h.s.n_blocks, "%ld blocks of %ld have a rank", first, h.s.n_blocks);
    }
    for (int i = 0; before == SC_RUN_MOVE && i < c.n_leavers; i++) {
        const sc_member *m = sc_roster_find(c.roster, c.leavers[i]);
        must(!m || m->rank < 0, "member %ld drains, and was given rank %ld", (long)c.leavers[i], m ? m->rank : 0);
    }
    if (before == SC_RUN_MOVE || before == SC_RUN_ASSIGN)
        return;
    if (n_before == 0)
        n_before = h.s.wanted;
    if (there < n_before) {
        must(world.now_ms >= c.since_ms + h.s.wait_ms, "the partition changed before wait_ms, %ld of %ld there", there,
             n_before);
        must(n == at_most(staying > 0 ? staying : there, h.s.wanted), "%ld ranks over %ld members", n, staying);
        return;
    }
    must(n == n_before, "%ld ranks behind %ld, and nobody is missing", n, n_before);
    for (int rank = 0; rank < n; rank++)
        must(!sc_roster_find(c.roster, ids_before[rank]) || sc_roster_ranked(c.roster, rank)->id == ids_before[rank],
             "the survivor of rank %ld lost it", rank, 0);
}

/* Invariant 6. */
static void check_snapshot(const sc_run_snapshot *s, bool as_point)
{
    int n;
    bool have_buddies = true;
    const sc_decided_step *record = sc_run_state_record(c.run, &n);
    uint64_t newest = sc_run_state_newest_point(c.run);
    must(newest == 0 || newest == s->step || sim_is_one_of(newest, s->keep_steps, s->n_keep_steps),
         "the point of step %ld, the newest, is let go by the snapshot of step %ld", (long)newest, (long)s->step);
    uint64_t complete = newest_held(2, SIM_STEPS);
    bool kept = complete == s->step || sim_is_one_of(complete, s->keep_steps, s->n_keep_steps);
    must(complete == 0 || kept || (h.n_disk > 0 && complete <= h.disk[0]),
         "the complete point of step %ld is let go by the snapshot of step %ld", (long)complete, (long)s->step);
    must(c.point == 0 || (!s->is_point && sim_is_one_of(c.point, s->keep_steps, s->n_keep_steps)),
         "the point of step %ld is let go by the snapshot of step %ld", (long)c.point, (long)s->step);
    for (int i = 0; i < n; i++)
        must(record[i].step <= newest || s->log_from <= record[i].sequence,
             "what was sent in step %ld is let go, and the newest point is of step %ld", (long)record[i].step,
             (long)newest);
    for (int rank = 0; rank < n_ranks(); rank++)
        have_buddies = have_buddies && sc_run_state_buddy(c.run, rank) != 0;
    must(s->is_point == (as_point && c.point == 0 && have_buddies), "step %ld is a point: %ld, or should be",
         (long)s->step, s->is_point);
    if (s->is_point) {
        c.point = s->step;
        c.n_deposited = 0;
    }
}

/* Invariant 11. */
static void check_point_first(uint64_t step)
{
    bool have_buddies = true;
    for (int rank = 0; rank < n_ranks(); rank++)
        have_buddies = have_buddies && sc_run_state_buddy(c.run, rank) != 0;
    must(!c.loaded || h.s.peer_every == 0 || step == 1 || !have_buddies || c.point == step - 1,
         "step %ld is started, and the point behind the recovery is of step %ld", (long)step, (long)c.point);
    c.loaded = false;
}

#endif
