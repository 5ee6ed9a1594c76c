/* A session's life: join, assignments, steps, stop; and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "tests/unit/scratch.h"
#include "tests/unit/session_fixture.h"

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

static void ask(worker_thread *worker, char request)
{
    assert_int_equal(write(worker->stop_pipe[1], &request, 1), 1);
}

/* Each way of asking; the worker goes on until it is released, and nobody is left. */
static void asked_to_drain_it_works_on_until_it_is_released(void **state)
{
    (void)state;
    const char *file = scratch_file("preempted"), *other = scratch_file("something-else");
    for (int way = 0; way < 3; way++) {
        fake coordinator;
        worker_thread worker;
        assign_fixture fixture;
        fake_open(&coordinator, "tcp://127.0.0.1:*", 10000);
        worker_start_with(&worker, coordinator.endpoint, file, 30000);
        POLL_UNTIL(&coordinator, coordinator.n_joins == 1);
        fixture_fill(&fixture, 1, 1, NULL, NULL);
        assign(&coordinator, &fixture, 0, 1, 1);
        if (way < 2) {
            ask(&worker, way == 0 ? SC_SESSION_STOP : SC_SESSION_PREEMPT);
        } else {
            fclose(fopen(other, "w"));
            fclose(fopen(file, "w"));
        }
        POLL_UNTIL(&coordinator, coordinator.n_drains == 1);
        if (way == 1)
            ask(&worker, SC_SESSION_PREEMPT); /* once more says nothing new */
        double losses[STEPS][FIXTURE_M];
        run_steps(&coordinator, 1, losses);
        release(&coordinator, coordinator.joins[0].peer, &worker);
        assert_int_equal(coordinator.n_leaves, 0);
        assert_int_equal(coordinator.n_drains, 1);
        fixture_clear(&fixture);
        fake_close(&coordinator);
    }
    unlink(file);
    unlink(other);
}

/* Nobody takes over: it is asked again, the coordinator says so or is gone, or the grace is over. */
static void nothing_keeps_a_draining_worker_for_ever(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        fake coordinator;
        worker_thread worker;
        fake_open(&coordinator, "tcp://127.0.0.1:*", 200);
        coordinator.takes_nothing_over = way == 1;
        worker_start_with(&worker, coordinator.endpoint, NULL, way == 2 ? 100 : 600000);
        POLL_UNTIL(&coordinator, coordinator.n_progress > 0); /* it knows that it is a member */
        ask(&worker, SC_SESSION_STOP);
        if (way != 2)
            POLL_UNTIL(&coordinator, coordinator.n_drains == 1);
        if (way == 0)
            ask(&worker, SC_SESSION_STOP);
        if (way == 3) {
            fake_close(&coordinator); /* and it is not waited for */
            pthread_join(worker.thread, NULL);
        } else {
            POLL_UNTIL(&coordinator, atomic_load(&worker.ended));
            assert_int_equal(coordinator.n_leaves, 1);
            pthread_join(worker.thread, NULL);
            fake_close(&coordinator);
        }
        assert_int_equal(worker.status, SC_OK);
        close(worker.stop_pipe[0]);
        close(worker.stop_pipe[1]);
    }
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

static atomic_bool hangs, may_go_on;

static sc_status hang(sc_stream *s, float *out, const int32_t *tokens, const float *wte, const float *wpe, int B, int T,
                      int C, const sc_dropout *dropout)
{
    atomic_store(&hangs, true);
    while (!atomic_load(&may_go_on))
        usleep(1000);
    return sc_ops_reference.embedding_forward(s, out, tokens, wte, wpe, B, T, C, dropout);
}

/* Its coordinator has counted it as lost, and would give it a stage again. */
static void it_does_not_come_back_while_its_computing_hangs(void **state)
{
    (void)state;
    enum { A_WHILE_MS = 500 }; /* too short a wait could only miss a Join that should not come */
    fake before, after;
    worker_thread worker;
    assign_fixture fixture;
    sc_ops ops = sc_ops_reference;
    ops.embedding_forward = hang;
    fake_open(&before, "tcp://127.0.0.1:*", 200);
    worker_start_as(&worker, before.endpoint, &(worker_thread){.ops = &ops, .grace_ms = 30000});
    POLL_UNTIL(&before, before.n_joins == 1);
    fixture_fill(&fixture, 1, 1, NULL, NULL);
    assign(&before, &fixture, 0, 1, 1);
    Stagecoach__V1__RunStepRequest step = training_step(1, 1);
    outcome unanswered;
    call(before.joins[0].peer, "RunStep", &step, NULL, &unanswered);
    send_batch(&before, 1, 1, 1);
    POLL_UNTIL(&before, atomic_load(&hangs));
    char endpoint[256];
    snprintf(endpoint, sizeof endpoint, "%s", before.endpoint);
    fake_close(&before);
    outcome_clear(&unanswered);

    fake_open(&after, endpoint, 10000);
    sc_clock clock = sc_clock_system();
    POLL_UNTIL(&after, sc_node_count(after.node).messages_in > 0); /* a new connection's Hello */
    uint64_t came_ms = sc_clock_ms(&clock);
    POLL_UNTIL(&after, sc_clock_ms(&clock) - came_ms > A_WHILE_MS);
    assert_int_equal(after.n_joins, 0);
    atomic_store(&may_go_on, true);
    POLL_UNTIL(&after, after.n_joins == 1);
    assign(&after, &fixture, 0, 1, 1);
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
        cmocka_unit_test(asked_to_drain_it_works_on_until_it_is_released),
        cmocka_unit_test(nothing_keeps_a_draining_worker_for_ever),
        cmocka_unit_test(a_refused_worker_says_why),
        cmocka_unit_test(it_joins_a_restarted_coordinator_as_somebody_new),
        cmocka_unit_test(it_does_not_come_back_while_its_computing_hangs),
    };
    /* The refusals that are provoked here would look like failures. */
    if (!getenv("SC_LOG") && sc_log_init("off", false, STDERR_FILENO) != SC_OK)
        return 1;
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
