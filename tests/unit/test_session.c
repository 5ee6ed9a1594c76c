/* Real sessions in threads, against a coordinator that this test plays itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/assign_fixture.h"
#include "proto/base/log.h"
#include "tests/unit/scratch.h"
#include "worker/session.h"
#include "worker/session_endpoint.h"

enum { MAX_WORKERS = 2, MAX_JOINS = 8, PATIENCE_S = 60, DEADLINE_MS = 30000 };

#define KIND(name) STAGECOACH__V1__TENSOR_KIND__##name

/* ---- the workers ---- */

typedef struct worker_thread {
    pthread_t thread;
    char coordinator[256];
    int stop_pipe[2];
    sc_status status; /* of the run, read after the thread has ended */
    char message[512];
    atomic_bool ended;
} worker_thread;

static void *work(void *context)
{
    worker_thread *self = context;
    sc_session_options options = {
        .coordinator = self->coordinator,
        .ops = &sc_ops_reference,
        .threads = 1,
        .local_index = -1,
        .clock = sc_clock_system(),
        .stop_fd = self->stop_pipe[0],
    };
    sc_session *session;
    self->status = sc_session_new(&options, &session);
    if (self->status == SC_OK) {
        self->status = sc_session_run(session);
        snprintf(self->message, sizeof self->message, "%s", sc_status_message());
        sc_session_destroy(&session);
    }
    atomic_store(&self->ended, true);
    return NULL;
}

static void worker_start(worker_thread *self, const char *coordinator)
{
    *self = (worker_thread){0};
    snprintf(self->coordinator, sizeof self->coordinator, "%s", coordinator);
    assert_int_equal(pipe(self->stop_pipe), 0);
    assert_int_equal(pthread_create(&self->thread, NULL, work, self), 0);
}

/* ---- the coordinator ---- */

typedef struct join {
    sc_peer *peer;
    uint64_t incarnation;
    char endpoint[256];
} join;

typedef struct fake {
    Stagecoach__V1__Coordinator_Service service; /* first: closures get it by this address */
    sc_node *node;
    char endpoint[256];
    join joins[MAX_JOINS];
    int n_joins, n_progress, n_leaves;
    uint32_t lease_ms;
    const char *refusal; /* NULL: workers may join */
} fake;

static fake *fake_of(void *closure_data)
{
    return sc_call_context(sc_call_of(closure_data));
}

static void serve_join(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__JoinRequest *input,
                       Stagecoach__V1__JoinReply_Closure closure, void *closure_data)
{
    (void)service;
    fake *self = fake_of(closure_data);
    if (self->refusal) {
        sc_call_fail(sc_call_of(closure_data), SC_FAILED_PRECONDITION, self->refusal);
        return;
    }
    assert_true(self->n_joins < MAX_JOINS);
    join *joined = &self->joins[self->n_joins++];
    joined->peer = sc_call_peer(sc_call_of(closure_data));
    joined->incarnation = input->incarnation;
    snprintf(joined->endpoint, sizeof joined->endpoint, "%s", input->data_endpoint);
    Stagecoach__V1__JoinReply reply = STAGECOACH__V1__JOIN_REPLY__INIT;
    reply.run = 1;
    reply.lease_ms = self->lease_ms;
    closure(&reply, closure_data);
}

static void serve_progress(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__ProgressRequest *input,
                           Stagecoach__V1__ProgressReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)input;
    fake_of(closure_data)->n_progress++;
    Stagecoach__V1__ProgressReply reply = STAGECOACH__V1__PROGRESS_REPLY__INIT;
    closure(&reply, closure_data);
}

static void serve_leave(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__LeaveRequest *input,
                        Stagecoach__V1__LeaveReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)input;
    fake_of(closure_data)->n_leaves++;
    Stagecoach__V1__LeaveReply reply = STAGECOACH__V1__LEAVE_REPLY__INIT;
    closure(&reply, closure_data);
}

static void fake_open(fake *self, const char *endpoint, uint32_t lease_ms)
{
    *self = (fake){.lease_ms = lease_ms};
    sc_node_options options = {
        .name = "coordinator",
        .clock = sc_clock_system(),
        .run = 1,
        .resend_ms = 200,
        .heartbeat_ms = 1000,
        .max_message_bytes = 64 << 20,
    };
    const char *bound;
    assert_int_equal(sc_node_new(&options, &self->node), SC_OK);
    /* libzmq closes in the background: one that stood here before may not be gone quite yet. */
    sc_clock clock = sc_clock_system();
    uint64_t start = sc_clock_ns(&clock);
    while (sc_node_bind(self->node, endpoint, &bound) != SC_OK)
        if (sc_clock_seconds_since(&clock, start) > PATIENCE_S)
            fail_msg("%s", sc_status_message());
    snprintf(self->endpoint, sizeof self->endpoint, "%s", bound);
    self->service = (Stagecoach__V1__Coordinator_Service)STAGECOACH__V1__COORDINATOR__INIT(serve_);
    assert_int_equal(sc_node_serve(self->node, &self->service.base, self), SC_OK);
}

static void fake_close(fake *self)
{
    sc_node_destroy(&self->node, 0);
}

/* Polls the coordinator's node until `condition` holds. */
#define POLL_UNTIL(self, condition)                                                                                    \
    do {                                                                                                               \
        sc_clock clock_ = sc_clock_system();                                                                           \
        uint64_t start_ = sc_clock_ns(&clock_);                                                                        \
        while (!(condition)) {                                                                                         \
            assert_int_equal(sc_node_poll((self)->node, 10), SC_OK);                                                   \
            if (sc_clock_seconds_since(&clock_, start_) > PATIENCE_S)                                                  \
                fail_msg("waited too long for: %s", #condition);                                                       \
        }                                                                                                              \
    } while (0)

/* ---- calls ---- */

typedef struct outcome {
    bool done;
    sc_status status;
    char message[512];
    ProtobufCMessage *reply; /* owned */
    sc_buffer *payload;
} outcome;

static void keep_outcome(void *context, sc_peer *peer, const sc_result *result)
{
    (void)peer;
    outcome *self = context;
    self->done = true;
    self->status = result->status;
    snprintf(self->message, sizeof self->message, "%s", result->message);
    if (result->payload)
        self->payload = sc_buffer_ref(result->payload);
    if (!result->reply)
        return;
    size_t bytes = protobuf_c_message_get_packed_size(result->reply);
    uint8_t *packed = malloc(bytes + 1);
    protobuf_c_message_pack(result->reply, packed);
    self->reply = protobuf_c_message_unpack(result->reply->descriptor, NULL, bytes, packed);
    free(packed);
}

static void outcome_clear(outcome *self)
{
    if (self->reply)
        protobuf_c_message_free_unpacked(self->reply, NULL);
    sc_buffer_unref(&self->payload);
    *self = (outcome){0};
}

static void call(sc_peer *peer, const char *method, const void *request, sc_buffer *payload, outcome *out)
{
    *out = (outcome){0};
    assert_int_equal(sc_peer_call(peer, &stagecoach__v1__stage_worker__descriptor, method, request, payload, 0,
                                  DEADLINE_MS, keep_outcome, out),
                     SC_OK);
}

static void expect(fake *self, outcome *out, sc_status status)
{
    POLL_UNTIL(self, out->done);
    if (out->status != status)
        fail_msg("%s (%s), expected %s", sc_status_name(out->status), out->message, sc_status_name(status));
}

static void call_and_expect(fake *self, sc_peer *peer, const char *method, const void *request, sc_buffer *payload,
                            sc_status status)
{
    outcome out;
    call(peer, method, request, payload, &out);
    expect(self, &out, status);
    outcome_clear(&out);
}

static void release(fake *self, sc_peer *peer, worker_thread *worker)
{
    Stagecoach__V1__ReleaseRequest request = STAGECOACH__V1__RELEASE_REQUEST__INIT;
    call_and_expect(self, peer, "Release", &request, NULL, SC_OK);
    POLL_UNTIL(self, atomic_load(&worker->ended));
    pthread_join(worker->thread, NULL);
    assert_int_equal(worker->status, SC_OK);
    close(worker->stop_pipe[0]);
    close(worker->stop_pipe[1]);
}

/* Stops a worker as a signal would. */
static void stop(fake *self, worker_thread *worker)
{
    assert_int_equal(write(worker->stop_pipe[1], "s", 1), 1);
    POLL_UNTIL(self, atomic_load(&worker->ended));
    pthread_join(worker->thread, NULL);
    close(worker->stop_pipe[0]);
    close(worker->stop_pipe[1]);
}

/* ---- a run ---- */

/* The fixture with the workers that joined, in the order of their joining from `first`. */
static void name_workers(const fake *self, assign_fixture *fixture, int first, int S)
{
    for (int w = 0; w < S; w++) {
        snprintf(fixture->endpoints[w], sizeof fixture->endpoints[w], "%s", self->joins[first + w].endpoint);
        fixture->incarnations[w] = self->joins[first + w].incarnation;
    }
}

static void assign(fake *self, assign_fixture *fixture, int first, int S, uint64_t generation)
{
    outcome outcomes[MAX_WORKERS];
    name_workers(self, fixture, first, S);
    fixture->request.generation = generation;
    sc_node_set_generation(self->node, generation);
    for (int w = 0; w < S; w++) {
        fixture->request.worker = (uint32_t)w;
        call(self->joins[first + w].peer, "Assign", &fixture->request, NULL, &outcomes[w]);
    }
    for (int w = 0; w < S; w++) {
        expect(self, &outcomes[w], SC_OK);
        const Stagecoach__V1__AssignReply *reply = (const Stagecoach__V1__AssignReply *)outcomes[w].reply;
        assert_true(reply->param_bytes > 0 && reply->activation_bytes > 0);
        outcome_clear(&outcomes[w]);
    }
}

static void send_ids(sc_peer *peer, uint64_t generation, uint64_t step, int m, uint32_t stage, uint32_t kind)
{
    sc_tensor_message message = fixture_ids(step, m, stage, kind);
    message.name.generation = generation;
    assert_int_equal(sc_peer_send(peer, &message.name, message.dtype, &message.shape, message.payload), SC_OK);
    sc_tensor_message_clear(&message);
}

static void send_batch(fake *self, int S, uint64_t generation, uint64_t step)
{
    for (int m = 0; m < FIXTURE_M; m++) {
        send_ids(self->joins[0].peer, generation, step, m, 0, KIND(TOKENS));
        send_ids(self->joins[S - 1].peer, generation, step, m, (uint32_t)(S - 1), KIND(TARGETS));
    }
}

static Stagecoach__V1__RunStepRequest training_step(uint64_t generation, uint64_t step)
{
    Stagecoach__V1__RunStepRequest request = STAGECOACH__V1__RUN_STEP_REQUEST__INIT;
    request.generation = generation;
    request.step = request.optimizer_step = step;
    request.plan = FIXTURE_TRAIN;
    request.n_targets = FIXTURE_B * FIXTURE_T * FIXTURE_M;
    return request;
}

static Stagecoach__V1__ApplyStepRequest verdict(uint64_t generation, uint64_t step)
{
    Stagecoach__V1__ApplyStepRequest request = STAGECOACH__V1__APPLY_STEP_REQUEST__INIT;
    request.generation = generation;
    request.step = step;
    request.grad_scale = 0.5f;
    request.learning_rate = 1e-2f;
    return request;
}

enum { STEPS = 3 };

/* The losses of STEPS steps over S workers, each step's RunStep sent right behind the last one's ApplyStep. */
static void run_steps(fake *self, int S, double losses[STEPS][FIXTURE_M])
{
    outcome runs[MAX_WORKERS], applies[MAX_WORKERS];
    for (uint64_t step = 1; step <= STEPS + 1; step++) {
        Stagecoach__V1__ApplyStepRequest apply = verdict(1, step - 1);
        Stagecoach__V1__RunStepRequest run = training_step(1, step);
        if (step <= STEPS)
            send_batch(self, S, 1, step);
        for (int w = 0; w < S; w++) {
            if (step > 1)
                call(self->joins[w].peer, "ApplyStep", &apply, NULL, &applies[w]);
            if (step <= STEPS)
                call(self->joins[w].peer, "RunStep", &run, NULL, &runs[w]);
        }
        for (int w = 0; w < S && step > 1; w++) {
            expect(self, &applies[w], SC_OK);
            outcome_clear(&applies[w]);
        }
        for (int w = 0; w < S && step <= STEPS; w++) {
            expect(self, &runs[w], SC_OK);
            const Stagecoach__V1__RunStepReply *reply = (const Stagecoach__V1__RunStepReply *)runs[w].reply;
            assert_int_equal(reply->step, step);
            assert_true(reply->n_norms > 0);
            assert_true(reply->times->step_seconds > 0 && reply->times->peak_resident_bytes > 1 << 20);
            assert_int_equal(reply->n_loss_sums, w == S - 1 ? FIXTURE_M : 0);
            for (size_t m = 0; m < reply->n_loss_sums; m++)
                losses[step - 1][m] = reply->loss_sums[m];
            outcome_clear(&runs[w]);
        }
    }
}

static void a_whole_run(const char *endpoint, int S, double losses[STEPS][FIXTURE_M])
{
    fake coordinator;
    worker_thread workers[MAX_WORKERS];
    assign_fixture fixture;
    fake_open(&coordinator, endpoint, 10000);
    for (int w = 0; w < S; w++) {
        worker_start(&workers[w], coordinator.endpoint);
        POLL_UNTIL(&coordinator, coordinator.n_joins == w + 1);
    }
    fixture_fill(&fixture, S, 1, NULL, NULL);
    assign(&coordinator, &fixture, 0, S, 1);
    run_steps(&coordinator, S, losses);
    for (int w = 0; w < S; w++)
        release(&coordinator, coordinator.joins[w].peer, &workers[w]);
    fixture_clear(&fixture);
    fake_close(&coordinator);
}

static void a_run_from_join_to_release(void **state)
{
    (void)state;
    double one[STEPS][FIXTURE_M], two[STEPS][FIXTURE_M], over_ipc[STEPS][FIXTURE_M];
    a_whole_run("tcp://127.0.0.1:*", 1, one);
    assert_true(one[0][0] > 0 && one[0][0] != one[1][0]);
    a_whole_run("tcp://127.0.0.1:*", 2, two);
    assert_memory_equal(one, two, sizeof one);

    char endpoint[SC_ENDPOINT_BYTES], own[SC_ENDPOINT_BYTES];
    snprintf(endpoint, sizeof endpoint, "ipc://%s", scratch_file("c"));
    a_whole_run(endpoint, 1, over_ipc);
    assert_memory_equal(one, over_ipc, sizeof one);
    assert_int_equal(sc_session_endpoint_listen(endpoint, own), SC_OK);
    assert_int_not_equal(access(own + strlen("ipc://"), F_OK), 0); /* the worker took its socket file with it */
}

/* A step of generation over two workers; the reply's logits, owned. */
static sc_buffer *generate(fake *self, uint64_t step, bool cache, int from, int n)
{
    for (int m = 0; m < 2; m++) {
        sc_tensor_message tokens = fixture_tokens_at(step, m, from, n);
        assert_int_equal(sc_peer_send(self->joins[0].peer, &tokens.name, tokens.dtype, &tokens.shape, tokens.payload),
                         SC_OK);
        sc_tensor_message_clear(&tokens);
    }
    Stagecoach__V1__RunStepRequest request = STAGECOACH__V1__RUN_STEP_REQUEST__INIT;
    request.generation = 1;
    request.step = step;
    request.want_logits = true;
    request.cache = cache;
    request.position = cache ? (uint32_t)from : 0;
    outcome first, last;
    call(self->joins[0].peer, "RunStep", &request, NULL, &first);
    call(self->joins[1].peer, "RunStep", &request, NULL, &last);
    expect(self, &first, SC_OK);
    expect(self, &last, SC_OK);
    sc_buffer *logits = sc_buffer_ref(last.payload);
    outcome_clear(&first);
    outcome_clear(&last);
    return logits;
}

static void generation_goes_on_from_the_cache(void **state)
{
    (void)state;
    fake coordinator;
    worker_thread workers[2];
    assign_fixture fixture;
    fake_open(&coordinator, "tcp://127.0.0.1:*", 10000);
    for (int w = 0; w < 2; w++) {
        worker_start(&workers[w], coordinator.endpoint);
        POLL_UNTIL(&coordinator, coordinator.n_joins == w + 1);
    }
    fixture_fill(&fixture, 2, 1, NULL, NULL);
    fixture_generate(&fixture);
    assign(&coordinator, &fixture, 0, 2, 1);
    sc_buffer *prompt = generate(&coordinator, 1, true, 0, FIXTURE_T - 1);
    sc_buffer *next = generate(&coordinator, 2, true, FIXTURE_T - 1, 1);
    sc_buffer *whole = generate(&coordinator, 3, false, 0, FIXTURE_T);
    const float *got = sc_buffer_data(next), *expected = sc_buffer_data(whole);
    for (size_t i = 0; i < sc_buffer_bytes(whole) / sizeof(float); i++)
        assert_true(fabsf(got[i] - expected[i]) < 1e-6f); /* of about 0.1; sums over 8 keys in another order */
    assert_memory_not_equal(sc_buffer_data(prompt), got, sc_buffer_bytes(prompt));
    sc_buffer_unref(&prompt);
    sc_buffer_unref(&next);
    sc_buffer_unref(&whole);

    Stagecoach__V1__RunStepRequest beyond = STAGECOACH__V1__RUN_STEP_REQUEST__INIT;
    beyond.generation = 1;
    beyond.step = 4;
    beyond.want_logits = beyond.cache = true;
    beyond.position = UINT32_MAX;
    sc_tensor_message tokens = fixture_tokens_at(4, 0, 0, 1);
    assert_int_equal(sc_peer_send(coordinator.joins[0].peer, &tokens.name, tokens.dtype, &tokens.shape, tokens.payload),
                     SC_OK);
    sc_tensor_message_clear(&tokens);
    call_and_expect(&coordinator, coordinator.joins[0].peer, "RunStep", &beyond, NULL, SC_OUT_OF_RANGE);
    for (int w = 0; w < 2; w++)
        release(&coordinator, coordinator.joins[w].peer, &workers[w]);
    fixture_clear(&fixture);
    fake_close(&coordinator);
}

static void state_is_written_and_read(void **state)
{
    (void)state;
    fake coordinator;
    worker_thread worker;
    assign_fixture fixture;
    fake_open(&coordinator, "tcp://127.0.0.1:*", 10000);
    worker_start(&worker, coordinator.endpoint);
    POLL_UNTIL(&coordinator, coordinator.n_joins == 1);
    sc_peer *peer = coordinator.joins[0].peer;
    fixture_fill(&fixture, 1, 1, NULL, NULL);
    assign(&coordinator, &fixture, 0, 1, 1);

    const float values[] = {0.25f, -3.0f, 7.5f};
    sc_buffer *data;
    assert_int_equal(sc_buffer_new(sizeof values, &data), SC_OK);
    memcpy(sc_buffer_data(data), values, sizeof values);
    Stagecoach__V1__WriteStateRequest write_request = STAGECOACH__V1__WRITE_STATE_REQUEST__INIT;
    write_request.generation = 1;
    write_request.name = (char *)"transformer.wpe.weight";
    write_request.offset = 8;
    call_and_expect(&coordinator, peer, "WriteState", &write_request, data, SC_OK);
    Stagecoach__V1__ReadStateRequest read_request = STAGECOACH__V1__READ_STATE_REQUEST__INIT;
    read_request.generation = 1;
    read_request.name = (char *)"transformer.wpe.weight";
    read_request.offset = 8;
    read_request.bytes = sizeof values;
    outcome out;
    call(peer, "ReadState", &read_request, NULL, &out);
    expect(&coordinator, &out, SC_OK);
    assert_int_equal(sc_buffer_bytes(out.payload), sizeof values);
    assert_memory_equal(sc_buffer_data(out.payload), values, sizeof values);
    outcome_clear(&out);

    call_and_expect(&coordinator, peer, "WriteState", &write_request, NULL, SC_INVALID); /* no payload */
    read_request.bytes = UINT64_MAX;
    call_and_expect(&coordinator, peer, "ReadState", &read_request, NULL, SC_INVALID);
    read_request.bytes = 4;
    read_request.offset = 1 << 20;
    call_and_expect(&coordinator, peer, "ReadState", &read_request, NULL, SC_OUT_OF_RANGE);
    read_request.name = (char *)"no.such.weight";
    call_and_expect(&coordinator, peer, "ReadState", &read_request, NULL, SC_NOT_FOUND);
    release(&coordinator, peer, &worker);
    fixture_clear(&fixture);
    fake_close(&coordinator);
}

static void wrong_calls_are_refused_and_survived(void **state)
{
    (void)state;
    fake coordinator;
    worker_thread worker;
    assign_fixture fixture;
    fake_open(&coordinator, "tcp://127.0.0.1:*", 10000);
    worker_start(&worker, coordinator.endpoint);
    POLL_UNTIL(&coordinator, coordinator.n_joins == 1);
    sc_peer *peer = coordinator.joins[0].peer;
    Stagecoach__V1__RunStepRequest run = training_step(1, 1);
    call_and_expect(&coordinator, peer, "RunStep", &run, NULL, SC_FAILED_PRECONDITION); /* no assignment */

    fixture_fill(&fixture, 1, 1, NULL, NULL);
    name_workers(&coordinator, &fixture, 0, 1);
    fixture.request.run = 2;
    call_and_expect(&coordinator, peer, "Assign", &fixture.request, NULL, SC_FAILED_PRECONDITION); /* another run */
    fixture.request.run = 1;
    fixture.slices[0].n_blocks--;
    call_and_expect(&coordinator, peer, "Assign", &fixture.request, NULL, SC_INVALID);
    fixture.slices[0].n_blocks++;
    assign(&coordinator, &fixture, 0, 1, 1);
    call_and_expect(&coordinator, peer, "Assign", &fixture.request, NULL, SC_FAILED_PRECONDITION); /* not raised */

    run.generation = 9;
    call_and_expect(&coordinator, peer, "RunStep", &run, NULL, SC_FAILED_PRECONDITION);
    run.generation = 1;
    run.plan = 2;
    call_and_expect(&coordinator, peer, "RunStep", &run, NULL, SC_INVALID);
    Stagecoach__V1__ApplyStepRequest apply = verdict(1, 1);
    call_and_expect(&coordinator, peer, "ApplyStep", &apply, NULL, SC_FAILED_PRECONDITION); /* not voted */

    /* A tensor for a micro-batch that no plan has is dropped; the step goes on without it. */
    send_ids(peer, 1, 1, FIXTURE_M, 0, KIND(TOKENS));
    double losses[STEPS][FIXTURE_M];
    run_steps(&coordinator, 1, losses);
    release(&coordinator, peer, &worker);
    fixture_clear(&fixture);
    fake_close(&coordinator);
}

static void a_new_assignment_ends_a_step_that_waits(void **state)
{
    (void)state;
    fake coordinator;
    worker_thread worker;
    assign_fixture fixture;
    fake_open(&coordinator, "tcp://127.0.0.1:*", 10000);
    worker_start(&worker, coordinator.endpoint);
    POLL_UNTIL(&coordinator, coordinator.n_joins == 1);
    sc_peer *peer = coordinator.joins[0].peer;
    fixture_fill(&fixture, 1, 1, NULL, NULL);
    assign(&coordinator, &fixture, 0, 1, 1);
    Stagecoach__V1__RunStepRequest first = training_step(1, 1), second = training_step(2, 1);
    outcome broken_off, out;
    call(peer, "RunStep", &first, NULL, &broken_off); /* its tokens never come */
    assign(&coordinator, &fixture, 0, 1, 2);
    expect(&coordinator, &broken_off, SC_CANCELLED);
    outcome_clear(&broken_off);
    send_batch(&coordinator, 1, 2, 1);
    call(peer, "RunStep", &second, NULL, &out);
    expect(&coordinator, &out, SC_OK);
    outcome_clear(&out);
    release(&coordinator, peer, &worker);
    fixture_clear(&fixture);
    fake_close(&coordinator);
}

static void asked_to_stop_it_says_goodbye(void **state)
{
    (void)state;
    fake coordinator;
    worker_thread worker;
    assign_fixture fixture;
    fake_open(&coordinator, "tcp://127.0.0.1:*", 300);
    worker_start(&worker, coordinator.endpoint);
    POLL_UNTIL(&coordinator, coordinator.n_joins == 1);
    fixture_fill(&fixture, 1, 1, NULL, NULL);
    assign(&coordinator, &fixture, 0, 1, 1);
    POLL_UNTIL(&coordinator, coordinator.n_progress >= 2); /* the lease is renewed meanwhile */
    Stagecoach__V1__RunStepRequest run = training_step(1, 1);
    outcome out;
    call(coordinator.joins[0].peer, "RunStep", &run, NULL, &out); /* waits for tokens: in nobody's way */
    stop(&coordinator, &worker);
    assert_int_equal(worker.status, SC_OK);
    assert_int_equal(coordinator.n_leaves, 1);
    fixture_clear(&fixture);
    fake_close(&coordinator); /* ends the call, if it has no answer */
    assert_true(out.done);
    assert_int_not_equal(out.status, SC_OK);
    outcome_clear(&out);
}

static void a_refused_worker_says_why(void **state)
{
    (void)state;
    fake coordinator;
    worker_thread worker;
    fake_open(&coordinator, "tcp://127.0.0.1:*", 10000);
    coordinator.refusal = "the run has all its workers";
    worker_start(&worker, coordinator.endpoint);
    POLL_UNTIL(&coordinator, atomic_load(&worker.ended));
    pthread_join(worker.thread, NULL);
    assert_int_equal(worker.status, SC_FAILED_PRECONDITION);
    assert_non_null(strstr(worker.message, "the run has all its workers"));
    close(worker.stop_pipe[0]);
    close(worker.stop_pipe[1]);
    fake_close(&coordinator);
}

static void it_joins_a_restarted_coordinator_as_somebody_new(void **state)
{
    (void)state;
    fake before, after;
    worker_thread worker;
    assign_fixture fixture;
    fake_open(&before, "tcp://127.0.0.1:*", 200);
    worker_start(&worker, before.endpoint);
    POLL_UNTIL(&before, before.n_joins == 1);
    fixture_fill(&fixture, 1, 1, NULL, NULL);
    assign(&before, &fixture, 0, 1, 1);
    uint64_t incarnation = before.joins[0].incarnation;
    char endpoint[256];
    snprintf(endpoint, sizeof endpoint, "%s", before.endpoint);
    fake_close(&before);

    fake_open(&after, endpoint, 10000);
    POLL_UNTIL(&after, after.n_joins == 1);
    assert_int_not_equal(after.joins[0].incarnation, incarnation);
    assign(&after, &fixture, 0, 1, 1); /* the same generation, counted anew */
    double losses[STEPS][FIXTURE_M];
    run_steps(&after, 1, losses);
    release(&after, after.joins[0].peer, &worker);
    fixture_clear(&fixture);
    fake_close(&after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_from_join_to_release),
        cmocka_unit_test(generation_goes_on_from_the_cache),
        cmocka_unit_test(state_is_written_and_read),
        cmocka_unit_test(wrong_calls_are_refused_and_survived),
        cmocka_unit_test(a_new_assignment_ends_a_step_that_waits),
        cmocka_unit_test(asked_to_stop_it_says_goodbye),
        cmocka_unit_test(a_refused_worker_says_why),
        cmocka_unit_test(it_joins_a_restarted_coordinator_as_somebody_new),
    };
    /* The refusals that are provoked here would look like failures. */
    if (!getenv("SC_LOG") && sc_log_init("off", false, STDERR_FILENO) != SC_OK)
        return 1;
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
