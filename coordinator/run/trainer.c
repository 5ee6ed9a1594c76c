#include "coordinator/run/lineage.h"
#include "coordinator/run/trainer_internal.h"

#include "coordinator/schedule/partition.h"
#include "coordinator/schedule/schedule.h"
#include "proto/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SC_LOG_SUBSYSTEM "trainer"

enum { MOST_STEPS = 1000000000 }; /* as of train.steps */

/* --- callbacks ----------------------------------------------------------------------------------------------------- */

static void on_tick(void *context)
{
    sc_trainer *t = context;
    for (int i = 0; t->progress && i < t->S; i++) {
        const sc_member *m = sc_roster_ranked(sc_cluster_roster(t->cluster), i);
        sc_progress_doing(t->progress, i, m ? m->doing : "idle");
    }
    sc_trainer_show(t);
    if (t->saver)
        (void)sc_saver_turn(t->saver); /* an error is the cluster's own, which keeps it */
}

static void on_saved(void *context, const sc_saved *saved)
{
    sc_trainer *t = context;
    const sc_event_checkpoint event = {saved->step, saved->status, saved->message,
                                       saved->path, saved->bytes,  saved->seconds};
    sc_trainer_check_event(sc_event_log_checkpoint(t->events, &event));
    if (saved->status == SC_OK) {
        t->saved = saved->step;
        sc_run_state_saved(t->state, (uint64_t)saved->step);
    }
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

int sc_trainer_plan_of_evaluation(const sc_trainer *t, int n_microbatches)
{
    for (int i = SC_PLAN_OF_STEPS + 1; i < t->n_plans; i++)
        if (t->plans[i]->n_microbatches == n_microbatches)
            return i;
    return -1;
}

static sc_status cut(void *context, int n_ranks, sc_slice *slices)
{
    const sc_trainer *t = context;
    return sc_partition_by_cost(&t->model, n_ranks, t->B, t->T, slices);
}

sc_status sc_trainer_make_plans(sc_trainer *t, int S)
{
    sc_slice slices[SC_MAX_STAGES];
    bool tied = sc_model_exchanges_tied(&t->model);
    sc_schedule_kind kind = (sc_schedule_kind)t->config->pipeline.schedule;
    const int M = sc_feed_n_microbatches(t->feed, (sc_feed_item){.split = SC_SPLIT_TRAIN});
    for (int i = 0; i < SC_MAX_PLANS; i++)
        sc_plan_destroy(&t->plans[i]);
    SC_TRY(cut(t, S, slices)); /* more workers than blocks are told here */
    SC_TRY(sc_schedule_make_frozen(kind, S, 1, M, tied, sc_model_frozen_stages(&t->model, slices, S),
                                   &t->plans[SC_PLAN_OF_STEPS]));
    t->n_plans = 1;
    for (sc_data_split split = SC_SPLIT_TRAIN + 1; split < SC_N_SPLITS; split++) {
        const uint64_t n = sc_feed_n_items(t->feed, split), rounds[] = {0, n - 1}; /* all others are as the first */
        for (int i = 0; n > 0 && i < 2; i++) {
            const int size = sc_feed_n_microbatches(t->feed, (sc_feed_item){split, rounds[i]});
            if (sc_trainer_plan_of_evaluation(t, size) >= 0)
                continue;
            SC_TRY(sc_schedule_make(kind, S, 1, size, SC_PLAN_FORWARD, tied, &t->plans[t->n_plans]));
            t->n_plans++;
        }
    }
    for (int i = 0; i < t->n_plans; i++)
        SC_TRY(sc_plan_validate(t->plans[i], tied));
    return SC_OK;
}

sc_status sc_trainer_find_checkpoint(sc_trainer *t)
{
    free(t->checkpoint);
    t->checkpoint = NULL;
    sc_manifest_clear(&t->manifest);
    t->saved = 0;
    if (t->state)
        sc_run_state_unsaved(t->state);
    sc_status status = sc_checkpoint_newest(sc_run_dir_root(t->dir), &t->checkpoint, &t->manifest);
    if (status == SC_NOT_FOUND)
        return SC_OK;
    SC_TRY(status);
    t->saved = t->manifest.step;
    if (t->state)
        sc_run_state_saved(t->state, (uint64_t)t->saved);
    return sc_resume_check(&t->manifest, &t->identity);
}

/* Workers that are the coordinator's own end with it, and their memories too: the others find their run again by this. */
static sc_status open_lineage(sc_trainer *t)
{
    if (t->options->listen)
        return sc_lineage_load(sc_run_dir_path(t->dir, "lineage"), sc_lineage_fingerprint(&t->identity), &t->lineage);
    return sc_lineage_new(&t->lineage);
}

/* How many steps the run has. */
static sc_status set_course(sc_trainer *t)
{
    const sc_config *c = t->config;
    t->epoch_steps = (int64_t)sc_feed_n_items(t->feed, SC_SPLIT_TRAIN);
    t->steps = c->train.steps;
    if (c->train.epochs == 0)
        return SC_OK;
    if (c->train.epochs > MOST_STEPS / t->epoch_steps)
        return SC_FAIL(SC_INVALID,
                       "%s: train.epochs: %" PRId64 " epochs of %" PRId64 " steps; allowed: %d steps together", c->path,
                       c->train.epochs, t->epoch_steps, MOST_STEPS);
    t->steps = c->train.epochs * t->epoch_steps;
    if (c->train.warmup_steps + c->train.decay_steps > t->steps)
        return SC_FAIL(SC_INVALID,
                       "%s: train.warmup_steps: %" PRId64 " warm-up and %" PRId64 " decay steps in a run of %" PRId64
                       " steps, which is what the epochs are; allowed: together at most as many",
                       c->path, c->train.warmup_steps, c->train.decay_steps, t->steps);
    return SC_OK;
}

/* A head that was trained for the task before begins as it is, whatever its labels were. */
static void compare_labels(const sc_trainer *t)
{
    const sc_labels *ours = sc_feed_labels(t->feed);
    sc_labels theirs = {0};
    sc_model model;
    if (ours && sc_hf_config_load(t->config->model.init, &model) == SC_OK && model.task == t->model.task &&
        sc_hf_config_load_labels(t->config->model.init, &theirs) == SC_OK && theirs.n == ours->n)
        for (int32_t i = 0; i < ours->n; i++)
            if (strcmp(ours->names[i], theirs.names[i]) != 0) {
                SC_WARN("the head in %s was trained for other labels, or in another order: its number %d is '%.64s', "
                        "that of the "
                        "data '%.64s'; it begins as it is",
                        t->config->model.init, i, theirs.names[i], ours->names[i]);
                break;
            }
    sc_labels_clear(&theirs);
}

static sc_status open_init(sc_trainer *t)
{
    const int vocab = sc_tokenizer_vocab(sc_feed_tokenizer(t->feed));
    if (vocab < t->model.vocab && t->model.family == SC_BERT)
        SC_WARN("the vocabulary has %d tokens, the model in %s %d: is it the model's own (data.tokenizer)?", vocab,
                t->config->model.init, t->model.vocab);
    SC_TRY(sc_hf_weights_open(t->config->model.init, &t->model, &t->init));
    sc_hf_weights_draw(t->init, t->identity.seed);
    compare_labels(t);
    return SC_OK;
}

/* Texts that lose their end are told: they may need a longer row. */
static void tell_cut_texts(sc_trainer *t)
{
    for (sc_data_split split = 0; split < SC_N_SPLITS; split++) {
        const sc_examples *examples = sc_feed_examples(t->feed, split);
        if (examples && sc_examples_n_cut(examples) > 0)
            sc_progress_note(t->progress, "%zu of %zu %s texts are longer than %d tokens and are cut",
                             sc_examples_n_cut(examples), sc_examples_n(examples), sc_data_split_name(split),
                             sc_config_sequence_length(t->config));
    }
}

static sc_status prepare(sc_trainer *t)
{
    SC_TRY(sc_feed_open(t->config, &t->feed));
    t->B = sc_feed_most_rows(t->feed);
    t->T = sc_feed_longest(t->feed);
    SC_TRY(set_course(t));
    SC_TRY(sc_config_model(t->config, sc_tokenizer_vocab(sc_feed_tokenizer(t->feed)), sc_feed_n_labels(t->feed),
                           &t->model));
    SC_TRY(sc_trainer_make_plans(t, t->S));

    t->identity = (sc_run_identity){.model = t->model, .seed = (uint64_t)t->config->run.seed, .config = t->config};
    SC_TRY(sc_feed_hash(t->feed, &t->identity.data_hash));
    const char *moved_to;
    SC_TRY(sc_run_dir_open(t->config, t->options->run_dir_mode, &t->dir, &moved_to));
    SC_TRY(sc_trainer_find_checkpoint(t));
    t->committed = t->saved;
    t->choice = (sc_best){.metric = t->config->train.best_metric};
    if (t->checkpoint && t->manifest.best.metric == t->choice.metric)
        t->choice = t->manifest.best;
    SC_TRY(sc_trainer_open_scorers(t));
    SC_TRY(open_lineage(t));
    if (t->config->model.init && !t->checkpoint) /* before anybody waits for workers: what it lacks is told at once */
        SC_TRY(open_init(t));
    SC_TRY(sc_run_dir_write_config(t->dir, t->config));
    SC_TRY(sc_event_log_open(sc_run_dir_path(t->dir, "events.jsonl"), &t->events));
    sc_progress_options progress = {.fd = STDOUT_FILENO, .clock = t->clock, .steps = t->steps, .n_stages = t->S};
    SC_TRY(sc_progress_new(&progress, &t->progress));
    SC_TRY(sc_trainer_open_status(t));
    if (moved_to[0])
        sc_progress_note(t->progress, "an earlier run in %s was moved to %s", t->config->run.dir, moved_to);

    sc_event_run run = {
        .config = t->config,
        .workers = t->S,
        .vocab = t->model.vocab,
        .parameters = sc_model_n_elements(&t->model),
        .train_tokens = sc_feed_n_tokens(t->feed, SC_SPLIT_TRAIN),
        .validation_tokens = sc_feed_n_tokens(t->feed, SC_SPLIT_VALIDATION),
        .steps = t->steps,
        .first_step = t->committed + 1,
    };
    sc_trainer_check_event(sc_event_log_run_started(t->events, &run));
    char parameters[32], n_tokens[32];
    sc_progress_note(t->progress,
                     "%s parameters, %s training tokens, vocabulary %d, %d stage%s, schedule %s, run directory %s",
                     sc_progress_count((double)run.parameters, parameters, sizeof parameters),
                     sc_progress_count((double)run.train_tokens, n_tokens, sizeof n_tokens), run.vocab, t->S,
                     t->S == 1 ? "" : "s", t->plans[SC_PLAN_OF_STEPS]->schedule, t->config->run.dir);
    tell_cut_texts(t);
    if (t->checkpoint)
        sc_progress_note(t->progress, "going on after step %" PRId64 ", from %s", t->committed, t->checkpoint);
    return SC_OK;
}

/* The cluster, the saver and the run's state, and the first workers. */
static sc_status open_cluster(sc_trainer *t)
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
        .restarts = (int)t->config->recovery.max_attempts,
        .on_joined = sc_trainer_on_joined,
        .on_lost = sc_trainer_on_lost,
        .on_drain = sc_trainer_on_drain,
    };
    SC_TRY(sc_cluster_new(&cluster, &t->cluster));
    sc_run_settings settings = {
        .wanted = t->S,
        .n_blocks = sc_model_n_blocks(&t->model),
        .tied = sc_model_exchanges_tied(&t->model),
        .frozen = t->model.frozen,
        .lineage = t->lineage,
        .wait_ms = (uint64_t)t->config->recovery.wait_ms,
        .peer_every = t->config->recovery.peer_every,
        .resumes = !t->local, /* local ones are all started at once */
        .seed_start = !t->config->model.init,
        .context = t,
        .cut = cut,
    };
    SC_TRY(sc_run_state_new(&settings, sc_cluster_roster(t->cluster), &t->state));
    if (t->checkpoint)
        sc_run_state_saved(t->state, (uint64_t)t->saved);
    sc_trainer_begin_waiting(t);
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
        .tokenizer = sc_feed_tokenizer(t->feed),
        .labels = sc_feed_labels(t->feed),
        .shared = sc_run_dir_shared(t->dir),
        .token = sc_run_dir_token(t->dir),
        .keep = (int)t->config->checkpoint.keep,
        .context = t,
        .on_saved = on_saved,
    };
    SC_TRY(sc_saver_new(&saver, &t->saver));
    sc_saver_pin(t->saver, t->choice.step);
    return SC_OK;
}

/* --- the run --------------------------------------------------------------------------------------------------------- */

static sc_status run(sc_trainer *t)
{
    SC_TRY(prepare(t));
    const char *final = sc_run_dir_path(t->dir, "final");
    if (sc_trainer_is_complete(t)) {
        sc_progress_note(t->progress,
                         "all %" PRId64 " steps are done already; the weights are in %s; a larger %s goes on, --fresh "
                         "--force begins anew",
                         t->committed, final,
                         sc_trainer_is_over(t)         ? "train.patience"
                         : t->config->train.epochs > 0 ? "train.epochs"
                                                       : "train.steps");
        return SC_OK;
    }
    SC_TRY(open_cluster(t));
    SC_TRY(sc_trainer_drive(t));
    if (t->stopped_waiting && sc_run_state_n_ranks(t->state) == 0) { /* nothing has been done that could be lost */
        sc_progress_note(t->progress, "stopped before step %" PRId64 ": the workers had not come yet",
                         t->committed + 1);
        return SC_OK;
    }
    if (t->stopped_waiting) {
        t->committed = t->saved;
        sc_progress_note(t->progress,
                         "stopped while lost workers had not come back: the newest checkpoint is of step %" PRId64
                         ", and the run can go on from there",
                         t->saved);
        return SC_OK;
    }
    if (t->committed < t->steps && !sc_trainer_is_over(t))
        sc_progress_note(t->progress, "stopped after step %" PRId64 " of %" PRId64, t->committed, t->steps);
    char duration[32];
    sc_progress_duration(sc_clock_seconds_since(&t->clock, t->start_ns), duration, sizeof duration);
    char best[64] = "the weights";
    if (t->final_step != t->committed)
        snprintf(best, sizeof best, "the weights of step %" PRId64 ", the best,", t->final_step);
    sc_progress_note(t->progress, "%" PRId64 " steps in %s; %s are in %s", t->committed, duration, best, final);
    return SC_OK;
}

static void clear(sc_trainer *t, sc_status status)
{
    char message[1024];
    snprintf(message, sizeof message, "%s", status == SC_OK ? "" : sc_status_message());
    if (t->cluster)
        sc_cluster_release(t->cluster, status == SC_OK ? "the run has ended" : "the run has failed");
    sc_event_messages messages = sc_trainer_messages(t);
    if (messages.stale + messages.duplicate + messages.resent + messages.replayed + messages.rejected > 0)
        sc_progress_note(t->progress,
                         "messages: %" PRIu64 " stale, %" PRIu64 " duplicate, %" PRIu64 " resent, %" PRIu64
                         " replayed, %" PRIu64 " rejected",
                         messages.stale, messages.duplicate, messages.resent, messages.replayed, messages.rejected);
    if (t->events)
        sc_trainer_check_event(sc_event_log_run_finished(t->events, t->committed, status, message,
                                                         sc_clock_seconds_since(&t->clock, t->start_ns), &messages));
    sc_trainer_close_status(t);
    if (t->cluster && status == SC_OK)
        unlink(sc_run_dir_path(t->dir, "lineage")); /* the workers' memories went with them */
    sc_saver_destroy(&t->saver);
    sc_run_state_destroy(&t->state);
    sc_local_workers_destroy(&t->local);
    sc_cluster_destroy(&t->cluster);
    sc_progress_destroy(&t->progress);
    sc_event_log_close(&t->events);
    sc_run_dir_close(&t->dir);
    for (int i = 0; i < SC_MAX_PLANS; i++)
        sc_plan_destroy(&t->plans[i]);
    sc_hf_weights_close(&t->init);
    sc_manifest_clear(&t->manifest);
    free(t->checkpoint);
    for (int i = 0; i < SC_N_SPLITS; i++)
        sc_scorer_destroy(&t->scorers[i]);
    sc_feed_destroy(&t->feed);
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
        .next_sequence = 1,
    };
    t.start_ns = sc_clock_ns(&t.clock);
    sc_status status = run(&t);
    clear(&t, status);
    return status;
}
