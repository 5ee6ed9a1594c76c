/* The end of a run: its best weights, the report, what it leaves in final/. */
#include "coordinator/run/trainer_internal.h"

#include "coordinator/report/report.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/base/safetensors.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#define SC_LOG_SUBSYSTEM "trainer"

static bool has_ended(const sc_trainer *t)
{
    return t->committed >= t->steps || sc_trainer_is_over(t);
}

/* The step whose weights a run that has ended leaves. */
static int64_t final_step(const sc_trainer *t)
{
    return t->choice.step > 0 ? t->choice.step : t->committed;
}

/* What is reported on at the end: the test; without one, where there are labels, the validation. NULL: nothing. */
static sc_scorer *reported(const sc_trainer *t, sc_data_split *split)
{
    *split = t->scorers[SC_SPLIT_TEST] ? SC_SPLIT_TEST : SC_SPLIT_VALIDATION;
    return *split == SC_SPLIT_TEST || sc_feed_labels(t->feed) ? t->scorers[*split] : NULL;
}

/* "test.pred" and "test.json", or "validation. ..."; valid until the next call of sc_run_dir_path. */
static const char *path_of(const sc_trainer *t, sc_data_split split, const char *ending)
{
    char name[32];
    snprintf(name, sizeof name, "%s.%s", sc_data_split_name(split), ending);
    return sc_run_dir_path(t->dir, name);
}

bool sc_trainer_is_complete(sc_trainer *t)
{
    sc_safetensors *file = NULL;
    sc_data_split split;
    if (!has_ended(t) || (reported(t, &split) && access(path_of(t, split, "json"), F_OK) != 0) ||
        sc_safetensors_open(sc_run_dir_path(t->dir, "final/model.safetensors"), &file) != SC_OK)
        return false;
    const char *step = sc_safetensors_metadata(file, "step");
    const bool complete = step && strtoll(step, NULL, 10) == final_step(t);
    sc_safetensors_close(&file);
    return complete;
}

/* --- the best weights -------------------------------------------------------------------------------------------------- */

/* The workers get the weights of the best step, if they can be read; *step is whose they have. */
static sc_status load_best(sc_trainer *t, int64_t *step)
{
    sc_checkpoint_list list;
    sc_manifest manifest = {0};
    *step = t->committed;
    if (final_step(t) == t->committed)
        return SC_OK;
    SC_TRY(sc_checkpoint_list_of(sc_run_dir_root(t->dir), &list));
    sc_status status = SC_NOT_FOUND;
    int i = 0;
    for (; i < list.n && status != SC_OK; i++)
        if (list.steps[i] == final_step(t))
            status = sc_checkpoint_check(list.paths[i], true, &manifest);
    if (status != SC_OK) {
        SC_ERROR("the checkpoint of step %" PRId64
                 ", which was the best, is gone or damaged; the weights are those of the last step, %" PRId64,
                 final_step(t), t->committed);
        status = SC_OK;
    } else {
        status = sc_resume_load(t->cluster, list.paths[i - 1], &manifest);
        if (status == SC_OK)
            *step = final_step(t);
    }
    sc_manifest_clear(&manifest);
    sc_checkpoint_list_clear(&list);
    return status;
}

/* --- the report -------------------------------------------------------------------------------------------------------- */

static sc_status evaluate(sc_trainer *t, int64_t step, sc_data_split split, sc_score_list *scores)
{
    sc_scorer *scorer = t->scorers[split];
    const uint64_t first = t->next_sequence, n = sc_feed_n_items(t->feed, split);
    sc_scorer_begin(scorer);
    for (uint64_t i = 0; i <= n; i++) { /* one is under way while the next is sent */
        const sc_step_result *result;
        const sc_feed_item item = {.split = split, .index = i};
        if (i < n) {
            SC_TRY(sc_trainer_send(t, first + i, item, NULL));
            SC_TRY(sc_trainer_start(t, first + i, item, step));
        }
        if (i > 0) {
            SC_TRY(sc_cluster_wait(t->cluster, first + i - 1, &result));
            SC_TRY(sc_scorer_add(scorer, i - 1, result, t->B, t->T));
        }
    }
    return sc_scorer_finish(scorer, scores);
}

/* {"step": n, "loss": l, ...}, with labels also all of report.h. */
static sc_status write_report(sc_trainer *t, int64_t step, sc_data_split split, const sc_score_list *scores)
{
    const sc_predictions *predictions = sc_scorer_predictions(t->scorers[split]);
    const sc_label_sets *sets = sc_scorer_sets(t->scorers[split]);
    json_t *json = json_object(), *report = NULL;
    char *text = NULL;
    bool ok = json && json_object_set_new(json, "step", json_integer(step)) == 0;
    for (int i = 0; i < scores->n; i++) {
        const double value = scores->items[i].value;
        ok = ok &&
             json_object_set_new(json, scores->items[i].name, isfinite(value) ? json_real(value) : json_null()) == 0;
    }
    sc_status status = SC_OK;
    if (predictions)
        SC_TRY_GOTO(status, sc_report_json(predictions, &report), done);
    if (sets)
        SC_TRY_GOTO(status, sc_report_json_sets(sets, &report), done);
    ok = ok && (!report || json_object_update(json, report) == 0);
    if (!ok || !(text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(17))))
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the report at the end");
    else
        status = sc_files_replace(path_of(t, split, "json"), text, strlen(text));
done:
    free(text);
    json_decref(report);
    json_decref(json);
    return status;
}

/* Of predictions, or of sets. */
static sc_status print_report(sc_trainer *t, const sc_predictions *predictions, const sc_label_sets *sets,
                              sc_data_split split, const char *by, sc_report_format format)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (!out)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the report at the end");
    sc_status status = sets ? sc_report_print_sets(sets, format, 2, out) : sc_report_print(predictions, format, 2, out);
    if (fclose(out) != 0 && status == SC_OK)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the report at the end");
    if (status == SC_OK) {
        sc_progress_suspend(t->progress);
        printf("\n%s%s\n%s\n", sc_data_split_name(split), by, text);
        fflush(stdout);
        sc_progress_resume(t->progress);
    }
    free(text);
    return status;
}

static sc_status report(sc_trainer *t, int64_t step, sc_data_split split)
{
    sc_score_list scores;
    const sc_scorer *scorer = t->scorers[split];
    SC_TRY(evaluate(t, step, split, &scores));
    if (split == SC_SPLIT_TEST) { /* what the validation gives was told when it came */
        sc_trainer_check_event(sc_event_log_test(t->events, step, &scores));
        sc_progress_eval(t->progress, step, "test", &scores);
    }
    const sc_predictions *predictions = sc_scorer_predictions(scorer);
    const sc_label_sets *sets = sc_scorer_sets(scorer);
    if (predictions && t->model.task == SC_TASK_TAGGING) {
        SC_TRY(print_report(t, predictions, NULL, split, ", by token", SC_REPORT_SKLEARN));
        if (sc_predictions_are_tags(predictions))
            SC_TRY(print_report(t, predictions, NULL, split, ", by entity", SC_REPORT_SEQEVAL));
    } else if (predictions) {
        SC_TRY(print_report(t, predictions, NULL, split, "", SC_REPORT_SKLEARN));
    }
    if (sets)
        SC_TRY(print_report(t, NULL, sets, split, "", SC_REPORT_SKLEARN));
    if (predictions || sets)
        SC_TRY(sc_scorer_write(scorer, path_of(t, split, "pred"), t->config->data.label_separator));
    return write_report(t, step, split, &scores);
}

sc_status sc_trainer_finish(sc_trainer *t)
{
    int64_t step = t->committed;
    sc_data_split split;
    if (has_ended(t) && !sc_cluster_stop_requested(t->cluster)) {
        SC_TRY(load_best(t, &step));
        if (reported(t, &split))
            SC_TRY(report(t, step, split));
    }
    SC_TRY(sc_weights_save(t->cluster, &t->model, sc_feed_tokenizer(t->feed), sc_feed_labels(t->feed), step,
                           sc_run_dir_path(t->dir, "final")));
    t->final_step = step;
    return SC_OK;
}
