#include "node_fixture.h"

#include <signal.h>
#include <unistd.h>

/* ---- a service ----------------------------------------------------------------------------------------------------- */

typedef struct desk {
    int n_joins;
    void *waiting; /* Progress is answered later */
    Stagecoach__V1__ProgressReply_Closure closure;
    size_t payload_bytes;
    sc_peer *caller;
} desk;

static void on_join(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__JoinRequest *input,
                    Stagecoach__V1__JoinReply_Closure closure, void *closure_data)
{
    (void)service;
    desk *self = sc_call_context(sc_call_of(closure_data));
    self->n_joins++;
    self->caller = sc_call_peer(sc_call_of(closure_data));
    sc_buffer *payload = sc_call_payload(sc_call_of(closure_data));
    self->payload_bytes = payload ? sc_buffer_bytes(payload) : 0;
    if (payload)
        sc_call_set_payload(sc_call_of(closure_data), sc_buffer_ref(payload));
    Stagecoach__V1__JoinReply reply = STAGECOACH__V1__JOIN_REPLY__INIT;
    reply.lease_ms = input->pid + 1;
    closure(&reply, closure_data);
}

static void on_progress(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__ProgressRequest *input,
                        Stagecoach__V1__ProgressReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)input;
    desk *self = sc_call_context(sc_call_of(closure_data));
    self->waiting = closure_data;
    self->closure = closure;
}

static void on_leave(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__LeaveRequest *input,
                     Stagecoach__V1__LeaveReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)closure;
    sc_call_fail(sc_call_of(closure_data), SC_NOT_FOUND, input->reason);
}

static void on_drain(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__DrainRequest *input,
                     Stagecoach__V1__DrainReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)closure;
    sc_call_fail(sc_call_of(closure_data), SC_NOT_FOUND, input->reason);
}

static Stagecoach__V1__Coordinator_Service service = STAGECOACH__V1__COORDINATOR__INIT(on_);

static sc_status join(sc_peer *peer, uint32_t pid, sc_buffer *payload, uint64_t generation, uint32_t deadline_ms,
                      outcome *result)
{
    Stagecoach__V1__JoinRequest request = STAGECOACH__V1__JOIN_REQUEST__INIT;
    request.pid = pid;
    return sc_peer_call(peer, &stagecoach__v1__coordinator__descriptor, "Join", &request.base, payload, generation,
                        deadline_ms, keep_outcome, result);
}

/* ---- a server and a client that know each other -------------------------------------------------------------------- */

typedef struct pair {
    side server, client;
    sc_peer *to_server, *to_client;
    desk desk;
    const char *endpoint;
} pair;

static void open_pair(pair *self, const char *endpoint)
{
    *self = (pair){0};
    sc_node_options options = side_options(&self->server, "server");
    side_open(&self->server, &options);
    options = side_options(&self->client, "client");
    side_open(&self->client, &options);
    assert_int_equal(sc_node_bind(self->server.node, endpoint, &self->endpoint), SC_OK);
    assert_int_equal(sc_node_serve(self->server.node, &service.base, &self->desk), SC_OK);
    assert_int_equal(sc_node_connect(self->client.node, self->endpoint, &self->to_server), SC_OK);
    POLL_UNTIL(&self->server, &self->client, self->server.met && self->client.met);
    self->to_client = self->server.met;
}

static void close_pair(pair *self)
{
    side_close(&self->server);
    side_close(&self->client);
}

static void peers_introduce_themselves(void **state)
{
    (void)state;
    pair p;
    open_pair(&p, "tcp://127.0.0.1:*");
    assert_string_equal(sc_peer_name(p.to_client), "client");
    assert_string_equal(sc_peer_name(p.to_server), "server");
    assert_int_equal(sc_peer_incarnation(p.to_client), sc_node_incarnation(p.client.node));
    assert_int_equal(sc_peer_incarnation(p.to_server), sc_node_incarnation(p.server.node));
    sc_peer *again = NULL;
    assert_int_equal(sc_node_connect(p.client.node, p.endpoint, &again), SC_OK);
    assert_ptr_equal(again, p.to_server);
    close_pair(&p);
}

static void calls_go_both_ways(void **state)
{
    (void)state;
    pair p;
    open_pair(&p, "tcp://127.0.0.1:*");
    outcome there = {0}, back = {0};
    desk at_client = {0};
    assert_int_equal(sc_node_serve(p.client.node, &service.base, &at_client), SC_OK);
    assert_int_equal(join(p.to_server, 41, NULL, 0, 10000, &there), SC_OK);
    assert_int_equal(join(p.to_client, 7, floats(100000, 2), 0, 10000, &back), SC_OK);
    assert_int_equal(there.n + back.n, 0);
    POLL_UNTIL(&p.server, &p.client, there.n && back.n);
    assert_int_equal(there.status, SC_OK);
    assert_int_equal(there.lease_ms, 42);
    assert_int_equal(there.payload_bytes, 0);
    assert_int_equal(back.status, SC_OK);
    assert_int_equal(back.lease_ms, 8);
    assert_int_equal(back.payload_bytes, 400000);
    assert_int_equal(at_client.payload_bytes, 400000);
    assert_ptr_equal(p.desk.caller, p.to_client);
    close_pair(&p);
}

static void a_service_may_be_for_one_caller_alone(void **state)
{
    (void)state;
    pair p;
    open_pair(&p, "tcp://127.0.0.1:*");
    sc_peer *nobody;
    assert_int_equal(sc_node_connect(p.server.node, "tcp://127.0.0.1:1", &nobody), SC_OK);
    sc_node_serve_only(p.server.node, &service.base, nobody);
    outcome result = {0};
    Stagecoach__V1__JoinRequest request = STAGECOACH__V1__JOIN_REQUEST__INIT;
    assert_int_equal(sc_peer_call(p.to_server, &stagecoach__v1__coordinator__descriptor, "Join", &request.base, NULL, 0,
                                  20000, keep_outcome, &result),
                     SC_OK);
    POLL_UNTIL(&p.server, &p.client, result.n);
    assert_int_equal(result.status, SC_PERMISSION_DENIED);
    assert_int_equal(p.desk.n_joins, 0);
    assert_int_equal(sc_node_count(p.server.node).rejected, 1);
    close_pair(&p);
}

static void a_call_may_be_answered_later_and_is_executed_once(void **state)
{
    (void)state;
    pair p;
    open_pair(&p, "tcp://127.0.0.1:*");
    outcome result = {0}, other = {0};
    Stagecoach__V1__ProgressRequest request = STAGECOACH__V1__PROGRESS_REQUEST__INIT;
    assert_int_equal(sc_peer_call(p.to_server, &stagecoach__v1__coordinator__descriptor, "Progress", &request.base,
                                  NULL, 0, 20000, keep_outcome, &result),
                     SC_OK);
    POLL_UNTIL(&p.server, &p.client, p.desk.waiting);
    void *first = p.desk.waiting;
    p.desk.waiting = NULL;
    POLL_UNTIL(&p.server, &p.client, sc_node_count(p.client.node).repeated >= 2); /* the request was sent again, */
    assert_int_equal(join(p.to_server, 1, NULL, 0, 10000, &other), SC_OK);        /* and what follows came through, */
    POLL_UNTIL(&p.server, &p.client, other.n);
    assert_null(p.desk.waiting); /* but it was not executed again */
    assert_int_equal(result.n, 0);
    Stagecoach__V1__ProgressReply reply = STAGECOACH__V1__PROGRESS_REPLY__INIT;
    p.desk.closure(&reply, first);
    POLL_UNTIL(&p.server, &p.client, result.n);
    assert_int_equal(result.status, SC_OK);
    close_pair(&p);
}

static void errors_come_back_with_their_message(void **state)
{
    (void)state;
    pair p;
    open_pair(&p, "tcp://127.0.0.1:*");
    outcome left = {0}, unknown = {0}, fenced = {0};
    Stagecoach__V1__LeaveRequest request = STAGECOACH__V1__LEAVE_REQUEST__INIT;
    request.reason = "nobody of that name";
    const ProtobufCServiceDescriptor *coordinator = &stagecoach__v1__coordinator__descriptor;
    assert_int_equal(
        sc_peer_call(p.to_server, coordinator, "Leave", &request.base, NULL, 0, 10000, keep_outcome, &left), SC_OK);
    assert_int_equal(/* the client offers no service */
                     sc_peer_call(p.to_client, coordinator, "Leave", &request.base, NULL, 0, 10000, keep_outcome,
                                  &unknown),
                     SC_OK);
    sc_node_set_generation(p.server.node, 6);
    assert_int_equal(join(p.to_server, 1, NULL, 5, 10000, &fenced), SC_OK);
    POLL_UNTIL(&p.server, &p.client, left.n && unknown.n && fenced.n);
    assert_int_equal(left.status, SC_NOT_FOUND);
    assert_string_equal(left.message, "nobody of that name");
    assert_int_equal(unknown.status, SC_UNIMPLEMENTED);
    assert_non_null(strstr(unknown.message, "stagecoach.v1.Coordinator/Leave"));
    assert_int_equal(fenced.status, SC_FAILED_PRECONDITION);
    assert_non_null(strstr(fenced.message, "generation 5"));
    assert_non_null(strstr(fenced.message, "generation 6"));
    assert_int_equal(sc_node_count(p.server.node).fenced, 1);
    assert_int_equal(p.desk.n_joins, 0);
    close_pair(&p);
}

static void a_wrong_call_is_refused_at_once(void **state)
{
    (void)state;
    pair p;
    open_pair(&p, "tcp://127.0.0.1:*");
    outcome result = {0};
    Stagecoach__V1__LeaveRequest request = STAGECOACH__V1__LEAVE_REQUEST__INIT;
    const ProtobufCServiceDescriptor *coordinator = &stagecoach__v1__coordinator__descriptor;
    assert_int_equal(
        sc_peer_call(p.to_server, coordinator, "Dance", &request.base, NULL, 0, 1000, keep_outcome, &result),
        SC_INVALID);
    assert_int_equal(sc_peer_call(p.to_server, &stagecoach__v1__coordinator__descriptor, "Join", &request.base, NULL, 0,
                                  1000, keep_outcome, &result),
                     SC_INVALID);
    assert_int_equal(join(p.to_server, 1, floats(10, 1), 0, 0, &result), SC_INVALID);
    assert_int_equal(result.n, 0);
    close_pair(&p);
}

/* ---- ends of calls ------------------------------------------------------------------------------------------------- */

static void a_deadline_passes_by_the_nodes_own_clock(void **state)
{
    (void)state;
    uint64_t now_ns = 5;
    side client;
    sc_node_options options = side_options(&client, "client");
    options.clock = sc_clock_manual(&now_ns);
    side_open(&client, &options);
    sc_peer *peer;
    outcome result = {0};
    assert_int_equal(sc_node_connect(client.node, "ipc:///nowhere/at/all", &peer), SC_OK);
    assert_int_equal(join(peer, 1, NULL, 0, 1000, &result), SC_OK);
    now_ns += 999 * 1000000ull;
    assert_int_equal(sc_node_poll(client.node, 0), SC_OK);
    assert_int_equal(result.n, 0);
    now_ns += 1000000;
    assert_int_equal(sc_node_poll(client.node, 1000), SC_OK);
    assert_int_equal(result.n, 1);
    assert_int_equal(result.status, SC_DEADLINE_EXCEEDED);
    assert_non_null(strstr(result.message, "Join"));
    assert_non_null(strstr(result.message, "1000 ms"));
    assert_non_null(strstr(result.message, "not connected"));
    assert_int_equal(sc_peer_silent_ms(peer), 1000);
    side_close(&client);
    assert_int_equal(result.n, 1);
}

static void dropping_and_closing_end_calls(void **state)
{
    (void)state;
    pair p;
    open_pair(&p, "tcp://127.0.0.1:*");
    outcome dropped = {0}, cut = {0}, closed = {0};
    uint64_t client = sc_node_incarnation(p.client.node);
    assert_ptr_equal(sc_node_find_peer(p.server.node, client), p.to_client);
    assert_null(sc_node_find_peer(p.client.node, sc_node_incarnation(p.server.node))); /* it did not come there */
    assert_int_equal(join(p.to_client, 1, NULL, 0, 10000, &dropped), SC_OK);
    sc_peer_drop(p.to_client, "lease expired");
    assert_int_equal(dropped.n, 1);
    assert_int_equal(dropped.status, SC_UNAVAILABLE);
    assert_string_equal(dropped.message, "lease expired");
    assert_null(sc_node_find_peer(p.server.node, client));
    p.server.met = NULL;
    assert_int_equal(join(p.to_server, 1, NULL, 0, 10000, &cut), SC_OK); /* a later message makes a new peer */
    POLL_UNTIL(&p.server, &p.client, p.server.met && cut.n);
    assert_int_equal(cut.status, SC_OK);
    cut.n = 0;
    assert_int_equal(join(p.to_server, 1, NULL, 0, 10000, &cut), SC_OK);
    sc_node_disconnect(p.client.node, p.to_server);
    assert_int_equal(cut.n, 1);
    assert_int_equal(cut.status, SC_UNAVAILABLE);
    assert_int_equal(sc_node_connect(p.client.node, p.endpoint, &p.to_server), SC_OK);
    assert_int_equal(join(p.to_server, 1, NULL, 0, 10000, &closed), SC_OK);
    close_pair(&p);
    assert_int_equal(closed.n, 1);
    assert_int_equal(closed.status, SC_UNAVAILABLE);
}

/* libzmq closes a listener in the background, and takes its socket's file away then: a successor's, if it is there already. */
static void wait_until_unlinked(side *other, const char *path)
{
    POLL_UNTIL(other, other, access(path, F_OK) != 0);
}

static void a_restarted_peer_is_a_new_one(void **state)
{
    (void)state;
    pair p;
    open_pair(&p, "ipc://stagecoach-test-restart.socket");
    outcome result = {0};
    int met = p.client.n_met;
    assert_int_equal(join(p.to_server, 1, NULL, 0, 30000, &result), SC_OK); /* it is sent, and nobody reads it */
    side_close(&p.server);
    sc_node_options options = side_options(&p.server, "server");
    side_open(&p.server, &options);
    assert_int_equal(sc_node_serve(p.server.node, &service.base, &p.desk), SC_OK);
    wait_until_unlinked(&p.client, "stagecoach-test-restart.socket");
    assert_int_equal(sc_node_bind(p.server.node, "ipc://stagecoach-test-restart.socket", NULL), SC_OK);
    POLL_UNTIL(&p.server, &p.client, result.n && p.client.n_met > met);
    assert_int_equal(result.status, SC_UNAVAILABLE);
    assert_non_null(strstr(result.message, "restarted"));
    assert_int_equal(p.desk.n_joins, 0); /* nor has it carried out what was asked of its predecessor */
    assert_int_equal(sc_peer_incarnation(p.to_server), sc_node_incarnation(p.server.node));
    close_pair(&p);
}

/* ---- tensors ------------------------------------------------------------------------------------------------------- */

static void tensors_arrive_whole(const char *endpoint)
{
    pair p;
    open_pair(&p, endpoint);
    const size_t n[] = {0, 1, 1000, 3000, 400000, 4000000};
    for (uint32_t i = 0; i < 6; i++) {
        sc_buffer *payload = floats(n[i], (float)i);
        sc_tensor_name name = name_of(0, 1, i);
        sc_peer *to = i % 2 ? p.to_client : p.to_server;
        assert_int_equal(sc_peer_send(to, &name, SC_F32, &SC_SHAPE(1, (int64_t)n[i]), payload), SC_OK);
        sc_buffer_unref(&payload);
    }
    assert_int_equal(sc_node_kept_bytes(p.client.node), (n[0] + n[2] + n[4]) * 4);
    POLL_UNTIL(&p.server, &p.client, p.server.n_tensors == 3 && p.client.n_tensors == 3);
    for (uint32_t i = 0; i < 6; i++) {
        side *at = i % 2 ? &p.client : &p.server;
        sc_tensor_message *tensor = &at->tensors[i / 2];
        assert_int_equal(tensor->name.microbatch, i);
        assert_int_equal(tensor->dtype, SC_F32);
        assert_int_equal(tensor->shape.n_dims, 2);
        assert_int_equal(tensor->shape.dims[1], n[i]);
        assert_int_equal(sc_buffer_bytes(tensor->payload), n[i] * 4);
        const float *values = sc_buffer_data(tensor->payload);
        assert_int_equal((uintptr_t)values % 8, 0);
        for (size_t k = 0; k < n[i]; k++)
            if (values[k] != (float)i)
                fail_msg("tensor %u, element %zu", i, k);
    }
    POLL_UNTIL(&p.server, &p.client, sc_node_kept_bytes(p.server.node) + sc_node_kept_bytes(p.client.node) == 0);
    assert_int_equal(sc_node_count(p.server.node).rejected, 0);
    assert_int_equal(sc_node_count(p.server.node).duplicates, 0);
    close_pair(&p);
    if (strncmp(endpoint, "ipc://", 6) == 0)
        assert_int_not_equal(access(endpoint + 6, F_OK), 0); /* it cleans up after itself */
}

static void tensors_arrive_over_tcp(void **state)
{
    (void)state;
    tensors_arrive_whole("tcp://127.0.0.1:*");
}

static void tensors_arrive_over_ipc(void **state)
{
    (void)state;
    tensors_arrive_whole("ipc://stagecoach-test-node.socket");
}

static void send(sc_peer *to, uint64_t generation, uint64_t step, uint32_t microbatch)
{
    sc_buffer *payload = floats(64, 1);
    sc_tensor_name name = name_of(generation, step, microbatch);
    assert_int_equal(sc_peer_send(to, &name, SC_F32, &SC_SHAPE(64), payload), SC_OK);
    sc_buffer_unref(&payload);
}

static void duplicates_are_dropped_by_name(void **state)
{
    (void)state;
    pair p;
    open_pair(&p, "tcp://127.0.0.1:*");
    send(p.to_server, 0, 1, 0);
    send(p.to_server, 0, 1, 0);
    send(p.to_server, 0, 1, 1);
    POLL_UNTIL(&p.server, &p.client, p.server.n_tensors == 2 && sc_node_kept_bytes(p.client.node) == 0);
    assert_int_equal(sc_node_count(p.server.node).duplicates, 1);
    assert_int_equal(p.server.tensors[1].name.microbatch, 1);
    sc_node_release_before(p.server.node, 2);
    send(p.to_server, 0, 1, 5); /* of a step that is over */
    send(p.to_server, 0, 2, 0);
    POLL_UNTIL(&p.server, &p.client, p.server.n_tensors == 3 && sc_node_kept_bytes(p.client.node) == 0);
    assert_int_equal(p.server.tensors[2].name.step, 2);
    assert_int_equal(sc_node_count(p.server.node).duplicates, 2);
    close_pair(&p);
}

static void answer_ask(void *context, sc_peer *peer, const sc_tensor_name *name)
{
    int *n_asked = context;
    ++*n_asked;
    send(peer, name->generation, name->step, name->microbatch);
}

/* What a node does not keep, its owner may have: a step that is done again, from his log. */
static void what_is_asked_for_and_not_kept_is_the_owners_affair(void **state)
{
    (void)state;
    side server, client;
    int n_asked = 0;
    const char *endpoint;
    sc_peer *to_server;
    sc_node_options options = side_options(&server, "server");
    options.resend_ms = 60000; /* nothing is asked for by itself within this test */
    side_open(&server, &options);
    options = side_options(&client, "client");
    options.resend_ms = 60000;
    options.on_ask = answer_ask;
    options.on_peer = NULL;
    options.context = &n_asked;
    options.on_tensor = NULL;
    side_open(&client, &options);
    assert_int_equal(sc_node_bind(server.node, "tcp://127.0.0.1:*", &endpoint), SC_OK);
    assert_int_equal(sc_node_connect(client.node, endpoint, &to_server), SC_OK);
    POLL_UNTIL(&server, &client, server.met);
    sc_node_set_generation(client.node, 2);
    sc_tensor_name other = name_of(1, 5, 3), name = name_of(2, 5, 3);
    sc_peer_ask(server.met, &other); /* of another generation: not for the owner */
    POLL_UNTIL(&server, &client, sc_node_count(server.node).resends == 1);
    sc_node_set_generation(server.node, 2);
    sc_peer_ask(server.met, &name);
    POLL_UNTIL(&server, &client, server.n_tensors == 1);
    assert_int_equal(n_asked, 1);
    assert_int_equal(server.tensors[0].name.step, 5);
    POLL_UNTIL(&server, &client, sc_node_kept_bytes(client.node) == 0);
    side_close(&server);
    side_close(&client);
}

static void another_generation_is_fenced(void **state)
{
    (void)state;
    pair p;
    open_pair(&p, "tcp://127.0.0.1:*");
    sc_node_set_generation(p.server.node, 3);
    send(p.to_server, 2, 1, 0); /* a zombie's */
    send(p.to_server, 4, 1, 1); /* of one that is ahead */
    send(p.to_server, 3, 1, 2);
    POLL_UNTIL(&p.server, &p.client, p.server.n_tensors == 1);
    assert_int_equal(p.server.tensors[0].name.generation, 3);
    assert_int_equal(sc_node_count(p.server.node).fenced, 2);
    /* What came too early is kept by its sender, and comes when it is asked for. */
    sc_node_set_generation(p.server.node, 4);
    sc_tensor_name early = name_of(4, 1, 1);
    sc_peer_expect(p.to_client, &early);
    POLL_UNTIL(&p.server, &p.client, p.server.n_tensors == 2);
    assert_int_equal(p.server.tensors[1].name.microbatch, 1);
    assert_true(sc_node_count(p.server.node).resends >= 1);
    assert_int_equal(sc_node_count(p.client.node).repeated, 1);
    assert_true(sc_node_kept_bytes(p.client.node) >= 256); /* the zombie's is never acknowledged, */
    sc_node_set_generation(p.client.node, 4);
    POLL_UNTIL(&p.server, &p.client, sc_node_kept_bytes(p.client.node) == 0); /* and goes with its generation */
    close_pair(&p);
}

/* What is not sent before the other side restarts may be meant for the process that takes its place, as an assignment says. */
static void what_waits_for_a_successor_reaches_it(void **state)
{
    (void)state;
    pair p;
    open_pair(&p, "ipc://stagecoach-test-successor.socket");
    side_close(&p.server);
    POLL_UNTIL(&p.client, &p.client, !sc_peer_connected(p.to_server));
    wait_until_unlinked(&p.client, "stagecoach-test-successor.socket");
    outcome result = {0};
    assert_int_equal(join(p.to_server, 1, NULL, 0, 30000, &result), SC_OK);
    send(p.to_server, 0, 1, 0);
    int met = p.client.n_met;
    sc_node_options options = side_options(&p.server, "server");
    side_open(&p.server, &options);
    assert_int_equal(sc_node_serve(p.server.node, &service.base, &p.desk), SC_OK);
    assert_int_equal(sc_node_bind(p.server.node, "ipc://stagecoach-test-successor.socket", NULL), SC_OK);
    POLL_UNTIL(&p.server, &p.client, result.n && p.server.n_tensors == 1);
    assert_int_equal(result.status, SC_OK);
    assert_int_equal(p.desk.n_joins, 1);
    assert_int_equal(p.client.n_met, met + 1);
    close_pair(&p);
}

static void another_run_is_rejected(void **state)
{
    (void)state;
    pair p;
    open_pair(&p, "tcp://127.0.0.1:*");
    sc_node_set_run(p.server.node, 7);
    sc_node_set_run(p.client.node, 8);
    send(p.to_server, 0, 1, 0);
    POLL_UNTIL(&p.server, &p.client, sc_node_count(p.server.node).rejected == 1);
    sc_node_set_run(p.client.node, 7);
    send(p.to_server, 0, 1, 0);
    POLL_UNTIL(&p.server, &p.client, p.server.n_tensors == 1);
    close_pair(&p);
}

static void a_tensor_that_lies_is_not_sent(void **state)
{
    (void)state;
    pair p;
    open_pair(&p, "tcp://127.0.0.1:*");
    sc_buffer *payload = floats(10, 1);
    sc_tensor_name name = name_of(0, 1, 0);
    assert_int_equal(sc_peer_send(p.to_server, &name, SC_F32, &SC_SHAPE(11), payload), SC_INVALID);
    name.kind = 0;
    assert_int_equal(sc_peer_send(p.to_server, &name, SC_F32, &SC_SHAPE(10), payload), SC_INVALID);
    assert_int_equal(sc_node_kept_bytes(p.client.node), 0);
    sc_buffer_unref(&payload);
    close_pair(&p);
}

/* ---- endpoints, the loop ------------------------------------------------------------------------------------------- */

static void endpoints_are_checked(void **state)
{
    (void)state;
    side a, b;
    sc_node_options options = side_options(&a, "a");
    side_open(&a, &options);
    side_open(&b, &options);
    const char *bound;
    sc_peer *peer;
    assert_int_equal(sc_node_bind(a.node, "nonsense", &bound), SC_INVALID);
    assert_int_equal(sc_node_bind(a.node, "inproc://x", &bound), SC_INVALID);
    assert_int_equal(sc_node_bind(a.node, "tcp://127.0.0.1:notaport", &bound), SC_INVALID);
    assert_int_equal(sc_node_connect(a.node, "tcp://127.0.0.1:99999999", &peer), SC_INVALID);
    assert_int_equal(sc_node_connect(a.node, "tcp://:5", &peer), SC_INVALID);
    assert_int_equal(sc_node_connect(a.node, "tcp://127.0.0.1:*", &peer), SC_INVALID);
    assert_int_equal(sc_node_connect(a.node, "udp://127.0.0.1:1", &peer), SC_INVALID);
    assert_int_equal(sc_node_bind(a.node, "tcp://127.0.0.1:*", &bound), SC_OK);
    assert_int_equal(sc_node_bind(a.node, "tcp://127.0.0.1:*", NULL), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_node_bind(b.node, bound, NULL), SC_ALREADY_EXISTS);
    assert_int_equal(sc_node_bind(b.node, "tcp://127.0.0.1:*", NULL), SC_OK); /* a failure leaves it as it was */
    side_close(&a);
    side_close(&b);
}

static void read_byte(void *context, int fd)
{
    char byte;
    assert_int_equal(read(fd, &byte, 1), 1);
    ++*(int *)context;
}

static void the_loop_wakes_and_watches(void **state)
{
    (void)state;
    side a;
    sc_node_options options = side_options(&a, "a");
    side_open(&a, &options);
    sc_node_wake(a.node);
    assert_int_equal(sc_node_poll(a.node, -1), SC_OK); /* returns: it was woken before it waited */
    int fds[2], n = 0;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(sc_node_watch(a.node, fds[0], read_byte, &n), SC_OK);
    assert_int_equal(write(fds[1], "ab", 2), 2);
    assert_int_equal(sc_node_poll(a.node, -1), SC_OK);
    assert_int_equal(n, 1);
    assert_int_equal(sc_node_watch(a.node, fds[0], NULL, NULL), SC_OK);
    assert_int_equal(sc_node_poll(a.node, 0), SC_OK);
    assert_int_equal(n, 1);
    close(fds[0]);
    close(fds[1]);
    side_close(&a);
}

static void a_handler(int signal)
{
    (void)signal;
}

static void the_programs_signals_are_left_alone(void **state)
{
    (void)state;
    signal(SIGINT, a_handler);
    side a;
    sc_node_options options = side_options(&a, "a");
    side_open(&a, &options);
    assert_int_equal(sc_node_bind(a.node, "tcp://127.0.0.1:*", NULL), SC_OK);
    side_close(&a);
    assert_true(signal(SIGINT, SIG_DFL) == a_handler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_programs_signals_are_left_alone),
        cmocka_unit_test(peers_introduce_themselves),
        cmocka_unit_test(calls_go_both_ways),
        cmocka_unit_test(a_service_may_be_for_one_caller_alone),
        cmocka_unit_test(a_call_may_be_answered_later_and_is_executed_once),
        cmocka_unit_test(errors_come_back_with_their_message),
        cmocka_unit_test(a_wrong_call_is_refused_at_once),
        cmocka_unit_test(a_deadline_passes_by_the_nodes_own_clock),
        cmocka_unit_test(dropping_and_closing_end_calls),
        cmocka_unit_test(a_restarted_peer_is_a_new_one),
        cmocka_unit_test(what_waits_for_a_successor_reaches_it),
        cmocka_unit_test(tensors_arrive_over_tcp),
        cmocka_unit_test(tensors_arrive_over_ipc),
        cmocka_unit_test(duplicates_are_dropped_by_name),
        cmocka_unit_test(what_is_asked_for_and_not_kept_is_the_owners_affair),
        cmocka_unit_test(another_generation_is_fenced),
        cmocka_unit_test(another_run_is_rejected),
        cmocka_unit_test(a_tensor_that_lies_is_not_sent),
        cmocka_unit_test(endpoints_are_checked),
        cmocka_unit_test(the_loop_wakes_and_watches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
