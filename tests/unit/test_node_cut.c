/* Connections that break in the middle of a step: a proxy between two nodes cuts them, and everything still arrives,
 * once, in both directions. */
#include "node_fixture.h"

#include "tests/tools/fault_proxy.h"

/* ---- a service that counts ----------------------------------------------------------------------------------------- */

typedef struct count {
    int n_joins;
    uint64_t seen[256];
} count;

static void on_join(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__JoinRequest *input,
                    Stagecoach__V1__JoinReply_Closure closure, void *closure_data)
{
    (void)service;
    count *self = sc_call_context(sc_call_of(closure_data));
    self->n_joins++;
    self->seen[input->pid % 256]++;
    Stagecoach__V1__JoinReply reply = STAGECOACH__V1__JOIN_REPLY__INIT;
    reply.lease_ms = input->pid;
    sc_call_set_payload(sc_call_of(closure_data), sc_buffer_ref(sc_call_payload(sc_call_of(closure_data))));
    closure(&reply, closure_data);
}

static Stagecoach__V1__Coordinator_Service service;

/* ---- a step with cuts ---------------------------------------------------------------------------------------------- */

enum { N_MICROBATCHES = 24, N_CALLS = 12, ELEMENTS = 100000 };

typedef struct scene {
    side server, client;
    sc_peer *to_server, *to_client;
    sc_fault_proxy *proxy;
    count at_server, at_client;
    outcome there[N_CALLS], back[N_CALLS];
} scene;

static void open_scene_with(scene *self, uint32_t heartbeat_ms)
{
    *self = (scene){0};
    sc_node_options options = side_options(&self->server, "server");
    options.heartbeat_ms = heartbeat_ms;
    side_open(&self->server, &options);
    options = side_options(&self->client, "client");
    options.heartbeat_ms = heartbeat_ms;
    side_open(&self->client, &options);
    const char *bound;
    assert_int_equal(sc_node_bind(self->server.node, "tcp://127.0.0.1:*", &bound), SC_OK);
    service = only_join(on_join);
    assert_int_equal(sc_node_serve(self->server.node, &service.base, &self->at_server), SC_OK);
    assert_int_equal(sc_node_serve(self->client.node, &service.base, &self->at_client), SC_OK);
    sc_clock clock = sc_clock_system();
    assert_int_equal(sc_fault_proxy_new("127.0.0.1:0", bound + strlen("tcp://"), &clock, &self->proxy), SC_OK);
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", sc_fault_proxy_port(self->proxy));
    assert_int_equal(sc_node_connect(self->client.node, endpoint, &self->to_server), SC_OK);
    POLL_UNTIL_WITH(&self->server, &self->client, self->server.met && self->client.met,
                    sc_fault_proxy_turn(self->proxy));
    self->to_client = self->server.met;
}

static void open_scene(scene *self)
{
    open_scene_with(self, 1000);
}

/* A call goes behind all that was said before, and so does its reply: after it nothing is under way. (libzmq 4.3.4 leaks the
 * frames of a message that is half received when its socket is closed.) */
static void close_scene(scene *self)
{
    outcome last = {0};
    Stagecoach__V1__ProgressRequest request = STAGECOACH__V1__PROGRESS_REQUEST__INIT;
    assert_int_equal(sc_peer_call(self->to_server, &stagecoach__v1__coordinator__descriptor, "Progress", &request.base,
                                  NULL, 0, 60000, keep_outcome, &last),
                     SC_OK);
    POLL_UNTIL_WITH(&self->server, &self->client, last.n, sc_fault_proxy_turn(self->proxy));
    side_close(&self->server);
    side_close(&self->client);
    sc_fault_proxy_destroy(&self->proxy);
}

static void start_step(scene *self, bool expect)
{
    for (uint32_t m = 0; m < N_MICROBATCHES; m++) {
        sc_buffer *payload = floats(ELEMENTS, (float)m);
        sc_tensor_name name = name_of(0, 1, m);
        assert_int_equal(sc_peer_send(self->to_server, &name, SC_F32, &SC_SHAPE(ELEMENTS), payload), SC_OK);
        assert_int_equal(sc_peer_send(self->to_client, &name, SC_F32, &SC_SHAPE(ELEMENTS), payload), SC_OK);
        sc_buffer_unref(&payload);
        if (expect) {
            sc_peer_expect(self->to_server, &name);
            sc_peer_expect(self->to_client, &name);
        }
    }
    for (uint32_t i = 0; i < N_CALLS; i++) {
        Stagecoach__V1__JoinRequest request = STAGECOACH__V1__JOIN_REQUEST__INIT;
        request.pid = i;
        const ProtobufCServiceDescriptor *coordinator = &stagecoach__v1__coordinator__descriptor;
        assert_int_equal(sc_peer_call(self->to_server, coordinator, "Join", &request.base, floats(1000, 1), 0, 60000,
                                      keep_outcome, &self->there[i]),
                         SC_OK);
        assert_int_equal(sc_peer_call(self->to_client, coordinator, "Join", &request.base, floats(1000, 1), 0, 60000,
                                      keep_outcome, &self->back[i]),
                         SC_OK);
    }
}

static bool finished(const scene *self)
{
    for (int i = 0; i < N_CALLS; i++)
        if (!self->there[i].n || !self->back[i].n)
            return false;
    return self->server.n_tensors >= N_MICROBATCHES && self->client.n_tensors >= N_MICROBATCHES &&
           sc_node_kept_bytes(self->server.node) + sc_node_kept_bytes(self->client.node) == 0;
}

static void check_once(const scene *self)
{
    for (int s = 0; s < 2; s++) {
        const side *at = s ? &self->client : &self->server;
        const count *served = s ? &self->at_client : &self->at_server;
        const outcome *outcomes = s ? self->back : self->there;
        bool came[N_MICROBATCHES] = {false};
        assert_int_equal(at->n_tensors, N_MICROBATCHES);
        for (int i = 0; i < at->n_tensors; i++) {
            uint32_t m = at->tensors[i].name.microbatch;
            assert_false(came[m]);
            came[m] = true;
            const float *values = sc_buffer_data(at->tensors[i].payload);
            assert_true(values[0] == (float)m && values[ELEMENTS - 1] == (float)m);
        }
        assert_int_equal(served->n_joins, N_CALLS);
        for (uint32_t i = 0; i < N_CALLS; i++) {
            assert_int_equal(served->seen[i], 1);
            assert_int_equal(outcomes[i].n, 1);
            assert_int_equal(outcomes[i].status, SC_OK);
            assert_int_equal(outcomes[i].lease_ms, i);
            assert_int_equal(outcomes[i].payload_bytes, 4000);
        }
    }
}

/* Cuts once, at many places: each multiple of the step's bytes that all carry. */
static void a_cut_loses_nothing(bool expect)
{
    const uint64_t total = 2ull * N_MICROBATCHES * ELEMENTS * 4;
    for (uint64_t eighth = 0; eighth < 8; eighth++) {
        scene s;
        open_scene(&s);
        start_step(&s, expect);
        sc_fault_proxy_cut_after(s.proxy, eighth * total / 8 + 1);
        POLL_UNTIL_WITH(&s.server, &s.client, finished(&s), sc_fault_proxy_turn(s.proxy));
        assert_int_equal(sc_fault_proxy_count(s.proxy).resets, 1);
        check_once(&s);
        assert_int_equal(sc_node_count(s.server.node).rejected + sc_node_count(s.client.node).rejected, 0);
        close_scene(&s);
    }
}

static void a_cut_loses_nothing_that_is_expected(void **state)
{
    (void)state;
    a_cut_loses_nothing(true);
}

static void a_cut_loses_nothing_that_is_not_yet_expected(void **state)
{
    (void)state;
    a_cut_loses_nothing(false);
}

static void many_cuts_lose_nothing(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    start_step(&s, true);
    /* The gaps grow: a connection that never lives long enough for one tensor cannot make progress. */
    for (uint64_t gap = 300000; gap < 6000000; gap *= 2) {
        uint64_t resets = sc_fault_proxy_count(s.proxy).resets;
        sc_fault_proxy_cut_after(s.proxy, gap);
        POLL_UNTIL_WITH(&s.server, &s.client, sc_fault_proxy_count(s.proxy).resets > resets || finished(&s),
                        sc_fault_proxy_turn(s.proxy));
    }
    POLL_UNTIL_WITH(&s.server, &s.client, finished(&s), sc_fault_proxy_turn(s.proxy));
    assert_true(sc_fault_proxy_count(s.proxy).resets >= 3);
    check_once(&s);
    assert_int_equal(s.server.n_met, 1); /* a cut is not a restart */
    assert_int_equal(s.client.n_met, 1);
    close_scene(&s);
}

static void what_is_said_while_cut_off_is_said_later(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    sc_fault_proxy_reset(s.proxy);
    start_step(&s, false);
    POLL_UNTIL_WITH(&s.server, &s.client, finished(&s), sc_fault_proxy_turn(s.proxy));
    check_once(&s);
    close_scene(&s);
}

/* A message that takes longer than four heartbeats, and many times resend_ms, is neither cut off nor sent twice. */
static void a_slow_link_takes_time_and_nothing_else(void **state)
{
    enum { LARGE = 2000000, CALL = 1000000, BYTES_PER_SECOND = 8000000 };
    (void)state;
    scene s;
    open_scene_with(&s, 100);
    sc_fault_proxy_slow(s.proxy, BYTES_PER_SECOND, 20);
    sc_buffer *payload = floats(LARGE, 3);
    sc_tensor_name name = name_of(0, 1, 0);
    outcome there = {0}, back = {0};
    Stagecoach__V1__JoinRequest request = STAGECOACH__V1__JOIN_REQUEST__INIT;
    const ProtobufCServiceDescriptor *coordinator = &stagecoach__v1__coordinator__descriptor;
    sc_peer *peers[] = {s.to_server, s.to_client};
    for (int i = 0; i < 2; i++) {
        sc_peer_expect(peers[i], &name);
        assert_int_equal(sc_peer_send(peers[i], &name, SC_F32, &SC_SHAPE(LARGE), payload), SC_OK);
        assert_int_equal(sc_peer_call(peers[i], coordinator, "Join", &request.base, floats(CALL, 1), 0, 60000,
                                      keep_outcome, i ? &back : &there),
                         SC_OK);
    }
    sc_buffer_unref(&payload);
    sc_clock clock = sc_clock_system();
    uint64_t start_ns = sc_clock_ns(&clock);
    POLL_UNTIL_WITH(&s.server, &s.client, there.n && back.n && s.server.n_tensors && s.client.n_tensors,
                    sc_fault_proxy_turn(s.proxy));
    /* The tensor, the request and the reply to the other side's; a tenth for the clock's grain. */
    assert_true(sc_clock_seconds_since(&clock, start_ns) > 0.9 * 4 * (LARGE + 2.0 * CALL) / BYTES_PER_SECOND);
    assert_int_equal(there.payload_bytes, 4 * CALL);
    assert_int_equal(back.payload_bytes, 4 * CALL);
    assert_int_equal(sc_fault_proxy_count(s.proxy).accepted, 1); /* the connection stood all the time */
    assert_true(sc_fault_proxy_count(s.proxy).carried <
                2.1 * 4 * (LARGE + 2 * CALL)); /* acknowledgements and headers */
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cut_loses_nothing_that_is_expected),
        cmocka_unit_test(a_cut_loses_nothing_that_is_not_yet_expected),
        cmocka_unit_test(many_cuts_lose_nothing),
        cmocka_unit_test(what_is_said_while_cut_off_is_said_later),
        cmocka_unit_test(a_slow_link_takes_time_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
