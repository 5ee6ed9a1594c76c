#include "coordinator/run/trainer_internal.h"

#include "coordinator/schedule/partition.h"
#include "coordinator/schedule/schedule.h"
#include "proto/base/log.h"
#include "proto/base/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SC_LOG_SUBSYSTEM "trainer"

/* --- callbacks ----------------------------------------------------------------------------------------------------- */

static void on_tick(void *context)
{
    sc_trainer *t = context;
    for (int i = 0; t->progress && i < t->S; i++)
        sc_progress_doing(t->progress, i, sc_cluster_worker_at(t->cluster, i)->doing);
    if (t->saver)
        (void)sc_saver_turn(t->saver); /* an error is the cluster's own, which keeps it */
}

static void on_joined(void *context, int rank, const sc_cluster_worker *worker)
{
    sc_trainer *t = context;
    sc_progress_note(t->progress, "worker %d of %d joined: %s, %s, %d thread%s", rank, t->S, worker->name,
                     worker->device, worker->threads, worker->threads == 1 ? "" : "s");
    sc_trainer_check_event(sc_event_log_worker_joined(t->events, rank, worker->name, worker->device, worker->threads,
                                                      sc_cluster_generation(t->cluster) + 1));
}

static void on_lost(void *context, int rank, const sc_cluster_worker *worker, const char *why)
{
    sc_trainer *t = context;
    sc_progress_note(t->progress, "step %" PRId64 ": %s", t->committed + 1, why);
    sc_trainer_check_event(
        sc_event_log_worker_lost(t->events, rank, worker->name, why, sc_cluster_generation(t->cluster)));
}

static void on_saved(void *context, const sc_saved *saved)
{
    sc_trainer *t = context;
    const sc_event_checkpoint event = {saved->step, saved->status, saved->message,
                                       saved->path, saved->bytes,  saved->seconds};
    sc_trainer_check_event(sc_event_log_checkpoint(t->events, &event));
    if (saved->status == SC_OK)
        t->saved = saved->step;
    if (!saved->is_news)
        return; /* events.jsonl has it */
    if (saved->status != SC_OK)
        SC_ERROR("the checkpoint of step %" PRId64 " could not be saved, training goes on: %s", saved->step,
                 saved->message);
    else
        SC_WARN("the checkpoint of step %" PRId64 " is saved, after %" PRIu64 " that could not be", saved->step,
                saved->n_failures);
}

/* --- preparation --------------------------------------------------------------------------------------------------- */

static sc_status make_plans(sc_trainer *t)
{
    bool tied = sc_model_tied_param(&t->model) >= 0;
    sc_schedule_kind kind = (sc_schedule_kind)t->config->pipeline.schedule;
    int eval_M = t->batches.eval_microbatches > 0 ? t->batches.eval_microbatches : 1;
    SC_TRY(sc_schedule_make(kind, t->S, 1, t->M, SC_PLAN_TRAIN, tied, &t->plans[SC_PLAN_OF_STEPS]));
    SC_TRY(sc_schedule_make(kind, t->S, 1, eval_M, SC_PLAN_FORWARD, tied, &t->plans[SC_PLAN_OF_EVALUATIONS]));
    SC_TRY(sc_plan_validate(t->plans[SC_PLAN_OF_STEPS], tied));
    SC_TRY(sc_plan_validate(t->plans[SC_PLAN_OF_EVALUATIONS], tied));
    return sc_partition_by_cost(&t->model, t->S, t->B, t->T, t->slices);
}

/* The newest set that checks out; `committed` is its step, 0 if there is none. */
static sc_status find_checkpoint(sc_trainer *t)
{
    free(t->checkpoint);
    t->checkpoint = NULL;
    sc_manifest_clear(&t->manifest);
    t->committed = t->saved = 0;
    sc_status status = sc_checkpoint_newest(sc_run_dir_root(t->dir), &t->checkpoint, &t->manifest);
    if (status == SC_NOT_FOUND)
        return SC_OK;
    SC_TRY(status);
    t->committed = t->saved = t->manifest.step;
    return sc_resume_check(&t->manifest, &t->identity);
}

static sc_status prepare(sc_trainer *t)
{
    size_t ids = (size_t)t->B * (size_t)t->T, S = (size_t)t->S;
    t->slices = calloc(S, sizeof *t->slices);
    t->tokens = calloc(ids, sizeof *t->tokens);
    t->targets = calloc(ids, sizeof *t->targets);
    t->stage_events = calloc(S, sizeof *t->stage_events);
    t->busy = calloc(S, sizeof *t->busy);
    if (!t->slices || !t->tokens || !t->targets || !t->stage_events || !t->busy)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a micro-batch of %zu tokens", ids);
    SC_TRY(sc_corpus_load(t->config, &t->corpus));
    t->batches = sc_batches_of(t->config, t->corpus);
    SC_TRY(sc_config_model(t->config, sc_tokenizer_vocab(sc_corpus_tokenizer(t->corpus)), &t->model));
    SC_TRY(make_plans(t));

    sc_tokens train = sc_corpus_train(t->corpus);
    t->identity = (sc_run_identity){.model = t->model, .seed = (uint64_t)t->config->run.seed, .config = t->config};
    SC_TRY(sc_resume_hash_data(&train, &t->identity.data_hash));
    const char *moved_to;
    SC_TRY(sc_run_dir_open(t->config, t->options->run_dir_mode, &t->dir, &moved_to));
    SC_TRY(find_checkpoint(t));
    if (t->config->model.init && !t->checkpoint) /* before anybody waits for workers: what it lacks is told at once */
        SC_TRY(sc_hf_weights_open(t->config->model.init, &t->model, &t->init));
    SC_TRY(sc_run_dir_write_config(t->dir, t->config));
    SC_TRY(sc_event_log_open(sc_run_dir_path(t->dir, "events.jsonl"), &t->events));
    sc_progress_options progress = {
        .fd = STDOUT_FILENO, .clock = t->clock, .steps = t->config->train.steps, .n_stages = t->S};
    SC_TRY(sc_progress_new(&progress, &t->progress));
    if (moved_to[0])
        sc_progress_note(t->progress, "an earlier run in %s was moved to %s", t->config->run.dir, moved_to);

    sc_event_run run = {
        .config = t->config,
        .workers = t->S,
        .vocab = t->model.vocab,
        .parameters = sc_model_n_elements(&t->model),
        .train_tokens = sc_corpus_train(t->corpus).n,
        .validation_tokens = sc_corpus_validation(t->corpus).n,
        .first_step = t->committed + 1,
    };
    sc_trainer_check_event(sc_event_log_run_started(t->events, &run));
    char parameters[32], n_tokens[32];
    sc_progress_note(t->progress,
                     "%s parameters, %s training tokens, vocabulary %d, %d stage%s, schedule %s, run directory %s",
                     sc_progress_count((double)run.parameters, parameters, sizeof parameters),
                     sc_progress_count((double)run.train_tokens, n_tokens, sizeof n_tokens), run.vocab, t->S,
                     t->S == 1 ? "" : "s", t->plans[SC_PLAN_OF_STEPS]->schedule, t->config->run.dir);
    if (t->checkpoint)
        sc_progress_note(t->progress, "going on after step %" PRId64 ", from %s", t->committed, t->checkpoint);
    return SC_OK;
}

static sc_status gather(sc_trainer *t)
{
    if (!t->options->listen)
        SC_TRY(sc_local_workers_new(&t->local));
    sc_cluster_options cluster = {
        .clock = t->clock,
        .config = t->config,
        .listen = t->local ? sc_local_workers_endpoint(t->local) : t->options->listen,
        .keys = t->local ? NULL : t->options->keys, /* local ones meet in a directory that is this user's alone */
        .n_workers = t->S,
        .context = t,
        .on_tick = on_tick,
        .on_joined = on_joined,
        .on_lost = on_lost,
    };
    SC_TRY(sc_cluster_new(&cluster, &t->cluster));
    if (t->local)
        SC_TRY(sc_local_workers_start(t->local, t->cluster, &t->clock, t->options->threads,
                                      sc_run_dir_path(t->dir, "logs"), t->options->log_spec, t->config->log.json));
    else
        sc_progress_note(t->progress, "waiting for %d worker%s: stagecoach-worker --coordinator %s%s", t->S,
                         t->S == 1 ? "" : "s", sc_cluster_endpoint(t->cluster), t->options->keys ? " --key FILE" : "");
    sc_saver_options saver = {
        .clock = t->clock,
        .cluster = t->cluster,
        .dir = sc_run_dir_root(t->dir),
        .tokenizer = sc_corpus_tokenizer(t->corpus),
        .shared = sc_run_dir_shared(t->dir),
        .token = sc_run_dir_token(t->dir),
        .keep = (int)t->config->checkpoint.keep,
        .context = t,
        .on_saved = on_saved,
    };
    SC_TRY(sc_saver_new(&saver, &t->saver));
    return sc_cluster_gather(t->cluster);
}

/* Assigns the stages and brings their state: from the newest checkpoint, from model.init, or drawn from the seed. */
static sc_status restore(sc_trainer *t)
{
    t->assignment = (sc_assignment){
        .model = t->model,
        .plans = (const sc_plan *const *)t->plans,
        .n_plans = SC_N_PLANS,
        .slices = t->slices,
        .n_slices = t->S,
        .seed = t->identity.seed,
        .micro_batch_size = t->B,
        .sequence_length = t->T,
        .fresh = !t->init && !t->checkpoint,
        .train = true,
    };
    SC_TRY(sc_cluster_assign(t->cluster, &t->assignment));
    SC_TRY(sc_saver_check_shared(t->saver));
    if (t->checkpoint)
        return sc_resume_load(t->cluster, t->checkpoint, &t->manifest);
    return t->init ? sc_weights_send(t->cluster, &t->model, t->init) : SC_OK;
}

/* --- losses -------------------------------------------------------------------------------------------------------- */

/* After a loss: others take the lost workers' places, and all stages go back to the newest checkpoint. `reached`: the last
 * step that had been committed. */
static sc_status recover(sc_trainer *t, int64_t reached)
{
    uint64_t start = sc_clock_ns(&t->clock);
    sc_saver_abort(t->saver);
    SC_TRY(find_checkpoint(t));
    sc_status status = sc_cluster_recover(t->cluster);
    t->stopped_waiting = status == SC_CANCELLED;
    SC_TRY(status);
    double rejoin_seconds = sc_clock_seconds_since(&t->clock, start);
    start = sc_clock_ns(&t->clock);
    SC_TRY(restore(t));
    const sc_event_recovery event = {
        .step = t->committed,
        .steps_lost = reached - t->committed,
        .generation = sc_cluster_generation(t->cluster),
        .rejoin_seconds = rejoin_seconds,
        .load_seconds = sc_clock_seconds_since(&t->clock, start),
    };
    sc_trainer_check_event(sc_event_log_recovery(t->events, &event));
    sc_progress_note(t->progress,
                     "going on after step %" PRId64 ": %" PRId64 " steps are repeated, workers back in %.2f s",
                     t->committed, event.steps_lost, event.rejoin_seconds + event.load_seconds);
    return SC_OK;
}

static sc_status train_and_keep_weights(sc_trainer *t)
{
    sc_status status = sc_trainer_train(t);
    if (status != SC_OK)
        return SC_FAIL(status, "in step %" PRId64 ": %s", t->committed + 1, sc_status_message());
    return sc_weights_save(t->cluster, &t->model, sc_corpus_tokenizer(t->corpus), t->committed,
                           sc_run_dir_path(t->dir, "final"));
}

/* Trains to the end, weights and all, whatever workers are lost on the way; gives up after recovery.max_attempts losses
 * without progress. */
static sc_status train_through(sc_trainer *t)
{
    int64_t best = t->committed;
    int64_t attempts = 0;
    sc_status status = restore(t);
    for (;;) {
        if (status == SC_OK)
            status = train_and_keep_weights(t);
        if (status == SC_OK || !sc_cluster_can_recover(t->cluster))
            return status;
        if (t->committed > best)
            attempts = 0;
        best = t->committed > best ? t->committed : best;
        if (++attempts > t->config->recovery.max_attempts)
            return SC_FAIL(status,
                           "%" PRId64 " losses of workers in a row without a step in between "
                           "(recovery.max_attempts); the last: %s",
                           attempts, sc_status_message());
        status = recover(t, best);
    }
}

/* --- the run --------------------------------------------------------------------------------------------------------- */

/* Whether the weights of the last step lie in final/ already. */
static bool is_complete(sc_trainer *t)
{
    sc_safetensors *file = NULL;
    if (t->committed < t->config->train.steps ||
        sc_safetensors_open(sc_run_dir_path(t->dir, "final/model.safetensors"), &file) != SC_OK)
        return false;
    const char *step = sc_safetensors_metadata(file, "step");
    bool complete = step && strtoll(step, NULL, 10) == t->committed;
    sc_safetensors_close(&file);
    return complete;
}

static sc_status run(sc_trainer *t)
{
    SC_TRY(prepare(t));
    const char *final = sc_run_dir_path(t->dir, "final");
    if (is_complete(t)) {
        sc_progress_note(t->progress,
                         "all %" PRId64 " steps are done already; the weights are in %s; a larger train.steps "
                         "goes on, --fresh --force begins anew",
                         t->committed, final);
        return SC_OK;
    }
    sc_status status = gather(t);
    if (status == SC_CANCELLED) { /* an orderly stop: nothing has been done that could be lost */
        sc_progress_note(t->progress, "stopped before step %" PRId64 ": the workers had not come yet",
                         t->committed + 1);
        return SC_OK;
    }
    SC_TRY(status);
    status = train_through(t);
    if (t->stopped_waiting) {
        sc_progress_note(t->progress,
                         "stopped while lost workers had not come back: the newest checkpoint is of step %" PRId64
                         ", and the run can go on from there",
                         t->committed);
        return SC_OK;
    }
    SC_TRY(status);
    if (t->committed < t->config->train.steps)
        sc_progress_note(t->progress, "stopped after step %" PRId64 " of %" PRId64, t->committed,
                         t->config->train.steps);
    char duration[32];
    sc_progress_duration(sc_clock_seconds_since(&t->clock, t->start_ns), duration, sizeof duration);
    sc_progress_note(t->progress, "%" PRId64 " steps in %s; the weights are in %s", t->committed, duration, final);
    return SC_OK;
}

static void clear(sc_trainer *t, sc_status status)
{
    char message[1024];
    snprintf(message, sizeof message, "%s", status == SC_OK ? "" : sc_status_message());
    if (t->cluster)
        sc_cluster_release(t->cluster, status == SC_OK ? "the run has ended" : "the run has failed");
    if (t->events)
        sc_trainer_check_event(sc_event_log_run_finished(t->events, t->committed, status, message,
                                                         sc_clock_seconds_since(&t->clock, t->start_ns)));
    sc_saver_destroy(&t->saver);
    sc_local_workers_destroy(&t->local);
    sc_cluster_destroy(&t->cluster);
    sc_progress_destroy(&t->progress);
    sc_event_log_close(&t->events);
    sc_run_dir_close(&t->dir);
    for (int i = 0; i < SC_N_PLANS; i++)
        sc_plan_destroy(&t->plans[i]);
    sc_hf_weights_close(&t->init);
    sc_manifest_clear(&t->manifest);
    free(t->checkpoint);
    sc_corpus_destroy(&t->corpus);
    free(t->slices);
    free(t->tokens);
    free(t->targets);
    free(t->stage_events);
    free(t->busy);
    if (status != SC_OK)
        (void)SC_FAIL(status, "%s", message); /* what came in between may have left its own */
}

sc_status sc_trainer_run(const sc_trainer_options *options)
{
    sc_trainer t = {
        .options = options,
        .config = options->config,
        .clock = sc_clock_system(),
        .S = (int)options->config->pipeline.workers,
        .B = (int)options->config->train.micro_batch_size,
        .T = sc_config_sequence_length(options->config),
        .M = sc_config_n_microbatches(options->config),
        .next_sequence = 1,
    };
    t.start_ns = sc_clock_ns(&t.clock);
    sc_status status = run(&t);
    clear(&t, status);
    return status;
}
