/* The roster: who is a member of the run, and who is so no more. Pure: no I/O, the time is passed in.
 *
 * Mental model. A worker that joins becomes a member under a number of its own (`id`), which is never used again; a process
 * that joins again is another member. A member is a spare until it is given a rank, serves that rank until another assignment
 * takes it, and is a member until it is lost or released. Whatever is heard of it renews its lease. A loss is found once, kept
 * with a reason for a person, and handed out by sc_roster_next_loss; the member leaves the roster with that call.
 *
 *                 sc_roster_join                    sc_roster_seat (rank)
 *      (unknown) ----------------> SPARE  ------------------------------> SERVING ----+
 *                                  ^ | ^                                  |   |       | sc_roster_drain: `draining` is
 *                                  | | +-- sc_roster_seat (no rank) ------+   |       | set, the state stays what it is
 *                                  | |                                        | <-----+
 *                                  | +--> lost <------------------------------+
 *                                  |      sc_roster_look: silent, cut, hung
 *                                  |      sc_roster_fail, _leave, _exited; _join of the same process
 *                                  +----- joins again, as another member
 *
 * Invariants
 *  1. Each loss is handed out exactly once, with a reason; nothing that comes of a lost member changes anything.
 *  2. A rank has at most one member, and a member at most one rank.
 *  3. Any traffic renews a lease. A cut connection alone is no loss: only one that does not come back within reconnect_ms.
 *  4. A coordinator that was itself away (looked not for more than half a lease) has not listened: all deadlines begin anew.
 *  5. A member is hung only on its own word: reports that keep coming, none of them waiting, and a counter that stands still
 *     for max(hang_ms, hang_steps x the median of the last steps, 1.5 x the slowest of them), while it serves a rank and a step
 *     is out: steps of texts differ in length several times. */
#ifndef SC_ROSTER_H
#define SC_ROSTER_H

#include "proto/base/legend.h"
#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SC_ROSTER_MAX = 2 * SC_MAX_STAGES, /* members; one more is refused */
    SC_ROSTER_PARTS = 32,              /* parts of points that are remembered of one member */
    SC_ROSTER_STEPS = 16,              /* lengths of steps that say how long one may take */
};

/* A part of a point: the state of some blocks after an optimizer step, as it lies in a worker's vault. */
typedef struct sc_part {
    uint64_t lineage, step;
    int first_block, n_blocks;
} sc_part;

/* What a worker says of itself when it joins. Texts are copied and cut to their room. */
typedef struct sc_roster_join_request {
    uint64_t incarnation;
    const char *host;
    uint32_t pid;
    const char *device;
    int threads;
    const char *endpoint; /* where its neighbours reach it */
    const char *version;
    int local_index; /* that it was started under; -1: it comes from elsewhere */
    const sc_part *parts;
    int n_parts;
} sc_roster_join_request;

typedef struct sc_member {
    uint64_t id; /* from 1 */
    uint64_t incarnation;
    char name[128]; /* "host:pid" */
    char device[16], version[32];
    char *endpoint;
    int threads, local_index;
    int rank; /* -1: a spare */
    bool draining;
    char drain_reason[128];
    sc_part parts[SC_ROSTER_PARTS]; /* the newest steps, if there were more */
    int n_parts;
    uint64_t actions_done; /* from its last report */
    bool waiting;
    char doing[32];
    uint64_t heard_ms, moved_ms, reported_ms;
    uint64_t cut_ms; /* since when its connection is gone; 0: it is there */
    void *context;   /* the owner's: the peer */
} sc_member;

typedef struct sc_roster_options {
    uint64_t lease_ms, reconnect_ms, hang_ms;
    double hang_steps;
} sc_roster_options;

/* A member that is lost, as it was. `member.endpoint` is NULL. */
typedef struct sc_loss {
    sc_member member;
    char reason[1024];
    uint64_t since_ms; /* the last sign of it, or when it was told: what detecting took counts from here */
} sc_loss;

typedef struct sc_roster sc_roster;

/* Returns owned. */
sc_status sc_roster_new(const sc_roster_options *options, uint64_t now_ms, sc_roster **out);
void sc_roster_destroy(sc_roster **self_p);

/* ---- what happens ---- */

/* A new member, a spare. A member under the same local index or name (the process gave up its old connection) is lost with
 * that. Errors: SC_INVALID (no endpoint), SC_RESOURCE_EXHAUSTED (SC_ROSTER_MAX, memory). */
sc_status sc_roster_join(sc_roster *self, const sc_roster_join_request *request, uint64_t now_ms, uint64_t *id);
/* Something came from it, at that time. A connection that was cut is there again. */
void sc_roster_heard(sc_roster *self, uint64_t id, uint64_t heard_ms);
/* Its Progress. */
void sc_roster_report(sc_roster *self, uint64_t id, uint64_t actions_done, bool waiting, const char *doing,
                      uint64_t now_ms);
/* Its connection was cut. */
void sc_roster_cut(sc_roster *self, uint64_t id, uint64_t now_ms);
void sc_roster_leave(sc_roster *self, uint64_t id, const char *reason, uint64_t now_ms);
void sc_roster_drain(sc_roster *self, uint64_t id, const char *reason);
/* Something went wrong with it, told in full by `reason` ("worker 2 (host:1): RunStep: UNAVAILABLE: ..."). */
void sc_roster_fail(sc_roster *self, uint64_t id, const char *reason, uint64_t now_ms);
/* The child under this local index ended: its member, if it had joined, is lost. Returns whether there was one. */
bool sc_roster_exited(sc_roster *self, int local_index, const char *report, uint64_t now_ms);
/* It was told to go: no member any more, and no loss. */
void sc_roster_release(sc_roster *self, uint64_t id);

/* ---- steps, for the hang ---- */

/* From now on a step is out (or not), or another call without a deadline: members that serve are expected to move. */
void sc_roster_expect(sc_roster *self, bool step_is_out, uint64_t now_ms);
/* A step took so long. */
void sc_roster_measure(sc_roster *self, double seconds);
/* How long a counter may stand still; UINT64_MAX before a step was measured. */
uint64_t sc_roster_hang_ms(const sc_roster *self);

/* ---- time ---- */

/* Finds members that are silent, cut off or hung. Call it several times a second. */
void sc_roster_look(sc_roster *self, uint64_t now_ms);
/* Hands out one loss; false if there is none. */
bool sc_roster_next_loss(sc_roster *self, sc_loss *out);

/* ---- ranks ---- */

/* ids[r] is seated at rank r, everybody else becomes a spare. The ids are members, each once. */
void sc_roster_seat(sc_roster *self, const uint64_t *ids, int n_ranks);
int sc_roster_n_ranks(const sc_roster *self);

/* ---- parts ---- */

/* The member holds this part, too. */
void sc_roster_hold(sc_roster *self, uint64_t id, const sc_part *part);
/* Parts of other lineages than this are forgotten, and of other steps than these. */
void sc_roster_keep_parts(sc_roster *self, uint64_t id, uint64_t lineage, const uint64_t *steps, int n_steps);

/* ---- who there is ---- */

int sc_roster_count(const sc_roster *self);
/* In order of joining, 0 .. count - 1. Valid until the next call that changes the roster. */
const sc_member *sc_roster_at(const sc_roster *self, int index);
const sc_member *sc_roster_find(const sc_roster *self, uint64_t id); /* NULL: no member (any more) */
const sc_member *sc_roster_ranked(const sc_roster *self, int rank);  /* NULL: lost */
const sc_member *sc_roster_of(const sc_roster *self, const void *context);
void sc_roster_set_context(sc_roster *self, uint64_t id, void *context);

#endif
