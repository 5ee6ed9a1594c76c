/* The board: what is known of a run, for those who look on.
 *
 * Mental model. The run's thread pins up what happens: events as events.jsonl has them, and several times a second who the
 * workers are and what they do. Others (the HTTP server's thread) take copies, and leave requests that the run's thread
 * collects at a step's end. Each function holds one lock for as long as it copies, microseconds, so neither side waits for
 * the other; nobody builds a text under the lock. Memory does not grow: steps are a history that is thinned, of events
 * and checkpoints the newest are kept.
 *
 * Invariants
 *  1. Ids of events rise by one from 1, and are never used again; steps are no events here, they are the history.
 *  2. `revision` rises with everything that a copy would show differently, except the age of a heartbeat.
 *  3. A request that was accepted is handed out once; pausing is a state, and is handed out until it is taken back.
 * Thread: any, for all functions but new and destroy. */
#ifndef SC_BOARD_H
#define SC_BOARD_H

#include "coordinator/run/message_counts.h"
#include "coordinator/status/history.h"
#include "proto/base/clock.h"
#include "proto/base/legend.h"

#include <jansson.h>
#include <stdbool.h>

enum {
    SC_BOARD_WORKERS = 2 * SC_MAX_STAGES, /* members of a run */
    SC_BOARD_EVENTS = 1024,               /* that are kept */
    SC_BOARD_CHECKPOINTS = 32,            /* that are kept */
    SC_BOARD_BUCKETS = 16,                /* of the steps' lengths */
    SC_BOARD_LEVELS = 4,
    SC_BOARD_SCORES = 16, /* of an evaluation */
};

typedef enum sc_board_state {
    SC_BOARD_STARTING, /* data is loaded; workers have not been asked for yet */
    SC_BOARD_WAITING,  /* for workers */
    SC_BOARD_LOADING,  /* stages are brought to a step */
    SC_BOARD_TRAINING,
    SC_BOARD_PAUSED,     /* at a step's end, on request */
    SC_BOARD_RECOVERING, /* workers were lost, or change */
    SC_BOARD_STOPPING,   /* what is left is saved */
    SC_BOARD_FINISHED,
    SC_BOARD_FAILED,
    SC_BOARD_N_STATES,
} sc_board_state;
/* "training" */
const char *sc_board_state_name(sc_board_state state);

/* A member of the run, as it is now. */
typedef struct sc_board_worker {
    int rank; /* -1: a spare */
    char name[128], device[16];
    char doing[32]; /* an action of the plan, or "idle" */
    bool waiting, draining;
    int threads, first_block, n_blocks;
    double heard_seconds;       /* since it was heard of */
    sc_message_counts messages; /* with the last step's answer */
} sc_board_worker;

typedef struct sc_board_stage {
    double forward_seconds, backward_seconds, wait_seconds; /* of the last step */
    double forward_total, backward_total, wait_total;       /* of all steps that this coordinator has seen */
    double other_total; /* what these leave of the steps' time: the verdict, the update, copies of the state */
    uint64_t peak_resident_bytes;
    uint64_t n_losses; /* of the workers that served it */
} sc_board_stage;

typedef struct sc_board_checkpoint {
    int64_t step;
    bool complete;
    char time[32], path[256], message[256]; /* message: "" if it is complete */
    uint64_t bytes;
    double seconds;
} sc_board_checkpoint;

/* Phases of a recovery, in order. */
typedef enum sc_board_phase {
    SC_BOARD_DETECT,
    SC_BOARD_REPLACE,
    SC_BOARD_LOAD,
    SC_BOARD_REPLAY,
    SC_BOARD_N_PHASES
} sc_board_phase;

/* A number of the last evaluation: "loss", "perplexity", "f1". */
typedef struct sc_board_score {
    char name[48];
    double value; /* NaN: was not finite */
} sc_board_score;

/* A copy of all but events and steps. */
typedef struct sc_board_view {
    uint64_t revision, last_event;
    sc_board_state state;
    char version[32], config[256], dir[256], schedule[32], message[256];
    double start_time, now;                   /* seconds since 1970 */
    double looked_seconds;                    /* since the run's thread came by; below 0: it has not yet */
    int64_t first_step, steps;                /* of the run */
    int64_t step;                             /* committed; first_step - 1 before one was */
    double loss, grad_norm, lr, step_seconds; /* of that step; NaN before there was one */
    double mean_step_seconds;                 /* of the last steps, newer ones weigh more */
    int64_t step_tokens;
    int64_t eval_step; /* 0: none yet */
    double eval_loss;
    int n_scores;
    sc_board_score scores[SC_BOARD_SCORES]; /* the loss among them */
    uint64_t parameters, train_tokens, validation_tokens;
    int64_t vocab, batch_size, micro_batch_size, sequence_length, seed;
    uint64_t generation;
    int wanted, n_stages, n_workers;
    uint64_t steps_total, tokens_total; /* steps that were repeated count again */
    uint64_t
        buckets[SC_BOARD_BUCKETS]; /* steps of at most sc_board_bucket_seconds (i), and longer than the one before */
    double steps_seconds;          /* all steps together */
    uint64_t checkpoints_complete, checkpoints_failed;
    double checkpoints_seconds, checkpoint_time; /* of complete ones: all together; when the last was, since 1970 */
    int n_checkpoints;
    sc_board_checkpoint checkpoints[SC_BOARD_CHECKPOINTS]; /* the oldest first */
    uint64_t recoveries[SC_BOARD_LEVELS], n_joins, n_losses, steps_lost, steps_replayed;
    double recovery_seconds[SC_BOARD_N_PHASES];
    uint64_t stale, duplicate, resent, replayed, rejected; /* messages, of the coordinator and the workers together */
    sc_board_stage stages[SC_MAX_STAGES];
    sc_board_worker workers[SC_BOARD_WORKERS]; /* those with ranks first, in order */
} sc_board_view;

/* "replay", "memory", "disk", "start" for 0 .. SC_BOARD_LEVELS - 1; "detect", ... for a phase. */
const char *sc_board_level_name(int level);
const char *sc_board_phase_name(sc_board_phase phase);
/* The upper end of a bucket; infinity for the last. */
double sc_board_bucket_seconds(int bucket);

typedef struct sc_board sc_board;

typedef struct sc_board_options {
    sc_clock clock;
    sc_clock wall;      /* nanoseconds since 1970 */
    const char *dir;    /* the run's; copied, as the following */
    const char *config; /* the resolved configuration as JSON, without secrets */
} sc_board_options;

/* Returns owned. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_board_new(const sc_board_options *options, sc_board **out);
void sc_board_destroy(sc_board **self_p);

/* ---- the run's thread ---- */

/* An event of the run (event_log.h says which there are and what is in them); `line` is its text without the newline.
 * Borrows both. What is unknown in it is passed by. */
void sc_board_event(sc_board *self, const json_t *event, const char *line);

typedef struct sc_board_live {
    sc_board_state state;
    uint64_t generation;
    int n_stages;
    uint64_t stale, duplicate, resent, replayed, rejected;
    int n_workers;
    const sc_board_worker *workers; /* [n_workers]; borrowed */
} sc_board_live;
/* How it stands now. A run that is over stays so. */
void sc_board_show(sc_board *self, const sc_board_live *live);
/* The schedule of the present assignment, as JSON. Takes the text; NULL is passed by. */
void sc_board_set_schedule(sc_board *self, char *json);

/* What was asked for since the last call, with `pause` as it stands. */
typedef struct sc_board_requests {
    bool checkpoint, stop, pause;
    int n_drains;
    int drains[SC_MAX_STAGES]; /* stages */
} sc_board_requests;
void sc_board_take_requests(sc_board *self, sc_board_requests *out);

/* ---- those who look on ---- */

void sc_board_look(sc_board *self, sc_board_view *out);
uint64_t sc_board_revision(sc_board *self);
/* As sc_history_last and sc_history_spread. */
int sc_board_last_steps(sc_board *self, int64_t after, int most, sc_history_point *out);
int sc_board_spread_steps(sc_board *self, int most, sc_history_point *out);

/* The lines of up to `most` events with an id above `after`, the oldest first, each an owned text; *first_id is the
 * first one's, the others follow. An id that there was not yet is from another coordinator's time: all are new then.
 * Returns how many. Memory running out shortens the list. */
int sc_board_events(sc_board *self, uint64_t after, int most, char **lines, uint64_t *first_id);
/* Return owned, NULL if memory ran out (schedule: or there is none yet). */
char *sc_board_config(sc_board *self);
char *sc_board_schedule(sc_board *self);

typedef enum sc_board_verb {
    SC_BOARD_ASK_CHECKPOINT,
    SC_BOARD_ASK_DRAIN,
    SC_BOARD_ASK_PAUSE,
    SC_BOARD_ASK_RESUME,
    SC_BOARD_ASK_STOP,
} sc_board_verb;
/* Leaves a request; `stage` is DRAIN's. Errors: SC_FAILED_PRECONDITION (the run is over, or is being stopped), SC_NOT_FOUND (no
 * such stage). */
sc_status sc_board_ask(sc_board *self, sc_board_verb verb, int stage);

#endif
