#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "coordinator/schedule/partition.h"
#include "proto/base/rng.h"

static const sc_model gpt = {.family = SC_GPT2,
                             .layers = 6,
                             .heads = 6,
                             .hidden = 384,
                             .context = 256,
                             .vocab = 65,
                             .dropout = 0.2f,
                             .attention_dropout = 0.2f,
                             .classifier_dropout = 0.2f,
                             .norm_epsilon = 1e-5f,
                             .tied = true};

static void expect_cut(const double *costs, int n_blocks, int n_stages, const int *sizes)
{
    sc_slice slices[16];
    assert_int_equal(sc_partition_cut(costs, n_blocks, n_stages, slices), SC_OK);
    int first = 0;
    for (int s = 0; s < n_stages; s++) {
        assert_int_equal(slices[s].first_block, first);
        assert_int_equal(slices[s].n_blocks, sizes[s]);
        first += sizes[s];
    }
    assert_int_equal(first, n_blocks);
}

static void equal_blocks_are_spread_evenly_with_the_rest_behind(void **state)
{
    (void)state;
    const double ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    expect_cut(ones, 8, 4, (int[]){2, 2, 2, 2});
    expect_cut(ones, 7, 3, (int[]){2, 2, 3});
    expect_cut(ones, 8, 3, (int[]){2, 3, 3});
    expect_cut(ones, 8, 8, (int[]){1, 1, 1, 1, 1, 1, 1, 1});
    expect_cut(ones, 8, 1, (int[]){8});
}

static void the_largest_stage_is_as_small_as_can_be(void **state)
{
    (void)state;
    expect_cut((double[]){0, 2, 2, 2, 2, 9}, 6, 2, (int[]){5, 1});
    expect_cut((double[]){9, 1, 1, 1}, 4, 3, (int[]){1, 1, 2});
    expect_cut((double[]){1, 1, 1, 9}, 4, 3, (int[]){1, 2, 1});
    expect_cut((double[]){0, 0, 0}, 3, 2, (int[]){1, 2});
}

/* Every cut of a small list, by counting through the bits that say where a new stage begins. */
static void no_cut_is_better_than_the_one_found(void **state)
{
    (void)state;
    enum { N = 10 };
    for (uint32_t trial = 0; trial < 50; trial++) {
        double costs[N];
        sc_rng rng = {.seed = 7, .site = SC_RNG_SITE(SC_RNG_TEST, 0), .row = trial};
        for (int i = 0; i < N; i++)
            costs[i] = (double)sc_rng_below(&rng, (uint64_t)i, 20);
        for (int n_stages = 1; n_stages <= N; n_stages++) {
            double best = 1e9, best_squares = 1e9;
            for (unsigned bits = 0; bits < 1u << (N - 1); bits++) {
                if (__builtin_popcount(bits) != n_stages - 1)
                    continue;
                double most = 0, squares = 0, sum = 0;
                for (int i = 0; i < N; i++) {
                    sum += costs[i];
                    if (i == N - 1 || (bits >> i & 1)) {
                        most = sum > most ? sum : most;
                        squares += sum * sum;
                        sum = 0;
                    }
                }
                if (most < best || (most == best && squares < best_squares)) {
                    best = most;
                    best_squares = squares;
                }
            }
            sc_slice slices[N];
            assert_int_equal(sc_partition_cut(costs, N, n_stages, slices), SC_OK);
            double most = 0, squares = 0;
            int next = 0;
            for (int s = 0; s < n_stages; s++) {
                double sum = 0;
                assert_int_equal(slices[s].first_block, next);
                assert_true(slices[s].n_blocks >= 1);
                for (int i = 0; i < slices[s].n_blocks; i++)
                    sum += costs[next++];
                most = sum > most ? sum : most;
                squares += sum * sum;
            }
            assert_int_equal(next, N);
            assert_true(most == best && squares == best_squares); /* small whole numbers: exact */
        }
    }
}

static void the_largest_model_is_cut(void **state)
{
    (void)state;
    static double costs[SC_MAX_LAYERS + 2];
    static sc_slice slices[SC_MAX_LAYERS + 2];
    for (int i = 0; i < SC_MAX_LAYERS + 2; i++)
        costs[i] = 1e18 + i;
    for (int n_stages = 1; n_stages <= SC_MAX_LAYERS + 2; n_stages += 205)
        assert_int_equal(sc_partition_cut(costs, SC_MAX_LAYERS + 2, n_stages, slices), SC_OK);
}

static void more_stages_than_blocks_is_an_error_with_both_numbers(void **state)
{
    (void)state;
    sc_slice slices[16];
    assert_int_equal(sc_partition_by_cost(&gpt, 9, 4, 256, slices), SC_INVALID);
    assert_string_equal(sc_status_message(), "9 stages are more than the model's 8 blocks (6 layers, the embedding and "
                                             "the head); use at most 8 workers");
    const double one = 1;
    assert_int_equal(sc_partition_cut(&one, 1, 2, slices), SC_INVALID);
    assert_int_equal(sc_partition_cut(&one, 1, 0, slices), SC_INVALID);
}

static void a_model_is_cut_by_the_work_of_its_blocks(void **state)
{
    (void)state;
    /* With 65 characters the embedding and the head are light: the six layers decide. */
    sc_slice slices[3];
    assert_int_equal(sc_partition_by_cost(&gpt, 3, 4, 256, slices), SC_OK);
    assert_int_equal(slices[0].n_blocks, 3);
    assert_int_equal(slices[1].n_blocks, 2);
    assert_int_equal(slices[2].n_blocks, 3);
    /* With GPT-2's vocabulary the head weighs more than all six narrow layers. */
    sc_model wide = gpt;
    wide.vocab = 50257;
    assert_int_equal(sc_partition_by_cost(&wide, 2, 4, 256, slices), SC_OK);
    assert_int_equal(slices[1].n_blocks, 1);
}

static void frozen_blocks_cost_a_forward(void **state)
{
    (void)state;
    sc_model model = gpt;
    model.frozen = 4; /* the embedding and three of six layers */
    sc_slice slices[2], halves[2] = {{0, 4}, {4, 4}};
    assert_int_equal(sc_partition_by_cost(&model, 2, 4, 256, slices), SC_OK);
    assert_int_equal(slices[0].n_blocks,
                     5); /* three forwards and a layer that learns, against two layers and the head */
    sc_partition_rates rates = {.flops_per_second = 1e9, .memory_bytes_per_second = 1e9};
    sc_sim_stage_cost costs[2], before[2];
    sc_partition_stage stages[2], stages_before[2];
    sc_partition_costs(&gpt, halves, 2, 4, 256, &rates, before, stages_before);
    sc_partition_costs(&model, halves, 2, 4, 256, &rates, costs, stages);
    assert_true(costs[0].forward_seconds == before[0].forward_seconds && costs[0].forward_seconds > 0);
    assert_true(costs[0].backward_input_seconds == 0 && costs[0].backward_weight_seconds == 0);
    assert_true(costs[0].optimizer_seconds == 0 && stages[0].learning_elements == 0);
    assert_true(costs[0].saved_bytes < before[0].saved_bytes / 100);
    assert_int_equal(stages[0].param_elements, stages_before[0].param_elements);
    /* The head keeps its copy of the tied matrix, which does not learn. */
    assert_int_equal(stages[1].learning_elements, stages_before[1].learning_elements - 65 * 384);
    assert_true(costs[1].backward_weight_seconds == before[1].backward_weight_seconds);
}

static void costs_are_the_blocks_own_sums(void **state)
{
    (void)state;
    sc_slice slices[2] = {{0, 3}, {3, 5}};
    sc_partition_rates rates = {.flops_per_second = 1e9, .memory_bytes_per_second = 1e9};
    sc_sim_stage_cost costs[2];
    sc_partition_stage stages[2];
    sc_partition_costs(&gpt, slices, 2, 4, 256, &rates, costs, stages);
    double forward = 0;
    uint64_t saved = 0, params = 0;
    for (int i = 3; i < 8; i++) {
        sc_block_cost block = sc_model_block_cost(&gpt, i, 4, 256);
        forward += (double)block.forward_flops / 1e9;
        saved += block.saved_bytes;
        params += block.param_elements;
    }
    assert_true(costs[1].forward_seconds == forward);
    assert_int_equal(costs[1].saved_bytes, saved);
    assert_int_equal(stages[1].param_elements, params);
    assert_true(costs[1].optimizer_seconds == (double)params * 28 / 1e9);
    assert_int_equal(costs[0].output_bytes, 4 * 256 * 384 * 4); /* (B,T,C) float32 */
    assert_int_equal(sc_partition_tied_bytes(&gpt), 65 * 384 * 4);
    /* The whole model on one worker holds its tied matrix once. */
    sc_partition_costs(&gpt, &(sc_slice){0, 8}, 1, 4, 256, &rates, costs, stages);
    assert_int_equal(stages[0].param_elements, sc_model_n_elements(&gpt));

    /* An untied one has two, and exchanges nothing. */
    sc_model untied = gpt;
    untied.tied = false;
    assert_int_equal(sc_partition_tied_bytes(&untied), 0);
    sc_partition_costs(&untied, &(sc_slice){0, 8}, 1, 4, 256, &rates, costs, stages + 1);
    assert_int_equal(stages[1].param_elements, stages[0].param_elements + 65 * 384);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_blocks_are_spread_evenly_with_the_rest_behind),
        cmocka_unit_test(the_largest_stage_is_as_small_as_can_be),
        cmocka_unit_test(no_cut_is_better_than_the_one_found),
        cmocka_unit_test(the_largest_model_is_cut),
        cmocka_unit_test(more_stages_than_blocks_is_an_error_with_both_numbers),
        cmocka_unit_test(a_model_is_cut_by_the_work_of_its_blocks),
        cmocka_unit_test(frozen_blocks_cost_a_forward),
        cmocka_unit_test(costs_are_the_blocks_own_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
