/* Points: snapshots, deposits; and what brings stages back to one. */
#include "coordinator/run/cluster_internal.h"

#include "proto/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SC_LOG_SUBSYSTEM "cluster"

/* A part that is fetched, or sent to a buddy, takes as long as the network needs for it; leases tell who is lost. */
enum { NO_DEADLINE = UINT32_MAX };

/* --- snapshots and deposits ---------------------------------------------------------------------------------------- */

static void on_snapshot(void *context, int rank, uint64_t step, const sc_result *result)
{
    (void)result;
    sc_cluster *self = context;
    self->on_snapshot(self->snapshot_context, rank, step);
}

sc_status sc_cluster_snapshot(sc_cluster *self, uint64_t step, const uint64_t *keep_steps, int n_keep_steps,
                              uint64_t log_from, sc_snapshot_fn made, void *context)
{
    Stagecoach__V1__SnapshotRequest request = STAGECOACH__V1__SNAPSHOT_REQUEST__INIT;
    request.generation = self->generation;
    request.optimizer_step = step;
    request.n_keep_steps = (size_t)n_keep_steps;
    request.keep_steps = (uint64_t *)keep_steps;
    request.log_from = log_from;
    self->on_snapshot = made;
    self->snapshot_context = context;
    for (int rank = 0; rank < self->n_ranks; rank++) /* it waits for its turn behind a step */
        SC_TRY(
            sc_cluster_call_tagged(self, rank, "Snapshot", &request.base, NO_DEADLINE, false, step, on_snapshot, self));
    return SC_OK;
}

static void on_deposited(void *context, int rank, uint64_t step, const sc_result *result)
{
    sc_cluster *self = context;
    if (result->status != SC_OK)
        SC_DEBUG("worker %d: the part of step %" PRIu64 " has not arrived at its buddy: %s: %s", rank, step,
                 sc_status_name(result->status), result->message);
    self->on_deposit(self->deposit_context, rank, step, result->status == SC_OK);
}

sc_status sc_cluster_deposit(sc_cluster *self, int rank, uint64_t step, sc_deposit_fn done, void *context)
{
    Stagecoach__V1__DepositRequest request = STAGECOACH__V1__DEPOSIT_REQUEST__INIT;
    request.generation = self->generation;
    request.optimizer_step = step;
    self->on_deposit = done;
    self->deposit_context = context;
    return sc_cluster_call_tagged(self, rank, "Deposit", &request.base, NO_DEADLINE, true, step, on_deposited, self);
}

/* --- back to a point ----------------------------------------------------------------------------------------------- */

static void on_restored(void *context, int rank, uint64_t step, const sc_result *result)
{
    sc_cluster *self = context;
    self->n_pending--;
    if (result->status == SC_UNAVAILABLE ||
        result->status == SC_CANCELLED) { /* it is gone, or gave up its membership */
        const sc_member *m = sc_roster_ranked(self->roster, rank);
        char text[1024];
        snprintf(text, sizeof text, "worker %d: Restore: %s: %.700s", rank, sc_status_name(result->status),
                 result->message);
        if (m)
            sc_roster_fail(self->roster, m->id, text, sc_cluster_now_ms(self));
    } else if (result->status == SC_NOT_FOUND || result->status == SC_DATA_LOSS) {
        SC_WARN("worker %d cannot restore step %" PRIu64 ": %s", rank, step, result->message);
        self->missing = true;
    } else if (result->status != SC_OK) {
        sc_cluster_fail(self, result->status, "worker %d: Restore failed: %s: %s", rank, sc_status_name(result->status),
                        result->message);
    } else {
        const Stagecoach__V1__RestoreReply *reply = (const Stagecoach__V1__RestoreReply *)result->reply;
        SC_DEBUG("worker %d is at step %" PRIu64 ": %" PRIu64 " bytes of its own, %" PRIu64 " from others", rank, step,
                 reply->bytes_own, reply->bytes_fetched);
    }
}

sc_status sc_cluster_restore(sc_cluster *self, int rank, uint64_t step, const sc_holder *holders, int n_holders)
{
    Stagecoach__V1__Holder *items = calloc((size_t)n_holders + 1, sizeof *items);
    Stagecoach__V1__Holder **pointers = calloc((size_t)n_holders + 1, sizeof(Stagecoach__V1__Holder *));
    Stagecoach__V1__RestoreRequest request = STAGECOACH__V1__RESTORE_REQUEST__INIT;
    sc_status status = SC_OK;
    if (!items || !pointers)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a list of parts");
    for (int i = 0; status == SC_OK && i < n_holders; i++)
        for (int k = 0; k < self->n_listed; k++) {
            if (self->listed[k] != holders[i].id)
                continue;
            stagecoach__v1__holder__init(&items[request.n_holders]);
            items[request.n_holders].worker = (uint32_t)k;
            items[request.n_holders].first_block = (uint32_t)holders[i].first_block;
            items[request.n_holders].n_blocks = (uint32_t)holders[i].n_blocks;
            pointers[request.n_holders] = &items[request.n_holders];
            request.n_holders++;
        }
    request.generation = self->generation;
    request.optimizer_step = step;
    request.holders = pointers;
    if (status == SC_OK)
        status =
            sc_cluster_call_tagged(self, rank, "Restore", &request.base, NO_DEADLINE, true, step, on_restored, self);
    self->n_pending += status == SC_OK;
    free(items);
    free(pointers);
    return status;
}

static void on_settled(void *context, int rank, const sc_result *result)
{
    (void)rank, (void)result;
    sc_cluster *self = context;
    self->n_pending--;
}

sc_status sc_cluster_replay(sc_cluster *self, int rank, int plan, const sc_decided_step *step)
{
    Stagecoach__V1__RunStepRequest request = STAGECOACH__V1__RUN_STEP_REQUEST__INIT;
    request.generation = self->generation;
    request.step = step->sequence;
    request.plan = (uint32_t)plan;
    request.optimizer_step = step->step;
    request.n_targets = step->n_targets;
    request.n_sequences = step->n_sequences;
    request.target_weight = step->target_weight;
    request.replay = true;
    SC_TRY(sc_cluster_call(self, rank, "RunStep", &request.base, NULL, NO_DEADLINE, on_settled, self));
    self->n_pending++;
    return SC_OK;
}

sc_status sc_cluster_apply_at(sc_cluster *self, int rank, uint64_t sequence, float grad_scale, float learning_rate)
{
    Stagecoach__V1__ApplyStepRequest request = STAGECOACH__V1__APPLY_STEP_REQUEST__INIT;
    request.generation = self->generation;
    request.step = sequence;
    request.grad_scale = grad_scale;
    request.learning_rate = learning_rate;
    SC_TRY(sc_cluster_call(self, rank, "ApplyStep", &request.base, NULL, sc_cluster_call_deadline(self), on_settled,
                           self));
    self->n_pending++;
    return SC_OK;
}

sc_status sc_cluster_settle(sc_cluster *self, bool *missing)
{
    sc_roster_expect(self->roster, true, sc_cluster_now_ms(self)); /* these calls have no deadline */
    while (self->n_pending > 0)
        SC_TRY(sc_cluster_poll(self));
    sc_roster_expect(self->roster, false, sc_cluster_now_ms(self));
    *missing = self->missing;
    self->missing = false;
    return SC_OK;
}
