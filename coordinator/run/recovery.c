#include "coordinator/run/recovery.h"

#include <stdlib.h>
#include <string.h>

const char *sc_recovery_level_name(sc_recovery_level level)
{
    static const char *const names[] = {"replay", "memory", "disk", "start"};
    return names[level];
}

/* --- who takes which rank ------------------------------------------------------------------------------------------ */

/* A member that may serve: `draining` ones only where they do already, and are asked for. */
static bool may_serve(const sc_member *m, bool draining_too)
{
    return !m->draining || (draining_too && m->rank >= 0);
}

static int count_who_may(const sc_roster *roster, bool draining_too)
{
    int n = 0;
    for (int i = 0; i < sc_roster_count(roster); i++)
        n += may_serve(sc_roster_at(roster, i), draining_too);
    return n;
}

static bool is_placed(const sc_placement *p, uint64_t id)
{
    for (int rank = 0; rank < p->n_ranks; rank++)
        if (p->ids[rank] == id)
            return true;
    return false;
}

/* Each local worker that is not placed yet takes the rank that it was started under, if that is empty. */
static void place_at_home(const sc_roster *roster, bool draining_too, sc_placement *p)
{
    for (int i = 0; i < sc_roster_count(roster); i++) {
        const sc_member *m = sc_roster_at(roster, i);
        if (may_serve(m, draining_too) && m->local_index >= 0 && m->local_index < p->n_ranks &&
            p->ids[m->local_index] == 0 && !is_placed(p, m->id))
            p->ids[m->local_index] = m->id;
    }
}

/* Empty ranks, from the lowest, for whoever is left: survivors by their rank, then spares in order of joining. */
static void place_the_rest(const sc_roster *roster, bool draining_too, sc_placement *p)
{
    int empty = 0, n_ranks = sc_roster_n_ranks(roster);
    for (int pass = -n_ranks; pass < sc_roster_count(roster); pass++) {
        const sc_member *m = pass < 0 ? sc_roster_ranked(roster, pass + n_ranks) : sc_roster_at(roster, pass);
        if (!m || !may_serve(m, draining_too) || is_placed(p, m->id))
            continue;
        while (empty < p->n_ranks && p->ids[empty] != 0)
            empty++;
        if (empty == p->n_ranks)
            return;
        p->ids[empty] = m->id;
    }
}

/* The partition stays: so do survivors at their ranks. There are members enough. */
static void fill_ranks(const sc_roster *roster, int n_ranks, bool draining_too, sc_placement *p)
{
    *p = (sc_placement){.go = true, .n_ranks = n_ranks, .same_partition = true};
    for (int rank = 0; rank < n_ranks; rank++) {
        const sc_member *m = sc_roster_ranked(roster, rank);
        if (m && may_serve(m, draining_too))
            p->ids[rank] = m->id;
    }
    place_at_home(roster, draining_too, p);
    place_the_rest(roster, draining_too, p);
}

static void share_anew(const sc_roster *roster, int n_ranks, bool draining_too, sc_placement *p)
{
    *p = (sc_placement){.go = true, .n_ranks = n_ranks};
    place_at_home(roster, draining_too, p);
    place_the_rest(roster, draining_too, p);
}

static int at_most(int n, int limit)
{
    return n < limit ? n : limit;
}

void sc_recovery_place(const sc_recovery_crew *crew, sc_placement *out)
{
    int there = count_who_may(crew->roster, true), staying = count_who_may(crew->roster, false);
    *out = (sc_placement){.until_ms = UINT64_MAX};
    if (crew->n_ranks == 0 && there >= crew->wanted) {
        share_anew(crew->roster, crew->wanted, true, out);
        return;
    }
    if (crew->n_ranks == 0 && !crew->resumed)
        return;
    if (crew->n_ranks > 0 && there >= crew->n_ranks) {
        fill_ranks(crew->roster, crew->n_ranks, true, out);
        return;
    }
    if (there == 0)
        return;
    if (crew->now_ms < crew->since_ms + crew->wait_ms)
        out->until_ms = crew->since_ms + crew->wait_ms;
    else if (staying > 0)
        share_anew(crew->roster, at_most(staying, crew->wanted), false, out);
    else
        share_anew(crew->roster, at_most(there, crew->wanted), true, out);
}

bool sc_recovery_rearrange(const sc_recovery_crew *crew, bool may_grow, sc_placement *out)
{
    int staying = count_who_may(crew->roster, false), n_draining = 0;
    for (int i = 0; i < sc_roster_count(crew->roster); i++) {
        const sc_member *m = sc_roster_at(crew->roster, i);
        n_draining += m->draining && m->rank >= 0;
    }
    *out = (sc_placement){.until_ms = UINT64_MAX};
    if (n_draining > 0) {
        if (staying >= crew->n_ranks)
            fill_ranks(crew->roster, crew->n_ranks, false, out);
        else if (staying > 0)
            share_anew(crew->roster, at_most(staying, crew->wanted), false, out);
        return true;
    }
    if (!may_grow || crew->n_ranks >= crew->wanted || staying <= crew->n_ranks)
        return false;
    share_anew(crew->roster, at_most(staying, crew->wanted), false, out);
    return true;
}

/* --- parts --------------------------------------------------------------------------------------------------------- */

static bool has_block(const sc_part *part, uint64_t lineage, uint64_t step, int block)
{
    return part->lineage == lineage && part->step == step && block >= part->first_block &&
           block - part->first_block < part->n_blocks;
}

/* The part of the step that has this block and reaches farthest: one of the member's own, else anybody's. */
static const sc_part *find_part(const sc_roster *roster, uint64_t lineage, uint64_t step, int block, uint64_t own,
                                uint64_t *id)
{
    const sc_part *best = NULL;
    bool best_is_own = false;
    for (int i = 0; i < sc_roster_count(roster); i++) {
        const sc_member *m = sc_roster_at(roster, i);
        for (int k = 0; k < m->n_parts; k++) {
            const sc_part *part = &m->parts[k];
            bool is_own = m->id == own;
            if (!has_block(part, lineage, step, block) || (best_is_own && !is_own))
                continue;
            if (best && best_is_own == is_own &&
                part->first_block + part->n_blocks <= best->first_block + best->n_blocks)
                continue;
            best = part;
            best_is_own = is_own;
            *id = m->id;
        }
    }
    return best;
}

static bool is_covered(const sc_roster *roster, uint64_t lineage, uint64_t step, int first_block, int n_blocks)
{
    uint64_t id;
    for (int block = first_block; block < first_block + n_blocks;) {
        const sc_part *part = find_part(roster, lineage, step, block, 0, &id);
        if (!part)
            return false;
        block = part->first_block + part->n_blocks;
    }
    return true;
}

/* The largest step of any part that is below `below`; 0 if there is none. */
static uint64_t step_below(const sc_roster *roster, uint64_t lineage, uint64_t below)
{
    uint64_t step = 0;
    for (int i = 0; i < sc_roster_count(roster); i++) {
        const sc_member *m = sc_roster_at(roster, i);
        for (int k = 0; k < m->n_parts; k++)
            if (m->parts[k].lineage == lineage && m->parts[k].step < below && m->parts[k].step > step)
                step = m->parts[k].step;
    }
    return step;
}

uint64_t sc_recovery_newest_point(const sc_roster *roster, uint64_t lineage, int n_blocks, uint64_t above)
{
    uint64_t step = UINT64_MAX;
    while ((step = step_below(roster, lineage, step)) > above)
        if (is_covered(roster, lineage, step, 0, n_blocks))
            return step;
    return 0;
}

static bool is_with_two(const sc_roster *roster, uint64_t lineage, uint64_t step, int block)
{
    int n = 0;
    for (int i = 0; n < 2 && i < sc_roster_count(roster); i++) {
        const sc_member *m = sc_roster_at(roster, i);
        bool has = false;
        for (int k = 0; !has && k < m->n_parts; k++)
            has = has_block(&m->parts[k], lineage, step, block);
        n += has;
    }
    return n == 2;
}

uint64_t sc_recovery_safe_point(const sc_roster *roster, uint64_t lineage, int n_blocks)
{
    uint64_t step = UINT64_MAX;
    while ((step = step_below(roster, lineage, step)) > 0) {
        int block = 0;
        while (block < n_blocks && is_with_two(roster, lineage, step, block))
            block++;
        if (block == n_blocks)
            return step;
    }
    return 0;
}

/* --- replay -------------------------------------------------------------------------------------------------------- */

/* Ranks that can come to `decided` by themselves, and the others, which are lost. */
static int order_survivors(const sc_recovery_situation *s, sc_rank_order *orders)
{
    int n_lost = 0;
    for (int rank = 0; rank < s->n_ranks; rank++) {
        const sc_kept_state *k = &s->kept[rank];
        if (k->kept && k->applied_step == s->decided)
            orders[rank] = SC_RANK_STAYS;
        else if (k->kept && k->applied_step < s->decided && k->voted_step == s->decided)
            orders[rank] = SC_RANK_APPLIES;
        else
            orders[rank] = SC_RANK_REPLAYS, n_lost++;
    }
    return n_lost;
}

static bool lost_are_covered(const sc_recovery_situation *s, const sc_rank_order *orders, uint64_t step)
{
    for (int rank = 0; rank < s->n_ranks; rank++)
        if (orders[rank] == SC_RANK_REPLAYS &&
            !is_covered(s->roster, s->lineage, step, s->slices[rank].first_block, s->slices[rank].n_blocks))
            return false;
    return true;
}

/* Invariant 5, of one neighbour. */
static bool can_repeat(const sc_recovery_situation *s, const sc_rank_order *orders, int neighbour, uint64_t sequence)
{
    const sc_kept_state *k = &s->kept[neighbour];
    return orders[neighbour] != SC_RANK_REPLAYS && k->logged_from > 0 && k->logged_from <= sequence;
}

static bool learns(const sc_recovery_situation *s, int rank)
{
    return s->slices[rank].first_block + s->slices[rank].n_blocks > s->frozen;
}

static bool logs_reach(const sc_recovery_situation *s, const sc_rank_order *orders, uint64_t point)
{
    uint64_t n_steps = s->decided - point;
    if (n_steps > (uint64_t)s->n_record)
        return false;
    uint64_t sequence = s->record[(uint64_t)s->n_record - n_steps].sequence;
    int last = s->n_ranks - 1;
    for (int rank = 0; rank <= last; rank++) {
        if (orders[rank] != SC_RANK_REPLAYS)
            continue;
        if ((rank > 0 && !can_repeat(s, orders, rank - 1, sequence)) ||
            (rank < last && learns(s, rank) && !can_repeat(s, orders, rank + 1, sequence)))
            return false;
        if (s->tied && last > 0 && (rank == 0 || rank == last) && !can_repeat(s, orders, last - rank, sequence))
            return false;
    }
    return true;
}

/* Whether survivors can stay, and from which point the lost ones come. */
static bool try_replay(const sc_recovery_situation *s, sc_recovery_choice *out)
{
    int n_lost = order_survivors(s, out->orders);
    out->level = SC_LEVEL_REPLAY;
    out->step = out->point = s->decided;
    if (n_lost == 0)
        return true;
    if (n_lost == s->n_ranks || s->decided == 0)
        return false;
    uint64_t point = s->decided + 1;
    do
        point = step_below(s->roster, s->lineage, point);
    while (point > 0 && !lost_are_covered(s, out->orders, point));
    if (point == 0 || (point < s->decided && !logs_reach(s, out->orders, point)))
        return false;
    out->point = point;
    for (int rank = 0; point == s->decided && rank < s->n_ranks; rank++)
        if (out->orders[rank] == SC_RANK_REPLAYS)
            out->orders[rank] = SC_RANK_RESTORES;
    return true;
}

/* --- the choice ---------------------------------------------------------------------------------------------------- */

static void go_back(const sc_recovery_situation *s, sc_recovery_level level, uint64_t step, sc_recovery_choice *out)
{
    out->level = level;
    out->step = out->point = step;
    for (int rank = 0; rank < s->n_ranks; rank++) {
        bool is_there = s->kept[rank].kept && s->kept[rank].applied_step == step;
        out->orders[rank] = level != SC_LEVEL_MEMORY ? SC_RANK_LOADS : is_there ? SC_RANK_STAYS : SC_RANK_RESTORES;
    }
}

/* At most a holder a block, so as many as there are blocks. */
static sc_status list_holders(const sc_recovery_situation *s, sc_recovery_choice *out)
{
    out->holders = calloc((size_t)s->n_blocks, sizeof *out->holders);
    out->holder_ranks = calloc((size_t)s->n_blocks, sizeof *out->holder_ranks);
    if (!out->holders || !out->holder_ranks) {
        sc_recovery_choice_clear(out);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a recovery");
    }
    for (int rank = 0; rank < s->n_ranks; rank++) {
        if (out->orders[rank] != SC_RANK_RESTORES && out->orders[rank] != SC_RANK_REPLAYS)
            continue;
        uint64_t own = sc_roster_ranked(s->roster, rank)->id;
        int end = s->slices[rank].first_block + s->slices[rank].n_blocks, first_of_rank = out->n_holders;
        for (int block = s->slices[rank].first_block; block < end;) {
            sc_holder h = {0};
            const sc_part *part = find_part(s->roster, s->lineage, out->point, block, own, &h.id);
            h.first_block = part->first_block;
            h.n_blocks = part->n_blocks;
            int at = out->n_holders++;
            if (h.id == own) /* in front of those of others */
                for (; at > first_of_rank && out->holders[at - 1].id != own; at--)
                    out->holders[at] = out->holders[at - 1];
            out->holders[at] = h;
            out->holder_ranks[out->n_holders - 1] = rank;
            block = part->first_block + part->n_blocks;
        }
    }
    return SC_OK;
}

sc_status sc_recovery_choose(const sc_recovery_situation *s, sc_recovery_choice *out)
{
    *out = (sc_recovery_choice){0};
    uint64_t disk = s->have_disk ? s->disk_step : 0;
    bool replay = try_replay(s, out);
    uint64_t reached = replay ? out->step : 0;
    uint64_t memory = sc_recovery_newest_point(s->roster, s->lineage, s->n_blocks, reached > disk ? reached : disk);
    /* A point at the checkpoint's own step is as good, and nearer. */
    if (memory == 0 && !replay && s->have_disk && is_covered(s->roster, s->lineage, disk, 0, s->n_blocks))
        memory = disk;
    if (memory > 0)
        go_back(s, SC_LEVEL_MEMORY, memory, out);
    else if (s->have_disk && (!replay || disk > reached))
        go_back(s, SC_LEVEL_DISK, disk, out);
    else if (!replay)
        go_back(s, SC_LEVEL_START, 0, out);
    return list_holders(s, out);
}

void sc_recovery_choice_clear(sc_recovery_choice *self)
{
    free(self->holders);
    free(self->holder_ranks);
    *self = (sc_recovery_choice){0};
}
