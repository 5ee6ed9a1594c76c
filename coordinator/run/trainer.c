#include "coordinator/run/trainer.h"

#include "coordinator/data/batches.h"
#include "coordinator/run/event_log.h"
#include "coordinator/run/local_workers.h"
#include "coordinator/run/lr_schedule.h"
#include "coordinator/run/progress.h"
#include "coordinator/run/run_dir.h"
#include "coordinator/run/step_sequence.h"
#include "coordinator/run/verdict.h"
#include "coordinator/run/weights.h"
#include "coordinator/schedule/partition.h"
#include "coordinator/schedule/schedule.h"
#include "proto/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SC_LOG_SUBSYSTEM "trainer"

enum { PLAN_TRAIN, PLAN_EVAL, N_PLANS };

typedef struct trainer {
    const sc_trainer_options *options;
    const sc_config *config;
    sc_clock clock;
    int S, B, T, M;

    sc_corpus *corpus;
    sc_batches batches;
    sc_model model;
    sc_hf_weights *init; /* model.init, NULL: none */
    sc_run_dir *dir;
    sc_event_log *events;
    sc_progress *progress;
    sc_local_workers *local; /* NULL with `serve` */
    sc_cluster *cluster;
    sc_plan *plans[N_PLANS];
    sc_assignment assignment;
    sc_slice *slices;             /* [S] */
    int32_t *tokens, *targets;    /* one micro-batch, (B,T) */
    sc_event_stage *stage_events; /* [S] */
    double *busy;                 /* [S] */

    uint64_t start_ns, commit_ns; /* of the run; of the last commit or evaluation */
    int64_t committed;            /* the last step that all stages have applied */
    double eval_sum;              /* of the evaluation in progress: losses of its runs */
} trainer;

/* An event that cannot be written is said, once a time it happens, and does not end the run. */
static void check_event(sc_status status)
{
    if (status != SC_OK)
        SC_WARN("%s", sc_status_message());
}

/* --- callbacks ----------------------------------------------------------------------------------------------------- */

static void on_tick(void *context)
{
    trainer *t = context;
    for (int i = 0; t->progress && i < t->S; i++)
        sc_progress_doing(t->progress, i, sc_cluster_worker_at(t->cluster, i)->doing);
}

static void on_joined(void *context, int rank, const sc_cluster_worker *worker)
{
    trainer *t = context;
    sc_progress_note(t->progress, "worker %d of %d joined: %s, %s, %d thread%s", rank, t->S, worker->name,
                     worker->device, worker->threads, worker->threads == 1 ? "" : "s");
    check_event(sc_event_log_worker_joined(t->events, rank, worker->name, worker->device, worker->threads, 1));
}

/* --- preparation --------------------------------------------------------------------------------------------------- */

static sc_status make_plans(trainer *t)
{
    bool tied = sc_model_tied_param(&t->model) >= 0;
    sc_schedule_kind kind = (sc_schedule_kind)t->config->pipeline.schedule;
    int eval_M = t->batches.eval_microbatches > 0 ? t->batches.eval_microbatches : 1;
    SC_TRY(sc_schedule_make(kind, t->S, 1, t->M, SC_PLAN_TRAIN, tied, &t->plans[PLAN_TRAIN]));
    SC_TRY(sc_schedule_make(kind, t->S, 1, eval_M, SC_PLAN_FORWARD, tied, &t->plans[PLAN_EVAL]));
    SC_TRY(sc_plan_validate(t->plans[PLAN_TRAIN], tied));
    SC_TRY(sc_plan_validate(t->plans[PLAN_EVAL], tied));
    return sc_partition_by_cost(&t->model, t->S, t->B, t->T, t->slices);
}

/* Before anybody waits for workers: a directory that lacks something is told at once. */
static sc_status open_init(trainer *t)
{
    sc_hf_config init;
    SC_TRY(sc_hf_config_load(t->config->model.init, &init));
    init.model = t->model;
    return sc_hf_weights_open(t->config->model.init, &init, &t->init);
}

static sc_status prepare(trainer *t)
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
    if (t->config->model.init)
        SC_TRY(open_init(t));

    const char *moved_to;
    SC_TRY(sc_run_dir_open(t->config, &t->dir, &moved_to));
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
        .first_step = 1,
    };
    check_event(sc_event_log_run_started(t->events, &run));
    char parameters[32], n_tokens[32];
    sc_progress_note(t->progress,
                     "%s parameters, %s training tokens, vocabulary %d, %d stage%s, schedule %s, run directory %s",
                     sc_progress_count((double)run.parameters, parameters, sizeof parameters),
                     sc_progress_count((double)run.train_tokens, n_tokens, sizeof n_tokens), run.vocab, t->S,
                     t->S == 1 ? "" : "s", t->plans[PLAN_TRAIN]->schedule, t->config->run.dir);
    return SC_OK;
}

static sc_status gather(trainer *t)
{
    if (!t->options->listen)
        SC_TRY(sc_local_workers_new(&t->local));
    sc_cluster_options cluster = {
        .clock = t->clock,
        .config = t->config,
        .listen = t->local ? sc_local_workers_endpoint(t->local) : t->options->listen,
        .n_workers = t->S,
        .context = t,
        .on_tick = on_tick,
        .on_joined = on_joined,
    };
    SC_TRY(sc_cluster_new(&cluster, &t->cluster));
    if (t->local)
        SC_TRY(sc_local_workers_start(t->local, t->cluster, &t->clock, t->options->threads,
                                      sc_run_dir_path(t->dir, "logs"), t->options->log_spec, t->config->log.json));
    else
        sc_progress_note(t->progress, "waiting for %d worker%s: stagecoach-worker --coordinator %s", t->S,
                         t->S == 1 ? "" : "s", sc_cluster_endpoint(t->cluster));
    SC_TRY(sc_cluster_gather(t->cluster));
    t->assignment = (sc_assignment){
        .model = t->model,
        .plans = (const sc_plan *const *)t->plans,
        .n_plans = N_PLANS,
        .slices = t->slices,
        .n_slices = t->S,
        .seed = (uint64_t)t->config->run.seed,
        .micro_batch_size = t->B,
        .sequence_length = t->T,
        .fresh = !t->init,
        .train = true,
    };
    SC_TRY(sc_cluster_assign(t->cluster, &t->assignment));
    return t->init ? sc_weights_send(t->cluster, &t->model, t->init) : SC_OK;
}

/* --- steps --------------------------------------------------------------------------------------------------------- */

static int n_microbatches(const trainer *t, const sc_step_item *item)
{
    return item->eval ? t->batches.eval_microbatches : t->M;
}

static uint64_t n_targets(const trainer *t, const sc_step_item *item)
{
    return (uint64_t)n_microbatches(t, item) * (uint64_t)t->B * (uint64_t)t->T;
}

/* Micro-batches of one item, to the first and the last stage. */
static sc_status send_data(trainer *t, const sc_step_item *item)
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

static sc_status start_item(trainer *t, const sc_step_item *item)
{
    return sc_cluster_run(t->cluster, item->sequence, item->eval ? PLAN_EVAL : PLAN_TRAIN, (uint64_t)item->step,
                          n_targets(t, item), false);
}

/* The step is applied everywhere: say so. */
static void commit(trainer *t, const sc_step_item *item, const sc_verdict *verdict, double lr)
{
    uint64_t now = sc_clock_ns(&t->clock);
    double seconds = (double)(now - t->commit_ns) * 1e-9;
    t->commit_ns = now;
    t->committed = item->step;
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
    check_event(sc_event_log_step(t->events, &event));
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

static void take_times(trainer *t, const sc_step_result *result)
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

/* Takes the votes of a training step, gives the verdict, and starts `next` (NULL: none) right behind it. */
static sc_status finish_step(trainer *t, const sc_step_item *item, const sc_step_item *next)
{
    const sc_step_result *result;
    sc_verdict verdict;
    SC_TRY(sc_cluster_wait(t->cluster, item->sequence, &result));
    SC_TRY(sc_verdict_make(result, t->M, n_targets(t, item), sc_model_n_params(&t->model), t->config->train.clip_norm,
                           &verdict));
    take_times(t, result);
    double lr = sc_lr_at(t->config, item->step);
    SC_TRY(sc_cluster_apply(t->cluster, item->sequence, verdict.grad_scale, (float)lr));
    if (next)
        SC_TRY(start_item(t, next));
    SC_TRY(sc_cluster_wait_applied(t->cluster, item->sequence));
    commit(t, item, &verdict, lr);
    return SC_OK;
}

static sc_status finish_eval_run(trainer *t, const sc_step_item *item)
{
    const sc_step_result *result;
    double loss;
    SC_TRY(sc_cluster_wait(t->cluster, item->sequence, &result));
    SC_TRY(sc_verdict_loss(result, n_microbatches(t, item), n_targets(t, item), &loss));
    t->eval_sum = item->run == 0 ? loss : t->eval_sum + loss;
    if (item->run == t->batches.eval_runs - 1) {
        loss = t->eval_sum / t->batches.eval_runs; /* the runs are of equal size */
        check_event(sc_event_log_eval(t->events, item->step, loss));
        sc_progress_eval(t->progress, item->step, loss);
        t->commit_ns = sc_clock_ns(&t->clock); /* an evaluation's time is not the next step's */
    }
    return SC_OK;
}

static sc_status train(trainer *t)
{
    sc_step_sequence sequence = {
        .first_step = 1,
        .steps = t->config->train.steps,
        .eval_every = t->config->train.eval_every,
        .eval_runs = t->batches.eval_runs,
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
            return SC_OK;
        ahead = next;
        have_next = sc_step_sequence_next(&sequence, &ahead);
        if (have_next)
            SC_TRY(send_data(t, &ahead));
        item = next;
        next = ahead;
    }
}

/* --- the run --------------------------------------------------------------------------------------------------------- */

static sc_status run(trainer *t)
{
    SC_TRY(prepare(t));
    SC_TRY(gather(t));
    sc_status status = train(t);
    if (status != SC_OK)
        return SC_FAIL(status, "in step %" PRId64 ": %s", t->committed + 1, sc_status_message());
    if (t->committed < t->config->train.steps)
        sc_progress_note(t->progress, "stopped after step %" PRId64 " of %" PRId64, t->committed,
                         t->config->train.steps);
    const char *final = sc_run_dir_path(t->dir, "final");
    SC_TRY(sc_weights_save(t->cluster, &t->model, sc_corpus_tokenizer(t->corpus), t->committed, final));
    char duration[32];
    sc_progress_duration(sc_clock_seconds_since(&t->clock, t->start_ns), duration, sizeof duration);
    sc_progress_note(t->progress, "%" PRId64 " steps in %s; the weights are in %s", t->committed, duration, final);
    return SC_OK;
}

static void clear(trainer *t, sc_status status)
{
    char message[1024];
    snprintf(message, sizeof message, "%s", status == SC_OK ? "" : sc_status_message());
    if (t->cluster)
        sc_cluster_release(t->cluster, status == SC_OK ? "the run has ended" : "the run has failed");
    if (t->events)
        check_event(sc_event_log_run_finished(t->events, t->committed, status, message,
                                              sc_clock_seconds_since(&t->clock, t->start_ns)));
    sc_local_workers_destroy(&t->local);
    sc_cluster_destroy(&t->cluster);
    sc_progress_destroy(&t->progress);
    sc_event_log_close(&t->events);
    sc_run_dir_close(&t->dir);
    for (int i = 0; i < N_PLANS; i++)
        sc_plan_destroy(&t->plans[i]);
    sc_hf_weights_close(&t->init);
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
    trainer t = {
        .options = options,
        .config = options->config,
        .clock = sc_clock_system(),
        .S = (int)options->config->pipeline.workers,
        .B = (int)options->config->train.micro_batch_size,
        .T = sc_config_sequence_length(options->config),
        .M = sc_config_n_microbatches(options->config),
    };
    t.start_ns = sc_clock_ns(&t.clock);
    sc_status status = run(&t);
    clear(&t, status);
    return status;
}
