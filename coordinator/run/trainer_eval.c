/* Evaluations: what the rounds of one add up to, whether it is the best, and whether it was the last. */
#include "coordinator/run/trainer_internal.h"

#include "proto/base/log.h"

#include <inttypes.h>

#define SC_LOG_SUBSYSTEM "trainer"

static const char *metric_of(const sc_trainer *t)
{
    return sc_config_word("train.best_metric", t->config->train.best_metric);
}

/* Entities are those of labels that are tags. */
static sc_status check_metric(const sc_trainer *t)
{
    const sc_labels *labels = sc_feed_labels(t->feed);
    if (t->config->train.best_metric != SC_METRIC_ENTITY_F1)
        return SC_OK;
    for (int32_t i = 0; i < labels->n; i++)
        if (strcmp(labels->names[i], "O") != 0 && !sc_predictions_is_tag(labels->names[i]))
            return SC_FAIL(
                SC_INVALID,
                "%s: train.best_metric: the label '%.64s' is no tag of an entity, such as B-PER or O; allowed: "
                "accuracy, macro_f1, loss",
                t->config->path, labels->names[i]);
    return SC_OK;
}

sc_status sc_trainer_open_scorers(sc_trainer *t)
{
    SC_TRY(check_metric(t));
    for (sc_data_split split = SC_SPLIT_VALIDATION; split < SC_N_SPLITS; split++)
        if (sc_feed_n_items(t->feed, split) > 0)
            SC_TRY(sc_scorer_new(t->feed, &t->model, split, &t->scorers[split]));
    return SC_OK;
}

bool sc_trainer_is_over(const sc_trainer *t)
{
    return sc_best_is_over(&t->choice, t->config->train.patience);
}

/* The state after `step`, which is the last that was decided, becomes a checkpoint, unless it is one. */
static sc_status keep(sc_trainer *t, int64_t step)
{
    bool begun = false;
    SC_TRY(sc_saver_wait(t->saver));
    if (t->saved == step)
        return SC_OK;
    SC_TRY(sc_trainer_begin_save(t, step, 0, &begun));
    if (begun)
        SC_TRY(sc_trainer_snapshot(t, false));
    return sc_saver_wait(t->saver);
}

/* The evaluation counts when the checkpoint that it may ask for is there: after a loss on the way it is repeated. */
static sc_status choose(sc_trainer *t, int64_t step, const sc_score_list *scores)
{
    const sc_best before = t->choice;
    const double *value = sc_score_list_find(scores, metric_of(t));
    if (!value || !sc_best_count(&t->choice, step, *value))
        return SC_OK;
    const sc_status status = keep(t, step);
    if (status == SC_OK && t->saved == step) {
        sc_saver_pin(t->saver, step);
        sc_progress_note(t->progress, "step %" PRId64 " is the best so far: %s %.4f", step, metric_of(t), *value);
        sc_trainer_check_event(sc_event_log_best(t->events, step, metric_of(t), *value));
        return SC_OK;
    }
    t->choice = before;
    if (status != SC_OK)
        return status;
    t->choice.evaluated = step;
    SC_WARN("step %" PRId64
            " is the best so far, but its checkpoint could not be saved; the best stays that of step %" PRId64,
            step, before.step);
    return SC_OK;
}

sc_status sc_trainer_take_round(sc_trainer *t, const sc_step_item *item)
{
    const sc_step_result *result;
    sc_scorer *scorer = t->scorers[SC_SPLIT_VALIDATION];
    SC_TRY(sc_cluster_wait(t->cluster, item->sequence, &result));
    if (item->run == 0)
        sc_scorer_begin(scorer);
    SC_TRY(sc_scorer_add(scorer, (uint64_t)item->run, result, t->B, t->T));
    if ((uint64_t)item->run + 1 < sc_feed_n_items(t->feed, SC_SPLIT_VALIDATION))
        return SC_OK;
    sc_score_list scores;
    SC_TRY(sc_scorer_finish(scorer, &scores));
    sc_trainer_check_event(sc_event_log_eval(t->events, item->step, &scores));
    sc_progress_eval(t->progress, item->step, "validation", &scores);
    SC_TRY(choose(t, item->step, &scores));
    t->evaluated = item->step;
    t->commit_ns = sc_clock_ns(&t->clock); /* an evaluation's time is not the next step's */
    if (sc_trainer_is_over(t))
        sc_progress_note(t->progress,
                         "step %" PRId64 " ends the run: %" PRId64
                         " validations in a row were not better than that of step "
                         "%" PRId64 " (train.patience)",
                         item->step, t->choice.n_worse, t->choice.step);
    return SC_OK;
}
