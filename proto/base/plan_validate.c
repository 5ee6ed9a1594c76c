/* The plan's rules, checked list by list; what remains, that nobody waits for ever, is checked by walking the plan. */
#include "proto/base/plan.h"

#include "proto/base/plan_walk.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* One bit for each kind that belongs to a micro-batch; they are the first eight. */
#define BIT(kind) ((uint8_t)(1u << (kind)))
static_assert(SC_ACT_RECV_B == 7, "a cell of `seen` has a bit for each kind that belongs to a micro-batch");

typedef struct checker {
    const sc_plan *plan;
    bool tied;
    uint8_t *seen;        /* [V][M] bits of the kinds that were met */
    int *n_weight_grads;  /* [V] micro-batches whose weight gradient is added, 0 up to here */
    uint8_t *n_grads;     /* [V] REDUCE_GRAD met */
    bool tied_seen[2];    /* REDUCE_TIED of the first stage, of the last */
    int worker, position; /* where we are */
    sc_action action;
} checker;

static sc_status refuse(const checker *self, const char *format, ...) __attribute__((format(printf, 2, 3)));

static sc_status refuse(const checker *self, const char *format, ...)
{
    char why[256], here[32];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    return SC_FAIL(SC_FAILED_PRECONDITION, "worker %d, position %d, %s: %s", self->worker, self->position,
                   sc_action_text(self->action, here, sizeof here), why);
}

static int last_stage(const checker *self)
{
    return sc_plan_n_stages(self->plan) - 1;
}

static uint8_t *seen(const checker *self, int stage, int microbatch)
{
    return &self->seen[(size_t)stage * (size_t)self->plan->n_microbatches + (size_t)microbatch];
}

/* Refuses unless one of the kinds in `bits` came earlier for (stage, this micro-batch). */
static sc_status must_follow(const checker *self, uint8_t bits, int stage, sc_action_kind named)
{
    char text[32];
    if (*seen(self, stage, self->action.microbatch) & bits)
        return SC_OK;
    sc_action missing = {.kind = named, .stage = stage, .microbatch = self->action.microbatch};
    return refuse(self, "%s must come before it on this worker", sc_action_text(missing, text, sizeof text));
}

static sc_status check_place(const checker *self)
{
    const sc_plan *plan = self->plan;
    sc_action a = self->action;
    if ((unsigned)a.kind > SC_ACT_STEP)
        return refuse(self, "there is no such kind of action");
    if (a.stage < 0 || a.stage > last_stage(self))
        return refuse(self, "the plan has stages 0 to %d", last_stage(self));
    if (sc_action_has_microbatch(a.kind) && (a.microbatch < 0 || a.microbatch >= plan->n_microbatches))
        return refuse(self, "the plan has micro-batches 0 to %d", plan->n_microbatches - 1);
    if (sc_plan_worker_of(plan, a.stage) != self->worker)
        return refuse(self, "stage %d belongs to worker %d", a.stage, sc_plan_worker_of(plan, a.stage));
    if (plan->mode == SC_PLAN_FORWARD && a.kind != SC_ACT_FORWARD && a.kind != SC_ACT_SEND_F && a.kind != SC_ACT_RECV_F)
        return refuse(self, "a forward plan has F, SEND_F and RECV_F alone");
    if (a.stage < plan->n_frozen && a.kind != SC_ACT_FORWARD && a.kind != SC_ACT_SEND_F && a.kind != SC_ACT_RECV_F &&
        a.kind != SC_ACT_STEP)
        return refuse(self, "stage %d is frozen: it has F, SEND_F and RECV_F alone", a.stage);
    if (sc_action_has_microbatch(a.kind) && (*seen(self, a.stage, a.microbatch) & BIT(a.kind)))
        return refuse(self, "it stands here a second time");
    return SC_OK;
}

/* Is there a neighbour on another worker to exchange with? */
static sc_status check_exchange(const checker *self, int neighbour)
{
    if (!sc_plan_sends(self->plan))
        return refuse(self, "with one worker nothing is sent or received");
    if (neighbour < 0 || neighbour > last_stage(self))
        return refuse(self, "stage %d has no neighbour on that side", self->action.stage);
    return SC_OK;
}

static sc_status check_forward(const checker *self)
{
    int v = self->action.stage;
    if (v == 0)
        return SC_OK;
    return sc_plan_sends(self->plan) ? must_follow(self, BIT(SC_ACT_RECV_F), v, SC_ACT_RECV_F)
                                     : must_follow(self, BIT(SC_ACT_FORWARD), v - 1, SC_ACT_FORWARD);
}

static const uint8_t any_backward = BIT(SC_ACT_BACKWARD) | BIT(SC_ACT_BACKWARD_INPUT);

/* B or I. */
static sc_status check_backward(const checker *self)
{
    int v = self->action.stage;
    SC_TRY(must_follow(self, BIT(SC_ACT_FORWARD), v, SC_ACT_FORWARD));
    if (*seen(self, v, self->action.microbatch) & any_backward)
        return refuse(self, "this micro-batch's input gradient is there already: a backward is B, or I and then W");
    if (v == last_stage(self))
        return SC_OK;
    return sc_plan_sends(self->plan) ? must_follow(self, BIT(SC_ACT_RECV_B), v, SC_ACT_RECV_B)
                                     : must_follow(self, any_backward, v + 1, SC_ACT_BACKWARD);
}

/* B or W: the sums' bits rest on this order. */
static sc_status add_weight_grad(checker *self)
{
    int *n = &self->n_weight_grads[self->action.stage];
    if (self->action.microbatch != *n)
        return refuse(self, "weight gradients are added in micro-batch order, and this stage's next is micro-batch %d",
                      *n);
    (*n)++;
    return SC_OK;
}

static sc_status must_have_all_weight_grads(const checker *self, int stage)
{
    if (stage >= self->plan->n_frozen && self->n_weight_grads[stage] < self->plan->n_microbatches)
        return refuse(self, "stage %d's weight gradient of micro-batch %d must come before it", stage,
                      self->n_weight_grads[stage]);
    return SC_OK;
}

static sc_status check_reduce_grad(checker *self)
{
    int v = self->action.stage;
    SC_TRY(must_have_all_weight_grads(self, v));
    if (self->n_grads[v]++)
        return refuse(self, "it stands here a second time");
    /* The tied exchange adds what each side has: were one side summed over the replicas and the other not, it would add
     * unlike things. Hence one order for all. */
    if ((v == 0 && self->tied_seen[0]) || (v == last_stage(self) && self->tied_seen[1]))
        return refuse(self, "the replicas are added before the tied matrix is");
    return SC_OK;
}

static sc_status check_reduce_tied(checker *self)
{
    int v = self->action.stage;
    if (!self->tied)
        return refuse(self, "this model shares no matrix between its first and last stage");
    if (v != 0 && v != last_stage(self))
        return refuse(self, "only stage 0 and stage %d hold the shared matrix", last_stage(self));
    if (self->tied_seen[v != 0])
        return refuse(self, "it stands here a second time");
    self->tied_seen[v != 0] = true;
    SC_TRY(must_have_all_weight_grads(self, v));
    if (!sc_plan_sends(self->plan))
        SC_TRY(must_have_all_weight_grads(self, last_stage(self) - v));
    return SC_OK;
}

static sc_status check_step(const checker *self)
{
    const sc_plan *plan = self->plan;
    if (self->position != plan->workers[self->worker].n - 1)
        return refuse(self, "STEP closes the worker's list, once");
    if (self->action.stage != self->worker)
        return refuse(self, "a worker's STEP is named after its first stage, %d", self->worker);
    for (int v = self->worker; v <= last_stage(self); v += plan->n_workers)
        SC_TRY(must_have_all_weight_grads(self, v));
    return SC_OK;
}

static sc_status check_action(checker *self)
{
    int v = self->action.stage;
    switch (self->action.kind) {
    case SC_ACT_FORWARD:
        return check_forward(self);
    case SC_ACT_BACKWARD:
        SC_TRY(check_backward(self));
        return add_weight_grad(self);
    case SC_ACT_BACKWARD_INPUT:
        return check_backward(self);
    case SC_ACT_BACKWARD_WEIGHT:
        SC_TRY(must_follow(self, BIT(SC_ACT_BACKWARD_INPUT), v, SC_ACT_BACKWARD_INPUT));
        return add_weight_grad(self);
    case SC_ACT_SEND_F:
        SC_TRY(check_exchange(self, v + 1));
        return must_follow(self, BIT(SC_ACT_FORWARD), v, SC_ACT_FORWARD);
    case SC_ACT_RECV_F:
        return check_exchange(self, v - 1);
    case SC_ACT_SEND_B:
        SC_TRY(check_exchange(self, v - 1));
        if (v == self->plan->n_frozen)
            return refuse(self, "no stage before it learns");
        return must_follow(self, any_backward, v, SC_ACT_BACKWARD);
    case SC_ACT_RECV_B:
        return check_exchange(self, v + 1);
    case SC_ACT_REDUCE_TIED:
        return check_reduce_tied(self);
    case SC_ACT_REDUCE_GRAD:
        return check_reduce_grad(self);
    case SC_ACT_STEP:
        return check_step(self);
    }
    return refuse(self, "there is no such kind of action");
}

static sc_status check_list(checker *self, int worker)
{
    const sc_action_list *list = &self->plan->workers[worker];
    self->worker = worker;
    for (self->position = 0; self->position < list->n; self->position++) {
        self->action = list->actions[self->position];
        SC_TRY(check_place(self));
        SC_TRY(check_action(self));
        if (sc_action_has_microbatch(self->action.kind))
            *seen(self, self->action.stage, self->action.microbatch) |= BIT(self->action.kind);
    }
    return SC_OK;
}

static sc_status fail_missing(const checker *self, sc_action_kind kind, int stage, int microbatch)
{
    char text[32];
    sc_action action = {.kind = kind, .stage = stage, .microbatch = microbatch};
    return SC_FAIL(SC_FAILED_PRECONDITION, "worker %d, position %d: its list ends without %s",
                   sc_plan_worker_of(self->plan, stage), self->plan->workers[sc_plan_worker_of(self->plan, stage)].n,
                   sc_action_text(action, text, sizeof text));
}

/* Nothing was dropped of one stage's work on one micro-batch. A backward by halves counts W as its end. */
static sc_status check_cell(const checker *self, int v, int m)
{
    const sc_plan *plan = self->plan;
    bool learns = plan->mode == SC_PLAN_TRAIN && v >= plan->n_frozen, first = v == 0, last = v == last_stage(self);
    uint8_t bits = *seen(self, v, m);
    const struct {
        bool wanted;
        uint8_t bits;
        sc_action_kind kind;
    } rules[] = {
        {true, BIT(SC_ACT_FORWARD), SC_ACT_FORWARD},
        {sc_plan_sends(plan) && !first, BIT(SC_ACT_RECV_F), SC_ACT_RECV_F},
        {sc_plan_sends(plan) && !last, BIT(SC_ACT_SEND_F), SC_ACT_SEND_F},
        {learns && !(bits & BIT(SC_ACT_BACKWARD_INPUT)), BIT(SC_ACT_BACKWARD), SC_ACT_BACKWARD},
        {learns && (bits & BIT(SC_ACT_BACKWARD_INPUT)), BIT(SC_ACT_BACKWARD_WEIGHT), SC_ACT_BACKWARD_WEIGHT},
        {learns && sc_plan_sends(plan) && !last, BIT(SC_ACT_RECV_B), SC_ACT_RECV_B},
        {learns && sc_plan_sends(plan) && v > plan->n_frozen, BIT(SC_ACT_SEND_B), SC_ACT_SEND_B},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (rules[i].wanted && !(bits & rules[i].bits))
            return fail_missing(self, rules[i].kind, v, m);
    return SC_OK;
}

static sc_status check_complete(const checker *self)
{
    const sc_plan *plan = self->plan;
    int last = last_stage(self), n_grads = 0;
    for (int v = 0; v <= last; v++) {
        for (int m = 0; m < plan->n_microbatches; m++)
            SC_TRY(check_cell(self, v, m));
        n_grads += self->n_grads[v];
    }
    if (plan->mode == SC_PLAN_FORWARD)
        return SC_OK;
    for (int v = plan->n_frozen; v <= last && n_grads > 0; v++)
        if (!self->n_grads[v])
            return fail_missing(self, SC_ACT_REDUCE_GRAD, v, -1);
    if (self->tied && !self->tied_seen[0])
        return fail_missing(self, SC_ACT_REDUCE_TIED, 0, -1);
    if (self->tied && last > 0 && !self->tied_seen[1])
        return fail_missing(self, SC_ACT_REDUCE_TIED, last, -1);
    for (int w = 0; w < plan->n_workers; w++) {
        const sc_action_list *list = &plan->workers[w];
        if (list->actions[list->n - 1].kind != SC_ACT_STEP)
            return fail_missing(self, SC_ACT_STEP, w, -1);
    }
    return SC_OK;
}

sc_status sc_plan_validate(const sc_plan *self, bool tied)
{
    /* First of all, so that a short text with large numbers in its header costs nothing. */
    for (int w = 0; w < self->n_workers; w++)
        if (self->workers[w].n < self->n_chunks * self->n_microbatches)
            return SC_FAIL(SC_FAILED_PRECONDITION,
                           "worker %d, position %d: its list ends too early for %d stages and %d micro-batches", w,
                           self->workers[w].n, self->n_chunks, self->n_microbatches);
    size_t V = (size_t)sc_plan_n_stages(self);
    if (self->n_frozen < 0 || self->n_frozen >= (int)V ||
        (self->n_frozen > 0 && (self->mode == SC_PLAN_FORWARD || tied)))
        return SC_FAIL(
            SC_FAILED_PRECONDITION,
            "%d of %zu stages are frozen; in a plan that trains and exchanges no tied gradient all but one can be",
            self->n_frozen, V);
    checker c = {
        .plan = self,
        .tied = tied,
        .seen = calloc(V * (size_t)self->n_microbatches, 1),
        .n_weight_grads = calloc(V, sizeof *c.n_weight_grads),
        .n_grads = calloc(V, 1),
    };
    sc_status status;
    if (!c.seen || !c.n_weight_grads || !c.n_grads) {
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory to check a plan of %zu stages and %d micro-batches", V,
                         self->n_microbatches);
        goto cleanup;
    }
    for (int w = 0; w < self->n_workers; w++)
        SC_TRY_GOTO(status, check_list(&c, w), cleanup);
    SC_TRY_GOTO(status, check_complete(&c), cleanup);
    SC_TRY_GOTO(status, sc_plan_walk(self, &(sc_plan_walk_hooks){.context = NULL}, NULL), cleanup);
cleanup:
    free(c.seen);
    free(c.n_weight_grads);
    free(c.n_grads);
    return status;
}
