#include "coordinator/status/metrics.h"

#include "coordinator/status/views.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stddef.h>
#include <stdlib.h>

static void head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP stagecoach_%s %s\n# TYPE stagecoach_%s %s\n", name, help, name, type);
}

static const char *number(double value, char text[32])
{
    if (isnan(value))
        return "NaN";
    if (isinf(value))
        return value > 0 ? "+Inf" : "-Inf";
    snprintf(text, 32, "%.12g", value);
    return text;
}

static void single(FILE *out, const char *name, const char *type, const char *help, double value)
{
    char text[32];
    head(out, name, type, help);
    fprintf(out, "stagecoach_%s %s\n", name, number(value, text));
}

static void counter(FILE *out, const char *name, const char *help, uint64_t value)
{
    head(out, name, "counter", help);
    fprintf(out, "stagecoach_%s %" PRIu64 "\n", name, value);
}

static void sample(FILE *out, const char *name, const char *label, const char *word, double value)
{
    char text[32];
    fprintf(out, "stagecoach_%s{%s=\"%s\"} %s\n", name, label, word, number(value, text));
}

static void stage_sample(FILE *out, const char *name, int stage, const char *more, double value)
{
    char text[32];
    fprintf(out, "stagecoach_%s{stage=\"%d\"%s} %s\n", name, stage, more, number(value, text));
}

static void write_run(FILE *out, const sc_board_view *v)
{
    head(out, "build_info", "gauge", "The version of the coordinator; always 1.");
    fprintf(out, "stagecoach_build_info{version=\"%s\"} 1\n", v->version);
    head(out, "run_state", "gauge", "1 for the state that the run is in.");
    for (int i = 0; i < SC_BOARD_N_STATES; i++)
        sample(out, "run_state", "state", sc_board_state_name((sc_board_state)i), v->state == (sc_board_state)i);
    single(out, "start_time_seconds", "gauge", "When the coordinator started, since 1970.", v->start_time);
    single(out, "generation", "gauge", "Raised at each assignment of the workers.", (double)v->generation);
    single(out, "committed_step", "gauge", "The last optimizer step that all stages have applied.", (double)v->step);
    single(out, "target_step", "gauge", "The last step of the run.", (double)v->steps);
    single(out, "loss", "gauge", "Training loss of the last step, nats for each target.", v->loss);
    single(out, "validation_loss", "gauge", "Loss of the last validation, nats for each target.", v->eval_loss);
    head(out, "validation_score", "gauge", "Numbers of the last validation.");
    for (int i = 0; i < v->n_scores; i++)
        sample(out, "validation_score", "score", v->scores[i].name, v->scores[i].value);
    single(out, "grad_norm", "gauge", "Global norm of the last step's gradient, before clipping.", v->grad_norm);
    single(out, "learning_rate", "gauge", "Learning rate of the last step.", v->lr);
    single(out, "tokens_per_second", "gauge", "Training throughput over the last steps.",
           (double)v->step_tokens / v->mean_step_seconds);
    single(out, "bubble_ratio", "gauge", "Share of the last step in which stages did not compute.", sc_views_bubble(v));
    counter(out, "steps_total", "Optimizer steps, repeated ones too.", v->steps_total);
    counter(out, "tokens_total", "Tokens trained on, in repeated steps too.", v->tokens_total);
}

static void write_histogram(FILE *out, const sc_board_view *v)
{
    uint64_t n = 0;
    char text[32];
    head(out, "step_duration_seconds", "histogram", "How long a step took.");
    for (int i = 0; i < SC_BOARD_BUCKETS; i++) {
        n += v->buckets[i];
        fprintf(out, "stagecoach_step_duration_seconds_bucket{le=\"%s\"} %" PRIu64 "\n",
                number(sc_board_bucket_seconds(i), text), n);
    }
    fprintf(out, "stagecoach_step_duration_seconds_sum %s\n", number(v->steps_seconds, text));
    fprintf(out, "stagecoach_step_duration_seconds_count %" PRIu64 "\n", n);
}

/* Of the workers that serve now: another one begins at 0, as a restarted process does. */
static void write_stage_messages(FILE *out, const sc_board_view *v, const sc_board_worker *const *serving)
{
    static const struct {
        const char *name, *label, *help; /* help NULL: as the one before */
        size_t at;
    } counts[] = {
        {"stage_messages_total", ",direction=\"received\"", "Messages of the stage's worker, control ones too.",
         offsetof(sc_message_counts, received)},
        {"stage_messages_total", ",direction=\"sent\"", NULL, offsetof(sc_message_counts, sent)},
        {"stage_message_bytes_total", ",direction=\"received\"", "Payloads of these, in shared memory too.",
         offsetof(sc_message_counts, bytes_received)},
        {"stage_message_bytes_total", ",direction=\"sent\"", NULL, offsetof(sc_message_counts, bytes_sent)},
        {"stage_odd_messages_total", ",reason=\"stale\"", "Messages that were dropped or had to be sent once more.",
         offsetof(sc_message_counts, stale)},
        {"stage_odd_messages_total", ",reason=\"duplicate\"", NULL, offsetof(sc_message_counts, duplicate)},
        {"stage_odd_messages_total", ",reason=\"resent\"", NULL, offsetof(sc_message_counts, resent)},
        {"stage_odd_messages_total", ",reason=\"replayed\"", NULL, offsetof(sc_message_counts, replayed)},
    };
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        if (counts[k].help)
            head(out, counts[k].name, "counter", counts[k].help);
        for (int i = 0; i < v->n_stages; i++) {
            const char *messages = serving[i] ? (const char *)&serving[i]->messages : NULL;
            if (messages)
                stage_sample(out, counts[k].name, i, counts[k].label,
                             (double)*(const uint64_t *)(const void *)(messages + counts[k].at));
        }
    }
}

static void write_stages(FILE *out, const sc_board_view *v)
{
    const sc_board_worker *serving[SC_MAX_STAGES] = {NULL};
    for (int i = 0; i < v->n_workers; i++)
        if (v->workers[i].rank >= 0 && v->workers[i].rank < SC_MAX_STAGES)
            serving[v->workers[i].rank] = &v->workers[i];
    head(out, "stage_up", "gauge", "1 while a worker serves the stage.");
    for (int i = 0; i < v->n_stages; i++)
        stage_sample(out, "stage_up", i, "", serving[i] != NULL);
    head(out, "stage_heartbeat_age_seconds", "gauge", "Since the stage's worker was heard of.");
    for (int i = 0; i < v->n_stages; i++)
        if (serving[i])
            stage_sample(out, "stage_heartbeat_age_seconds", i, "", serving[i]->heard_seconds);
    head(out, "stage_time_seconds_total", "counter", "What the stage's time in steps went to; wait: for tensors.");
    for (int i = 0; i < v->n_stages; i++) {
        stage_sample(out, "stage_time_seconds_total", i, ",activity=\"forward\"", v->stages[i].forward_total);
        stage_sample(out, "stage_time_seconds_total", i, ",activity=\"backward\"", v->stages[i].backward_total);
        stage_sample(out, "stage_time_seconds_total", i, ",activity=\"wait\"", v->stages[i].wait_total);
        stage_sample(out, "stage_time_seconds_total", i, ",activity=\"other\"", v->stages[i].other_total);
    }
    head(out, "stage_peak_resident_bytes", "gauge", "Most memory that the worker's process has held.");
    for (int i = 0; i < v->n_stages; i++)
        stage_sample(out, "stage_peak_resident_bytes", i, "", (double)v->stages[i].peak_resident_bytes);
    head(out, "stage_losses_total", "counter", "Workers of this stage that were lost.");
    for (int i = 0; i < v->n_stages; i++)
        stage_sample(out, "stage_losses_total", i, "", (double)v->stages[i].n_losses);
    write_stage_messages(out, v, serving);
}

static void write_workers(FILE *out, const sc_board_view *v)
{
    int spares = 0;
    for (int i = 0; i < v->n_workers; i++)
        spares += v->workers[i].rank < 0;
    single(out, "workers", "gauge", "Members of the run, spares among them.", v->n_workers);
    single(out, "spare_workers", "gauge", "Members that serve no stage.", spares);
    single(out, "wanted_workers", "gauge", "Stages that the run was started for.", v->wanted);
    counter(out, "worker_joins_total", "Worker processes that came, restarted ones too.", v->n_joins);
    counter(out, "worker_losses_total", "Workers that were lost, spares too.", v->n_losses);
    head(out, "messages_total", "counter", "Messages of coordinator and workers that were not simply taken.");
    sample(out, "messages_total", "reason", "stale", (double)v->stale);
    sample(out, "messages_total", "reason", "duplicate", (double)v->duplicate);
    sample(out, "messages_total", "reason", "resent", (double)v->resent);
    sample(out, "messages_total", "reason", "replayed", (double)v->replayed);
    sample(out, "messages_total", "reason", "rejected", (double)v->rejected);
}

static void write_checkpoints(FILE *out, const sc_board_view *v)
{
    const sc_board_checkpoint *last = NULL;
    for (int i = 0; i < v->n_checkpoints; i++)
        if (v->checkpoints[i].complete)
            last = &v->checkpoints[i];
    head(out, "checkpoints_total", "counter", "Checkpoints by how they ended.");
    sample(out, "checkpoints_total", "status", "complete", (double)v->checkpoints_complete);
    sample(out, "checkpoints_total", "status", "failed", (double)v->checkpoints_failed);
    single(out, "checkpoint_seconds_total", "counter", "Time that complete checkpoints took.", v->checkpoints_seconds);
    if (!last)
        return;
    single(out, "checkpoint_last_duration_seconds", "gauge", "Of the newest complete checkpoint.", last->seconds);
    single(out, "checkpoint_last_size_bytes", "gauge", "Of the newest complete checkpoint.", (double)last->bytes);
    single(out, "checkpoint_last_step", "gauge", "Of the newest complete checkpoint.", (double)last->step);
    single(out, "checkpoint_last_success_timestamp_seconds", "gauge", "When it was complete, since 1970.",
           v->checkpoint_time);
}

static void write_recoveries(FILE *out, const sc_board_view *v)
{
    head(out, "recoveries_total", "counter", "Recoveries and planned changes by where the state came from.");
    for (int i = 0; i < SC_BOARD_LEVELS; i++)
        sample(out, "recoveries_total", "level", sc_board_level_name(i), (double)v->recoveries[i]);
    head(out, "recovery_seconds_total", "counter", "Time of recoveries by phase.");
    for (int i = 0; i < SC_BOARD_N_PHASES; i++)
        sample(out, "recovery_seconds_total", "phase", sc_board_phase_name((sc_board_phase)i), v->recovery_seconds[i]);
    counter(out, "repeated_steps_total", "Steps that all stages ran again after a loss.", v->steps_lost);
    counter(out, "replayed_steps_total", "Steps that a lost stage alone ran again.", v->steps_replayed);
}

char *sc_metrics_text(const sc_board_view *view, uint64_t n_requests)
{
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    if (!out)
        return NULL;
    write_run(out, view);
    write_histogram(out, view);
    write_stages(out, view);
    write_workers(out, view);
    write_checkpoints(out, view);
    write_recoveries(out, view);
    counter(out, "http_requests_total", "Requests that the status server has answered.", n_requests);
    const bool broken = ferror(out) != 0;
    if (fclose(out) == 0 && !broken)
        return text;
    free(text);
    return NULL;
}
