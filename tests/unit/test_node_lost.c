/* A connection that goes is told of within moments, by both sides, once, and is no verdict on the peer. */
#include "node_fixture.h"

#include "proto/wire/node_internal.h"

typedef struct scene {
    side server, client, other;
    const char *bound;
    sc_peer *to_server, *of_client;
    int n_lost, n_lost_at_client;
    sc_peer *lost;
} scene;

static scene *current; /* the fixture's context is the side; the scene is found here */

static void on_lost(void *context, sc_peer *peer)
{
    if (context == &current->server) {
        current->n_lost++;
        current->lost = peer;
    } else {
        current->n_lost_at_client++;
    }
}

static void open_scene(scene *self)
{
    *self = (scene){0};
    current = self;
    sc_node_options options = side_options(&self->server, "server");
    options.heartbeat_ms = DEADLINE_S * 1000; /* it is not by silence that it notices */
    options.on_lost = on_lost;
    side_open(&self->server, &options);
    options = side_options(&self->client, "client");
    options.on_lost = on_lost;
    side_open(&self->client, &options);
    options = side_options(&self->other, "other");
    side_open(&self->other, &options);
    assert_int_equal(sc_node_bind(self->server.node, "tcp://127.0.0.1:*", &self->bound), SC_OK);
    sc_peer *to_server;
    assert_int_equal(sc_node_connect(self->other.node, self->bound, &to_server), SC_OK);
    POLL_UNTIL(&self->server, &self->other, self->server.met && self->other.met);
    assert_int_equal(sc_node_connect(self->client.node, self->bound, &self->to_server), SC_OK);
    POLL_UNTIL(&self->server, &self->client, self->server.n_met == 2 && self->client.met);
    self->of_client = self->server.met;
    assert_true(sc_peer_connected(self->of_client) && sc_peer_connected(self->to_server));
}

static void close_scene(scene *self)
{
    side_close(&self->server);
    side_close(&self->client);
    side_close(&self->other);
}

/* Polls long after the last probe, so that a second call of on_lost would have come. */
static void settle(scene *self)
{
    sc_clock clock = sc_clock_system();
    uint64_t start = sc_clock_ns(&clock);
    while (sc_clock_seconds_since(&clock, start) < 0.5)
        assert_int_equal(sc_node_poll(self->server.node, 10), SC_OK);
}

static void a_peer_that_goes_is_told_of_and_kept(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    outcome result = {0};
    Stagecoach__V1__ProgressRequest request = STAGECOACH__V1__PROGRESS_REQUEST__INIT;
    uint64_t incarnation = sc_peer_incarnation(s.of_client);
    side_close(&s.client);
    s.client = (side){0};
    POLL_UNTIL(&s.server, &s.other, s.n_lost == 1);
    assert_ptr_equal(s.lost, s.of_client);
    assert_false(sc_peer_connected(s.of_client));
    assert_int_equal(sc_peer_incarnation(s.of_client), incarnation); /* nothing is dropped */
    assert_ptr_equal(sc_node_find_peer(s.server.node, incarnation), s.of_client);
    /* A call to it waits for its deadline: it might have come back. */
    assert_int_equal(sc_peer_call(s.of_client, &stagecoach__v1__coordinator__descriptor, "Progress", &request.base,
                                  NULL, 0, 300, keep_outcome, &result),
                     SC_OK);
    POLL_UNTIL(&s.server, &s.other, result.n);
    assert_int_equal(result.status, SC_DEADLINE_EXCEEDED);
    settle(&s);
    assert_int_equal(s.n_lost, 1); /* once, and nobody else */
    close_scene(&s);
}

static void a_cut_connection_comes_back(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    zsock_t *socket = s.to_server->socket;
    for (int cut = 1; cut <= 3; cut++) {
        assert_int_equal(zmq_disconnect(zsock_resolve(socket), s.bound), 0);
        POLL_UNTIL(&s.server, &s.client, s.n_lost == cut);
        assert_false(sc_peer_connected(s.of_client));
        sc_buffer *payload = floats(1000, (float)cut); /* what is sent meanwhile comes when it stands again */
        sc_tensor_name there = name_of(0, 1, (uint32_t)cut), back = name_of(0, 2, (uint32_t)cut);
        assert_int_equal(sc_peer_send(s.to_server, &there, SC_F32, &SC_SHAPE(1000), payload), SC_OK);
        assert_int_equal(sc_peer_send(s.of_client, &back, SC_F32, &SC_SHAPE(1000), payload), SC_OK);
        sc_buffer_unref(&payload);
        assert_int_equal(zmq_connect(zsock_resolve(socket), s.bound), 0);
        POLL_UNTIL(&s.server, &s.client, s.server.n_tensors == cut && s.client.n_tensors == cut);
        assert_true(sc_peer_connected(s.of_client) && sc_peer_connected(s.to_server));
    }
    assert_int_equal(s.server.n_met, 2); /* no new peer and no restart */
    close_scene(&s);
}

static void a_server_that_goes_is_told_of(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    side_close(&s.server);
    s.server = (side){0};
    POLL_UNTIL(&s.client, &s.other, s.n_lost_at_client == 1);
    assert_false(sc_peer_connected(s.to_server));
    close_scene(&s);
}

static void strangers_that_come_and_go_are_nobodys_loss(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    void *context = zmq_ctx_new();
    for (int i = 0; i < 20; i++) {
        void *stranger = zmq_socket(context, ZMQ_DEALER);
        assert_int_equal(zmq_connect(stranger, s.bound), 0);
        assert_int_equal(zmq_send(stranger, "x", 1, 0), 1);
        uint64_t rejected = sc_node_count(s.server.node).rejected;
        POLL_UNTIL(&s.server, &s.client, sc_node_count(s.server.node).rejected > rejected);
        zmq_close(stranger);
    }
    zmq_ctx_term(context);
    settle(&s);
    assert_int_equal(s.n_lost, 0);
    assert_true(sc_peer_connected(s.of_client));
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peer_that_goes_is_told_of_and_kept),
        cmocka_unit_test(a_cut_connection_comes_back),
        cmocka_unit_test(a_server_that_goes_is_told_of),
        cmocka_unit_test(strangers_that_come_and_go_are_nobodys_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
