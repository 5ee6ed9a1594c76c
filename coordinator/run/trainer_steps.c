/* Steps, evaluations, and the checkpoints that are begun between them. */
#include "coordinator/run/lr_schedule.h"
#include "coordinator/run/step_sequence.h"
#include "coordinator/run/trainer_internal.h"
#include "coordinator/run/verdict.h"
#include "proto/base/log.h"

#define SC_LOG_SUBSYSTEM "trainer"

void sc_trainer_check_event(sc_status status)
{
    if (status != SC_OK)
        SC_WARN("%s", sc_status_message());
}

/* --- steps --------------------------------------------------------------------------------------------------------- */

static int n_microbatches(const sc_trainer *t, const sc_step_item *item)
{
    return item->eval ? t->batches.eval_microbatches : t->M;
}

static uint64_t n_targets(const sc_trainer *t, const sc_step_item *item)
{
    return (uint64_t)n_microbatches(t, item) * (uint64_t)t->B * (uint64_t)t->T;
}

/* Micro-batches of one item, to the first and the last stage. */
static sc_status send_data(sc_trainer *t, const sc_step_item *item)
{
    for (int m = 0; m < n_microbatches(t, item); m++) {
        if (item->eval)
            SC_TRY(sc_batches_get_eval(&t->batches, item->run, m, t->tokens, t->targets));
        else
            SC_TRY(sc_batches_get(&t->batches, (uint64_t)item->step - 1, m, t->tokens, t->targets));
        SC_TRY(sc_cluster_send_tokens(t->cluster, item->sequence, m, t->tokens, t->B, t->T));
        SC_TRY(sc_cluster_send_targets(t->cluster, item->sequence, m, t->targets, t->B, t->T));
    }
    return SC_OK;
}

static sc_status start_item(sc_trainer *t, const sc_step_item *item)
{
    t->next_sequence = item->sequence + 3; /* behind this one, and those whose micro-batches are on their way */
    return sc_cluster_run(t->cluster, item->sequence, item->eval ? SC_PLAN_OF_EVALUATIONS : SC_PLAN_OF_STEPS,
                          (uint64_t)item->step, n_targets(t, item), false);
}

/* The step is applied everywhere: say so. */
static void commit(sc_trainer *t, const sc_step_item *item, const sc_verdict *verdict, double lr)
{
    uint64_t now = sc_clock_ns(&t->clock);
    double seconds = (double)(now - t->commit_ns) * 1e-9;
    t->commit_ns = now;
    t->committed = item->step;
    t->step_seconds = seconds;
    sc_event_step event = {
        .step = item->step,
        .loss = verdict->loss,
        .grad_norm = verdict->grad_norm,
        .lr = lr,
        .tokens = (int64_t)n_targets(t, item),
        .step_seconds = seconds,
        .n_stages = t->S,
        .stages = t->stage_events,
    };
    sc_trainer_check_event(sc_event_log_step(t->events, &event));
    sc_progress_step step = {
        .step = item->step,
        .loss = verdict->loss,
        .grad_norm = verdict->grad_norm,
        .lr = lr,
        .step_seconds = seconds,
        .tokens = event.tokens,
        .busy = t->busy,
    };
    sc_progress_step_done(t->progress, &step);
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
}

/* A checkpoint on the way is streamed over a quarter of the time to the next: its cost is spread thin, and it is there in
 * good time. */
static double spread_of_saves(const sc_trainer *t)
{
    return 0.25 * (double)t->config->checkpoint.every * t->step_seconds;
}

/* Begins a checkpoint of the state after `step`, whose ApplyStep has been sent. */
static sc_status save(sc_trainer *t, int64_t step, double spread_seconds)
{
    sc_manifest manifest;
    SC_TRY(sc_resume_describe(&t->identity, t->plans[SC_PLAN_OF_STEPS], step, &manifest));
    sc_status status = sc_saver_begin(t->saver, &t->assignment, &manifest, spread_seconds);
    sc_manifest_clear(&manifest);
    return status;
}

/* Takes the votes of a training step, gives the verdict, and starts `next` (NULL: none) right behind it. */
static sc_status finish_step(sc_trainer *t, const sc_step_item *item, const sc_step_item *next)
{
    const sc_step_result *result;
    sc_verdict verdict;
    SC_TRY(sc_cluster_wait(t->cluster, item->sequence, &result));
    SC_TRY(sc_verdict_make(result, t->M, n_targets(t, item), sc_model_n_params(&t->model), t->config->train.clip_norm,
                           &verdict));
    take_times(t, result);
    double lr = sc_lr_at(t->config, item->step);
    SC_TRY(sc_cluster_apply(t->cluster, item->sequence, verdict.grad_scale, (float)lr));
    if (next && t->config->checkpoint.every > 0 && item->step % t->config->checkpoint.every == 0)
        SC_TRY(save(t, item->step,
                    spread_of_saves(t))); /* a snapshot comes before the next step in every worker's queue */
    if (next)
        SC_TRY(start_item(t, next));
    SC_TRY(sc_cluster_wait_applied(t->cluster, item->sequence));
    commit(t, item, &verdict, lr);
    return SC_OK;
}

static sc_status finish_eval_run(sc_trainer *t, const sc_step_item *item)
{
    const sc_step_result *result;
    double loss;
    SC_TRY(sc_cluster_wait(t->cluster, item->sequence, &result));
    SC_TRY(sc_verdict_loss(result, n_microbatches(t, item), n_targets(t, item), &loss));
    t->eval_sum = item->run == 0 ? loss : t->eval_sum + loss;
    if (item->run == t->batches.eval_runs - 1) {
        loss = t->eval_sum / t->batches.eval_runs; /* the runs are of equal size */
        sc_trainer_check_event(sc_event_log_eval(t->events, item->step, loss));
        sc_progress_eval(t->progress, item->step, loss);
        t->commit_ns = sc_clock_ns(&t->clock); /* an evaluation's time is not the next step's */
    }
    return SC_OK;
}

/* The checkpoint of a run's end, or of its being stopped. */
static sc_status save_last(sc_trainer *t)
{
    SC_TRY(sc_saver_wait(t->saver));
    if (!t->config->checkpoint.at_end || t->saved == t->committed)
        return SC_OK;
    SC_TRY(save(t, t->committed, 0));
    return sc_saver_wait(t->saver);
}

sc_status sc_trainer_train(sc_trainer *t)
{
    sc_step_sequence sequence = {
        .first_step = t->committed + 1,
        .steps = t->config->train.steps,
        .eval_every = t->config->train.eval_every,
        .eval_runs = t->batches.eval_runs,
        .first_sequence = t->next_sequence,
    };
    sc_step_item item, next, ahead; /* running; started or about to be; whose micro-batches are already on their way */
    bool have_next;
    if (!sc_step_sequence_first(&sequence, &item))
        return SC_OK;
    t->commit_ns = sc_clock_ns(&t->clock);
    SC_TRY(send_data(t, &item));
    SC_TRY(start_item(t, &item));
    next = item;
    have_next = sc_step_sequence_next(&sequence, &next);
    if (have_next)
        SC_TRY(send_data(t, &next));
    for (;;) {
        bool stop = sc_cluster_stop_requested(t->cluster);
        if (item.eval) {
            if (have_next && !stop)
                SC_TRY(start_item(t, &next)); /* forward-only: nothing to wait for */
            SC_TRY(finish_eval_run(t, &item));
        } else {
            SC_TRY(finish_step(t, &item, have_next && !stop ? &next : NULL));
        }
        if (!have_next || stop)
            return save_last(t);
        ahead = next;
        have_next = sc_step_sequence_next(&sequence, &ahead);
        if (have_next)
            SC_TRY(send_data(t, &ahead));
        item = next;
        next = ahead;
    }
}
