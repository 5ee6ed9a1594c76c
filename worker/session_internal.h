/* What the session's files share: the loop (session.c), the membership (session_join.c), the calls that the coordinator makes
 * (session_service.c, session_shared.c) and their answers (session_answer.c), the way of tensors to and from the neighbours
 * (session_route.c), and points of the state: those of others that are kept here (session_store.c), the own on its way to
 * the buddy (session_deposit.c) and back into the stages (session_restore.c); and going (session_drain.c). */
#ifndef SC_SESSION_INTERNAL_H
#define SC_SESSION_INTERNAL_H

#include "worker/executor.h"
#include "worker/message_log.h"
#include "worker/session.h"
#include "worker/session_endpoint.h"
#include "worker/shard_saver.h"
#include "worker/vault.h"

#include <pthread.h>

#define SC_LOG_SUBSYSTEM "session"
#include "proto/base/log.h"

typedef enum sc_session_state {
    SC_SESSION_CONNECTING,
    SC_SESSION_JOINING,
    SC_SESSION_IDLE,
    SC_SESSION_ASSIGNING,
    SC_SESSION_READY,
    SC_SESSION_RUNNING,
    SC_SESSION_LEAVING,
    SC_SESSION_ENDED,
} sc_session_state;

typedef enum sc_pending_kind {
    SC_PENDING_ASSIGN,
    SC_PENDING_RUN,
    SC_PENDING_APPLY,
    SC_PENDING_READ,
    SC_PENDING_WRITE,
    SC_PENDING_SNAPSHOT,
    SC_PENDING_RESTORE,
} sc_pending_kind;

/* A call of the coordinator's that waits for the executor. */
typedef struct sc_pending {
    uint64_t ticket;
    sc_pending_kind kind;
    union {
        Stagecoach__V1__AssignReply_Closure assign;
        Stagecoach__V1__RunStepReply_Closure run_step;
        Stagecoach__V1__ApplyStepReply_Closure apply_step;
        Stagecoach__V1__ReadStateReply_Closure read_state;
        Stagecoach__V1__WriteStateReply_Closure write_state;
        Stagecoach__V1__SnapshotReply_Closure snapshot;
        Stagecoach__V1__RestoreReply_Closure restore;
    } closure;
    void *closure_data;
    uint64_t optimizer_step;           /* snapshot, run */
    uint64_t bytes_own, bytes_fetched; /* restore */
    struct sc_pending *next;
} sc_pending;

typedef struct sc_deposit sc_deposit; /* session_deposit.c */
typedef struct sc_fetch sc_fetch;     /* session_restore.c */

typedef struct sc_peer_list {
    sc_peer **peers;
    size_t n, n_allocated;
} sc_peer_list;

typedef struct sc_session_shared sc_session_shared; /* session_shared.c's */

struct sc_session {
    sc_session_options options;
    char listen[SC_ENDPOINT_BYTES], advertised[SC_ENDPOINT_BYTES], bound[SC_ENDPOINT_BYTES];
    char host[128], name[160];
    sc_session_state state;
    sc_status failure; /* what sc_session_run returns, with this message */
    char failure_message[512];

    /* The node, and the lock that the executor's thread takes to wake it: it may go at any time. */
    pthread_mutex_t wake_lock;
    sc_node *node;
    sc_peer *coordinator;
    uint64_t coordinator_incarnation; /* under which this membership was accepted */
    Stagecoach__V1__StageWorker_Service service;
    Stagecoach__V1__Store_Service store_service;
    bool lost;
    char lost_why[256];
    bool opened_before; /* a bind that fails again is a socket that has not gone yet, not a mistake of the user's */
    int bind_attempts;

    uint64_t run;
    uint32_t lease_ms, progress_ms;
    int preempt_fd; /* -1: none */
    bool draining;  /* asked to go: until Release, or leave_at_ms */
    uint64_t leave_at_ms;
    uint64_t retry_at_ms, progress_at_ms, complained_at_ms;
    uint64_t ready_at_ms;        /* when the ready file is due to be touched */
    uint32_t pause_ms;           /* between attempts to join */
    uint64_t computing_since_ms; /* an action of an earlier assignment that a Join waits for; 0: there is none */
    bool complained, joining, reporting, ready_failed;
    uint64_t refused_since_ms; /* no handshake with the coordinator has succeeded since; 0: none has failed */

    sc_shared_memory *memory; /* that what the executor sends lies in; NULL: it cannot be shared */
    sc_mailbox *mailbox;
    sc_executor *executor;
    sc_assignment *assignment; /* NULL: none */
    uint64_t epoch;            /* the mailbox's, of the assignment */
    sc_message_log log;
    uint64_t kept_vote; /* optimizer step that was voted for in an earlier generation and not applied; 0: none */
    uint64_t kept_vote_sequence;

    sc_vault *vault;                        /* outlives memberships */
    uint64_t snapshot_step;                 /* the last that was taken */
    uint64_t keep_steps[SC_VAULT_MAX_KEEP]; /* of the last Snapshot call */
    size_t n_keep_steps;
    uint64_t snapshot_ms, snapshot_interval_ms; /* when the last was taken, how long after the one before; 0: unknown */
    sc_deposit *deposit;                        /* NULL: none is under way */
    sc_fetch *fetch;                            /* of a Restore; NULL: none is under way */
    uint64_t n_replayed;                        /* tensors that were sent from the log */
    uint64_t last_transfer; /* tells the answers of an earlier deposit or fetch from those of the present */
    sc_shard_saver *shard_saver;
    sc_session_shared *shared; /* a call that waits for the shared directory; NULL: none */
    char *shared_dir;          /* that was found to be the coordinator's; NULL: none */
    uint64_t last_ticket;
    sc_pending *pending;
    int n_running;     /* RunSteps pending */
    uint64_t rejected; /* tensors that no plan of ours asks for */

    sc_peer **routes;     /* [assignment->n_workers]; NULL: no traffic, or a lower rank that has not said Hello yet */
    sc_peer_list dialled; /* that this node connected to, for this assignment or earlier ones */
    sc_executor_event *waiting; /* SEND and AWAIT events to a lower rank that has not said Hello */
};

static inline uint64_t sc_session_now_ms(const sc_session *self)
{
    return sc_clock_ms(&self->options.clock);
}

/* ---- session.c ---- */

/* Takes the assignment. Errors: SC_RESOURCE_EXHAUSTED and those of connecting; the old one has ended in any case. */
sc_status sc_session_begin_assignment(sc_session *self, sc_assignment *assignment);
void sc_session_end_assignment(sc_session *self);
void sc_session_end(sc_session *self);
void sc_session_lose(sc_session *self, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The run ends, with this thread's message. */
void sc_session_fail(sc_session *self, sc_status status);
void sc_session_set_node(sc_session *self, sc_node *node);

/* ---- session_join.c ---- */

/* CONNECTING: a fresh node, or the end of the run if there can be none. */
void sc_session_connect(sc_session *self);
void sc_session_join(sc_session *self);
/* Back to CONNECTING, for the reason that is kept; a worker that was to go ends. */
void sc_session_lose_membership(sc_session *self);
void sc_session_close_node(sc_session *self, int linger_ms);
/* Touches the file that probes look at, if it is time. */
void sc_session_show_ready(sc_session *self, uint64_t now_ms);

/* ---- session_service.c ---- */

void sc_session_serve(sc_session *self);
sc_session *sc_session_of(void *closure_data);
/* Whether the call is of the present assignment, which has stages. Errors: SC_FAILED_PRECONDITION. */
sc_status sc_session_check_stages(const sc_session *self, uint64_t generation);
/* Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_session_pend(sc_session *self, sc_pending_kind kind, void *closure_data, sc_pending **out);
/* The end of a handler: the call waits for its command's end, or was refused and is answered so. Takes `pending`. */
void sc_session_settle(sc_session *self, sc_pending *pending, void *closure_data, sc_status status);

/* ---- session_answer.c ---- */

/* Answers the call that the DONE event belongs to, if it is still somebody's. */
void sc_session_answer(sc_session *self, sc_executor_event *done);
void sc_session_forget_pending(sc_session *self);
/* Whether there is a snapshot of this optimizer step. Errors: SC_FAILED_PRECONDITION. */
sc_status sc_session_check_snapshot(const sc_session *self, uint64_t optimizer_step);
/* The piece of it, copied; owned by the caller. Errors: SC_FAILED_PRECONDITION, SC_NOT_FOUND, SC_OUT_OF_RANGE. */
sc_status sc_session_snapshot_piece(const sc_session *self, uint64_t optimizer_step, const sc_state_piece *piece,
                                    sc_buffer **out);

/* ---- session_shared.c ---- */

void sc_session_serve_check_shared(sc_session *self, const Stagecoach__V1__CheckSharedRequest *input,
                                   Stagecoach__V1__CheckSharedReply_Closure closure, void *closure_data);
void sc_session_serve_write_shard(sc_session *self, const Stagecoach__V1__WriteShardRequest *input,
                                  Stagecoach__V1__WriteShardReply_Closure closure, void *closure_data);
/* Hands over what is due, and answers what has ended. Returns when it wants to be called again at the latest. */
uint64_t sc_session_turn_shared(sc_session *self, uint64_t now);
/* With the assignment or the node: the call is nobody's any more. */
void sc_session_forget_shared(sc_session *self);

/* ---- session_route.c ---- */

/* Finds or opens the ways that the assignment needs. Errors: SC_INVALID, SC_RESOURCE_EXHAUSTED. */
sc_status sc_session_open_routes(sc_session *self);
/* Index of the member that the peer is, by its incarnation and, where there are keys, its key; -1: none. There is an
 * assignment. */
int sc_session_member(const sc_session *self, const sc_peer *peer);
/* A connection to the member, opened if there is none from here. */
sc_status sc_session_reach(sc_session *self, int member, sc_peer **out);
/* Forgets the ways of the assignment, and with `node_goes` all peers there were. */
void sc_session_forget_routes(sc_session *self, bool node_goes);
/* A SEND or AWAIT event. Takes it. */
void sc_session_route(sc_session *self, sc_executor_event *event);
/* The node's callbacks. */
void sc_session_on_tensor(void *context, sc_peer *peer, sc_tensor_message *message);
void sc_session_on_peer(void *context, sc_peer *peer);
void sc_session_on_ask(void *context, sc_peer *peer, const sc_tensor_name *name);

/* ---- session_drain.c ---- */

/* The stop descriptor and that of the preemption file became readable. */
void sc_session_on_stop(void *context, int fd);
void sc_session_on_preempt(void *context, int fd);
/* Leaves when the grace is over; lowers *due_ms to then. */
void sc_session_tick_drain(sc_session *self, uint64_t now_ms, uint64_t *due_ms);

/* ---- session_store.c ---- */

void sc_session_serve_store(sc_session *self);
Stagecoach__V1__HeldPart sc_session_write_key(const sc_part_key *key);
/* The own part of a chunk, borrowed; NULL: none. */
sc_part *sc_session_own_part(const sc_session *self, uint64_t optimizer_step, int chunk);

/* ---- session_deposit.c ---- */

void sc_session_begin_deposit(sc_session *self, uint64_t optimizer_step, Stagecoach__V1__DepositReply_Closure closure,
                              void *closure_data);
/* A snapshot was taken, or failed: a deposit may have waited for it. */
void sc_session_resume_deposit(sc_session *self);
/* Ends the one that is under way, if any. */
void sc_session_end_deposit(sc_session *self, sc_status status, const char *why);
/* Sends what is due; lowers *due_ms to when the next is. */
void sc_session_pace_deposit(sc_session *self, uint64_t now_ms, uint64_t *due_ms);

/* ---- session_restore.c ---- */

void sc_session_begin_restore(sc_session *self, const Stagecoach__V1__RestoreRequest *request,
                              Stagecoach__V1__RestoreReply_Closure closure, void *closure_data);
void sc_session_end_restore(sc_session *self, sc_status status, const char *why);

#endif
