/* Parameters as streams: pieces by RPC payload, a few calls at a time; the coordinator sets the pace. */
#include "coordinator/run/cluster_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Large enough that a call's round trip does not count, small beside any memory. */
enum { PIECE_BYTES = 1 << 20 }; /* small enough that over a slow connection one comes within each lease */

static void on_piece(void *context, int rank, const sc_result *result)
{
    (void)rank;
    sc_stream_piece *p = context;
    if (result->payload)
        p->data = sc_buffer_ref(result->payload);
    p->n_pending--;
}

/* The workers that hold a parameter, by rank in rising order; at most two (a tied matrix). Returns their number. */
static int find_holders(const sc_cluster *self, int ordinal, int ranks[2])
{
    const sc_assignment *a = self->assignment;
    int n = 0;
    for (int v = 0; v < a->n_slices; v++) {
        int rank = sc_plan_worker_of(a->plans[0], v);
        for (int b = a->slices[v].first_block; b < a->slices[v].first_block + a->slices[v].n_blocks; b++) {
            int ordinals[SC_MAX_BLOCK_PARAMS], count = sc_model_block_params(&a->model, b, ordinals);
            for (int i = 0; i < count; i++)
                if (ordinals[i] == ordinal && n < 2 && (n == 0 || ranks[0] != rank))
                    ranks[n++] = rank;
        }
    }
    return n;
}

static sc_status read_piece(sc_cluster *self, const char *name, int rank, sc_stream_piece *p)
{
    Stagecoach__V1__ReadStateRequest request = STAGECOACH__V1__READ_STATE_REQUEST__INIT;
    request.generation = self->generation;
    request.name = (char *)name;
    request.kind = STAGECOACH__V1__STATE_KIND__STATE_PARAMETER;
    request.offset = p->offset;
    request.bytes = p->n;
    p->n_pending = 1;
    return sc_cluster_call(self, rank, "ReadState", &request.base, NULL, sc_cluster_call_deadline(self), on_piece, p);
}

static sc_status write_piece(sc_cluster *self, const char *name, int moment, const int *ranks, int n_ranks,
                             sc_stream_piece *p, sc_state_source source, void *context)
{
    Stagecoach__V1__WriteStateRequest request = STAGECOACH__V1__WRITE_STATE_REQUEST__INIT;
    request.generation = self->generation;
    request.name = (char *)name;
    request.kind = (Stagecoach__V1__StateKind)moment; /* 0 is the parameter itself */
    request.offset = p->offset;
    sc_buffer *payload = NULL;
    SC_TRY(sc_buffer_get(self->buffers, p->n, &payload));
    sc_status status = source(context, p->offset, sc_buffer_data(payload), p->n);
    p->n_pending = 0;
    for (int i = 0; status == SC_OK && i < n_ranks; i++) {
        status = sc_cluster_call(self, ranks[i], "WriteState", &request.base, sc_buffer_ref(payload),
                                 sc_cluster_call_deadline(self), on_piece, p);
        p->n_pending += status == SC_OK;
    }
    sc_buffer_unref(&payload);
    return status;
}

/* Waits for a piece that was asked for and gives it to the sink. */
static sc_status finish_piece(sc_cluster *self, const char *name, sc_stream_piece *p, sc_state_sink sink, void *context)
{
    while (p->n_pending > 0)
        SC_TRY(sc_cluster_poll(self));
    sc_status status = SC_OK;
    if (sink) {
        size_t got = p->data ? sc_buffer_bytes(p->data) : 0;
        if (got != p->n)
            status =
                SC_FAIL(SC_DATA_LOSS, "%s: asked for %zu bytes at %" PRIu64 " and got %zu", name, p->n, p->offset, got);
        else
            status = sink(context, p->offset, sc_buffer_data(p->data), p->n);
    }
    sc_buffer_unref(&p->data);
    return status;
}

/* A source or sink that fails ends the run's traffic: pieces of the stream are still under way. What the cluster keeps
 * already, as a worker's loss, stays what it is. */
static sc_status end_stream(sc_cluster *self, sc_status status)
{
    if (status != SC_OK && self->failure == SC_OK)
        sc_cluster_fail(self, status, "%s", sc_status_message());
    return status;
}

static sc_status stream(sc_cluster *self, int ordinal, int moment, sc_state_sink sink, sc_state_source source,
                        void *context)
{
    sc_param param = sc_model_param(&self->assignment->model, ordinal);
    uint64_t bytes;
    SC_TRY(sc_shape_bytes(&param.shape, SC_F32, &bytes));
    int ranks[2], n_ranks = find_holders(self, ordinal, ranks);
    uint64_t n_pieces = (bytes + PIECE_BYTES - 1) / PIECE_BYTES;
    for (uint64_t i = 0; i < n_pieces + SC_STREAM_WINDOW; i++) {
        sc_stream_piece *p = &self->pieces[i % SC_STREAM_WINDOW];
        if (i >= SC_STREAM_WINDOW && i - SC_STREAM_WINDOW < n_pieces)
            SC_TRY(end_stream(self, finish_piece(self, param.name, p, sink, context)));
        if (i >= n_pieces)
            continue;
        *p = (sc_stream_piece){.offset = i * PIECE_BYTES};
        p->n = (size_t)(bytes - p->offset < PIECE_BYTES ? bytes - p->offset : PIECE_BYTES);
        if (source)
            SC_TRY(end_stream(self, write_piece(self, param.name, moment, ranks, n_ranks, p, source, context)));
        else
            SC_TRY(read_piece(self, param.name, ranks[0], p));
    }
    return SC_OK;
}

sc_status sc_cluster_read_parameter(sc_cluster *self, int ordinal, sc_state_sink sink, void *context)
{
    return stream(self, ordinal, 0, sink, NULL, context);
}

sc_status sc_cluster_write_parameter(sc_cluster *self, int ordinal, sc_state_source source, void *context)
{
    return stream(self, ordinal, 0, NULL, source, context);
}

sc_status sc_cluster_write_moment(sc_cluster *self, int ordinal, int moment, sc_state_source source, void *context)
{
    return stream(self, ordinal, moment, NULL, source, context);
}
