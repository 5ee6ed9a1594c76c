#include "coordinator/run/roster.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A look that comes later than this behind half a lease was away. */
enum { LOOK_MS = 100 };

static const double SLOWEST_STEPS = 1.5; /* that a step may take beside the slowest of the last ones */

struct sc_roster {
    sc_roster_options options;
    uint64_t last_id;
    int n, n_losses, n_ranks;
    sc_member *members[SC_ROSTER_MAX]; /* owned, in order of joining */
    sc_loss *losses[SC_ROSTER_MAX];    /* owned, not handed out yet */
    uint64_t looked_ms, listening_ms;  /* the last look; no gap between looks since then */
    bool step_is_out;
    uint64_t out_ms; /* since when */
    double seconds[SC_ROSTER_STEPS];
    uint64_t n_measured;
};

sc_status sc_roster_new(const sc_roster_options *options, uint64_t now_ms, sc_roster **out)
{
    sc_roster *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the roster");
    self->options = *options;
    self->looked_ms = self->listening_ms = now_ms;
    *out = self;
    return SC_OK;
}

static void free_member(sc_member *m)
{
    free(m->endpoint);
    free(m);
}

void sc_roster_destroy(sc_roster **self_p)
{
    sc_roster *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    for (int i = 0; i < self->n; i++)
        free_member(self->members[i]);
    for (int i = 0; i < self->n_losses; i++)
        free(self->losses[i]);
    free(self);
}

/* --- who there is -------------------------------------------------------------------------------------------------- */

static int index_of(const sc_roster *self, uint64_t id)
{
    for (int i = 0; i < self->n; i++)
        if (self->members[i]->id == id)
            return i;
    return -1;
}

static sc_member *find(const sc_roster *self, uint64_t id)
{
    int i = index_of(self, id);
    return i < 0 ? NULL : self->members[i];
}

int sc_roster_count(const sc_roster *self)
{
    return self->n;
}

const sc_member *sc_roster_at(const sc_roster *self, int index)
{
    return self->members[index];
}

const sc_member *sc_roster_find(const sc_roster *self, uint64_t id)
{
    return find(self, id);
}

const sc_member *sc_roster_ranked(const sc_roster *self, int rank)
{
    for (int i = 0; i < self->n; i++)
        if (self->members[i]->rank == rank)
            return self->members[i];
    return NULL;
}

const sc_member *sc_roster_of(const sc_roster *self, const void *context)
{
    for (int i = 0; i < self->n; i++)
        if (self->members[i]->context == context)
            return self->members[i];
    return NULL;
}

void sc_roster_set_context(sc_roster *self, uint64_t id, void *context)
{
    sc_member *m = find(self, id);
    if (m)
        m->context = context;
}

int sc_roster_n_ranks(const sc_roster *self)
{
    return self->n_ranks;
}

/* --- losses -------------------------------------------------------------------------------------------------------- */

/* "worker 2 (host:1)", "a spare (host:2)". */
static const char *describe(const sc_member *m, char *text, size_t text_bytes)
{
    if (m->rank >= 0)
        snprintf(text, text_bytes, "worker %d (%s)", m->rank, m->name);
    else
        snprintf(text, text_bytes, "a spare worker (%s)", m->name);
    return text;
}

static void remove_at(sc_roster *self, int index)
{
    self->n--;
    memmove(&self->members[index], &self->members[index + 1], (size_t)(self->n - index) * sizeof(sc_member *));
}

/* Out of the roster, and into the list of losses. Their number is bounded by that of the members: a list that is full, or no
 * memory, means that nobody asks for them, and the oldest has waited long enough. */
static void lose(sc_roster *self, sc_member *m, uint64_t since_ms, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void lose(sc_roster *self, sc_member *m, uint64_t since_ms, const char *format, ...)
{
    sc_loss *loss = self->n_losses < SC_ROSTER_MAX ? malloc(sizeof *loss) : NULL;
    if (!loss && self->n_losses > 0) {
        loss = self->losses[0];
        self->n_losses--;
        memmove(self->losses, self->losses + 1, (size_t)self->n_losses * sizeof(sc_loss *));
    }
    remove_at(self, index_of(self, m->id));
    if (loss) {
        loss->member = *m;
        loss->member.endpoint = NULL;
        loss->since_ms = since_ms;
        va_list args;
        va_start(args, format);
        vsnprintf(loss->reason, sizeof loss->reason, format, args);
        va_end(args);
        self->losses[self->n_losses++] = loss;
    }
    free_member(m);
}

bool sc_roster_next_loss(sc_roster *self, sc_loss *out)
{
    if (self->n_losses == 0)
        return false;
    *out = *self->losses[0];
    free(self->losses[0]);
    self->n_losses--;
    memmove(self->losses, self->losses + 1, (size_t)self->n_losses * sizeof(sc_loss *));
    return true;
}

/* --- what happens -------------------------------------------------------------------------------------------------- */

sc_status sc_roster_join(sc_roster *self, const sc_roster_join_request *request, uint64_t now_ms, uint64_t *id)
{
    if (!request->endpoint || !request->endpoint[0])
        return SC_FAIL(SC_INVALID, "Join without a data endpoint");
    sc_member *m = calloc(1, sizeof *m);
    char *endpoint = strdup(request->endpoint);
    if (!m || !endpoint) {
        free(m);
        free(endpoint);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "the coordinator is out of memory");
    }
    *m = (sc_member){
        .incarnation = request->incarnation,
        .endpoint = endpoint,
        .threads = request->threads,
        .local_index = request->local_index,
        .rank = -1,
        .heard_ms = now_ms,
        .moved_ms = now_ms,
        .reported_ms = now_ms,
    };
    snprintf(m->name, sizeof m->name, "%s:%" PRIu32, request->host, request->pid);
    snprintf(m->device, sizeof m->device, "%s", request->device);
    snprintf(m->version, sizeof m->version, "%s", request->version);
    for (int i = self->n - 1; i >= 0; i--) {
        sc_member *old = self->members[i];
        bool same = m->local_index >= 0 ? old->local_index == m->local_index
                                        : old->local_index < 0 && strcmp(old->name, m->name) == 0;
        char who[192];
        if (same)
            lose(self, old, now_ms, "%s gave up its connection and joined again", describe(old, who, sizeof who));
    }
    if (self->n == SC_ROSTER_MAX) {
        free_member(m);
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "the run has %d workers and spares, and takes no more", SC_ROSTER_MAX);
    }
    m->id = *id = ++self->last_id;
    self->members[self->n++] = m;
    for (int i = 0; i < request->n_parts; i++)
        sc_roster_hold(self, m->id, &request->parts[i]);
    return SC_OK;
}

void sc_roster_heard(sc_roster *self, uint64_t id, uint64_t heard_ms)
{
    sc_member *m = find(self, id);
    if (!m || heard_ms <= m->heard_ms)
        return;
    m->heard_ms = heard_ms;
    if (heard_ms > m->cut_ms)
        m->cut_ms = 0;
}

void sc_roster_report(sc_roster *self, uint64_t id, uint64_t actions_done, bool waiting, const char *doing,
                      uint64_t now_ms)
{
    sc_member *m = find(self, id);
    if (!m)
        return;
    sc_roster_heard(self, id, now_ms);
    if (waiting || m->waiting || actions_done != m->actions_done)
        m->moved_ms = now_ms;
    m->actions_done = actions_done;
    m->waiting = waiting;
    m->reported_ms = now_ms;
    snprintf(m->doing, sizeof m->doing, "%s", doing);
}

void sc_roster_cut(sc_roster *self, uint64_t id, uint64_t now_ms)
{
    sc_member *m = find(self, id);
    if (m && m->cut_ms == 0)
        m->cut_ms = now_ms;
}

void sc_roster_leave(sc_roster *self, uint64_t id, const char *reason, uint64_t now_ms)
{
    sc_member *m = find(self, id);
    char who[192];
    if (m)
        lose(self, m, now_ms, "%s left the run: %.256s", describe(m, who, sizeof who), reason);
}

void sc_roster_drain(sc_roster *self, uint64_t id, const char *reason)
{
    sc_member *m = find(self, id);
    if (!m || m->draining)
        return;
    m->draining = true;
    snprintf(m->drain_reason, sizeof m->drain_reason, "%s", reason);
}

void sc_roster_fail(sc_roster *self, uint64_t id, const char *reason, uint64_t now_ms)
{
    sc_member *m = find(self, id);
    if (m)
        lose(self, m, now_ms, "%s", reason);
}

bool sc_roster_exited(sc_roster *self, int local_index, const char *report, uint64_t now_ms)
{
    for (int i = 0; i < self->n; i++)
        if (self->members[i]->local_index == local_index) {
            lose(self, self->members[i], now_ms, "%s", report);
            return true;
        }
    return false;
}

void sc_roster_release(sc_roster *self, uint64_t id)
{
    sc_member *m = find(self, id);
    if (!m)
        return;
    remove_at(self, index_of(self, id));
    free_member(m);
}

/* --- steps --------------------------------------------------------------------------------------------------------- */

void sc_roster_expect(sc_roster *self, bool step_is_out, uint64_t now_ms)
{
    if (step_is_out && !self->step_is_out)
        self->out_ms = now_ms;
    self->step_is_out = step_is_out;
}

void sc_roster_measure(sc_roster *self, double seconds)
{
    self->seconds[self->n_measured++ % SC_ROSTER_STEPS] = seconds;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

uint64_t sc_roster_hang_ms(const sc_roster *self)
{
    double sorted[SC_ROSTER_STEPS];
    size_t n = self->n_measured < SC_ROSTER_STEPS ? (size_t)self->n_measured : SC_ROSTER_STEPS;
    if (n == 0)
        return UINT64_MAX;
    memcpy(sorted, self->seconds, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare);
    double steps_ms = 1000 * fmax(self->options.hang_steps * sorted[n / 2], SLOWEST_STEPS * sorted[n - 1]);
    return steps_ms > (double)self->options.hang_ms ? (uint64_t)steps_ms : self->options.hang_ms;
}

/* --- time ---------------------------------------------------------------------------------------------------------- */

/* The coordinator was away: whatever a member said meanwhile lies unread. */
static void begin_anew(sc_roster *self, uint64_t now_ms)
{
    self->listening_ms = now_ms;
    for (int i = 0; i < self->n; i++) {
        sc_member *m = self->members[i];
        m->moved_ms = now_ms;
        if (m->cut_ms > 0)
            m->cut_ms = now_ms;
    }
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Invariant 5. A report is needed that is newer than the deadline: a silent member is the lease's business. */
static bool is_hung(const sc_roster *self, const sc_member *m, uint64_t limit_ms)
{
    uint64_t from = later(m->moved_ms, self->out_ms);
    return self->step_is_out && m->rank >= 0 && !m->waiting && m->reported_ms > from &&
           m->reported_ms - from > limit_ms;
}

static void look_at(sc_roster *self, sc_member *m, uint64_t now_ms)
{
    uint64_t hang_ms = sc_roster_hang_ms(self);
    uint64_t from = later(m->heard_ms, self->listening_ms), silent_ms = now_ms > from ? now_ms - from : 0;
    char who[192];
    describe(m, who, sizeof who);
    if (m->cut_ms > 0 && now_ms > m->cut_ms && now_ms - m->cut_ms > self->options.reconnect_ms)
        lose(self, m, m->cut_ms,
             "the connection of %s is gone and did not come back within %" PRIu64 " ms (wire.reconnect_ms)", who,
             self->options.reconnect_ms);
    else if (silent_ms > self->options.lease_ms)
        lose(self, m, m->heard_ms,
             "%s has been silent for %" PRIu64 " ms, longer than its lease (wire.lease_ms %" PRIu64
             "): it is counted as lost",
             who, now_ms - m->heard_ms, self->options.lease_ms);
    else if (is_hung(self, m, hang_ms))
        lose(self, m, m->moved_ms,
             "%s lives but has not moved for %" PRIu64 " ms in '%s' (limit %" PRIu64
             " ms, from recovery.hang_ms and recovery.hang_steps): it is counted as lost",
             who, m->reported_ms - later(m->moved_ms, self->out_ms), m->doing, hang_ms);
}

void sc_roster_look(sc_roster *self, uint64_t now_ms)
{
    if (now_ms - self->looked_ms > self->options.lease_ms / 2 + LOOK_MS)
        begin_anew(self, now_ms);
    self->looked_ms = now_ms;
    for (int i = self->n - 1; i >= 0; i--) /* a loss takes its member out of the list */
        look_at(self, self->members[i], now_ms);
}

/* --- ranks --------------------------------------------------------------------------------------------------------- */

void sc_roster_seat(sc_roster *self, const uint64_t *ids, int n_ranks)
{
    for (int i = 0; i < self->n; i++)
        self->members[i]->rank = -1;
    for (int rank = 0; rank < n_ranks; rank++) {
        sc_member *m = find(self, ids[rank]);
        if (m)
            m->rank = rank;
    }
    self->n_ranks = n_ranks;
}

/* --- parts --------------------------------------------------------------------------------------------------------- */

static bool same_part(const sc_part *a, const sc_part *b)
{
    return a->lineage == b->lineage && a->step == b->step && a->first_block == b->first_block &&
           a->n_blocks == b->n_blocks;
}

void sc_roster_hold(sc_roster *self, uint64_t id, const sc_part *part)
{
    sc_member *m = find(self, id);
    if (!m)
        return;
    int oldest = 0;
    for (int i = 0; i < m->n_parts; i++) {
        if (same_part(&m->parts[i], part))
            return;
        if (m->parts[i].step < m->parts[oldest].step)
            oldest = i;
    }
    if (m->n_parts < SC_ROSTER_PARTS)
        m->parts[m->n_parts++] = *part;
    else if (part->step > m->parts[oldest].step)
        m->parts[oldest] = *part;
}

void sc_roster_keep_parts(sc_roster *self, uint64_t id, uint64_t lineage, const uint64_t *steps, int n_steps)
{
    sc_member *m = find(self, id);
    int n = 0;
    for (int i = 0; m && i < m->n_parts; i++) {
        bool keep = false;
        for (int k = 0; k < n_steps; k++)
            keep = keep || (m->parts[i].lineage == lineage && m->parts[i].step == steps[k]);
        if (keep)
            m->parts[n++] = m->parts[i];
    }
    if (m)
        m->n_parts = n;
}
