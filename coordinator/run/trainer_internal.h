/* What the files of the trainer share: trainer.c (the run from its data to its weights, losses of workers made good) and
 * trainer_steps.c (steps, evaluations, checkpoints on the way). */
#ifndef SC_TRAINER_INTERNAL_H
#define SC_TRAINER_INTERNAL_H

#include "coordinator/data/batches.h"
#include "coordinator/run/event_log.h"
#include "coordinator/run/local_workers.h"
#include "coordinator/run/progress.h"
#include "coordinator/run/resume.h"
#include "coordinator/run/run_dir.h"
#include "coordinator/run/saver.h"
#include "coordinator/run/trainer.h"
#include "coordinator/run/weights.h"

enum { SC_PLAN_OF_STEPS, SC_PLAN_OF_EVALUATIONS, SC_N_PLANS };

typedef struct sc_trainer {
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
    sc_saver *saver;
    sc_plan *plans[SC_N_PLANS];
    sc_assignment assignment;
    sc_slice *slices;             /* [S] */
    int32_t *tokens, *targets;    /* one micro-batch, (B,T) */
    sc_event_stage *stage_events; /* [S] */
    double *busy;                 /* [S] */

    uint64_t start_ns, commit_ns; /* of the run; of the last commit or evaluation */
    sc_run_identity identity;
    char *checkpoint;       /* the newest set, NULL: none */
    sc_manifest manifest;   /* of that set */
    int64_t committed;      /* the last step that all stages have applied */
    double step_seconds;    /* of the last step; 0 before there was one */
    int64_t saved;          /* the last step whose checkpoint is complete */
    bool stopped_waiting;   /* a stop was asked for while lost workers had not come back */
    uint64_t next_sequence; /* of the items: never one that was used */
    double eval_sum;        /* of the evaluation in progress: losses of its runs */
} sc_trainer;

/* An event that cannot be written is said, once a time it happens, and does not end the run. */
void sc_trainer_check_event(sc_status status);
/* Steps and evaluations behind the committed one, to the end or until a stop is asked for. */
sc_status sc_trainer_train(sc_trainer *self);

#endif
