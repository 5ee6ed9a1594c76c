/* Points of the state and what is done with them, over real sessions: deposits, restores under another partition, one
 * stage's replay from its neighbours' logs. What it comes to has the bits of a run that nobody disturbed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/scratch.h"
#include "tests/unit/session_fixture.h"

enum { LINEAGE = 77, LAST_STEP = 6, POINT = 2, NAMES = 4, FLOATS = 16 * 16 };

/* Parameters of the embedding, of two layers and of the head: wherever the cuts are, each worker has some. */
static const char *const names[NAMES] = {"transformer.wte.weight", "transformer.h.0.ln_1.weight",
                                         "transformer.h.2.mlp.c_fc.bias", "transformer.ln_f.bias"};

/* What a run leaves, bit for bit. */
typedef struct record {
    double losses[LAST_STEP][FIXTURE_M];
    float state[NAMES][3][FLOATS];
} record;

typedef struct pipeline {
    fake coordinator;
    worker_thread workers[MAX_JOINS];
    assign_fixture fixture;
    int S;
    int members[MAX_WORKERS + 1]; /* index in coordinator.joins, by rank; then of members without a stage */
    int n_members;
    uint64_t generation;
    uint64_t log_bytes;
} pipeline;

static sc_peer *peer_of(const pipeline *self, int rank)
{
    return self->coordinator.joins[self->members[rank]].peer;
}

static void add_worker(pipeline *self)
{
    int index = self->coordinator.n_joins;
    worker_start(&self->workers[index], self->coordinator.endpoint);
    POLL_UNTIL(&self->coordinator, self->coordinator.n_joins == index + 1);
}

/* What a worker is told; each is its successor's to keep. */
static void describe(pipeline *self, bool keep)
{
    Stagecoach__V1__AssignRequest *request = &self->fixture.request;
    for (int i = 0; i < self->n_members; i++) {
        const join *j = &self->coordinator.joins[self->members[i]];
        snprintf(self->fixture.endpoints[i], sizeof self->fixture.endpoints[i], "%s", j->endpoint);
        self->fixture.endpoint_pointers[i] = self->fixture.endpoints[i];
        self->fixture.incarnations[i] = j->incarnation;
    }
    request->n_endpoints = request->n_incarnations = (size_t)self->n_members;
    request->generation = self->generation;
    request->lineage = LINEAGE;
    request->log_bytes = self->log_bytes;
    request->keep = keep;
    request->fresh = self->generation == 1;
    request->resend_ms = 60000; /* nothing here may have to wait for a repetition */
}

/* Raises the generation and tells all; their replies, to be cleared. */
static void assign_all(pipeline *self, bool keep, outcome *replies)
{
    self->generation++;
    describe(self, keep);
    sc_node_set_generation(self->coordinator.node, self->generation);
    for (int i = 0; i < self->n_members; i++) {
        self->fixture.request.worker = (uint32_t)i;
        self->fixture.request.buddy = self->S > 1 && i < self->S ? (uint32_t)((i + 1) % self->S + 1) : 0;
        call(peer_of(self, i), "Assign", &self->fixture.request, NULL, &replies[i]);
    }
    for (int i = 0; i < self->n_members; i++)
        expect(&self->coordinator, &replies[i], SC_OK);
}

static const Stagecoach__V1__AssignReply *assigned(const outcome *reply)
{
    return (const Stagecoach__V1__AssignReply *)reply->reply;
}

static void clear_all(outcome *replies, int n)
{
    for (int i = 0; i < n; i++)
        outcome_clear(&replies[i]);
}

static void pipeline_open(pipeline *self, int S)
{
    *self = (pipeline){.S = S, .n_members = S, .log_bytes = 1 << 20};
    fake_open(&self->coordinator, "tcp://127.0.0.1:*", 20000);
    for (int w = 0; w < S; w++) {
        add_worker(self);
        self->members[w] = w;
    }
    fixture_fill(&self->fixture, S, 1, NULL, NULL);
    outcome replies[MAX_WORKERS];
    assign_all(self, false, replies);
    clear_all(replies, S);
}

static void pipeline_close(pipeline *self)
{
    for (int i = 0; i < self->n_members; i++)
        release(&self->coordinator, peer_of(self, i), &self->workers[self->members[i]]);
    fixture_clear(&self->fixture);
    fake_close(&self->coordinator);
}

static void send_tokens(pipeline *self, uint64_t step)
{
    for (int m = 0; m < FIXTURE_M; m++)
        send_ids(peer_of(self, 0), self->generation, step, m, 0, KIND(TOKENS));
}

static void send_targets(pipeline *self, uint64_t step)
{
    for (int m = 0; m < FIXTURE_M; m++)
        send_ids(peer_of(self, self->S - 1), self->generation, step, m, (uint32_t)(self->S - 1), KIND(TARGETS));
}

static void start_step(pipeline *self, uint64_t step, int rank, bool replay, outcome *out)
{
    Stagecoach__V1__RunStepRequest request = training_step(self->generation, step);
    request.replay = replay;
    call(peer_of(self, rank), "RunStep", &request, NULL, out);
}

static void finish_step(pipeline *self, int rank, outcome *run, double *losses)
{
    expect(&self->coordinator, run, SC_OK);
    const Stagecoach__V1__RunStepReply *reply = (const Stagecoach__V1__RunStepReply *)run->reply;
    assert_int_equal(reply->n_loss_sums, rank == self->S - 1 ? FIXTURE_M : 0);
    for (size_t m = 0; m < reply->n_loss_sums; m++)
        losses[m] = reply->loss_sums[m];
    outcome_clear(run);
}

static void apply_step(pipeline *self, uint64_t step, int rank)
{
    Stagecoach__V1__ApplyStepRequest request = verdict(self->generation, step);
    call_and_expect(&self->coordinator, peer_of(self, rank), "ApplyStep", &request, NULL, SC_OK);
}

/* All vote for the step. */
static void vote(pipeline *self, uint64_t step, record *out)
{
    outcome runs[MAX_WORKERS];
    send_tokens(self, step);
    send_targets(self, step);
    for (int w = 0; w < self->S; w++)
        start_step(self, step, w, false, &runs[w]);
    for (int w = 0; w < self->S; w++)
        finish_step(self, w, &runs[w], out->losses[step - 1]);
}

static void train(pipeline *self, uint64_t from, uint64_t to, record *out)
{
    for (uint64_t step = from; step <= to; step++) {
        vote(self, step, out);
        for (int w = 0; w < self->S; w++)
            apply_step(self, step, w);
    }
}

static void read_state(pipeline *self, record *out)
{
    memset(out->state, 0, sizeof out->state);
    for (int i = 0; i < NAMES; i++)
        for (int kind = 0; kind < 3; kind++)
            for (int w = 0; w < self->S; w++) {
                Stagecoach__V1__ReadStateRequest request = STAGECOACH__V1__READ_STATE_REQUEST__INIT;
                request.generation = self->generation;
                request.name = (char *)names[i];
                request.kind = (Stagecoach__V1__StateKind)kind;
                request.bytes = 16 * sizeof(float); /* the narrowest of them */
                outcome read;
                call(peer_of(self, w), "ReadState", &request, NULL, &read);
                POLL_UNTIL(&self->coordinator, read.done);
                if (read.status == SC_OK) {
                    float *to = out->state[i][kind], seen[16];
                    memcpy(seen, sc_buffer_data(read.payload), sizeof seen);
                    if (to[0] != 0) /* the tied matrix: both have the same */
                        assert_memory_equal(to, seen, sizeof seen);
                    memcpy(to, seen, sizeof seen);
                } else {
                    assert_int_equal(read.status, SC_NOT_FOUND);
                }
                outcome_clear(&read);
            }
}

/* The run that nobody disturbs. Its bits are those of any number of workers (test_executor.c). */
static const record *undisturbed(void)
{
    static record one;
    static bool made;
    if (made)
        return &one;
    pipeline whole;
    pipeline_open(&whole, 1);
    train(&whole, 1, LAST_STEP, &one);
    read_state(&whole, &one);
    pipeline_close(&whole);
    made = true;
    return &one;
}

static void snapshot(pipeline *self, uint64_t step, uint64_t log_from)
{
    Stagecoach__V1__SnapshotRequest request = STAGECOACH__V1__SNAPSHOT_REQUEST__INIT;
    request.generation = self->generation;
    request.optimizer_step = step;
    request.log_from = log_from;
    for (int w = 0; w < self->S; w++)
        call_and_expect(&self->coordinator, peer_of(self, w), "Snapshot", &request, NULL, SC_OK);
}

/* Snapshot and Deposit, one right behind the other. */
static void take_point(pipeline *self, uint64_t step)
{
    outcome taken[MAX_WORKERS], left[MAX_WORKERS];
    Stagecoach__V1__SnapshotRequest request = STAGECOACH__V1__SNAPSHOT_REQUEST__INIT;
    request.generation = self->generation;
    request.optimizer_step = step;
    request.log_from = step + 1;
    Stagecoach__V1__DepositRequest deposit = STAGECOACH__V1__DEPOSIT_REQUEST__INIT;
    deposit.generation = self->generation;
    deposit.optimizer_step = step;
    for (int w = 0; w < self->S; w++) {
        call(peer_of(self, w), "Snapshot", &request, NULL, &taken[w]);
        call(peer_of(self, w), "Deposit", &deposit, NULL, &left[w]);
    }
    for (int w = 0; w < self->S; w++) {
        expect(&self->coordinator, &taken[w], SC_OK);
        expect(&self->coordinator, &left[w], SC_OK);
        assert_int_equal(((const Stagecoach__V1__DepositReply *)left[w].reply)->bytes,
                         ((const Stagecoach__V1__SnapshotReply *)taken[w].reply)->bytes);
        outcome_clear(&taken[w]);
        outcome_clear(&left[w]);
    }
}

typedef struct holders {
    Stagecoach__V1__Holder list[8], *pointers[8];
    size_t n;
} holders;

static void add_holder(holders *self, int worker, int first_block, int n_blocks)
{
    self->list[self->n] = (Stagecoach__V1__Holder)STAGECOACH__V1__HOLDER__INIT;
    self->list[self->n].worker = (uint32_t)worker;
    self->list[self->n].first_block = (uint32_t)first_block;
    self->list[self->n].n_blocks = (uint32_t)n_blocks;
    self->pointers[self->n] = &self->list[self->n];
    self->n++;
}

static void restore(pipeline *self, int rank, uint64_t step, holders *from, sc_status status, outcome *out)
{
    Stagecoach__V1__RestoreRequest request = STAGECOACH__V1__RESTORE_REQUEST__INIT;
    request.generation = self->generation;
    request.optimizer_step = step;
    request.n_holders = from->n;
    request.holders = from->pointers;
    call(peer_of(self, rank), "Restore", &request, NULL, out);
    expect(&self->coordinator, out, status);
}

static void assert_same(const record *got)
{
    assert_memory_equal(got->losses, undisturbed()->losses, sizeof got->losses);
    assert_memory_equal(got->state, undisturbed()->state, sizeof got->state);
}

/* ---- one stage is lost ---- */

/* What the others were in when it was. */
typedef enum moment {
    IN_A_STEP, /* they wait for what it would have sent */
    UNDECIDED, /* all had voted */
    DECIDED,   /* and one had applied */
    MOMENTS
} moment;

static void replay(pipeline *self, int rank, uint64_t from, uint64_t to, record *out)
{
    for (uint64_t step = from; step <= to; step++) {
        outcome run;
        if (rank == 0)
            send_tokens(self, step);
        if (rank == self->S - 1)
            send_targets(self, step);
        double again[FIXTURE_M];
        start_step(self, step, rank, true, &run);
        finish_step(self, rank, &run, again);
        if (rank == self->S - 1)
            assert_memory_equal(again, out->losses[step - 1], sizeof again);
        apply_step(self, step, rank);
    }
}

static void lose_and_replay(int S, int lost, moment when)
{
    enum { BROKEN = 5 };
    static record got;
    pipeline p;
    outcome runs[MAX_WORKERS], replies[MAX_WORKERS];
    memset(&got, 0, sizeof got);
    pipeline_open(&p, S);
    train(&p, 1, POINT, &got);
    take_point(&p, POINT);
    train(&p, POINT + 1, BROKEN - 1, &got);
    int survivor = (lost + 1) % S;
    if (when == IN_A_STEP) {
        send_tokens(&p, BROKEN);
        for (int w = 0; w < S; w++)
            if (w != lost)
                start_step(&p, BROKEN, w, false, &runs[w]);
    } else {
        vote(&p, BROKEN, &got);
        if (when == DECIDED)
            apply_step(&p, BROKEN, survivor);
    }
    stop(&p.coordinator, &p.workers[lost]);
    add_worker(&p);
    p.members[lost] = S;
    assign_all(&p, true, replies);
    for (int w = 0; w < S; w++) {
        const Stagecoach__V1__AssignReply *reply = assigned(&replies[w]);
        bool voted = when == UNDECIDED || (when == DECIDED && w != survivor);
        assert_int_equal(reply->kept, w != lost);
        if (w == lost)
            continue;
        assert_int_equal(reply->applied_step, when == DECIDED && !voted ? BROKEN : BROKEN - 1);
        assert_int_equal(reply->voted_step, voted ? BROKEN : 0);
        assert_int_equal(reply->voted_sequence, voted ? BROKEN : 0);
        assert_int_equal(reply->logged_from, POINT + 1);
        if (when == IN_A_STEP) {
            expect(&p.coordinator, &runs[w], SC_CANCELLED);
            outcome_clear(&runs[w]);
        }
        if (when == DECIDED && voted)
            apply_step(&p, BROKEN, w);
    }
    clear_all(replies, S);

    holders from = {0};
    outcome restored;
    add_holder(&from, survivor, (int)p.fixture.slices[lost].first_block, (int)p.fixture.slices[lost].n_blocks);
    restore(&p, lost, POINT, &from, SC_OK, &restored);
    const Stagecoach__V1__RestoreReply *reply = (const Stagecoach__V1__RestoreReply *)restored.reply;
    assert_true(reply->bytes_own == 0 && reply->bytes_fetched > 0);
    outcome_clear(&restored);
    uint64_t decided = when == DECIDED ? BROKEN : BROKEN - 1;
    replay(&p, lost, POINT + 1, decided, &got);
    if (when == UNDECIDED)
        take_point(&p, decided); /* as when the run is stopped here: the votes that got no verdict are in nobody's way */
    train(&p, decided + 1, LAST_STEP, &got);
    read_state(&p, &got);
    assert_same(&got);
    pipeline_close(&p);
}

static void a_lost_stage_replays_its_steps_alone(void **state)
{
    (void)state;
    for (moment when = 0; when < MOMENTS; when++)
        for (int lost = 0; lost < 3; lost++)
            lose_and_replay(3, lost, when);
    lose_and_replay(2, 0, IN_A_STEP);
    lose_and_replay(2, 1, DECIDED);
}

/* ---- all go back to a point ---- */

/* Three workers become two; the third stays as a member, for what it has. */
static void a_point_is_restored_under_another_partition(void **state)
{
    (void)state;
    static record got;
    pipeline p;
    outcome replies[MAX_WORKERS], restored;
    memset(&got, 0, sizeof got);
    pipeline_open(&p, 3);
    train(&p, 1, POINT, &got);
    snapshot(&p, POINT, 0);
    train(&p, POINT + 1, POINT + 2, &got); /* these are done again */
    holders from = {0};
    for (int w = 0; w < 3; w++)
        add_holder(&from, w, (int)p.fixture.slices[w].first_block, (int)p.fixture.slices[w].n_blocks);
    fixture_clear(&p.fixture);
    fixture_fill(&p.fixture, 2, 1, NULL, NULL);
    p.S = 2;
    assign_all(&p, true, replies);
    for (int i = 0; i < 3; i++)
        assert_false(assigned(&replies[i])->kept);
    clear_all(replies, 3);
    uint64_t own = 0, fetched = 0;
    for (int w = 0; w < 2; w++) {
        restore(&p, w, POINT, &from, SC_OK, &restored);
        own += ((const Stagecoach__V1__RestoreReply *)restored.reply)->bytes_own;
        fetched += ((const Stagecoach__V1__RestoreReply *)restored.reply)->bytes_fetched;
        outcome_clear(&restored);
    }
    assert_true(own > 0 && fetched > 0);
    train(&p, POINT + 1, LAST_STEP, &got);
    read_state(&p, &got);
    assert_same(&got);

    /* A member without a stage says so. */
    Stagecoach__V1__RunStepRequest run = training_step(p.generation, LAST_STEP + 1);
    call_and_expect(&p.coordinator, peer_of(&p, 2), "RunStep", &run, NULL, SC_FAILED_PRECONDITION);
    pipeline_close(&p);
}

/* All roll back in place: each from its own memory. */
static void everybody_goes_back_to_a_point(void **state)
{
    (void)state;
    static record got;
    pipeline p;
    outcome replies[MAX_WORKERS], restored;
    memset(&got, 0, sizeof got);
    pipeline_open(&p, 2);
    train(&p, 1, POINT, &got);
    take_point(&p, POINT);
    train(&p, POINT + 1, POINT + 2, &got);
    assign_all(&p, true, replies);
    clear_all(replies, 2);
    for (int w = 0; w < 2; w++) {
        holders from = {0};
        add_holder(&from, w, (int)p.fixture.slices[w].first_block, (int)p.fixture.slices[w].n_blocks);
        restore(&p, w, POINT, &from, SC_OK, &restored);
        assert_true(((const Stagecoach__V1__RestoreReply *)restored.reply)->bytes_own > 0);
        outcome_clear(&restored);
    }
    train(&p, POINT + 1, LAST_STEP, &got);
    read_state(&p, &got);
    assert_same(&got);

    holders nobody = {0};
    add_holder(&nobody, 1, 0, 1); /* such a part was never taken */
    restore(&p, 0, POINT, &nobody, SC_NOT_FOUND, &restored);
    assert_non_null(strstr(restored.message, "cannot be had"));
    outcome_clear(&restored);
    nobody.list[0].worker = 9;
    restore(&p, 0, POINT, &nobody, SC_INVALID, &restored);
    outcome_clear(&restored);
    record after = got;
    read_state(&p, &after); /* nothing was changed */
    assert_memory_equal(&after, &got, sizeof got);
    pipeline_close(&p);
}

/* The vault outlives the membership: who joins a coordinator that was started anew says what it has, and serves it. */
static void parts_outlive_the_coordinator(void **state)
{
    (void)state;
    static record got;
    pipeline p;
    outcome replies[MAX_WORKERS], restored;
    memset(&got, 0, sizeof got);
    pipeline_open(&p, 2);
    train(&p, 1, POINT, &got);
    take_point(&p, POINT);
    char endpoint[256];
    snprintf(endpoint, sizeof endpoint, "%s", p.coordinator.endpoint);
    fake_close(&p.coordinator);
    fake_open(&p.coordinator, endpoint, 20000);
    POLL_UNTIL(&p.coordinator, p.coordinator.n_joins == 2);
    for (int i = 0; i < 2; i++) {
        const join *j = &p.coordinator.joins[i];
        assert_int_equal(j->n_held, 2); /* its own part and the other's */
        for (int k = 0; k < j->n_held; k++)
            assert_true(j->held[k].lineage == LINEAGE && j->held[k].optimizer_step == POINT);
    }
    /* Whoever came first is the first stage now, whatever it was before. */
    assign_all(&p, true, replies);
    clear_all(replies, 2);
    holders from = {0};
    for (int w = 0; w < 2; w++)
        for (int v = 0; v < 2; v++)
            add_holder(&from, w, (int)p.fixture.slices[v].first_block, (int)p.fixture.slices[v].n_blocks);
    for (int w = 0; w < 2; w++) {
        restore(&p, w, POINT, &from, SC_OK, &restored);
        outcome_clear(&restored);
    }
    train(&p, POINT + 1, LAST_STEP, &got);
    read_state(&p, &got);
    assert_same(&got);
    for (int i = 0; i < 2; i++) { /* which thread is which rank's is not known any more */
        Stagecoach__V1__ReleaseRequest request = STAGECOACH__V1__RELEASE_REQUEST__INIT;
        call_and_expect(&p.coordinator, peer_of(&p, i), "Release", &request, NULL, SC_OK);
    }
    for (int i = 0; i < 2; i++) {
        POLL_UNTIL(&p.coordinator, atomic_load(&p.workers[i].ended));
        worker_join(&p.workers[i]);
    }
    fixture_clear(&p.fixture);
    fake_close(&p.coordinator);
}

/* ---- a store that fails: the test's own ---- */

typedef struct bad_store {
    Stagecoach__V1__Store_Service service;
    int n_pieces;
    bool refuses;
} bad_store;

static void bad_open_part(Stagecoach__V1__Store_Service *service, const Stagecoach__V1__OpenPartRequest *input,
                          Stagecoach__V1__OpenPartReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)input;
    bad_store *self = sc_call_context(sc_call_of(closure_data));
    if (self->refuses) {
        sc_call_fail(sc_call_of(closure_data), SC_RESOURCE_EXHAUSTED, "no room here");
        return;
    }
    Stagecoach__V1__OpenPartReply reply = STAGECOACH__V1__OPEN_PART_REPLY__INIT;
    closure(&reply, closure_data);
}

/* Takes a piece and says nothing: it has died. */
static void bad_put_piece(Stagecoach__V1__Store_Service *service, const Stagecoach__V1__PutPieceRequest *input,
                          Stagecoach__V1__PutPieceReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)input;
    (void)closure;
    ((bad_store *)sc_call_context(sc_call_of(closure_data)))->n_pieces++;
}

static void bad_close_part(Stagecoach__V1__Store_Service *service, const Stagecoach__V1__ClosePartRequest *input,
                           Stagecoach__V1__ClosePartReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)input;
    (void)closure;
    (void)closure_data;
    fail_msg("the end of a part that was not taken");
}

/* The right number of bytes, and not those that were taken. */
static void bad_get_piece(Stagecoach__V1__Store_Service *service, const Stagecoach__V1__GetPieceRequest *input,
                          Stagecoach__V1__GetPieceReply_Closure closure, void *closure_data)
{
    (void)service;
    (void)input;
    bad_store *self = sc_call_context(sc_call_of(closure_data));
    self->n_pieces++;
    sc_buffer *payload;
    assert_int_equal(sc_buffer_new(4096, &payload), SC_OK);
    memset(sc_buffer_data(payload), 1, 4096);
    sc_call_set_payload(sc_call_of(closure_data), payload);
    Stagecoach__V1__GetPieceReply reply = STAGECOACH__V1__GET_PIECE_REPLY__INIT;
    reply.xxh3 = 1234;
    closure(&reply, closure_data);
}

/* The coordinator's node is a member as well, with a store of this kind. */
static void become_a_member(pipeline *self, bad_store *store)
{
    *store = (bad_store){.service = STAGECOACH__V1__STORE__INIT(bad_)};
    assert_int_equal(sc_node_serve(self->coordinator.node, &store->service.base, store), SC_OK);
    join *own = &self->coordinator.joins[self->coordinator.n_joins];
    snprintf(own->endpoint, sizeof own->endpoint, "%s", self->coordinator.endpoint);
    own->incarnation = sc_node_incarnation(self->coordinator.node);
}

static void a_buddy_that_fails_is_not_the_depositors_failure(void **state)
{
    (void)state;
    static record got;
    pipeline p;
    bad_store store;
    outcome left, reply;
    pipeline_open(&p, 1);
    become_a_member(&p, &store);
    train(&p, 1, 1, &got);
    Stagecoach__V1__DepositRequest deposit = STAGECOACH__V1__DEPOSIT_REQUEST__INIT;
    deposit.generation = 1;
    deposit.optimizer_step = 1;
    call_and_expect(&p.coordinator, peer_of(&p, 0), "Deposit", &deposit, NULL, SC_FAILED_PRECONDITION); /* no buddy */

    for (uint64_t generation = 2; generation <= 3; generation++) {
        p.members[1] = p.coordinator.n_joins; /* the coordinator itself */
        p.n_members = 2;
        p.generation = generation;
        describe(&p, true);
        p.fixture.request.worker = 0;
        p.fixture.request.buddy = 2;
        call(peer_of(&p, 0), "Assign", &p.fixture.request, NULL, &reply);
        expect(&p.coordinator, &reply, SC_OK);
        assert_true(assigned(&reply)->kept);
        outcome_clear(&reply);
        p.n_members = 1;
        sc_node_set_generation(p.coordinator.node, generation);
        deposit.generation = generation;
        if (generation == 2) {
            call_and_expect(&p.coordinator, peer_of(&p, 0), "Deposit", &deposit, NULL,
                            SC_FAILED_PRECONDITION); /* no such point */
            snapshot(&p, 1, 0);
            store.refuses = true;
            call(peer_of(&p, 0), "Deposit", &deposit, NULL, &left);
            expect(&p.coordinator, &left, SC_ABORTED);
            assert_non_null(strstr(left.message, "no room here"));
            outcome_clear(&left);
            store.refuses = false;
            call(peer_of(&p, 0), "Deposit", &deposit, NULL, &left);
            POLL_UNTIL(&p.coordinator, store.n_pieces > 0); /* and there it ends */
        } else {
            expect(&p.coordinator, &left, SC_CANCELLED);
            outcome_clear(&left);
        }
    }
    train(&p, 2, LAST_STEP, &got); /* none the worse */
    read_state(&p, &got);
    assert_same(&got);
    pipeline_close(&p);
}

static void a_damaged_part_is_refused(void **state)
{
    (void)state;
    static record got;
    pipeline p;
    bad_store store;
    outcome reply, restored;
    pipeline_open(&p, 1);
    become_a_member(&p, &store);
    train(&p, 1, POINT, &got);
    snapshot(&p, POINT, 0);
    train(&p, POINT + 1, POINT + 1, &got);
    p.members[1] = p.coordinator.n_joins;
    p.n_members = 2;
    p.generation = 2;
    describe(&p, true);
    p.fixture.request.worker = 0;
    call(peer_of(&p, 0), "Assign", &p.fixture.request, NULL, &reply);
    expect(&p.coordinator, &reply, SC_OK);
    outcome_clear(&reply);
    p.n_members = 1;
    sc_node_set_generation(p.coordinator.node, 2);
    holders from = {0};
    add_holder(&from, 1, 0, 1);
    restore(&p, 0, POINT, &from, SC_NOT_FOUND, &restored);
    outcome_clear(&restored);
    assert_int_equal(store.n_pieces, 1);
    add_holder(&from, 0, 0, FIXTURE_BLOCKS); /* another has it, whole */
    restore(&p, 0, POINT, &from, SC_OK, &restored);
    outcome_clear(&restored);
    assert_int_equal(store.n_pieces, 2);
    train(&p, POINT + 1, LAST_STEP, &got);
    read_state(&p, &got);
    assert_same(&got);
    pipeline_close(&p);
}

/* A budget that holds no step: the log says so, and a replay is not promised. */
static void a_small_log_promises_nothing(void **state)
{
    (void)state;
    static record got;
    pipeline p;
    outcome replies[MAX_WORKERS];
    pipeline_open(&p, 2);
    p.log_bytes = 1000;
    assign_all(&p, true, replies);
    clear_all(replies, 2);
    train(&p, 1, 2, &got);
    assign_all(&p, true, replies);
    for (int w = 0; w < 2; w++) {
        assert_true(assigned(&replies[w])->kept);
        assert_int_equal(assigned(&replies[w])->logged_from, 3);
    }
    clear_all(replies, 2);
    p.log_bytes = 0;
    assign_all(&p, true, replies);
    for (int w = 0; w < 2; w++)
        assert_int_equal(assigned(&replies[w])->logged_from, 0);
    clear_all(replies, 2);
    train(&p, 3, LAST_STEP, &got);
    read_state(&p, &got);
    assert_same(&got);
    pipeline_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_stage_replays_its_steps_alone),
        cmocka_unit_test(a_point_is_restored_under_another_partition),
        cmocka_unit_test(everybody_goes_back_to_a_point),
        cmocka_unit_test(parts_outlive_the_coordinator),
        cmocka_unit_test(a_buddy_that_fails_is_not_the_depositors_failure),
        cmocka_unit_test(a_damaged_part_is_refused),
        cmocka_unit_test(a_small_log_promises_nothing),
    };
    /* The refusals that are provoked here would look like failures. */
    if (!getenv("SC_LOG") && sc_log_init("off", false, STDERR_FILENO) != SC_OK)
        return 1;
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
