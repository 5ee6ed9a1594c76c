/* Workers' commands in a simulated run: one after the other, in the order of their arrival; a step ends when its neighbours'
 * tensors are there, a replayed one when their logs have them. */
#ifndef SC_SIM_EXECUTOR_H
#define SC_SIM_EXECUTOR_H

#include "tests/sim/sim_world.h"

static void sim_check(const char *wrong, const sim_worker *w, uint64_t step)
{
    if (wrong)
        world.hooks.wrong(wrong, w->index, (long)step);
}

static sim_worker *sim_neighbour(const sim_worker *w, int rank)
{
    for (int i = 0; i < world.n_workers; i++) {
        sim_worker *n = &world.workers[i];
        if (n != w && n->alive && n->has_stage && n->generation == w->generation && n->coordinator == w->coordinator &&
            n->rank == rank)
            return n;
    }
    return NULL;
}

static bool sim_has_tensors_of(const sim_worker *w, const sim_call *call, int rank)
{
    if (rank < 0 || rank >= w->n_ranks || rank == w->rank)
        return true;
    const sim_worker *n = sim_neighbour(w, rank);
    if (!n || sim_is_cut(n) || sim_is_cut(w) || sim_is_frozen(n))
        return false;
    if (call->replay) {
        if (!sim_log_has(n, call->sequence, call->step))
            world.hooks.wrong("the log of worker %ld does not reach back to step %ld", n->index, (long)call->step);
        return true;
    }
    if (n->sent_generation != w->generation || n->sent_sequence != call->sequence)
        return false;
    if (n->sent_step != call->step)
        world.hooks.wrong("worker %ld sends for another step than %ld", n->index, (long)call->step);
    return true;
}

static uint64_t sim_duration(sim_kind kind)
{
    if (sim_chance(1))
        return 100 + sim_random(500); /* slow, and not hung */
    return kind == SIM_RUN ? 10 + sim_random(30) : 1 + sim_random(10);
}

/* Ends the running commands that have what they wait for. */
static void sim_look_at_steps(void)
{
    for (int i = 0; i < world.n_workers; i++) {
        sim_worker *w = &world.workers[i];
        if (world.running[i] < 0 || world.is_ending[i] || w->hung)
            continue;
        sim_call *call = world.calls[world.running[i]];
        if (!sim_has_tensors_of(w, call, w->rank - 1) || !sim_has_tensors_of(w, call, w->rank + 1) ||
            (world.tied && (w->rank == 0 || w->rank == w->n_ranks - 1) &&
             !sim_has_tensors_of(w, call, w->n_ranks - 1 - w->rank)))
            continue;
        world.is_ending[i] = true;
        sim_later(world.now_ms + sim_duration(SIM_RUN), SIM_EV_DONE, i, (uint64_t)world.running[i]);
    }
}

static void sim_start_next(sim_worker *w)
{
    int i = w->index;
    while (w->alive && world.running[i] < 0 && world.n_queued[i] > 0) {
        int index = world.queue[i][0];
        sim_call *call = world.calls[index];
        memmove(world.queue[i], world.queue[i] + 1, (size_t)--world.n_queued[i] * sizeof(int));
        if (call->kind != SIM_ASSIGN && (call->generation != w->generation || !w->has_stage)) {
            world.n_fenced++;
            continue;
        }
        world.running[i] = index;
        world.is_ending[i] = call->kind != SIM_RUN;
        if (call->kind == SIM_RUN)
            sim_check(sim_worker_begin_step(w, call->step, call->sequence), w, call->step);
        else
            sim_later(world.now_ms + sim_duration(call->kind), SIM_EV_DONE, i, (uint64_t)index);
    }
    sim_look_at_steps();
}

static void sim_drop_commands(sim_worker *w)
{
    world.n_queued[w->index] = 0;
    world.running[w->index] = -1;
}

/* The fences: of the membership, of repetitions, and of the generation. */
static void sim_call_arrives(const sim_event *e)
{
    sim_worker *w = &world.workers[e->worker];
    sim_call *call = world.calls[e->tag];
    if (!w->alive || call->joins != w->joins || !w->is_member || call->coordinator != w->coordinator ||
        call->number <= world.last_number[w->index]) {
        world.n_fenced += w->alive;
        return;
    }
    world.last_number[w->index] = call->number;
    if (call->kind == SIM_ASSIGN) {
        world.n_queued[w->index] = 0;
        if (world.running[w->index] >= 0 && world.calls[world.running[w->index]]->kind == SIM_RUN)
            world.running[w->index] = -1; /* broken off */
    } else if (call->kind == SIM_SNAPSHOT && call->generation == w->generation) {
        const sc_run_snapshot *s = &call->snapshot;
        sim_worker_let_go(w, s->step, s->keep_steps, s->n_keep_steps, s->log_from);
    }
    call->arrived = true;
    world.queue[w->index][world.n_queued[w->index]++] = (int)e->tag;
    sim_start_next(w);
}

/* Copies what the holders have; whoever is away is as good as without it, and one that has gone on to a later generation, or to
 * a later coordinator, than this worker, which was replaced and does not know it yet, may have let it go. */
static sim_result sim_restore(sim_worker *w, const sim_call *call)
{
    uint64_t state[SIM_BLOCKS];
    bool have[SIM_BLOCKS] = {false};
    for (int i = 0; i < call->n_holders; i++) {
        sim_worker *holder = &world.workers[call->holders[i]];
        bool is_there = holder->alive && holder->id == call->holder_ids[i] && !sim_is_frozen(holder) &&
                        (holder == w || !sim_is_cut(holder));
        sim_part *part = sim_part_find(holder, call->step, call->held[i].first_block, call->held[i].n_blocks);
        bool has_gone_on = holder->coordinator != w->coordinator || holder->generation > w->generation;
        if (is_there && !part && !world.excused[holder->index] && !has_gone_on)
            world.hooks.wrong("Restore from worker %ld, which has no such part of step %ld", holder->index,
                              (long)call->step);
        if (!is_there || !part || part->damaged)
            continue;
        for (int b = 0; b < part->key.n_blocks; b++) {
            int own = part->key.first_block + b - w->slice.first_block;
            if (own < 0 || own >= w->slice.n_blocks)
                continue;
            state[own] = part->state[b];
            have[own] = true;
        }
    }
    for (int b = 0; b < w->slice.n_blocks; b++)
        if (!have[b])
            return SIM_NOT_FOUND;
    sim_worker_restored(w, call->step, state);
    return SIM_OK;
}

/* Two workers never hold one stage in one generation. */
static void sim_check_stage_is_alone(const sim_worker *w)
{
    const sim_worker *other = w->has_stage ? sim_neighbour(w, w->rank) : NULL;
    if (other)
        world.hooks.wrong("workers %ld and %ld hold one stage in one generation", w->index, other->index);
}

static void sim_command_ends(const sim_event *e)
{
    sim_worker *w = &world.workers[e->worker];
    sim_call *call = world.calls[e->tag];
    if (world.running[w->index] != (int)e->tag || w->hung)
        return;
    world.running[w->index] = -1;
    w->actions_done++;
    switch (call->kind) {
    case SIM_ASSIGN:
        sim_check(sim_worker_assign(w, &call->assign, &world.truth, &call->kept), w, call->generation);
        sim_check_stage_is_alone(w);
        break;
    case SIM_LOAD:
        sim_worker_load(w, &world.truth, call->step);
        break;
    case SIM_RESTORE:
        call->result = sim_restore(w, call);
        break;
    case SIM_RUN:
        call->gradients = sim_worker_vote(w);
        break;
    case SIM_APPLY:
        sim_check(sim_worker_apply(w, call->sequence, call->grad_scale, call->learning_rate), w, call->step);
        break;
    case SIM_SNAPSHOT:
        sim_check(sim_worker_snapshot(w, call->step), w, call->step);
        break;
    case SIM_DEPOSIT: /* on its way while the worker goes on */
        sim_later(world.now_ms + 2 + sim_random(60), SIM_EV_ARRIVED, w->index, e->tag);
        break;
    }
    if (call->kind != SIM_DEPOSIT)
        sim_answer(call);
    sim_start_next(w);
}

static void sim_deposit_arrives(const sim_event *e)
{
    sim_worker *w = &world.workers[e->worker];
    sim_call *call = world.calls[e->tag];
    if (!w->alive || call->joins != w->joins || w->generation != call->generation)
        return;
    sim_worker *buddy = w->buddy >= 0 ? &world.workers[w->buddy] : NULL;
    if (buddy && buddy->alive && (sim_is_frozen(buddy) || sim_is_cut(buddy))) {
        sim_put_off(e, world.now_ms + 50);
        return;
    }
    const char *wrong = NULL;
    bool taken = buddy && buddy->alive && buddy->coordinator == w->coordinator && !sim_chance(2) &&
                 sim_worker_take_deposit(buddy, w, call->step, &wrong);
    sim_check(wrong, w, call->step);
    call->result = taken ? SIM_OK : SIM_ABORTED;
    sim_answer(call);
}

#endif
