/* Steps, evaluations, and the checkpoints that are begun between them. */
#include "coordinator/run/lr_schedule.h"
#include "coordinator/run/trainer_internal.h"
#include "proto/base/log.h"

#define SC_LOG_SUBSYSTEM "trainer"

/* --- steps --------------------------------------------------------------------------------------------------------- */

static sc_feed_item data_of(const sc_step_item *item)
{
    if (item->eval)
        return (sc_feed_item){.split = SC_SPLIT_VALIDATION, .index = (uint64_t)item->run};
    return (sc_feed_item){.split = SC_SPLIT_TRAIN, .index = (uint64_t)item->step - 1};
}

static bool wants_logits(const sc_trainer *t, sc_feed_item item)
{
    return item.split != SC_SPLIT_TRAIN && sc_scorer_wants_logits(t->scorers[item.split]);
}

/* One micro-batch's part for one stage. */
static sc_status send_microbatch(sc_trainer *t, uint64_t sequence, int m, int stage, const sc_micro_batch *data,
                                 bool has_targets)
{
    if (stage == 0)
        SC_TRY(sc_cluster_send_tokens(t->cluster, sequence, m, data->tokens, data->B, data->T));
    if (sc_model_takes_segments(&t->model))
        SC_TRY(sc_cluster_send_lengths(t->cluster, sequence, m, stage, data->lengths, data->B));
    if (sc_model_takes_segments(&t->model) && stage == 0)
        SC_TRY(sc_cluster_send_segments(t->cluster, sequence, m, data->segments, data->B, data->T));
    if (stage == t->S - 1 && has_targets)
        SC_TRY(sc_cluster_send_targets(t->cluster, sequence, m, data->targets, data->B, data->T));
    if (stage == t->S - 1 && has_targets && sc_model_predicts_next(&t->model))
        SC_TRY(sc_cluster_send_next(t->cluster, sequence, m, data->next, data->B));
    return SC_OK;
}

sc_status sc_trainer_send(sc_trainer *t, uint64_t sequence, sc_feed_item item, const bool *wanted)
{
    const bool has_targets = !wants_logits(t, item);
    for (int m = 0; m < sc_feed_n_microbatches(t->feed, item); m++) {
        const sc_micro_batch *data;
        SC_TRY(sc_feed_get(t->feed, item, m, &data));
        for (int stage = 0; stage < t->S; stage++)
            if (!wanted || wanted[stage])
                SC_TRY(send_microbatch(t, sequence, m, stage, data, has_targets));
    }
    return SC_OK;
}

static sc_status send_data(sc_trainer *t, const sc_step_item *item)
{
    return sc_trainer_send(t, item->sequence, data_of(item), NULL);
}

sc_status sc_trainer_start(sc_trainer *t, uint64_t sequence, sc_feed_item item, int64_t step)
{
    sc_feed_size size;
    SC_TRY(sc_feed_measure(t->feed, item, &size));
    t->next_sequence = sequence + 3; /* behind this one, and those whose micro-batches are on their way */
    const int plan = item.split == SC_SPLIT_TRAIN
                         ? SC_PLAN_OF_STEPS
                         : sc_trainer_plan_of_evaluation(t, sc_feed_n_microbatches(t->feed, item));
    if (sc_model_predicts_next(&t->model))
        return sc_cluster_run_pretraining(t->cluster, sequence, plan, (uint64_t)step, size.n_targets, size.n_sequences);
    if (item.split == SC_SPLIT_TRAIN && size.target_weight > 0)
        return sc_cluster_run_weighted(t->cluster, sequence, plan, (uint64_t)step, size.n_targets, size.target_weight);
    return sc_cluster_run(t->cluster, sequence, plan, (uint64_t)step, size.n_targets, wants_logits(t, item));
}

static sc_status start_item(sc_trainer *t, const sc_step_item *item)
{
    return sc_trainer_start(t, item->sequence, data_of(item), item->step);
}

/* What is said of the step that was decided last, when it is applied everywhere. */
static void tell_step(sc_trainer *t, double seconds)
{
    const sc_trainer_decision *d = &t->decision;
    const sc_event_step event = {
        .step = d->step,
        .loss = d->loss,
        .grad_norm = d->grad_norm,
        .lr = d->lr,
        .tokens = d->tokens,
        .step_seconds = seconds,
        .n_stages = t->S,
        .stages = t->stage_events,
    };
    sc_trainer_check_event(sc_event_log_step(t->events, &event));
    const sc_progress_step step = {
        .step = d->step,
        .loss = d->loss,
        .grad_norm = d->grad_norm,
        .lr = d->lr,
        .step_seconds = seconds,
        .tokens = d->tokens,
        .busy = t->busy,
    };
    sc_progress_step_done(t->progress, &step);
    t->decision.step = 0;
}

static double seconds_since_commit(sc_trainer *t)
{
    uint64_t now = sc_clock_ns(&t->clock);
    double seconds = (double)(now - t->commit_ns) * 1e-9;
    t->commit_ns = now;
    return seconds;
}

/* The step is applied everywhere. */
static void commit(sc_trainer *t, const sc_step_item *item)
{
    sc_run_state_commit(t->state, (uint64_t)item->step);
    t->committed = item->step;
    t->step_seconds = seconds_since_commit(t);
    sc_roster_measure(sc_cluster_roster(t->cluster), t->step_seconds);
    tell_step(t, t->step_seconds);
}

void sc_trainer_loaded(sc_trainer *t)
{
    t->committed = (int64_t)sc_run_state_committed(t->state);
    if (t->evaluated > t->committed)
        t->evaluated = 0;
    if (t->decision.step != 0 && t->decision.step == t->committed)
        tell_step(t, seconds_since_commit(t)); /* a loss came between the verdict and the last answer to it */
    t->decision.step = 0;
}

static void take_times(sc_trainer *t, const sc_step_result *result)
{
    for (int i = 0; i < t->S; i++) {
        const sc_stage_times *times = &result->times[i];
        t->stage_events[i] = (sc_event_stage){
            .forward_seconds = times->forward_seconds,
            .backward_seconds = times->backward_seconds,
            .wait_seconds = times->wait_seconds,
            .peak_resident_bytes = times->peak_resident_bytes,
        };
        double computed = times->forward_seconds + times->backward_seconds;
        t->busy[i] = times->step_seconds > 0 ? computed / times->step_seconds : 0;
    }
    sc_trainer_count(t, result);
}

/* A checkpoint on the way is streamed over a quarter of the time to the next: its cost is spread thin, and it is there in
 * good time. */
static double spread_of_saves(const sc_trainer *t)
{
    return 0.25 * (double)t->config->checkpoint.every * t->step_seconds;
}

/* --- snapshots ------------------------------------------------------------------------------------------------------ */

static void on_deposit(void *context, int rank, uint64_t step, bool arrived)
{
    sc_trainer *t = context;
    sc_run_state_deposited(t->state, rank, step, arrived);
}

static void on_snapshot(void *context, int rank, uint64_t step)
{
    sc_trainer *t = context;
    const sc_run_snapshot *s = NULL;
    for (uint64_t i = t->n_snapshots; i > 0 && i + SC_TRAINER_SNAPSHOTS > t->n_snapshots && !s; i--)
        if (t->snapshots[(i - 1) % SC_TRAINER_SNAPSHOTS].step == step)
            s = &t->snapshots[(i - 1) % SC_TRAINER_SNAPSHOTS];
    t->n_made++;
    sc_saver_snapshotted(t->saver, step);
    if (!s)
        return;
    sc_run_state_snapshotted(t->state, rank, s);
    if (s->is_point) /* an error is the cluster's own, which keeps it */
        (void)sc_cluster_deposit(t->cluster, rank, step, on_deposit, t);
}

sc_status sc_trainer_snapshot(sc_trainer *t, bool as_point)
{
    sc_run_snapshot *s = &t->snapshots[t->n_snapshots++ % SC_TRAINER_SNAPSHOTS];
    sc_run_state_snapshot(t->state, sc_saver_step(t->saver), as_point, s);
    return sc_cluster_snapshot(t->cluster, s->step, s->keep_steps, s->n_keep_steps, s->log_from, on_snapshot, t);
}

sc_status sc_trainer_begin_save(sc_trainer *t, int64_t step, double spread_seconds, bool *begun)
{
    sc_manifest manifest;
    bool was_busy = sc_saver_is_busy(t->saver);
    SC_TRY(sc_resume_describe(&t->identity, t->plans[SC_PLAN_OF_STEPS], step, &manifest));
    manifest.best = t->choice;
    sc_status status = sc_saver_begin(t->saver, &t->assignment, &manifest, spread_seconds);
    sc_manifest_clear(&manifest);
    *begun = !was_busy && sc_saver_is_busy(t->saver);
    return status;
}

static bool is_multiple(int64_t step, int64_t every)
{
    return every > 0 && step % every == 0;
}

/* What is to be kept of the state after `step`, whose ApplyStep has been sent: a snapshot comes before the next step in every
 * worker's queue. */
static sc_status keep_state(sc_trainer *t, int64_t step)
{
    bool point = sc_run_state_point_due(t->state, (uint64_t)step), saving = false;
    if (is_multiple(step, t->config->checkpoint.every) || t->wants_save)
        SC_TRY(sc_trainer_begin_save(t, step, spread_of_saves(t), &saving));
    t->wants_save = t->wants_save && !saving; /* one that was being written is of an older step */
    if (!point && !saving)
        return SC_OK;
    return sc_trainer_snapshot(t, t->config->recovery.peer_every > 0);
}

/* Whether other workers are to serve from the end of this step on. They grow at a point or a checkpoint, when none is being
 * written. */
static bool workers_change(const sc_trainer *t, int64_t step, bool *may_grow)
{
    int64_t peer_every = t->config->recovery.peer_every, every = t->config->checkpoint.every;
    *may_grow = (is_multiple(step, peer_every) || is_multiple(step, every) || (peer_every == 0 && every == 0)) &&
                !sc_saver_is_busy(t->saver);
    return sc_run_state_should_rearrange(t->state, *may_grow);
}

/* --- steps and evaluations ------------------------------------------------------------------------------------------- */

/* Takes the votes of a training step, gives the verdict, and starts `next` (NULL: none) right behind it, unless the run is to
 * hold there. */
static sc_status finish_step(sc_trainer *t, const sc_step_item *item, const sc_step_item *next, bool hold)
{
    const sc_step_result *result;
    sc_verdict verdict;
    sc_feed_size size;
    SC_TRY(sc_cluster_wait(t->cluster, item->sequence, &result));
    SC_TRY(sc_feed_measure(t->feed, data_of(item), &size));
    const sc_loss_counts counts = {.n_microbatches = sc_feed_n_microbatches(t->feed, data_of(item)),
                                   .n_losses = sc_model_n_losses(&t->model),
                                   .n = {size.n_targets, size.n_sequences},
                                   .weight = size.target_weight};
    SC_TRY(sc_verdict_make(result, &counts, sc_model_n_params(&t->model), t->config->train.clip_norm, &verdict));
    take_times(t, result);
    double lr = sc_lr_at(t->config, t->steps, item->step);
    const sc_decided_step decided = {
        .step = (uint64_t)item->step,
        .sequence = item->sequence,
        .n_targets = size.n_targets,
        .n_sequences = size.n_sequences,
        .target_weight = size.target_weight,
        .grad_scale = verdict.grad_scale,
        .learning_rate = (float)lr,
    };
    sc_run_state_decide(t->state, &decided);
    t->decision = (sc_trainer_decision){item->step, verdict.loss, verdict.grad_norm, lr, (int64_t)size.n_tokens};
    SC_TRY(sc_cluster_apply(t->cluster, item->sequence, verdict.grad_scale, (float)lr));
    if (next) {
        SC_TRY(keep_state(t, item->step));
        if (!hold)
            SC_TRY(start_item(t, next));
    }
    SC_TRY(sc_cluster_wait_applied(t->cluster, item->sequence));
    commit(t, item);
    return SC_OK;
}

sc_status sc_trainer_save_last(sc_trainer *t, bool in_any_case)
{
    bool begun = false;
    SC_TRY(sc_saver_wait(t->saver));
    if ((!t->config->checkpoint.at_end && !in_any_case) || t->saved == t->committed)
        return SC_OK;
    SC_TRY(sc_trainer_begin_save(t, t->committed, 0, &begun));
    if (begun)
        SC_TRY(sc_trainer_snapshot(t, false));
    return sc_saver_wait(t->saver);
}

static bool is_of_same(const sc_step_item *next, const sc_step_item *evaluation)
{
    return next->eval && next->step == evaluation->step;
}

sc_status sc_trainer_train(sc_trainer *t, bool *done)
{
    sc_step_sequence sequence = {
        .first_step = t->committed + 1,
        .steps = t->steps,
        .eval_every = t->config->train.eval_every,
        .eval_epoch = t->config->train.eval_epochs ? t->epoch_steps : 0,
        .eval_runs = (int)sc_feed_n_items(t->feed, SC_SPLIT_VALIDATION),
        .evaluated_step = t->evaluated,
        .first_sequence = t->next_sequence,
    };
    sc_step_item item, next, ahead; /* running; started or about to be; whose micro-batches are already on their way */
    bool have_next;
    *done = true;
    SC_TRY(sc_trainer_hold(t));
    if (sc_cluster_stop_requested(t->cluster) || sc_trainer_is_over(t) || !sc_step_sequence_first(&sequence, &item))
        return sc_trainer_save_last(t, false);
    t->commit_ns = sc_clock_ns(&t->clock);
    SC_TRY(send_data(t, &item));
    if (sc_run_state_point_due(t->state, (uint64_t)t->committed))
        SC_TRY(sc_trainer_snapshot(t, true));
    SC_TRY(start_item(t, &item));
    next = item;
    have_next = sc_step_sequence_next(&sequence, &next);
    if (have_next)
        SC_TRY(send_data(t, &next));
    for (;;) {
        bool stop = sc_cluster_stop_requested(t->cluster), may_grow = false, change = false;
        const bool hold = t->pauses && !item.eval && have_next && !stop;
        if (item.eval) {
            const bool decides = t->config->train.best_metric != SC_METRIC_NONE && !is_of_same(&next, &item);
            if (have_next && !stop && !decides)
                SC_TRY(start_item(t, &next)); /* forward-only: nothing to wait for, unless the state is to be kept */
            SC_TRY(sc_trainer_take_round(t, &item));
            stop = stop || sc_trainer_is_over(t);
            if (have_next && !stop && decides)
                SC_TRY(start_item(t, &next));
        } else {
            change = have_next && !stop && workers_change(t, item.step, &may_grow);
            SC_TRY(finish_step(t, &item, have_next && !stop && !change ? &next : NULL, hold));
        }
        if (!have_next || stop)
            return sc_trainer_save_last(t, false);
        if (change && sc_trainer_rearrange(t, may_grow)) {
            *done = false;
            return SC_OK;
        }
        if (hold)
            SC_TRY(sc_trainer_hold(t));
        if (hold && sc_cluster_stop_requested(t->cluster))
            return sc_trainer_save_last(t, false);
        if (hold || change) /* change: the reason is gone meanwhile */
            SC_TRY(start_item(t, &next));
        ahead = next;
        have_next = sc_step_sequence_next(&sequence, &ahead);
        if (have_next)
            SC_TRY(send_data(t, &ahead));
        item = next;
        next = ahead;
    }
}
