/* Connections that break in the middle of a step: a proxy between two nodes cuts them, and everything still arrives,
 * once, in both directions. */
#include "node_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- a TCP proxy that lives in the test's own loop ----------------------------------------------------------------- */

enum { MAX_WIRES = 32, WIRE_BYTES = 1 << 16 };

/* One direction of a connection. */
typedef struct wire {
    int from, to;
    size_t begin, end;
    unsigned char bytes[WIRE_BYTES];
} wire;

typedef struct proxy {
    int listener, port, target;
    wire *wires[MAX_WIRES];
    int n_wires;
    uint64_t carried;   /* bytes, in all */
    uint64_t cut_after; /* cut when so many have been carried; 0: never */
    int n_cuts;
} proxy;

static int tcp(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    return fd;
}

static struct sockaddr_in local(int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
}

static void proxy_open(proxy *self, const char *target)
{
    *self = (proxy){.target = atoi(strrchr(target, ':') + 1)};
    self->listener = tcp();
    struct sockaddr_in address = local(0);
    socklen_t bytes = sizeof address;
    assert_int_equal(bind(self->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(self->listener, 16), 0);
    assert_int_equal(getsockname(self->listener, (struct sockaddr *)&address, &bytes), 0);
    self->port = ntohs(address.sin_port);
}

/* All connections go; what they carried is lost. */
static void proxy_cut(proxy *self)
{
    for (int i = 0; i < self->n_wires; i += 2) {
        struct linger hard = {.l_onoff = 1}; /* a reset: what the kernel still holds is lost too */
        setsockopt(self->wires[i]->from, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        setsockopt(self->wires[i]->to, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close(self->wires[i]->from);
        close(self->wires[i]->to);
    }
    for (int i = 0; i < self->n_wires; i++)
        free(self->wires[i]);
    self->n_cuts += self->n_wires > 0;
    self->n_wires = 0;
}

static void proxy_close(proxy *self)
{
    proxy_cut(self);
    close(self->listener);
}

static void proxy_accept(proxy *self)
{
    int near = accept4(self->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (near < 0)
        return;
    assert_true(self->n_wires + 2 <= MAX_WIRES);
    int far = tcp();
    struct sockaddr_in address = local(self->target);
    assert_true(connect(far, (struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS);
    for (int i = 0; i < 2; i++) {
        wire *one = malloc(sizeof *one);
        assert_non_null(one);
        one->from = i ? far : near;
        one->to = i ? near : far;
        one->begin = one->end = 0;
        self->wires[self->n_wires++] = one;
    }
}

/* Carries what there is; false if an end has closed. */
static bool carry(proxy *self, wire *one)
{
    for (int turn = 0; turn < 16; turn++) {
        if (one->begin == one->end) {
            ssize_t n = read(one->from, one->bytes, sizeof one->bytes);
            if (n == 0 || (n < 0 && errno != EAGAIN && errno != ENOTCONN))
                return false;
            if (n < 0)
                return true;
            one->begin = 0;
            one->end = (size_t)n;
        }
        ssize_t n = send(one->to, one->bytes + one->begin, one->end - one->begin, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == ENOTCONN;
        one->begin += (size_t)n;
        self->carried += (uint64_t)n;
    }
    return true;
}

static void proxy_turn(proxy *self)
{
    proxy_accept(self);
    for (int i = 0; i < self->n_wires; i++)
        if (!carry(self, self->wires[i])) {
            proxy_cut(self);
            return;
        }
    if (self->cut_after > 0 && self->carried >= self->cut_after) {
        proxy_cut(self);
        self->cut_after = 0;
    }
}

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

static void on_progress(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__ProgressRequest *input,
                        Stagecoach__V1__ProgressReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)input;
    (void)closure;
    sc_call_fail(sc_call_of(closure_data), SC_UNIMPLEMENTED, "not here");
}

static void on_leave(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__LeaveRequest *input,
                     Stagecoach__V1__LeaveReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)input;
    (void)closure;
    sc_call_fail(sc_call_of(closure_data), SC_UNIMPLEMENTED, "not here");
}

static Stagecoach__V1__Coordinator_Service service = STAGECOACH__V1__COORDINATOR__INIT(on_);

/* ---- a step with cuts ---------------------------------------------------------------------------------------------- */

enum { N_MICROBATCHES = 24, N_CALLS = 12, ELEMENTS = 100000 };

typedef struct scene {
    side server, client;
    sc_peer *to_server, *to_client;
    proxy proxy;
    count at_server, at_client;
    outcome there[N_CALLS], back[N_CALLS];
} scene;

static void open_scene(scene *self)
{
    *self = (scene){0};
    sc_node_options options = side_options(&self->server, "server");
    side_open(&self->server, &options);
    options = side_options(&self->client, "client");
    side_open(&self->client, &options);
    const char *bound;
    assert_int_equal(sc_node_bind(self->server.node, "tcp://127.0.0.1:*", &bound), SC_OK);
    assert_int_equal(sc_node_serve(self->server.node, &service.base, &self->at_server), SC_OK);
    assert_int_equal(sc_node_serve(self->client.node, &service.base, &self->at_client), SC_OK);
    proxy_open(&self->proxy, bound);
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", self->proxy.port);
    assert_int_equal(sc_node_connect(self->client.node, endpoint, &self->to_server), SC_OK);
    POLL_UNTIL_WITH(&self->server, &self->client, self->server.met && self->client.met, proxy_turn(&self->proxy));
    self->to_client = self->server.met;
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
    POLL_UNTIL_WITH(&self->server, &self->client, last.n, proxy_turn(&self->proxy));
    side_close(&self->server);
    side_close(&self->client);
    proxy_close(&self->proxy);
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
        s.proxy.cut_after = s.proxy.carried + eighth * total / 8 + 1;
        POLL_UNTIL_WITH(&s.server, &s.client, finished(&s), proxy_turn(&s.proxy));
        assert_int_equal(s.proxy.n_cuts, 1);
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
        s.proxy.cut_after = s.proxy.carried + gap;
        POLL_UNTIL_WITH(&s.server, &s.client, s.proxy.cut_after == 0 || finished(&s), proxy_turn(&s.proxy));
    }
    POLL_UNTIL_WITH(&s.server, &s.client, finished(&s), proxy_turn(&s.proxy));
    assert_true(s.proxy.n_cuts >= 3);
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
    proxy_cut(&s.proxy);
    start_step(&s, false);
    POLL_UNTIL_WITH(&s.server, &s.client, finished(&s), proxy_turn(&s.proxy));
    check_once(&s);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cut_loses_nothing_that_is_expected),
        cmocka_unit_test(a_cut_loses_nothing_that_is_not_yet_expected),
        cmocka_unit_test(many_cuts_lose_nothing),
        cmocka_unit_test(what_is_said_while_cut_off_is_said_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
