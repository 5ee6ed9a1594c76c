/* Assignment: every worker is told what it is, and what the others are. */
#include "coordinator/run/cluster_internal.h"

#include "proto/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SC_LOG_SUBSYSTEM "cluster"

/* A worker that makes its arenas and draws its parameters may take many times as long as a call on the wire. */
enum { ASSIGN_DEADLINE_FACTOR = 20 };

static void on_assigned(void *context, int rank, const sc_result *result)
{
    sc_cluster *self = context;
    self->n_pending--;
    const Stagecoach__V1__AssignReply *reply = (const Stagecoach__V1__AssignReply *)result->reply;
    self->kept[rank] = (sc_kept_state){
        .kept = reply->kept,
        .applied_step = reply->applied_step,
        .voted_step = reply->voted_step > reply->applied_step ? reply->voted_step : 0,
        .voted_sequence = reply->voted_sequence,
        .logged_from = reply->logged_from,
    };
    SC_DEBUG("worker %d holds %" PRIu64 " bytes of state and %" PRIu64 " of activations%s", rank, reply->param_bytes,
             reply->activation_bytes, reply->kept ? ", as before" : "");
}

/* Room for the answers that this assignment's steps can give. */
static sc_status size_results(sc_cluster *self, const sc_assignment *a)
{
    int most = 0, n_losses = sc_model_n_losses(&a->model);
    for (int i = 0; i < a->n_plans; i++)
        most = a->plans[i]->n_microbatches > most ? a->plans[i]->n_microbatches : most;
    for (int i = 0; i < SC_CLUSTER_MAX_IN_FLIGHT; i++) {
        sc_step_result *r = &self->results[i];
        free(r->loss_sums);
        free(r->n_correct);
        free(r->norm_squares);
        free(r->times);
        sc_buffer_unref(&r->logits);
        *r = (sc_step_result){
            .loss_sums = calloc((size_t)(most * n_losses), sizeof *r->loss_sums),
            .n_correct = calloc((size_t)(most * n_losses), sizeof *r->n_correct),
            .norm_squares = calloc((size_t)sc_model_n_params(&a->model), sizeof *r->norm_squares),
            .times = calloc((size_t)self->n_ranks, sizeof *r->times),
        };
        if (!r->loss_sums || !r->n_correct || !r->norm_squares || !r->times)
            return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the results of a step");
    }
    return SC_OK;
}

static Stagecoach__V1__ModelDescription describe_model(const sc_model *model)
{
    Stagecoach__V1__ModelDescription m = STAGECOACH__V1__MODEL_DESCRIPTION__INIT;
    m.family = (uint32_t)model->family;
    m.layers = (uint32_t)model->layers;
    m.heads = (uint32_t)model->heads;
    m.hidden = (uint32_t)model->hidden;
    m.context = (uint32_t)model->context;
    m.vocab = (uint32_t)model->vocab;
    m.dropout = model->dropout;
    m.attention_dropout = model->attention_dropout;
    m.classifier_dropout = model->classifier_dropout;
    m.norm_epsilon = model->norm_epsilon;
    m.tied = model->tied;
    m.task = (uint32_t)model->task;
    m.intermediate = (uint32_t)model->intermediate;
    m.token_types = (uint32_t)model->token_types;
    m.labels = (uint32_t)model->labels;
    m.multi_label = model->multi_label;
    m.frozen = (uint32_t)model->frozen;
    return m;
}

static Stagecoach__V1__OptimizerSettings describe_optimizer(const sc_config *config)
{
    Stagecoach__V1__OptimizerSettings o = STAGECOACH__V1__OPTIMIZER_SETTINGS__INIT;
    o.kind = (uint32_t)config->train.optimizer;
    o.beta1 = (float)config->train.beta1;
    o.beta2 = (float)config->train.beta2;
    o.epsilon = (float)config->train.epsilon;
    o.weight_decay = (float)config->train.weight_decay;
    o.momentum = (float)config->train.momentum;
    return o;
}

/* The request's arrays; their elements point into the cluster and the assignment. */
typedef struct assign_arrays {
    char **plans, **endpoints, **public_keys;
    uint64_t *incarnations;
    Stagecoach__V1__Slice *slices, **slice_pointers;
} assign_arrays;

static void clear_arrays(assign_arrays *arrays, const sc_assignment *a)
{
    for (int i = 0; arrays->plans && i < a->n_plans; i++)
        free(arrays->plans[i]);
    free(arrays->plans);
    free(arrays->endpoints);
    free(arrays->public_keys);
    free(arrays->incarnations);
    free(arrays->slices);
    free(arrays->slice_pointers);
}

/* Ranks first, and with a lineage all other members behind them. */
static void list_members(sc_cluster *self, bool others_too)
{
    self->n_listed = 0;
    for (int rank = 0; rank < self->n_ranks; rank++)
        self->listed[self->n_listed++] = sc_roster_ranked(self->roster, rank)->id;
    for (int i = 0; others_too && i < sc_roster_count(self->roster); i++)
        if (sc_roster_at(self->roster, i)->rank < 0)
            self->listed[self->n_listed++] = sc_roster_at(self->roster, i)->id;
}

static sc_status fill_arrays(const sc_cluster *self, const sc_assignment *a, assign_arrays *arrays)
{
    size_t n_listed = (size_t)self->n_listed, n = (size_t)a->n_slices;
    *arrays = (assign_arrays){
        .plans = calloc((size_t)a->n_plans, sizeof(char *)),
        .endpoints = calloc(n_listed, sizeof(char *)),
        .public_keys = calloc(n_listed, sizeof(char *)),
        .incarnations = calloc(n_listed, sizeof(uint64_t)),
        .slices = calloc(n, sizeof(Stagecoach__V1__Slice)),
        .slice_pointers = calloc(n, sizeof(Stagecoach__V1__Slice *)),
    };
    bool complete = arrays->plans && arrays->endpoints && arrays->public_keys && arrays->incarnations &&
                    arrays->slices && arrays->slice_pointers;
    for (int i = 0; complete && i < a->n_plans; i++)
        complete = (arrays->plans[i] = sc_plan_text(a->plans[i])) != NULL;
    if (!complete)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for an assignment");
    for (size_t i = 0; i < n_listed; i++) {
        const sc_member *m = sc_roster_find(self->roster, self->listed[i]);
        arrays->endpoints[i] = m->endpoint;
        if (self->options.keys) /* what its connection has proven, not what it says */
            arrays->public_keys[i] = (char *)sc_peer_key(m->context);
        arrays->incarnations[i] = m->incarnation;
    }
    for (size_t i = 0; i < n; i++) {
        stagecoach__v1__slice__init(&arrays->slices[i]);
        arrays->slices[i].first_block = (uint32_t)a->slices[i].first_block;
        arrays->slices[i].n_blocks = (uint32_t)a->slices[i].n_blocks;
        arrays->slice_pointers[i] = &arrays->slices[i];
    }
    return SC_OK;
}

/* 1 + the index in the list of members, 0 for nobody. */
static uint32_t index_of_buddy(const sc_cluster *self, const sc_assignment *a, int rank)
{
    for (int i = 0; a->buddies && a->buddies[rank] != 0 && i < self->n_listed; i++)
        if (self->listed[i] == a->buddies[rank])
            return (uint32_t)i + 1;
    return 0;
}

/* A spare that does not take it keeps no copies: the deposits tell. */
static void on_spare_assigned(void *context, sc_peer *peer, const sc_result *result)
{
    (void)context;
    if (result->status != SC_OK)
        SC_DEBUG("%s: Assign of a spare: %s: %s", sc_peer_name(peer), sc_status_name(result->status), result->message);
}

static sc_status assign_all(sc_cluster *self, const sc_assignment *a, Stagecoach__V1__AssignRequest *request)
{
    uint32_t deadline = sc_cluster_call_deadline(self) * ASSIGN_DEADLINE_FACTOR;
    self->n_pending = 0;
    memset(self->kept, 0, sizeof self->kept);
    for (int i = 0; i < self->n_listed; i++) {
        request->worker = (uint32_t)i;
        request->buddy = i < self->n_ranks ? index_of_buddy(self, a, i) : 0;
        if (i < self->n_ranks) {
            SC_TRY(sc_cluster_call(self, i, "Assign", &request->base, NULL, deadline, on_assigned, self));
            self->n_pending++;
        } else {
            const sc_member *m = sc_roster_find(self->roster, self->listed[i]);
            (void)sc_peer_call(m->context, &stagecoach__v1__stage_worker__descriptor, "Assign", &request->base, NULL, 0,
                               deadline, on_spare_assigned, NULL);
        }
    }
    while (self->n_pending > 0)
        SC_TRY(sc_cluster_poll(self));
    return SC_OK;
}

sc_status sc_cluster_assign(sc_cluster *self, const sc_assignment *a)
{
    sc_cluster_look_after_members(self);
    if (self->failure != SC_OK)
        return SC_FAIL(self->failure, "%s", self->failure_message);
    Stagecoach__V1__ModelDescription model = describe_model(&a->model);
    Stagecoach__V1__OptimizerSettings optimizer = describe_optimizer(self->options.config);
    Stagecoach__V1__AssignRequest request = STAGECOACH__V1__ASSIGN_REQUEST__INIT;
    assign_arrays arrays;
    self->n_ranks = sc_roster_n_ranks(self->roster);
    list_members(self, a->lineage != 0);
    sc_status status = fill_arrays(self, a, &arrays);
    if (status == SC_OK)
        status = size_results(self, a);
    if (status != SC_OK)
        goto done;
    self->assignment = a;
    self->n_results_out = 0;
    self->generation++;
    sc_node_set_generation(self->node, self->generation);

    request.run = self->run;
    request.generation = self->generation;
    request.n_plans = (size_t)a->n_plans, request.plans = arrays.plans;
    request.n_slices = (size_t)a->n_slices, request.slices = arrays.slice_pointers;
    request.n_endpoints = (size_t)self->n_listed, request.endpoints = arrays.endpoints;
    request.n_incarnations = (size_t)self->n_listed, request.incarnations = arrays.incarnations;
    request.n_public_keys = self->options.keys ? request.n_endpoints : 0, request.public_keys = arrays.public_keys;
    request.model = &model;
    request.optimizer = &optimizer;
    request.seed = a->seed;
    request.micro_batch_size = (uint32_t)a->micro_batch_size;
    request.sequence_length = (uint32_t)a->sequence_length;
    request.fresh = a->fresh;
    request.train = a->train;
    request.cache = a->cache;
    request.n_class_weights = a->class_weights ? (size_t)a->model.labels : 0;
    request.class_weights = (float *)a->class_weights;
    request.shared_memory = self->options.config->wire.shared_memory;
    request.resend_ms = (uint32_t)self->options.config->wire.resend_ms;
    request.lineage = a->lineage;
    request.keep = a->keep;
    request.log_bytes = a->log_bytes;
    status = assign_all(self, a, &request);
done:
    clear_arrays(&arrays, a);
    return status;
}

const sc_kept_state *sc_cluster_kept(const sc_cluster *self, int rank)
{
    return &self->kept[rank];
}
