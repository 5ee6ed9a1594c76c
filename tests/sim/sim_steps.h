/* The coordinator of a simulated run: steps, points, checkpoints, and planned changes, as trainer_steps.c does them. */
#ifndef SC_SIM_STEPS_H
#define SC_SIM_STEPS_H

#include "tests/sim/sim_recovery.h"

/* --- steps ------------------------------------------------------------------------------------------------------------------- */

static bool is_multiple(uint64_t step, int64_t every)
{
    return every > 0 && step % (uint64_t)every == 0;
}

static void start_step(uint64_t step)
{
    check_point_first(step);
    c.sequence++;
    c.n_votes = 0;
    c.gradients = 0;
    expect(true);
    for (int rank = 0; rank < n_ranks(); rank++) {
        sim_call *call = new_call(SIM_RUN, sc_roster_ranked(c.roster, rank));
        call->step = step;
        call->sequence = c.sequence;
        sim_send(call);
    }
}

static void snapshot(bool as_point)
{
    sc_run_snapshot *s = &c.snapshots[c.n_snapshots++ % SNAPSHOTS];
    sc_run_state_snapshot(c.run, c.save.is_active ? c.save.step : 0, as_point, s);
    check_snapshot(s, as_point);
    sim_note("snapshot of step %ld, point %ld, keeps %ld", (long)s->step, s->is_point,
             s->n_keep_steps ? (long)s->keep_steps[0] : 0);
    for (int rank = 0; rank < n_ranks(); rank++) {
        sim_call *call = new_call(SIM_SNAPSHOT, sc_roster_ranked(c.roster, rank));
        call->step = s->step;
        call->snapshot = *s;
        sim_send(call);
    }
}

static void begin_save(uint64_t step)
{
    c.save.number = ++h.n_saves;
    c.save.step = step;
    c.save.is_active = true;
    c.save.n_made = 0;
}

static void keep_state(uint64_t step)
{
    bool point = sc_run_state_point_due(c.run, step);
    bool saving = is_multiple(step, h.s.save_every) && !c.save.is_active;
    if (saving)
        begin_save(step);
    if (!point && !saving)
        return;
    snapshot(h.s.peer_every > 0);
}

/* Invariant 8: what is to be. */
static bool should_change(bool may_grow)
{
    bool drains = false;
    for (int rank = 0; rank < n_ranks(); rank++) {
        const sc_member *m = sc_roster_ranked(c.roster, rank);
        drains = drains || (m && m->draining);
    }
    return drains || (may_grow && n_ranks() < h.s.wanted && count_members(false) > n_ranks());
}

/* Invariant 1. */
static void commit(uint64_t step, uint64_t start_ms)
{
    sc_run_state_commit(c.run, step);
    must(step == h.committed + 1, "step %ld is committed behind %ld", (long)step, (long)h.committed);
    h.committed = step;
    h.n_commits++;
    check_states(step);
    uint64_t took_ms = world.now_ms - start_ms;
    c.slowest_ms = took_ms > c.slowest_ms ? took_ms : c.slowest_ms;
    sc_roster_measure(c.roster, (double)took_ms * 1e-3);
    world.may_hang = true;
}

static bool finish_step(uint64_t step, bool with_next)
{
    uint64_t start_ms = world.now_ms;
    while (c.n_votes < n_ranks())
        if (!poll())
            return false;
    expect(false);
    sc_decided_step decided = sim_verdict(step, c.gradients);
    must(memcmp(&decided, &world.truth.verdicts[step], sizeof decided) == 0,
         "the verdict on step %ld comes of states that do not belong together", (long)step, 0);
    decided.sequence = c.applying = c.sequence;
    sc_run_state_decide(c.run, &decided);
    c.n_applied = 0;
    for (int rank = 0; rank < n_ranks(); rank++) {
        sim_call *call = new_call(SIM_APPLY, sc_roster_ranked(c.roster, rank));
        call->step = step;
        call->sequence = decided.sequence;
        call->grad_scale = decided.grad_scale;
        call->learning_rate = decided.learning_rate;
        sim_send(call);
    }
    if (with_next) {
        keep_state(step);
        start_step(step + 1);
    }
    while (c.n_applied < n_ranks())
        if (!poll())
            return false;
    commit(step, start_ms);
    return true;
}

/* All ranks' snapshots of the committed step, with no step behind them. */
static bool snapshot_all(void)
{
    c.save.is_active = false;
    c.n_made = 0;
    snapshot(false);
    c.point = 0;
    sim_stir();
    expect(true);
    while (c.n_made < n_ranks())
        if (!poll())
            return false;
    expect(false);
    return true;
}

static bool save_last(void)
{
    expect(true);
    while (c.save.is_active)
        if (!poll())
            return false;
    if (h.n_disk == 0 || h.disk[0] != h.committed) {
        begin_save(h.committed);
        snapshot(false);
    }
    while (c.save.is_active)
        if (!poll())
            return false;
    expect(false);
    return true;
}

static void release_leavers(bool ranked_too)
{
    for (int i = sc_roster_count(c.roster) - 1; i >= 0; i--) {
        const sc_member *m = sc_roster_at(c.roster, i);
        sim_worker *w = worker_of(m);
        if (!m->draining || (m->rank >= 0 && !ranked_too))
            continue;
        sim_note("worker %ld is released", w->index, 0, 0);
        bool is_same = w->id == m->id;
        sc_roster_release(c.roster, m->id);
        if (!is_same)
            continue;
        sim_kill(w);
        if (world.peace || world.local || sim_chance(70))
            sim_start_process(w->index, world.now_ms + 500 + sim_random(2500));
    }
}

static void note_leavers(void)
{
    c.n_leavers = 0;
    for (int i = 0; i < sc_roster_count(c.roster) && c.n_leavers < SIM_WORKERS; i++)
        if (sc_roster_at(c.roster, i)->draining)
            c.leavers[c.n_leavers++] = sc_roster_at(c.roster, i)->id;
}

static bool train(void)
{
    release_leavers(false);
    world.begun = true;
    uint64_t step = h.committed + 1;
    if (step <= h.s.steps) {
        if (sc_run_state_point_due(c.run, h.committed))
            snapshot(true);
        start_step(step);
    }
    for (; step <= h.s.steps; step++) {
        bool may_grow = (is_multiple(step, h.s.peer_every) || is_multiple(step, h.s.save_every) ||
                         (h.s.peer_every == 0 && h.s.save_every == 0)) &&
                        !c.save.is_active;
        bool more = step < h.s.steps, change = more && should_change(may_grow);
        if (!finish_step(step, more && !change))
            return false;
        if (!change)
            continue;
        bool expected = should_change(may_grow);
        note_leavers();
        bool changes = sc_run_state_rearrange(c.run, may_grow, world.now_ms);
        must(changes == expected, "workers change %ld behind step %ld", changes, (long)step);
        if (changes)
            return true;
        start_step(step + 1);
    }
    h.finished = save_last();
    return h.finished;
}

static bool hand_over(void)
{
    if (!save_last())
        return false;
    release_leavers(true);
    begin_wait();
    sc_run_state_handed_over(c.run, world.now_ms);
    return true;
}

static bool carry_out(const sc_run_order *order)
{
    switch (order->kind) {
    case SC_ORDER_WAIT:
        if (n_ranks() == 0) /* who is to go before the run begins is not counted, and another may come in its place */
            release_leavers(false);
        return poll();
    case SC_ORDER_ASSIGN:
        return assign(order);
    case SC_ORDER_LOAD:
        return load();
    case SC_ORDER_RUN:
        return train();
    case SC_ORDER_SNAPSHOT:
        return snapshot_all();
    case SC_ORDER_HAND_OVER:
        return hand_over();
    }
    return false;
}

static void next(sc_run_order *order)
{
    sc_run_phase phase = sc_run_state_phase(c.run);
    int n_before = n_ranks(), there = count_members(true), staying = count_members(false);
    uint64_t ids[SIM_WORKERS] = {0};
    for (int rank = 0; rank < n_before; rank++) {
        const sc_member *m = sc_roster_ranked(c.roster, rank);
        ids[rank] = m ? m->id : 0;
    }
    if (sc_roster_count(c.roster) == 0)
        c.since_ms = world.now_ms;
    assert_int_equal(sc_run_state_next(c.run, world.now_ms, order), SC_OK);
    if (order->kind == SC_ORDER_WAIT)
        check_wait(order, n_before);
    else if (order->kind == SC_ORDER_ASSIGN)
        check_placement(phase, n_before, ids, there, staying);
}

#endif
