/* Every lie in an AssignRequest or in a tensor's header is refused, with its name in the message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "tests/unit/assign_fixture.h"

static void an_honest_one_is_taken(void **state)
{
    (void)state;
    assign_fixture fixture;
    fixture_fill(&fixture, 3, 1, NULL, NULL);
    fixture.request.worker = 1;
    sc_assignment *assignment;
    assert_int_equal(sc_assignment_parse(&fixture.request, &assignment), SC_OK);
    assert_int_equal(assignment->n_stages, 3);
    assert_int_equal(assignment->max_microbatches, FIXTURE_M);
    assert_true(assignment->speaks_with[0] && !assignment->speaks_with[1] && assignment->speaks_with[2]);
    int alive, split;
    sc_assignment_in_flight(assignment, 1, &alive, &split);
    assert_int_equal(alive, 2); /* 1F1B: min (S - i, M) */
    assert_int_equal(split, 0);
    /* One activation and one gradient a micro-batch, of SC_STEPS_IN_FLIGHT steps. */
    assert_int_equal(assignment->limits.max_messages, 2 * FIXTURE_M * SC_STEPS_IN_FLIGHT);
    assert_int_equal(assignment->limits.max_bytes,
                     2 * FIXTURE_M * SC_STEPS_IN_FLIGHT * FIXTURE_B * FIXTURE_T * 16 * sizeof(float));
    sc_assignment_unref(&assignment);
    fixture_clear(&fixture);
}

static void the_ends_speak_of_the_tied_matrix(void **state)
{
    (void)state;
    assign_fixture fixture;
    fixture_fill(&fixture, 3, 1, NULL, NULL);
    sc_assignment *assignment;
    assert_int_equal(sc_assignment_parse(&fixture.request, &assignment), SC_OK);
    assert_true(assignment->speaks_with[1] && assignment->speaks_with[2]);
    assert_int_equal(sc_assignment_tied_parts(assignment), 1);
    assert_int_equal(sc_assignment_tied_part_elements(assignment, 0), FIXTURE_VOCAB * 16);
    assert_int_equal(sc_assignment_tied_part_elements(assignment, 1), 0);
    sc_assignment_unref(&assignment);
    fixture.model.vocab = 2 * SC_TIED_PART_ELEMENTS / 16 + 1; /* a third part of one row */
    assert_int_equal(sc_assignment_parse(&fixture.request, &assignment), SC_OK);
    assert_int_equal(sc_assignment_tied_parts(assignment), 3);
    assert_int_equal(sc_assignment_tied_part_elements(assignment, 1), SC_TIED_PART_ELEMENTS);
    assert_int_equal(sc_assignment_tied_part_elements(assignment, 2), 16);
    sc_assignment_unref(&assignment);

    /* Without one, the plan must not exchange it; the ends do not speak. */
    fixture.model.tied = false;
    assert_int_equal(sc_assignment_parse(&fixture.request, &assignment), SC_FAILED_PRECONDITION);
    assert_non_null(strstr(sc_status_message(), "this model shares no matrix"));
    fixture_clear(&fixture);
    fixture_fill(&fixture, 3, 1,
                 "plan x stages=3 chunks=1 microbatches=1 mode=train\n"
                 "0F0 0SEND_F0 0RECV_B0 0B0 0STEP\n"
                 "1RECV_F0 1F0 1SEND_F0 1RECV_B0 1B0 1SEND_B0 1STEP\n"
                 "2RECV_F0 2F0 2B0 2SEND_B0 2STEP\n",
                 NULL);
    fixture.model.tied = false;
    assert_int_equal(sc_assignment_parse(&fixture.request, &assignment), SC_OK);
    assert_true(assignment->speaks_with[1] && !assignment->speaks_with[2]);
    assert_int_equal(sc_assignment_tied_parts(assignment), 0);
    sc_assignment_unref(&assignment);
    fixture_clear(&fixture);
}

/* Parses, and expects a refusal whose message holds `word`. */
static void expect_refusal(assign_fixture *fixture, const char *word)
{
    sc_assignment *assignment;
    sc_status status = sc_assignment_parse(&fixture->request, &assignment);
    assert_null(assignment);
    if (status != SC_INVALID && status != SC_FAILED_PRECONDITION)
        fail_msg("expected a refusal about '%s', got %s", word, sc_status_name(status));
    if (!strstr(sc_status_message(), word))
        fail_msg("'%s' does not speak of '%s'", sc_status_message(), word);
}

#define LIE(change, word)                                                                                              \
    do {                                                                                                               \
        assign_fixture fixture;                                                                                        \
        fixture_fill(&fixture, 2, 1, NULL, NULL);                                                                      \
        change;                                                                                                        \
        expect_refusal(&fixture, word);                                                                                \
        fixture_clear(&fixture);                                                                                       \
    } while (0)

static void lies_are_refused(void **state)
{
    (void)state;
    LIE(fixture.request.generation = 0, "generation");
    LIE(fixture.request.model = NULL, "model");
    LIE(fixture.model.family = 99, "family");
    LIE(fixture.model.layers = UINT32_MAX, "layers");
    LIE(fixture.model.heads = 3, "heads");
    LIE(fixture.model.dropout = NAN, "dropout");
    LIE(fixture.request.optimizer = NULL, "optimizer");
    LIE(fixture.optimizer.kind = 7, "optimizer 7");
    LIE(fixture.optimizer.beta1 = INFINITY, "optimizer");
    LIE(fixture.request.n_endpoints = 0, "endpoints");
    LIE(fixture.request.n_endpoints = 1, "1 endpoints; its plans are for 2 workers");
    LIE(fixture.request.buddy = 3, "buddy");
    LIE(fixture.request.buddy = 1, "buddy"); /* itself */
    LIE(fixture.request.n_incarnations = 1, "incarnations");
    LIE(fixture.incarnations[1] = fixture.incarnations[0], "same incarnation");
    char none[] = "no key", *keys[] = {none, none};
    LIE((fixture.request.n_public_keys = 1, fixture.request.public_keys = keys), "1 public keys for 2 endpoints");
    LIE((fixture.request.n_public_keys = 2, fixture.request.public_keys = keys), "public key of worker 0");
    LIE(fixture.request.worker = 2, "worker 2");
    LIE(fixture.endpoints[1][0] = '\0', "endpoint");
    LIE(fixture.request.n_slices = 1, "slices");
    LIE(fixture.slices[1].first_block = 2, "stage 1");
    LIE(fixture.slices[1].n_blocks = 1, "slices end");
    LIE(fixture.slices[1].n_blocks = UINT32_MAX, "stage 1");
    LIE(fixture.slices[0].n_blocks = 0, "stage 0");
    LIE(fixture.request.sequence_length = FIXTURE_T + 1, "sequence_length");
    LIE(fixture.request.micro_batch_size = 0, "micro_batch_size");
    LIE(fixture.request.micro_batch_size = UINT32_MAX, "micro_batch_size");
    LIE(fixture.request.n_plans = 0, "plans");
    LIE(fixture.request.train = false, "plan 0: it trains");
    LIE(fixture.request.cache = true, "trains and asks for a cache");
    LIE((fixture_generate(&fixture), fixture.request.micro_batch_size = SC_MAX_CACHED_TOKENS / FIXTURE_T),
        "a cache of 2");
    LIE(fixture.plans[1][0] = 'x', "plan 1");
    LIE(*strstr(fixture.plans[0], "0B1") = '1', "plan 0"); /* a backward of another worker's stage */
    LIE((free(fixture.plans[1]), fixture.plans[1] = fixture_plan(3, 2, SC_PLAN_FORWARD)), "3 workers");
}

/* Further members come behind the ranks; they have no traffic, and any of them may be somebody's buddy. */
static void members_without_a_stage(void **state)
{
    (void)state;
    assign_fixture fixture;
    sc_assignment *assignment;
    fixture_fill(&fixture, 2, 1, NULL, NULL);
    snprintf(fixture.endpoints[2], sizeof fixture.endpoints[2], "tcp://127.0.0.1:9002");
    fixture.endpoint_pointers[2] = fixture.endpoints[2];
    fixture.incarnations[2] = 102;
    fixture.request.n_endpoints = fixture.request.n_incarnations = 3;
    fixture.request.worker = 1;
    fixture.request.buddy = 3;
    assert_int_equal(sc_assignment_parse(&fixture.request, &assignment), SC_OK);
    assert_true(sc_assignment_has_stages(assignment));
    assert_int_equal(assignment->n_workers, 2);
    assert_int_equal(assignment->n_members, 3);
    assert_int_equal(assignment->buddy, 2);
    sc_assignment_unref(&assignment);
    fixture.request.worker = 2;
    fixture.request.buddy = 0;
    assert_int_equal(sc_assignment_parse(&fixture.request, &assignment), SC_OK);
    assert_false(sc_assignment_has_stages(assignment));
    assert_int_equal(assignment->buddy, -1);
    assert_int_equal(assignment->limits.max_messages, 0);
    assert_false(assignment->speaks_with[0] || assignment->speaks_with[1]);
    sc_assignment_unref(&assignment);
    fixture_clear(&fixture);
}

static sc_status check(const sc_assignment *assignment, uint32_t kind, uint32_t stage, uint32_t m, uint32_t part,
                       sc_dtype dtype, sc_shape shape)
{
    sc_tensor_name name = {.generation = 1, .step = 1, .microbatch = m, .stage = stage, .kind = kind, .part = part};
    return sc_assignment_check_tensor(assignment, &name, dtype, &shape);
}

static void tensors_that_lie_are_refused(void **state)
{
    (void)state;
    assign_fixture fixture;
    fixture_fill(&fixture, 2, 1, NULL, NULL);
    fixture.request.worker = 1;
    sc_assignment *last;
    assert_int_equal(sc_assignment_parse(&fixture.request, &last), SC_OK);
    enum { TOKENS = 1, TARGETS, ACTIVATION, GRADIENT, TIED };
    const sc_shape ids = SC_SHAPE(FIXTURE_B, FIXTURE_T), rows = SC_SHAPE(FIXTURE_B, FIXTURE_T, 16);
    assert_int_equal(check(last, TARGETS, 1, 0, 0, SC_I32, ids), SC_OK);
    assert_int_equal(check(last, TARGETS, 1, 0, 0, SC_I32, SC_SHAPE(1, 3)), SC_OK); /* smaller is allowed */
    assert_int_equal(check(last, ACTIVATION, 1, FIXTURE_M - 1, 0, SC_F32, rows), SC_OK);
    assert_int_equal(check(last, TIED, 1, 0, 0, SC_F32, SC_SHAPE(FIXTURE_VOCAB * 16)), SC_OK);

    assert_int_equal(check(last, TARGETS, 1, 0, 0, SC_F32, ids), SC_INVALID);
    assert_int_equal(check(last, TARGETS, 1, 0, 0, SC_I32, SC_SHAPE(FIXTURE_B + 1, FIXTURE_T)), SC_INVALID);
    assert_int_equal(check(last, TARGETS, 1, 0, 0, SC_I32, SC_SHAPE(0, FIXTURE_T)), SC_INVALID);
    assert_int_equal(check(last, TARGETS, 1, 0, 1, SC_I32, ids), SC_INVALID);         /* a part of what is whole */
    assert_int_equal(check(last, TARGETS, 1, FIXTURE_M, 0, SC_I32, ids), SC_INVALID); /* no such micro-batch */
    assert_int_equal(check(last, TOKENS, 1, 0, 0, SC_I32, ids), SC_INVALID);          /* not the first stage */
    assert_int_equal(check(last, TARGETS, 0, 0, 0, SC_I32, ids), SC_INVALID);         /* another worker's stage */
    assert_int_equal(check(last, TARGETS, UINT32_MAX, 0, 0, SC_I32, ids), SC_INVALID);
    assert_int_equal(check(last, GRADIENT, 1, 0, 0, SC_F32, rows), SC_INVALID); /* nobody is behind the last stage */
    assert_int_equal(check(last, ACTIVATION, 1, 0, 0, SC_F32, SC_SHAPE(FIXTURE_B, FIXTURE_T, 15)), SC_INVALID);
    assert_int_equal(check(last, ACTIVATION, 1, 0, 0, SC_F32, ids), SC_INVALID);
    assert_int_equal(check(last, TIED, 1, 0, 1, SC_F32, SC_SHAPE(1)), SC_INVALID);
    assert_int_equal(check(last, TIED, 1, 0, 0, SC_F32, SC_SHAPE(FIXTURE_VOCAB * 16 - 1)), SC_INVALID);
    assert_int_equal(check(last, 0, 1, 0, 0, SC_I32, ids), SC_INVALID);
    assert_int_equal(check(last, 77, 1, 0, 0, SC_I32, ids), SC_INVALID);

    sc_tensor_name name = {.stage = 1, .kind = ACTIVATION};
    assert_int_equal(sc_assignment_sender(last, &name), 0);
    name.kind = TARGETS;
    assert_int_equal(sc_assignment_sender(last, &name), SC_COORDINATOR);
    name.kind = TIED;
    assert_int_equal(sc_assignment_sender(last, &name), 0);
    sc_assignment_unref(&last);
    fixture_clear(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_honest_one_is_taken),
        cmocka_unit_test(the_ends_speak_of_the_tied_matrix),
        cmocka_unit_test(lies_are_refused),
        cmocka_unit_test(members_without_a_stage),
        cmocka_unit_test(tensors_that_lie_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
