/* Workers' processes in a simulated run, what befalls them, and the next event. */
#ifndef SC_SIM_FAULTS_H
#define SC_SIM_FAULTS_H

#include "tests/sim/sim_executor.h"

/* --- processes ----------------------------------------------------------------------------------------------------------- */

static void sim_lose_membership(sim_worker *w)
{
    sim_worker_leave(w);
    sim_drop_commands(w);
    w->joining = true;
    sim_later(world.now_ms + 20 + sim_random(200), SIM_EV_JOIN, w->index, w->life);
}

static void sim_start_process(int index, uint64_t at_ms)
{
    sim_later(at_ms, SIM_EV_START, index, world.workers[index].life);
}

static void sim_kill(sim_worker *w)
{
    if (!w->alive)
        return;
    sim_note("worker %ld is killed, member %ld of generation %ld", w->index, (long)w->id, (long)w->generation);
    world.excused[w->index] = true;
    w->alive = false;
    sim_worker_leave(w);
    sim_drop_commands(w);
}

static void sim_process_starts(const sim_event *e)
{
    sim_worker *w = &world.workers[e->worker];
    if (w->alive || e->tag != w->life)
        return;
    sim_worker_start(w);
    sim_note("worker %ld is started, life %ld", w->index, (long)w->life, 0);
    sim_later(world.now_ms + 5 + sim_random(50), SIM_EV_JOIN, w->index, w->life);
    sim_later(world.now_ms + sim_random(SIM_REPORT_MS), SIM_EV_REPORT, w->index, w->life);
}

/* Whether the coordinator that is there now knows it. */
static bool sim_is_known(const sim_worker *w)
{
    return world.coordinator != 0 && w->alive && w->is_member && w->coordinator == world.coordinator;
}

static bool sim_can_reach(const sim_worker *w)
{
    return world.coordinator != 0 && world.away_until_ms <= world.now_ms && !sim_is_cut(w);
}

static void sim_join(const sim_event *e)
{
    sim_worker *w = &world.workers[e->worker];
    if (!w->alive || e->tag != w->life || w->is_member)
        return;
    if (!sim_can_reach(w)) {
        sim_put_off(e, world.now_ms + 50 + sim_random(200));
        return;
    }
    w->joining = false;
    w->joins++;
    w->id = world.hooks.join(w);
    w->is_member = true;
    w->coordinator = world.coordinator;
    w->contact_ms = world.now_ms;
    world.last_number[w->index] = 0;
    world.arrives_ms[w->index] = world.replies_ms[w->index] = world.now_ms;
    world.excused[w->index] = w->hung; /* what hangs joins again, too */
    sim_note("worker %ld joins as member %ld with %ld parts", w->index, (long)w->id, w->n_parts);
}

static void sim_kill_and_tell(sim_worker *w)
{
    if (!w->alive)
        return;
    bool was_known = sim_is_known(w);
    sim_kill(w);
    if (was_known)
        world.hooks.exited(w);
    if (world.local ? !was_known : world.peace || sim_chance(70))
        sim_start_process(w->index, world.now_ms + 100 + sim_random(4000));
}

static void sim_report(const sim_event *e)
{
    sim_worker *w = &world.workers[e->worker];
    if (!w->alive || e->tag != w->life)
        return;
    if (w->leaves_ms != 0 &&
        (world.now_ms > w->leaves_ms || !w->is_member)) { /* nobody released it, or there is nobody */
        sim_kill_and_tell(w);
        return;
    }
    bool waiting = !w->hung && (world.running[w->index] < 0 || !world.is_ending[w->index]);
    if (w->is_member && sim_can_reach(w)) {
        w->contact_ms = world.now_ms;
        if (w->coordinator != world.coordinator || !world.hooks.report(w, waiting))
            sim_lose_membership(w);
    } else if (w->is_member && world.now_ms - w->contact_ms > SIM_LEASE_MS) {
        sim_lose_membership(w);
    }
    sim_put_off(e, world.now_ms + SIM_REPORT_MS);
}

/* --- faults -------------------------------------------------------------------------------------------------------------- */

typedef enum sim_fault {
    SIM_KILL,
    SIM_FREEZE,
    SIM_CUT,
    SIM_CUT_FOR_LONG,
    SIM_HANG,
    SIM_SPARE,
    SIM_DRAIN,
    SIM_KILL_COORDINATOR,
    SIM_FREEZE_COORDINATOR,
    SIM_DAMAGE,
    SIM_BURST,
    SIM_N_FAULTS
} sim_fault;

/* As texts of notes. */
static const char *const sim_fault_texts[SIM_N_FAULTS] = {
    "fault: kill worker %ld (member %ld)",
    "fault: stop worker %ld (member %ld)",
    "fault: cut off worker %ld (member %ld), shortly",
    "fault: cut off worker %ld (member %ld)",
    "fault: hang worker %ld (member %ld)",
    "fault: another worker",
    "fault: drain worker %ld (member %ld)",
    "fault: kill the coordinator",
    "fault: stop the coordinator",
    "fault: damage a part of worker %ld (member %ld)",
    "fault: several at once",
};

static void sim_cut(sim_worker *w, uint64_t ms)
{
    if (world.now_ms + ms <= w->cut_until_ms)
        return;
    w->cut_until_ms = world.now_ms + ms;
    sim_later(w->cut_until_ms, SIM_EV_HEALED, w->index, w->life);
    if (world.away_until_ms > world.now_ms)
        world.excused[w->index] = true;
    if (sim_is_known(w) && sim_chance(70)) /* else it vanishes without a word */
        world.hooks.cut(w);
}

/* What was put off till then must not be overtaken: it never gets earlier. */
static void sim_extend(uint64_t *until_ms, uint64_t ms)
{
    if (*until_ms < world.now_ms + ms)
        *until_ms = world.now_ms + ms;
}

static void sim_inject(sim_fault fault)
{
    sim_worker *w = &world.workers[sim_random((uint64_t)world.n_workers)];
    world.n_faults++;
    sim_note(sim_fault_texts[fault], w->index, (long)w->id, 0);
    switch (fault) {
    case SIM_KILL:
        sim_kill_and_tell(w);
        break;
    case SIM_FREEZE:
        sim_extend(&w->frozen_until_ms, 200 + sim_random(3 * SIM_LEASE_MS));
        world.excused[w->index] = true;
        break;
    case SIM_CUT: /* healed in time: it costs nothing but time */
        sim_cut(w, 20 + sim_random(SIM_RECONNECT_MS - 2 * SIM_REPORT_MS - 20));
        break;
    case SIM_CUT_FOR_LONG:
        world.excused[w->index] = true;
        sim_cut(w, sim_chance(30) ? 1000000 : SIM_RECONNECT_MS / 2 + sim_random(2 * SIM_LEASE_MS));
        break;
    case SIM_HANG:
        if (!w->alive || !world.may_hang || !w->has_stage)
            break;
        w->hung = world.excused[w->index] = true;
        w->hung_ms = world.now_ms;
        break;
    case SIM_SPARE:
        if (world.n_workers < SIM_WORKERS)
            sim_start_process(world.n_workers++, world.now_ms);
        break;
    case SIM_DRAIN:
        if (!sim_is_known(w) || !sim_can_reach(w))
            break;
        world.hooks.drain(w);
        w->leaves_ms = world.now_ms + SIM_GRACE_MS;
        break;
    case SIM_KILL_COORDINATOR:
        if (world.coordinator)
            world.hooks.die();
        break;
    case SIM_FREEZE_COORDINATOR:
        sim_extend(&world.away_until_ms, 100 + sim_random(2 * SIM_LEASE_MS));
        for (int i = 0; i < world.n_workers;
             i++) /* when they may have given it up, or it learns too late that they are back */
            if (world.workers[i].cut_until_ms + 2 * SIM_REPORT_MS > world.now_ms ||
                world.away_until_ms + 2 * SIM_REPORT_MS > world.workers[i].contact_ms + SIM_LEASE_MS)
                world.excused[i] = true;
        break;
    case SIM_DAMAGE:
        if (w->n_parts > 0)
            w->parts[sim_random((uint64_t)w->n_parts)].damaged = true;
        break;
    case SIM_BURST:
        for (uint64_t n = 2 + sim_random(3); n > 0; n--)
            sim_inject((sim_fault)sim_random(SIM_BURST));
        break;
    case SIM_N_FAULTS:
        break;
    }
}

/* A short time in which much is open: faults come here more often than chance alone would have it. */
static void sim_stir(void)
{
    if (!world.peace && sim_chance(15))
        sim_later(world.now_ms + sim_random(40), SIM_EV_FAULT, 0, 0);
}

/* From now on nothing more goes wrong; who is stopped or cut off comes back in its time, and so do enough of the others. */
static void sim_make_peace(void)
{
    bool all_back = !world.begun || sim_chance(50);
    world.peace = true;
    sim_note("peace", 0, 0, 0);
    int n_back = 0;
    for (int i = 0; i < world.n_workers; i++) {
        sim_worker *w = &world.workers[i];
        if (w->hung)
            sim_kill_and_tell(w);
        uint64_t heals_ms = world.now_ms + 2 * SIM_LEASE_MS; /* most have given up by then what is on its way, */
        if (w->cut_until_ms > heals_ms) {
            sim_bring_forward(i, w->cut_until_ms, heals_ms); /* but one who was stopped may still wait for it */
            w->cut_until_ms = heals_ms;
            sim_later(heals_ms, SIM_EV_HEALED, i, w->life);
        }
        bool comes = all_back || world.local || n_back == 0 || sim_chance(70);
        if (!w->alive && comes)
            sim_start_process(i, world.now_ms + sim_random(1000));
        n_back += w->alive || comes;
    }
    sim_look_at_steps();
}

/* --- one event ----------------------------------------------------------------------------------------------------------- */

static bool sim_is_for_worker(const sim_event *e)
{
    return e->kind == SIM_EV_CALL || e->kind == SIM_EV_DONE || e->kind == SIM_EV_ARRIVED || e->kind == SIM_EV_JOIN ||
           e->kind == SIM_EV_REPORT;
}

static bool sim_is_for_coordinator(const sim_event *e)
{
    return e->kind == SIM_EV_REPLY || e->kind == SIM_EV_TICK || e->kind == SIM_EV_DEADLINE ||
           e->kind == SIM_EV_STREAMED;
}

static void sim_deliver(const sim_event *e)
{
    sim_call *call = world.n_calls > 0 && e->tag < world.n_calls ? world.calls[e->tag] : NULL;
    switch (e->kind) {
    case SIM_EV_CALL:
        sim_call_arrives(e);
        break;
    case SIM_EV_DONE:
        sim_command_ends(e);
        break;
    case SIM_EV_ARRIVED:
        sim_deposit_arrives(e);
        break;
    case SIM_EV_REPLY:
        if (call->coordinator == world.coordinator && !call->answered) {
            call->answered = true;
            world.hooks.reply(call);
        }
        break;
    case SIM_EV_DEADLINE:
        if (call->coordinator == world.coordinator && !call->answered)
            world.hooks.deadline(call);
        break;
    case SIM_EV_START:
        sim_process_starts(e);
        break;
    case SIM_EV_JOIN:
        sim_join(e);
        break;
    case SIM_EV_REPORT:
        sim_report(e);
        break;
    case SIM_EV_HEALED:
        sim_look_at_steps();
        break;
    case SIM_EV_TICK:
        if (e->tag == world.coordinator) {
            world.hooks.tick();
            sim_put_off(e, world.now_ms + SIM_LOOK_MS);
        }
        break;
    case SIM_EV_STREAMED:
        world.hooks.streamed(e->tag);
        break;
    case SIM_EV_FAULT:
        if (!world.peace)
            sim_inject((sim_fault)sim_random(SIM_N_FAULTS));
        break;
    case SIM_EV_PEACE:
        sim_make_peace();
        break;
    }
}

/* What is for somebody who is stopped, or cut off, waits; all the rest happens. */
static void sim_step(void)
{
    sim_event e = sim_take();
    world.now_ms = e.at_ms;
    sim_worker *w = &world.workers[e.worker];
    bool to_worker = sim_is_for_worker(&e);
    if (to_worker && w->alive && sim_is_frozen(w))
        sim_put_off(&e, w->frozen_until_ms);
    else if (e.kind == SIM_EV_CALL && w->alive && sim_is_cut(w))
        sim_put_off(&e, w->cut_until_ms);
    else if (e.kind == SIM_EV_REPLY && w->alive && sim_is_cut(w))
        sim_put_off(&e, w->cut_until_ms);
    else if (sim_is_for_coordinator(&e) && world.away_until_ms > world.now_ms)
        sim_put_off(&e, world.away_until_ms);
    else
        sim_deliver(&e);
    if (to_worker && w->alive && !sim_is_frozen(w) && e.kind == SIM_EV_REPORT)
        sim_look_at_steps(); /* it may have been stopped while others waited for it */
}

#endif
