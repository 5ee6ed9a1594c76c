/* The state of a run: who serves which rank, which steps are decided, committed and kept where, and what is to be done next.
 * Pure: events in, orders out; the trainer carries the orders out and tells how they went. The time is passed in.
 *
 * Mental model. Membership is the roster's (borrowed; seated and given parts by this). A run is a sequence of assignments,
 * each with a generation of its own; in each the ranks' stages are brought to one step, and run on from there.
 *
 *      sc_run_state_new
 *            v            next: there is a placement             assigned: by all
 *   +--> GATHER ------------------------------> ASSIGN ----------------------> LOAD
 *   |        ^                                  ^ |  ^                           |
 *   |        |        assigned: kept states are | |  | next: all snapshots       | loaded
 *   |        |        of no use, none is kept   +-+  | are made                  v
 *   |        |                                       MOVE <------------------- RUN <-+ decide, commit, saved,
 *   |        | handed_over              rearrange: workers change at a step's end | +-+ snapshot, snapshotted, deposited
 *   |        +----------- HAND_OVER <---------------------------------------------+
 *   |                                   rearrange: nobody would remain
 *   +--- lost (a member with a rank), spoiled: from anywhere
 *
 * The names are those of the functions below, without sc_run_state_.
 *
 * Invariants
 *  1. Every assignment raises the generation; in one generation a rank is one member's, and no member has two.
 *  2. A step is decided once in a generation, steps without a gap: only `committed` + 1, while the stages run. It is committed
 *     only when decided, and once.
 *  3. `committed` goes back only in sc_run_state_loaded, never below the newest checkpoint that was told; a step that is run
 *     again has the same number of targets, scale and learning rate, and gives the same bits.
 *  4. While there is a point that no single loss takes, its parts are among those that every snapshot is told to keep.
 *  5. When losses stop, and a member stays, sc_run_state_next comes to SC_ORDER_RUN: it waits only until a time that it names,
 *     or for a first member; at a run's beginning, for all that are wanted. */
#ifndef SC_RUN_STATE_H
#define SC_RUN_STATE_H

#include "coordinator/run/recovery.h"

typedef struct sc_run_settings {
    int wanted, n_blocks; /* wanted <= n_blocks */
    bool tied;
    int frozen; /* blocks, as sc_model.frozen */
    uint64_t lineage;
    uint64_t wait_ms;   /* recovery.wait_ms */
    int64_t peer_every; /* recovery.peer_every; 0: no points */
    bool
        resumes; /* a run that has begun in an earlier life goes on over those that have come within wait_ms of the first;
                   * else it waits for all that are wanted */
    bool seed_start; /* the start's weights are drawn from the seed by the workers; else they are loaded */
    void *context;
    /* Cuts the model's blocks for n_ranks. Pure. */
    sc_status (*cut)(void *context, int n_ranks, sc_slice *slices);
} sc_run_settings;

typedef enum sc_run_phase {
    SC_RUN_GATHER,
    SC_RUN_ASSIGN,
    SC_RUN_LOAD,
    SC_RUN_RUN,
    SC_RUN_MOVE,
    SC_RUN_HAND_OVER,
} sc_run_phase;

typedef struct sc_run_state sc_run_state;

/* Returns owned; borrows the roster. */
sc_status sc_run_state_new(const sc_run_settings *settings, sc_roster *roster, sc_run_state **out);
void sc_run_state_destroy(sc_run_state **self_p);

/* ---- orders ---- */

typedef enum sc_run_order_kind {
    SC_ORDER_WAIT,     /* until `until_ms`, or until somebody joins */
    SC_ORDER_ASSIGN,   /* to all ranks, in the generation that this order brings; then sc_run_state_assigned for each */
    SC_ORDER_LOAD,     /* as sc_run_state_choice says; then sc_run_state_loaded */
    SC_ORDER_RUN,      /* steps behind `committed` */
    SC_ORDER_SNAPSHOT, /* of all ranks, at `committed`; then sc_run_state_snapshotted for each */
    SC_ORDER_HAND_OVER, /* a checkpoint at `committed`, for the last worker goes; then sc_run_state_handed_over */
} sc_run_order_kind;

typedef struct sc_run_order {
    sc_run_order_kind kind;
    uint64_t until_ms; /* WAIT; UINT64_MAX: for somebody to come */
    bool keep;         /* ASSIGN: stages that are as before keep their state */
    bool fresh;        /* ASSIGN: stages are drawn from the seed */
} sc_run_order;

/* What is to be done now. Asking again before it was done gives the same. Errors: of `cut`, SC_RESOURCE_EXHAUSTED. */
sc_status sc_run_state_next(sc_run_state *self, uint64_t now_ms, sc_run_order *out);

/* ---- what happened ---- */

/* A member was lost (sc_roster_next_loss). Whether it had a rank: then what was in progress is over. */
bool sc_run_state_lost(sc_run_state *self, const sc_loss *loss, uint64_t now_ms);
/* What is in progress cannot go on, though nobody was lost (a rank answered that it cannot restore what it was told to, as
 * after a damaged part). All is assigned anew, and parts of this step are not used again. */
void sc_run_state_spoiled(sc_run_state *self, uint64_t part_step, uint64_t now_ms);
/* A rank's answer to the Assign of the present generation. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_run_state_assigned(sc_run_state *self, int rank, const sc_kept_state *kept);
/* All ranks are at the choice's step. */
void sc_run_state_loaded(sc_run_state *self);
/* The verdict on a step is about to be sent. */
void sc_run_state_decide(sc_run_state *self, const sc_decided_step *step);
/* All ranks have applied it. */
void sc_run_state_commit(sc_run_state *self, uint64_t step);
/* A checkpoint of this step is complete on disk (or was found there, at the beginning). */
void sc_run_state_saved(sc_run_state *self, uint64_t step);
/* No checkpoint can be read any more. */
void sc_run_state_unsaved(sc_run_state *self);

/* ---- points ---- */

enum { SC_RUN_KEEP_STEPS = 4 }; /* SC_VAULT_MAX_KEEP of a worker */

/* What goes into a Snapshot call. */
typedef struct sc_run_snapshot {
    uint64_t step;
    uint64_t keep_steps[SC_RUN_KEEP_STEPS];
    int n_keep_steps;
    uint64_t log_from;
    bool is_point; /* deposits are to follow, for each rank when its snapshot is made */
} sc_run_snapshot;

/* Whether a point is due at the end of this step, and the one before is complete or given up: at every peer_every steps, and
 * as soon as stages were brought to a step, before others follow. Until that one is complete, what a replaced worker kept for
 * its neighbour lies with the neighbour alone, and the loss of both would take all that the memories hold. */
bool sc_run_state_point_due(const sc_run_state *self, uint64_t step);
/* Begins a snapshot at `decided`; what the ranks are told to let go is not counted on any more. `saving`: the step of a
 * checkpoint that still reads its own, 0: none does. Every snapshot that can be a point is one. */
void sc_run_state_snapshot(sc_run_state *self, uint64_t saving, bool as_point, sc_run_snapshot *out);
/* The rank's snapshot is made: it holds its part. */
void sc_run_state_snapshotted(sc_run_state *self, int rank, const sc_run_snapshot *snapshot);
/* The rank's part has arrived at its buddy, or could not. Complete when all have. */
void sc_run_state_deposited(sc_run_state *self, int rank, uint64_t step, bool arrived);
/* The member that keeps copies for this rank, of those that there were at the assignment; 0: nobody does. */
uint64_t sc_run_state_buddy(const sc_run_state *self, int rank);
/* The step of the newest point that the members' parts cover; 0: none. */
uint64_t sc_run_state_newest_point(const sc_run_state *self);

/* ---- planned changes ---- */

/* Whether sc_run_state_rearrange would be true if the step were at its end: for those who plan ahead. */
bool sc_run_state_should_rearrange(const sc_run_state *self, bool may_grow);
/* At a step's end, with `committed` == `decided`: if workers are to change, goes to MOVE or HAND_OVER and is true. */
bool sc_run_state_rearrange(sc_run_state *self, bool may_grow, uint64_t now_ms);
/* The checkpoint is there (sc_run_state_saved), or is not wanted, and the draining workers were released. */
void sc_run_state_handed_over(sc_run_state *self, uint64_t now_ms);

/* ---- looking ---- */

sc_run_phase sc_run_state_phase(const sc_run_state *self);
/* Whether there is something to lose: ranks were assigned, or there is a checkpoint, or a member has brought a part of a point. */
bool sc_run_state_has_begun(const sc_run_state *self);
uint64_t sc_run_state_generation(const sc_run_state *self);
int sc_run_state_n_ranks(const sc_run_state *self);
const sc_slice *sc_run_state_slices(const sc_run_state *self); /* [n_ranks] */
uint64_t sc_run_state_decided(const sc_run_state *self);
uint64_t sc_run_state_committed(const sc_run_state *self);
/* The decided steps that are remembered, the last of them `decided`. */
const sc_decided_step *sc_run_state_record(const sc_run_state *self, int *n);
/* Of the LOAD in progress. */
const sc_recovery_choice *sc_run_state_choice(const sc_run_state *self);
const sc_kept_state *sc_run_state_kept(const sc_run_state *self, int rank);

#endif
