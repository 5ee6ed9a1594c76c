/* What the executor's files share: the thread and its queues (executor.c), the commands (executor_command.c) and the
 * walk down a plan (executor_walk.h). */
#ifndef SC_EXECUTOR_INTERNAL_H
#define SC_EXECUTOR_INTERNAL_H

#include "worker/executor.h"

#include <pthread.h>

typedef enum sc_command_kind {
    SC_COMMAND_ASSIGN,
    SC_COMMAND_FORGET,
    SC_COMMAND_RUN,
    SC_COMMAND_APPLY,
    SC_COMMAND_READ,
    SC_COMMAND_WRITE,
    SC_COMMAND_SNAPSHOT,
    SC_COMMAND_RESTORE,
} sc_command_kind;

typedef struct sc_command {
    sc_command_kind kind;
    uint64_t epoch;
    sc_executor_event *done; /* allocated with the command, so that its end never fails */
    sc_assignment *assignment;
    sc_run_step run;
    sc_apply_step apply;
    sc_state_piece piece;
    sc_buffer *data;
    sc_part *parts[SC_MAX_CHUNKS]; /* snapshot: references */
    int n_parts;
    sc_buffer_pool *pool; /* snapshot: borrowed */
    sc_restore *restore;
    struct sc_command *next;
} sc_command;

/* A micro-batch at one of this worker's stages, between the actions that bring, use, make and send its tensors. */
typedef struct sc_cell {
    sc_tensor_message activation_in, gradient_in; /* received, not yet put into the stage */
    sc_buffer *activation_out, *gradient_out;     /* made, not yet sent */
    int B, T;
} sc_cell;

struct sc_executor {
    sc_executor_options options;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under the lock */
    sc_command *commands;
    int n_runs; /* RunSteps queued and running */
    bool started, stopping;
    sc_status start_status;
    char start_message[256];
    sc_executor_event *first_event, *last_event;

    atomic_ullong step, actions_done;
    atomic_ullong doing; /* packed, see executor_plan.c; 0: idle */
    atomic_bool waiting;

    /* the executor thread's own */
    sc_stream *stream;
    sc_buffer_pool *pool;
    sc_assignment *assignment; /* NULL: none */
    sc_stage *stages[SC_MAX_CHUNKS];
    sc_cell *cells;      /* [n_chunks * max_microbatches] */
    bool voted;          /* and not yet applied */
    bool broken;         /* an ApplyStep failed halfway, or a reset did */
    uint64_t voted_step; /* sequence number of the last vote */
    uint64_t voted_epoch;
    int64_t optimizer_step; /* the voted step's, else the last applied; 0 before the first */
    bool step_is_known;     /* optimizer_step is that of the state; not so after parameters were written */
};

/* Posts an event from the executor's thread. Takes it. */
void sc_executor_post(sc_executor *self, sc_executor_event *event);
/* Executes a command; its event is filled but for status and message. */
sc_status sc_executor_perform(sc_executor *self, sc_command *command);
void sc_executor_forget_stages(sc_executor *self);
/* Walks down this worker's list of the plan. */
sc_status sc_executor_run_plan(sc_executor *self, const sc_command *command);
void sc_executor_clear_cells(sc_executor *self);
uint64_t sc_executor_pack_command(sc_command_kind kind);
const char *sc_executor_doing_text(uint64_t doing, char *text, size_t text_bytes);

#endif
