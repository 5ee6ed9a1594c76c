#include "proto/base/plan_walk.h"

#include <stdlib.h>
#include <string.h>

enum { FORWARD, BACKWARD, N_DIRECTIONS };
enum { SENT_F = 1, SENT_B = 2 };

typedef struct walk {
    const sc_plan *plan;
    const sc_plan_walk_hooks *hooks;
    uint8_t *sent;    /* [V][M] SENT_F, SENT_B: by the stage that sent */
    double *arrivals; /* [V][M][2], where `sent` says so */
    double *clocks;   /* [S] */
    int *positions;   /* [S] */
    bool *waiting;    /* [S] blocked, and not in `ready` */
    int *ready;       /* [S] a stack of workers that can go on; each is in it at most once */
    int n_ready;
    bool tied_sent[2]; /* by the first stage, by the last */
    double tied_arrivals[2];
} walk;

/* What an action waits for: a message from another worker. */
typedef struct need {
    bool any;
    int worker;     /* who sends it */
    sc_action send; /* with what */
} need;

static bool in_plan(const sc_plan *plan, sc_action action)
{
    return action.stage >= 0 && action.stage < sc_plan_n_stages(plan) &&
           (!sc_action_has_microbatch(action.kind) ||
            (action.microbatch >= 0 && action.microbatch < plan->n_microbatches));
}

static size_t cell(const sc_plan *plan, int stage, int microbatch)
{
    return (size_t)stage * (size_t)plan->n_microbatches + (size_t)microbatch;
}

static need need_of(const sc_plan *plan, sc_action action)
{
    need n = {.send = action};
    int last = sc_plan_n_stages(plan) - 1;
    if (!in_plan(plan, action) || !sc_plan_sends(plan))
        return n;
    if (action.kind == SC_ACT_RECV_F && action.stage > 0) {
        n.send.kind = SC_ACT_SEND_F;
        n.send.stage--;
    } else if (action.kind == SC_ACT_RECV_B && action.stage < last) {
        n.send.kind = SC_ACT_SEND_B;
        n.send.stage++;
    } else if (action.kind == SC_ACT_REDUCE_TIED && (action.stage == 0 || action.stage == last)) {
        n.send.stage = last - action.stage;
    } else {
        return n;
    }
    n.any = true;
    n.worker = sc_plan_worker_of(plan, n.send.stage);
    return n;
}

static bool is_there(const walk *self, sc_action send, double *arrival)
{
    if (send.kind == SC_ACT_REDUCE_TIED) {
        *arrival = self->tied_arrivals[send.stage != 0];
        return self->tied_sent[send.stage != 0];
    }
    int direction = send.kind == SC_ACT_SEND_F ? FORWARD : BACKWARD;
    size_t at = cell(self->plan, send.stage, send.microbatch);
    if (!(self->sent[at] & (direction == FORWARD ? SENT_F : SENT_B)))
        return false;
    *arrival = self->arrivals[N_DIRECTIONS * at + (size_t)direction];
    return true;
}

/* Notes the message, and wakes the worker that stands before exactly this one. */
static double post(walk *self, int sender, sc_action send)
{
    const sc_plan *plan = self->plan;
    double ready = self->clocks[sender];
    double arrival = self->hooks->arrival ? self->hooks->arrival(self->hooks->context, sender, send, ready) : ready;
    int receiver;
    if (send.kind == SC_ACT_REDUCE_TIED) {
        self->tied_sent[send.stage != 0] = true;
        self->tied_arrivals[send.stage != 0] = arrival;
        receiver = sc_plan_worker_of(plan, sc_plan_n_stages(plan) - 1 - send.stage);
    } else {
        int direction = send.kind == SC_ACT_SEND_F ? FORWARD : BACKWARD;
        size_t at = cell(plan, send.stage, send.microbatch);
        self->sent[at] |= direction == FORWARD ? SENT_F : SENT_B;
        self->arrivals[N_DIRECTIONS * at + (size_t)direction] = arrival;
        receiver = sc_plan_worker_of(plan, direction == FORWARD ? send.stage + 1 : send.stage - 1);
    }
    if (!self->waiting[receiver])
        return arrival;
    need n = need_of(plan, plan->workers[receiver].actions[self->positions[receiver]]);
    double there;
    if (!n.any || is_there(self, n.send, &there)) {
        self->waiting[receiver] = false;
        self->ready[self->n_ready++] = receiver;
    }
    return arrival;
}

/* Does this action put a message on its way to another worker? */
static bool posts(const sc_plan *plan, sc_action action)
{
    int last = sc_plan_n_stages(plan) - 1;
    if (!in_plan(plan, action) || !sc_plan_sends(plan))
        return false;
    return (action.kind == SC_ACT_SEND_F && action.stage < last) ||
           (action.kind == SC_ACT_SEND_B && action.stage > 0) ||
           (action.kind == SC_ACT_REDUCE_TIED && (action.stage == 0 || action.stage == last));
}

static bool is_compute(sc_action_kind kind)
{
    return kind == SC_ACT_FORWARD || kind == SC_ACT_BACKWARD || kind == SC_ACT_BACKWARD_INPUT ||
           kind == SC_ACT_BACKWARD_WEIGHT;
}

/* Runs a worker until its list ends or it must wait. A REDUCE_TIED that had to wait comes by a second time, and has sent. */
static void run_worker(walk *self, int worker)
{
    const sc_plan_walk_hooks *hooks = self->hooks;
    const sc_action_list *list = &self->plan->workers[worker];
    for (; self->positions[worker] < list->n; self->positions[worker]++) {
        sc_action action = list->actions[self->positions[worker]];
        double start = self->clocks[worker], end = start, arrival = start;
        if (posts(self->plan, action) && !(action.kind == SC_ACT_REDUCE_TIED && self->tied_sent[action.stage != 0]))
            arrival = post(self, worker, action);
        need n = need_of(self->plan, action);
        if (n.any) {
            if (!is_there(self, n.send, &arrival)) {
                self->waiting[worker] = true;
                return;
            }
            end = arrival > start ? arrival : start;
            self->clocks[worker] = end;
        } else if (is_compute(action.kind)) {
            end = start + (hooks->duration ? hooks->duration(hooks->context, action) : 0.0);
            self->clocks[worker] = end;
        } else {
            end = arrival;
        }
        if (hooks->done)
            hooks->done(hooks->context, worker, self->positions[worker], action, start, end);
    }
}

/* One link of the chain: where a worker stands and what it waits for. Appended to `text`. */
static void tell_wait(const walk *self, int worker, char *text, size_t text_bytes)
{
    char here[32], there[32];
    sc_action action = self->plan->workers[worker].actions[self->positions[worker]];
    need n = need_of(self->plan, action);
    size_t used = strlen(text);
    if (used == 0)
        used = (size_t)snprintf(text, text_bytes, "worker %d", worker);
    else
        used += (size_t)snprintf(text + used, text_bytes - used, ", which");
    snprintf(text + used, text_bytes - used, " at position %d (%s) waits for %s of worker %d", self->positions[worker],
             sc_action_text(action, here, sizeof here), sc_action_text(n.send, there, sizeof there), n.worker);
}

/* Follows who waits for whom from the first blocked worker into the circle, or to a worker that has ended its list. */
static sc_status fail_deadlock(walk *self)
{
    enum { MOST_TOLD = 6 };
    const sc_plan *plan = self->plan;
    int worker = 0;
    while (!self->waiting[worker])
        worker++;
    char text[800] = ""; /* a link takes less than 120 bytes */
    /* After S moves a walker that was not stopped is inside the circle. */
    int inside = worker;
    for (int i = 0; i < plan->n_workers && self->waiting[inside]; i++)
        inside = need_of(plan, plan->workers[inside].actions[self->positions[inside]]).worker;
    if (self->waiting[inside])
        worker = inside;
    int from = worker, told = 0;
    do {
        if (told++ < MOST_TOLD)
            tell_wait(self, worker, text, sizeof text);
        worker = need_of(plan, plan->workers[worker].actions[self->positions[worker]]).worker;
    } while (worker != from && self->waiting[worker]);
    const char *more = told > MOST_TOLD ? ", and so on" : "";
    if (!self->waiting[worker])
        return SC_FAIL(SC_FAILED_PRECONDITION, "deadlock: %s%s; worker %d ends its list without sending it", text, more,
                       worker);
    return SC_FAIL(SC_FAILED_PRECONDITION, "deadlock: %s%s; %d workers wait in a circle", text, more, told);
}

sc_status sc_plan_walk(const sc_plan *plan, const sc_plan_walk_hooks *hooks, int *positions)
{
    size_t S = (size_t)plan->n_workers;
    size_t cells = (size_t)sc_plan_n_stages(plan) * (size_t)plan->n_microbatches;
    walk self = {
        .plan = plan,
        .hooks = hooks,
        .sent = calloc(cells, sizeof *self.sent),
        .arrivals = malloc(cells * N_DIRECTIONS * sizeof *self.arrivals),
        .clocks = calloc(S, sizeof *self.clocks),
        .positions = calloc(S, sizeof *self.positions),
        .waiting = calloc(S, sizeof *self.waiting),
        .ready = calloc(S, sizeof *self.ready),
    };
    sc_status status = SC_OK;
    if (!self.sent || !self.arrivals || !self.clocks || !self.positions || !self.waiting || !self.ready) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to walk a plan of %d stages and %d micro-batches",
                         sc_plan_n_stages(plan), plan->n_microbatches);
        goto cleanup;
    }
    for (int w = plan->n_workers - 1; w >= 0; w--)
        self.ready[self.n_ready++] = w;
    while (self.n_ready > 0)
        run_worker(&self, self.ready[--self.n_ready]);
    if (positions)
        memcpy(positions, self.positions, S * sizeof *positions);
    for (int w = 0; w < plan->n_workers && status == SC_OK; w++)
        if (self.waiting[w])
            status = fail_deadlock(&self);
cleanup:
    free(self.sent);
    free(self.arrivals);
    free(self.clocks);
    free(self.positions);
    free(self.waiting);
    free(self.ready);
    return status;
}
