/* How payloads travel: in a frame, or by reference between two processes of one host. */
#include "proto/wire/node_internal.h"

#include "proto/base/log.h"

#define SC_LOG_SUBSYSTEM "node"

bool sc_peer_look(sc_peer *self, const Stagecoach__V1__Hello *hello)
{
    sc_node *node = self->node;
    const Stagecoach__V1__SharedMemory *memory = hello->memory;
    self->same_host = hello->host != 0 && hello->host == sc_shared_memory_host();
    self->reads_ours = node->options.memory && hello->reads == sc_shared_memory_offer(node->options.memory).cookie;
    if (self->view && (!memory || memory->cookie != sc_shared_view_cookie(self->view)))
        sc_shared_view_close(&self->view); /* another process's now */
    if (self->view || !memory || !self->same_host || !node->options.memory || memory->cookie == self->refused_cookie)
        return false;
    sc_shared_offer offer = {
        .host = hello->host,
        .process = memory->process,
        .descriptor = memory->descriptor,
        .cookie = memory->cookie,
    };
    if (sc_shared_view_open(&offer, &self->view) == SC_OK)
        return true;
    self->refused_cookie = memory->cookie;
    SC_DEBUG("%s: payloads of %s come in frames: %s", node->name, sc_peer_name(self), sc_status_message());
    return false;
}

void sc_peer_carry(const sc_peer *self, sc_buffer *payload, uint64_t *known_xxh3, sc_carriage *out)
{
    *out = (sc_carriage){.place = STAGECOACH__V1__SHARED_BYTES__INIT};
    if (!payload)
        return;
    sc_shared_place place;
    if (self->node->sharing && self->reads_ours && sc_shared_memory_find(self->node->options.memory, payload, &place)) {
        out->shared = true;
        out->place.offset = place.offset;
        out->place.bytes = place.bytes;
        out->place.stamp = place.stamp;
        return;
    }
    out->frame = payload;
    if (self->same_host || self->node->keys.public_key.z85[0])
        return; /* CURVE's boxes are authenticated: a damaged one costs the connection */
    if (*known_xxh3 == 0)
        *known_xxh3 = sc_frame_hash(sc_buffer_data(payload), sc_buffer_bytes(payload));
    out->xxh3 = *known_xxh3;
}

static sc_status copy_shared(sc_peer *self, const Stagecoach__V1__SharedBytes *shared, sc_buffer **out)
{
    sc_node *node = self->node;
    if (!self->view)
        return SC_FAIL(SC_FAILED_PRECONDITION, "%s refers to its memory, which is not open here", sc_peer_name(self));
    if (shared->bytes > node->options.max_message_bytes)
        return SC_FAIL(SC_INVALID, "a payload of %llu bytes in shared memory: a message may have %llu",
                       (unsigned long long)shared->bytes, (unsigned long long)node->options.max_message_bytes);
    SC_TRY(sc_buffer_new((size_t)shared->bytes, out));
    sc_shared_place place = {.offset = shared->offset, .bytes = shared->bytes, .stamp = shared->stamp};
    sc_status status = sc_shared_view_copy(self->view, &place, sc_buffer_data(*out));
    if (status != SC_OK)
        sc_buffer_unref(out);
    else
        node->counters.shared_in += shared->bytes;
    return status;
}

sc_status sc_peer_fetch(sc_peer *self, sc_incoming *message, size_t frame, const Stagecoach__V1__SharedBytes *shared,
                        uint64_t xxh3, sc_buffer **out)
{
    *out = NULL;
    if (shared)
        return copy_shared(self, shared, out);
    SC_TRY(sc_incoming_take(message, frame, out));
    if (xxh3 == 0 || sc_frame_hash(sc_buffer_data(*out), sc_buffer_bytes(*out)) == xxh3)
        return SC_OK;
    sc_buffer_unref(out);
    return SC_FAIL(SC_DATA_LOSS, "a payload came damaged");
}
