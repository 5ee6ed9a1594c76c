/* The executor: the compute thread, which owns a worker's stages and obeys plans.
 *
 * Mental model. The network thread (the session) queues commands; each has a ticket and ends exactly once, with a DONE
 * event that carries it. The executor takes commands one at a time. For RunStep it walks down its list of the plan:
 * what an action needs it takes from the mailbox, waiting there if it must; what an action makes it posts as a SEND
 * event and goes on at once, so the wire works while the next action computes. It decides nothing.
 *
 *      network thread                              executor thread
 *        commands  ------ queue ------------------->  assign, run, apply, read, write, forget
 *        tensors that arrived --- mailbox --------->  inputs of F, B, I and REDUCE_TIED
 *        events  <------- queue, notify () ---------  SEND, AWAIT (a wait that grew long), DONE
 *
 * Rules:
 *  1. A command belongs to a mailbox epoch. Closing or opening the mailbox cancels it, queued or running; a step that
 *     waits for a tensor ends at once, one that computes at the end of its action.
 *  2. Between a step's vote and its ApplyStep no other step runs: a RunStep that overtook the ApplyStep on the wire
 *     stays in the queue. Of several queued RunSteps the one with the lowest step number goes first. In a later
 *     assignment that kept the vote a RunStep of the same optimizer step drops it: nobody had decided that step.
 *  3. A step that fails leaves the stages as before it, gradients zero and caches empty; only an ApplyStep that fails halfway makes
 *     them useless until the next assignment, and every command says so.
 *  4. A steady-state step allocates no tensor memory: outputs lie in pooled buffers.
 *  5. An assignment that wants the same stages is given them: with their state, and a vote that waits for its ApplyStep, if
 *     it says so and the step that the state belongs to is known; else set to a new one's in the memory that is there.
 *
 * Thread: all functions belong to the network thread; `notify` is called on the executor's. */
#ifndef SC_EXECUTOR_H
#define SC_EXECUTOR_H

#include "proto/base/clock.h"
#include "worker/assignment.h"
#include "worker/restore.h"

typedef struct sc_executor sc_executor;

typedef struct sc_executor_options {
    const sc_ops *ops;
    int threads;
    sc_clock clock;                /* for the times it reports */
    sc_mailbox *mailbox;           /* borrowed */
    sc_buffer_memory memory;       /* of what it sends; all zero: malloc */
    void (*notify)(void *context); /* an event was posted */
    void *context;
} sc_executor_options;

typedef struct sc_run_step {
    uint64_t step; /* sequence number, as in tensor names */
    int plan;
    int64_t optimizer_step; /* 1 for the first */
    uint64_t n_targets;
    double target_weight; /* with class weights: of those targets */
    uint64_t n_sequences; /* pre-training */
    bool want_logits;
    bool cache; /* forward-only: as in sc_stage_step, for all sequences of the step */
    int position;
    bool replay; /* the others have done this step: see RunStepRequest */
} sc_run_step;

typedef struct sc_apply_step {
    uint64_t step;
    float grad_scale, learning_rate;
} sc_apply_step;

typedef struct sc_step_times {
    double forward, backward; /* seconds of F; of B, I and W */
    double wait;              /* blocked in the mailbox */
    double step;              /* from the plan's start to the vote, or to its end */
} sc_step_times;

typedef enum sc_executor_event_kind { SC_EVENT_SEND, SC_EVENT_AWAIT, SC_EVENT_DONE } sc_executor_event_kind;

typedef struct sc_executor_event {
    sc_executor_event_kind kind;
    uint64_t epoch;
    /* SEND: to whom and what. AWAIT: from whom, and the name alone. */
    int worker; /* rank, or SC_COORDINATOR */
    sc_tensor_message tensor;
    bool logged;  /* SEND: of a step that trains, so the message log keeps it */
    bool unsent;  /* SEND: for the message log alone */
    bool at_once; /* AWAIT: nobody will send it unless asked */
    /* DONE */
    uint64_t ticket;
    sc_status status;
    char *message;          /* NULL unless status */
    sc_stage_memory memory; /* assign */
    bool kept;              /* assign: the stages have their state, which is that after */
    uint64_t applied_step;  /* this optimizer step; the last RunStep that trained was */
    uint64_t last_sequence; /* this one, 0: none yet; */
    uint64_t voted_step;    /* > applied_step if its optimizer step waits for ApplyStep, else 0 */
    uint64_t step;          /* run, apply */
    bool voted;             /* run: the plan trained, and an ApplyStep must follow */
    double *loss_sums;      /* run, with the last stage: sc_model_n_losses per micro-batch */
    int n_loss_sums;
    uint64_t *
        n_correct; /* run of a forward-only plan, with the last stage: [n_loss_sums], as sc_stage_take_correct; else NULL */
    int *ordinals; /* run: [n_norms], as sc_stage_norms */
    double *sum_squares;
    int n_norms;
    sc_step_times times;           /* run */
    double optimizer_seconds;      /* apply */
    sc_buffer *payload;            /* read: the piece; run with want_logits, with the last stage: the logits */
    sc_part *parts[SC_MAX_CHUNKS]; /* snapshot: one a chunk, sealed; the event's references */
    int n_parts;
    struct sc_executor_event *next;
} sc_executor_event;
void sc_executor_event_destroy(sc_executor_event **self_p);

/* Returns owned, its thread running and its stream open. Errors: the backend's, SC_RESOURCE_EXHAUSTED. */
sc_status sc_executor_new(const sc_executor_options *options, sc_executor **out);
/* Closes the mailbox, waits for the action in progress, and drops what is queued and posted. */
void sc_executor_destroy(sc_executor **self_p);

/* ---- commands: queued, answered by a DONE event. Errors (then no event comes): SC_RESOURCE_EXHAUSTED. ---------------
 */
/* Builds the stages of the assignment, of which it takes a reference of its own, or keeps those that are there (rule 5). */
sc_status sc_executor_assign(sc_executor *self, uint64_t ticket, uint64_t epoch, sc_assignment *assignment);
/* Destroys the stages. */
sc_status sc_executor_forget(sc_executor *self, uint64_t ticket);
/* SC_RESOURCE_EXHAUSTED also if SC_MAX_QUEUED_STEPS wait behind the running one. */
sc_status sc_executor_run(sc_executor *self, uint64_t ticket, uint64_t epoch, const sc_run_step *step);
sc_status sc_executor_apply(sc_executor *self, uint64_t ticket, uint64_t epoch, const sc_apply_step *step);
sc_status sc_executor_read(sc_executor *self, uint64_t ticket, uint64_t epoch, const sc_state_piece *piece);
/* Takes a reference of its own to `data`, which holds piece->n bytes. */
sc_status sc_executor_write(sc_executor *self, uint64_t ticket, uint64_t epoch, const sc_state_piece *piece,
                            sc_buffer *data);

/* Copies the stages' state, which must be that after the parts' optimizer step, into `parts`: one a chunk, with a layout
 * (sc_part_new_own), of which it takes references of its own. Where nobody knows which step the state belongs to, as
 * it was written, the parts' word is taken. Borrows the pool until the command has ended. */
sc_status sc_executor_snapshot(sc_executor *self, uint64_t ticket, uint64_t epoch, sc_part *const *parts, int n_parts,
                               sc_buffer_pool *pool);
/* Sets the stages to the restore's point; takes it. A vote is dropped. */
sc_status sc_executor_restore(sc_executor *self, uint64_t ticket, uint64_t epoch, sc_restore **restore);

/* The next event, owned by the caller; NULL if there is none. */
sc_executor_event *sc_executor_take_event(sc_executor *self);

typedef struct sc_executor_progress {
    uint64_t step;         /* of the plan in progress, or the last */
    uint64_t actions_done; /* since the start, and commands; an executor that hangs stops counting */
    char doing[32];        /* the action in progress, "2F0"; the command, "apply"; or "idle" */
    bool waiting;          /* for a tensor or a command: it need not move */
} sc_executor_progress;
sc_executor_progress sc_executor_look(sc_executor *self);

/* Bytes of the buffers for outputs: constant in the steady state. */
uint64_t sc_executor_buffer_bytes(const sc_executor *self);

#endif
