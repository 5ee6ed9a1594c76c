/* A simulated worker, for histories of runs: as little of the real one as it takes to notice a wrong order.
 *
 * Mental model. The state of a block after a step is one number, a function of the block, the step, and of all verdicts before
 * it. So stages that are not of one step, a verdict that differs, or a part of another point, show as a wrong number. A call
 * returns NULL, or what is wrong with it; what the real worker would answer with an error is wrong too, unless it is said.
 *
 * What is modelled: process (alive, frozen, hung, cut off), membership, the generation fence, stages with their applied and voted
 * step, the vault of parts with keep_steps, the reach of the message log. Pure; times are the world's. */
#ifndef SC_SIM_WORKER_H
#define SC_SIM_WORKER_H

#include "coordinator/run/recovery.h"

#include <stdio.h>
#include <string.h>

enum { SIM_BLOCKS = 12, SIM_STEPS = 96, SIM_PARTS = 24, SIM_LOG = 24, SIM_KEEP = 4 };

/* --- what is true: a run that nobody disturbed ------------------------------------------------------------------------ */

typedef struct sim_truth {
    int n_blocks;
    uint64_t state[SIM_STEPS + 1][SIM_BLOCKS];
    sc_decided_step verdicts[SIM_STEPS + 1]; /* no sequences */
} sim_truth;

/* The finalizer of splitmix64. */
static uint64_t sim_mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* What a block's gradient in this step comes to. */
static uint64_t sim_gradient(uint64_t state, uint64_t step)
{
    return sim_mix(state ^ (step << 48));
}

/* All gradients together decide the scale. */
static sc_decided_step sim_verdict(uint64_t step, uint64_t gradients)
{
    return (sc_decided_step){.step = step,
                             .n_targets = 1000 + step % 7,
                             .grad_scale = (float)(1 + (gradients >> 44)),
                             .learning_rate = 1 / (float)(step + 1)};
}

static uint64_t sim_applied(uint64_t state, uint64_t step, float grad_scale, float learning_rate)
{
    uint32_t scale, rate;
    memcpy(&scale, &grad_scale, sizeof scale);
    memcpy(&rate, &learning_rate, sizeof rate);
    return sim_mix(sim_gradient(state, step) ^ ((uint64_t)scale << 32 | rate));
}

static void sim_truth_make(sim_truth *truth, int n_blocks)
{
    truth->n_blocks = n_blocks;
    for (int b = 0; b < n_blocks; b++)
        truth->state[0][b] = sim_mix((uint64_t)b + 1);
    for (uint64_t step = 1; step <= SIM_STEPS; step++) {
        uint64_t gradients = 0;
        for (int b = 0; b < n_blocks; b++)
            gradients ^= sim_gradient(truth->state[step - 1][b], step);
        sc_decided_step v = truth->verdicts[step] = sim_verdict(step, gradients);
        for (int b = 0; b < n_blocks; b++)
            truth->state[step][b] = sim_applied(truth->state[step - 1][b], step, v.grad_scale, v.learning_rate);
    }
}

/* --- the worker ------------------------------------------------------------------------------------------------------- */

typedef struct sim_part {
    sc_part key;
    uint64_t state[SIM_BLOCKS]; /* of blocks key.first_block ... */
    bool damaged;
} sim_part;

typedef struct sim_worker {
    /* the process */
    int index;
    bool alive, hung;
    uint64_t life;            /* counts the processes that were started here */
    uint64_t frozen_until_ms; /* > now: stopped */
    uint64_t cut_until_ms;    /* > now: no connection to anybody */
    uint64_t hung_ms;         /* since when */
    uint64_t leaves_ms;       /* it drains, and waits so long to be released; 0: it stays */
    /* membership */
    bool is_member, joining;
    uint64_t id, coordinator, joins; /* the member's number, the coordinator's life, how often it joined */
    uint64_t contact_ms;
    /* assignment */
    bool has_assignment, has_stage;
    uint64_t generation;
    int rank, n_ranks;
    sc_slice slice;
    int buddy; /* index of a worker; -1: nobody */
    /* stage */
    bool is_known; /* of which step its state is */
    bool voted;
    uint64_t step; /* the voted one, else the last applied; 0: none since the state was written */
    uint64_t voted_sequence, voted_generation;
    uint64_t state[SIM_BLOCKS];
    uint64_t sent_generation, sent_sequence, sent_step; /* what its neighbours have of it */
    /* vault */
    uint64_t lineage;
    sim_part parts[SIM_PARTS];
    int n_parts;
    uint64_t keep_steps[SIM_KEEP];
    int n_keep_steps;
    /* message log */
    int log_steps; /* its budget */
    uint64_t log_from, logged_sequences[SIM_LOG], logged_steps[SIM_LOG];
    int n_logged;
    uint64_t actions_done;
} sim_worker;

/* --- the message log -------------------------------------------------------------------------------------------------- */

static void sim_log_clear(sim_worker *w)
{
    w->n_logged = 0;
    w->log_from = 0;
}

static void sim_log_drop_first(sim_worker *w)
{
    w->n_logged--;
    memmove(w->logged_sequences, w->logged_sequences + 1, (size_t)w->n_logged * sizeof *w->logged_sequences);
    memmove(w->logged_steps, w->logged_steps + 1, (size_t)w->n_logged * sizeof *w->logged_steps);
}

static void sim_log_release_before(sim_worker *w, uint64_t sequence)
{
    while (w->n_logged > 0 && w->logged_sequences[0] < sequence)
        sim_log_drop_first(w);
    if (w->log_from != 0 && w->log_from < sequence)
        w->log_from = sequence;
}

static void sim_log_drop_from(sim_worker *w, uint64_t sequence)
{
    while (w->n_logged > 0 && w->logged_sequences[w->n_logged - 1] >= sequence)
        w->n_logged--;
}

static void sim_log_put(sim_worker *w, uint64_t sequence, uint64_t step)
{
    if (w->log_steps == 0)
        return;
    if (w->log_from == 0)
        w->log_from = sequence;
    if (w->n_logged == w->log_steps) {
        uint64_t gone = w->logged_sequences[0];
        sim_log_drop_first(w);
        if (w->log_from <= gone)
            w->log_from = gone + 1;
    }
    w->logged_sequences[w->n_logged] = sequence;
    w->logged_steps[w->n_logged++] = step;
}

static bool sim_log_has(const sim_worker *w, uint64_t sequence, uint64_t step)
{
    for (int i = 0; i < w->n_logged; i++)
        if (w->logged_sequences[i] == sequence && w->logged_steps[i] == step)
            return true;
    return false;
}

/* --- membership ------------------------------------------------------------------------------------------------------- */

/* Stages and what was sent are gone with a membership; the vault is not. */
static void sim_worker_leave(sim_worker *w)
{
    w->is_member = w->joining = w->has_assignment = w->has_stage = w->is_known = w->voted = false;
    w->generation = w->step = w->voted_sequence = w->sent_generation = 0;
    w->rank = w->buddy = -1;
    sim_log_clear(w);
}

/* A new process. */
static void sim_worker_start(sim_worker *w)
{
    sim_worker_leave(w);
    w->alive = true;
    w->hung = false;
    w->life++;
    w->frozen_until_ms = w->cut_until_ms = w->leaves_ms = w->id = w->coordinator = 0;
    w->n_parts = w->n_keep_steps = 0;
}

/* --- the vault -------------------------------------------------------------------------------------------------------- */

static sim_part *sim_part_find(sim_worker *w, uint64_t step, int first_block, int n_blocks)
{
    for (int i = 0; i < w->n_parts; i++) {
        const sc_part *key = &w->parts[i].key;
        if (key->step == step && key->first_block == first_block && key->n_blocks == n_blocks)
            return &w->parts[i];
    }
    return NULL;
}

static bool sim_is_one_of(uint64_t step, const uint64_t *steps, int n)
{
    for (int i = 0; i < n; i++)
        if (steps[i] == step)
            return true;
    return false;
}

/* Lets go parts of other steps; with `blocks`, of those blocks alone. */
static void sim_vault_keep(sim_worker *w, uint64_t step, const uint64_t *steps, int n_steps, const sc_slice *blocks)
{
    int n = 0;
    for (int i = 0; i < w->n_parts; i++) {
        const sc_part *key = &w->parts[i].key;
        bool meant = !blocks || (key->first_block == blocks->first_block && key->n_blocks == blocks->n_blocks);
        if (!meant || key->step == step || sim_is_one_of(key->step, steps, n_steps))
            w->parts[n++] = w->parts[i];
    }
    w->n_parts = n;
}

static const char *sim_vault_add(sim_worker *w, const sim_part *part)
{
    sim_part *there = sim_part_find(w, part->key.step, part->key.first_block, part->key.n_blocks);
    if (!there && w->n_parts == SIM_PARTS)
        return "the vault has grown without bound";
    *(there ? there : &w->parts[w->n_parts++]) = *part;
    return NULL;
}

/* --- calls of the coordinator ----------------------------------------------------------------------------------------- */

typedef struct sim_assign {
    uint64_t generation, lineage;
    bool keep, fresh;
    int rank, n_ranks; /* rank -1: a member without a stage */
    sc_slice slice;
    int buddy;
} sim_assign;

static const char *sim_worker_assign(sim_worker *w, const sim_assign *a, const sim_truth *truth, sc_kept_state *kept)
{
    *kept = (sc_kept_state){0};
    if (a->generation <= w->generation)
        return "Assign does not raise the generation";
    bool same = w->has_stage && a->rank >= 0 && w->n_ranks == a->n_ranks && w->rank == a->rank &&
                w->slice.first_block == a->slice.first_block && w->slice.n_blocks == a->slice.n_blocks;
    kept->kept = same && a->keep && !a->fresh && w->is_known && w->lineage == a->lineage;
    if (w->lineage != a->lineage)
        w->n_parts = 0;
    w->lineage = a->lineage;
    w->generation = a->generation;
    w->has_assignment = true;
    w->has_stage = a->rank >= 0;
    w->rank = a->rank;
    w->n_ranks = a->n_ranks;
    w->slice = a->slice;
    w->buddy = a->buddy;
    if (kept->kept) {
        sim_log_drop_from(w, w->voted_sequence + 1); /* a step that was broken off */
        kept->applied_step = w->step - w->voted;
        kept->voted_step = w->voted ? w->step : 0;
        kept->voted_sequence = w->voted ? w->voted_sequence : 0;
        kept->logged_from = w->log_from;
        return NULL;
    }
    sim_log_clear(w);
    w->voted = false;
    w->step = w->voted_sequence = 0;
    w->is_known = a->fresh;
    for (int b = 0; b < a->slice.n_blocks; b++)
        w->state[b] = a->fresh ? truth->state[0][a->slice.first_block + b] : 0;
    return NULL;
}

/* State that is written from outside: a checkpoint, or the start's weights. */
static void sim_worker_load(sim_worker *w, const sim_truth *truth, uint64_t step)
{
    w->is_known = false;
    memcpy(w->state, &truth->state[step][w->slice.first_block], (size_t)w->slice.n_blocks * sizeof *w->state);
}

/* Of a step that was never decided, and is run again. */
static void sim_worker_drop_vote(sim_worker *w)
{
    w->voted = false;
    w->step--;
    sim_log_drop_from(w, w->voted_sequence);
}

static const char *sim_worker_begin_step(sim_worker *w, uint64_t step, uint64_t sequence)
{
    if (w->voted)
        sim_worker_drop_vote(w);
    if (w->step != 0 && w->step + 1 != step)
        return "RunStep of a step that does not follow";
    w->sent_generation = w->generation;
    w->sent_sequence = sequence;
    w->sent_step = step;
    return NULL;
}

/* The vote: of all gradients of its blocks. */
static uint64_t sim_worker_vote(sim_worker *w)
{
    uint64_t gradients = 0;
    for (int b = 0; b < w->slice.n_blocks; b++)
        gradients ^= sim_gradient(w->state[b], w->sent_step);
    w->voted = w->is_known = true;
    w->step = w->sent_step;
    w->voted_sequence = w->sent_sequence;
    w->voted_generation = w->generation;
    sim_log_put(w, w->sent_sequence, w->sent_step);
    return gradients;
}

static const char *sim_worker_apply(sim_worker *w, uint64_t sequence, float grad_scale, float learning_rate)
{
    if (!w->voted || w->voted_sequence != sequence)
        return "ApplyStep of a step that it has not voted for";
    for (int b = 0; b < w->slice.n_blocks; b++)
        w->state[b] = sim_applied(w->state[b], w->step, grad_scale, learning_rate);
    w->voted = false;
    return NULL;
}

/* When the call arrives, before its turn. */
static void sim_worker_let_go(sim_worker *w, uint64_t step, const uint64_t *keep, int n_keep, uint64_t log_from)
{
    memcpy(w->keep_steps, keep, (size_t)n_keep * sizeof *keep);
    w->n_keep_steps = n_keep;
    sim_vault_keep(w, step, keep, n_keep, NULL);
    sim_log_release_before(w, log_from);
}

static const char *sim_worker_snapshot(sim_worker *w, uint64_t step)
{
    if (w->voted && w->voted_generation != w->generation && w->step == step + 1)
        sim_worker_drop_vote(w);
    if (w->voted || (w->is_known && w->step != step))
        return "Snapshot of another step than the stage's";
    w->step = step;
    w->is_known = true;
    sim_part part = {.key = {w->lineage, step, w->slice.first_block, w->slice.n_blocks}};
    memcpy(part.state, w->state, sizeof part.state);
    return sim_vault_add(w, &part);
}

/* The depositor's part arrives at its buddy, which may not take it; it may have been let go with a point that was given up. */
static bool sim_worker_take_deposit(sim_worker *buddy, sim_worker *from, uint64_t step, const char **wrong)
{
    const sim_part *part = sim_part_find(from, step, from->slice.first_block, from->slice.n_blocks);
    if (!part || !buddy->has_assignment || buddy->generation != from->generation)
        return false;
    sim_vault_keep(buddy, step, from->keep_steps, from->n_keep_steps, &from->slice);
    *wrong = sim_vault_add(buddy, part);
    return !*wrong;
}

/* After the parts that cover its slice were copied to `state`. */
static void sim_worker_restored(sim_worker *w, uint64_t step, const uint64_t *state)
{
    memcpy(w->state, state, sizeof w->state);
    sim_log_clear(w);
    w->voted = false;
    w->voted_sequence = 0;
    w->step = step;
    w->is_known = true;
}

#endif
