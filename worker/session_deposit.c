/* A deposit: the own parts of a point on their way to the buddy while training goes on.
 *
 *   WAITING --sc_session_resume_deposit--> OPENING --opened--> SENDING --all pieces answered--> CLOSING --closed--> the next
 *   (for the snapshot)                        ^    '-- held there already -----------------------------------------> chunk's
 *                                             '----------------------------------------------------------------- part, or
 *                                                                                                                  the reply
 *
 * Pieces leave at an even pace over a share of the time between two points, WINDOW of them unanswered at most, so that
 * training's messages, which may share the connection, never have more than those before them. */
#include "worker/session_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    WINDOW = 2, /* pieces on their way: they hide the round trip */
    SPREAD = 8, /* a deposit takes an eighth of the time between two points: complete soon, and in nobody's way */
    FIRST_PACE_MBPS = 256, /* MB/s, while that time is not known yet */
    SLOWEST_PIECE_MS = 250,
    CALL_DEADLINE_MS =
        10000, /* a buddy that lives answers in milliseconds; the coordinator ends the wait for a dead one */
};

typedef enum phase { WAITING, OPENING, SENDING, CLOSING } phase;

struct sc_deposit {
    uint64_t transfer, optimizer_step;
    Stagecoach__V1__DepositReply_Closure closure;
    void *closure_data;
    phase phase;
    sc_peer *buddy;
    int chunk;
    sc_part *part; /* of the chunk, a reference; NULL while waiting */
    uint32_t n_sent, n_answered;
    uint64_t start_ms; /* of the part's first piece */
    double piece_ms;   /* from one piece to the next */
    uint64_t bytes;
};

/* What an answer belongs to. */
typedef struct asked {
    sc_session *session;
    uint64_t transfer;
} asked;

static const ProtobufCServiceDescriptor *const store = &stagecoach__v1__store__descriptor;

static void go_on(sc_session *self);

/* ---- the end ---- */

static void destroy(sc_session *self)
{
    sc_part_unref(&self->deposit->part);
    free(self->deposit);
    self->deposit = NULL;
}

void sc_session_end_deposit(sc_session *self, sc_status status, const char *why)
{
    if (!self->deposit)
        return;
    void *closure_data = self->deposit->closure_data;
    destroy(self);
    sc_call_fail(sc_call_of(closure_data), status, why);
}

static void succeed(sc_session *self)
{
    sc_deposit *deposit = self->deposit;
    Stagecoach__V1__DepositReply reply = STAGECOACH__V1__DEPOSIT_REPLY__INIT;
    reply.bytes = deposit->bytes;
    SC_DEBUG("the point of step %" PRIu64 " is with worker %d: %.1f MiB", deposit->optimizer_step,
             self->assignment->buddy, (double)deposit->bytes / (1 << 20));
    deposit->closure(&reply, deposit->closure_data);
    destroy(self);
}

/* What the buddy says is not the depositor's failure. */
static void abandon(sc_session *self, const char *what)
{
    char why[512];
    snprintf(why, sizeof why, "worker %d does not take the point of step %" PRIu64 ": %s", self->assignment->buddy,
             self->deposit->optimizer_step, what);
    SC_WARN("%s", why);
    sc_session_end_deposit(self, SC_ABORTED, why);
}

/* ---- calls ---- */

static bool call(sc_session *self, const char *method, const ProtobufCMessage *request, sc_buffer *payload,
                 sc_result_fn done)
{
    asked *context = malloc(sizeof *context);
    sc_status status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a call");
    if (context) {
        *context = (asked){self, self->deposit->transfer};
        status =
            sc_peer_call(self->deposit->buddy, store, method, request, payload, 0, CALL_DEADLINE_MS, done, context);
    } else {
        sc_buffer_unref(&payload);
    }
    if (status == SC_OK)
        return true;
    free(context);
    abandon(self, sc_status_message());
    return false;
}

/* The session, if the answer is of the present deposit and a good one; NULL otherwise. */
static sc_session *take_answer(void *context, const sc_result *result)
{
    asked *a = context;
    sc_session *self = a->session;
    bool current = self->deposit && self->deposit->transfer == a->transfer;
    free(a);
    if (!current)
        return NULL;
    if (result->status == SC_OK)
        return self;
    abandon(self, result->message);
    return NULL;
}

static void closed(void *context, sc_peer *peer, const sc_result *result)
{
    (void)peer;
    sc_session *self = take_answer(context, result);
    if (!self)
        return;
    self->deposit->chunk++;
    go_on(self);
}

static void close_part(sc_session *self)
{
    Stagecoach__V1__HeldPart key = sc_session_write_key(&self->deposit->part->key);
    Stagecoach__V1__ClosePartRequest request = STAGECOACH__V1__CLOSE_PART_REQUEST__INIT;
    request.part = &key;
    self->deposit->phase = CLOSING;
    call(self, "ClosePart", &request.base, NULL, closed);
}

static void put(void *context, sc_peer *peer, const sc_result *result)
{
    (void)peer;
    sc_session *self = take_answer(context, result);
    if (!self)
        return;
    sc_deposit *deposit = self->deposit;
    if (++deposit->n_answered == deposit->part->n_pieces)
        close_part(self);
}

void sc_session_pace_deposit(sc_session *self, uint64_t now_ms, uint64_t *due_ms)
{
    sc_deposit *deposit = self->deposit;
    if (!deposit || deposit->phase != SENDING)
        return;
    while (deposit->n_sent < deposit->part->n_pieces && deposit->n_sent - deposit->n_answered < WINDOW) {
        uint64_t at_ms = deposit->start_ms + (uint64_t)(deposit->n_sent * deposit->piece_ms);
        if (now_ms < at_ms) {
            *due_ms = at_ms < *due_ms ? at_ms : *due_ms;
            return;
        }
        Stagecoach__V1__HeldPart key = sc_session_write_key(&deposit->part->key);
        Stagecoach__V1__PutPieceRequest request = STAGECOACH__V1__PUT_PIECE_REQUEST__INIT;
        request.part = &key;
        request.index = deposit->n_sent;
        request.xxh3 = deposit->part->piece_xxh3[deposit->n_sent];
        if (!call(self, "PutPiece", &request.base, sc_buffer_ref(deposit->part->pieces[deposit->n_sent]), put))
            return;
        deposit->bytes += sc_part_piece_bytes(deposit->part, deposit->n_sent);
        deposit->n_sent++;
    }
}

static void opened(void *context, sc_peer *peer, const sc_result *result)
{
    (void)peer;
    sc_session *self = take_answer(context, result);
    if (!self)
        return;
    sc_deposit *deposit = self->deposit;
    if (((const Stagecoach__V1__OpenPartReply *)result->reply)->held) {
        deposit->chunk++;
        go_on(self);
        return;
    }
    deposit->phase = SENDING;
    deposit->start_ms = sc_session_now_ms(self);
    if (deposit->part->n_pieces == 0)
        close_part(self);
}

static void open_part(sc_session *self)
{
    sc_deposit *deposit = self->deposit;
    Stagecoach__V1__HeldPart key = sc_session_write_key(&deposit->part->key);
    Stagecoach__V1__OpenPartRequest request = STAGECOACH__V1__OPEN_PART_REQUEST__INIT;
    request.part = &key;
    request.bytes = deposit->part->bytes;
    request.xxh3 = deposit->part->xxh3;
    request.n_keep_steps = self->n_keep_steps;
    request.keep_steps = self->keep_steps;
    deposit->phase = OPENING;
    call(self, "OpenPart", &request.base, NULL, opened);
}

/* ---- from part to part ---- */

static double pace(const sc_session *self)
{
    uint64_t n_pieces = 0;
    for (int k = 0; k < self->assignment->n_chunks; k++) {
        const sc_part *part = sc_session_own_part(self, self->deposit->optimizer_step, k);
        n_pieces += part ? part->n_pieces : 0;
    }
    if (self->snapshot_interval_ms == 0 || n_pieces == 0)
        return 1000.0 * SC_PART_PIECE_BYTES / (FIRST_PACE_MBPS * 1e6);
    double piece_ms = (double)self->snapshot_interval_ms / SPREAD / (double)n_pieces;
    return piece_ms < SLOWEST_PIECE_MS ? piece_ms : SLOWEST_PIECE_MS;
}

/* The present chunk's part, or the end. */
static void go_on(sc_session *self)
{
    sc_deposit *deposit = self->deposit;
    sc_part_unref(&deposit->part);
    deposit->n_sent = deposit->n_answered = 0;
    if (deposit->chunk == self->assignment->n_chunks) {
        succeed(self);
        return;
    }
    sc_part *part = sc_session_own_part(self, deposit->optimizer_step, deposit->chunk);
    if (!part) {
        char why[128];
        snprintf(why, sizeof why, "this worker has no point of optimizer step %" PRIu64, deposit->optimizer_step);
        sc_session_end_deposit(self, SC_FAILED_PRECONDITION, why);
        return;
    }
    deposit->part = sc_part_ref(part);
    deposit->piece_ms = pace(self);
    open_part(self);
}

static bool waits_for_snapshot(const sc_session *self)
{
    for (const sc_pending *pending = self->pending; pending; pending = pending->next)
        if (pending->kind == SC_PENDING_SNAPSHOT && pending->optimizer_step == self->deposit->optimizer_step)
            return true;
    return false;
}

void sc_session_resume_deposit(sc_session *self)
{
    if (self->deposit && self->deposit->phase == WAITING && !waits_for_snapshot(self))
        go_on(self);
}

void sc_session_begin_deposit(sc_session *self, uint64_t optimizer_step, Stagecoach__V1__DepositReply_Closure closure,
                              void *closure_data)
{
    sc_session_end_deposit(self, SC_ABORTED, "a later deposit takes its place");
    sc_peer *buddy = NULL;
    sc_status status = SC_OK;
    if (self->assignment->buddy < 0)
        status = SC_FAIL(SC_FAILED_PRECONDITION, "this worker has no buddy to leave its parts with");
    else
        status = sc_session_reach(self, self->assignment->buddy, &buddy);
    sc_deposit *deposit = status == SC_OK ? calloc(1, sizeof *deposit) : NULL;
    if (status == SC_OK && !deposit)
        status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a deposit");
    if (status != SC_OK) {
        sc_session_settle(self, NULL, closure_data, status);
        return;
    }
    *deposit = (sc_deposit){
        .transfer = ++self->last_transfer,
        .optimizer_step = optimizer_step,
        .closure = closure,
        .closure_data = closure_data,
        .phase = WAITING,
        .buddy = buddy,
    };
    self->deposit = deposit;
    sc_session_resume_deposit(self);
}
