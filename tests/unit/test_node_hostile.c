/* What strangers may send: nothing of it may crash the node, fill its memory, or keep its peers from being served. */
#include "node_fixture.h"

#include "proto/base/rng.h"
#include "proto/wire/node_internal.h"

#include <arpa/inet.h>
#include <malloc.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

typedef struct scene {
    side server, client;
    sc_peer *to_server;
    const char *bound;
    void *context, *stranger; /* a DEALER of its own context, which says what it likes */
    sc_node_counters before;
    int n_sent; /* by the client, to see that it is served */
} scene;

static void open_scene(scene *self)
{
    *self = (scene){0};
    sc_node_options options = side_options(&self->server, "server");
    options.max_message_bytes = 1 << 20;
    side_open(&self->server, &options);
    options = side_options(&self->client, "client");
    side_open(&self->client, &options);
    assert_int_equal(sc_node_bind(self->server.node, "tcp://127.0.0.1:*", &self->bound), SC_OK);
    assert_int_equal(sc_node_connect(self->client.node, self->bound, &self->to_server), SC_OK);
    POLL_UNTIL(&self->server, &self->client, self->server.met && self->client.met);
    self->context = zmq_ctx_new();
    self->stranger = zmq_socket(self->context, ZMQ_DEALER);
    int none = 0;
    zmq_setsockopt(self->stranger, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(self->stranger, ZMQ_SNDHWM, &none, sizeof none);
    assert_int_equal(zmq_connect(self->stranger, self->bound), 0);
}

static void close_scene(scene *self)
{
    zmq_close(self->stranger);
    zmq_ctx_term(self->context);
    side_close(&self->server);
    side_close(&self->client);
}

/* The peer that behaves is still served. */
static void check_alive(scene *self)
{
    int wanted = self->server.n_tensors + 1;
    sc_buffer *payload = floats(1000, 1);
    sc_tensor_name name = name_of(0, 1, (uint32_t)self->n_sent++);
    assert_int_equal(sc_peer_send(self->to_server, &name, SC_F32, &SC_SHAPE(1000), payload), SC_OK);
    sc_buffer_unref(&payload);
    POLL_UNTIL(&self->server, &self->client,
               self->server.n_tensors == wanted && sc_node_kept_bytes(self->client.node) == 0);
}

static void say(scene *self, const void *bytes, size_t n_bytes, bool more)
{
    assert_int_equal(zmq_send(self->stranger, bytes, n_bytes, more ? ZMQ_SNDMORE : 0), n_bytes);
}

static void say_envelope(scene *self, const sc_envelope *envelope, bool more)
{
    unsigned char bytes[SC_FRAME_HEADER_BYTES];
    size_t n = stagecoach__v1__envelope__get_packed_size(envelope);
    assert_true(n <= sizeof bytes);
    stagecoach__v1__envelope__pack(envelope, bytes);
    say(self, bytes, n, more);
}

static void say_hello(scene *self, uint32_t protocol)
{
    Stagecoach__V1__Hello hello = STAGECOACH__V1__HELLO__INIT;
    hello.incarnation = 99;
    hello.name = "stranger\n\033[31m";
    hello.reply_wanted = true;
    sc_envelope envelope = STAGECOACH__V1__ENVELOPE__INIT;
    envelope.protocol = protocol;
    envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_HELLO;
    envelope.hello = &hello;
    say_envelope(self, &envelope, false);
}

/* The next envelope that the stranger gets, of this kind. Owned. */
static sc_envelope *hear(scene *self, Stagecoach__V1__Envelope__BodyCase kind)
{
    unsigned char bytes[4096];
    sc_envelope *envelope = NULL;
    int n;
    do {
        sc_frame_free(&envelope);
        POLL_UNTIL(&self->server, &self->client,
                   (n = zmq_recv(self->stranger, bytes, sizeof bytes, ZMQ_DONTWAIT)) >= 0);
        assert_int_equal(sc_frame_parse(bytes, (size_t)n, &envelope), SC_OK);
    } while (envelope->body_case != kind);
    return envelope;
}

static uint64_t rejected(const scene *self)
{
    return sc_node_count(self->server.node).rejected;
}

static void another_version_is_told_so(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    say_hello(&s, 7);
    sc_envelope *answer = hear(&s, STAGECOACH__V1__ENVELOPE__BODY_HELLO);
    assert_int_equal(answer->protocol, SC_PROTOCOL_VERSION);
    sc_frame_free(&answer);
    Stagecoach__V1__Request request = STAGECOACH__V1__REQUEST__INIT;
    request.call_id = 5;
    request.method = "stagecoach.v1.Coordinator/Join";
    request.deadline_ms = 1000;
    sc_envelope envelope = STAGECOACH__V1__ENVELOPE__INIT;
    envelope.protocol = 7;
    envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_REQUEST;
    envelope.request = &request;
    say_envelope(&s, &envelope, true);
    say(&s, "", 0, false);
    answer = hear(&s, STAGECOACH__V1__ENVELOPE__BODY_REPLY);
    assert_int_equal(answer->reply->call_id, 5);
    assert_int_equal(answer->reply->status, SC_FAILED_PRECONDITION);
    assert_non_null(strstr(answer->reply->message, "version 7"));
    assert_non_null(strstr(answer->reply->message, "version 1"));
    sc_frame_free(&answer);
    assert_int_equal(s.server.n_met, 1); /* it is no peer to those above */
    check_alive(&s);
    close_scene(&s);
}

static int count_lines(int fd)
{
    char text[8192];
    ssize_t n = pread(fd, text, sizeof text, 0);
    int lines = 0;
    for (ssize_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    return lines;
}

/* However many connections there are. */
static void other_versions_fill_no_log(void **state)
{
    (void)state;
    enum { CONNECTIONS = 20 };
    FILE *log = tmpfile();
    assert_non_null(log);
    assert_int_equal(sc_log_init("error", false, fileno(log)), SC_OK);
    scene s;
    open_scene(&s);
    for (int i = 0; i < CONNECTIONS; i++) {
        say_hello(&s, 7);
        sc_envelope *answer = hear(&s, STAGECOACH__V1__ENVELOPE__BODY_HELLO);
        sc_frame_free(&answer);
        zmq_close(s.stranger);
        s.stranger = zmq_socket(s.context, ZMQ_DEALER);
        zmq_connect(s.stranger, s.bound);
    }
    assert_int_equal(sc_node_count(s.server.node).odd_versions, CONNECTIONS);
    int lines = count_lines(fileno(log)); /* a slow machine may take longer than a period */
    assert_in_range(lines, 1, CONNECTIONS / 4);
    close_scene(&s);
    assert_int_equal(sc_log_init(NULL, false, STDERR_FILENO), SC_OK);
    fclose(log);
}

static void a_server_of_another_version_ends_calls(void **state)
{
    (void)state;
    /* The stranger binds, and a node connects to it. */
    void *context = zmq_ctx_new(), *router = zmq_socket(context, ZMQ_ROUTER);
    assert_int_equal(zmq_bind(router, "tcp://127.0.0.1:*"), 0);
    char endpoint[128];
    size_t bytes = sizeof endpoint;
    assert_int_equal(zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, endpoint, &bytes), 0);
    side client;
    sc_node_options options = side_options(&client, "client");
    side_open(&client, &options);
    sc_peer *peer;
    assert_int_equal(sc_node_connect(client.node, endpoint, &peer), SC_OK);
    outcome result = {0};
    Stagecoach__V1__JoinRequest request = STAGECOACH__V1__JOIN_REQUEST__INIT;
    assert_int_equal(sc_peer_call(peer, &stagecoach__v1__coordinator__descriptor, "Join", &request.base, NULL, 0, 20000,
                                  keep_outcome, &result),
                     SC_OK);
    unsigned char route[256], packed[256];
    int n_route = -1;
    POLL_UNTIL(&client, &client, (n_route = zmq_recv(router, route, sizeof route, ZMQ_DONTWAIT)) > 0);
    Stagecoach__V1__Hello hello = STAGECOACH__V1__HELLO__INIT;
    hello.incarnation = 3;
    sc_envelope envelope = STAGECOACH__V1__ENVELOPE__INIT;
    envelope.protocol = 12;
    envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_HELLO;
    envelope.hello = &hello;
    size_t n = stagecoach__v1__envelope__pack(&envelope, packed);
    zmq_send(router, route, (size_t)n_route, ZMQ_SNDMORE);
    zmq_send(router, packed, n, 0);
    POLL_UNTIL(&client, &client, result.n);
    assert_int_equal(result.status, SC_FAILED_PRECONDITION);
    assert_non_null(strstr(result.message, "version 12"));
    assert_non_null(strstr(result.message, "version 1:"));
    assert_int_equal(client.n_met, 0);
    side_close(&client);
    zmq_close(router);
    zmq_ctx_term(context);
}

static void random_frames_are_rejected(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    say_hello(&s, SC_PROTOCOL_VERSION);
    enum { N = 10000 };
    sc_rng rng = {.seed = 11};
    unsigned char bytes[600];
    for (uint64_t i = 0; i < N; i++) {
        size_t n = (size_t)sc_rng_below(&rng, 1000 * i, sizeof bytes);
        for (size_t k = 0; k < n; k++)
            bytes[k] = (unsigned char)sc_rng_u32(&rng, 1000 * i + 2 + k);
        if (i % 3 == 0 && n >= 4) { /* some get past the version */
            bytes[0] = 0x08;
            bytes[1] = SC_PROTOCOL_VERSION;
            bytes[2] = (unsigned char)(0x12 + 8 * (i % 6));
            bytes[3] = (unsigned char)(n - 4);
        }
        say(&s, bytes, n, i % 5 != 0 && i != N - 1);
        if (i == N / 10)
            check_alive(&s);
    }
    POLL_UNTIL(&s.server, &s.client, sc_node_count(s.server.node).messages_in >= N / 5);
    check_alive(&s);
    assert_true(rejected(&s) > N / 10);
    assert_int_equal(s.server.n_tensors, s.n_sent); /* not one of them got through */
    size_t before = mallinfo2().uordblks;
    for (uint64_t i = 0; i < N; i++)
        say(&s, bytes, 500, i % 5 != 0 && i != N - 1);
    uint64_t wanted = sc_node_count(s.server.node).messages_in + N / 5;
    POLL_UNTIL(&s.server, &s.client, sc_node_count(s.server.node).messages_in >= wanted);
    check_alive(&s);
    assert_true(mallinfo2().uordblks < before + (1 << 20)); /* 5 MB were sent and none of it is kept */
    close_scene(&s);
}

static void raw_tcp_garbage_is_ignored(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    sc_rng rng = {.seed = 12};
    for (int i = 0; i < 20; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in address = {
            .sin_family = AF_INET,
            .sin_port = htons((uint16_t)atoi(strrchr(s.bound, ':') + 1)),
            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        };
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        unsigned char bytes[4096];
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = (unsigned char)sc_rng_u32(&rng, (uint64_t)i * sizeof bytes + k);
        const char greeting[] = "\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL"; /* ZMTP 3.0, then nonsense */
        if (i % 2)
            memcpy(bytes, greeting, sizeof greeting);
        assert_true(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0);
        check_alive(&s);
        close(fd);
    }
    assert_int_equal(s.server.n_met, 1);
    close_scene(&s);
}

static sc_envelope tensor_envelope(Stagecoach__V1__TensorHeader *header, Stagecoach__V1__TensorName *name,
                                   uint64_t *shape, const void *payload, size_t payload_bytes)
{
    stagecoach__v1__tensor_header__init(header);
    stagecoach__v1__tensor_name__init(name);
    name->step = 1000;
    name->kind = STAGECOACH__V1__TENSOR_KIND__ACTIVATION;
    shape[0] = payload_bytes / 4;
    header->name = name;
    header->dtype = SC_F32;
    header->n_shape = 1;
    header->shape = shape;
    header->bytes = payload_bytes;
    header->xxh3 = sc_frame_hash(payload, payload_bytes);
    sc_envelope envelope = STAGECOACH__V1__ENVELOPE__INIT;
    envelope.protocol = SC_PROTOCOL_VERSION;
    envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_TENSOR;
    envelope.tensor = header;
    return envelope;
}

static void tensors_that_lie_are_rejected(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    say_hello(&s, SC_PROTOCOL_VERSION);
    float payload[256] = {1};
    enum { LIES = 9 };
    for (int lie = 0; lie < LIES; lie++) {
        Stagecoach__V1__TensorHeader header;
        Stagecoach__V1__TensorName name;
        uint64_t shape[8] = {0}, before = rejected(&s);
        sc_envelope envelope = tensor_envelope(&header, &name, shape, payload, sizeof payload);
        size_t sent = sizeof payload;
        switch (lie) {
        case 0:
            shape[0]++;
            break;
        case 1:
            header.n_shape = 5;
            shape[1] = shape[2] = shape[3] = shape[4] = 1;
            break;
        case 2: /* a product that overflows to the right number of bytes */
            header.n_shape = 3;
            shape[0] = UINT64_C(1) << 62;
            shape[1] = 4;
            shape[2] = 256;
            break;
        case 3:
            shape[0] = UINT64_MAX;
            break;
        case 4:
            header.dtype = 77;
            break;
        case 5:
            header.bytes--;
            break;
        case 6:
            sent -= 4;
            break;
        case 7:
            name.stage = SC_MAX_STAGES * SC_MAX_CHUNKS;
            break;
        case 8:
            header.name = NULL;
            break;
        }
        say_envelope(&s, &envelope, true);
        say(&s, payload, sent, false);
        POLL_UNTIL(&s.server, &s.client, rejected(&s) == before + 1);
    }
    assert_int_equal(s.server.n_tensors, 0);
    check_alive(&s);
    close_scene(&s);
}

static void a_damaged_tensor_is_asked_for_again(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    say_hello(&s, SC_PROTOCOL_VERSION);
    float payload[256] = {1};
    Stagecoach__V1__TensorHeader header;
    Stagecoach__V1__TensorName name;
    uint64_t shape[4];
    sc_envelope envelope = tensor_envelope(&header, &name, shape, payload, sizeof payload);
    say_envelope(&s, &envelope, true);
    payload[7] = 3; /* damaged on its way */
    say(&s, payload, sizeof payload, false);
    sc_envelope *asked = hear(&s, STAGECOACH__V1__ENVELOPE__BODY_RESEND);
    assert_int_equal(asked->resend->n_names, 1);
    assert_int_equal(asked->resend->names[0]->step, 1000);
    sc_frame_free(&asked);
    assert_int_equal(rejected(&s), 1);
    assert_int_equal(s.server.n_tensors, 0);
    payload[7] = 0;
    say_envelope(&s, &envelope, true);
    say(&s, payload, sizeof payload, false);
    asked = hear(&s, STAGECOACH__V1__ENVELOPE__BODY_ACK);
    assert_int_equal(asked->ack->names[0]->step, 1000);
    sc_frame_free(&asked);
    assert_int_equal(s.server.n_tensors, 1);
    close_scene(&s);
}

/* Over a connection that stands nothing is lost, so a payload is not sent twice of itself: whoever gets a damaged one asks
 * the other to introduce itself, which repeats what matters. */
static void after_a_damaged_payload_all_is_repeated(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    say_hello(&s, SC_PROTOCOL_VERSION);
    sc_envelope *heard = hear(&s, STAGECOACH__V1__ENVELOPE__BODY_HELLO);
    assert_false(heard->hello->reply_wanted);
    sc_frame_free(&heard);
    Stagecoach__V1__Request request = STAGECOACH__V1__REQUEST__INIT;
    request.call_id = 5;
    request.method = "stagecoach.v1.Coordinator/Join";
    request.deadline_ms = 1000;
    request.payload_xxh3 = 1234;
    sc_envelope envelope = STAGECOACH__V1__ENVELOPE__INIT;
    envelope.protocol = SC_PROTOCOL_VERSION;
    envelope.body_case = STAGECOACH__V1__ENVELOPE__BODY_REQUEST;
    envelope.request = &request;
    say_envelope(&s, &envelope, true);
    say(&s, "", 0, true);
    say(&s, "payload", 7, false);
    heard = hear(&s, STAGECOACH__V1__ENVELOPE__BODY_HELLO);
    assert_true(heard->hello->reply_wanted);
    sc_frame_free(&heard);
    assert_int_equal(rejected(&s), 1);
    check_alive(&s);
    close_scene(&s);
}

static void wrong_numbers_of_frames_are_rejected(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    say_hello(&s, SC_PROTOCOL_VERSION);
    float payload[256] = {1};
    Stagecoach__V1__TensorHeader header;
    Stagecoach__V1__TensorName name;
    uint64_t shape[4];
    sc_envelope envelope = tensor_envelope(&header, &name, shape, payload, sizeof payload);
    say_envelope(&s, &envelope, false); /* without its payload */
    say_envelope(&s, &envelope, true);  /* with a hundred of them */
    for (int i = 0; i < 100; i++)
        say(&s, payload, sizeof payload, i < 99);
    say(&s, "", 0, false); /* an empty frame */
    POLL_UNTIL(&s.server, &s.client, rejected(&s) == 3);
    assert_int_equal(s.server.n_tensors, 0);
    check_alive(&s);
    close_scene(&s);
}

static void an_oversize_frame_costs_the_connection_only(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    say_hello(&s, SC_PROTOCOL_VERSION);
    POLL_UNTIL(&s.server, &s.client, s.server.n_met == 2);
    assert_string_equal(sc_peer_name(s.server.met), "stranger??[31m"); /* nothing that moves a terminal's cursor */
    uint64_t before = sc_node_count(s.server.node).bytes_in;
    char *large = calloc(1, (1 << 20) + 1);
    say(&s, large, (1 << 20) + 1, false);
    free(large);
    check_alive(&s);
    assert_int_equal(sc_node_count(s.server.node).bytes_in, before + 4000);
    close_scene(&s);
}

static void many_strangers_do_not_fill_the_memory(void **state)
{
    (void)state;
    scene s;
    open_scene(&s);
    sc_peer_set_context(s.server.met, &s); /* the client is in use: it is not to go */
    for (int i = 0; i < SC_NODE_MAX_PEERS + 100; i++) {
        sc_peer *peer = NULL; /* as a Hello on a connection of its own makes one */
        assert_int_equal(sc_peer_new(s.server.node, true, &peer), SC_OK);
        peer->heard_ns = (uint64_t)i;
    }
    assert_int_equal(s.server.node->n_peers, SC_NODE_MAX_PEERS);
    say_hello(&s, SC_PROTOCOL_VERSION);
    POLL_UNTIL(&s.server, &s.client, s.server.n_met == 2);
    check_alive(&s);
    sc_peer *peer = NULL; /* our own connections do not push anybody out */
    assert_int_equal(sc_node_connect(s.server.node, "tcp://127.0.0.1:1", &peer), SC_RESOURCE_EXHAUSTED);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_version_is_told_so),
        cmocka_unit_test(other_versions_fill_no_log),
        cmocka_unit_test(a_server_of_another_version_ends_calls),
        cmocka_unit_test(random_frames_are_rejected),
        cmocka_unit_test(raw_tcp_garbage_is_ignored),
        cmocka_unit_test(tensors_that_lie_are_rejected),
        cmocka_unit_test(a_damaged_tensor_is_asked_for_again),
        cmocka_unit_test(after_a_damaged_payload_all_is_repeated),
        cmocka_unit_test(wrong_numbers_of_frames_are_rejected),
        cmocka_unit_test(an_oversize_frame_costs_the_connection_only),
        cmocka_unit_test(many_strangers_do_not_fill_the_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
