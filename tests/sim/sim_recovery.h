/* The coordinator of a simulated run: what it hears, and how it brings workers to a step, as trainer_recovery.c does. What does
 * work returns false when it is over for now: a member with a rank was lost, or the coordinator died. */
#ifndef SC_SIM_RECOVERY_H
#define SC_SIM_RECOVERY_H

#include "tests/sim/sim_checks.h"

/* --- losses ------------------------------------------------------------------------------------------------------------ */

static void begin_wait(void)
{
    if (sc_run_state_phase(c.run) != SC_RUN_GATHER)
        c.since_ms = world.now_ms;
}

/* Invariant 9. */
static void take_loss(const sc_loss *loss)
{
    sim_worker *w = worker_of(&loss->member);
    bool is_same = w->id == loss->member.id;
    snprintf(c.reason, sizeof c.reason, "%s", loss->reason);
    sim_note("worker %ld is lost: member %ld, rank %ld", w->index, (long)loss->member.id, loss->member.rank);
    must(!is_same || world.excused[w->index], "worker %ld is lost without a reason", w->index, 0);
    c.n_losses++;
    c.failed = c.failed || loss->member.rank >= 0;
    for (int rank = 0; rank < n_ranks(); rank++)
        if (sc_run_state_buddy(c.run, rank) == 0)
            c.point = 0;
    if (loss->member.rank >= 0)
        begin_wait();
    must(sc_run_state_lost(c.run, loss, world.now_ms) == (loss->member.rank >= 0), "a loss of rank %ld is misjudged",
         loss->member.rank, 0);
    if (loss->member.local_index >= 0 && is_same) {
        sim_kill(w);
        sim_start_process(w->index, world.now_ms + 50 + sim_random(300));
    }
}

static void take_losses(void)
{
    static sc_loss loss;
    while (sc_roster_next_loss(c.roster, &loss))
        take_loss(&loss);
}

/* --- what the world tells ------------------------------------------------------------------------------------------------- */

static sim_call *new_call(sim_kind kind, const sc_member *m)
{
    sim_call *call = sim_new_call(kind);
    call->worker = worker_of(m)->index;
    call->id = m->id;
    call->rank = m->rank;
    call->generation = sc_run_state_generation(c.run);
    call->round = c.round;
    return call;
}

static void on_snapshot(const sim_call *call)
{
    c.n_made++;
    if (c.save.is_active && c.save.step == call->step && ++c.save.n_made == n_ranks())
        sim_later(world.now_ms + 50 + sim_random(1500), SIM_EV_STREAMED, 0, c.save.number);
    sc_run_state_snapshotted(c.run, call->rank, &call->snapshot);
    if (!call->snapshot.is_point)
        return;
    sim_call *deposit = new_call(SIM_DEPOSIT, sc_roster_ranked(c.roster, call->rank));
    deposit->step = call->step;
    sim_send(deposit);
}

static void on_deposit(const sim_call *call)
{
    sc_run_state_deposited(c.run, call->rank, call->step, call->result == SIM_OK);
    if (call->step != c.point)
        return;
    bool has_buddy = sc_run_state_buddy(c.run, call->rank) != 0;
    if (call->result != SIM_OK || !has_buddy || ++c.n_deposited == n_ranks())
        c.point = 0;
}

static void on_reply(sim_call *call)
{
    sc_roster_heard(c.roster, call->id, world.now_ms);
    if (c.failed || call->round != c.round || call->generation != sc_run_state_generation(c.run) ||
        !sc_roster_find(c.roster, call->id))
        return;
    switch (call->kind) {
    case SIM_ASSIGN:
        if (call->rank < 0)
            break;
        c.kept[call->rank] = call->kept;
        c.n_pending--;
        break;
    case SIM_LOAD:
        c.n_pending--;
        break;
    case SIM_RESTORE:
        c.missing = c.missing || call->result != SIM_OK;
        c.n_pending--;
        break;
    case SIM_RUN:
        c.gradients ^= call->gradients;
        c.n_votes += !call->replay;
        c.n_pending -= call->replay;
        break;
    case SIM_APPLY:
        c.n_applied += !call->replay && call->sequence == c.applying;
        c.n_pending -= call->replay;
        break;
    case SIM_SNAPSHOT:
        on_snapshot(call);
        break;
    case SIM_DEPOSIT:
        on_deposit(call);
        break;
    }
}

static void on_deadline(sim_call *call)
{
    if (call->round == c.round && call->generation == sc_run_state_generation(c.run) && call->rank >= 0)
        sc_roster_fail(c.roster, call->id, "a call was not answered in time", world.now_ms);
}

static uint64_t on_join(sim_worker *w)
{
    sc_part parts[SIM_PARTS];
    for (int i = 0; i < w->n_parts; i++)
        parts[i] = w->parts[i].key;
    const sc_roster_join_request request = {
        .incarnation = w->joins,
        .host = "w",
        .pid = (uint32_t)(1000 * w->life) + (uint32_t)w->index,
        .device = "cpu",
        .endpoint = "x",
        .version = "",
        .local_index = world.local && w->index < h.s.wanted ? w->index : -1,
        .parts = parts,
        .n_parts = w->n_parts,
    };
    uint64_t id;
    if (sc_roster_join(c.roster, &request, world.now_ms, &id) != SC_OK)
        wrong("worker %ld cannot join", w->index, 0);
    sc_roster_set_context(c.roster, id, w);
    return id;
}

static bool on_report(sim_worker *w, bool waiting)
{
    if (!sc_roster_find(c.roster, w->id))
        return false;
    sc_roster_report(c.roster, w->id, w->actions_done, waiting, "simulated", world.now_ms);
    return true;
}

static void on_exited(sim_worker *w)
{
    if (!world.local || w->index >= h.s.wanted || !sc_roster_exited(c.roster, w->index, "ended", world.now_ms))
        sc_roster_cut(c.roster, w->id, world.now_ms);
}

static void on_cut(sim_worker *w)
{
    sc_roster_cut(c.roster, w->id, world.now_ms);
}

static void on_drain(sim_worker *w)
{
    sc_roster_drain(c.roster, w->id, "simulated");
}

static void on_tick(void)
{
    sc_roster_look(c.roster, world.now_ms);
}

/* The checkpoint's bytes have come, if the parts that they are read from were kept. */
static void on_streamed(uint64_t number)
{
    bool spoiled = sim_chance(5);
    if (!c.save.is_active || c.save.number != number || c.failed)
        return;
    for (int rank = 0; rank < n_ranks(); rank++) {
        sim_worker *w = worker_at(rank);
        if (!w || sim_is_frozen(w) || sim_is_cut(w) || w->generation != sc_run_state_generation(c.run)) {
            sim_later(world.now_ms + 200, SIM_EV_STREAMED, 0, number);
            return;
        }
        const sim_part *part = sim_part_find(w, c.save.step, w->slice.first_block, w->slice.n_blocks);
        must(part != NULL, "worker %ld let go the part of step %ld, which is being saved", w->index, (long)c.save.step);
        spoiled = spoiled || part->damaged;
    }
    c.save.is_active = false;
    sim_note("the checkpoint of step %ld is there, or spoiled: %ld", (long)c.save.step, spoiled, 0);
    if (spoiled)
        return;
    h.disk[1] = h.disk[0];
    h.disk[0] = c.save.step;
    h.n_disk = at_most(h.n_disk + 1, 2);
    sc_run_state_saved(c.run, c.save.step);
}

static void on_death(void)
{
    c.killed = true;
    c.save.is_active = false;
    world.coordinator = 0;
    world.begun = false;
}

/* --- the coordinator's work: each false if what it did is over (a loss, its own death) -------------------------------------------- */

static bool poll(void)
{
    h.n_events++;
    sim_step();
    if (c.killed)
        return false;
    take_losses();
    check_always();
    check_hangs();
    return !c.failed;
}

/* From now on workers are expected to move, or not. */
static void expect(bool to_move)
{
    if (to_move && !c.expects)
        c.expects_ms = world.now_ms;
    c.expects = to_move;
    sc_roster_expect(c.roster, to_move, world.now_ms);
}

/* Until all that is pending is answered; a hang shows meanwhile. */
static bool settle(void)
{
    expect(true);
    while (c.n_pending > 0)
        if (!poll())
            return false;
    expect(false);
    return true;
}

/* Its answer is waited for by settle. */
static void ask(sim_call *call)
{
    c.n_pending++;
    sim_send(call);
}

static bool assign(const sc_run_order *order)
{
    int n = n_ranks();
    sim_note("assign: generation %ld, %ld ranks, keep %ld", (long)sc_run_state_generation(c.run), n, order->keep);
    sim_stir();
    memset(c.kept, 0, sizeof c.kept);
    c.n_pending = n;
    for (int i = 0; i < sc_roster_count(c.roster); i++) {
        const sc_member *m = sc_roster_at(c.roster, i);
        sim_call *call = new_call(SIM_ASSIGN, m);
        uint64_t buddy = m->rank >= 0 ? sc_run_state_buddy(c.run, m->rank) : 0;
        call->assign = (sim_assign){
            .generation = call->generation,
            .lineage = LINEAGE,
            .keep = order->keep,
            .fresh = order->fresh,
            .rank = m->rank,
            .n_ranks = n,
            .slice = m->rank >= 0 ? sc_run_state_slices(c.run)[m->rank] : (sc_slice){0},
            .buddy = buddy ? worker_of(sc_roster_find(c.roster, buddy))->index : -1,
        };
        sim_send(call);
    }
    if (!settle())
        return false;
    for (int rank = 0; rank < n; rank++)
        assert_int_equal(sc_run_state_assigned(c.run, rank, &c.kept[rank]), SC_OK);
    if (sc_run_state_phase(c.run) == SC_RUN_LOAD)
        check_choice();
    return true;
}

static bool load_all(uint64_t step)
{
    for (int rank = 0; rank < n_ranks(); rank++) {
        sim_call *call = new_call(SIM_LOAD, sc_roster_ranked(c.roster, rank));
        call->step = step;
        ask(call);
    }
    return settle();
}

static bool restore(const sc_recovery_choice *choice)
{
    int n_losses = c.n_losses;
    uint64_t point = choice->point;
    c.missing = false;
    for (int rank = 0; rank < n_ranks(); rank++) {
        if (choice->orders[rank] != SC_RANK_RESTORES && choice->orders[rank] != SC_RANK_REPLAYS)
            continue;
        sim_call *call = new_call(SIM_RESTORE, sc_roster_ranked(c.roster, rank));
        call->step = point;
        for (int i = 0; i < choice->n_holders; i++)
            if (choice->holder_ranks[i] == rank) {
                call->holder_ids[call->n_holders] = choice->holders[i].id;
                call->holders[call->n_holders] = worker_of(sc_roster_find(c.roster, choice->holders[i].id))->index;
                call->held[call->n_holders++] = (sc_slice){choice->holders[i].first_block, choice->holders[i].n_blocks};
            }
        ask(call);
    }
    if (!settle())
        return false;
    if (!c.missing)
        return true;
    uint64_t end_ms = world.now_ms + SIM_RECONNECT_MS + 500; /* if a holder is gone, that shows */
    while (c.n_losses == n_losses && world.now_ms < end_ms)
        if (!poll())
            return false;
    sim_note("parts of step %ld are spoiled", (long)point, 0, 0);
    begin_wait();
    sc_run_state_spoiled(c.run, c.n_losses == n_losses ? point : 0, world.now_ms);
    return true;
}

static void apply_again(int rank, uint64_t sequence, const sc_decided_step *step)
{
    sim_call *call = new_call(SIM_APPLY, sc_roster_ranked(c.roster, rank));
    call->step = step->step;
    call->sequence = sequence;
    call->grad_scale = step->grad_scale;
    call->learning_rate = step->learning_rate;
    call->replay = true;
    ask(call);
}

static bool replay(const sc_rank_order *orders, uint64_t point)
{
    int n;
    const sc_decided_step *record = sc_run_state_record(c.run, &n);
    for (int rank = 0; rank < n_ranks(); rank++)
        if (orders[rank] == SC_RANK_APPLIES)
            apply_again(rank, sc_run_state_kept(c.run, rank)->voted_sequence, &record[n - 1]);
    if (!settle())
        return false;
    for (int i = 0; i < n; i++) {
        if (record[i].step <= point)
            continue;
        for (int rank = 0; rank < n_ranks(); rank++) {
            if (orders[rank] != SC_RANK_REPLAYS)
                continue;
            sim_call *call = new_call(SIM_RUN, sc_roster_ranked(c.roster, rank));
            call->step = record[i].step;
            call->sequence = record[i].sequence;
            call->replay = true;
            ask(call);
        }
        if (!settle())
            return false;
        for (int rank = 0; rank < n_ranks(); rank++)
            if (orders[rank] == SC_RANK_REPLAYS)
                apply_again(rank, record[i].sequence, &record[i]);
        if (!settle())
            return false;
    }
    return true;
}

static bool load(void)
{
    sc_recovery_choice choice = *sc_run_state_choice(c.run); /* its lists go with a loss */
    sim_note("load: level %ld, step %ld, point %ld", choice.level, (long)choice.step, (long)choice.point);
    sim_stir();
    if (choice.level == SC_LEVEL_DISK || (choice.level == SC_LEVEL_START && !h.s.seed_start)) {
        if (!load_all(choice.step))
            return false;
    } else if (choice.level != SC_LEVEL_START) {
        if (!restore(&choice))
            return false;
        if (sc_run_state_phase(c.run) != SC_RUN_LOAD)
            return true;
    }
    if (choice.level == SC_LEVEL_REPLAY && !replay(choice.orders, choice.point))
        return false;
    sc_run_state_loaded(c.run);
    h.committed = sc_run_state_committed(c.run);
    must(h.committed == choice.step, "loaded to step %ld, and %ld is committed", (long)choice.step, (long)h.committed);
    check_states(h.committed);
    c.loaded = true;
    return true;
}

#endif
