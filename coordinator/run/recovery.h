/* Decisions of recovery: who takes which rank, and to which point all stages go back. Pure: no state, no I/O, no clock of
 * its own; everything is in the arguments. run_state.h keeps the situation and asks.
 *
 * The newest point that all stages can reach wins; of two ways to the same step, the earlier in this list:
 *   replay  survivors keep their state; a lost stage is restored to a point and runs the decided steps behind it again from
 *           its neighbours' logs (the idea of SWIFT, arXiv 2302.06173), while they wait
 *   memory  every stage goes back to a point that lies in the workers' vaults
 *   disk    every stage goes back to the newest checkpoint
 *   start   from the seed, or the weights that the config names: step 0
 *
 * Invariants
 *  1. sc_recovery_place never gives one member two ranks, nor one rank two members, and never goes with a rank empty.
 *  2. While there are members for all ranks the partition stays, and each survivor its rank.
 *  3. sc_recovery_choose never answers a step below the newest checkpoint's, and never one above `decided` but that of a
 *     point or a checkpoint that there is.
 *  4. What it tells to restore is covered: each block of the rank by the parts of its holders.
 *  5. It replays only what its neighbours can repeat: from the first replayed sequence on, in each neighbour that is there
 *     with all that it sent. */
#ifndef SC_RECOVERY_H
#define SC_RECOVERY_H

#include "coordinator/run/roster.h"
#include "proto/base/model.h"

/* ---- who takes which rank ---- */

typedef struct sc_recovery_crew {
    const sc_roster *roster; /* seated as in the assignment before */
    int wanted;              /* ranks that the config asks for, not more than there are blocks */
    int n_ranks;             /* of the assignment before; 0: there was none */
    uint64_t now_ms;
    uint64_t since_ms; /* the first loss that is not made good yet; when nobody was left, when the first came again */
    uint64_t wait_ms;  /* how long others are waited for since then */
    bool resumed;      /* n_ranks 0: the run has begun in an earlier life, and need not wait for all */
} sc_recovery_crew;

typedef struct sc_placement {
    bool go;                     /* else: wait */
    uint64_t until_ms;           /* wait: and ask again at this time; UINT64_MAX: when somebody has come */
    int n_ranks;                 /* go: at least 1 */
    bool same_partition;         /* as many ranks as before: the slices stay */
    uint64_t ids[SC_MAX_STAGES]; /* by rank */
} sc_placement;

/* After a loss, and at a run's beginning (then all that are wanted are waited for, unless it is `resumed`). An empty rank
 * goes to a spare, first to the one that was started under it; when none comes within wait_ms, those that remain share the
 * model anew. A member that drains keeps its rank: it is replaced at the next step's end, with no step lost. */
void sc_recovery_place(const sc_recovery_crew *crew, sc_placement *out);

/* At a step's end, with all ranks there: whether others should serve. Yes if a serving member drains: a spare takes its rank,
 * or those that remain share the model anew. Yes, at a point (`may_grow`), if ranks are fewer than wanted and there are
 * spares. When nobody would remain, `go` is false, and the answer true. */
bool sc_recovery_rearrange(const sc_recovery_crew *crew, bool may_grow, sc_placement *out);

/* ---- how far back ---- */

/* A step whose verdict was given: what it takes to run it again. */
typedef struct sc_decided_step {
    uint64_t step, sequence;
    uint64_t n_targets, n_sequences; /* n_sequences: of pre-training */
    double target_weight;            /* with class weights, else 0 */
    float grad_scale, learning_rate;
} sc_decided_step;

/* What a worker answered to Assign. */
typedef struct sc_kept_state {
    bool kept;
    uint64_t applied_step; /* the state is the one after this step */
    uint64_t voted_step;   /* the gradients of this step wait for its verdict; 0: none do */
    uint64_t voted_sequence;
    uint64_t logged_from; /* all that it sent for this sequence and later ones is in its log; 0: nothing */
} sc_kept_state;

typedef enum sc_recovery_level { SC_LEVEL_REPLAY, SC_LEVEL_MEMORY, SC_LEVEL_DISK, SC_LEVEL_START } sc_recovery_level;

/* "replay", "memory", "disk", "start". */
const char *sc_recovery_level_name(sc_recovery_level level);

typedef struct sc_recovery_situation {
    const sc_roster *roster; /* seated as in the new assignment; its members' parts */
    int n_ranks, n_blocks;
    const sc_slice *slices;    /* [n_ranks], of the new assignment */
    const sc_kept_state *kept; /* [n_ranks] */
    bool tied;                 /* the first and the last rank exchange gradients */
    int frozen; /* blocks from the first on that do not learn: a rank of them alone is sent no gradient */
    uint64_t lineage;
    uint64_t decided;              /* the last step whose ApplyStep was sent; 0: none */
    const sc_decided_step *record; /* [n_record]: steps decided - n_record + 1 .. decided */
    int n_record;
    bool have_disk;
    uint64_t disk_step;
} sc_recovery_situation;

/* Where a rank gets some of its blocks: a part that this member holds. */
typedef struct sc_holder {
    uint64_t id;
    int first_block, n_blocks; /* of the part, as held */
} sc_holder;

typedef enum sc_rank_order {
    SC_RANK_STAYS,   /* it is there already */
    SC_RANK_APPLIES, /* it has voted `decided`: the verdict is sent once more */
    SC_RANK_RESTORES,
    SC_RANK_REPLAYS, /* restores, and then runs steps point + 1 .. decided again */
    SC_RANK_LOADS,   /* from the disk, or from the start's weights */
} sc_rank_order;

typedef struct sc_recovery_choice {
    sc_recovery_level level;
    uint64_t step;  /* the state of all stages, when done */
    uint64_t point; /* the point to restore; `step` unless something is replayed */
    sc_rank_order orders[SC_MAX_STAGES];
    sc_holder *holders; /* [n_holders], owned: sc_recovery_choice_clear; by rank, own parts first */
    int *holder_ranks;  /* [n_holders]: whom each is for */
    int n_holders;
} sc_recovery_choice;

/* Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_recovery_choose(const sc_recovery_situation *situation, sc_recovery_choice *out);
void sc_recovery_choice_clear(sc_recovery_choice *self);

/* The newest step above `above` that the parts of all members together cover wholly; 0 if there is none. */
uint64_t sc_recovery_newest_point(const sc_roster *roster, uint64_t lineage, int n_blocks, uint64_t above);
/* The newest step that no single loss takes: each of its blocks lies with two members; 0 if there is none. */
uint64_t sc_recovery_safe_point(const sc_roster *roster, uint64_t lineage, int n_blocks);

#endif
