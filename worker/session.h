/* The session: a worker's membership in a run, on the network thread.
 *
 * Invariants
 *  1. A membership is one node: its incarnation is what Join tells, and whatever trouble ends the membership destroys the
 *     node. The next one starts with a fresh node and nothing else; half-dead state is never revived.
 *  2. The assignment, the node's generation and the mailbox's epoch change together, in sc_session_begin_assignment and
 *     sc_session_end_assignment alone. A tensor, command or result of an earlier one is dropped wherever it turns up.
 *  3. A call that was accepted lies in the list of pending calls under the ticket of its command, until the executor's
 *     DONE event answers it; every one is answered, once. A DONE whose ticket is not there is nobody's any more.
 *  4. Only this thread touches the node; the executor's sends, waits and results come as events.
 *  5. A handler never destroys the node it is called from: it says why the membership is lost, and the loop does it.
 *  6. The session waits for the coordinator for ever, but only for it: whatever else it waits for has a deadline. So has
 *     the coordinator itself once the worker was asked to stop.
 *
 * States (enum sc_session_state), and the functions that make the transitions
 *
 *          sc_session_new                                     no answer: joined tries again
 *                |                                                   +-----+
 *                v              connect_to_run                       |     v
 *   +----> CONNECTING --------------------------------------------> JOINING -----> ENDED, with the coordinator's error
 *   |       |     ^                                                  |      joined (refused)
 *   |       +-----+ the old socket is not gone yet                   | joined
 *   |                                                                v
 *   |                    +----------- sc_session_end_assignment --> IDLE
 *   |                    | (the stages cannot be built)              | serve_assign
 *   |                    |                                           v
 *   |                    +------------------------------------- ASSIGNING <----+
 *   |                                                                |         | serve_assign
 *   | lose_membership, from IDLE to RUNNING: the                     | answer_assign
 *   | coordinator is silent, was started anew or                     v         |
 *   | does not know us, or a tensor cannot be sent                 READY ------+
 *   |                                                              |   ^       |
 *   +------ . . .                                   serve_run_step v   | step_done (no other waits)
 *                                                                 RUNNING -----+
 *
 *   IDLE to RUNNING  -- serve_release -------------------------------------> ENDED
 *   IDLE to RUNNING  -- leave (asked to stop at once, or the coordinator does not take over) --> LEAVING -- left --> ENDED
 *   before that      -- leave (asked to stop) -----------------------------------------------------------------> ENDED
 *
 *   Asked to stop, a member drains: it says so, works on in the same states, and waits to be released.
 *
 * Thread: one, all functions. */
#ifndef SC_SESSION_H
#define SC_SESSION_H

#include "proto/base/clock.h"
#include "kernels/ops.h"
#include "proto/wire/node.h"

typedef struct sc_session sc_session;

typedef enum sc_session_request {
    SC_SESSION_STOP = 's',    /* drain; a second one: leave at once */
    SC_SESSION_PREEMPT = 'p', /* drain */
    SC_SESSION_LEAVE = 'l',   /* leave at once */
} sc_session_request;

typedef struct sc_session_options {
    const char *coordinator; /* endpoint; all texts are borrowed for the session's life */
    const char *listen;      /* endpoint for the neighbours; NULL: sc_session_endpoint_listen */
    const char *advertise;   /* what they are told of it; NULL: sc_session_endpoint_advertise */
    const sc_ops *ops;
    int threads;
    int local_index; /* the number that `train` started it under; -1: it was started elsewhere */
    sc_clock clock;
    int stop_fd;              /* brings an sc_session_request as a byte; -1: none */
    const char *ready_file;   /* is there while it is a member; NULL: none. sc_session_new removes an old one */
    const char *preempt_file; /* its appearance is an SC_SESSION_PREEMPT; NULL: none */
    uint32_t grace_ms; /* from the first request to leaving, if the coordinator does not release the worker before */
    const sc_node_keys *keys; /* of this worker, and whose the coordinator is; NULL: plaintext */
    const char *key_file;     /* where they were read from, for messages; NULL without */
} sc_session_options;

/* Returns owned, its compute thread running. Errors: SC_INVALID (an endpoint), the backend's, SC_RESOURCE_EXHAUSTED. */
sc_status sc_session_new(const sc_session_options *options, sc_session **out);

/* Serves until the coordinator releases the worker or the stop descriptor ends it: SC_OK. Errors: the coordinator's
 * status if it refuses the worker; SC_UNAUTHENTICATED if it refuses the worker's key, or one of the two has none; SC_ALREADY_EXISTS, SC_PERMISSION_DENIED and others of sc_node_bind. */
sc_status sc_session_run(sc_session *self);

/* Waits for the action that the executor is in. */
void sc_session_destroy(sc_session **self_p);

#endif
