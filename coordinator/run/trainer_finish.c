/* The end of a run: its best weights, the test, what it leaves in final/. */
#include "coordinator/run/trainer_internal.h"

#include "coordinator/report/report.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/base/safetensors.h"

#include <inttypes.h>
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

bool sc_trainer_is_complete(sc_trainer *t)
{
    sc_safetensors *file = NULL;
    if (!has_ended(t) ||
        (t->scorers[SC_SPLIT_TEST] && access(sc_run_dir_path(t->dir, SC_RUN_DIR_TEST_REPORT), F_OK) != 0) ||
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

/* --- the test ---------------------------------------------------------------------------------------------------------- */

static sc_status run_test(sc_trainer *t, int64_t step, sc_score_list *scores)
{
    sc_scorer *scorer = t->scorers[SC_SPLIT_TEST];
    const uint64_t first = t->next_sequence, n = sc_feed_n_items(t->feed, SC_SPLIT_TEST);
    sc_scorer_begin(scorer);
    for (uint64_t i = 0; i <= n; i++) { /* one is under way while the next is sent */
        const sc_step_result *result;
        const sc_feed_item item = {.split = SC_SPLIT_TEST, .index = i};
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
static sc_status write_report(sc_trainer *t, int64_t step, const sc_score_list *scores)
{
    const sc_predictions *predictions = sc_scorer_predictions(t->scorers[SC_SPLIT_TEST]);
    const sc_label_sets *sets = sc_scorer_sets(t->scorers[SC_SPLIT_TEST]);
    json_t *json = json_object(), *report = NULL;
    char *text = NULL;
    bool ok = json && json_object_set_new(json, "step", json_integer(step)) == 0;
    for (int i = 0; i < scores->n; i++)
        ok = ok && json_object_set_new(json, scores->items[i].name, json_real(scores->items[i].value)) == 0;
    sc_status status = SC_OK;
    if (predictions)
        SC_TRY_GOTO(status, sc_report_json(predictions, &report), done);
    if (sets)
        SC_TRY_GOTO(status, sc_report_json_sets(sets, &report), done);
    ok = ok && (!report || json_object_update(json, report) == 0);
    if (!ok || !(text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(17))))
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the report on the test");
    else
        status = sc_files_replace(sc_run_dir_path(t->dir, SC_RUN_DIR_TEST_REPORT), text, strlen(text));
done:
    free(text);
    json_decref(report);
    json_decref(json);
    return status;
}

/* Of predictions, or of sets. */
static sc_status print_report(sc_trainer *t, const sc_predictions *predictions, const sc_label_sets *sets,
                              const char *title, sc_report_format format)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (!out)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the report on the test");
    sc_status status = sets ? sc_report_print_sets(sets, format, 2, out) : sc_report_print(predictions, format, 2, out);
    if (fclose(out) != 0 && status == SC_OK)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for the report on the test");
    if (status == SC_OK) {
        sc_progress_suspend(t->progress);
        printf("\n%s\n%s\n", title, text);
        fflush(stdout);
        sc_progress_resume(t->progress);
    }
    free(text);
    return status;
}

static sc_status test(sc_trainer *t, int64_t step)
{
    sc_score_list scores;
    const sc_scorer *scorer = t->scorers[SC_SPLIT_TEST];
    SC_TRY(run_test(t, step, &scores));
    sc_trainer_check_event(sc_event_log_test(t->events, step, &scores));
    sc_progress_eval(t->progress, step, "test", &scores);
    const sc_predictions *predictions = sc_scorer_predictions(scorer);
    const sc_label_sets *sets = sc_scorer_sets(scorer);
    if (predictions && t->model.task == SC_TASK_TAGGING) {
        SC_TRY(print_report(t, predictions, NULL, "test, by token", SC_REPORT_SKLEARN));
        if (sc_predictions_are_tags(predictions))
            SC_TRY(print_report(t, predictions, NULL, "test, by entity", SC_REPORT_SEQEVAL));
    } else if (predictions) {
        SC_TRY(print_report(t, predictions, NULL, "test", SC_REPORT_SKLEARN));
    }
    if (sets)
        SC_TRY(print_report(t, NULL, sets, "test", SC_REPORT_SKLEARN));
    if (predictions || sets)
        SC_TRY(sc_scorer_write(scorer, sc_run_dir_path(t->dir, SC_RUN_DIR_TEST_PREDICTIONS),
                               t->config->data.label_separator));
    return write_report(t, step, &scores);
}

sc_status sc_trainer_finish(sc_trainer *t)
{
    int64_t step = t->committed;
    if (has_ended(t) && !sc_cluster_stop_requested(t->cluster)) {
        SC_TRY(load_best(t, &step));
        if (t->scorers[SC_SPLIT_TEST])
            SC_TRY(test(t, step));
    }
    SC_TRY(sc_weights_save(t->cluster, &t->model, sc_feed_tokenizer(t->feed), sc_feed_labels(t->feed), step,
                           sc_run_dir_path(t->dir, "final")));
    t->final_step = step;
    return SC_OK;
}
