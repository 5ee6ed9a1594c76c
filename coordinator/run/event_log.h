/* events.jsonl: what happened in a run, one JSON object a line, for programs to read.
 *
 * Each line has "event" and "time" (UTC, ISO 8601 with milliseconds), then the event's own fields:
 *   run_started    version, config, seed, workers, schedule, vocab, parameters, train_tokens, validation_tokens,
 *                  first_step, steps, batch_size, micro_batch_size, sequence_length
 *   worker_spare   name, device, threads (it joined, and waits for a place)
 *   worker_joined  worker, name, device, threads, generation (it serves under this rank from that generation on)
 *   worker_lost    worker (null: a spare), name, reason, detect_seconds, generation
 *   worker_drain   worker (null: a spare), name, reason
 *   step           step, loss, grad_norm, lr, tokens, step_seconds, tokens_per_second,
 *                  stages: [{stage, forward_seconds, backward_seconds, wait_seconds, peak_resident_bytes}, ...]
 *   eval           step, loss, and the other scores of the validation: perplexity; accuracy, macro_f1, entity_f1 (scorer.h)
 *   best           step, metric, value (the checkpoint of that step is complete, and stays)
 *   test           step (of the weights), loss, and the other scores of the test
 *   checkpoint     step, status, message, path, bytes, seconds
 *   recovery       cause ("loss", "drain", "growth"), level ("replay", "memory", "disk", "start"), step (behind which
 *                  training goes on), steps_lost (run again by all), steps_replayed (by the lost stages alone), workers,
 *                  generation, detect_seconds, replace_seconds, load_seconds, replay_seconds
 *   run_finished   step, status ("OK" or the name of the error), message, seconds, and messages of the coordinator and the
 *                  workers together: stale (of another generation), duplicate, resent (a connection had lost them),
 *                  replayed (to a lost stage, from logs), rejected
 *   events_lost    count: events before this line that could not be written, as on a full disk
 * Steps count from 1; tokens are those of the one step. Scores, loss, grad_norm and lr are rounded to float32 and written with
 * nine digits, so that they read back to the same bits; the other numbers have nine digits too. A number that is not
 * finite, which JSON cannot hold, is null.
 *
 * A line goes out in one write(2) at the end of the file, and one that does not fit is cut off again: each line is whole,
 * and a killed coordinator leaves at most the last one torn, which the next one cuts off.
 *
 * A function that returns an error has left the log usable: the caller says so and goes on with the run. Of failures in a
 * row the first is returned and the rest are counted; when writing works again, events_lost and a warning tell how many.
 * Errors of all: SC_RESOURCE_EXHAUSTED (disk full, no memory), SC_UNAVAILABLE. Thread: one owns it. */
#ifndef SC_EVENT_LOG_H
#define SC_EVENT_LOG_H

#include "coordinator/run/score_list.h"
#include "proto/base/config.h"

typedef struct sc_event_log sc_event_log;

typedef struct sc_event_run {
    const sc_config *config;
    int workers, vocab;
    uint64_t parameters, train_tokens, validation_tokens;
    int64_t steps;      /* of the whole run */
    int64_t first_step; /* 1, or where a resumed run goes on */
} sc_event_run;

typedef struct sc_event_stage {
    double forward_seconds, backward_seconds, wait_seconds;
    uint64_t peak_resident_bytes; /* of its worker's process, so far */
} sc_event_stage;

typedef struct sc_event_step {
    int64_t step;
    double loss, grad_norm, lr;
    int64_t tokens; /* of this step */
    double step_seconds;
    int n_stages;
    const sc_event_stage *stages;
} sc_event_step;

/* Opens for appending, made if it is not there. Returns owned. */
sc_status sc_event_log_open(const char *path, sc_event_log **out);
void sc_event_log_close(sc_event_log **self_p);

/* From now on `listener` gets each event, whether it can be written or not, as an object and as its line without the newline;
 * it borrows both. NULL: nobody. */
struct json_t;
typedef void (*sc_event_listener)(void *context, const struct json_t *event, const char *line);
void sc_event_log_listen(sc_event_log *self, sc_event_listener listener, void *context);

sc_status sc_event_log_run_started(sc_event_log *self, const sc_event_run *run);
sc_status sc_event_log_worker_joined(sc_event_log *self, int worker, const char *name, const char *device, int threads,
                                     uint64_t generation);
sc_status sc_event_log_worker_spare(sc_event_log *self, const char *name, const char *device, int threads);
/* worker -1: a spare. */
sc_status sc_event_log_worker_lost(sc_event_log *self, int worker, const char *name, const char *reason,
                                   double detect_seconds, uint64_t generation);
sc_status sc_event_log_worker_drain(sc_event_log *self, int worker, const char *name, const char *reason);
sc_status sc_event_log_step(sc_event_log *self, const sc_event_step *step);
/* Of the validation, or of the test at the end. */
sc_status sc_event_log_eval(sc_event_log *self, int64_t step, const sc_score_list *scores);
sc_status sc_event_log_test(sc_event_log *self, int64_t step, const sc_score_list *scores);
sc_status sc_event_log_best(sc_event_log *self, int64_t step, const char *metric, double value);
typedef struct sc_event_checkpoint {
    int64_t step;
    sc_status status;
    const char *message, *path; /* message "" if status is SC_OK */
    uint64_t bytes;
    double seconds;
} sc_event_checkpoint;
sc_status sc_event_log_checkpoint(sc_event_log *self, const sc_event_checkpoint *checkpoint);

typedef struct sc_event_recovery {
    const char *cause, *level;
    int64_t step, steps_lost, steps_replayed;
    int workers;
    uint64_t generation;
    double detect_seconds, replace_seconds, load_seconds, replay_seconds;
} sc_event_recovery;
sc_status sc_event_log_recovery(sc_event_log *self, const sc_event_recovery *recovery);
typedef struct sc_event_messages {
    uint64_t stale, duplicate, resent, replayed, rejected;
} sc_event_messages;
/* `step`: the last that was committed, 0 if none was. */
sc_status sc_event_log_run_finished(sc_event_log *self, int64_t step, sc_status status, const char *message,
                                    double seconds, const sc_event_messages *messages);

#endif
