#include "coordinator/run/run_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Decided steps that are remembered for replay: far more than lie between two points; older ones are loaded instead. */
enum { RECORD = 1024 };

typedef struct point {
    uint64_t step; /* 0: none is in progress */
    int n_arrived;
    bool arrived[SC_MAX_STAGES];
} point;

struct sc_run_state {
    sc_run_settings settings;
    sc_roster *roster;
    sc_run_phase phase;
    uint64_t generation;

    int n_ranks; /* 0: nothing was assigned yet */
    sc_slice slices[SC_MAX_STAGES];
    uint64_t buddies[SC_MAX_STAGES]; /* ids, by rank; 0: nobody */
    sc_placement placement;          /* MOVE: what comes behind it */
    bool keep, fresh;                /* ASSIGN */
    int n_answered;                  /* ASSIGN: answers to it; MOVE: snapshots */
    bool answered[SC_MAX_STAGES];
    sc_kept_state kept[SC_MAX_STAGES];
    sc_recovery_choice choice; /* LOAD */

    uint64_t since_ms; /* GATHER: since when somebody is missing, and somebody is there */
    uint64_t decided, committed;
    sc_decided_step record[RECORD];
    int n_record;
    bool have_disk;
    uint64_t disk_step;
    point point;      /* in progress */
    bool wants_point; /* a recovery has left copies with one worker alone, which another loss would take */
    uint64_t newest_point;
};

sc_status sc_run_state_new(const sc_run_settings *settings, sc_roster *roster, sc_run_state **out)
{
    assert(settings->wanted >= 1 && settings->wanted <= settings->n_blocks && settings->wanted <= SC_MAX_STAGES);
    sc_run_state *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the run's state");
    self->settings = *settings;
    self->roster = roster;
    *out = self;
    return SC_OK;
}

void sc_run_state_destroy(sc_run_state **self_p)
{
    sc_run_state *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    sc_recovery_choice_clear(&self->choice);
    free(self);
}

/* --- phases -------------------------------------------------------------------------------------------------------- */

static void go_to_gather(sc_run_state *self, uint64_t now_ms)
{
    if (self->phase != SC_RUN_GATHER)
        self->since_ms = now_ms;
    self->phase = SC_RUN_GATHER;
    self->point = (point){0};
    sc_recovery_choice_clear(&self->choice);
}

static void expect_answers(sc_run_state *self)
{
    self->n_answered = 0;
    memset(self->answered, 0, sizeof self->answered);
}

/* Counts a rank's answer once; true with the last. */
static bool count_answer(sc_run_state *self, int rank)
{
    if (!self->answered[rank])
        self->n_answered++;
    self->answered[rank] = true;
    return self->n_answered == self->n_ranks;
}

static sc_recovery_situation situation(const sc_run_state *self)
{
    return (sc_recovery_situation){
        .roster = self->roster,
        .n_ranks = self->n_ranks,
        .n_blocks = self->settings.n_blocks,
        .slices = self->slices,
        .kept = self->kept,
        .tied = self->settings.tied,
        .frozen = self->settings.frozen,
        .lineage = self->settings.lineage,
        .decided = self->decided,
        .record = self->record,
        .n_record = self->n_record,
        .have_disk = self->have_disk,
        .disk_step = self->disk_step,
    };
}

static void begin_assign(sc_run_state *self, bool keep, bool fresh)
{
    self->phase = SC_RUN_ASSIGN;
    self->generation++;
    self->keep = keep;
    self->fresh = fresh;
    expect_answers(self);
    memset(self->kept, 0, sizeof self->kept);
}

/* Whom each rank deposits with: the next rank, or for the only one a spare. As AssignRequest tells the workers. */
static void choose_buddies(sc_run_state *self)
{
    memset(self->buddies, 0, sizeof self->buddies);
    for (int rank = 0; self->n_ranks > 1 && rank < self->n_ranks; rank++)
        self->buddies[rank] = sc_roster_ranked(self->roster, (rank + 1) % self->n_ranks)->id;
    for (int i = 0; self->n_ranks == 1 && i < sc_roster_count(self->roster); i++) {
        const sc_member *m = sc_roster_at(self->roster, i);
        if (m->rank < 0 && !m->draining)
            self->buddies[0] = m->id;
    }
}

/* Seats the placement. Stages are drawn from the seed at once where a kept state is not to be hoped for, and neither the disk
 * nor the vaults have anything. */
static sc_status take_placement(sc_run_state *self, const sc_placement *p)
{
    if (!p->same_partition)
        SC_TRY(self->settings.cut(self->settings.context, p->n_ranks, self->slices));
    bool keep = p->same_partition && self->n_ranks > 0;
    bool nothing = !self->have_disk &&
                   sc_recovery_newest_point(self->roster, self->settings.lineage, self->settings.n_blocks, 0) == 0;
    self->n_ranks = p->n_ranks;
    sc_roster_seat(self->roster, p->ids, p->n_ranks);
    choose_buddies(self);
    begin_assign(self, keep, nothing && !keep && self->settings.seed_start);
    return SC_OK;
}

bool sc_run_state_has_begun(const sc_run_state *self)
{
    bool begun = self->n_ranks > 0 || self->have_disk;
    for (int i = 0; i < sc_roster_count(self->roster) && !begun; i++) {
        const sc_member *m = sc_roster_at(self->roster, i);
        for (int k = 0; k < m->n_parts; k++)
            begun = begun || m->parts[k].lineage == self->settings.lineage;
    }
    return begun;
}

static sc_recovery_crew crew(const sc_run_state *self, uint64_t now_ms)
{
    return (sc_recovery_crew){
        .roster = self->roster,
        .wanted = self->settings.wanted,
        .n_ranks = self->n_ranks,
        .now_ms = now_ms,
        .since_ms = self->since_ms,
        .wait_ms = self->settings.wait_ms,
        .resumed = self->settings.resumes && sc_run_state_has_begun(self),
    };
}

/* MOVE with all snapshots made: the new ranks, unless one of them is gone meanwhile. */
static sc_status finish_move(sc_run_state *self)
{
    sc_placement p = self->placement;
    self->newest_point = self->committed;
    self->point = (point){0};
    for (int rank = 0; rank < p.n_ranks; rank++)
        if (!sc_roster_find(self->roster, p.ids[rank])) {
            self->phase = SC_RUN_RUN; /* and asked again at the next step's end */
            return SC_OK;
        }
    return take_placement(self, &p);
}

sc_status sc_run_state_next(sc_run_state *self, uint64_t now_ms, sc_run_order *out)
{
    *out = (sc_run_order){.kind = SC_ORDER_RUN, .until_ms = UINT64_MAX};
    if (self->phase == SC_RUN_GATHER) {
        sc_placement p;
        if (sc_roster_count(self->roster) == 0)
            self->since_ms = now_ms;
        sc_recovery_crew c = crew(self, now_ms);
        sc_recovery_place(&c, &p);
        out->kind = SC_ORDER_WAIT;
        out->until_ms = p.until_ms;
        if (!p.go)
            return SC_OK;
        SC_TRY(take_placement(self, &p));
    } else if (self->phase == SC_RUN_MOVE && self->n_answered == self->n_ranks) {
        SC_TRY(finish_move(self));
    }
    switch (self->phase) {
    case SC_RUN_GATHER:
        break;
    case SC_RUN_ASSIGN:
        out->kind = SC_ORDER_ASSIGN;
        out->keep = self->keep;
        out->fresh = self->fresh;
        break;
    case SC_RUN_LOAD:
        out->kind = SC_ORDER_LOAD;
        break;
    case SC_RUN_RUN:
        break;
    case SC_RUN_MOVE:
        out->kind = SC_ORDER_SNAPSHOT;
        break;
    case SC_RUN_HAND_OVER:
        out->kind = SC_ORDER_HAND_OVER;
        break;
    }
    return SC_OK;
}

/* --- buddies ------------------------------------------------------------------------------------------------------- */

uint64_t sc_run_state_buddy(const sc_run_state *self, int rank)
{
    return sc_roster_find(self->roster, self->buddies[rank]) ? self->buddies[rank] : 0;
}

/* Whether a point can become complete. */
static bool has_buddies(const sc_run_state *self)
{
    for (int rank = 0; rank < self->n_ranks; rank++)
        if (sc_run_state_buddy(self, rank) == 0)
            return false;
    return self->n_ranks > 0;
}

/* --- what happened ------------------------------------------------------------------------------------------------- */

bool sc_run_state_lost(sc_run_state *self, const sc_loss *loss, uint64_t now_ms)
{
    if (!has_buddies(self)) /* a spare that kept the copies: the point cannot become complete */
        self->point = (point){0};
    if (loss->member.rank < 0)
        return false;
    go_to_gather(self, now_ms);
    return true;
}

void sc_run_state_spoiled(sc_run_state *self, uint64_t part_step, uint64_t now_ms)
{
    for (int i = 0; i < sc_roster_count(self->roster); i++) {
        const sc_member *m = sc_roster_at(self->roster, i);
        uint64_t steps[SC_ROSTER_PARTS];
        int n = 0;
        for (int k = 0; k < m->n_parts; k++)
            if (m->parts[k].step != part_step)
                steps[n++] = m->parts[k].step;
        sc_roster_keep_parts(self->roster, m->id, self->settings.lineage, steps, n);
    }
    go_to_gather(self, now_ms);
}

sc_status sc_run_state_assigned(sc_run_state *self, int rank, const sc_kept_state *kept)
{
    assert(self->phase == SC_RUN_ASSIGN && rank < self->n_ranks);
    self->kept[rank] = *kept;
    if (!count_answer(self, rank))
        return SC_OK;
    sc_recovery_situation s = situation(self);
    sc_recovery_choice_clear(&self->choice);
    SC_TRY(sc_recovery_choose(&s, &self->choice));
    bool fresh = self->choice.level == SC_LEVEL_START && self->settings.seed_start;
    if (self->choice.level >= SC_LEVEL_DISK && (self->keep || fresh != self->fresh)) {
        begin_assign(self, false, fresh); /* whoever is loaded begins with nothing kept */
        return SC_OK;
    }
    self->phase = SC_RUN_LOAD;
    return SC_OK;
}

/* Steps behind `step` are forgotten: they are run, and decided, again. */
static void cut_record(sc_run_state *self, uint64_t step)
{
    while (self->n_record > 0 && self->record[self->n_record - 1].step > step)
        self->n_record--;
    if (self->n_record > 0 && self->record[self->n_record - 1].step < step)
        self->n_record = 0; /* a gap */
}

void sc_run_state_loaded(sc_run_state *self)
{
    assert(self->phase == SC_RUN_LOAD);
    self->decided = self->committed = self->choice.step;
    cut_record(self, self->decided);
    self->newest_point = sc_recovery_newest_point(self->roster, self->settings.lineage, self->settings.n_blocks, 0);
    self->phase = SC_RUN_RUN;
    self->wants_point = true;
    sc_recovery_choice_clear(&self->choice);
}

void sc_run_state_decide(sc_run_state *self, const sc_decided_step *step)
{
    assert(self->phase == SC_RUN_RUN && step->step == self->decided + 1 && self->committed == self->decided);
    self->decided = step->step;
    if (self->settings.peer_every == 0)
        self->n_record = 0; /* nothing is replayed, but this verdict may have to be told again */
    if (self->n_record == RECORD) {
        self->n_record--;
        memmove(self->record, self->record + 1, (size_t)self->n_record * sizeof *self->record);
    }
    self->record[self->n_record++] = *step;
}

void sc_run_state_commit(sc_run_state *self, uint64_t step)
{
    assert(self->phase == SC_RUN_RUN && step == self->decided && step == self->committed + 1);
    self->committed = step;
}

void sc_run_state_saved(sc_run_state *self, uint64_t step)
{
    self->have_disk = true;
    self->disk_step = step;
}

void sc_run_state_unsaved(sc_run_state *self)
{
    self->have_disk = false;
    self->disk_step = 0;
}

/* --- points -------------------------------------------------------------------------------------------------------- */

bool sc_run_state_point_due(const sc_run_state *self, uint64_t step)
{
    return self->settings.peer_every > 0 && step > 0 &&
           (self->wants_point || step % (uint64_t)self->settings.peer_every == 0) && self->point.step == 0 &&
           has_buddies(self);
}

static void keep(sc_run_snapshot *s, uint64_t step)
{
    for (int i = 0; i < s->n_keep_steps; i++)
        if (s->keep_steps[i] == step)
            return;
    if (step > 0 && step != s->step)
        s->keep_steps[s->n_keep_steps++] = step;
}

/* From the order on, nobody counts on what the ranks are told to let go: they do that when it arrives, and answer later. */
static void forget_others(sc_run_state *self, const sc_run_snapshot *snapshot)
{
    uint64_t steps[SC_RUN_KEEP_STEPS + 1];
    memcpy(steps, snapshot->keep_steps, sizeof snapshot->keep_steps);
    steps[snapshot->n_keep_steps] = snapshot->step;
    for (int rank = 0; rank < self->n_ranks; rank++) {
        const sc_member *m = sc_roster_ranked(self->roster, rank);
        if (m)
            sc_roster_keep_parts(self->roster, m->id, self->settings.lineage, steps, snapshot->n_keep_steps + 1);
    }
}

void sc_run_state_snapshot(sc_run_state *self, uint64_t saving, bool as_point, sc_run_snapshot *out)
{
    *out = (sc_run_snapshot){.step = self->decided};
    keep(out, self->newest_point); /* behind a loss or a move it may lie with its owners alone */
    keep(out, sc_recovery_safe_point(self->roster, self->settings.lineage, self->settings.n_blocks));
    keep(out, self->point.step);
    keep(out, saving);
    if (self->n_record > 0)
        out->log_from = self->record[0].sequence;
    if (as_point && self->point.step == 0 && has_buddies(self)) {
        self->point = (point){.step = self->decided};
        self->wants_point = false;
        out->is_point = true;
    }
    forget_others(self, out);
}

void sc_run_state_snapshotted(sc_run_state *self, int rank, const sc_run_snapshot *snapshot)
{
    const sc_member *m = sc_roster_ranked(self->roster, rank);
    if (!m)
        return;
    const sc_part part = {self->settings.lineage, snapshot->step, self->slices[rank].first_block,
                          self->slices[rank].n_blocks};
    sc_roster_hold(self->roster, m->id, &part);
    if (self->phase == SC_RUN_MOVE && snapshot->step == self->committed)
        (void)count_answer(self, rank);
}

void sc_run_state_deposited(sc_run_state *self, int rank, uint64_t step, bool arrived)
{
    if (self->point.step == 0 || step != self->point.step)
        return;
    uint64_t buddy = sc_run_state_buddy(self, rank);
    if (!arrived || buddy == 0) {
        self->point = (point){0}; /* given up; the next one is tried */
        return;
    }
    const sc_part part = {self->settings.lineage, step, self->slices[rank].first_block, self->slices[rank].n_blocks};
    sc_roster_hold(self->roster, buddy, &part);
    if (!self->point.arrived[rank])
        self->point.n_arrived++;
    self->point.arrived[rank] = true;
    if (self->point.n_arrived < self->n_ranks)
        return;
    self->newest_point = step;
    self->point = (point){0};
    int old = 0;
    while (old < self->n_record && self->record[old].step <= step)
        old++;
    self->n_record -= old;
    memmove(self->record, self->record + old, (size_t)self->n_record * sizeof *self->record);
}

uint64_t sc_run_state_newest_point(const sc_run_state *self)
{
    return self->newest_point;
}

/* --- planned changes ----------------------------------------------------------------------------------------------- */

bool sc_run_state_should_rearrange(const sc_run_state *self, bool may_grow)
{
    sc_placement p;
    sc_recovery_crew c = crew(self, 0);
    return sc_recovery_rearrange(&c, may_grow, &p);
}

bool sc_run_state_rearrange(sc_run_state *self, bool may_grow, uint64_t now_ms)
{
    assert(self->phase == SC_RUN_RUN && self->committed == self->decided);
    sc_recovery_crew c = crew(self, now_ms);
    if (!sc_recovery_rearrange(&c, may_grow, &self->placement))
        return false;
    self->phase = self->placement.go ? SC_RUN_MOVE : SC_RUN_HAND_OVER;
    expect_answers(self);
    return true;
}

void sc_run_state_handed_over(sc_run_state *self, uint64_t now_ms)
{
    assert(self->phase == SC_RUN_HAND_OVER);
    go_to_gather(self, now_ms);
}

/* --- looking ------------------------------------------------------------------------------------------------------- */

sc_run_phase sc_run_state_phase(const sc_run_state *self)
{
    return self->phase;
}

uint64_t sc_run_state_generation(const sc_run_state *self)
{
    return self->generation;
}

int sc_run_state_n_ranks(const sc_run_state *self)
{
    return self->n_ranks;
}

const sc_slice *sc_run_state_slices(const sc_run_state *self)
{
    return self->slices;
}

uint64_t sc_run_state_decided(const sc_run_state *self)
{
    return self->decided;
}

uint64_t sc_run_state_committed(const sc_run_state *self)
{
    return self->committed;
}

const sc_decided_step *sc_run_state_record(const sc_run_state *self, int *n)
{
    *n = self->n_record;
    return self->record;
}

const sc_recovery_choice *sc_run_state_choice(const sc_run_state *self)
{
    return &self->choice;
}

const sc_kept_state *sc_run_state_kept(const sc_run_state *self, int rank)
{
    return &self->kept[rank];
}
