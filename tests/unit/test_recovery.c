#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/run/recovery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A roster of members m1, m2, ... with the ids 1, 2, ... */
static sc_roster *roster;

static int open_roster(void **state)
{
    (void)state;
    const sc_roster_options options = {.lease_ms = 10000, .reconnect_ms = 700, .hang_ms = 1000, .hang_steps = 2.5};
    return sc_roster_new(&options, 0, &roster) == SC_OK ? 0 : -1;
}

static int close_roster(void **state)
{
    (void)state;
    sc_roster_destroy(&roster);
    return 0;
}

static void join(int local_index)
{
    static uint32_t pid;
    const sc_roster_join_request request = {
        .host = "h", .pid = ++pid, .device = "cpu", .endpoint = "x", .version = "", .local_index = local_index};
    uint64_t id;
    assert_int_equal(sc_roster_join(roster, &request, 0, &id), SC_OK);
}

/* --- placement, as a table ----------------------------------------------------------------------------------------- */

typedef struct placement_case {
    const char *what;
    const char
        *members; /* "0 1 - d2 d-": each member's rank, "-" a spare, "d" draining, "x1" lost; in order of joining */
    int homes[6]; /* 1 + the local index, 0: from elsewhere; by member */
    int wanted, n_ranks; /* n_ranks: of the assignment before */
    uint64_t waited_ms;
    bool resumed;
    const char *expected; /* "wait", "wait 5000", or the ids by rank, "same:" or "anew:" before them; "no": no change */
} placement_case;

static void set_up(const placement_case *c)
{
    char text[64], *rest = NULL;
    snprintf(text, sizeof text, "%s", c->members);
    uint64_t ids[8] = {0}, drains[8], lost[8];
    int n = 0, n_drains = 0, n_lost = 0;
    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        join(c->homes[n] - 1);
        uint64_t id = (uint64_t)++n;
        if (*word == 'd')
            drains[n_drains++] = id, word++;
        if (*word == 'x')
            lost[n_lost++] = id, word++;
        if (*word != '-')
            ids[atoi(word)] = id;
    }
    sc_roster_seat(roster, ids, c->n_ranks);
    sc_loss loss;
    for (int i = 0; i < n_lost; i++)
        sc_roster_fail(roster, lost[i], "lost", 0);
    while (sc_roster_next_loss(roster, &loss))
        ;
    for (int i = 0; i < n_drains; i++)
        sc_roster_drain(roster, drains[i], "asked to");
}

static void spell(const sc_placement *p, char *text, size_t text_bytes)
{
    if (!p->go && p->until_ms == UINT64_MAX) {
        snprintf(text, text_bytes, "wait");
    } else if (!p->go) {
        snprintf(text, text_bytes, "wait %d", (int)p->until_ms);
    } else {
        size_t used = (size_t)snprintf(text, text_bytes, p->same_partition ? "same:" : "anew:");
        for (int rank = 0; rank < p->n_ranks; rank++)
            used += (size_t)snprintf(text + used, text_bytes - used, " %d", (int)p->ids[rank]);
    }
}

static void run_placements(const placement_case *cases, size_t n, bool at_a_step, bool may_grow)
{
    for (size_t i = 0; i < n; i++) {
        const placement_case *c = &cases[i];
        close_roster(NULL);
        open_roster(NULL);
        set_up(c);
        const sc_recovery_crew crew = {.roster = roster,
                                       .wanted = c->wanted,
                                       .n_ranks = c->n_ranks,
                                       .since_ms = 100000,
                                       .now_ms = 100000 + c->waited_ms,
                                       .wait_ms = 5000,
                                       .resumed = c->resumed};
        sc_placement p;
        char text[128] = "no";
        if (!at_a_step)
            sc_recovery_place(&crew, &p);
        if (!at_a_step || sc_recovery_rearrange(&crew, may_grow, &p))
            spell(&p, text, sizeof text);
        if (strcmp(text, c->expected) != 0)
            fail_msg("%s: '%s' instead of '%s'", c->what, text, c->expected);
    }
}

static void who_takes_which_rank(void **state)
{
    (void)state;
    static const placement_case cases[] = {
        {"a run's beginning waits for all", "- -", {0}, 3, 0, 999999, false, "wait"},
        {"and takes them in order", "- - -", {0}, 3, 0, 0, false, "anew: 1 2 3"},
        {"a spare more stays one", "- - - -", {0}, 3, 0, 0, false, "anew: 1 2 3"},
        {"local workers take their own", "- - -", {3, 1, 2}, 3, 0, 0, false, "anew: 2 3 1"},
        {"a draining newcomer does not count", "- d- -", {0}, 3, 0, 0, false, "wait"},
        {"a resumed run waits for the others a while", "- -", {0}, 3, 0, 4999, true, "wait 105000"},
        {"and goes on over those that came", "- -", {0}, 3, 0, 5000, true, "anew: 1 2"},
        {"without those that are to go", "- d- -", {0}, 3, 0, 5000, true, "anew: 1 3"},
        {"at once when all are there", "- - -", {0}, 3, 0, 0, true, "anew: 1 2 3"},
        {"and never over nobody", "", {0}, 3, 0, 999999, true, "wait"},
        {"a spare takes the lost rank at once", "0 x1 2 -", {0}, 3, 3, 0, false, "same: 1 4 3"},
        {"the spare that waits longest", "0 x1 2 - -", {0}, 3, 3, 0, false, "same: 1 4 3"},
        {"the restarted worker its own", "0 x1 x2 - -", {1, 2, 3, 3, 2}, 3, 3, 0, false, "same: 1 5 4"},
        {"a spare before a restart that is to come", "0 x1 2 -", {1, 2, 3, 0}, 3, 3, 0, false, "same: 1 4 3"},
        {"nobody yet: wait", "0 x1 2", {0}, 3, 3, 4999, false, "wait 105000"},
        {"nobody came: fewer", "0 x1 2", {0}, 3, 3, 5000, false, "anew: 1 3"},
        {"down to one", "x0 x1 2", {0}, 3, 3, 5000, false, "anew: 3"},
        {"a spare and a survivor for three", "x0 x1 2 -", {0}, 3, 3, 5000, false, "anew: 3 4"},
        {"nobody at all: wait for the first", "x0 x1", {0}, 2, 2, 999999, false, "wait"},
        {"fewer than wanted: the partition stays", "0 x1 - -", {0}, 3, 2, 0, false, "same: 1 3"},
        {"one who drains serves until it is replaced", "0 d1 x2 -", {0}, 3, 3, 0, false, "same: 1 2 4"},
        {"but has no part in a new partition", "0 d1 x2", {0}, 3, 3, 5000, false, "anew: 1"},
        {"unless it is alone", "x0 d1", {0}, 2, 2, 5000, false, "anew: 2"},
        {"a draining spare never serves", "0 x1 d-", {0}, 2, 2, 5000, false, "anew: 1"},
        {"nobody was lost: as before", "0 1 -", {0}, 2, 2, 0, false, "same: 1 2"},
    };
    run_placements(cases, sizeof cases / sizeof cases[0], false, false);
}

static void who_serves_from_a_step_on(void **state)
{
    (void)state;
    static const placement_case always[] = {
        {"all is well", "0 1 -", {0}, 2, 2, 0, false, "no"},
        {"a spare for one who drains", "0 d1 -", {0}, 2, 2, 0, false, "same: 1 3"},
        {"two drain, one spare", "d0 d1 2 -", {0}, 3, 3, 0, false, "anew: 3 4"},
        {"no spare: the others", "0 d1 2", {0}, 3, 3, 0, false, "anew: 1 3"},
        {"the last one goes", "d0", {0}, 2, 1, 0, false, "wait"},
        {"a draining spare is nobody's business", "0 1 d-", {0}, 2, 2, 0, false, "no"},
    };
    static const placement_case growing[] = {
        {"a spare makes two of one", "0 -", {0}, 2, 1, 0, false, "anew: 1 2"},
        {"not more than wanted", "0 - -", {0}, 2, 1, 0, false, "anew: 1 2"},
        {"as many as there are", "0 1 -", {0}, 4, 2, 0, false, "anew: 1 2 3"},
        {"local workers back at home", "0 1 -", {1, 3, 2}, 3, 2, 0, false, "anew: 1 3 2"},
        {"nobody is there to grow with", "0 1", {0}, 3, 2, 0, false, "no"},
        {"a draining spare is nobody to grow with", "0 1 d-", {0}, 3, 2, 0, false, "no"},
        {"all serve", "0 1 -", {0}, 2, 2, 0, false, "no"},
    };
    run_placements(always, sizeof always / sizeof always[0], true, false);
    run_placements(always, sizeof always / sizeof always[0], true, true);
    run_placements(growing, sizeof growing / sizeof growing[0], true, true);
    for (size_t i = 0; i < sizeof growing / sizeof growing[0]; i++) {
        placement_case c = growing[i];
        c.expected = "no";
        run_placements(&c, 1, true, false);
    }
}

/* --- levels, as a table -------------------------------------------------------------------------------------------- */

/* Four ranks with two blocks each, members 1..4 at ranks 0..3, member 5 a spare. Steps 11..13 are recorded, of the sequences
 * 111..113. */
enum { S = 4, N_BLOCKS = 8, LINEAGE = 77 };

typedef struct level_case {
    const char *what;
    uint64_t decided;
    int64_t disk; /* -1: none */
    bool untied;
    sc_kept_state kept[S];
    struct {
        uint64_t id, step;
        int first, n;
        uint64_t lineage; /* 0: LINEAGE */
    } parts[10];
    const char
        *expected; /* level, step, point, and an order a rank: s(tays) a(pplies) r(estores) p (replays) l(oads) */
} level_case;

#define KEPT(applied)                                                                                                  \
    {                                                                                                                  \
        true, applied, 0, 0, 1                                                                                         \
    }
#define KEPT_FROM(a, from)                                                                                             \
    {                                                                                                                  \
        true, a, 0, 0, from                                                                                            \
    }
#define VOTED(applied, vote)                                                                                           \
    {                                                                                                                  \
        true, applied, vote, 100 + (vote), 1                                                                           \
    }
#define GONE                                                                                                           \
    {                                                                                                                  \
        0                                                                                                              \
    }
/* The complete point of step 10: each rank's part with itself and at its buddy, rank r's at r + 1. */
#define POINT_10_WITHOUT_RANK_1                                                                                        \
    {                                                                                                                  \
        {1, 10, 0, 2, 0}, {1, 10, 6, 2, 0}, {3, 10, 4, 2, 0}, {3, 10, 2, 2, 0}, {4, 10, 6, 2, 0},                      \
        {                                                                                                              \
            4, 10, 4, 2, 0                                                                                             \
        }                                                                                                              \
    }

static int frozen; /* blocks, in the next case */

static void run_level(const level_case *c)
{
    close_roster(NULL);
    open_roster(NULL);
    for (int i = 0; i < 5; i++)
        join(-1);
    sc_roster_seat(roster, (uint64_t[]){1, 2, 3, 4}, S);
    for (int i = 0; i < 10 && c->parts[i].id; i++) {
        const sc_part part = {c->parts[i].lineage ? c->parts[i].lineage : LINEAGE, c->parts[i].step, c->parts[i].first,
                              c->parts[i].n};
        sc_roster_hold(roster, c->parts[i].id, &part);
    }
    static const sc_slice slices[S] = {{0, 2}, {2, 2}, {4, 2}, {6, 2}};
    static const sc_decided_step record[] = {
        {.step = 11, .sequence = 111}, {.step = 12, .sequence = 112}, {.step = 13, .sequence = 113}};
    sc_recovery_situation s = {
        .roster = roster,
        .n_ranks = S,
        .n_blocks = N_BLOCKS,
        .slices = slices,
        .kept = c->kept,
        .tied = !c->untied,
        .frozen = frozen,
        .lineage = LINEAGE,
        .decided = c->decided,
        .record = record,
        .n_record = c->decided == 13 ? 3 : 0,
        .have_disk = c->disk >= 0,
        .disk_step = c->disk >= 0 ? (uint64_t)c->disk : 0,
    };
    sc_recovery_choice choice;
    assert_int_equal(sc_recovery_choose(&s, &choice), SC_OK);
    char text[64];
    snprintf(text, sizeof text, "%s %d %d ", sc_recovery_level_name(choice.level), (int)choice.step, (int)choice.point);
    for (int rank = 0; rank < S; rank++)
        strncat(text, (const char *[]){"s", "a", "r", "p", "l"}[choice.orders[rank]], 2);
    if (strcmp(text, c->expected) != 0)
        fail_msg("%s: '%s' instead of '%s'", c->what, text, c->expected);
    /* Invariant 4: whoever restores finds each of its blocks, at members that are there, own parts first. */
    for (int rank = 0; rank < S; rank++) {
        unsigned found = 0;
        bool others = false;
        for (int i = 0; i < choice.n_holders; i++) {
            if (choice.holder_ranks[i] != rank)
                continue;
            assert_non_null(sc_roster_find(roster, choice.holders[i].id));
            bool own = choice.holders[i].id == (uint64_t)rank + 1;
            assert_false(own && others);
            others = others || !own;
            for (int b = 0; b < choice.holders[i].n_blocks; b++)
                found |= 1u << (choice.holders[i].first_block + b);
        }
        bool restores = choice.orders[rank] == SC_RANK_RESTORES || choice.orders[rank] == SC_RANK_REPLAYS;
        unsigned wanted = restores ? 3u << slices[rank].first_block : 0;
        assert_int_equal(found & wanted, wanted);
    }
    sc_recovery_choice_clear(&choice);
}

static void how_far_back(void **state)
{
    (void)state;
    static const level_case cases[] = {
        {"nothing lost, all applied",
         13,
         -1,
         false,
         {KEPT(13), KEPT(13), KEPT(13), KEPT(13)},
         {{0}},
         "replay 13 13 ssss"},
        {"two have not heard the verdict",
         13,
         0,
         false,
         {KEPT(13), VOTED(12, 13), KEPT(13), VOTED(12, 13)},
         {{0}},
         "replay 13 13 sasa"},
        {"a vote beyond the decided step is no obstacle",
         13,
         0,
         false,
         {VOTED(13, 14), KEPT(13), VOTED(13, 14), KEPT(13)},
         {{0}},
         "replay 13 13 ssss"},
        {"one lost: replayed from its buddy's copy",
         13,
         0,
         false,
         {KEPT(13), GONE, KEPT(13), VOTED(12, 13)},
         POINT_10_WITHOUT_RANK_1,
         "replay 13 10 spsa"},
        {"a log that begins too late",
         13,
         0,
         false,
         {KEPT_FROM(13, 112), GONE, KEPT(13), KEPT(13)},
         POINT_10_WITHOUT_RANK_1,
         "memory 10 10 rrrr"},
        {"a log that begins just in time",
         13,
         0,
         false,
         {KEPT_FROM(13, 111), GONE, KEPT_FROM(13, 111), KEPT(13)},
         POINT_10_WITHOUT_RANK_1,
         "replay 13 10 spss"},
        {"no neighbour's log: only rank 3 lacks one",
         13,
         0,
         false,
         {KEPT(13), GONE, KEPT(13), KEPT_FROM(13, 0)},
         POINT_10_WITHOUT_RANK_1,
         "replay 13 10 spss"},
        {"no logs at all",
         13,
         0,
         false,
         {KEPT_FROM(13, 0), GONE, KEPT_FROM(13, 0), KEPT_FROM(13, 0)},
         POINT_10_WITHOUT_RANK_1,
         "memory 10 10 rrrr"},
        {"lost at the point itself: no log is needed",
         10,
         0,
         false,
         {KEPT_FROM(10, 0), GONE, KEPT_FROM(10, 0), KEPT(10)},
         POINT_10_WITHOUT_RANK_1,
         "replay 10 10 srss"},
        {"two neighbours lost, at the point",
         10,
         0,
         false,
         {KEPT(10), GONE, GONE, KEPT(10)},
         {{1, 10, 0, 2, 0}, {1, 10, 6, 2, 0}, {5, 10, 2, 4, 0}, {4, 10, 6, 2, 0}},
         "replay 10 10 srrs"},
        {"two neighbours lost, behind it",
         13,
         5,
         false,
         {KEPT(13), GONE, GONE, KEPT(13)},
         {{1, 10, 0, 2, 0}, {1, 10, 6, 2, 0}, {5, 10, 2, 4, 0}, {4, 10, 6, 2, 0}},
         "memory 10 10 rrrr"},
        {"two lost, their copies with them: the disk",
         13,
         5,
         false,
         {KEPT(13), GONE, GONE, KEPT(13)},
         {{1, 10, 0, 2, 0}, {1, 10, 6, 2, 0}, {4, 10, 6, 2, 0}, {4, 10, 4, 2, 0}},
         "disk 5 5 llll"},
        {"two lost that are not neighbours",
         13,
         0,
         true,
         {GONE, KEPT(13), GONE, KEPT(13)},
         {{2, 10, 2, 2, 0}, {2, 10, 0, 2, 0}, {4, 10, 6, 2, 0}, {4, 10, 4, 2, 0}},
         "replay 13 10 psps"},
        {"first and last lost: neighbours if tied",
         13,
         0,
         false,
         {GONE, KEPT(13), KEPT(13), GONE},
         {{2, 10, 2, 2, 0}, {2, 10, 0, 2, 0}, {3, 10, 4, 2, 0}, {5, 10, 6, 2, 0}},
         "memory 10 10 rrrr"},
        {"and not if untied",
         13,
         0,
         true,
         {GONE, KEPT(13), KEPT(13), GONE},
         {{2, 10, 2, 2, 0}, {2, 10, 0, 2, 0}, {3, 10, 4, 2, 0}, {5, 10, 6, 2, 0}},
         "replay 13 10 pssp"},
        {"tied: the last needs the first's log",
         13,
         0,
         false,
         {KEPT_FROM(13, 0), KEPT(13), KEPT(13), GONE},
         {{1, 10, 0, 2, 0}, {2, 10, 2, 2, 0}, {3, 10, 4, 2, 0}, {1, 10, 6, 2, 0}},
         "memory 10 10 rrrr"},
        {"a survivor that is behind is as good as lost",
         13,
         0,
         false,
         {KEPT(13), KEPT(12), KEPT(13), KEPT(13)},
         POINT_10_WITHOUT_RANK_1,
         "replay 13 10 spss"},
        {"a newer checkpoint than point",
         13,
         12,
         false,
         {GONE, GONE, KEPT(13), KEPT(13)},
         POINT_10_WITHOUT_RANK_1,
         "disk 12 12 llll"},
        {"a checkpoint at the point's step: memory is nearer",
         13,
         10,
         false,
         {GONE, GONE, KEPT(13), KEPT(13)},
         POINT_10_WITHOUT_RANK_1,
         "memory 10 10 rrrr"},
        {"a checkpoint at the decided step: nobody goes anywhere",
         13,
         13,
         false,
         {KEPT(13), GONE, KEPT(13), KEPT(13)},
         POINT_10_WITHOUT_RANK_1,
         "replay 13 10 spss"},
        {"who stands at the point needs nothing",
         13,
         0,
         false,
         {KEPT(10), GONE, GONE, KEPT(13)},
         POINT_10_WITHOUT_RANK_1,
         "memory 10 10 srrr"},
        {"all lost, all parts there: a coordinator's restart",
         0,
         5,
         false,
         {GONE, GONE, GONE, GONE},
         POINT_10_WITHOUT_RANK_1,
         "memory 10 10 rrrr"},
        {"of another lineage: not for us",
         0,
         5,
         false,
         {GONE, GONE, GONE, GONE},
         {{1, 10, 0, 4, 5}, {1, 10, 4, 4, 5}},
         "disk 5 5 llll"},
        {"mixed lineages do not add up",
         0,
         -1,
         false,
         {GONE, GONE, GONE, GONE},
         {{1, 10, 0, 4, 0}, {1, 10, 4, 4, 5}},
         "start 0 0 llll"},
        {"two halves of different steps do not add up",
         13,
         3,
         false,
         {GONE, GONE, GONE, GONE},
         {{1, 10, 0, 4, 0}, {1, 11, 4, 4, 0}},
         "disk 3 3 llll"},
        {"parts of another partition",
         13,
         3,
         false,
         {GONE, GONE, GONE, GONE},
         {{1, 10, 0, 3, 0}, {2, 10, 3, 3, 0}, {5, 10, 5, 3, 0}},
         "memory 10 10 rrrr"},
        {"the older point that is whole",
         13,
         3,
         false,
         {GONE, GONE, GONE, GONE},
         {{1, 12, 0, 3, 0}, {2, 12, 4, 4, 0}, {3, 9, 0, 8, 0}},
         "memory 9 9 rrrr"},
        {"a first step, nothing anywhere", 0, -1, false, {GONE, GONE, GONE, GONE}, {{0}}, "start 0 0 llll"},
        {"lost before the first point", 13, -1, false, {KEPT(13), GONE, KEPT(13), KEPT(13)}, {{0}}, "start 0 0 llll"},
        {"nothing but a checkpoint of step 0", 0, 0, false, {GONE, GONE, GONE, GONE}, {{0}}, "disk 0 0 llll"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        run_level(&cases[i]);
}

/* Nobody sends a gradient to a rank that learns nothing: the log of the one behind it is not asked for. */
static void what_is_frozen_needs_no_log_behind_it(void **state)
{
    (void)state;
    level_case c = {"one lost, and the rank behind it has sent nothing",
                    13,
                    0,
                    true,
                    {KEPT(13), GONE, KEPT_FROM(13, 0), KEPT(13)},
                    POINT_10_WITHOUT_RANK_1,
                    "memory 10 10 rrrr"};
    frozen = 3; /* rank 1 learns in part */
    run_level(&c);
    frozen = 4;
    c.expected = "replay 13 10 spss";
    run_level(&c);
    c.kept[0] = (sc_kept_state)KEPT_FROM(13, 0); /* what it goes forward from still comes from a log */
    c.expected = "memory 10 10 rrrr";
    run_level(&c);
    frozen = 0;
}

static void the_newest_point_of_all(void **state)
{
    (void)state;
    join(-1);
    join(-1);
    assert_int_equal(sc_recovery_newest_point(roster, 1, 4, 0), 0);
    sc_roster_hold(roster, 1, &(sc_part){1, 20, 0, 2});
    sc_roster_hold(roster, 2, &(sc_part){1, 10, 2, 2});
    assert_int_equal(sc_recovery_newest_point(roster, 1, 4, 0), 0);
    sc_roster_hold(roster, 1, &(sc_part){1, 10, 0, 2});
    assert_int_equal(sc_recovery_newest_point(roster, 1, 4, 0), 10);
    assert_int_equal(sc_recovery_newest_point(roster, 1, 4, 10), 0);
    sc_roster_hold(roster, 2, &(sc_part){1, 20, 1, 3});
    assert_int_equal(sc_recovery_newest_point(roster, 1, 4, 10), 20);
    assert_int_equal(sc_recovery_newest_point(roster, 2, 4, 0), 0);
}

static void a_point_that_no_single_loss_takes(void **state)
{
    (void)state;
    join(-1);
    join(-1);
    assert_int_equal(sc_recovery_safe_point(roster, 1, 4), 0);
    sc_roster_hold(roster, 1, &(sc_part){1, 20, 0, 4});
    sc_roster_hold(roster, 2, &(sc_part){1, 20, 0, 3});
    sc_roster_hold(roster, 1, &(sc_part){1, 10, 0, 2});
    sc_roster_hold(roster, 1, &(sc_part){1, 10, 2, 2});
    assert_int_equal(sc_recovery_safe_point(roster, 1, 4), 0); /* twice with one member is once */
    sc_roster_hold(roster, 2, &(sc_part){1, 10, 0, 4});
    assert_int_equal(sc_recovery_safe_point(roster, 1, 4), 10);
    sc_roster_hold(roster, 2, &(sc_part){1, 20, 3, 1});
    assert_int_equal(sc_recovery_safe_point(roster, 1, 4), 20);
    assert_int_equal(sc_recovery_safe_point(roster, 2, 4), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_roster, close_roster)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_takes_which_rank),
        TEST(who_serves_from_a_step_on),
        TEST(how_far_back),
        TEST(what_is_frozen_needs_no_log_behind_it),
        TEST(the_newest_point_of_all),
        TEST(a_point_that_no_single_loss_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
