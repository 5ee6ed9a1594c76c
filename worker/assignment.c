#include "worker/assignment.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

sc_assignment *sc_assignment_ref(sc_assignment *self)
{
    atomic_fetch_add(&self->references, 1);
    return self;
}

void sc_assignment_unref(sc_assignment **self_p)
{
    sc_assignment *self = *self_p;
    *self_p = NULL;
    if (!self || atomic_fetch_sub(&self->references, 1) != 1)
        return;
    for (int i = 0; self->plans && i < self->n_plans; i++)
        sc_plan_destroy(&self->plans[i]);
    for (int i = 0; self->endpoints && i < self->n_members; i++)
        free(self->endpoints[i]);
    free(self->plans);
    free(self->slices);
    free(self->endpoints);
    free(self->incarnations);
    free(self->keys);
    free(self->speaks_with);
    free(self->class_weights);
    free(self->packed);
    free(self);
}

static int clip(uint32_t value)
{
    return value > INT_MAX ? INT_MAX : (int)value; /* the checks that follow refuse it by its name */
}

static sc_status parse_model(const Stagecoach__V1__ModelDescription *message, sc_model *out)
{
    if (!message)
        return SC_FAIL(SC_INVALID, "the assignment has no model");
    *out = (sc_model){
        .family = (sc_family)clip(message->family),
        .layers = clip(message->layers),
        .heads = clip(message->heads),
        .hidden = clip(message->hidden),
        .context = clip(message->context),
        .vocab = clip(message->vocab),
        .dropout = message->dropout,
        .attention_dropout = message->attention_dropout,
        .classifier_dropout = message->classifier_dropout,
        .norm_epsilon = message->norm_epsilon,
        .tied = message->tied,
        .task = (sc_task)clip(message->task),
        .intermediate = clip(message->intermediate),
        .token_types = clip(message->token_types),
        .labels = clip(message->labels),
        .multi_label = message->multi_label,
        .frozen = clip(message->frozen),
    };
    return sc_model_check(out);
}

static sc_status parse_optimizer(const Stagecoach__V1__OptimizerSettings *message, sc_optimizer *out)
{
    if (!message)
        return SC_FAIL(SC_INVALID, "the assignment has no optimizer");
    if (message->kind != SC_ADAMW && message->kind != SC_SGD)
        return SC_FAIL(SC_INVALID, "optimizer %u is not known; this worker has adamw (%d) and sgd (%d)", message->kind,
                       SC_ADAMW, SC_SGD);
    const float values[] = {message->beta1, message->beta2, message->epsilon, message->weight_decay, message->momentum};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (!isfinite(values[i]) || values[i] < 0.0f)
            return SC_FAIL(SC_INVALID, "an optimizer setting is %g; all are finite and not negative",
                           (double)values[i]);
    *out = (sc_optimizer){
        .kind = (sc_optimizer_kind)message->kind,
        .beta1 = message->beta1,
        .beta2 = message->beta2,
        .epsilon = message->epsilon,
        .weight_decay = message->weight_decay,
        .momentum = message->momentum,
    };
    return SC_OK;
}

static sc_status parse_class_weights(sc_assignment *self, const Stagecoach__V1__AssignRequest *request)
{
    size_t n = request->n_class_weights;
    if (n == 0)
        return SC_OK;
    if (n != (size_t)self->model.labels || self->model.multi_label)
        return SC_FAIL(SC_INVALID, "the assignment has %zu class weights for a model of %d labels%s", n,
                       self->model.labels, self->model.multi_label ? ", of which any number is right" : "");
    self->class_weights = calloc(n, sizeof *self->class_weights);
    if (!self->class_weights)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu class weights", n);
    for (size_t i = 0; i < n; i++) {
        self->class_weights[i] = request->class_weights[i];
        if (!isfinite(self->class_weights[i]) || !(self->class_weights[i] > 0.0f))
            return SC_FAIL(SC_INVALID, "the weight of class %zu is %g; all are finite and positive", i,
                           (double)self->class_weights[i]);
    }
    return SC_OK;
}

/* The plans' text says how many workers there are. */
static sc_status parse_plans(sc_assignment *self, const Stagecoach__V1__AssignRequest *request)
{
    enum { MAX_PLANS = 64 }; /* a run has two or three: training, evaluation, generation */
    if (request->n_plans < 1 || request->n_plans > MAX_PLANS)
        return SC_FAIL(SC_INVALID, "the assignment has %zu plans; 1 to %d are allowed", request->n_plans, MAX_PLANS);
    self->plans = calloc(request->n_plans, sizeof(sc_plan *));
    if (!self->plans)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu plans", request->n_plans);
    self->n_plans = (int)request->n_plans;
    for (int i = 0; i < self->n_plans; i++) {
        sc_status status = sc_plan_parse(request->plans[i], strlen(request->plans[i]), &self->plans[i]);
        if (status != SC_OK)
            return SC_FAIL(status, "plan %d: %s", i, sc_status_message());
        if (self->plans[i]->n_microbatches > self->max_microbatches)
            self->max_microbatches = self->plans[i]->n_microbatches;
    }
    self->n_workers = self->plans[0]->n_workers;
    return SC_OK;
}

static sc_status parse_members(sc_assignment *self, const Stagecoach__V1__AssignRequest *request)
{
    enum { MAX_MEMBERS = 4 * SC_MAX_STAGES };
    size_t n = request->n_endpoints;
    if (n < (size_t)self->n_workers || n > MAX_MEMBERS)
        return SC_FAIL(SC_INVALID,
                       "the assignment has %zu endpoints; its plans are for %d workers, and %d are the most", n,
                       self->n_workers, MAX_MEMBERS);
    if (request->n_incarnations != n)
        return SC_FAIL(SC_INVALID, "the assignment has %zu incarnations for %zu endpoints; both are one per worker",
                       request->n_incarnations, n);
    if (request->worker >= n)
        return SC_FAIL(SC_INVALID, "the assignment is for worker %u of %zu", request->worker, n);
    if (request->buddy > n || request->buddy == request->worker + 1)
        return SC_FAIL(SC_INVALID, "the assignment's buddy is number %u of %zu; it is another member", request->buddy,
                       n);
    self->endpoints = calloc(n, sizeof(char *));
    self->incarnations = calloc(n, sizeof *self->incarnations);
    self->speaks_with = calloc(n, sizeof *self->speaks_with);
    if (!self->endpoints || !self->incarnations || !self->speaks_with)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for an assignment of %zu workers", n);
    self->n_members = (int)n;
    self->worker = (int)request->worker;
    self->buddy = (int)request->buddy - 1;
    for (size_t i = 0; i < n; i++) {
        self->incarnations[i] = request->incarnations[i];
        self->endpoints[i] = strdup(request->endpoints[i]);
        if (!self->endpoints[i])
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for an assignment of %zu workers", n);
        for (size_t j = 0; j < i; j++)
            if (self->incarnations[i] == self->incarnations[j])
                return SC_FAIL(SC_INVALID, "workers %zu and %zu of the assignment have the same incarnation", j, i);
    }
    return SC_OK;
}

static sc_status parse_keys(sc_assignment *self, const Stagecoach__V1__AssignRequest *request)
{
    size_t n = request->n_public_keys;
    if (n == 0)
        return SC_OK;
    if (n != (size_t)self->n_members)
        return SC_FAIL(SC_INVALID, "the assignment has %zu public keys for %d endpoints; both are one per worker", n,
                       self->n_members);
    self->keys = calloc(n, sizeof *self->keys);
    if (!self->keys)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for an assignment of %zu workers", n);
    for (size_t i = 0; i < n; i++) {
        if (!sc_keys_is_key(request->public_keys[i]))
            return SC_FAIL(SC_INVALID, "the public key of worker %zu in the assignment is none", i);
        memcpy(self->keys[i].z85, request->public_keys[i], sizeof self->keys[i].z85);
    }
    return SC_OK;
}

static sc_status parse_slices(sc_assignment *self, const Stagecoach__V1__AssignRequest *request)
{
    size_t n = request->n_slices;
    if (n == 0 || n % (size_t)self->n_workers != 0 || n / (size_t)self->n_workers > SC_MAX_CHUNKS)
        return SC_FAIL(SC_INVALID, "the assignment has %zu slices for %d workers; each has the same number, 1 to %d", n,
                       self->n_workers, SC_MAX_CHUNKS);
    self->slices = calloc(n, sizeof *self->slices);
    if (!self->slices)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu slices", n);
    self->n_stages = (int)n;
    self->n_chunks = self->n_stages / self->n_workers;
    int n_blocks = sc_model_n_blocks(&self->model), next = 0;
    for (int v = 0; v < self->n_stages; v++) {
        const Stagecoach__V1__Slice *slice = request->slices[v];
        if (slice->first_block != (uint32_t)next || slice->n_blocks == 0 ||
            slice->n_blocks > (uint32_t)(n_blocks - next))
            return SC_FAIL(
                SC_INVALID,
                "stage %d holds %u blocks from block %u; the slices cover blocks 0 to %d in turn, at least one "
                "each, and block %d is next",
                v, slice->n_blocks, slice->first_block, n_blocks - 1, next);
        self->slices[v] = (sc_slice){(int)slice->first_block, (int)slice->n_blocks};
        next += (int)slice->n_blocks;
    }
    if (next != n_blocks)
        return SC_FAIL(SC_INVALID, "the slices end before block %d of %d", next, n_blocks);
    return SC_OK;
}

static sc_status parse_sizes(sc_assignment *self, const Stagecoach__V1__AssignRequest *request)
{
    uint32_t B = request->micro_batch_size, T = request->sequence_length;
    if (T == 0 || T > (uint32_t)self->model.context)
        return SC_FAIL(SC_INVALID, "sequence_length is %u; the model's context allows 1 to %d", T, self->model.context);
    enum { MAX_ROWS = 1 << 24 }; /* keeps B * T an int, with room */
    if (B == 0 || B > MAX_ROWS / T)
        return SC_FAIL(SC_INVALID, "micro_batch_size is %u; with %u tokens a sequence it is 1 to %u", B, T,
                       MAX_ROWS / T);
    self->B = (int)B;
    self->T = (int)T;
    return SC_OK;
}

static sc_status check_plan(const sc_assignment *self, const sc_plan *plan)
{
    if (plan->n_workers != self->n_workers || plan->n_chunks != self->n_chunks)
        return SC_FAIL(SC_INVALID, "it is for %d workers of %d chunks, the assignment for %d of %d", plan->n_workers,
                       plan->n_chunks, self->n_workers, self->n_chunks);
    if (plan->mode == SC_PLAN_TRAIN && !self->train)
        return SC_FAIL(SC_INVALID, "it trains, but the assignment keeps no gradients");
    const sc_action_list *list = sc_assignment_has_stages(self) ? &plan->workers[self->worker] : NULL;
    for (int i = 0; list && i < list->n; i++)
        if (list->actions[i].kind == SC_ACT_REDUCE_GRAD)
            return SC_FAIL(SC_INVALID, "it reduces over replicas; this worker has none");
    int n_frozen = plan->mode == SC_PLAN_TRAIN ? sc_model_frozen_stages(&self->model, self->slices, self->n_stages) : 0;
    if (plan->n_frozen != n_frozen)
        return SC_FAIL(SC_INVALID, "its first %d stages are frozen; by the model's frozen blocks (%d) it is %d",
                       plan->n_frozen, self->model.frozen, n_frozen);
    return sc_plan_validate(plan, sc_model_exchanges_tied(&self->model));
}

static sc_status check_plans(const sc_assignment *self)
{
    for (int i = 0; i < self->n_plans; i++) {
        sc_status status = check_plan(self, self->plans[i]);
        if (status != SC_OK)
            return SC_FAIL(status, "plan %d: %s", i, sc_status_message());
    }
    return SC_OK;
}

static sc_status check_cache(const sc_assignment *self)
{
    if (self->train && self->cache)
        return SC_FAIL(SC_INVALID, "the assignment trains and asks for a cache; stages have either");
    uint64_t tokens = (uint64_t)self->max_microbatches * (uint64_t)self->B * (uint64_t)self->model.context;
    if (self->cache && tokens > SC_MAX_CACHED_TOKENS)
        return SC_FAIL(SC_INVALID,
                       "a cache of %d micro-batches of %d sequences of %d tokens is asked for; %d tokens are the most",
                       self->max_microbatches, self->B, self->model.context, SC_MAX_CACHED_TOKENS);
    return SC_OK;
}

/* What one action brings to this worker, and from whom. */
static void count_action(sc_assignment *self, sc_action action, sc_mailbox_limits *sum)
{
    int v = action.stage, last = self->n_stages - 1;
    uint64_t ids = (uint64_t)self->B * (uint64_t)self->T * 4, activation = ids * (uint64_t)self->model.hidden;
    uint64_t targets = (uint64_t)self->B * (uint64_t)sc_model_n_targets(&self->model, self->T) * 4;
    int other = -1;
    switch (action.kind) {
    case SC_ACT_FORWARD:
        sum->max_messages += v == last ? 2 : 1;
        sum->max_bytes += (v == 0 ? ids : activation) + (v == last ? targets : 0);
        if (sc_model_takes_segments(&self->model)) {
            bool next = v == last && sc_model_predicts_next(&self->model);
            sum->max_messages += (size_t)(1 + (v == 0) + next); /* lengths, segments, next sentences */
            sum->max_bytes += (v == 0 ? ids : 0) + (uint64_t)self->B * 4 * (next ? 2 : 1);
        }
        break;
    case SC_ACT_BACKWARD:
    case SC_ACT_BACKWARD_INPUT:
        sum->max_messages += v < last;
        sum->max_bytes += v < last ? activation : 0;
        break;
    case SC_ACT_SEND_F:
    case SC_ACT_RECV_B:
        other = v + 1;
        break;
    case SC_ACT_SEND_B:
    case SC_ACT_RECV_F:
        other = v - 1;
        break;
    case SC_ACT_REDUCE_TIED:
        other = last - v;
        for (uint32_t part = 0; part < sc_assignment_tied_parts(self) && part < 2 * SC_TIED_WINDOW; part++) {
            sum->max_bytes += sc_assignment_tied_part_elements(self, part) * sizeof(float);
            sum->max_messages++;
        }
        break;
    case SC_ACT_BACKWARD_WEIGHT:
    case SC_ACT_REDUCE_GRAD:
    case SC_ACT_STEP:
        break;
    }
    if (other >= 0 && sc_assignment_worker_of(self, other) != self->worker)
        self->speaks_with[sc_assignment_worker_of(self, other)] = true;
}

static sc_status derive_traffic(sc_assignment *self)
{
    for (int i = 0; sc_assignment_has_stages(self) && i < self->n_plans; i++) {
        sc_mailbox_limits sum = {0};
        const sc_action_list *list = &self->plans[i]->workers[self->worker];
        for (int a = 0; a < list->n; a++)
            count_action(self, list->actions[a], &sum);
        if (sum.max_messages > self->limits.max_messages)
            self->limits.max_messages = sum.max_messages;
        if (sum.max_bytes > self->limits.max_bytes)
            self->limits.max_bytes = sum.max_bytes;
    }
    self->limits.max_messages *= SC_STEPS_IN_FLIGHT;
    self->limits.max_bytes *= SC_STEPS_IN_FLIGHT;
    for (int w = 0; w < self->n_workers; w++)
        if (self->speaks_with[w] && self->endpoints[w][0] == '\0')
            return SC_FAIL(SC_INVALID, "worker %d has traffic with worker %d, whose endpoint is empty", self->worker,
                           w);
    return SC_OK;
}

int sc_assignment_member(const sc_assignment *self, uint64_t incarnation)
{
    for (int i = 0; incarnation != 0 && i < self->n_members; i++)
        if (self->incarnations[i] == incarnation)
            return i;
    return -1;
}

/* What stages are built from, in packed form: comparing it leaves no setting out. */
static sc_status pack_stages(sc_assignment *self, const Stagecoach__V1__AssignRequest *request)
{
    Stagecoach__V1__AssignRequest stages = STAGECOACH__V1__ASSIGN_REQUEST__INIT;
    stages.worker = request->worker;
    stages.n_plans = request->n_plans, stages.plans = request->plans;
    stages.n_slices = request->n_slices, stages.slices = request->slices;
    stages.model = request->model;
    stages.optimizer = request->optimizer;
    stages.seed = request->seed;
    stages.micro_batch_size = request->micro_batch_size;
    stages.sequence_length = request->sequence_length;
    stages.train = request->train;
    stages.cache = request->cache;
    stages.n_class_weights = request->n_class_weights, stages.class_weights = request->class_weights;
    self->packed_bytes = stagecoach__v1__assign_request__get_packed_size(&stages);
    self->packed = malloc(self->packed_bytes + 1);
    if (!self->packed)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for an assignment");
    stagecoach__v1__assign_request__pack(&stages, self->packed);
    return SC_OK;
}

bool sc_assignment_same_stages(const sc_assignment *self, const sc_assignment *other)
{
    return self->packed_bytes == other->packed_bytes && memcmp(self->packed, other->packed, self->packed_bytes) == 0;
}

sc_status sc_assignment_parse(const Stagecoach__V1__AssignRequest *request, sc_assignment **out)
{
    *out = NULL;
    if (request->generation == 0)
        return SC_FAIL(SC_INVALID, "the assignment's generation is 0; the first is 1");
    sc_assignment *self = calloc(1, sizeof *self);
    if (!self)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for an assignment");
    sc_status status;
    atomic_init(&self->references, 1);
    self->run = request->run;
    self->generation = request->generation;
    self->seed = request->seed;
    self->fresh = request->fresh;
    self->train = request->train;
    self->cache = request->cache;
    self->shared_memory = request->shared_memory;
    self->keep = request->keep;
    self->lineage = request->lineage;
    self->log_bytes = request->log_bytes;
    enum { DEFAULT_RESEND_MS = 1000, LONGEST_RESEND_MS = 86400000 }; /* wire.resend_ms and its end */
    self->resend_ms = request->resend_ms ? request->resend_ms : DEFAULT_RESEND_MS;
    if (self->resend_ms > LONGEST_RESEND_MS)
        self->resend_ms = LONGEST_RESEND_MS;
    SC_TRY_GOTO(status, parse_model(request->model, &self->model), failed);
    SC_TRY_GOTO(status, parse_optimizer(request->optimizer, &self->optimizer), failed);
    SC_TRY_GOTO(status, parse_class_weights(self, request), failed);
    SC_TRY_GOTO(status, parse_plans(self, request), failed);
    SC_TRY_GOTO(status, parse_members(self, request), failed);
    SC_TRY_GOTO(status, parse_keys(self, request), failed);
    SC_TRY_GOTO(status, parse_slices(self, request), failed);
    SC_TRY_GOTO(status, parse_sizes(self, request), failed);
    SC_TRY_GOTO(status, check_plans(self), failed);
    SC_TRY_GOTO(status, check_cache(self), failed);
    SC_TRY_GOTO(status, derive_traffic(self), failed);
    SC_TRY_GOTO(status, pack_stages(self, request), failed);
    *out = self;
    return SC_OK;
failed:
    sc_assignment_unref(&self);
    return status;
}
