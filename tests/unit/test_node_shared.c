/* Payloads through shared memory: which way they take, and that all rules of tensors hold on it. */
#include "node_fixture.h"

#include "proto/wire/node_internal.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

enum { N_FLOATS = 100000 };

/* A side with memory of its own. */
typedef struct sharer {
    side side;
    sc_shared_memory *memory;
    sc_buffer_pool *pool;
} sharer;

static void open_sharer(sharer *self, const char *name, bool shares)
{
    assert_int_equal(sc_shared_memory_new(&self->memory), SC_OK);
    sc_buffer_memory source = sc_shared_memory_source(self->memory);
    assert_int_equal(sc_buffer_pool_new(&source, &self->pool), SC_OK);
    sc_node_options options = side_options(&self->side, name);
    options.max_message_bytes = 1 << 20;
    options.memory = shares ? self->memory : NULL;
    side_open(&self->side, &options);
}

static void close_sharer(sharer *self)
{
    side_close(&self->side);
    sc_buffer_pool_destroy(&self->pool);
    sc_shared_memory_destroy(&self->memory);
}

typedef struct pair {
    sharer server, client;
    const char *endpoint;
    sc_peer *to_server, *to_client;
} pair;

static void open_pair(pair *self, const char *endpoint, bool server_shares, bool client_shares)
{
    open_sharer(&self->server, "server", server_shares);
    open_sharer(&self->client, "client", client_shares);
    assert_int_equal(sc_node_bind(self->server.side.node, endpoint, &self->endpoint), SC_OK);
    assert_int_equal(sc_node_connect(self->client.side.node, self->endpoint, &self->to_server), SC_OK);
    bool both = server_shares && client_shares;
    POLL_UNTIL(&self->server.side, &self->client.side,
               self->server.side.met && self->client.side.met &&
                   (!both || (self->server.side.met->reads_ours && self->client.side.met->reads_ours)));
    self->to_client = self->server.side.met;
}

static void close_pair(pair *self)
{
    close_sharer(&self->server);
    close_sharer(&self->client);
}

static sc_buffer *shared_floats(sharer *self, float first)
{
    sc_buffer *buffer = NULL;
    assert_int_equal(sc_buffer_get(self->pool, N_FLOATS * sizeof(float), &buffer), SC_OK);
    for (size_t i = 0; i < N_FLOATS; i++)
        ((float *)sc_buffer_data(buffer))[i] = first + (float)i;
    return buffer;
}

static void check_floats(const sc_tensor_message *message, float first)
{
    const float *values = sc_buffer_data(message->payload);
    assert_int_equal(sc_buffer_bytes(message->payload), N_FLOATS * sizeof(float));
    for (size_t i = 0; i < N_FLOATS; i++)
        if (values[i] != first + (float)i)
            fail_msg("element %zu is %g", i, (double)values[i]);
}

static void send_floats(sharer *self, sc_peer *peer, uint64_t generation, uint32_t microbatch, float first)
{
    sc_buffer *payload = shared_floats(self, first);
    sc_tensor_name name = name_of(generation, 1, microbatch);
    assert_int_equal(sc_peer_send(peer, &name, SC_F32, &SC_SHAPE(N_FLOATS), payload), SC_OK);
    sc_buffer_unref(&payload);
}

/* Three tensors each way. Returns how many bytes did not travel. */
static uint64_t exchange(pair *self)
{
    for (uint32_t m = 0; m < 3; m++) {
        send_floats(&self->client, self->to_server, 0, m, (float)m);
        send_floats(&self->server, self->to_client, 0, m, (float)m + 10);
    }
    POLL_UNTIL(&self->server.side, &self->client.side,
               self->server.side.n_tensors == 3 && self->client.side.n_tensors == 3 &&
                   sc_node_kept_bytes(self->server.side.node) == 0 && sc_node_kept_bytes(self->client.side.node) == 0);
    for (int m = 0; m < 3; m++) {
        check_floats(&self->server.side.tensors[m], (float)m);
        check_floats(&self->client.side.tensors[m], (float)m + 10);
    }
    sc_node_counters server = sc_node_count(self->server.side.node), client = sc_node_count(self->client.side.node);
    assert_int_equal(server.rejected + client.rejected, 0);
    assert_int_equal(server.bytes_in, 3 * N_FLOATS * sizeof(float));
    assert_int_equal(server.bytes_out, 3 * N_FLOATS * sizeof(float));
    assert_int_equal(client.shared_in, server.shared_out);
    assert_int_equal(server.shared_in, client.shared_out);
    return server.shared_in + server.shared_out;
}

static void both_ways_over_any_endpoint(void **state)
{
    (void)state;
    char ipc[64];
    snprintf(ipc, sizeof ipc, "ipc://@stagecoach-test-shared-%d", (int)getpid());
    const char *endpoints[] = {"tcp://127.0.0.1:*", ipc};
    for (int i = 0; i < 2; i++) {
        pair p = {0};
        open_pair(&p, endpoints[i], true, true);
        assert_int_equal(exchange(&p), 6 * N_FLOATS * sizeof(float));
        close_pair(&p);
    }
}

static void frames_where_a_side_does_not_share(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++) {
        pair p = {0};
        open_pair(&p, "tcp://127.0.0.1:*", which != 0, which != 1);
        if (which == 2) { /* it could, but is told not to */
            sc_node_set_sharing(p.server.side.node, false);
            sc_node_set_sharing(p.client.side.node, false);
        }
        assert_int_equal(exchange(&p), 0);
        close_pair(&p);
    }
}

static void other_buffers_travel(void **state)
{
    (void)state;
    pair p = {0};
    open_pair(&p, "tcp://127.0.0.1:*", true, true);
    sc_buffer *payload = floats(1000, 5);
    sc_tensor_name name = name_of(0, 1, 0);
    assert_int_equal(sc_peer_send(p.to_server, &name, SC_F32, &SC_SHAPE(1000), payload), SC_OK);
    sc_buffer_unref(&payload);
    POLL_UNTIL(&p.server.side, &p.client.side, p.server.side.n_tensors == 1);
    assert_int_equal(sc_node_count(p.server.side.node).shared_in, 0);
    close_pair(&p);
}

static void what_leaves_the_host_is_hashed(void **state)
{
    (void)state;
    pair p = {0};
    open_pair(&p, "tcp://127.0.0.1:*", true, true);
    sc_buffer *payload = floats(1000, 5);
    sc_carriage carriage;
    uint64_t hash = 0;
    assert_true(p.to_server->same_host);
    sc_peer_carry(p.to_server, payload, &hash, &carriage);
    assert_ptr_equal(carriage.frame, payload);
    assert_true(carriage.xxh3 == 0 && hash == 0);
    p.to_server->same_host = false;
    sc_peer_carry(p.to_server, payload, &hash, &carriage);
    assert_true(carriage.xxh3 == sc_frame_hash(sc_buffer_data(payload), sc_buffer_bytes(payload)));
    assert_true(hash == carriage.xxh3);
    p.client.side.node->keys.public_key.z85[0] = 'k'; /* all its connections are encrypted */
    sc_peer_carry(p.to_server, payload, &hash, &carriage);
    assert_true(carriage.xxh3 == 0);
    sc_buffer_unref(&payload);
    close_pair(&p);
}

/* ---- calls --------------------------------------------------------------------------------------------------------- */

static void on_join(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__JoinRequest *input,
                    Stagecoach__V1__JoinReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)input;
    sharer *self = sc_call_context(sc_call_of(closure_data));
    sc_buffer *came = sc_call_payload(sc_call_of(closure_data)), *back = NULL;
    assert_int_equal(sc_buffer_get(self->pool, sc_buffer_bytes(came), &back), SC_OK);
    memcpy(sc_buffer_data(back), sc_buffer_data(came), sc_buffer_bytes(came));
    sc_call_set_payload(sc_call_of(closure_data), back);
    Stagecoach__V1__JoinReply reply = STAGECOACH__V1__JOIN_REPLY__INIT;
    closure(&reply, closure_data);
}

static void keep_payload(void *context, sc_peer *peer, const sc_result *result)
{
    (void)peer;
    assert_int_equal(result->status, SC_OK);
    *(sc_buffer **)context = sc_buffer_ref(result->payload);
}

static void payloads_of_calls_too(void **state)
{
    (void)state;
    Stagecoach__V1__Coordinator_Service service = only_join(on_join);
    pair p = {0};
    open_pair(&p, "tcp://127.0.0.1:*", true, true);
    assert_int_equal(sc_node_serve(p.server.side.node, &service.base, &p.server), SC_OK);
    Stagecoach__V1__JoinRequest request = STAGECOACH__V1__JOIN_REQUEST__INIT;
    sc_buffer *back = NULL;
    assert_int_equal(sc_peer_call(p.to_server, &stagecoach__v1__coordinator__descriptor, "Join", &request.base,
                                  shared_floats(&p.client, 4), 0, 20000, keep_payload, &back),
                     SC_OK);
    POLL_UNTIL(&p.server.side, &p.client.side, back);
    check_floats(&(sc_tensor_message){.payload = back}, 4);
    assert_int_equal(sc_node_count(p.server.side.node).shared_in, N_FLOATS * sizeof(float));
    assert_int_equal(sc_node_count(p.client.side.node).shared_in, N_FLOATS * sizeof(float));
    sc_buffer_unref(&back);
    close_pair(&p);
}

/* ---- the fence, restarts, death ------------------------------------------------------------------------------- */

static void wait_for_message(sc_node *node)
{
    zmq_pollitem_t item = {.socket = zsock_resolve(node->router), .events = ZMQ_POLLIN};
    while (zmq_poll(&item, 1, DEADLINE_S * 1000) < 0)
        assert_int_equal(zmq_errno(), EINTR);
    assert_int_equal(item.revents, ZMQ_POLLIN);
}

static void what_the_sender_takes_back_is_not_delivered(void **state)
{
    (void)state;
    pair p = {0};
    open_pair(&p, "tcp://127.0.0.1:*", true, true);
    sc_node_set_generation(p.server.side.node, 1);
    sc_node_set_generation(p.client.side.node, 1);
    send_floats(&p.client, p.to_server, 1, 0, 1);
    wait_for_message(p.server.side.node);
    sc_node_set_generation(p.client.side.node, 2); /* the server does not know yet */
    sc_buffer *reused = shared_floats(&p.client, 77);
    POLL_UNTIL(&p.server.side, &p.client.side, sc_node_count(p.server.side.node).fenced == 1);
    assert_int_equal(p.server.side.n_tensors, 0);
    sc_node_set_generation(p.server.side.node, 2);
    send_floats(&p.client, p.to_server, 2, 0, 2);
    POLL_UNTIL(&p.server.side, &p.client.side, p.server.side.n_tensors == 1);
    check_floats(&p.server.side.tensors[0], 2);
    sc_buffer_unref(&reused);
    close_pair(&p);
}

static void a_restarted_peer_has_other_memory(void **state)
{
    (void)state;
    pair p = {0};
    open_pair(&p, "tcp://127.0.0.1:*", true, true);
    char endpoint[128];
    snprintf(endpoint, sizeof endpoint, "%s", p.endpoint);
    exchange(&p);
    close_sharer(&p.server);
    p.server = (sharer){0};
    send_floats(&p.client, p.to_server, 0, 5, 50); /* it waits for whoever comes */
    open_sharer(&p.server, "server", true);
    p.endpoint = side_bind_again(&p.server.side, endpoint);
    POLL_UNTIL(&p.server.side, &p.client.side,
               p.server.side.met && p.server.side.met->reads_ours && p.to_server->reads_ours);
    p.to_client = p.server.side.met;
    for (int i = 0; i < p.client.side.n_tensors; i++)
        sc_tensor_message_clear(&p.client.side.tensors[i]);
    p.client.side.n_tensors = 0;
    /* What was kept for the old one is not for the new one, which cannot know it: as without shared memory. */
    send_floats(&p.client, p.to_server, 0, 6, 60);
    send_floats(&p.server, p.to_client, 0, 6, 70);
    POLL_UNTIL(&p.server.side, &p.client.side,
               p.server.side.n_tensors >= 1 && p.client.side.n_tensors == 1 &&
                   sc_node_kept_bytes(p.client.side.node) == 0);
    check_floats(&p.server.side.tensors[p.server.side.n_tensors - 1], 60);
    check_floats(&p.client.side.tensors[0], 70);
    assert_int_equal(sc_node_count(p.server.side.node).rejected + sc_node_count(p.client.side.node).rejected, 0);
    close_pair(&p);
}

/* Sends one tensor by reference when told to, and stays until it is killed. */
static void sender(const char *endpoint, int told)
{
    sharer self = {0};
    open_sharer(&self, "sender", true);
    sc_peer *peer;
    if (sc_node_connect(self.side.node, endpoint, &peer) != SC_OK)
        _exit(1);
    while (!peer->reads_ours)
        sc_node_poll(self.side.node, 10);
    char word;
    if (read(told, &word, 1) != 1)
        _exit(1);
    send_floats(&self, peer, 0, 0, 123);
    for (;;)
        sc_node_poll(self.side.node, 10);
}

static void a_reference_outlives_its_sender(void **state)
{
    (void)state;
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "ipc://@stagecoach-test-killed-%d", (int)getpid());
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0)
        sender(endpoint, ends[0]);
    sharer self = {0};
    const char *bound;
    open_sharer(&self, "receiver", true);
    assert_int_equal(sc_node_bind(self.side.node, endpoint, &bound), SC_OK);
    POLL_UNTIL(&self.side, &self.side,
               self.side.met && self.side.met->view && self.side.met->reads_ours); /* its last word for now */
    assert_int_equal(write(ends[1], "s", 1), 1);
    wait_for_message(self.side.node);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    POLL_UNTIL(&self.side, &self.side, self.side.n_tensors == 1);
    check_floats(&self.side.tensors[0], 123);
    assert_int_equal(sc_node_count(self.side.node).shared_in, N_FLOATS * sizeof(float));
    close_sharer(&self);
    close(ends[0]);
    close(ends[1]);
}

/* ---- strangers ----------------------------------------------------------------------------------------------------- */

typedef struct stranger {
    sharer server;
    void *context, *socket; /* a DEALER that says what it likes */
} stranger;

static void open_stranger(stranger *self)
{
    const char *bound;
    int none = 0;
    open_sharer(&self->server, "server", true);
    assert_int_equal(sc_node_bind(self->server.side.node, "tcp://127.0.0.1:*", &bound), SC_OK);
    self->context = zmq_ctx_new();
    self->socket = zmq_socket(self->context, ZMQ_DEALER);
    zmq_setsockopt(self->socket, ZMQ_LINGER, &none, sizeof none);
    assert_int_equal(zmq_connect(self->socket, bound), 0);
}

static void close_stranger(stranger *self)
{
    zmq_close(self->socket);
    zmq_ctx_term(self->context);
    close_sharer(&self->server);
}

static void say(stranger *self, sc_envelope *envelope, int n_frames)
{
    unsigned char bytes[1024];
    envelope->protocol = SC_PROTOCOL_VERSION;
    size_t n = stagecoach__v1__envelope__pack(envelope, bytes);
    assert_int_equal(zmq_send(self->socket, bytes, n, n_frames > 1 ? ZMQ_SNDMORE : 0), n);
    for (int i = 1; i < n_frames; i++)
        assert_int_equal(zmq_send(self->socket, "", 0, i + 1 < n_frames ? ZMQ_SNDMORE : 0), 0);
}

/* Returns what the answer says of the stranger's memory. */
static uint64_t say_hello(stranger *self, const sc_shared_offer *offer)
{
    Stagecoach__V1__SharedMemory memory = STAGECOACH__V1__SHARED_MEMORY__INIT;
    memory.process = offer->process;
    memory.descriptor = offer->descriptor;
    memory.cookie = offer->cookie;
    Stagecoach__V1__Hello hello = STAGECOACH__V1__HELLO__INIT;
    hello.incarnation = 99;
    hello.reply_wanted = true;
    hello.host = offer->host;
    hello.memory = &memory;
    sc_envelope envelope = STAGECOACH__V1__ENVELOPE__INIT, *answer = NULL;
    envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_HELLO;
    envelope.hello = &hello;
    say(self, &envelope, 1);
    unsigned char bytes[1024];
    int n;
    POLL_UNTIL(&self->server.side, &self->server.side,
               (n = zmq_recv(self->socket, bytes, sizeof bytes, ZMQ_DONTWAIT)) >= 0);
    assert_int_equal(sc_frame_parse(bytes, (size_t)n, &answer), SC_OK);
    assert_int_equal(answer->body_case, STAGECOACH__V1__ENVELOPE__BODY_HELLO);
    uint64_t reads = answer->hello->reads;
    sc_frame_free(&answer);
    return reads;
}

static void say_tensor(stranger *self, const sc_shared_place *place, uint64_t n_floats, int n_frames)
{
    Stagecoach__V1__SharedBytes shared = STAGECOACH__V1__SHARED_BYTES__INIT;
    shared.offset = place->offset;
    shared.bytes = place->bytes;
    shared.stamp = place->stamp;
    Stagecoach__V1__TensorName name = STAGECOACH__V1__TENSOR_NAME__INIT;
    name.kind = STAGECOACH__V1__TENSOR_KIND__ACTIVATION;
    Stagecoach__V1__TensorHeader header = STAGECOACH__V1__TENSOR_HEADER__INIT;
    header.name = &name;
    header.dtype = SC_F32;
    header.n_shape = 1;
    header.shape = &n_floats;
    header.bytes = n_floats * sizeof(float);
    header.shared = &shared;
    sc_envelope envelope = STAGECOACH__V1__ENVELOPE__INIT;
    envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_TENSOR;
    envelope.tensor = &header;
    say(self, &envelope, n_frames);
}

static void references_that_lie_are_rejected(void **state)
{
    (void)state;
    stranger s = {0};
    open_stranger(&s);
    sharer owner = {0}; /* of the memory that the stranger speaks of */
    open_sharer(&owner, "owner", true);
    sc_buffer *payload = shared_floats(&owner, 8);
    sc_shared_place good;
    assert_true(sc_shared_memory_find(owner.memory, payload, &good));
    sc_shared_offer offer = sc_shared_memory_offer(owner.memory), lie = offer;

    lie.cookie++;
    assert_int_equal(say_hello(&s, &lie), 0);
    say_tensor(&s, &good, N_FLOATS, 1); /* nothing is open */
    POLL_UNTIL(&s.server.side, &s.server.side, sc_node_count(s.server.side.node).rejected == 1);
    close_stranger(&s);

    s = (stranger){0};
    open_stranger(&s);
    assert_int_equal(say_hello(&s, &offer), offer.cookie);
    const struct {
        uint64_t offset, bytes, n_floats;
        int n_frames;
    } lies[] = {
        {UINT64_C(1) << 40, good.bytes, N_FLOATS, 1},           /* beyond the memory */
        {good.offset + 8, good.bytes, N_FLOATS, 1},             /* no payload begins there */
        {0, good.bytes, N_FLOATS, 1},                           /* the memory's head */
        {UINT64_MAX - 63, good.bytes, N_FLOATS, 1},             /* an end that overflows */
        {good.offset, good.bytes, N_FLOATS - 1, 1},             /* another shape */
        {good.offset, UINT64_MAX, N_FLOATS, 1},                 /* another size */
        {good.offset, UINT64_C(4) << 40, UINT64_C(1) << 40, 1}, /* more than a message may have */
        {good.offset, good.bytes, N_FLOATS, 2},                 /* a payload as well */
    };
    for (size_t n_rejected = 0; n_rejected < sizeof lies / sizeof lies[0]; n_rejected++) {
        sc_shared_place place = {
            .offset = lies[n_rejected].offset, .bytes = lies[n_rejected].bytes, .stamp = good.stamp};
        say_tensor(&s, &place, lies[n_rejected].n_floats, lies[n_rejected].n_frames);
        POLL_UNTIL(&s.server.side, &s.server.side, sc_node_count(s.server.side.node).rejected == n_rejected + 1);
    }
    sc_shared_place old = good;
    old.stamp += 5;
    say_tensor(&s, &old, N_FLOATS, 1);
    POLL_UNTIL(&s.server.side, &s.server.side, sc_node_count(s.server.side.node).fenced == 1);
    assert_int_equal(s.server.side.n_tensors, 0);
    say_tensor(&s, &good, N_FLOATS, 1); /* the truth */
    POLL_UNTIL(&s.server.side, &s.server.side, s.server.side.n_tensors == 1);
    check_floats(&s.server.side.tensors[0], 8);
    sc_buffer_unref(&payload);
    payload = shared_floats(&owner, 9); /* the same memory */
    say_tensor(&s, &good, N_FLOATS, 1); /* a duplicate is known by its name, whatever has become of its bytes */
    POLL_UNTIL(&s.server.side, &s.server.side, sc_node_count(s.server.side.node).duplicates == 1);
    assert_int_equal(sc_node_count(s.server.side.node).fenced, 1);
    assert_int_equal(s.server.side.n_tensors, 1);
    sc_buffer_unref(&payload);
    close_sharer(&owner);
    close_stranger(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reference_outlives_its_sender), /* forks: before any socket */
        cmocka_unit_test(both_ways_over_any_endpoint),
        cmocka_unit_test(frames_where_a_side_does_not_share),
        cmocka_unit_test(other_buffers_travel),
        cmocka_unit_test(what_leaves_the_host_is_hashed),
        cmocka_unit_test(payloads_of_calls_too),
        cmocka_unit_test(what_the_sender_takes_back_is_not_delivered),
        cmocka_unit_test(a_restarted_peer_has_other_memory),
        cmocka_unit_test(references_that_lie_are_rejected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
