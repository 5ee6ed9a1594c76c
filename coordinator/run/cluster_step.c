/* What a step is: micro-batches sent, the calls that run and apply it, their answers. */
#include "coordinator/run/cluster_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* --- micro-batches ------------------------------------------------------------------------------------------------- */

static sc_status send_ids(sc_cluster *self, uint64_t sequence, int microbatch, int stage, uint32_t kind,
                          const int32_t *ids, sc_shape shape)
{
    uint64_t bytes;
    SC_TRY(sc_shape_bytes(&shape, SC_I32, &bytes));
    sc_buffer *buffer = NULL;
    SC_TRY(sc_buffer_get(self->buffers, (size_t)bytes, &buffer));
    memcpy(sc_buffer_data(buffer), ids, (size_t)bytes);
    sc_tensor_name name = {.generation = self->generation,
                           .step = sequence,
                           .microbatch = (uint32_t)microbatch,
                           .stage = (uint32_t)stage,
                           .kind = kind};
    const sc_member *m = sc_roster_ranked(self->roster, sc_plan_worker_of(self->assignment->plans[0], stage));
    if (!m)
        sc_cluster_look_after_members(self); /* its loss is not told yet */
    sc_status status = self->failure == SC_OK && m ? sc_peer_send(m->context, &name, SC_I32, &shape, buffer)
                                                   : SC_FAIL(self->failure, "%s", self->failure_message);
    sc_buffer_unref(&buffer);
    return status;
}

static int last_stage(const sc_cluster *self)
{
    return sc_plan_n_stages(self->assignment->plans[0]) - 1;
}

sc_status sc_cluster_send_tokens(sc_cluster *self, uint64_t sequence, int microbatch, const int32_t *tokens, int B,
                                 int T)
{
    return send_ids(self, sequence, microbatch, 0, STAGECOACH__V1__TENSOR_KIND__TOKENS, tokens, SC_SHAPE(B, T));
}

sc_status sc_cluster_send_targets(sc_cluster *self, uint64_t sequence, int microbatch, const int32_t *targets, int B,
                                  int T)
{
    int n = sc_model_n_targets(&self->assignment->model, T);
    return send_ids(self, sequence, microbatch, last_stage(self), STAGECOACH__V1__TENSOR_KIND__TARGETS, targets,
                    SC_SHAPE(B, n));
}

sc_status sc_cluster_send_segments(sc_cluster *self, uint64_t sequence, int microbatch, const int32_t *segments, int B,
                                   int T)
{
    return send_ids(self, sequence, microbatch, 0, STAGECOACH__V1__TENSOR_KIND__SEGMENTS, segments, SC_SHAPE(B, T));
}

sc_status sc_cluster_send_lengths(sc_cluster *self, uint64_t sequence, int microbatch, int stage,
                                  const int32_t *lengths, int B)
{
    return send_ids(self, sequence, microbatch, stage, STAGECOACH__V1__TENSOR_KIND__LENGTHS, lengths, SC_SHAPE(B));
}

sc_status sc_cluster_send_next(sc_cluster *self, uint64_t sequence, int microbatch, const int32_t *next, int B)
{
    return send_ids(self, sequence, microbatch, last_stage(self), STAGECOACH__V1__TENSOR_KIND__NEXT_SENTENCE, next,
                    SC_SHAPE(B));
}

/* --- steps --------------------------------------------------------------------------------------------------------- */

static sc_step_result *result_of(sc_cluster *self, uint64_t sequence)
{
    sc_step_result *r = &self->results[sequence % SC_CLUSTER_MAX_IN_FLIGHT];
    return r->in_use && r->sequence == sequence ? r : NULL;
}

static sc_message_counts messages_of(const Stagecoach__V1__StageTimes *times)
{
    return (sc_message_counts){
        .received = times->messages_in,
        .sent = times->messages_out,
        .bytes_received = times->bytes_in,
        .bytes_sent = times->bytes_out,
        .stale = times->dropped,
        .duplicate = times->duplicates,
        .resent = times->repeated,
        .replayed = times->replayed,
    };
}

/* Copies one worker's answer. A number out of range is a worker that lies: the run fails, nothing is written. */
static sc_status take_answer(sc_cluster *self, int rank, const Stagecoach__V1__RunStepReply *reply, sc_buffer *payload,
                             sc_step_result *r)
{
    const sc_assignment *a = self->assignment;
    int last = sc_plan_worker_of(a->plans[0], sc_plan_n_stages(a->plans[0]) - 1);
    if (rank == last) {
        if (reply->n_loss_sums > (size_t)r->n_losses)
            return SC_FAIL(SC_INVALID, "worker %d sent %zu losses for %d", rank, reply->n_loss_sums, r->n_losses);
        if (reply->n_n_correct != 0 && reply->n_n_correct != reply->n_loss_sums)
            return SC_FAIL(SC_INVALID, "worker %d sent %zu counts of what is right for %zu losses", rank,
                           reply->n_n_correct, reply->n_loss_sums);
        r->n_losses = (int)reply->n_loss_sums;
        for (int m = 0; m < r->n_losses; m++) {
            r->loss_sums[m] = reply->loss_sums[m];
            r->n_correct[m] = reply->n_n_correct ? reply->n_correct[m] : 0;
        }
        if (payload)
            r->logits = sc_buffer_ref(payload);
    }
    for (size_t i = 0; i < reply->n_norms; i++) {
        uint32_t ordinal = reply->norms[i]->ordinal;
        if (ordinal >= (uint32_t)sc_model_n_params(&a->model) || !isnan(r->norm_squares[ordinal]))
            return SC_FAIL(SC_INVALID, "worker %d voted for parameter %" PRIu32 ", which does not exist or has a vote",
                           rank, ordinal);
        r->norm_squares[ordinal] = reply->norms[i]->sum_squares;
    }
    if (reply->times)
        r->times[rank] = (sc_stage_times){
            .forward_seconds = reply->times->forward_seconds,
            .backward_seconds = reply->times->backward_seconds,
            .wait_seconds = reply->times->wait_seconds,
            .step_seconds = reply->times->step_seconds,
            .peak_resident_bytes = reply->times->peak_resident_bytes,
            .messages = messages_of(reply->times),
        };
    return SC_OK;
}

static void on_ran(void *context, int rank, const sc_result *result)
{
    sc_cluster *self = context;
    const Stagecoach__V1__RunStepReply *reply = (const Stagecoach__V1__RunStepReply *)result->reply;
    sc_step_result *r = result_of(self, reply->step);
    if (!r) {
        sc_cluster_fail(self, SC_INVALID, "worker %d answered step %" PRIu64 ", which is not running", rank,
                        reply->step);
        return;
    }
    sc_status status = take_answer(self, rank, reply, result->payload, r);
    if (status != SC_OK)
        sc_cluster_fail(self, status, "%s", sc_status_message());
    if (++r->n_answered == self->n_ranks && --self->n_results_out == 0)
        sc_roster_expect(self->roster, false, sc_cluster_now_ms(self));
}

/* Completes the request and sends it to all. */
static sc_status start_step(sc_cluster *self, uint64_t sequence, int plan, Stagecoach__V1__RunStepRequest *request)
{
    const sc_assignment *a = self->assignment;
    sc_step_result *r = &self->results[sequence % SC_CLUSTER_MAX_IN_FLIGHT];
    assert(!r->in_use || r->n_answered == self->n_ranks);
    sc_buffer_unref(&r->logits);
    self->n_results_out++;
    sc_roster_expect(self->roster, true, sc_cluster_now_ms(self));
    r->sequence = sequence;
    r->in_use = true;
    r->n_answered = 0;
    r->n_losses = a->plans[plan]->n_microbatches * sc_model_n_losses(&a->model);
    for (int i = 0; i < sc_model_n_params(&a->model); i++)
        r->norm_squares[i] = sc_model_param_learns(&a->model, i) ? NAN : 0;
    memset(r->times, 0, (size_t)self->n_ranks * sizeof *r->times);

    request->generation = self->generation;
    request->step = sequence;
    request->plan = (uint32_t)plan;
    for (int i = 0; i < self->n_ranks; i++) /* a step takes as long as it takes: leases tell who is lost */
        SC_TRY(sc_cluster_call(self, i, "RunStep", &request->base, NULL, UINT32_MAX, on_ran, self));
    return SC_OK;
}

sc_status sc_cluster_run(sc_cluster *self, uint64_t sequence, int plan, uint64_t optimizer_step, uint64_t n_targets,
                         bool want_logits)
{
    Stagecoach__V1__RunStepRequest request = STAGECOACH__V1__RUN_STEP_REQUEST__INIT;
    request.optimizer_step = optimizer_step;
    request.n_targets = n_targets;
    request.want_logits = want_logits;
    return start_step(self, sequence, plan, &request);
}

sc_status sc_cluster_run_pretraining(sc_cluster *self, uint64_t sequence, int plan, uint64_t optimizer_step,
                                     uint64_t n_targets, uint64_t n_sequences)
{
    Stagecoach__V1__RunStepRequest request = STAGECOACH__V1__RUN_STEP_REQUEST__INIT;
    request.optimizer_step = optimizer_step;
    request.n_targets = n_targets;
    request.n_sequences = n_sequences;
    return start_step(self, sequence, plan, &request);
}

sc_status sc_cluster_run_weighted(sc_cluster *self, uint64_t sequence, int plan, uint64_t optimizer_step,
                                  uint64_t n_targets, double target_weight)
{
    Stagecoach__V1__RunStepRequest request = STAGECOACH__V1__RUN_STEP_REQUEST__INIT;
    request.optimizer_step = optimizer_step;
    request.n_targets = n_targets;
    request.target_weight = target_weight;
    return start_step(self, sequence, plan, &request);
}

sc_status sc_cluster_run_cached(sc_cluster *self, uint64_t sequence, int plan, int position)
{
    Stagecoach__V1__RunStepRequest request = STAGECOACH__V1__RUN_STEP_REQUEST__INIT;
    request.want_logits = true;
    request.cache = true;
    request.position = (uint32_t)position;
    return start_step(self, sequence, plan, &request);
}

sc_status sc_cluster_wait(sc_cluster *self, uint64_t sequence, const sc_step_result **result)
{
    sc_step_result *r = result_of(self, sequence);
    assert(r);
    while (r->n_answered < self->n_ranks)
        SC_TRY(sc_cluster_poll(self));
    sc_node_release_before(self->node, sequence + 1);
    *result = r;
    return SC_OK;
}

bool sc_cluster_has_answers(const sc_cluster *self, uint64_t sequence)
{
    const sc_step_result *r = &self->results[sequence % SC_CLUSTER_MAX_IN_FLIGHT];
    return r->in_use && r->sequence == sequence && r->n_answered == self->n_ranks;
}

static void on_applied(void *context, int rank, const sc_result *result)
{
    (void)rank, (void)result;
    sc_cluster *self = context;
    self->n_applied++;
}

sc_status sc_cluster_apply(sc_cluster *self, uint64_t sequence, float grad_scale, float learning_rate)
{
    Stagecoach__V1__ApplyStepRequest request = STAGECOACH__V1__APPLY_STEP_REQUEST__INIT;
    request.generation = self->generation;
    request.step = sequence;
    request.grad_scale = grad_scale;
    request.learning_rate = learning_rate;
    self->applying = sequence;
    self->n_applied = 0;
    for (int i = 0; i < self->n_ranks; i++)
        SC_TRY(sc_cluster_call(self, i, "ApplyStep", &request.base, NULL, sc_cluster_call_deadline(self), on_applied,
                               self));
    return SC_OK;
}

sc_status sc_cluster_wait_applied(sc_cluster *self, uint64_t sequence)
{
    assert(self->applying == sequence);
    (void)sequence;
    while (self->n_applied < self->n_ranks)
        SC_TRY(sc_cluster_poll(self));
    return SC_OK;
}
