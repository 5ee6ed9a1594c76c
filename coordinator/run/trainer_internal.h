/* What the files of the trainer share: trainer.c (the run from its data to its weights), trainer_recovery.c (the orders of the
 * run's state, carried out: workers gathered, assigned, brought to a step), trainer_steps.c (steps, the rounds of evaluations,
 * snapshots and checkpoints between them), trainer_eval.c (what an evaluation says, and what is the best), trainer_finish.c (the
 * test, and what a run leaves), trainer_report.c (what a person and events.jsonl are told of the workers), trainer_status.c
 * (what the status server shows, and operators ask for). */
#ifndef SC_TRAINER_INTERNAL_H
#define SC_TRAINER_INTERNAL_H

#include "coordinator/data/feed.h"
#include "coordinator/run/event_log.h"
#include "coordinator/run/local_workers.h"
#include "coordinator/run/progress.h"
#include "coordinator/run/resume.h"
#include "coordinator/run/run_dir.h"
#include "coordinator/run/run_state.h"
#include "coordinator/run/saver.h"
#include "coordinator/run/trainer.h"
#include "coordinator/run/scorer.h"
#include "coordinator/run/step_sequence.h"
#include "coordinator/run/verdict.h"
#include "coordinator/run/weights.h"
#include "coordinator/status/http_server.h"
#include "coordinator/status/kubeflow.h"
#include "coordinator/status/tensorboard.h"

/* The first plan is that of a step; the others run forward only, one for each number of micro-batches that a round of an
 * evaluation has: those of a split and of its last round. */
enum { SC_PLAN_OF_STEPS, SC_MAX_PLANS = 1 + 2 * (SC_N_SPLITS - 1) };

enum { SC_TRAINER_SNAPSHOTS = 8 }; /* that are remembered until all ranks have answered: far more than are in flight */

/* What is told of a recovery, or of a planned change, when it is over. */
typedef struct sc_trainer_change {
    const char *cause; /* NULL: none is in progress */
    int64_t reached;   /* the last step that was committed before */
    double detect_seconds, replace_seconds, load_seconds, replay_seconds;
    uint64_t phase_ns; /* when the phase in progress began */
} sc_trainer_change;

/* The counters of a worker's node, as it told them last. */
typedef struct sc_trainer_counts {
    uint64_t id;
    sc_message_counts messages;
} sc_trainer_counts;

/* The last step whose verdict was given, until it is told to be committed. */
typedef struct sc_trainer_decision {
    int64_t step; /* 0: none */
    double loss, grad_norm, lr;
    int64_t tokens;
} sc_trainer_decision;

typedef struct sc_trainer {
    const sc_trainer_options *options;
    const sc_config *config;
    sc_clock clock;
    int S;                      /* ranks of the present assignment; those that are wanted before there is one */
    int B, T;                   /* what no micro-batch exceeds */
    int64_t steps, epoch_steps; /* of the run, and of an epoch */

    sc_feed *feed;
    sc_model model;
    sc_hf_weights *init; /* model.init, NULL: none */
    sc_run_dir *dir;
    sc_event_log *events;
    sc_progress *progress;
    sc_local_workers *local; /* NULL with `serve` */
    sc_cluster *cluster;
    sc_saver *saver;
    sc_run_state *state; /* of `cluster`'s roster */
    uint64_t lineage;
    sc_plan *plans[SC_MAX_PLANS]; /* for S ranks */
    int n_plans;
    sc_assignment assignment;
    uint64_t buddies[SC_MAX_STAGES];
    sc_event_stage stage_events[SC_MAX_STAGES]; /* of the last step */
    double busy[SC_MAX_STAGES];

    uint64_t start_ns, commit_ns; /* of the run; of the last commit or evaluation */
    sc_run_identity identity;
    char *checkpoint;       /* the newest set, NULL: none */
    sc_manifest manifest;   /* of that set */
    int64_t committed;      /* the last step that all stages have applied */
    int64_t evaluated;      /* the last step whose evaluation is done */
    double step_seconds;    /* of the last step; 0 before there was one */
    int64_t saved;          /* the last step whose checkpoint is complete */
    uint64_t next_sequence; /* of the items: never one that was used */
    sc_trainer_decision decision;
    sc_scorer *scorers[SC_N_SPLITS]; /* NULL: there is no such split */
    sc_best choice;                  /* by train.best_metric */
    int64_t final_step;              /* of the weights in final/ */
    bool finished;                   /* all steps are done, or the run was stopped in order; the weights are kept */
    bool stopped_waiting;            /* a stop was asked for while workers were missing */
    int64_t attempts, best;          /* recoveries in a row without a step beyond `best` */
    uint64_t waiting_since_ms;       /* for workers to come; */
    uint64_t remind_ms;              /* how long a run that has begun waits until it says so (again) */
    uint64_t n_losses;               /* of members, spares too */

    sc_run_snapshot snapshots[SC_TRAINER_SNAPSHOTS]; /* by number, in turn */
    uint64_t n_snapshots;
    int n_made;                        /* ranks whose last snapshot is made */
    uint64_t announced[SC_MAX_STAGES]; /* members that were told to serve, by rank */
    sc_trainer_change change;
    sc_trainer_counts counts[SC_MAX_STAGES]; /* by rank */

    sc_tensorboard *tensorboard; /* NULL: nobody wants it */
    sc_kubeflow *kubeflow;       /* NULL: this is no pod of a TrainJob */
    sc_board *board;             /* NULL: nobody looks on */
    sc_http_server *http;
    sc_board_worker *shown;    /* [SC_BOARD_WORKERS], put together here */
    uint64_t shown_ms;         /* when the board was told last */
    uint64_t shown_generation; /* of the schedule that it has */
    bool pauses, wants_save;   /* asked for by an operator */
    bool holds;                /* at a step's end, for a pause */
    bool stop_sent;
    sc_event_messages messages; /* of workers that serve no more */
} sc_trainer;

/* ---- trainer.c ---- */

/* The newest set that checks out becomes `checkpoint`, and the state is told of it. */
sc_status sc_trainer_find_checkpoint(sc_trainer *self);
/* The plans for S ranks. */
sc_status sc_trainer_make_plans(sc_trainer *self, int S);
/* The plan of a round of so many micro-batches; -1: there is none. */
int sc_trainer_plan_of_evaluation(const sc_trainer *self, int n_microbatches);

/* ---- trainer_recovery.c ---- */

/* Workers are waited for from now on. */
void sc_trainer_begin_waiting(sc_trainer *self);

/* Trains to the end, weights and all, whatever workers are lost on the way; gives up after recovery.max_attempts
 * recoveries without progress. */
sc_status sc_trainer_drive(sc_trainer *self);

/* At a step's end: whether other workers are to serve from now on; then the state has gone to another phase. */
bool sc_trainer_rearrange(sc_trainer *self, bool may_grow);

/* ---- trainer_steps.c ---- */

/* Steps and evaluations behind the committed one: to the end or until a stop is asked for (*done is set), or until the workers
 * are to change (the state is in another phase then). */
sc_status sc_trainer_train(sc_trainer *self, bool *done);
/* The state's `committed` was set anew, by a recovery. */
void sc_trainer_loaded(sc_trainer *self);
/* The checkpoint of a run's end, or of its being stopped, if the config wants one; of a hand-over to nobody in any case. */
sc_status sc_trainer_save_last(sc_trainer *self, bool in_any_case);
/* Tells all ranks to make a snapshot of the decided step. */
sc_status sc_trainer_snapshot(sc_trainer *self, bool as_point);
/* Begins a checkpoint of the state after `step`, whose snapshot comes next. *begun: whether it has, or another is being written
 * still. */
sc_status sc_trainer_begin_save(sc_trainer *self, int64_t step, double spread_seconds, bool *begun);
/* Micro-batches of an item, under this sequence, to the stages that want them; NULL: to all. */
sc_status sc_trainer_send(sc_trainer *self, uint64_t sequence, sc_feed_item item, const bool *wanted);
/* Tells all to run it. step: the optimizer's, or the one after which an evaluation comes. */
sc_status sc_trainer_start(sc_trainer *self, uint64_t sequence, sc_feed_item item, int64_t step);

/* ---- trainer_eval.c ---- */

/* Errors: SC_INVALID for a score that the labels do not have. */
sc_status sc_trainer_open_scorers(sc_trainer *self);
/* Waits for a round of the validation; after the last one tells the scores, and keeps the state if it is the best. */
sc_status sc_trainer_take_round(sc_trainer *self, const sc_step_item *item);
/* Whether train.patience has ended the run. */
bool sc_trainer_is_over(const sc_trainer *self);

/* ---- trainer_finish.c ---- */

/* Whether all that a run leaves is there already. */
bool sc_trainer_is_complete(sc_trainer *self);
/* Of a run that has ended: the best weights, the report on the test or the validation. Of any: the weights go to final/. */
sc_status sc_trainer_finish(sc_trainer *self);

/* ---- trainer_status.c ---- */

/* Starts the status server and the writer of TensorBoard's files, as the config wants them, and reports to Kubeflow, where the
 * environment asks for them. Errors: as sc_http_server_start,
 * where the config names an address; as sc_tensorboard_open. */
sc_status sc_trainer_open_status(sc_trainer *self);
/* Those who watch get the last news. */
void sc_trainer_close_status(sc_trainer *self);
/* Shows how things stand, and takes what operators ask for; at most every 100 ms. */
void sc_trainer_show(sc_trainer *self);
/* At a step's end, with nothing in flight: waits while an operator wants the run to pause. */
sc_status sc_trainer_hold(sc_trainer *self);

/* ---- trainer_report.c ---- */

/* An event that cannot be written is said, once a time it happens, and does not end the run. */
void sc_trainer_check_event(sc_status status);
/* The cluster's callbacks. */
void sc_trainer_on_joined(void *context, const sc_member *member);
void sc_trainer_on_lost(void *context, const sc_loss *loss);
void sc_trainer_on_drain(void *context, const sc_member *member);
/* Who serves which rank from now on, where that is new. */
void sc_trainer_announce(sc_trainer *self);
/* A change has begun; a phase of it has ended, whose time is added to *seconds. */
void sc_trainer_change_begun(sc_trainer *self, const char *cause, double detect_seconds);
void sc_trainer_phase_ended(sc_trainer *self, double *seconds);
/* The change is over: all stages are at `choice`'s step. */
void sc_trainer_change_ended(sc_trainer *self, const sc_recovery_choice *choice);
/* What the workers' nodes counted, with the last step's result. */
void sc_trainer_count(sc_trainer *self, const sc_step_result *result);
/* All messages of the run, coordinator and workers. */
sc_event_messages sc_trainer_messages(const sc_trainer *self);

#endif
