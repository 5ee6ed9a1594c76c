/* Nodes with keys: who is on the list gets in, and nobody else does, whatever he tries; who is taken off is cut off. */
#include "node_fixture.h"

#include "proto/wire/node_internal.h"
#include "scratch.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct scene {
    sc_certificate coordinator, worker, other;
    side server, client;
    const char *bound;
    sc_peer *to_server;
    int n_refused[3]; /* at the client, by sc_refusal */
    int n_revoked;    /* at the server */
} scene;

static scene *current; /* the fixture's context is the side; the scene is found here */

static void on_refused(void *context, sc_peer *peer, sc_refusal why)
{
    (void)context, (void)peer;
    current->n_refused[why]++;
}

static void on_revoked(void *context, sc_peer *peer)
{
    (void)context;
    assert_string_equal(sc_peer_key(peer), current->worker.public_key.z85); /* it is still whole */
    current->n_revoked++;
}

static sc_node_keys keys_of(const sc_certificate *own, const sc_certificate *server)
{
    sc_node_keys keys = {.public_key = own->public_key};
    memcpy(keys.secret_key, own->secret_key, sizeof keys.secret_key);
    if (server)
        keys.server = server->public_key;
    return keys;
}

static void allow_worker(const scene *self)
{
    assert_int_equal(sc_certificate_save(&self->worker, scratch_file("worker.pub"), false, true), SC_OK);
}

static void open_server_with(scene *self, sc_clock clock)
{
    *self = (scene){0};
    current = self;
    assert_int_equal(sc_certificate_generate("coordinator", &self->coordinator), SC_OK);
    assert_int_equal(sc_certificate_generate("worker", &self->worker), SC_OK);
    assert_int_equal(sc_certificate_generate("other", &self->other), SC_OK);
    allow_worker(self);
    sc_node_keys keys = keys_of(&self->coordinator, NULL);
    keys.allowed_dir = scratch_path;
    sc_node_options options = side_options(&self->server, "server");
    options.clock = clock;
    options.keys = &keys;
    options.on_revoked = on_revoked;
    side_open(&self->server, &options);
    if (sc_node_bind(self->server.node, "tcp://127.0.0.1:*", &self->bound) != SC_OK)
        fail_msg("%s", sc_status_message());
}

static void open_server(scene *self)
{
    open_server_with(self, sc_clock_system());
}

/* `own` NULL: without keys. */
static void open_client(scene *self, const sc_certificate *own, const sc_certificate *server)
{
    sc_node_keys keys = own ? keys_of(own, server) : (sc_node_keys){0};
    sc_node_options options = side_options(&self->client, "client");
    options.keys = own ? &keys : NULL;
    options.on_refused = on_refused;
    side_open(&self->client, &options);
    assert_int_equal(sc_node_connect(self->client.node, self->bound, &self->to_server), SC_OK);
}

static void close_scene(scene *self)
{
    side_close(&self->client);
    side_close(&self->server);
}

static sc_node_counters counted(const scene *self)
{
    return sc_node_count(self->server.node);
}

static void who_is_on_the_list_gets_in(void **state)
{
    (void)state;
    scene s;
    open_server(&s);
    open_client(&s, &s.worker, &s.coordinator);
    POLL_UNTIL(&s.server, &s.client, s.server.met && s.client.met);
    assert_string_equal(sc_peer_key(s.server.met), s.worker.public_key.z85);
    assert_string_equal(sc_peer_key(s.client.met), s.coordinator.public_key.z85);
    sc_buffer *payload = floats(300000, 1);
    sc_tensor_name name = name_of(0, 1, 1);
    assert_int_equal(sc_peer_send(s.to_server, &name, SC_F32, &SC_SHAPE(300000), payload), SC_OK);
    sc_buffer_unref(&payload);
    POLL_UNTIL(&s.server, &s.client, s.server.n_tensors == 1 && sc_node_kept_bytes(s.client.node) == 0);
    sc_node_counters n = counted(&s);
    assert_int_equal(n.unknown_keys + n.without_keys + n.wrong_server_keys + n.no_handshakes + n.revoked, 0);
    close_scene(&s);
}

static void a_key_that_is_not_on_the_list_is_refused(void **state)
{
    (void)state;
    scene s;
    open_server(&s);
    open_client(&s, &s.other, &s.coordinator);
    POLL_UNTIL(&s.server, &s.client, s.n_refused[SC_REFUSED_KEY] >= 2); /* it tries again */
    POLL_UNTIL(&s.server, &s.client, counted(&s).unknown_keys >= 2);
    assert_null(s.server.met);
    /* Once it is on the list the next attempt gets in. */
    assert_int_equal(sc_certificate_save(&s.other, scratch_file("other.pub"), false, false), SC_OK);
    POLL_UNTIL(&s.server, &s.client, s.server.met && s.client.met);
    assert_string_equal(sc_peer_key(s.server.met), s.other.public_key.z85);
    close_scene(&s);
}

static void plaintext_is_refused(void **state)
{
    (void)state;
    scene s;
    open_server(&s);
    open_client(&s, NULL, NULL);
    POLL_UNTIL(&s.server, &s.client, s.n_refused[SC_REFUSED_MECHANISM] >= 2 && counted(&s).without_keys >= 2);
    assert_null(s.server.met);
    close_scene(&s);
}

static void keys_do_not_fall_back_to_plaintext(void **state)
{
    (void)state;
    scene s;
    open_server(&s);
    side plain;
    sc_node_options options = side_options(&plain, "plain");
    side_open(&plain, &options);
    assert_int_equal(sc_node_bind(plain.node, "tcp://127.0.0.1:*", &s.bound), SC_OK);
    open_client(&s, &s.worker, &s.coordinator);
    POLL_UNTIL(&plain, &s.client, s.n_refused[SC_REFUSED_MECHANISM] >= 1);
    assert_null(plain.met);
    assert_null(s.client.met);
    side_close(&plain);
    close_scene(&s);
}

static void another_coordinator_is_not_taken_for_ours(void **state)
{
    (void)state;
    scene s;
    open_server(&s);
    open_client(&s, &s.worker, &s.other);
    POLL_UNTIL(&s.server, &s.client, s.n_refused[SC_REFUSED_SILENTLY] >= 2 && counted(&s).wrong_server_keys >= 2);
    assert_null(s.server.met);
    assert_null(s.client.met);
    close_scene(&s);
}

/* libzmq lets everybody in where nobody answers, unless it is told not to. */
static void without_a_gate_nobody_gets_in(void **state)
{
    (void)state;
    scene s;
    open_server(&s);
    sc_gate_destroy(&s.server.node->gate); /* the porter has died, too: it was the only gate */
    open_client(&s, &s.worker, &s.coordinator);
    POLL_UNTIL(&s.server, &s.client, s.n_refused[SC_REFUSED_SILENTLY] + s.n_refused[SC_REFUSED_KEY] >= 3);
    assert_null(s.server.met);
    assert_null(s.client.met);
    close_scene(&s);
}

static void a_key_that_is_taken_off_is_cut_off(void **state)
{
    (void)state;
    scene s;
    open_server(&s);
    open_client(&s, &s.worker, &s.coordinator);
    POLL_UNTIL(&s.server, &s.client, s.server.met && s.client.met);
    outcome result = {0};
    Stagecoach__V1__ProgressRequest request = STAGECOACH__V1__PROGRESS_REQUEST__INIT;
    assert_int_equal(sc_peer_call(s.server.met, &stagecoach__v1__coordinator__descriptor, "Progress", &request.base,
                                  NULL, 0, 60000, keep_outcome, &result),
                     SC_OK);
    sc_peer_expect(s.server.met, &(sc_tensor_name){.step = 1, .kind = 3});
    assert_int_equal(unlink(scratch_file("worker.pub")), 0);
    POLL_UNTIL(&s.server, &s.client, s.n_revoked == 1);
    /* Its connection goes, and it hears why when it tries again. */
    POLL_UNTIL(&s.server, &s.client, s.n_refused[SC_REFUSED_KEY] >= 1);
    assert_false(sc_peer_connected(s.to_server));
    assert_int_equal(counted(&s).revoked, 1);
    assert_null(sc_node_find_peer(s.server.node, sc_node_incarnation(s.client.node)));
    assert_int_equal(result.n, 1);
    assert_true(result.status == SC_UNAVAILABLE || result.status == SC_UNIMPLEMENTED);
    /* And back on the list it is a peer as any other. */
    int n_met = s.server.n_met;
    allow_worker(&s);
    POLL_UNTIL(&s.server, &s.client, s.server.n_met > n_met && sc_peer_connected(s.to_server));
    close_scene(&s);
}

/* Whoever was let in before his key was taken off, and whose connection libzmq keeps, is not heard. */
static void messages_of_a_key_that_was_taken_off_are_dropped(void **state)
{
    (void)state;
    scene s;
    open_server(&s);
    open_client(&s, &s.worker, &s.coordinator);
    POLL_UNTIL(&s.server, &s.client, s.server.met && s.client.met);
    assert_int_equal(sc_gate_allow(s.server.node->gate, NULL, 0), SC_OK); /* without cutting him off */
    sc_buffer *payload = floats(10, 1);
    sc_tensor_name name = name_of(0, 1, 1);
    assert_int_equal(sc_peer_send(s.to_server, &name, SC_F32, &SC_SHAPE(10), payload), SC_OK);
    sc_buffer_unref(&payload);
    POLL_UNTIL(&s.server, &s.client, counted(&s).revoked >= 1);
    assert_int_equal(s.server.n_tensors, 0);
    assert_true(counted(&s).rejected >= 1);
    close_scene(&s);
}

/* The time, as it is for the node's own thread, and for the porter, whose questions do not grow old while `hold` is set. */
typedef struct two_times {
    sc_clock system;
    pthread_t own;
    _Atomic uint64_t ahead_ns, held_ns; /* held_ns 0: the porter's time is that of the system */
    atomic_int n_questions;             /* of the porter, for the time */
} two_times;

static uint64_t tell_time(void *context)
{
    two_times *self = context;
    uint64_t held_ns = atomic_load(&self->held_ns);
    if (pthread_equal(pthread_self(), self->own))
        return sc_clock_ns(&self->system) + atomic_load(&self->ahead_ns);
    atomic_fetch_add(&self->n_questions, 1);
    return held_ns ? held_ns : sc_clock_ns(&self->system);
}

static sc_clock open_times(two_times *self)
{
    *self = (two_times){.system = sc_clock_system(), .own = pthread_self()};
    return (sc_clock){.now_ns = tell_time, .context = self};
}

static void a_list_that_cannot_be_read_leaves_the_old_one(void **state)
{
    (void)state;
    scene s;
    two_times times;
    open_server_with(&s, open_times(&times));
    sc_gate *gate = s.server.node->gate;
    FILE *file = fopen(scratch_file("broken.pub"), "w");
    fputs("curve\n    public-key = \"short\"\n", file);
    fclose(file);
    atomic_store(&times.ahead_ns, UINT64_C(5000000000)); /* a look is due each second */
    assert_int_equal(sc_node_poll(s.server.node, 0), SC_OK);
    assert_true(sc_gate_admits(gate, s.worker.public_key.z85));
    unlink(scratch_file("broken.pub"));
    assert_int_equal(sc_certificate_save(&s.other, scratch_file("other.pub"), false, false), SC_OK);
    atomic_store(&times.ahead_ns, UINT64_C(10000000000));
    assert_int_equal(sc_node_poll(s.server.node, 0), SC_OK); /* one look was enough */
    assert_true(sc_gate_admits(gate, s.other.public_key.z85));
    close_scene(&s);
}

/* A worker's neighbour may come before the assignment that names it. */
static void a_patient_gate_waits_for_its_list(void **state)
{
    (void)state;
    scene s;
    two_times times;
    open_server(&s);
    side_close(&s.server);
    sc_node_keys keys = keys_of(&s.coordinator, NULL);
    sc_node_options options = side_options(&s.server, "patient");
    options.clock = open_times(&times);
    options.keys = &keys;
    options.on_revoked = on_revoked;
    side_open(&s.server, &options);
    atomic_store(&times.held_ns, sc_clock_ns(&times.system));
    assert_int_equal(sc_node_allow(s.server.node, NULL, 0), SC_FAILED_PRECONDITION); /* not bound */
    assert_int_equal(sc_node_bind(s.server.node, "tcp://127.0.0.1:*", &s.bound), SC_OK);
    open_client(&s, &s.worker, &s.coordinator);
    POLL_UNTIL(&s.server, &s.client, atomic_load(&times.n_questions) >= 2); /* it has asked, and is not answered */
    assert_int_equal(s.n_refused[0] + s.n_refused[1] + s.n_refused[2], 0);
    assert_null(s.server.met);
    const sc_public_key list[] = {s.other.public_key, s.worker.public_key};
    assert_int_equal(sc_node_allow(s.server.node, list, 2), SC_OK);
    POLL_UNTIL(&s.server, &s.client, s.server.met && s.client.met);
    assert_int_equal(s.n_refused[0] + s.n_refused[1] + s.n_refused[2], 0); /* without a second attempt */
    atomic_store(&times.held_ns, 0);
    assert_int_equal(sc_node_allow(s.server.node, list, 1), SC_OK);
    assert_int_equal(s.n_revoked, 1);
    /* Out of patience it says "not now", which makes libzmq try again. */
    POLL_UNTIL(&s.server, &s.client, s.n_refused[SC_REFUSED_SILENTLY] >= 1);
    assert_int_equal(s.n_refused[SC_REFUSED_KEY], 0);
    s.server.met = NULL;
    assert_int_equal(sc_node_allow(s.server.node, list, 2), SC_OK);
    POLL_UNTIL(&s.server, &s.client, s.server.met);
    close_scene(&s);
}

static void a_node_without_keys_does_not_go_where_they_are_needed(void **state)
{
    (void)state;
    scene s;
    open_server(&s);
    open_client(&s, &s.worker, &s.coordinator);
    side plain;
    sc_node_options options = side_options(&plain, "plain");
    side_open(&plain, &options);
    sc_peer *peer;
    assert_int_equal(sc_node_connect_to(plain.node, s.bound, &s.coordinator.public_key, &peer), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_node_connect_to(s.client.node, s.bound, &(sc_public_key){""}, &peer), SC_FAILED_PRECONDITION);
    assert_int_equal(sc_node_connect_to(s.client.node, s.bound, &s.coordinator.public_key, &peer), SC_OK);
    assert_ptr_equal(peer, s.to_server); /* the same endpoint and the same key */
    assert_int_equal(sc_node_connect_to(s.client.node, s.bound, &s.other.public_key, &peer), SC_OK);
    assert_ptr_not_equal(peer, s.to_server);
    side_close(&plain);
    close_scene(&s);
}

/* Connections that never say a word: the oldest make room, and the peer that is there does not notice. */
static void a_silent_crowd_makes_room(void **state)
{
    (void)state;
    enum { CROWD = SC_DOOR_MAX_SILENT + 100 };
    scene s;
    open_server(&s);
    int crowd[CROWD];
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)atoi(strrchr(s.bound, ':') + 1)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(crowd[i] >= 0);
        assert_int_equal(connect(crowd[i], (struct sockaddr *)&address, sizeof address), 0);
        if (i % 64 == 63) /* so that what libzmq tells does not pile up */
            assert_int_equal(sc_node_poll(s.server.node, 1), SC_OK);
    }
    open_client(&s, &s.worker, &s.coordinator);
    POLL_UNTIL(&s.server, &s.client, s.server.met && s.client.met);
    POLL_UNTIL(&s.server, &s.client, counted(&s).crowded >= 50);
    assert_true(s.server.node->door.n_silent <= SC_DOOR_MAX_SILENT);
    assert_true(counted(&s).no_handshakes >= counted(&s).crowded);
    assert_true(sc_peer_connected(s.to_server));
    for (int i = 0; i < CROWD; i++)
        close(crowd[i]);
    POLL_UNTIL(&s.server, &s.client, s.server.node->door.n_open == 1);
    assert_int_equal(counted(&s).no_handshakes, CROWD);
    close_scene(&s);
}

#define KEYED(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        KEYED(who_is_on_the_list_gets_in),
        KEYED(a_key_that_is_not_on_the_list_is_refused),
        KEYED(plaintext_is_refused),
        KEYED(keys_do_not_fall_back_to_plaintext),
        KEYED(another_coordinator_is_not_taken_for_ours),
        KEYED(without_a_gate_nobody_gets_in),
        KEYED(a_key_that_is_taken_off_is_cut_off),
        KEYED(messages_of_a_key_that_was_taken_off_are_dropped),
        KEYED(a_list_that_cannot_be_read_leaves_the_old_one),
        KEYED(a_patient_gate_waits_for_its_list),
        KEYED(a_node_without_keys_does_not_go_where_they_are_needed),
        KEYED(a_silent_crowd_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
