/* The Store service: parts of points that other workers leave here and fetch. */
#include "worker/session_internal.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

Stagecoach__V1__HeldPart sc_session_write_key(const sc_part_key *key)
{
    Stagecoach__V1__HeldPart part = STAGECOACH__V1__HELD_PART__INIT;
    part.lineage = key->lineage;
    part.optimizer_step = key->optimizer_step;
    part.first_block = (uint32_t)key->first_block;
    part.n_blocks = (uint32_t)key->n_blocks;
    return part;
}

static sc_status read_key(const Stagecoach__V1__HeldPart *part, sc_part_key *out)
{
    if (!part || part->first_block > INT_MAX || part->n_blocks > INT_MAX)
        return SC_FAIL(SC_INVALID, "the call names no part");
    *out = (sc_part_key){part->lineage, part->optimizer_step, (int)part->first_block, (int)part->n_blocks};
    return SC_OK;
}

sc_part *sc_session_own_part(const sc_session *self, uint64_t optimizer_step, int chunk)
{
    sc_slice slice = sc_assignment_slice(self->assignment, chunk);
    sc_part_key key = {self->assignment->lineage, optimizer_step, slice.first_block, slice.n_blocks};
    return sc_vault_find(self->vault, &key);
}

/* ---- who may do what ---- */

/* A stage's worker may leave the stage's own part, of the size that it has: so nobody fills this memory with anything
 * else. */
static sc_status check_depositor(const sc_session *self, const sc_peer *peer, const sc_part_key *key)
{
    const sc_assignment *assignment = self->assignment;
    if (!assignment)
        return SC_FAIL(SC_FAILED_PRECONDITION, "this worker has no assignment, and so nobody to keep parts for");
    int member = sc_session_member(self, peer);
    for (int v = 0; v < assignment->n_stages; v++)
        if (assignment->slices[v].first_block == key->first_block && assignment->slices[v].n_blocks == key->n_blocks &&
            sc_assignment_worker_of(assignment, v) == member)
            return SC_OK;
    return SC_FAIL(SC_PERMISSION_DENIED, "blocks %d to %d came from '%s', whose they are not", key->first_block,
                   key->first_block + key->n_blocks - 1, sc_peer_name(peer));
}

static sc_status check_bytes(const sc_assignment *assignment, const sc_part_key *key, uint64_t bytes)
{
    sc_part_layout *layout;
    SC_TRY(sc_part_layout_new(&assignment->model, sc_assignment_n_moments(assignment),
                              (sc_slice){key->first_block, key->n_blocks}, &layout));
    uint64_t expected = layout->bytes;
    free(layout);
    if (bytes != expected)
        return SC_FAIL(SC_INVALID, "a part of blocks %d to %d has %" PRIu64 " bytes, not %" PRIu64, key->first_block,
                       key->first_block + key->n_blocks - 1, expected, bytes);
    return SC_OK;
}

/* Members; and whoever knows a part's lineage, where there is no assignment to say who is one: a worker that was
 * replaced, or whose coordinator was started anew, may hold what the others need. */
static sc_status check_reader(const sc_session *self, const sc_peer *peer)
{
    if (self->assignment && sc_session_member(self, peer) < 0)
        return SC_FAIL(SC_PERMISSION_DENIED, "'%s' is no member of generation %" PRIu64, sc_peer_name(peer),
                       self->assignment->generation);
    return SC_OK;
}

/* ---- the calls ---- */

static void refuse(void *closure_data, sc_status status)
{
    SC_DEBUG("a call for a part was refused: %s", sc_status_message());
    sc_call_fail(sc_call_of(closure_data), status, sc_status_message());
}

static void store_open_part(Stagecoach__V1__Store_Service *service, const Stagecoach__V1__OpenPartRequest *input,
                            Stagecoach__V1__OpenPartReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = sc_session_of(closure_data);
    const sc_peer *peer = sc_call_peer(sc_call_of(closure_data));
    sc_part_key key;
    bool held = false;
    sc_status status = read_key(input->part, &key);
    if (status == SC_OK)
        status = check_depositor(self, peer, &key);
    if (status == SC_OK)
        status = check_bytes(self->assignment, &key, input->bytes);
    if (status == SC_OK && input->n_keep_steps > SC_VAULT_MAX_KEEP)
        status = SC_FAIL(SC_INVALID, "a deposit is to keep %zu others; %d are the most", input->n_keep_steps,
                         SC_VAULT_MAX_KEEP);
    if (status == SC_OK)
        status = sc_vault_open(self->vault, sc_peer_incarnation(peer), &key, input->bytes, input->xxh3,
                               input->keep_steps, input->n_keep_steps, &held);
    if (status != SC_OK) {
        refuse(closure_data, status);
        return;
    }
    Stagecoach__V1__OpenPartReply reply = STAGECOACH__V1__OPEN_PART_REPLY__INIT;
    reply.held = held;
    closure(&reply, closure_data);
}

static void store_put_piece(Stagecoach__V1__Store_Service *service, const Stagecoach__V1__PutPieceRequest *input,
                            Stagecoach__V1__PutPieceReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = sc_session_of(closure_data);
    sc_call *call = sc_call_of(closure_data);
    sc_buffer *payload = sc_call_payload(call);
    sc_part_key key;
    sc_status status = read_key(input->part, &key);
    if (status == SC_OK && !payload)
        status = SC_FAIL(SC_INVALID, "a piece came without its bytes");
    if (status == SC_OK)
        status = sc_vault_put(self->vault, sc_peer_incarnation(sc_call_peer(call)), &key, input->index,
                              sc_buffer_data(payload), sc_buffer_bytes(payload), input->xxh3);
    if (status != SC_OK) {
        refuse(closure_data, status);
        return;
    }
    Stagecoach__V1__PutPieceReply reply = STAGECOACH__V1__PUT_PIECE_REPLY__INIT;
    closure(&reply, closure_data);
}

static void store_close_part(Stagecoach__V1__Store_Service *service, const Stagecoach__V1__ClosePartRequest *input,
                             Stagecoach__V1__ClosePartReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = sc_session_of(closure_data);
    sc_part_key key;
    sc_status status = read_key(input->part, &key);
    if (status == SC_OK)
        status = sc_vault_close(self->vault, sc_peer_incarnation(sc_call_peer(sc_call_of(closure_data))), &key);
    if (status != SC_OK) {
        refuse(closure_data, status);
        return;
    }
    Stagecoach__V1__ClosePartReply reply = STAGECOACH__V1__CLOSE_PART_REPLY__INIT;
    closure(&reply, closure_data);
}

static void store_get_piece(Stagecoach__V1__Store_Service *service, const Stagecoach__V1__GetPieceRequest *input,
                            Stagecoach__V1__GetPieceReply_Closure closure, void *closure_data)
{
    (void)service;
    sc_session *self = sc_session_of(closure_data);
    sc_part_key key;
    sc_status status = read_key(input->part, &key);
    if (status == SC_OK)
        status = check_reader(self, sc_call_peer(sc_call_of(closure_data)));
    const sc_part *part = status == SC_OK ? sc_vault_find(self->vault, &key) : NULL;
    if (status == SC_OK && !part)
        status = SC_FAIL(SC_NOT_FOUND, "blocks %d to %d after step %" PRIu64 " are not held here", key.first_block,
                         key.first_block + key.n_blocks - 1, key.optimizer_step);
    if (status == SC_OK && input->index >= part->n_pieces)
        status = SC_FAIL(SC_OUT_OF_RANGE, "piece %u of %u", input->index, part->n_pieces);
    if (status != SC_OK) {
        refuse(closure_data, status);
        return;
    }
    Stagecoach__V1__GetPieceReply reply = STAGECOACH__V1__GET_PIECE_REPLY__INIT;
    reply.xxh3 = part->piece_xxh3[input->index];
    sc_call_set_payload(sc_call_of(closure_data), sc_buffer_ref(part->pieces[input->index]));
    closure(&reply, closure_data);
}

void sc_session_serve_store(sc_session *self)
{
    self->store_service = (Stagecoach__V1__Store_Service)STAGECOACH__V1__STORE__INIT(store_);
}
