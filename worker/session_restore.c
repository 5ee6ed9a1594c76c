/* A restore: parts are gathered from the own vault and from other workers', one holder after the other with several pieces
 * in flight; when nothing is missing the executor copies them into the stages. */
#include "worker/session_internal.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    WINDOW = 8,              /* pieces on their way: they keep the connection full */
    CALL_DEADLINE_MS = 5000, /* a holder that lives answers in milliseconds; then the next one is tried */
};

typedef struct holder {
    int worker; /* index among the members */
    sc_slice range;
} holder;

struct sc_fetch {
    uint64_t transfer; /* of the holder in progress: what an earlier one answers is late */
    Stagecoach__V1__RestoreReply_Closure closure;
    void *closure_data;
    sc_restore *restore;
    holder *holders;
    size_t n_holders, next; /* the holder to try next */
    uint64_t bytes_own, bytes_fetched;
    /* from the holder in progress */
    sc_peer *peer;
    sc_part *part;  /* a reference: what is being fetched */
    bool *wanted;   /* [part->n_pieces] */
    uint32_t piece; /* the next to ask for */
    int n_in_flight;
    uint64_t bytes;
};

typedef struct asked {
    sc_session *session;
    uint64_t transfer;
    uint32_t piece;
} asked;

static void try_holders(sc_session *self);

/* ---- the end ---- */

static void forget_holder(sc_fetch *fetch)
{
    sc_part_unref(&fetch->part);
    free(fetch->wanted);
    fetch->wanted = NULL;
    fetch->n_in_flight = 0;
}

static void destroy(sc_session *self)
{
    sc_fetch *fetch = self->fetch;
    self->fetch = NULL;
    forget_holder(fetch);
    sc_restore_destroy(&fetch->restore);
    free(fetch->holders);
    free(fetch);
}

void sc_session_end_restore(sc_session *self, sc_status status, const char *why)
{
    if (!self->fetch)
        return;
    void *closure_data = self->fetch->closure_data;
    destroy(self);
    sc_call_fail(sc_call_of(closure_data), status, why);
}

/* All is here. */
static void hand_over(sc_session *self)
{
    sc_fetch *fetch = self->fetch;
    sc_pending *pending = NULL;
    sc_status status = sc_session_pend(self, SC_PENDING_RESTORE, fetch->closure_data, &pending);
    if (status == SC_OK) {
        pending->closure.restore = fetch->closure;
        pending->bytes_own = fetch->bytes_own;
        pending->bytes_fetched = fetch->bytes_fetched;
        status = sc_executor_restore(self->executor, pending->ticket, self->epoch, &fetch->restore);
    }
    sc_session_settle(self, pending, fetch->closure_data, status);
    destroy(self);
}

/* ---- one holder ---- */

/* It brings nothing after all: the next one is tried. */
static void give_up_holder(sc_session *self, const char *why)
{
    sc_fetch *fetch = self->fetch;
    const holder *h = &fetch->holders[fetch->next - 1];
    SC_WARN("blocks %d to %d of the point of step %" PRIu64 " cannot be had from worker %d: %s", h->range.first_block,
            h->range.first_block + h->range.n_blocks - 1, sc_restore_step(fetch->restore), h->worker, why);
    sc_restore_withdraw(fetch->restore);
    fetch->transfer = 0;
    forget_holder(fetch);
}

/* Asks for pieces as far as the window allows. False: the holder was given up. */
static bool ask(sc_session *self);

static void got(void *context, sc_peer *peer, const sc_result *result)
{
    (void)peer;
    asked a = *(asked *)context;
    free(context);
    sc_session *self = a.session;
    sc_fetch *fetch = self->fetch;
    if (!fetch || fetch->transfer != a.transfer)
        return;
    fetch->n_in_flight--;
    sc_status status = result->status;
    if (status != SC_OK)
        SC_FAIL(status, "%s", result->message);
    else if (!result->payload)
        status = SC_FAIL(SC_DATA_LOSS, "a piece came without its bytes");
    else
        status =
            sc_part_put(fetch->part, sc_vault_pool(self->vault), a.piece, sc_buffer_data(result->payload),
                        sc_buffer_bytes(result->payload), ((const Stagecoach__V1__GetPieceReply *)result->reply)->xxh3);
    if (status != SC_OK) {
        give_up_holder(self, sc_status_message());
        try_holders(self);
        return;
    }
    fetch->bytes += sc_buffer_bytes(result->payload);
    if (!ask(self)) {
        try_holders(self);
    } else if (fetch->n_in_flight == 0) {
        fetch->bytes_fetched += fetch->bytes;
        forget_holder(fetch);
        try_holders(self);
    }
}

static bool ask(sc_session *self)
{
    sc_fetch *fetch = self->fetch;
    Stagecoach__V1__HeldPart key = sc_session_write_key(&fetch->part->key);
    Stagecoach__V1__GetPieceRequest request = STAGECOACH__V1__GET_PIECE_REQUEST__INIT;
    request.part = &key;
    for (; fetch->n_in_flight < WINDOW && fetch->piece < fetch->part->n_pieces; fetch->piece++) {
        if (!fetch->wanted[fetch->piece])
            continue;
        request.index = fetch->piece;
        asked *a = malloc(sizeof *a);
        sc_status status = SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a call");
        if (a) {
            *a = (asked){self, fetch->transfer, fetch->piece};
            status = sc_peer_call(fetch->peer, &stagecoach__v1__store__descriptor, "GetPiece", &request.base, NULL, 0,
                                  CALL_DEADLINE_MS, got, a);
        }
        if (status != SC_OK) {
            free(a);
            give_up_holder(self, sc_status_message());
            return false;
        }
        fetch->n_in_flight++;
    }
    return true;
}

/* What is here already need not travel, whoever was named; but it must be what was taken. */
static sc_status use_own(sc_session *self, sc_part *part)
{
    sc_fetch *fetch = self->fetch;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < part->n_pieces; i++)
        if (fetch->wanted[i]) {
            SC_TRY(sc_part_check_piece(part, i));
            bytes += sc_part_piece_bytes(part, i);
        }
    sc_restore_use(fetch->restore, part);
    fetch->bytes_own += bytes;
    forget_holder(fetch);
    return SC_OK;
}

/* True: pieces are on their way. False: this holder is done with, for better or worse. */
static bool try_holder(sc_session *self, const holder *h)
{
    sc_fetch *fetch = self->fetch;
    sc_status status = sc_restore_offer(fetch->restore, h->range, &fetch->part, &fetch->wanted);
    if (status != SC_OK)
        SC_WARN("worker %d is named as a holder: %s", h->worker, sc_status_message());
    if (!fetch->part)
        return false;
    fetch->transfer = ++self->last_transfer;
    fetch->piece = 0;
    fetch->bytes = 0;
    sc_part *own = sc_vault_find(self->vault, &fetch->part->key);
    if (own && own->bytes == fetch->part->bytes && use_own(self, own) == SC_OK)
        return false;
    if (h->worker == self->assignment->worker)
        status = own ? SC_DATA_LOSS : SC_FAIL(SC_NOT_FOUND, "it is not in this worker's memory");
    else
        status = sc_session_reach(self, h->worker, &fetch->peer);
    if (status == SC_OK)
        return ask(self);
    give_up_holder(self, sc_status_message());
    return false;
}

/* ---- from holder to holder ---- */

static void try_holders(sc_session *self)
{
    sc_fetch *fetch = self->fetch;
    while (!sc_restore_is_complete(fetch->restore) && fetch->next < fetch->n_holders)
        if (try_holder(self, &fetch->holders[fetch->next++]))
            return;
    const char *missing = sc_restore_missing(fetch->restore);
    if (!missing) {
        hand_over(self);
        return;
    }
    char why[256];
    snprintf(why, sizeof why, "of the point of step %" PRIu64 " '%s' cannot be had from any of %zu holders",
             sc_restore_step(fetch->restore), missing, fetch->n_holders);
    sc_session_end_restore(self, SC_NOT_FOUND, why);
}

static sc_status read_holders(const sc_session *self, const Stagecoach__V1__RestoreRequest *request, sc_fetch *fetch)
{
    enum { MAX_HOLDERS = 1 << 16 };
    if (request->n_holders > MAX_HOLDERS)
        return SC_FAIL(SC_INVALID, "a restore names %zu holders; %d are the most", request->n_holders, MAX_HOLDERS);
    fetch->holders = calloc(request->n_holders + 1, sizeof *fetch->holders);
    if (!fetch->holders)
        return SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for %zu holders", request->n_holders);
    for (size_t i = 0; i < request->n_holders; i++) {
        const Stagecoach__V1__Holder *h = request->holders[i];
        if (h->worker >= (uint32_t)self->assignment->n_members || h->first_block > INT_MAX || h->n_blocks > INT_MAX)
            return SC_FAIL(SC_INVALID, "a restore names worker %u of %d with %u blocks from block %u on", h->worker,
                           self->assignment->n_members, h->n_blocks, h->first_block);
        fetch->holders[i] = (holder){(int)h->worker, {(int)h->first_block, (int)h->n_blocks}};
    }
    fetch->n_holders = request->n_holders;
    return SC_OK;
}

void sc_session_begin_restore(sc_session *self, const Stagecoach__V1__RestoreRequest *request,
                              Stagecoach__V1__RestoreReply_Closure closure, void *closure_data)
{
    sc_session_end_restore(self, SC_ABORTED, "a later restore takes its place");
    sc_fetch *fetch = calloc(1, sizeof *fetch);
    sc_status status = SC_OK;
    if (!fetch) {
        sc_session_settle(self, NULL, closure_data, SC_FAIL(SC_RESOURCE_EXHAUSTED, "no memory for a restore"));
        return;
    }
    self->fetch = fetch;
    fetch->closure = closure;
    fetch->closure_data = closure_data;
    SC_TRY_GOTO(status, read_holders(self, request, fetch), failed);
    SC_TRY_GOTO(status, sc_restore_new(self->assignment, request->optimizer_step, &fetch->restore), failed);
    try_holders(self);
    return;
failed:
    destroy(self);
    sc_session_settle(self, NULL, closure_data, status);
}
