/* The session: a worker's membership in a run, on the network thread.
 *
 * Invariants
 *  1. A membership is one node: its incarnation is what Join tells, and whatever trouble ends the membership destroys the
 *     node. The next one starts with a fresh node and nothing else; half-dead state is never revived.
 *  2. The assignment, the node's generation and the mailbox's epoch change together, in begin_assignment and
 *     end_assignment alone. A tensor, command or result of an earlier one is dropped wherever it turns up.
 *  3. A call that was accepted lies in the list of pending calls under the ticket of its command, until the executor's
 *     DONE event answers it; every one is answered, once. A DONE whose ticket is not there is nobody's any more.
 *  4. Only this thread touches the node; the executor's sends, waits and results come as events.
 *  5. A handler never destroys the node it is called from: it says why the membership is lost, and the loop does it.
 *  6. The session waits for the coordinator for ever, but only for it: whatever else it waits for has a deadline.
 *
 * States (enum sc_session_state), and the functions that make the transitions
 *
 *        sc_session_new                        join refused: the run fails
 *              |                                     ^
 *              v         open_node                   | joined
 *   +---> CONNECTING ------------------> JOINING ----+
 *   |          ^   |(address in use: again) |  ^ | (no answer: again, later)
 *   |          +---+                        |  +-+
 *   |                                       | joined
 *   |                                       v
 *   |    lose_membership (coordinator     IDLE <---------------- end_assignment (the stages cannot be built)
 *   |    silent, restarted, or it           | begin_assignment           |
 *   |    forgot us), from every             v                            |
 *   +-----state to the right            ASSIGNING ------------------- assigned
 *                                        ^  ^               (stages are built) |
 *                     begin_assignment   |  |                                  v
 *                     from READY and ----+  +------------------------------- READY <-----+
 *                     RUNNING                                                  | run_step | step_done (the last one)
 *                                                                              v          |
 *                                                                           RUNNING ------+
 *
 *   any --- leave (the stop descriptor became readable) ---> LEAVING --- left (answered, or too late) ---> ENDED
 *   IDLE .. RUNNING --- release (the coordinator said so) ---> ENDED
 *
 * Thread: one, all functions. */
#ifndef SC_SESSION_H
#define SC_SESSION_H

#include "proto/base/clock.h"
#include "kernels/ops.h"

typedef struct sc_session sc_session;

typedef struct sc_session_options {
    const char *coordinator; /* endpoint; all texts are borrowed for the session's life */
    const char *listen;      /* endpoint for the neighbours; NULL: sc_session_endpoint_listen */
    const char *advertise;   /* what they are told of it; NULL: sc_session_endpoint_advertise */
    const sc_ops *ops;
    int threads;
    int local_index; /* the number that `train` started it under; -1: it was started elsewhere */
    sc_clock clock;
    int stop_fd; /* readable: leave the run; -1: none */
} sc_session_options;

/* Returns owned, its compute thread running. Errors: SC_INVALID (an endpoint), the backend's, SC_RESOURCE_EXHAUSTED. */
sc_status sc_session_new(const sc_session_options *options, sc_session **out);

/* Serves until the coordinator releases the worker or the stop descriptor ends it: SC_OK. Errors: the coordinator's
 * status if it refuses the worker; SC_ALREADY_EXISTS, SC_PERMISSION_DENIED and others of sc_node_bind. */
sc_status sc_session_run(sc_session *self);

/* Waits for the action that the executor is in. */
void sc_session_destroy(sc_session **self_p);

#endif
