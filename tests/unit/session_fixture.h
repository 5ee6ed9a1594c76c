/* Real sessions in threads, and a coordinator that the test plays itself. For the session's tests; each includes it once. */
#ifndef SC_SESSION_FIXTURE_H
#define SC_SESSION_FIXTURE_H

#include "proto/base/log.h"
#include "tests/unit/assign_fixture.h"
#include "worker/session.h"
#include "worker/session_endpoint.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_WORKERS = 4, MAX_JOINS = 16, PATIENCE_S = 60, DEADLINE_MS = 30000 };

#define KIND(name) STAGECOACH__V1__TENSOR_KIND__##name

/* ---- the workers ---- */

typedef struct worker_thread {
    pthread_t thread;
    char coordinator[256];
    int stop_pipe[2];
    const char *preempt_file;
    uint32_t grace_ms;
    const sc_ops *ops; /* NULL: the reference */
    sc_status status;  /* of the run, read after the thread has ended */
    char message[512];
    atomic_bool ended;
} worker_thread;

static inline void *work(void *context)
{
    worker_thread *self = context;
    sc_session_options options = {
        .coordinator = self->coordinator,
        .ops = self->ops ? self->ops : &sc_ops_reference,
        .threads = 1,
        .local_index = -1,
        .clock = sc_clock_system(),
        .stop_fd = self->stop_pipe[0],
        .preempt_file = self->preempt_file,
        .grace_ms = self->grace_ms,
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

static inline void worker_start_as(worker_thread *self, const char *coordinator, const worker_thread *settings)
{
    *self = *settings;
    snprintf(self->coordinator, sizeof self->coordinator, "%s", coordinator);
    assert_int_equal(pipe(self->stop_pipe), 0);
    assert_int_equal(pthread_create(&self->thread, NULL, work, self), 0);
}

static inline void worker_start_with(worker_thread *self, const char *coordinator, const char *preempt_file,
                                     uint32_t grace_ms)
{
    worker_start_as(self, coordinator, &(worker_thread){.preempt_file = preempt_file, .grace_ms = grace_ms});
}

static inline void worker_start(worker_thread *self, const char *coordinator)
{
    worker_start_with(self, coordinator, NULL, 30000);
}

/* ---- the coordinator ---- */

typedef struct join {
    sc_peer *peer;
    uint64_t incarnation;
    char endpoint[256];
    Stagecoach__V1__HeldPart held[8];
    int n_held;
} join;

typedef struct fake {
    Stagecoach__V1__Coordinator_Service service; /* first: closures get it by this address */
    sc_node *node;
    char endpoint[256];
    join joins[MAX_JOINS];
    int n_joins, n_progress, n_leaves, n_drains;
    bool takes_nothing_over;
    uint32_t lease_ms;
    const char *refusal; /* NULL: workers may join */
} fake;

static inline fake *fake_of(void *closure_data)
{
    return sc_call_context(sc_call_of(closure_data));
}

static inline void serve_join(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__JoinRequest *input,
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
    assert_true(input->n_held <= sizeof joined->held / sizeof *joined->held);
    joined->n_held = (int)input->n_held;
    for (size_t i = 0; i < input->n_held; i++)
        joined->held[i] = *input->held[i];
    Stagecoach__V1__JoinReply reply = STAGECOACH__V1__JOIN_REPLY__INIT;
    reply.run = 1;
    reply.lease_ms = self->lease_ms;
    closure(&reply, closure_data);
}

static inline void serve_progress(Stagecoach__V1__Coordinator_Service *service,
                                  const Stagecoach__V1__ProgressRequest *input,
                                  Stagecoach__V1__ProgressReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)input;
    fake_of(closure_data)->n_progress++;
    Stagecoach__V1__ProgressReply reply = STAGECOACH__V1__PROGRESS_REPLY__INIT;
    closure(&reply, closure_data);
}

static inline void serve_leave(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__LeaveRequest *input,
                               Stagecoach__V1__LeaveReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)input;
    fake_of(closure_data)->n_leaves++;
    Stagecoach__V1__LeaveReply reply = STAGECOACH__V1__LEAVE_REPLY__INIT;
    closure(&reply, closure_data);
}

static inline void serve_drain(Stagecoach__V1__Coordinator_Service *service, const Stagecoach__V1__DrainRequest *input,
                               Stagecoach__V1__DrainReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)input;
    fake *self = fake_of(closure_data);
    self->n_drains++;
    if (self->takes_nothing_over) {
        sc_call_fail(sc_call_of(closure_data), SC_UNIMPLEMENTED, "not here");
        return;
    }
    Stagecoach__V1__DrainReply reply = STAGECOACH__V1__DRAIN_REPLY__INIT;
    closure(&reply, closure_data);
}

static inline void fake_open(fake *self, const char *endpoint, uint32_t lease_ms)
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

static inline void fake_close(fake *self)
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

static inline void keep_outcome(void *context, sc_peer *peer, const sc_result *result)
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

static inline void outcome_clear(outcome *self)
{
    if (self->reply)
        protobuf_c_message_free_unpacked(self->reply, NULL);
    sc_buffer_unref(&self->payload);
    *self = (outcome){0};
}

static inline void call(sc_peer *peer, const char *method, const void *request, sc_buffer *payload, outcome *out)
{
    *out = (outcome){0};
    assert_int_equal(sc_peer_call(peer, &stagecoach__v1__stage_worker__descriptor, method, request, payload, 0,
                                  DEADLINE_MS, keep_outcome, out),
                     SC_OK);
}

static inline void expect(fake *self, outcome *out, sc_status status)
{
    POLL_UNTIL(self, out->done);
    if (out->status != status)
        fail_msg("%s (%s), expected %s", sc_status_name(out->status), out->message, sc_status_name(status));
}

static inline void call_and_expect(fake *self, sc_peer *peer, const char *method, const void *request,
                                   sc_buffer *payload, sc_status status)
{
    outcome out;
    call(peer, method, request, payload, &out);
    expect(self, &out, status);
    outcome_clear(&out);
}

/* After its end. */
static inline void worker_join(worker_thread *worker)
{
    pthread_join(worker->thread, NULL);
    assert_int_equal(worker->status, SC_OK);
    close(worker->stop_pipe[0]);
    close(worker->stop_pipe[1]);
}

static inline void release(fake *self, sc_peer *peer, worker_thread *worker)
{
    Stagecoach__V1__ReleaseRequest request = STAGECOACH__V1__RELEASE_REQUEST__INIT;
    call_and_expect(self, peer, "Release", &request, NULL, SC_OK);
    POLL_UNTIL(self, atomic_load(&worker->ended));
    worker_join(worker);
}

/* Stops a worker as a signal would. */
static inline void stop(fake *self, worker_thread *worker)
{
    assert_int_equal(write(worker->stop_pipe[1], "l", 1), 1);
    POLL_UNTIL(self, atomic_load(&worker->ended));
    pthread_join(worker->thread, NULL);
    close(worker->stop_pipe[0]);
    close(worker->stop_pipe[1]);
}

/* ---- a run ---- */

/* The fixture with the workers that joined, in the order of their joining from `first`. */
static inline void name_workers(const fake *self, assign_fixture *fixture, int first, int S)
{
    for (int w = 0; w < S; w++) {
        memcpy(fixture->endpoints[w], self->joins[first + w].endpoint, sizeof fixture->endpoints[w]);
        fixture->incarnations[w] = self->joins[first + w].incarnation;
    }
}

static inline void assign(fake *self, assign_fixture *fixture, int first, int S, uint64_t generation)
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

static inline void send_ids(sc_peer *peer, uint64_t generation, uint64_t step, int m, uint32_t stage, uint32_t kind)
{
    sc_tensor_message message = fixture_ids(step, m, stage, kind);
    message.name.generation = generation;
    assert_int_equal(sc_peer_send(peer, &message.name, message.dtype, &message.shape, message.payload), SC_OK);
    sc_tensor_message_clear(&message);
}

static inline void send_batch(fake *self, int S, uint64_t generation, uint64_t step)
{
    for (int m = 0; m < FIXTURE_M; m++) {
        send_ids(self->joins[0].peer, generation, step, m, 0, KIND(TOKENS));
        send_ids(self->joins[S - 1].peer, generation, step, m, (uint32_t)(S - 1), KIND(TARGETS));
    }
}

static inline Stagecoach__V1__RunStepRequest training_step(uint64_t generation, uint64_t step)
{
    Stagecoach__V1__RunStepRequest request = STAGECOACH__V1__RUN_STEP_REQUEST__INIT;
    request.generation = generation;
    request.step = request.optimizer_step = step;
    request.plan = FIXTURE_TRAIN;
    request.n_targets = FIXTURE_B * FIXTURE_T * FIXTURE_M;
    return request;
}

static inline Stagecoach__V1__ApplyStepRequest verdict(uint64_t generation, uint64_t step)
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
static inline void run_steps(fake *self, int S, double losses[STEPS][FIXTURE_M])
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

#endif
