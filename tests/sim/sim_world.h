/* The world of a simulated run: time, chance, and the wire.
 *
 * Mental model. One heap of events in the order of time; what happens is a function of the seed alone. Calls to a worker arrive
 * in the order in which they were sent, late while it is cut off or stopped, some twice; calls to different workers, and their
 * replies, pass each other. The coordinator is told of things through sim_hooks, and may be down, or stopped like any process.
 *
 *   sim_worker.h    what one worker knows and holds      sim_checks.h    the invariants, and the oracle
 *   sim_world.h     time, chance, the wire               sim_recovery.h  the coordinator: membership, assignments, loading
 *   sim_executor.h  workers' commands, one by one        sim_steps.h     the coordinator: steps, points, checkpoints, changes
 *   sim_faults.h    processes, and what befalls them     test_histories.c  histories */
#ifndef SC_SIM_WORLD_H
#define SC_SIM_WORLD_H

#include "coordinator/run/run_state.h"
#include "tests/sim/sim_worker.h"

#include <stdlib.h>

enum {
    SIM_WORKERS = 9,
    SIM_QUEUE = 64,
    SIM_LINES = 60,
    SIM_LEASE_MS = 3000, /* shorter than the default, so that a history stays short */
    SIM_RECONNECT_MS = 700,
    SIM_HANG_MS = 1000,
    SIM_GRACE_MS = 5000, /* how long a worker that drains waits for its release */
    SIM_REPORT_MS = 250,
    SIM_LOOK_MS = 100,
    SIM_CALL_MS = 3000, /* the deadline of a call that has one */
};

typedef enum sim_kind { SIM_ASSIGN, SIM_LOAD, SIM_RESTORE, SIM_RUN, SIM_APPLY, SIM_SNAPSHOT, SIM_DEPOSIT } sim_kind;
typedef enum sim_result { SIM_OK, SIM_NOT_FOUND, SIM_ABORTED } sim_result;

typedef struct sim_call {
    sim_kind kind;
    int worker, rank;
    uint64_t joins, id, coordinator, generation, round, number;
    bool arrived, answered;
    uint64_t step, sequence; /* arguments */
    bool replay;
    float grad_scale, learning_rate;
    sim_assign assign;
    sc_run_snapshot snapshot;
    int holders[SIM_BLOCKS], n_holders; /* workers, as these members */
    uint64_t holder_ids[SIM_BLOCKS];
    sc_slice held[SIM_BLOCKS];
    sim_result result; /* the answer */
    sc_kept_state kept;
    uint64_t gradients;
} sim_call;

typedef struct sim_hooks {
    void (*reply)(sim_call *call);
    void (*deadline)(sim_call *call);
    uint64_t (*join)(sim_worker *w); /* the member's id */
    bool (*report)(sim_worker *w, bool waiting);
    void (*exited)(sim_worker *w);
    void (*cut)(sim_worker *w);
    void (*drain)(sim_worker *w);
    void (*tick)(void);
    void (*streamed)(uint64_t save);
    void (*die)(void);
    void (*wrong)(const char *what, long a, long b); /* does not return */
} sim_hooks;

typedef enum sim_event_kind {
    SIM_EV_CALL,
    SIM_EV_DONE,
    SIM_EV_ARRIVED, /* a deposit, at the buddy */
    SIM_EV_REPLY,
    SIM_EV_DEADLINE,
    SIM_EV_START,
    SIM_EV_JOIN,
    SIM_EV_REPORT,
    SIM_EV_HEALED,
    SIM_EV_TICK,
    SIM_EV_STREAMED,
    SIM_EV_FAULT,
    SIM_EV_PEACE,
} sim_event_kind;

typedef struct sim_event {
    uint64_t at_ms, order;
    sim_event_kind kind;
    int worker;
    uint64_t tag; /* a call's index, a life, a save */
} sim_event;

typedef struct sim_line {
    uint64_t at_ms;
    const char *text; /* a format of up to three long */
    long a, b, c;
} sim_line;

typedef struct sim_world {
    uint64_t random, now_ms, last_order;
    sim_hooks hooks;
    sim_truth truth;
    sim_event *heap;
    size_t n_events, room;
    sim_call **calls; /* owned */
    size_t n_calls, calls_room;
    sim_worker workers[SIM_WORKERS];
    int queue[SIM_WORKERS][SIM_QUEUE], n_queued[SIM_WORKERS], running[SIM_WORKERS]; /* calls; -1 */
    bool is_ending[SIM_WORKERS]; /* the running command has all it needs */
    uint64_t arrives_ms[SIM_WORKERS], replies_ms[SIM_WORKERS], last_number[SIM_WORKERS];
    bool excused[SIM_WORKERS]; /* something was done to it that may cost its membership */
    int n_workers;
    bool tied;            /* the first and the last stage exchange gradients */
    bool local;           /* workers are started again by the coordinator when they are lost */
    uint64_t coordinator; /* its life; 0: it is down */
    uint64_t away_until_ms;
    bool peace, begun, may_hang;
    sim_line lines[SIM_LINES];
    uint64_t n_lines, n_fenced, n_faults;
} sim_world;

static sim_world world;

static uint64_t sim_random(uint64_t n)
{
    world.random += 0x9E3779B97F4A7C15u;
    return sim_mix(world.random) % n;
}

static bool sim_chance(uint64_t percent)
{
    return sim_random(100) < percent;
}

static void sim_note(const char *text, long a, long b, long c)
{
    world.lines[world.n_lines++ % SIM_LINES] = (sim_line){world.now_ms, text, a, b, c};
}

/* --- events ------------------------------------------------------------------------------------------------------------ */

static bool sim_is_before(const sim_event *a, const sim_event *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void sim_put(sim_event e)
{
    if (world.n_events == world.room) {
        world.room = world.room ? 2 * world.room : 256;
        world.heap = realloc(world.heap, world.room * sizeof *world.heap);
    }
    size_t i = world.n_events++;
    for (; i > 0 && sim_is_before(&e, &world.heap[(i - 1) / 2]); i = (i - 1) / 2)
        world.heap[i] = world.heap[(i - 1) / 2];
    world.heap[i] = e;
}

static void sim_later(uint64_t at_ms, sim_event_kind kind, int worker, uint64_t tag)
{
    sim_put((sim_event){at_ms, ++world.last_order, kind, worker, tag});
}

static sim_event sim_take(void)
{
    sim_event first = world.heap[0], last = world.heap[--world.n_events];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= world.n_events)
            break;
        if (child + 1 < world.n_events && sim_is_before(&world.heap[child + 1], &world.heap[child]))
            child++;
        if (!sim_is_before(&world.heap[child], &last))
            break;
        world.heap[i] = world.heap[child];
        i = child;
    }
    world.heap[i] = last;
    return first;
}

/* The same at a later time, and still before what comes behind it. */
static void sim_put_off(const sim_event *e, uint64_t at_ms)
{
    sim_event later = *e;
    later.at_ms = at_ms;
    sim_put(later);
}

/* What waits for this worker, and this time, comes earlier. */
static void sim_bring_forward(int worker, uint64_t from_ms, uint64_t to_ms)
{
    size_t n = world.n_events;
    world.n_events = 0;
    for (size_t i = 0; i < n; i++) { /* each is put where it was, or further in front */
        sim_event e = world.heap[i];
        if (e.worker == worker && e.at_ms == from_ms)
            e.at_ms = to_ms;
        sim_put(e);
    }
}

/* --- the wire ---------------------------------------------------------------------------------------------------------- */

static bool sim_is_frozen(const sim_worker *w)
{
    return w->frozen_until_ms > world.now_ms;
}

static bool sim_is_cut(const sim_worker *w)
{
    return w->cut_until_ms > world.now_ms;
}

static uint64_t sim_delay(void)
{
    return sim_chance(2) ? 20 + sim_random(300) : 1 + sim_random(6);
}

/* When something that is sent now arrives; never before what was sent earlier. */
static uint64_t sim_arrival(const sim_worker *w, uint64_t *last_ms)
{
    uint64_t from = sim_is_cut(w) ? w->cut_until_ms : world.now_ms, at = from + sim_delay();
    *last_ms = at > *last_ms ? at : *last_ms;
    return *last_ms;
}

static sim_call *sim_new_call(sim_kind kind)
{
    if (world.n_calls == world.calls_room) {
        world.calls_room = world.calls_room ? 2 * world.calls_room : 256;
        world.calls = realloc(world.calls, world.calls_room * sizeof *world.calls);
    }
    sim_call *call = world.calls[world.n_calls] = calloc(1, sizeof *call);
    call->kind = kind;
    call->number = ++world.n_calls;
    return call;
}

/* To the process that had joined as this member; nobody else gets it. */
static void sim_send(sim_call *call)
{
    sim_worker *w = &world.workers[call->worker];
    call->joins = w->joins;
    call->coordinator = world.coordinator;
    if (w->id != call->id)
        return;
    uint64_t at = sim_arrival(w, &world.arrives_ms[w->index]);
    sim_later(at, SIM_EV_CALL, w->index, call->number - 1);
    if (sim_chance(2))
        sim_later(at + 1 + sim_random(3000), SIM_EV_CALL, w->index, call->number - 1);
    if (call->kind == SIM_ASSIGN || call->kind == SIM_APPLY)
        sim_later(world.now_ms + (call->kind == SIM_ASSIGN ? 3u : 1u) * SIM_CALL_MS, SIM_EV_DEADLINE, w->index,
                  call->number - 1);
}

static void sim_answer(sim_call *call)
{
    uint64_t at = sim_arrival(&world.workers[call->worker], &world.replies_ms[call->worker]);
    sim_later(at, SIM_EV_REPLY, call->worker, call->number - 1);
    if (sim_chance(2))
        sim_later(at + 1 + sim_random(3000), SIM_EV_REPLY, call->worker, call->number - 1);
}

#endif
